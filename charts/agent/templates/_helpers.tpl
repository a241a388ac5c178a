{{/* One agent a namespace: its keys and inventories have fixed names there, and so have the chart's objects. */}}
{{- define "fairlead-agent.name" -}}fairlead-agent{{- end }}

{{/* Name of cluster-scoped objects. */}}
{{- define "fairlead-agent.clusterName" -}}fairlead-agent-{{ .Release.Namespace }}{{- end }}

{{- define "fairlead-agent.selectorLabels" -}}
app.kubernetes.io/name: fairlead-agent
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "fairlead-agent.labels" -}}
{{ include "fairlead-agent.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "fairlead-agent.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end }}

{{/* Name of the Secret with the join token; empty when there is none. */}}
{{- define "fairlead-agent.joinSecret" -}}
{{- if .Values.join.existingSecret -}}
{{ .Values.join.existingSecret }}
{{- else if .Values.join.token -}}
fairlead-agent-join
{{- end -}}
{{- end }}

{{/* Fails with one sentence when the values do not make an agent. */}}
{{- define "fairlead-agent.validate" -}}
{{- if not .Values.hub.address }}
{{- fail "hub.address is not set: give the host:port that \"fairlead cluster register\" printed" }}
{{- end }}
{{- if not .Values.hub.caPin }}
{{- fail "hub.caPin is not set: give the sha256:... that \"fairlead cluster register\" printed" }}
{{- end }}
{{- if and .Values.join.token .Values.join.existingSecret }}
{{- fail "set join.token or join.existingSecret, not both" }}
{{- end }}
{{- $choices := 0 }}
{{- if .Values.rbac.clusterAdmin }}{{ $choices = add $choices 1 }}{{ end }}
{{- if .Values.rbac.namespaces }}{{ $choices = add $choices 1 }}{{ end }}
{{- if .Values.rbac.existingClusterRole }}{{ $choices = add $choices 1 }}{{ end }}
{{- if ne (int $choices) 1 }}
{{- fail "choose what the agent may do: set exactly one of rbac.clusterAdmin=true (everything in this cluster), rbac.namespaces={a,b} (everything in these namespaces) and rbac.existingClusterRole" }}
{{- end }}
{{- end }}

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

{{/*
How pods are replaced. One that works alone, without the Lease, must be gone before another one begins: so it is with one
replica, and in the upgrade from one to several.
*/}}
{{- define "fairlead-agent.strategy" -}}
{{- $isAlone := le (int .Values.replicas) 1 }}
{{- with lookup "apps/v1" "Deployment" .Release.Namespace (include "fairlead-agent.name" .) }}
{{- range .spec.template.spec.containers }}
{{- $isElected := false }}
{{- range .env }}
{{- if and (eq .name "FAIRLEAD_LEADER_ELECTION") (eq (.value | default "") "true") }}{{ $isElected = true }}{{ end }}
{{- end }}
{{- if and (eq .name "agent") (not $isElected) }}{{ $isAlone = true }}{{ end }}
{{- end }}
{{- end }}
{{- if $isAlone -}}
type: Recreate
{{- else -}}
type: RollingUpdate
rollingUpdate:
  maxSurge: 1
  maxUnavailable: 0
{{- end }}
{{- end }}

{{/* SHA-256 of the rules of a Role. Empty lists do not count: the API server leaves them out. */}}
{{- define "fairlead-agent.rulesHash" -}}
{{- $rules := list }}
{{- range . }}
{{- $rule := dict }}
{{- range $key, $value := . }}{{ if $value }}{{ $_ := set $rule $key $value }}{{ end }}{{ end }}
{{- $rules = append $rules $rule }}
{{- end }}
{{- $rules | toJson | sha256sum }}
{{- end }}

{{/*
"true" when the Role for applications in `namespace` has neither the rules of the values nor those that the chart wrote
last (which its annotation tells): then somebody changed it by hand, and it stays. Without the annotation nobody knows who
wrote the rules, so they stay too.
*/}}
{{- define "fairlead-agent.isRoleKept" -}}
{{- $wanted := include "fairlead-agent.rulesHash" .root.Values.rbac.namespaceRules }}
{{- with lookup "rbac.authorization.k8s.io/v1" "Role" .namespace "fairlead-agent-applications" }}
{{- $live := include "fairlead-agent.rulesHash" .rules }}
{{- $before := dig "annotations" "fairlead.dev/rules-sha256" "" .metadata }}
{{- if and (ne $live $wanted) (ne $live $before) }}true{{ end }}
{{- end }}
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
{{- if and .Values.metrics.serviceMonitor.enabled (not .Values.metrics.enabled) }}
{{- fail "metrics.serviceMonitor.enabled needs metrics.enabled" }}
{{- end }}
{{- if and .Values.metrics.annotations (not .Values.metrics.enabled) }}
{{- fail "metrics.annotations needs metrics.enabled" }}
{{- end }}
{{- if has .Release.Namespace .Values.rbac.namespaces }}
{{- fail "rbac.namespaces holds the agent's own namespace: applications there could reach the agent's key and the policy of the cluster" }}
{{- end }}
{{- $choices := 0 }}
{{- if .Values.rbac.clusterAdmin }}{{ $choices = add $choices 1 }}{{ end }}
{{- if .Values.rbac.namespaces }}{{ $choices = add $choices 1 }}{{ end }}
{{- if .Values.rbac.existingClusterRole }}{{ $choices = add $choices 1 }}{{ end }}
{{- if ne (int $choices) 1 }}
{{- fail "choose what the agent may do: set exactly one of rbac.clusterAdmin=true (everything in this cluster), rbac.namespaces={a,b} (everything in these namespaces) and rbac.existingClusterRole" }}
{{- end }}
{{- end }}

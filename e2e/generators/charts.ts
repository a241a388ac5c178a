// Charts that between them use what charts use: each feature brings its own templates and values, and any number of them
// make one chart.
import { gzipSync } from 'node:zlib'

/** Files by their path in the chart's folder. */
export type ChartFiles = Record<string, string | Uint8Array>

/** What a feature brings. */
export interface ChartFeature {
  readonly name: string
  readonly files: ChartFiles
  /** Part of values.yaml. */
  readonly values?: string
  /** Dependencies of Chart.yaml. */
  readonly dependencies?: string
  /** Values of the definition, over values.yaml. */
  readonly overrides?: Readonly<Record<string, unknown>>
  /** A value file beside the chart's own. */
  readonly valueFile?: string
}

/** A chart with the options to render it by. */
export interface GeneratedChart {
  readonly name: string
  readonly files: ChartFiles
  readonly valueFiles: readonly string[]
  readonly overrides: Readonly<Record<string, unknown>>
}

/** A chart of several features. */
export function makeChart(name: string, features: readonly ChartFeature[]): GeneratedChart {
  const dependencies = features.map((feature) => feature.dependencies ?? '').join('')
  const chart = `apiVersion: v2\nname: ${name}\nversion: 1.2.3\nappVersion: "4.5"\ndescription: made\n`
  const files: ChartFiles = {
    'Chart.yaml': dependencies === '' ? chart : `${chart}dependencies:\n${dependencies}`,
    'values.yaml': features.map((feature) => feature.values ?? '').join(''),
  }
  const valueFiles: string[] = []
  for (const feature of features) {
    Object.assign(files, feature.files)
    if (feature.valueFile === undefined) continue
    const file = `values-${feature.name}.yaml`
    files[file] = feature.valueFile
    valueFiles.push(file)
  }
  return { name, files, valueFiles, overrides: Object.assign({}, ...features.map((feature) => feature.overrides)) }
}

function configMap(name: string, data: string): string {
  return `apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {{ .Release.Name }}-${name}\ndata:\n${data}`
}

function subchart(name: string, more: ChartFiles = {}): ChartFiles {
  return {
    'Chart.yaml': `apiVersion: v2\nname: ${name}\nversion: 0.1.0\n`,
    'values.yaml': 'enabled: true\ncolour: green\nexports:\n  shared:\n    exported: from-sub\nport: 80\n',
    'templates/_helpers.tpl': `{{- define "${name}.label" -}}{{ .Chart.Name }}-{{ .Values.colour }}{{- end -}}`,
    'templates/a.yaml': `apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ .Release.Name }}-{{ .Chart.Name }}
data:
  label: {{ include "${name}.label" . }}
  region: {{ .Values.global.region | default "none" | quote }}
  port: {{ .Values.port | quote }}
  template: {{ .Template.Name }}
`,
    ...more,
  }
}

function below(folder: string, files: ChartFiles): ChartFiles {
  return Object.fromEntries(Object.entries(files).map(([file, content]) => [`${folder}/${file}`, content]))
}

/** A chart archive as `helm package` makes them: one folder, in the ustar format. */
export function packChart(folder: string, files: ChartFiles): Uint8Array {
  const blocks = Object.entries(files).flatMap(([file, content]) => {
    const bytes = Buffer.from(content as string)
    return [tarHeader(`${folder}/${file}`, bytes.length), bytes, Buffer.alloc((512 - (bytes.length % 512)) % 512)]
  })
  return gzipSync(Buffer.concat([...blocks, Buffer.alloc(1_024)]))
}

function tarHeader(name: string, sizeBytes: number): Buffer {
  const header = Buffer.alloc(512)
  header.write(name, 0, 100)
  header.write(`0000644\0${'0000000\0'.repeat(2)}`, 100)
  header.write(`${sizeBytes.toString(8).padStart(11, '0')}\0${'0'.padStart(11, '0')}\0`, 124)
  header.write('        0', 148)
  header.write('ustar\x0000', 257)
  const sum = header.reduce((total, byte) => total + byte, 0)
  header.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148)
  return header
}

const workload = `apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ include "web.fullname" . }}
  labels: {{- include "web.labels" . | nindent 4 }}
spec:
  replicas: {{ .Values.web.replicas }}
  selector:
    matchLabels: {{- include "web.labels" . | nindent 6 }}
  template:
    metadata:
      labels: {{- include "web.labels" . | nindent 8 }}
      {{- with .Values.web.podAnnotations }}
      annotations:
        {{- toYaml . | nindent 8 }}
      {{- end }}
    spec:
      containers:
        - name: {{ .Chart.Name }}
          image: "{{ .Values.web.image.name }}:{{ .Values.web.image.tag | default .Chart.AppVersion }}"
          env:
          {{- range $key, $value := .Values.web.env }}
            - name: {{ $key | upper }}
              value: {{ tpl ($value | toString) $ | quote }}
          {{- end }}
          {{- if .Values.web.resources }}
          resources: {{ toYaml .Values.web.resources | nindent 12 }}
          {{- end }}
{{- if gt (int .Values.web.replicas) 1 }}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: {{ include "web.fullname" . }}}
spec: {minAvailable: 1, selector: {matchLabels: {{- include "web.labels" . | nindent 4 }}}}
{{- end }}
`

/** Every feature by itself. */
export const chartFeatures: readonly ChartFeature[] = [
  {
    name: 'workload',
    files: {
      'templates/_helpers.tpl': `{{- define "web.fullname" -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- define "web.labels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}
`,
      'templates/web.yaml': workload,
    },
    values: `web:
  replicas: 2
  image: {name: registry.example.com/web, tag: ""}
  podAnnotations: {checksum: abc, "prometheus.io/scrape": "true"}
  env: {host: "{{ .Release.Name }}.{{ .Release.Namespace }}.svc", number: 5, flag: true}
  resources: {limits: {cpu: 100m, memory: 128Mi}}
`,
    overrides: { web: { replicas: 1, env: { extra: '{{ .Chart.Version }}' } } },
  },
  {
    name: 'files',
    files: {
      'config/a.conf': 'line one\nline two\n',
      'config/b.conf': 'x = "{{ not a template }}"\n',
      'config/binary.bin': Uint8Array.from({ length: 256 }, (_, index) => index),
      'templates/files.yaml': `${configMap('files', '  {{- (.Files.Glob "config/*.conf").AsConfig | nindent 2 }}\n  one: {{ .Files.Get "config/a.conf" | quote }}\n  lines: {{ len (.Files.Lines "config/a.conf") | quote }}\n  none: {{ .Files.Get "none" | quote }}\n')}---
apiVersion: v1
kind: Secret
metadata: {name: files}
data:
  {{- (.Files.Glob "config/*.bin").AsSecrets | nindent 2 }}
`,
    },
  },
  {
    name: 'functions',
    files: {
      'templates/functions.yaml': configMap(
        'functions',
        `  sha: {{ "x" | sha256sum }}
  b64: {{ "ä" | b64enc }}
  merged: {{ merge (dict "a" 1) (dict "a" 2 "b" 3) | toJson | quote }}
  dig: {{ dig "a" "b" "none" (dict "a" (dict "b" "deep")) }}
  regex: {{ regexReplaceAll "[^a-z]+" "A b C d" "-" | quote }}
  semver: {{ semverCompare ">=1.20-0" .Capabilities.KubeVersion.Version | quote }}
  kube: {{ .Capabilities.KubeVersion.Version }}
  api: {{ .Capabilities.APIVersions.Has "apps/v1" | quote }}
  list: {{ list 3 1 2 | sortAlpha | join "," }}
  until: {{ untilStep 0 10 3 | join "," | quote }}
  yaml: {{ (fromYaml "a: [1, {b: c}]").a | toJson | quote }}
  toml: {{ toToml (dict "a" (dict "b" 1)) | quote }}
  title: {{ "hello world" | title | quote }}
  ternary: {{ ternary "yes" "no" (empty .Values.nothing) }}
  duration: {{ durationSeconds "1m30s" | quote }}
  release: "{{ .Release.Service }} {{ .Release.Revision }} {{ .Release.IsInstall }} {{ .Release.IsUpgrade }}"
  chart: "{{ .Chart.Name }} {{ .Chart.Version }} {{ .Chart.AppVersion }} {{ .Chart.Description }}"
  dns: {{ getHostByName "localhost" | quote }}
`,
      ),
    },
  },
  {
    name: 'required',
    files: {
      'templates/required.yaml': configMap(
        'required',
        '  must: {{ required "must is missing" .Values.must }}\n{{- if eq .Values.must "wrong" }}{{ fail "wrong" }}{{ end }}\n',
      ),
    },
    values: 'must: ""\n',
    valueFile: 'must: given\n',
  },
  {
    name: 'subcharts',
    files: {
      ...below('charts/sub', subchart('sub')),
      ...below('charts/unused', subchart('unused')),
      ...below('charts/tagged', subchart('tagged')),
      'templates/imported.yaml': configMap(
        'imported',
        '  exported: {{ .Values.exported | quote }}\n  own: {{ .Values.fromSub | toJson | quote }}\n',
      ),
    },
    dependencies: `- {name: sub, version: 0.1.0, import-values: [shared]}
- {name: sub, version: 0.1.0, alias: first, condition: first.enabled}
- {name: sub, version: 0.1.0, alias: second, import-values: [{child: exports.shared, parent: fromSub}]}
- {name: unused, version: 0.1.0, condition: unused.enabled}
- {name: tagged, version: 0.1.0, tags: [extras]}
`,
    values: `global: {region: eu}
sub: {colour: red}
first: {port: 8080}
unused: {enabled: false}
tags: {extras: true}
`,
    overrides: { second: { colour: 'violet' }, global: { zone: 'a' } },
  },
  {
    name: 'archive',
    files: {
      'charts/packed-0.1.0.tgz': packChart('packed', subchart('packed', below('charts/inner', subchart('inner')))),
    },
    dependencies: '- {name: packed, version: 0.1.0}\n',
    values: 'packed: {colour: blue, inner: {port: 1}}\n',
  },
  {
    name: 'hooks',
    files: {
      'templates/hooks.yaml': ['pre-install', 'post-upgrade', 'test']
        .map(
          (hook) =>
            `apiVersion: batch/v1\nkind: Job\nmetadata:\n  name: {{ .Release.Name }}-${hook}\n  annotations: {helm.sh/hook: ${hook}, helm.sh/hook-weight: "-1", helm.sh/hook-delete-policy: hook-succeeded}\nspec: {template: {spec: {restartPolicy: Never, containers: [{name: a, image: b}]}}}\n`,
        )
        .join('---\n'),
    },
  },
  {
    name: 'crds',
    files: {
      'crds/things.yaml':
        'apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: things.x.io}\nspec: {group: x.io, text: "{{ untouched }}"}\n',
      'templates/thing.yaml':
        'apiVersion: x.io/v1\nkind: Thing\nmetadata: {name: one}\nspec: {size: {{ .Values.thing.size }}}\n',
    },
    values: 'thing: {size: 3}\n',
  },
  {
    name: 'notes',
    files: {
      'templates/NOTES.txt': 'Thank you for {{ .Chart.Name }}: {{ include "notes.part" . }}',
      'templates/_notes.tpl': '{{ define "notes.part" }}part{{ end }}',
      'templates/empty.yaml': '{{- if .Values.nothing }}\na: 1\n{{- end }}\n',
      'templates/comments.yaml': '# only\n---\n# comments\n',
      'templates/sub/folder/deep.yml': configMap('deep', '  a: "1"\n'),
      'README.md': '{{ not a template',
    },
  },
  {
    name: 'schema',
    files: {
      'values.schema.json': JSON.stringify({
        $schema: 'http://json-schema.org/draft-07/schema#',
        type: 'object',
        properties: {
          checked: { type: 'object', required: ['port'], properties: { port: { type: 'integer', maximum: 65535 } } },
        },
      }),
      'templates/schema.yaml': configMap('schema', '  port: {{ .Values.checked.port | quote }}\n'),
    },
    values: 'checked: {port: 8080}\n',
  },
  {
    name: 'scalars',
    files: {
      'templates/scalars.yaml': `${configMap('scalars', '  {{- range $key, $value := .Values.scalars }}\n  {{ $key }}: {{ $value | quote }}\n  {{ $key }}-yaml: {{ toYaml $value | quote }}\n  {{- end }}\n')}---
apiVersion: v1
kind: Pod
metadata: {name: scalars}
spec:
  volumes: [{name: a, configMap: {name: x, defaultMode: 0644}}]
  containers:
  - name: a
    image: b
    args: {{- toYaml .Values.args | nindent 4 }}
`,
    },
    values: `scalars: {int: 3, big: 12345678901, huge: 9007199254740993, float: 1.5, round: 2.0, exp: 1e3, octal: 0755, text: "0755", yes: yes, "no": "no", nothing: null, date: 2024-01-01, empty: ""}
args: ["a b", "c: d", "#e", 'f"g', "1", "true", "~", "multi\\nline\\n"]
`,
    overrides: { scalars: { int: 4, big: 1234567890, text: 'on' } },
  },
  {
    name: 'deleted',
    files: { 'templates/deleted.yaml': configMap('deleted', '  all: {{ .Values.kept | toJson | quote }}\n') },
    values: 'kept: {a: 1, b: {c: 2, d: 3}, list: [1, 2]}\n',
    overrides: { kept: { a: null, b: { c: null }, list: [3] } },
  },
  {
    name: 'ignored',
    files: {
      '.helmignore': '*.bak\nprivate/\n/top.txt\n',
      'templates/ignored.yaml.bak': '{{ fail "is ignored" }}',
      'private/a.txt': 'a',
      'top.txt': 'top',
      'templates/ignoring.yaml': configMap(
        'ignoring',
        '  a: {{ .Files.Get "private/a.txt" | quote }}\n  top: {{ .Files.Get "top.txt" | quote }}\n',
      ),
    },
  },
  {
    name: 'blocks',
    files: {
      'templates/_blocks.tpl':
        '{{- define "blocks.list" }}{{ range $index, $item := . }}{{ if $index }}, {{ end }}{{ $item }}{{ end }}{{ end -}}\n{{- define "blocks.nested" -}}{{ $x := .Values.blocks }}{{- with $x }}{{ block "blocks.inner" .items }}[{{ template "blocks.list" . }}]{{ end }}{{- end -}}{{- end -}}',
      'templates/blocks.yaml': configMap(
        'blocks',
        '  nested: {{ include "blocks.nested" . | quote }}\n  tpl: {{ tpl .Values.blocks.template (dict "Template" .Template "Values" .Values "extra" "x") | quote }}\n  break: "{{ range .Values.blocks.items }}{{ if eq . "c" }}{{ break }}{{ end }}{{ . }}{{ end }}"\n  else: "{{ with .Values.none }}a{{ else }}b{{ end }}{{ range .Values.none }}a{{ else }}c{{ end }}"\n',
      ),
    },
    values:
      'blocks: {items: [a, b, c], template: "{{ .extra }} {{ include \\"blocks.list\\" .Values.blocks.items }} {{ .Template.BasePath }}"}\n',
  },
  {
    name: 'windows',
    files: {
      'templates/windows.yaml': `\ufeff${configMap('windows', '  a: |\n    one\n    two\n')}`.replaceAll('\n', '\r\n'),
    },
  },
  {
    name: 'glued',
    files: {
      'templates/glued.yaml': `${configMap('glued', '  a: "1"\n')}---\n\n{{- if true -}}\n\n# a comment right behind the dashes\n${configMap('behind', '  b: "2"\n')}\n---\n{{- end -}}\n${configMap('last', '  c: "3"\n')}`,
    },
  },
  {
    name: 'lists',
    files: {
      'templates/lists.yaml':
        'apiVersion: v1\nkind: List\nitems:\n{{- range tuple "x" "y" }}\n- {apiVersion: v1, kind: ConfigMap, metadata: {name: list-{{ . }}}}\n{{- end }}\n',
    },
  },
]

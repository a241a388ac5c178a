// Manifests whose content is at the edges of what YAML, JSON and Kubernetes can hold, each with what must be in the
// cluster, as kubectl would have put it there.
import { randomBytes } from 'node:crypto'

/** A file of manifests, and the objects that it makes. */
export interface EdgeFile {
  /** Name within the application's folder. */
  readonly name: string
  readonly yaml: string
  readonly objects: readonly EdgeObject[]
}

/** An object that must be there. */
export interface EdgeObject {
  readonly apiVersion: string
  readonly kind: string
  readonly name: string
  /** Values by the path of keys. */
  readonly fields: readonly (readonly [path: readonly (string | number)[], value: unknown])[]
}

/** Group of the custom resources below. */
export const EDGE_GROUP = 'edges.example.com'

/** Texts that are often broken: astral, combining, right to left, control characters, looks of other types. */
export const EDGE_TEXTS: Readonly<Record<string, string>> = {
  astral: '🎉 𝔘𝔫𝔦𝔠𝔬𝔡𝔢 👩‍👩‍👧‍👦',
  combining: 'e\u0301 \u00e9 Z̷̧̛a̶l̴g̵o̷',
  rightToLeft: 'שלום עולם \u200f\u202eabc\u202c مرحبا',
  separators: 'a\u2028b\u2029c\u0085d\u00a0e\ufefff',
  controls: '\u0001\u001f\u007f\t',
  looksLikeNumber: '0644',
  looksLikeBoolean: 'yes',
  looksLikeNull: '~',
  looksLikeDate: '2001-01-01',
  looksLikeVariable: '${HOME} $(date) {{ .Values.x }}',
  backslashes: '\\ \\n \\u0041 "quoted" \'single\'',
  trailing: 'ends with spaces   ',
  lines: 'one\n\n  two\r\n\tthree\n',
  empty: '',
}

/** Every edge file; `sizeBytes` is the size of the large ConfigMap and of the large CRD, default 1,000,000. */
export function makeEdgeFiles(sizeBytes = 1_000_000): EdgeFile[] {
  return [texts(), numbers(), emptiness(), lists(), binary(), largeConfigMap(sizeBytes), largeCrd(sizeBytes)]
}

function texts(): EdgeFile {
  const fields = Object.entries(EDGE_TEXTS).map(([key, value]) => [['data', key], value] as const)
  const data = Object.entries(EDGE_TEXTS).map(([key, value]) => `  ${key}: ${JSON.stringify(value)}\n`)
  const annotations = `  annotations: {"example.com/note": ${JSON.stringify(EDGE_TEXTS.astral)}}\n`
  const block = 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: blocks}\ndata:\n'
  const folded = '  folded: >-\n    a\n    b\n\n    c\n  literal: |+\n    a\n     b\n\n  plain: a b\n    c # no\n'
  return {
    name: 'texts.yaml',
    yaml: `apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: texts\n${annotations}data:\n${data.join('')}---\n${block}${folded}`,
    objects: [
      {
        apiVersion: 'v1',
        kind: 'ConfigMap',
        name: 'texts',
        fields: [...fields, [['metadata', 'annotations', 'example.com/note'], EDGE_TEXTS.astral]],
      },
      {
        apiVersion: 'v1',
        kind: 'ConfigMap',
        name: 'blocks',
        fields: [
          [['data', 'folded'], 'a b\nc'],
          [['data', 'literal'], 'a\n b\n\n'],
          [['data', 'plain'], 'a b c'],
        ],
      },
    ],
  }
}

/** Keys in any script are no keys of a ConfigMap, but of a custom resource they are. */
function numbers(): EdgeFile {
  const spec = [
    'beyond: 9007199254740993',
    'largest: 9223372036854775807',
    'smallest: -9223372036854775808',
    'octal: 0644',
    'newOctal: 0o644',
    'hexadecimal: 0x1F',
    'underscores: 1_000_000',
    'float: 1.5e-7',
    'yes: on',
    '"10": a',
    '"9": b',
    '"ключ 🎉": v',
    '__proto__: {polluted: true}',
    'mode: {defaultMode: 0400}',
  ]
  return {
    name: 'numbers.yaml',
    yaml: `apiVersion: ${EDGE_GROUP}/v1\nkind: Edge\nmetadata: {name: numbers}\nspec:\n${spec.map((line) => `  ${line}\n`).join('')}`,
    objects: [
      {
        apiVersion: `${EDGE_GROUP}/v1`,
        kind: 'Edge',
        name: 'numbers',
        fields: [
          [['spec', 'octal'], 420],
          [['spec', 'newOctal'], 420],
          [['spec', 'hexadecimal'], 31],
          [['spec', 'underscores'], 1_000_000],
          [['spec', 'float'], 1.5e-7],
          [['spec', 'true'], true],
          [['spec', '10'], 'a'],
          [['spec', '9'], 'b'],
          [['spec', 'ключ 🎉'], 'v'],
          [['spec', '__proto__', 'polluted'], true],
          [['spec', 'mode', 'defaultMode'], 256],
        ],
      },
    ],
  }
}

function emptiness(): EdgeFile {
  const pod = `metadata: {labels: {app: quantities}, annotations: {}}
    spec:
      securityContext: {}
      nodeSelector: {}
      tolerations: []
      volumes: [{name: v, emptyDir: {}}, {name: c, configMap: {name: texts, defaultMode: 0640}}]
      containers:
      - name: main
        image: web:1
        command: null
        args: []
        env: [{name: EMPTY, value: ""}, {name: NOTHING, value: null}]
        resources: {requests: {cpu: 1000m, memory: 1Gi}, limits: {cpu: "1", memory: 1024Mi}}
        volumeMounts: [{name: v, mountPath: /v}, {name: c, mountPath: /c}]`
  return {
    name: 'emptiness.yaml',
    yaml: `apiVersion: apps/v1
kind: Deployment
metadata: {name: quantities, labels: null, annotations: {}}
spec:
  replicas: 0
  strategy: null
  selector: {matchLabels: {app: quantities}}
  template:
    ${pod}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: nothing}
data: {}
binaryData: null
---
apiVersion: ${EDGE_GROUP}/v1
kind: Edge
metadata: {name: nulls}
spec: {nothing: null, list: [null, {}, [], ""], map: {}}
`,
    objects: [
      {
        apiVersion: 'apps/v1',
        kind: 'Deployment',
        name: 'quantities',
        fields: [
          [['spec', 'replicas'], 0],
          [['spec', 'template', 'spec', 'containers', 0, 'resources', 'requests', 'cpu'], '1'],
          [['spec', 'template', 'spec', 'volumes', 1, 'configMap', 'defaultMode'], 416],
        ],
      },
      { apiVersion: 'v1', kind: 'ConfigMap', name: 'nothing', fields: [[['data'], undefined]] },
      {
        apiVersion: `${EDGE_GROUP}/v1`,
        kind: 'Edge',
        name: 'nulls',
        fields: [
          [['spec', 'list', 1], {}],
          [['spec', 'list', 3], ''],
          [['spec', 'map'], {}],
        ],
      },
    ],
  }
}

function lists(): EdgeFile {
  const item = (name: string): string => `{apiVersion: v1, kind: ConfigMap, metadata: {name: ${name}}, data: {a: "1"}}`
  const object = (name: string): EdgeObject => ({
    apiVersion: 'v1',
    kind: 'ConfigMap',
    name,
    fields: [[['data', 'a'], '1']],
  })
  return {
    name: 'lists.yaml',
    yaml: `apiVersion: v1
kind: List
items:
- ${item('in-list')}
- {apiVersion: v1, kind: List, items: [${item('in-inner-list')}]}
---
apiVersion: v1
kind: ConfigMapList
items:
- metadata: {name: in-typed-list}
  data: {a: "1"}
`,
    objects: ['in-list', 'in-inner-list', 'in-typed-list'].map(object),
  }
}

function binary(): EdgeFile {
  const bytes = randomBytes(3000).toString('base64')
  return {
    name: 'binary.yaml',
    yaml: `apiVersion: v1\nkind: ConfigMap\nmetadata: {name: binary}\nbinaryData:\n  random: ${bytes}\n  zero: "AA=="\n`,
    objects: [
      {
        apiVersion: 'v1',
        kind: 'ConfigMap',
        name: 'binary',
        fields: [
          [['binaryData', 'random'], bytes],
          [['binaryData', 'zero'], 'AA=='],
        ],
      },
    ],
  }
}

function largeConfigMap(sizeBytes: number): EdgeFile {
  const text = randomBytes(Math.floor((sizeBytes * 3) / 4)).toString('base64')
  return {
    name: 'large.yaml',
    yaml: `apiVersion: v1\nkind: ConfigMap\nmetadata: {name: large}\ndata:\n  text: ${text}\n`,
    objects: [{ apiVersion: 'v1', kind: 'ConfigMap', name: 'large', fields: [[['data', 'text'], text]] }],
  }
}

/** A CRD for the kind Edge, whose schema describes fields until it is as large. */
function largeCrd(sizeBytes: number): EdgeFile {
  const description = 'x'.repeat(1000)
  const properties = Array.from({ length: Math.floor(sizeBytes / 1050) }, (_, index) => [
    `field${index}`,
    { type: 'string', description },
  ])
  const preserve = { type: 'object', 'x-kubernetes-preserve-unknown-fields': true }
  const name = `edges.${EDGE_GROUP}`
  const schema = {
    openAPIV3Schema: {
      type: 'object',
      properties: { spec: { ...preserve, properties: Object.fromEntries(properties) } },
    },
  }
  const crd = {
    apiVersion: 'apiextensions.k8s.io/v1',
    kind: 'CustomResourceDefinition',
    metadata: { name },
    spec: {
      group: EDGE_GROUP,
      scope: 'Namespaced',
      names: { plural: 'edges', singular: 'edge', kind: 'Edge', listKind: 'EdgeList' },
      versions: [{ name: 'v1', served: true, storage: true, schema }],
    },
  }
  return {
    name: 'crd.json',
    yaml: JSON.stringify(crd),
    objects: [
      {
        apiVersion: 'apiextensions.k8s.io/v1',
        kind: 'CustomResourceDefinition',
        name,
        fields: [
          [
            [
              'spec',
              'versions',
              0,
              'schema',
              'openAPIV3Schema',
              'properties',
              'spec',
              'properties',
              'field0',
              'description',
            ],
            description,
          ],
        ],
      },
    ],
  }
}

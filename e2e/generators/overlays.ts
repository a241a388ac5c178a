// Kustomize folders that between them use what Kustomize has: one base, and overlays that each do another thing to it.

/** Files by their path in the repository. */
export type OverlayFiles = Record<string, string>

/** A folder to build. */
export interface GeneratedOverlay {
  readonly name: string
  readonly files: OverlayFiles
  /** The folder. */
  readonly path: string
  /** Other files and folders that it refers to. */
  readonly elsewhere: readonly string[]
}

const base: OverlayFiles = {
  'lib/base/kustomization.yaml':
    'resources: [web.yaml, sub]\nconfigMapGenerator:\n- name: settings\n  literals: [a=1, b=2]\n',
  'lib/base/web.yaml': `apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {app: web}}
spec:
  replicas: 1
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      serviceAccountName: web
      initContainers: [{name: init, image: "busybox:1.0"}]
      containers:
      - name: web
        image: shop/web:1.0
        ports: [{containerPort: 8080}]
        envFrom: [{configMapRef: {name: settings}}]
        env: [{name: HOST, value: web}, {name: KEY, valueFrom: {secretKeyRef: {name: keys, key: k}}}]
      - {name: side, image: "shop/side@sha256:${'0'.repeat(64)}"}
      volumes: [{name: v, configMap: {name: settings, defaultMode: 0644}}]
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: web}
`,
  'lib/base/sub/kustomization.yaml': 'resources: [role.yaml]\n',
  'lib/base/sub/role.yaml': `apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: web}
rules: [{apiGroups: [""], resources: [configmaps], verbs: [get]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: web}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: web}
subjects: [{kind: ServiceAccount, name: web, namespace: default}]
`,
}

interface Overlay {
  readonly kustomization: string
  readonly files?: OverlayFiles
  readonly elsewhere?: readonly string[]
}

const target = '{group: apps, version: v1, kind: Deployment, name: web}'

const overlays: Readonly<Record<string, Overlay>> = {
  nothing: { kustomization: '' },
  names: { kustomization: 'namePrefix: pre-\nnameSuffix: -suf\n' },
  namespace: { kustomization: 'namespace: shop\n' },
  commonLabels: { kustomization: 'commonLabels: {team: a}\ncommonAnnotations: {note: "yes", one: "1"}\n' },
  labels: {
    kustomization:
      'labels:\n- {pairs: {team: a}}\n- {pairs: {tier: b}, includeSelectors: true}\n- {pairs: {part: c}, includeTemplates: true}\n',
  },
  images: {
    kustomization: `images:\n- {name: shop/web, newTag: "2.0"}\n- {name: busybox, newName: mirror/busybox, digest: "sha256:${'1'.repeat(64)}"}\n- {name: shop/side, newName: other/side, newTag: "3"}\n`,
  },
  replicas: { kustomization: 'replicas: [{name: web, count: 5}]\n' },
  mergePatches: {
    kustomization: `patches:
- path: patch.yaml
- patch: |-
    apiVersion: apps/v1
    kind: Deployment
    metadata: {name: web}
    spec: {template: {spec: {containers: [{name: side, $patch: delete}], tolerations: [{key: a}]}}}
- target: {kind: Service}
  patch: |-
    apiVersion: v1
    kind: Service
    metadata: {name: ignored, annotations: {patched: "true"}}
- target: {kind: ServiceAccount}
  patch: |-
    $patch: delete
    apiVersion: v1
    kind: ServiceAccount
    metadata: {name: web}
`,
    files: {
      'patch.yaml':
        'apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec:\n  strategy: {type: Recreate}\n  template: {spec: {containers: [{name: web, resources: {limits: {cpu: "1"}}, env: [{name: HOST, value: other}, {name: MORE, value: "0755"}]}]}}\n',
    },
  },
  jsonPatches: {
    kustomization: `patches:
- target: ${target}
  path: ops.json
- target: {labelSelector: app=web}
  patch: |-
    - {op: add, path: /metadata/labels/x~1y, value: z}
- target: {kind: Role|RoleBinding}
  patch: '[{"op": "add", "path": "/metadata/annotations", "value": {"a": "b"}}]'
  options: {allowNameChange: true}
`,
    files: {
      'ops.json':
        '[{"op": "replace", "path": "/spec/replicas", "value": 3}, {"op": "add", "path": "/spec/template/spec/containers/0/args", "value": ["-v"]}, {"op": "remove", "path": "/spec/template/spec/initContainers"}]',
    },
  },
  legacyPatches: {
    kustomization: `patchesStrategicMerge:
- patch.yaml
- |-
  apiVersion: v1
  kind: Service
  metadata: {name: web}
  spec: {type: NodePort}
patchesJson6902:
- target: ${target}
  path: ops.yaml
`,
    files: {
      'patch.yaml': 'apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec: {paused: true}\n',
      'ops.yaml': '- {op: replace, path: /spec/replicas, value: 7}\n',
    },
  },
  generators: {
    kustomization: `configMapGenerator:
- {name: settings, behavior: merge, literals: [b=3, c=4]}
- {name: files, files: [one.txt, key=sub/two.txt], envs: [app.env]}
- {name: fixed, literals: [x=y], options: {disableNameSuffixHash: true, labels: {l: "1"}, immutable: true}}
secretGenerator:
- {name: keys, literals: [k=secret], type: Opaque}
- {name: tls, files: [tls.crt, tls.key], type: kubernetes.io/tls}
generatorOptions: {annotations: {made: "true"}}
namePrefix: p-
`,
    files: {
      'one.txt': 'one\n',
      'sub/two.txt': 'two\nlines\n',
      'app.env': '# comment\nA=1\nB="quoted"\nEMPTY=\n',
      'tls.crt': 'certificate',
      'tls.key': 'key\u0000\u00ff',
    },
  },
  components: {
    kustomization: 'components: [../../lib/extra, local]\n',
    files: {
      'local/kustomization.yaml':
        'apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\nnamePrefix: c-\nresources: [more.yaml]\n',
      'local/more.yaml': 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: more}\n',
      '/lib/extra/kustomization.yaml': `apiVersion: kustomize.config.k8s.io/v1alpha1
kind: Component
patches:
- target: ${target}
  patch: '[{"op": "replace", "path": "/spec/replicas", "value": 9}]'
configMapGenerator:
- {name: settings, behavior: replace, literals: [only=this]}
`,
    },
    elsewhere: ['lib/extra'],
  },
  replacements: {
    kustomization: `replacements:
- path: replacement.yaml
- source: {kind: Service, name: web, fieldPath: spec.ports.0.port}
  targets:
  - select: {kind: Deployment}
    fieldPaths: ["spec.template.spec.containers.[name=web].ports.0.containerPort"]
`,
    files: {
      'replacement.yaml': `source: {kind: ServiceAccount, name: web, fieldPath: metadata.name}
targets:
- select: {kind: Deployment}
  fieldPaths: ["spec.template.spec.containers.[name=web].env.[name=HOST].value"]
  options: {delimiter: ".", index: 1}
- select: {kind: Role}
  fieldPaths: [metadata.annotations.owner]
  options: {create: true}
`,
    },
  },
  variables: {
    kustomization:
      'vars:\n- name: SERVICE\n  objref: {apiVersion: v1, kind: Service, name: web}\npatches:\n- patch: |-\n    apiVersion: apps/v1\n    kind: Deployment\n    metadata: {name: web}\n    spec: {template: {spec: {containers: [{name: web, args: ["$(SERVICE)"]}]}}}\nnamePrefix: v-\n',
  },
  configurations: {
    kustomization: 'resources: [custom.yaml]\nconfigurations: [names.yaml]\nnamePrefix: n-\ncommonLabels: {x: z}\n',
    files: {
      'custom.yaml':
        'apiVersion: x.io/v1\nkind: Thing\nmetadata: {name: thing}\nspec: {account: web, image: "shop/web:1.0"}\n',
      'names.yaml':
        'nameReference:\n- kind: ServiceAccount\n  fieldSpecs: [{kind: Thing, path: spec/account}]\ncommonLabels:\n- {kind: Thing, path: spec/labels, create: true}\n',
    },
  },
  crds: {
    kustomization: 'resources: [custom.yaml]\ncrds: [crd.json]\nnamePrefix: k-\n',
    files: {
      'custom.yaml':
        'apiVersion: x.io/v1\nkind: Thing\nmetadata: {name: thing}\nspec: {secret: {name: keys}}\n---\napiVersion: v1\nkind: Secret\nmetadata: {name: keys}\n',
      'crd.json': JSON.stringify({
        'x.io/v1.Thing': {
          Schema: {
            properties: {
              apiVersion: { type: 'string' },
              kind: { type: 'string' },
              metadata: { type: 'object' },
              spec: { $ref: 'x.io/v1.ThingSpec' },
            },
          },
        },
        'x.io/v1.ThingSpec': {
          Schema: {
            properties: {
              secret: {
                'x-kubernetes-object-ref-api-version': 'v1',
                'x-kubernetes-object-ref-kind': 'Secret',
                $ref: 'x.io/v1.Ref',
              },
            },
          },
        },
        'x.io/v1.Ref': { Schema: { properties: { name: { type: 'string' } } } },
      }),
    },
  },
  plugins: {
    kustomization:
      'transformers: [prefix.yaml]\ngenerators:\n- |-\n  apiVersion: builtin\n  kind: ConfigMapGenerator\n  metadata: {name: inline}\n  literals: [q=r]\n- made.yaml\n',
    files: {
      'prefix.yaml':
        'apiVersion: builtin\nkind: PrefixTransformer\nmetadata: {name: prefix}\nprefix: t-\nfieldSpecs: [{path: metadata/name}]\n',
      'made.yaml': 'apiVersion: builtin\nkind: SecretGenerator\nmetadata: {name: made}\nfiles: [data.txt]\n',
      'data.txt': 'data',
    },
  },
  origins: { kustomization: 'buildMetadata: [originAnnotations]\n' },
  order: { kustomization: 'sortOptions: {order: legacy}\n' },
  filesElsewhere: {
    kustomization:
      'resources: [../../other/one.yaml]\nconfigMapGenerator: [{name: elsewhere, files: [../../other/app.conf]}]\npatches: [{path: ../../other/patch.yaml}]\n',
    files: {
      '/other/one.yaml': 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: one}\n',
      '/other/app.conf': 'x = 1\n',
      '/other/patch.yaml':
        'apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec: {revisionHistoryLimit: 2}\n',
    },
    elsewhere: ['other/app.conf', 'other/one.yaml', 'other/patch.yaml'],
  },
  lists: {
    kustomization: 'resources: [list.yaml]\nnameSuffix: -l\n',
    files: {
      'list.yaml':
        'apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: ConfigMap, metadata: {name: a}}\n- {apiVersion: v1, kind: ConfigMap, metadata: {name: b}, data: {n: "0755", "10": x, "9": y}}\n',
    },
  },
  scalars: {
    kustomization: 'resources: [scalars.yaml]\n',
    files: {
      'scalars.yaml':
        'apiVersion: x.io/v1\nkind: Thing\nmetadata: {name: s, annotations: {}}\nspec: {octal: 0644, big: 12345678901, float: 1.50, exp: 1e3, yes: "yes", on: on, nothing: null, text: "0644", multi: "a\\nb\\n", folded: >-\n    a\n    b\n  }\n'.replace(
          ', folded: >-\n    a\n    b\n  }',
          '}',
        ),
    },
  },
}

/** Every overlay over the base, and two of them over one another. */
export function makeOverlays(): GeneratedOverlay[] {
  const made = Object.entries(overlays).map(([name, overlay]) => makeOverlay(name, overlay, '../../lib/base'))
  const [first, second] = ['names', 'generators']
  const over = makeOverlay('over', overlays[first as string] ?? { kustomization: '' }, '../generators')
  const under = made.find(({ name }) => name === second)
  return [...made, { ...over, files: { ...under?.files, ...over.files }, elsewhere: ['apps/generators', 'lib/base'] }]
}

function makeOverlay(
  name: string,
  { kustomization, files = {}, elsewhere = [] }: Overlay,
  under: string,
): GeneratedOverlay {
  const path = `apps/${name}`
  const written = kustomization.startsWith('resources: [')
    ? kustomization.replace('resources: [', `resources: [${under}, `)
    : `resources: [${under}]\n${kustomization}`
  const own = Object.entries(files).map(([file, content]) => [
    file.startsWith('/') ? file.slice(1) : `${path}/${file}`,
    content,
  ])
  return {
    name,
    path,
    files: { ...base, [`${path}/kustomization.yaml`]: written, ...Object.fromEntries(own) },
    elsewhere: ['lib/base', ...elsewhere],
  }
}

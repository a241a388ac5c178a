// Charts and Kustomize folders by the real engine: what becomes an object, and what is refused, with its place in Git.
import { beforeAll, expect, test, vi } from 'vitest'
import { packChart } from '../../../e2e/generators/charts.ts'
import type { Capabilities } from '../capabilities.ts'
import type { SkippedEntry } from '../tracker/source-tree.ts'
import { createEngine, declared, type Files, inputsOf, refused, renderInputs } from './render.test-support.ts'
import { type RunEngine, renderApplication } from './render.ts'
import type { RenderOverride, RenderSettings } from './render-tool.ts'
import type { RenderOutcome } from './rendering.ts'

// A new engine is slow until it is compiled for good, and more so on a busy machine.
vi.setConfig({ testTimeout: 60_000 })

let run: RunEngine
beforeAll(async () => {
  run = await createEngine()
}, 60_000)

interface Given {
  readonly path?: string
  readonly read?: readonly string[]
  readonly skipped?: readonly SkippedEntry[]
  readonly render?: RenderSettings
  readonly overrides?: readonly RenderOverride[]
  readonly capabilities?: Capabilities
}

function render(
  files: Files,
  { path = 'app', read = [path], skipped = [], render, overrides, capabilities }: Given = {},
): RenderOutcome {
  const options = {
    application: 'web',
    path,
    namespace: 'shop',
    ...(render && { render }),
    ...(capabilities && { capabilities }),
    ...(overrides && { overrides }),
  }
  return renderInputs(inputsOf(files, read, skipped), options, run)
}

/** `code file:line: message` of each problem. */
function told({ problems }: RenderOutcome): string[] {
  return problems.map(({ code, source, message }) => `${code} ${source?.file}:${source?.line}: ${message}`)
}

function objectsOf({ artifact }: RenderOutcome): Record<string, never>[] {
  return artifact.manifests.map(({ json }) => JSON.parse(Buffer.from(json).toString()))
}

function configMap(name: string, rest = ''): string {
  return `apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: ${name}\n${rest}`
}

const chart = {
  'app/Chart.yaml': 'apiVersion: v2\nname: web\nversion: 1.0.0\n',
  'app/values.yaml': 'colour: blue\nsize: 1\n',
  'app/templates/a.yaml': configMap(
    '{{ .Release.Name }}',
    '  namespace: {{ .Release.Namespace }}\ndata: {colour: {{ .Values.colour | quote }}, size: {{ .Values.size | quote }}}\n',
  ),
}

test('an overlay is rendered with bases and components anywhere in the repository, each object with its file and line', () => {
  const outcome = render(
    {
      'app/kustomization.yaml':
        'resources: [../lib/base, x.yaml]\ncomponents: [../lib/extra]\nnamePrefix: p-\nconfigMapGenerator:\n- name: made\n  literals: [a=b]\n',
      'app/x.yaml': `# first\n${configMap('x1')}---\n${configMap('x2')}`,
      'lib/base/kustomization.yaml': 'resources: [d.yaml]\n',
      'lib/base/d.yaml': `\n${configMap('base')}`,
      'lib/extra/kustomization.yaml':
        'apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\ncommonAnnotations: {extra: "1"}\n',
    },
    { read: ['app', 'lib/base', 'lib/extra'] },
  )
  expect(refused(outcome)).toEqual([])
  expect(declared(outcome)).toEqual([
    'lib/base/d.yaml:2 ConfigMap/p-base',
    'app/x.yaml:2 ConfigMap/p-x1',
    'app/x.yaml:7 ConfigMap/p-x2',
    'app/kustomization.yaml:0 ConfigMap/p-made-4h2mbtbbt6',
  ])
  expect(objectsOf(outcome)[0]).toMatchObject({ metadata: { annotations: { extra: '1' } } })
})

test('what an overlay refers to outside of its folder is asked for at once, and what that refers to next', () => {
  const options = { application: 'web', path: 'a/b/over', namespace: '' }
  const over = {
    'a/b/over/kustomization.yaml':
      'resources: [../../base, ../one.yaml]\npatches: [{path: ../../p.yaml}]\nconfigMapGenerator: [{name: c, files: [k=../../../f.txt]}]\n',
  }
  const first = renderApplication(inputsOf(over, ['a/b/over']), options, run)
  expect(first).toEqual({ needs: ['a/b/one.yaml', 'a/base', 'a/p.yaml', 'f.txt'] })
  const base = { ...over, 'a/base/kustomization.yaml': 'resources: [../deep]\n' }
  const second = renderApplication(
    inputsOf(base, ['a/b/over', 'a/b/one.yaml', 'a/base', 'a/p.yaml', 'f.txt']),
    options,
    run,
  )
  expect(second).toEqual({ needs: ['a/deep'] })
})

const escapes: Record<string, readonly [string, RegExp]> = {
  'a base above the repository': [
    'resources: [../../base]',
    /^UnsafePath app\/kustomization.yaml:1: resources: .*leads out/,
  ],
  'a file above the repository': ['resources: [../../../etc/passwd]', /^UnsafePath .*:1: .*leads out/],
  'an absolute base': ['resources: [/etc]', /^UnsafePath .*:1: .*absolute/],
  'an absolute patch': ['\npatches:\n- path: /etc/passwd', /^UnsafePath .*:3: patches: .*absolute/],
  'a generator of a foreign file': [
    '\nsecretGenerator:\n- name: s\n  files: [x=../../../proc/self/environ]',
    /^UnsafePath .*:4: .*leads out/,
  ],
  'a remote base': [
    'resources:\n- ./x.yaml\n- https://example.com/base?ref=v1',
    /^RenderFailed .*:3: .*remote and not pinned/,
  ],
  'a base on GitHub': ['resources: [github.com/owner/repo//base]', /remote/],
  'a base by SSH': ['resources: ["git@example.com:owner/repo.git"]', /remote/],
  'a base by the git command': ['resources: ["git::https://example.com/x"]', /remote/],
  'a base of the local disk': ['resources: ["file:///etc"]', /remote/],
  'a remote patch': ['patches: [{path: "https://example.com/p.yaml"}]', /remote/],
  'a remote component': ['components: ["ssh://git@example.com/x"]', /remote/],
  'a chart': [
    'helmCharts: [{name: x, repo: "https://example.com"}]',
    /^RenderFailed .*:1: helmCharts: x is not pinned/,
  ],
  'a program as generator': [
    'generators:\n- |-\n  apiVersion: x/v1\n  kind: Run\n  metadata:\n    name: x\n    annotations:\n      config.kubernetes.io/function: |\n        exec: {path: /bin/sh}',
    /^RenderFailed .*(plugin|exec|function)/i,
  ],
  'a container as transformer': [
    'resources: [x.yaml]\ntransformers:\n- |-\n  apiVersion: x/v1\n  kind: Run\n  metadata:\n    name: x\n    annotations:\n      config.kubernetes.io/function: |\n        container: {image: evil}',
    /^RenderFailed .*(plugin|exec|function|container)/i,
  ],
  'a plugin': [
    'resources: [x.yaml]\ntransformers:\n- |-\n  apiVersion: some/v1\n  kind: Plugin\n  metadata: {name: x}',
    /^RenderFailed .*plugin/i,
  ],
}

test.each(Object.entries(escapes))('Kustomize: %s is refused', (_name, [kustomization, refusal]) => {
  const outcome = render({ 'app/kustomization.yaml': `${kustomization}\n`, 'app/x.yaml': configMap('x') })
  expect(told(outcome)[0]).toMatch(refusal)
  expect(outcome.artifact.manifests).toEqual([])
  expect(outcome.incomplete).toBe(true)
})

test('a link that leads out of the repository is refused where it is referred to, by either tool', () => {
  const message = 'the link leads out of the repository'
  const link = (path: string): SkippedEntry[] => [{ path, kind: 'symlink', code: 'UnsafePath', message }]
  const overlay = render(
    { 'app/kustomization.yaml': 'resources:\n- x.yaml\n- evil.yaml\n', 'app/x.yaml': configMap('x') },
    { skipped: link('app/evil.yaml') },
  )
  expect(told(overlay)).toEqual([`UnsafePath app/kustomization.yaml:3: resources: evil.yaml: ${message}`])
  expect(told(render(chart, { skipped: link('app/templates/evil.yaml') }))).toEqual([
    `UnsafePath app/templates/evil.yaml:0: ${message}`,
  ])
  const values = { render: { helm: { valueFiles: ['evil.yaml'] } }, skipped: link('app/evil.yaml') }
  expect(told(render(chart, values))[0]).toMatch(/^UnsafePath app\/evil.yaml:0/)
})

test('what is not in the repository is told with the line that refers to it', () => {
  const outcome = render({
    'app/kustomization.yaml':
      'resources:\n- missing.yaml\n- folder\nconfigMapGenerator:\n- name: c\n  files:\n  - key=none.txt\n',
    'app/folder/x.yaml': configMap('x'),
  })
  expect(told(outcome)).toEqual([
    'PathNotFound app/kustomization.yaml:2: resources: missing.yaml is not in the repository',
    'PathNotFound app/kustomization.yaml:3: resources: folder is a folder without a kustomization.yaml',
    'PathNotFound app/kustomization.yaml:7: configMapGenerator: none.txt is not in the repository',
  ])
})

test("Kustomize's own errors come with the file, and the line where it can be told", () => {
  const at = (kustomization: string, more: Files = {}) =>
    told(render({ 'app/kustomization.yaml': kustomization, 'app/x.yaml': configMap('x'), ...more }))[0]
  expect(at('resources: [x.yaml]\nnamePrefx: p-\n')).toMatch(/^RenderFailed app\/kustomization.yaml:2: .*"namePrefx"/)
  expect(
    at(
      'resources: [x.yaml]\npatches:\n- patch: |\n    kind: ConfigMap\n    apiVersion: v1\n    metadata: {name: other}\n',
    ),
  ).toMatch(/^RenderFailed app\/kustomization.yaml:.*other/)
  expect(at('resources: [bad.yaml]\n', { 'app/bad.yaml': 'a: 1\n  b: : 2\n' })).toMatch(
    /^RenderFailed app\/bad.yaml:[12]: /,
  )
  expect(at('resources: [sub]\n', { 'app/sub/kustomization.yaml': 'resources: [..]\n' })).toMatch(/cycle/)
})

test('an encrypted manifest passes Kustomize as it stands in Git, and one that Kustomize changes is refused', () => {
  const secret =
    'kind: Secret\napiVersion: v1\nmetadata: {name: s}\nstringData:\n  z: ENC[AES256_GCM,data:a]\n  a: ENC[AES256_GCM,data:b]\nsops: {mac: "ENC[AES256_GCM,data:m]", version: 3.9.0, lastmodified: "2026-01-01T00:00:00Z"}\n'
  const files = { 'app/kustomization.yaml': 'resources: [s.yaml]\n', 'app/s.yaml': secret }
  const outcome = render(files)
  expect(told(outcome)).toEqual([])
  expect(Buffer.from(outcome.artifact.manifests[0]?.json ?? []).toString()).toMatch(/^\{"kind".*"z":.*"a":.*"sops"/)
  const changed = render({ ...files, 'app/kustomization.yaml': 'resources: [s.yaml]\nnamespace: other\n' })
  expect(told(changed)[0]).toMatch(/^InvalidManifest app\/s.yaml:0: Kustomize changes this encrypted manifest/)
})

test('files that SOPS encrypted do not end up as values or content, which nobody would decrypt', () => {
  const kustomization = 'secretGenerator:\n- name: s\n  envs:\n  - s.env\n'
  const generated = render({
    'app/kustomization.yaml': kustomization,
    'app/s.env': 'A=ENC[AES256_GCM,data:x,type:str]\nsops_version=3.9.0\n',
  })
  expect(told(generated)[0]).toMatch(
    /^RenderFailed app.kustomization.yaml:4: secretGenerator: s.env is encrypted by SOPS/,
  )
  const values = 'colour: ENC[AES256_GCM,data:x,type:str]\nsops: {mac: x}\n'
  const chosen = render({ ...chart, 'app/s.yaml': values }, { render: { helm: { valueFiles: ['s.yaml'] } } })
  expect(told(chosen)[0]).toMatch(/^RenderFailed app.s.yaml:0: the value file is encrypted by SOPS/)
})

test('archives and aliases that expand without end, and archives that lead out of the chart, are refused', () => {
  const dependency = `${chart['app/Chart.yaml']}dependencies: [{name: evil, version: 1.0.0}]\n`
  const evil = 'apiVersion: v2\nname: evil\nversion: 1.0.0\n'
  const at = (files: Readonly<Record<string, string>>) =>
    told(render({ ...chart, 'app/Chart.yaml': dependency, 'app/charts/evil-1.0.0.tgz': packChart('evil', files) }))[0]
  expect(at({ 'Chart.yaml': evil })).toBeUndefined()
  expect(at({ 'Chart.yaml': evil, '../../../etc/passwd': 'x' })).toMatch(/^RenderFailed .*parent directory/)
  expect(at({ 'Chart.yaml': evil, '/etc/passwd': 'x' })).toMatch(/^RenderFailed .*absolute paths/)
  expect(at({ 'Chart.yaml': evil, big: 'x'.repeat(40 * 1024 * 1024) })).toMatch(
    /^RenderFailed .*larger than the maximum size/,
  )
  const bomb = [
    'a: &a [x, x]',
    ...'bcdefghijklmnopqrstuvwxyz'.split('').map((key, index) => {
      const before = String.fromCharCode(97 + index)
      return `${key}: &${key} [*${before}, *${before}, *${before}, *${before}, *${before}, *${before}, *${before}, *${before}]`
    }),
  ].join('\n')
  for (const files of [
    { ...chart, 'app/values.yaml': bomb },
    {
      'app/kustomization.yaml': 'resources: [x.yaml]\n',
      'app/x.yaml': `${configMap('x')}data:\n  ${bomb.replaceAll('\n', '\n  ')}\n`,
    },
    { 'app/kustomization.yaml': `${bomb}\nresources: [x.yaml]\n`, 'app/x.yaml': configMap('x') },
  ]) {
    expect(told(render(files))[0]).toMatch(/^(RenderFailed|LimitExceeded) /)
  }
  const deep = { ...chart, 'app/values.yaml': `a: ${'['.repeat(5_000)}${']'.repeat(5_000)}\n` }
  expect(told(render(deep))).toEqual(['LimitExceeded app:0: rendering is nested too deep'])
  expect(declared(render(chart))).toEqual(['app/templates/a.yaml:0 ConfigMap/web'])
})

test('a chart is rendered with the values of its files and then of the definition, in the namespace of the application', () => {
  const outcome = render(
    { ...chart, 'app/dev.yaml': 'colour: red\n', 'values/all.yaml': 'colour: green\nsize: 2\n' },
    {
      read: ['app', 'values/all.yaml'],
      render: { helm: { valueFiles: ['../values/all.yaml', 'dev.yaml'], values: { size: 3 } } },
    },
  )
  expect(declared(outcome)).toEqual(['app/templates/a.yaml:0 ConfigMap/web'])
  expect(objectsOf(outcome)[0]).toMatchObject({ metadata: { namespace: 'shop' }, data: { colour: 'red', size: '3' } })
})

test('values win in one order: the chart, files and values of the application, then those of each override', () => {
  const files = {
    ...chart,
    'app/values.yaml': 'colour: chart\nsize: 1\nextra: {a: 1, b: 1}\n',
    'app/templates/b.yaml': configMap('extra', 'data: {extra: {{ .Values.extra | toJson | quote }}}\n'),
    'app/one.yaml': 'colour: one\nsize: 2\n',
    'values/two.yaml': 'colour: two\nsize: 3\n',
  }
  const given = (overrides: readonly RenderOverride[]) => {
    const outcome = render(files, {
      read: ['app', 'values/two.yaml'],
      render: { helm: { valueFiles: ['one.yaml'], values: { size: 4 } } },
      overrides,
    })
    expect(refused(outcome)).toEqual([])
    return objectsOf(outcome).map(({ data }) => data)
  }
  const two = { helm: { valueFiles: ['../values/two.yaml'] } }
  expect(given([])).toEqual([{ colour: 'one', size: '4' }, { extra: '{"a":1,"b":1}' }])
  expect(given([two])).toEqual([{ colour: 'two', size: '3' }, { extra: '{"a":1,"b":1}' }])
  const values = { helm: { values: { size: 5, extra: { a: null, c: [1] } } } }
  expect(given([two, values])).toEqual([{ colour: 'two', size: '5' }, { extra: '{"b":1,"c":[1]}' }])
  expect(given([values, two])).toEqual([{ colour: 'two', size: '3' }, { extra: '{"b":1,"c":[1]}' }])
})

test('patches, images and replicas of overrides are added to those of the kustomization', () => {
  const deployment =
    'apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec:\n  replicas: 1\n  selector: {matchLabels: {a: b}}\n  template:\n    metadata: {labels: {a: b}}\n    spec: {containers: [{name: c, image: "web:1"}]}\n'
  const patch = 'apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web, annotations: {patched: "1"}}\n'
  const operation = '- {op: add, path: /metadata/annotations/more, value: "2"}'
  const overrides = [
    { kustomize: { images: [{ name: 'web', newTag: '2' }], patches: [{ patch }] } },
    { kustomize: { images: [{ name: 'web', newTag: '3' }], replicas: [{ name: 'web', count: 5 }] } },
    { kustomize: { patches: [{ patch: operation, target: { kind: 'Deployment' } }] } },
  ]
  for (const kustomization of [
    'resources: [d.yaml]\n',
    'resources: [d.yaml]\npatches:\n',
    'resources: [d.yaml]\npatches: [{patch: "- {op: add, path: /metadata/labels, value: {own: mine}}", target: {kind: Deployment}}]\nimages: [{name: web, newTag: "1.1"}]\n',
  ]) {
    const outcome = render({ 'app/kustomization.yaml': kustomization, 'app/d.yaml': deployment }, { overrides })
    expect(refused(outcome)).toEqual([])
    expect(declared(outcome)).toEqual(['app/d.yaml:1 Deployment/web'])
    expect(objectsOf(outcome)[0]).toMatchObject({
      metadata: {
        name: 'web',
        annotations: { patched: '1', more: '2' },
        ...(kustomization.includes('own') && { labels: { own: 'mine' } }),
      },
      spec: { replicas: 5, template: { spec: { containers: [{ image: 'web:3' }] } } },
    })
  }
})

test('an override that does not fit is told, never passed over', () => {
  const kustomize = { kustomize: { replicas: [{ name: 'web', count: 5 }] } }
  expect(told(render(chart, { overrides: [kustomize] }))).toEqual([
    'InvalidManifest app:0: overrides[].kustomize is for a Kustomize folder, and this is a Helm chart',
  ])
  const plain = { 'app/a.yaml': configMap('a') }
  expect(told(render(plain, { overrides: [kustomize] }))).toEqual([
    'InvalidManifest app:0: overrides[].kustomize is for a Kustomize folder, and this is neither',
  ])
  expect(told(render(plain, { overrides: [{ helm: { values: { a: 1 } } }] }))).toEqual([
    'InvalidManifest app:0: overrides[].helm is for a Helm chart, and this is neither',
  ])
  const folder = { 'app/kustomization.yaml': 'resources: [a.yaml]\n', ...plain }
  const patch = 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: other}\n'
  expect(told(render(folder, { overrides: [{ kustomize: { patches: [{ patch }] } }] }))).toEqual([
    expect.stringMatching(/^RenderFailed app\/kustomization.yaml:0: Kustomize: .*no matches for Id ConfigMap.*other/),
  ])
  const broken = { 'app/kustomization.yaml': 'resources: [a.yaml]\nimages: {a: b}\n', ...plain }
  expect(told(render(broken, { overrides: [{ kustomize: { images: [{ name: 'a', newTag: '1' }] } }] }))).toEqual([
    expect.stringMatching(/^RenderFailed app\/kustomization.yaml:/),
  ])
  expect(told(render(chart, { overrides: [{ helm: { valueFiles: ['../../x'] } }] }))).toEqual([
    'UnsafePath app:0: overrides[].helm.valueFiles: ../../x leads out of the repository',
  ])
})

test('value files are of the repository or none', () => {
  const at = (file: string, read = ['app', 'x.yaml']) =>
    told(render(chart, { read, render: { helm: { valueFiles: [file] } } }))[0]
  expect(at('../../etc/passwd')).toMatch(/^UnsafePath app:0: .*leads out of the repository/)
  expect(at('../x.yaml')).toBe('PathNotFound x.yaml:0: the value file is not in the repository')
  expect(at('x.yaml')).toBe('PathNotFound app/x.yaml:0: the value file is not in the repository')
})

test("Helm's errors come with the template and the line", () => {
  const at = (template: string, more: Files = {}) =>
    told(render({ ...chart, 'app/templates/b.yaml': template, ...more }))[0]
  expect(at('\n\n{{ fail "no way" }}')).toMatch(/^RenderFailed app\/templates\/b.yaml:3: Helm: .*no way/)
  expect(at('a: {{ required "give a size" .Values.none }}')).toMatch(/templates\/b.yaml:1: .*give a size/)
  expect(at('\n{{ if }}')).toMatch(/^RenderFailed app\/templates\/b.yaml:2: Helm: parse error/)
  expect(at('{{ include "none" . }}')).toMatch(/^RenderFailed app\/templates\/b.yaml:1: .*"none"/)
  expect(at('\n{{ lookup "v1" "Secret" "x" "y" }}')).toMatch(
    /^RenderFailed app\/templates\/b.yaml:2: .*lookup of Secret "y": charts are rendered without a cluster/,
  )
  expect(at('a: 1\n b: 2\n')).toMatch(/^InvalidYaml app\/templates\/b.yaml:0: .*\(line \d of what is rendered\)/)
  expect(at('', { 'app/values.schema.json': '{"properties": {"size": {"type": "string"}}}' })).toMatch(
    /^RenderFailed app\/Chart.yaml:0: .*\/size/,
  )
  expect(at('', { 'app/values.schema.json': '{"$ref": "file:///etc/passwd"}' })).toMatch(
    /^RenderFailed app\/Chart.yaml/,
  )
  expect(at('', { 'app/values.schema.json': '{"$ref": "https://example.com/x.json"}' })).toMatch(
    /^RenderFailed app\/Chart.yaml/,
  )
})

test('no message holds what a secret may be', () => {
  const kustomization = 'resources: [x.yaml]\npatches:\n- target: {kind: Nothing}\n  patch: "[{op: hush-hush}]"\n'
  const overlay = render({ 'app/kustomization.yaml': kustomization, 'app/x.yaml': configMap('x') })
  expect(told(overlay)[0]).toMatch(/^RenderFailed app.kustomization.yaml:0: Kustomize: .*patch/)
  expect(JSON.stringify(told(overlay))).not.toContain('hush-hush')
  const replacement = (source: string, target: string): string =>
    `resources: [x.yaml]\nreplacements: [{source: {kind: ConfigMap, fieldPath: data.a${source}}, targets: [{select: {kind: ConfigMap}, fieldPaths: [data.a${target}]}]}]\n`
  for (const [content, reason] of [
    ['secretGenerator: [{name: a, literals: ["hush-hush\\nhush-hush"]}]', 'a literal is not key=value'],
    [replacement('', '.b'), 'expected MappingNode but got ScalarNode'],
    [replacement(', options: {delimiter: "-", index: 9}', ''), 'index 9 is out of bounds'],
  ] as const) {
    const made = render({ 'app/kustomization.yaml': content, 'app/x.yaml': configMap('x', 'data: {a: hush-hush}\n') })
    expect(told(made)[0]).toContain(reason)
    expect(JSON.stringify(told(made))).not.toContain('hush')
  }
  const helm = { values: { key: '{{ hush-hush', size: 'hush-hush' } }
  const tpl = render({ ...chart, 'app/templates/b.yaml': '{{ tpl .Values.key . }}' }, { render: { helm } })
  expect(told(tpl)[0]).toMatch(/^RenderFailed app.templates.b.yaml:1: Helm: .*cannot parse template/)
  expect(JSON.stringify(told(tpl))).not.toContain('{{ hush-hush')
  const inputs = {
    key: '[hush-hush`"hush',
    tpl: '{{ until "hush-hush" }}',
    calls: '{{ mustToDate "2006" "hush-hush" }}',
  }
  for (const [call, reason] of [
    ['mustToDate "2006-01-02" .Values.key', 'mustToDate: parsing time …'],
    ['mustRegexMatch .Values.key "x"', 'mustRegexMatch: error parsing regexp: missing closing ]: …'],
    ['mustToDuration .Values.key', 'could not parse duration …'],
    ['urlParse (printf "%s://%%zz" .Values.key)', 'unable to parse url: parse …'],
    ['semverCompare .Values.key "1.2.3"', 'improper constraint: …'],
    ['genSelfSignedCert "a" (list .Values.key) nil 365', 'error parsing ip: …'],
    ['include "date" .', 'mustToDate: parsing time …'],
    ['tpl .Values.tpl .', 'executing "gotpl" at …'],
    ['tpl .Values.calls .', 'mustToDate: parsing time …'],
    // What quotes nothing is told as it is.
    ['mustFirst .Values.key', 'Cannot find first on type string'],
    ['div 1 0', 'integer divide by zero'],
    ['fail (printf "%s is unknown" "x")', 'x is unknown'],
  ] as const) {
    const defined = '{{ define "date" }}{{ mustToDate "2006" .Values.key }}{{ end }}'
    const made = render(
      { ...chart, 'app/templates/b.yaml': `{{ ${call} }}`, 'app/templates/_date.tpl': defined },
      { render: { helm: { values: inputs } } },
    )
    expect(told(made)[0]).toMatch(/^RenderFailed app.templates.b.yaml:1: /)
    expect(told(made)[0]).toContain(reason)
    expect(JSON.stringify(told(made))).not.toContain('hush')
  }
  const refused = { env: { propertyNames: { pattern: '^[A-Z]+$' } }, pin: { maximum: 9 }, age: { multipleOf: 2 } }
  for (const [name, reason] of [
    ['env', "at '/env': invalid propertyName"],
    ['pin', "at '/pin': maximum: want 9"],
    ['age', "at '/age': multipleOf: want 2"],
  ] as const) {
    const schemaOf = JSON.stringify({ properties: { [name]: refused[name] } })
    const given = { values: { env: { "hush'-hush": 'x' }, pin: 4711, age: 4711 } }
    const made = render({ ...chart, 'app/values.schema.json': schemaOf }, { render: { helm: given } })
    expect(told(made)[0]).toContain(reason)
    expect(JSON.stringify(told(made))).not.toMatch(/hush|4,?711/)
  }
  const formats = { "a'b": { pattern: '^[0-9]+$' }, c: { format: 'uri' }, d: { format: 'date' } }
  const draft = { $schema: 'http://json-schema.org/draft-07/schema#', properties: formats }
  const values = { "a'b": 'hush-hush', c: 'https://user:hush-hush@host:port', d: "hush'-hush" }
  const unfit = render({ ...chart, 'app/values.schema.json': JSON.stringify(draft) }, { render: { helm: { values } } })
  expect(told(unfit)[0]).toMatch(/does not match.*'\/c': the value is not valid uri.*the value is not valid date$/)
  expect(JSON.stringify(told(unfit))).not.toContain('hush')
  const schema = '{"properties": {"size": {"type": "string", "pattern": "^[0-9]+$"}}}'
  const checked = render({ ...chart, 'app/values.schema.json': schema }, { render: { helm } })
  expect(told(checked)[0]).toMatch(/^RenderFailed app.Chart.yaml:0: Helm: .*the value does not match pattern/)
})

test('where the definition says so, lookup finds nothing', () => {
  const files = { ...chart, 'app/templates/b.yaml': '{{ if lookup "v1" "Secret" "x" "y" }}{{ fail "found" }}{{ end }}' }
  expect(told(render(files, { render: { helm: { emptyLookup: true } } }))).toEqual([])
})

test('a library chart is none to run, and a chart says for which Kubernetes it is', () => {
  expect(told(render({ ...chart, 'app/Chart.yaml': `${chart['app/Chart.yaml']}type: library\n` }))).toEqual([
    'RenderFailed app/Chart.yaml:4: a library chart cannot be run by itself',
  ])
  expect(told(render({ ...chart, 'app/Chart.yaml': `${chart['app/Chart.yaml']}kubeVersion: "<1.20"\n` }))[0]).toMatch(
    /^RenderFailed app\/Chart.yaml:4: the chart requires Kubernetes <1.20 and is rendered for v1/,
  )
})

test('files of a chart are those of its folder, without what .helmignore names', () => {
  const outcome = render({
    ...chart,
    'app/.helmignore': 'secret.txt\n',
    'app/in.txt': 'in',
    'app/secret.txt': 'ignored',
    'out.txt': 'out',
    'app/templates/a.yaml': configMap(
      'a',
      'data: {in: "{{ .Files.Get "in.txt" }}", ignored: "{{ .Files.Get "secret.txt" }}", out: "{{ .Files.Get "../out.txt" }}{{ .Files.Get "/etc/passwd" }}"}\n',
    ),
  })
  expect(objectsOf(outcome)[0]).toMatchObject({ data: { in: 'in', ignored: '', out: '' } })
})

test('charts know what a Kubernetes of today serves, and what the definition adds', () => {
  const files = {
    ...chart,
    'app/templates/a.yaml': configMap(
      'a',
      'data:\n  v: {{ .Capabilities.KubeVersion.Version }}\n{{- range list "apps/v1" "apps/v1/Deployment" "policy/v1beta1" "x.io/v1" }}\n  {{ . | replace "/" "." }}: {{ $.Capabilities.APIVersions.Has . | quote }}\n{{- end }}\n',
    ),
  }
  expect(objectsOf(render(files))[0]).toMatchObject({
    data: {
      v: 'v1.36.0',
      'apps.v1': 'true',
      'apps.v1.Deployment': 'true',
      'policy.v1beta1': 'false',
      'x.io.v1': 'false',
    },
  })
  const render2 = { helm: { kubeVersion: '1.31.4', apiVersions: ['x.io/v1'] } }
  expect(objectsOf(render(files, { render: render2 }))[0]).toMatchObject({ data: { v: 'v1.31.4', 'x.io.v1': 'true' } })
  // What a cluster reports is in place of all that is assumed; what the definition adds for it still counts.
  const capabilities = { kubeVersion: 'v1.30.1+k3s1', apiVersions: ['v1', 'policy/v1beta1'] }
  expect(objectsOf(render(files, { render: render2, capabilities }))[0]).toMatchObject({
    data: { v: 'v1.30.1+k3s1', 'apps.v1': 'false', 'policy.v1beta1': 'true', 'x.io.v1': 'true' },
  })
  const overrides = [{ helm: { kubeVersion: 'v1.29.0' } }]
  expect(objectsOf(render(files, { overrides, capabilities }))[0]).toMatchObject({
    data: { v: 'v1.29.0', 'policy.v1beta1': 'true', 'x.io.v1': 'false' },
  })
})

test('hooks of Helm become ours, tests are left out, and what has no like is told', () => {
  const hook = (name: string, annotations: string, kind = 'Job') =>
    `apiVersion: ${kind === 'Job' ? 'batch/v1' : 'v1'}\nkind: ${kind}\nmetadata:\n  name: ${name}\n  annotations: {${annotations}}\n---\n`
  const outcome = render({
    ...chart,
    'app/templates/hooks.yaml': [
      hook('pre', 'helm.sh/hook: "pre-install, pre-upgrade", helm.sh/hook-weight: "-5"'),
      hook('post', 'helm.sh/hook: post-upgrade'),
      hook('both', 'helm.sh/hook: "post-install,pre-upgrade"'),
      hook('account', 'helm.sh/hook: pre-install', 'ServiceAccount'),
      hook('tested', 'helm.sh/hook: test', 'Pod'),
      hook('gone', 'helm.sh/hook: post-delete'),
      hook('kept', 'helm.sh/resource-policy: keep', 'Secret'),
    ].join(''),
  })
  const annotations = Object.fromEntries(
    objectsOf(outcome).map(({ metadata }: { metadata?: { name: string; annotations?: Record<string, string> } }) => [
      metadata?.name,
      Object.entries(metadata?.annotations ?? {}).filter(([key]) => key.startsWith('fairlead.dev/')),
    ]),
  )
  expect(annotations).toMatchObject({
    pre: [
      ['fairlead.dev/wave', '-5'],
      ['fairlead.dev/hook', 'pre-sync'],
    ],
    post: [['fairlead.dev/hook', 'post-sync']],
    both: [['fairlead.dev/hook', 'post-sync']],
    account: [['fairlead.dev/before-hooks', 'true']],
    kept: [['fairlead.dev/prune', 'disabled']],
  })
  expect(annotations.tested).toBeUndefined()
  expect(refused(outcome)).toEqual(['InvalidManifest app/templates/hooks.yaml:0 Job.batch gone'])
  expect(outcome.incomplete).toBe(false)
})

test('custom resource definitions in crds/ are objects, unless the definition leaves them out', () => {
  const files = {
    ...chart,
    'app/crds/x.yaml':
      'apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: xs.x.io}\n',
    'app/templates/NOTES.txt': 'thanks',
  }
  expect(declared(render(files))).toEqual([
    'app/crds/x.yaml:0 CustomResourceDefinition/xs.x.io',
    'app/templates/a.yaml:0 ConfigMap/web',
  ])
  expect(declared(render(files, { render: { helm: { skipCrds: true } } }))).toEqual([
    'app/templates/a.yaml:0 ConfigMap/web',
  ])
})

test('the tool is chosen by what the folder holds, and by the definition where it says so', () => {
  const both = { ...chart, 'app/kustomization.yaml': 'resources: [x.yaml]\n', 'app/x.yaml': configMap('x') }
  expect(told(render(both))[0]).toMatch(
    /^InvalidManifest app\/Chart.yaml:0: the folder holds a chart and a kustomization/,
  )
  expect(declared(render(both, { render: { helm: {} } }))).toEqual(['app/templates/a.yaml:0 ConfigMap/web'])
  expect(declared(render(both, { render: { kustomize: {} } }))).toEqual(['app/x.yaml:1 ConfigMap/x'])
  const plain = { 'app/x.yaml': configMap('x') }
  expect(told(render(plain, { render: { helm: {} } }))[0]).toMatch(/^InvalidManifest app:0: .*no Chart.yaml here/)
  const inside = { 'app/x.yaml': configMap('x'), 'app/sub/Chart.yaml': 'name: x\n', 'app/sub/templates/t.yaml': '{{' }
  expect(told(render(inside))).toEqual([
    'InvalidManifest app/sub/Chart.yaml:0: app/sub is a Helm chart among plain manifests; make it an Application of its own',
  ])
})

test('a chart that renders to nothing but a hook that is left out is refused: nothing may be pruned by it', () => {
  const hook = configMap('late', '  annotations: {helm.sh/hook: pre-delete}\n')
  const outcome = render({ 'app/Chart.yaml': chart['app/Chart.yaml'], 'app/templates/a.yaml': hook })
  expect(outcome.incomplete).toBe(true)
  expect(told(outcome)).toEqual([
    expect.stringMatching(/^InvalidManifest app\/templates\/a.yaml:0: the hook pre-delete is left out/),
    expect.stringMatching(/^InvalidManifest app:0: there are no manifests here/),
  ])
})

test('a schema that one kustomization brings changes nothing of what is rendered next', () => {
  const containers = (names: string): string =>
    `apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: d}\nspec: {template: {spec: {containers: [${names}]}}}\n`
  const files = {
    'app/kustomization.yaml': 'resources: [d.yaml]\npatches: [{path: p.yaml}]\n',
    'app/d.yaml': containers('{name: a, image: x}, {name: b, image: y}'),
    'app/p.yaml': containers('{name: a, image: z}'),
  }
  const first = render(files)
  const kind = [{ group: 'apps', version: 'v1', kind: 'Deployment' }]
  // Without merge keys a list is replaced.
  const schema = { definitions: { Deployment: { type: 'object', 'x-kubernetes-group-version-kind': kind } } }
  const outcome = render({
    ...files,
    'app/kustomization.yaml': `${files['app/kustomization.yaml']}openapi: {path: schema.json}\n`,
    'app/schema.json': JSON.stringify(schema),
  })
  expect(objectsOf(outcome)).not.toEqual(objectsOf(first))
  expect(objectsOf(render(files))).toEqual(objectsOf(first))
})

test('charts in charts/ are taken in one order, and of one name and version only once', () => {
  const charts = ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h'].flatMap((name) => [
    [`app/charts/${name}/Chart.yaml`, `apiVersion: v2\nname: ${name}\nversion: 1.0.0\n`],
    [`app/charts/${name}/crds/x.yaml`, configMap(`crd-${name}`)],
  ])
  const files = { 'app/Chart.yaml': chart['app/Chart.yaml'], ...Object.fromEntries(charts) }
  expect(declared(render(files))).toEqual(
    ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h'].map((name) => `app/charts/${name}/crds/x.yaml:0 ConfigMap/crd-${name}`),
  )
  const twice = { ...files, 'app/charts/other/Chart.yaml': files['app/charts/a/Chart.yaml'] ?? '' }
  expect(told(render(twice))).toEqual(['RenderFailed app/Chart.yaml:0: charts/ of web holds a 1.0.0 twice'])
})

import { fromBinary, toBinary } from '@bufbuild/protobuf'
import { ArtifactSchema } from '@fairlead/proto/slice'
import { expect, test } from 'vitest'
import type { SkippedEntry } from '../tracker/source-tree.ts'
import { carryOver } from './carry-over.ts'
import { declared, type Files, inputsOf, refused, renderInputs } from './render.test-support.ts'
import { inputHash, type ReadPath } from './render.ts'
import { RENDER_MAX_OBJECTS, RENDER_MAX_PROBLEMS, type RenderOutcome } from './rendering.ts'

function render(files: Files, { path = 'deploy', skipped = [] as SkippedEntry[] } = {}): RenderOutcome {
  return renderInputs(inputsOf(files, [path], skipped), { application: 'web', path, namespace: 'shop' })
}

function configMap(name: string, rest = ''): string {
  return `apiVersion: v1\nkind: ConfigMap\nmetadata: {name: ${name}}\n${rest}`
}

test('every document of every manifest file below the folder is rendered, in the order of paths and documents', () => {
  const outcome = render({
    'deploy/z.yml': configMap('z'),
    'deploy/a.yaml': `# two\n\n${configMap('a1')}---\n---\n# none\n---\n${configMap('a2')}`,
    'deploy/sub/deep/b.json': '{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"b"}}',
    'deploy/README.md': '# not a manifest: {',
    'deploy/.github/workflow.yaml': 'on: push',
    'deploy/.hidden.yaml': 'x',
    'deploy/empty.yaml': '# nothing\n',
  })
  expect(declared(outcome)).toEqual([
    'deploy/a.yaml:3 ConfigMap/a1',
    'deploy/a.yaml:10 ConfigMap/a2',
    'deploy/sub/deep/b.json:1 ConfigMap/b',
    'deploy/z.yml:1 ConfigMap/z',
  ])
  expect(outcome).toMatchObject({ problems: [], incomplete: false })
})

test('equal trees give equal bytes, whatever the order of the files', () => {
  const files = { 'deploy/a.yaml': configMap('a', 'data: {b: "1", a: "2"}\n'), 'deploy/b.yaml': configMap('b') }
  const reversed = Object.fromEntries(Object.entries(files).reverse())
  const bytes = [files, files, reversed].map((each) => Buffer.from(toBinary(ArtifactSchema, render(each).artifact)))
  expect(bytes[1]).toEqual(bytes[0])
  expect(bytes[2]).toEqual(bytes[0])
  expect(fromBinary(ArtifactSchema, bytes[0] ?? Buffer.alloc(0)).manifests).toHaveLength(2)
})

test('an object comes out as it was written, less what only an API server writes', () => {
  const outcome = render({
    'deploy/a.yaml':
      'apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: web\n  creationTimestamp: null\n  uid: x\n  resourceVersion: "1"\n  managedFields: []\n  labels: {a: b}\nspec: {mode: 0644, unknown: {field: [~]}}\nstatus: {}\n',
  })
  expect(JSON.parse(Buffer.from(outcome.artifact.manifests[0]?.json ?? []).toString())).toEqual({
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: { name: 'web', labels: { a: 'b' } },
    spec: { mode: 420, unknown: { field: [null] } },
    status: {},
  })
})

test('lists are taken apart, typed ones and nested ones too, and every item has its own line', () => {
  const outcome = render({
    'deploy/a.yaml':
      'apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: ConfigMap\n  metadata: {name: a}\n- apiVersion: v1\n  kind: ConfigMapList\n  items:\n  - metadata: {name: b}\n---\napiVersion: v1\nkind: List\nitems: []\n',
  })
  expect(declared(outcome)).toEqual(['deploy/a.yaml:4 ConfigMap/a', 'deploy/a.yaml:10 ConfigMap/b'])
  expect(outcome.problems).toEqual([])
})

test.each([
  ['a List of nothing', 'apiVersion: v1\nkind: List\nitems:\n'],
  ['a List without items', 'apiVersion: v1\nkind: List\n'],
  ['an empty document', '\n---\n# only a comment\n---\n'],
  ['a document that is null', 'null\n'],
])('%s declares nothing and is no mistake', (_, document) => {
  const outcome = render({ 'deploy/a.yaml': `${configMap('good')}---\n${document}` })
  expect(declared(outcome)).toEqual(['deploy/a.yaml:1 ConfigMap/good'])
  expect(outcome.problems).toEqual([])
})

test('an object of a kind whose name ends in List is no list', () => {
  const outcome = render({
    'deploy/a.yaml': 'apiVersion: e.com/v1\nkind: IPAllowList\nmetadata: {name: office}\nitems: [10.0.0.0/8]\n',
  })
  expect(declared(outcome)).toEqual(['deploy/a.yaml:1 IPAllowList/office'])
  expect(outcome.problems).toEqual([])
})

test.each([
  ['a missing apiVersion', 'kind: A\nmetadata: {name: x}\n', 'apiVersion is missing', 'A x'],
  ['a missing kind', 'apiVersion: v1\nmetadata: {name: x}\n', 'kind is missing', undefined],
  ['missing metadata', 'apiVersion: v1\nkind: A\n', 'metadata.name is missing', 'A '],
  ['a missing name', 'apiVersion: v1\nkind: A\nmetadata: {labels: {}}\n', 'metadata.name is missing', 'A '],
  ['an empty name', 'apiVersion: v1\nkind: A\nmetadata: {name: ""}\n', 'metadata.name is missing', 'A '],
  ['generateName', 'apiVersion: v1\nkind: A\nmetadata: {generateName: x-}\n', 'generateName', 'A '],
  [
    'a List of no sequence',
    'apiVersion: v1\nkind: List\nitems: {a: 1}\n',
    'items of a List must be a sequence',
    undefined,
  ],
  [
    'a hook that is no Job',
    'apiVersion: v1\nkind: A\nmetadata: {name: x, annotations: {fairlead.dev/hook: pre-sync}}\n',
    'only a Job can have the annotation fairlead.dev/hook',
    'A x',
  ],
  [
    'a hook Job with generateName',
    'apiVersion: batch/v1\nkind: Job\nmetadata: {generateName: x-, annotations: {fairlead.dev/hook: pre-sync}}\n',
    'metadata.generateName makes a new object at each apply',
    'Job.batch ',
  ],
  [
    'a wave that is no integer',
    'apiVersion: v1\nkind: A\nmetadata: {name: x, annotations: {fairlead.dev/wave: early}}\n',
    'the annotation fairlead.dev/wave must be an integer',
    'A x',
  ],
  ['a number as name', 'apiVersion: v1\nkind: A\nmetadata: {name: 0644}\n', 'name must be text but is a number', 'A '],
  ['a name that YAML reads as true', 'apiVersion: v1\nkind: A\nmetadata: {name: on}\n', 'is a boolean to YAML', 'A '],
  ['a slash in the name', 'apiVersion: v1\nkind: A\nmetadata: {name: a/b}\n', 'name is not a valid name', 'A a/b'],
  ['a name of points', 'apiVersion: v1\nkind: A\nmetadata: {name: ..}\n', 'name is not a valid name', 'A ..'],
  ['a long name', `apiVersion: v1\nkind: A\nmetadata: {name: ${'a'.repeat(254)}}\n`, 'not a valid name', undefined],
  ['a broken apiVersion', 'apiVersion: a/b/c\nkind: A\nmetadata: {name: x}\n', 'apiVersion is not', undefined],
  ['apiVersion as a number', 'apiVersion: 1\nkind: A\nmetadata: {name: x}\n', 'apiVersion must be text', 'A x'],
  ['a broken kind', 'apiVersion: v1\nkind: "a b"\nmetadata: {name: x}\n', 'kind is not', undefined],
  ['metadata as text', 'apiVersion: v1\nkind: A\nmetadata: x\n', 'metadata must be a mapping', 'A '],
  [
    'a number as label',
    'apiVersion: v1\nkind: A\nmetadata: {name: x, labels: {v: 1}}\n',
    'metadata.labels[v] must',
    'A x',
  ],
  [
    'a boolean annotation',
    'apiVersion: v1\nkind: A\nmetadata: {name: x, annotations: {a: yes}}\n',
    'annotations[a]',
    'A x',
  ],
  ['labels as a sequence', 'apiVersion: v1\nkind: A\nmetadata: {name: x, labels: [a]}\n', 'labels must be', 'A x'],
  ['a document that is text', 'hello\n', 'not a mapping', undefined],
  ['a document that is a sequence', '- a\n', 'not a mapping', undefined],
])('%s is refused with file, line and object, and the rest is rendered', (_, document, message, object) => {
  const outcome = render({ 'deploy/a.yaml': `${configMap('good')}---\n${document}`, 'deploy/b.yaml': configMap('b') })
  expect(declared(outcome)).toEqual(['deploy/a.yaml:1 ConfigMap/good', 'deploy/b.yaml:1 ConfigMap/b'])
  expect(outcome.incomplete).toBe(true)
  expect(outcome.problems[0]).toMatchObject({ code: 'InvalidManifest', source: { file: 'deploy/a.yaml', line: 5 } })
  expect(outcome.problems[0]?.message).toContain(message)
  if (object !== undefined) expect(refused(outcome)[0]).toBe(`InvalidManifest deploy/a.yaml:5 ${object}`)
})

test.each(['Shop', 'a.b', '-a', 'a'.repeat(64), 'a/b', '1'])('the namespace %s is refused', (namespace) => {
  const text = `apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x, namespace: ${namespace}}\n`
  expect(render({ 'deploy/a.yaml': text }).problems.map(({ code }) => code)).toEqual(['InvalidNamespace'])
})

test('an object that is declared twice is refused the second time, and both places are named', () => {
  const outcome = render({
    'deploy/a.yaml': configMap('x'),
    'deploy/b.yaml': `apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x, namespace: shop}\n---\n${configMap('x').replace('{name: x}', '{name: x, namespace: other}')}`,
    'deploy/c.yaml':
      'apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: x}\n---\napiVersion: apps/v1beta1\nkind: Deployment\nmetadata: {name: x}\n',
  })
  expect(refused(outcome)).toEqual([
    'DuplicateObject deploy/b.yaml:1 ConfigMap shop/x',
    'DuplicateObject deploy/c.yaml:5 Deployment.apps x',
  ])
  expect(outcome.problems[0]?.message).toContain('deploy/a.yaml line 1')
  expect(declared(outcome)).toHaveLength(3)
})

test('a file that is not YAML is refused with the line, and the other files are rendered', () => {
  const outcome = render({
    'deploy/a.yaml': configMap('a'),
    'deploy/b.yaml': 'apiVersion: v1\nkind: Secret\nstringData:\n  password: hunter2: hunter2\n',
    'deploy/c.json': '{"apiVersion": ',
    'deploy/d.yaml': new Uint8Array([0x61, 0x3a, 0x20, 0x31, 0x0a, 0xff, 0xfe]),
    'deploy/e.yaml': 'kind: {{ .Values.kind }}\n',
  })
  expect(declared(outcome)).toEqual(['deploy/a.yaml:1 ConfigMap/a'])
  expect(refused(outcome)).toEqual([
    'InvalidYaml deploy/b.yaml:4',
    'InvalidYaml deploy/c.json:1',
    'InvalidYaml deploy/d.yaml:2',
    'InvalidYaml deploy/e.yaml:1',
  ])
  expect(outcome.problems.map(({ message }) => message).join()).not.toContain('hunter2')
  expect(outcome.incomplete).toBe(true)
})

test("a Secret's values are in no message, whatever is wrong with it", () => {
  const outcome = render({
    'deploy/a.yaml':
      'apiVersion: v1\nkind: Secret\nmetadata:\n  name: x\n  annotations: {a: 9007199254740}\ndata: {p: hunter2}\nstringData: {q: hunter2}\n---\napiVersion: v1\nkind: Secret\nmetadata: {name: y}\ndata: [hunter2]\n---\nhunter2\n',
    'deploy/b.yaml': 'apiVersion: v1\nkind: Secret\nmetadata: {name: z}\nstringData: {q: !!int hunter2}\n',
  })
  const text = JSON.stringify(outcome.problems)
  expect(outcome.problems.length).toBeGreaterThan(2)
  expect(text).not.toContain('hunter2')
  expect(text).not.toContain('9007199254740')
})

test('an integer that the API server would change is refused by field and line', () => {
  const outcome = render({ 'deploy/a.yaml': configMap('x', 'data:\n  m: 9223372036854775808\n') })
  expect(outcome.problems[0]).toMatchObject({ code: 'InvalidYaml', source: { file: 'deploy/a.yaml', line: 5 } })
  expect(outcome.problems[0]?.message).toMatch(/^data\.m: /)
})

test('a Kustomize folder and a Helm chart are refused as such, and what is beside them is rendered', () => {
  const outcome = render({
    'deploy/a.yaml': configMap('a'),
    'deploy/base/kustomization.yaml': 'resources: [x.yaml]',
    'deploy/base/x.yaml': 'no manifest',
    'deploy/base/sub/kustomization.yml': 'resources: []',
    'deploy/chart/Chart.yaml': 'name: x',
    'deploy/chart/templates/x.yaml': '{{ x }}',
  })
  expect(declared(outcome)).toEqual(['deploy/a.yaml:1 ConfigMap/a'])
  expect(refused(outcome)).toEqual([
    'InvalidManifest deploy/base/kustomization.yaml:0',
    'InvalidManifest deploy/chart/Chart.yaml:0',
  ])
  expect(outcome.problems.map(({ message }) => message)).toEqual([
    expect.stringContaining('deploy/base is a Kustomize folder'),
    expect.stringContaining('deploy/chart is a Helm chart'),
  ])
})

test('a folder without manifests is a problem and never an empty application', () => {
  for (const files of [{}, { 'deploy/README.md': 'x' }, { 'deploy/a.yaml': '# nothing\n' }]) {
    const outcome = render(files as Files)
    expect(outcome).toMatchObject({ incomplete: true, problems: [{ code: 'InvalidManifest' }] })
    expect(outcome.artifact.manifests).toEqual([])
  }
})

test('the root of a repository and a single file can be rendered', () => {
  expect(declared(render({ 'a.yaml': configMap('a'), '.ci/b.yaml': 'x' }, { path: '' }))).toEqual([
    'a.yaml:1 ConfigMap/a',
  ])
  expect(declared(render({ 'deploy/a.yaml': configMap('a') }, { path: './deploy//' }))).toHaveLength(1)
  expect(declared(render({ 'x/.a.txt': configMap('a') }, { path: 'x/.a.txt' }))).toEqual(['x/.a.txt:1 ConfigMap/a'])
})

test('what the tracker had to leave out is reported where it could have held manifests', () => {
  const skipped: SkippedEntry[] = [
    { path: 'deploy/big.bin', kind: 'file', code: 'LimitExceeded', message: 'too large' },
    { path: 'deploy/big.yaml', kind: 'file', code: 'LimitExceeded', message: 'too large' },
    { path: 'deploy/.cache', kind: 'submodule', code: 'InvalidManifest', message: 'a submodule' },
    { path: 'deploy/lib', kind: 'submodule', code: 'InvalidManifest', message: 'a submodule' },
    { path: 'deploy/link', kind: 'symlink', code: 'UnsafePath', message: 'leads out' },
  ]
  const outcome = render({ 'deploy/a.yaml': configMap('a') }, { skipped })
  expect(refused(outcome)).toEqual([
    'LimitExceeded deploy/big.yaml:0',
    'InvalidManifest deploy/lib:0',
    'UnsafePath deploy/link:0',
  ])
  expect(outcome.incomplete).toBe(true)
})

test('13,000 objects are rendered, and one more than the limit is not', () => {
  const many = (count: number) => Array.from({ length: count }, (_, index) => configMap(`c${index}`)).join('---\n')
  expect(render({ 'deploy/a.yaml': many(13_000) }).artifact.manifests).toHaveLength(13_000)
  const outcome = render({ 'deploy/a.yaml': many(RENDER_MAX_OBJECTS + 5) })
  expect(outcome.artifact.manifests).toHaveLength(RENDER_MAX_OBJECTS)
  expect(outcome.problems.map(({ code }) => code)).toEqual(['LimitExceeded'])
}, 30_000)

test('thousands of problems are counted, not listed', () => {
  const outcome = render({ 'deploy/a.yaml': 'a: 1\n---\n'.repeat(2000) })
  expect(outcome.problems).toHaveLength(RENDER_MAX_PROBLEMS + 1)
  expect(outcome.problems.at(-1)?.message).toContain('more problems')
})

test('the input hash depends on the tree and on the options', () => {
  const options = { application: 'web', path: 'deploy', namespace: 'shop' }
  const read: ReadPath[] = [['deploy', 't1']]
  const hashes = [
    inputHash(read, options),
    inputHash([['deploy', 't2']], options),
    inputHash([...read, ['base', 't3']], options),
    inputHash([...read, ['base', null]], options),
    inputHash(read, { ...options, namespace: 'other' }),
    inputHash(read, { ...options, path: 'x' }),
    inputHash(read, { ...options, render: { plain: {} } }),
    inputHash(read, { ...options, render: { helm: { values: { a: 1 } } } }),
    inputHash(read, { ...options, render: { helm: { values: { a: 2 } } } }),
  ]
  expect(new Set(hashes).size).toBe(hashes.length)
  expect(inputHash([...read], { ...options })).toBe(hashes[0])
})

test('while a file is broken, its objects stay as they were and everything else moves on', () => {
  const good = render({ 'deploy/a.yaml': configMap('a', 'data: {v: "1"}\n'), 'deploy/b.yaml': configMap('b') })
  const broken = render({
    'deploy/a.yaml': configMap('a', 'data: {v: "2"}\n').replace('name: a', 'name: a, namespace: shop'),
    'deploy/b.yaml': 'a: b: c\n',
    'deploy/c.yaml': configMap('c'),
  })
  const joined = carryOver(good.artifact, broken.artifact, 'shop')
  expect(declared({ artifact: joined })).toEqual([
    'deploy/a.yaml:1 ConfigMap/a',
    'deploy/c.yaml:1 ConfigMap/c',
    'deploy/b.yaml:1 ConfigMap/b',
  ])
  expect(Buffer.from(joined.manifests[0]?.json ?? []).toString()).toContain('"v":"2"')
})

test('variables pass through for the agents to replace, in names too', () => {
  const name = '"web-${cluster.labels.topology.kubernetes.io/zone}"'
  const outcome = render({
    'deploy/a.yaml': configMap(name, 'data: {a: "${cluster.values.x}", b: "$${cluster.foo} ${X}"}'),
  })
  expect(refused(outcome)).toEqual([])
  const [manifest] = outcome.artifact.manifests
  expect(JSON.parse(Buffer.from(manifest?.json ?? []).toString()).data).toEqual({
    a: '${cluster.values.x}',
    b: '$${cluster.foo} ${X}',
  })
})

test('a malformed variable is told with its own line, and the rest of the folder goes on', () => {
  const bad = configMap(
    'bad',
    'data:\n  a: x\n  script: |\n    echo one\n    echo ${cluster.foo}\n  b: ["${cluster.}"]\n',
  )
  const outcome = render({ 'deploy/a.yaml': configMap('good'), 'deploy/b.yaml': `${configMap('c')}---\n${bad}` })
  expect(declared(outcome)).toEqual(['deploy/a.yaml:1 ConfigMap/good', 'deploy/b.yaml:1 ConfigMap/c'])
  expect(refused(outcome)).toEqual([
    'UnknownVariable deploy/b.yaml:12 ConfigMap bad',
    'UnknownVariable deploy/b.yaml:13 ConfigMap bad',
  ])
  expect(outcome.incomplete).toBe(true)
})

test('where the application wants no variables, what looks like one is text', () => {
  const files = { 'deploy/a.yaml': configMap('a', 'data: {a: "${cluster.foo}"}') }
  const options = { application: 'web', path: 'deploy', namespace: 'shop', substitute: false }
  const outcome = renderInputs(inputsOf(files, ['deploy']), options)
  expect([outcome.problems, outcome.artifact.manifests.length]).toEqual([[], 1])
  expect(inputHash([], options)).not.toBe(inputHash([], { ...options, substitute: true }))
})

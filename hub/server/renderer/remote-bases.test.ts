// Kustomizations with bases in other repositories: what the engine asks for, and that it makes of them what it would make of
// the same folders in the repository itself.
import { beforeAll, expect, test, vi } from 'vitest'
import { createEngine, type Files, inputsOf } from './render.test-support.ts'
import { type NeedsMore, type RunEngine, renderApplication } from './render.ts'
import type { RenderOutcome } from './rendering.ts'

vi.setConfig({ testTimeout: 60_000 })

let run: RunEngine
beforeAll(async () => {
  run = await createEngine()
}, 120_000)

const COMMIT = 'a'.repeat(40)
const OTHER = 'b'.repeat(40)
const mountOf = (address: string, commit = COMMIT): string =>
  `/git/${encodeURIComponent(address).replaceAll('%3A', ':').replaceAll('%40', '@')}/${commit}`
const BASES = mountOf('https://git.example.com/platform/bases.git')
const configMap = (name: string): string => `apiVersion: v1\nkind: ConfigMap\nmetadata: {name: ${name}}\ndata: {a: b}\n`
const url = (folder: string, commit = COMMIT): string =>
  `https://git.example.com/platform/bases.git//${folder}?ref=${commit}`

/** What lies in the other repository, at its root. */
const bases: Files = {
  'web/kustomization.yaml':
    'resources: [../lib, web.yaml]\nnamePrefix: base-\nconfigMapGenerator: [{name: g, files: [../files/x.txt]}]\n',
  'web/web.yaml': configMap('web'),
  'lib/kustomization.yaml': 'resources: [lib.yaml]\n',
  'lib/lib.yaml': configMap('lib'),
  'files/x.txt': 'text',
  'part/kustomization.yaml':
    'apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\nlabels: [{pairs: {part: "1"}}]\n',
}
const at = (mount: string, files: Files): Files =>
  Object.fromEntries(Object.entries(files).map(([path, content]) => [`${mount}/${path}`, content]))

function render(files: Files, read: readonly string[] = ['app'], path = 'app'): RenderOutcome | NeedsMore {
  return renderApplication(inputsOf(files, read), { application: 'web', path, namespace: '' }, run)
}

function told(outcome: RenderOutcome | NeedsMore): string[] {
  if ('needs' in outcome) return outcome.needs.map((need) => `needs ${need}`)
  return outcome.problems.map(({ code, source, message }) => `${code} ${source?.file}:${source?.line}: ${message}`)
}

function objectsOf(outcome: RenderOutcome | NeedsMore): string[] {
  if ('needs' in outcome) throw new Error(`${outcome.needs} must be read before`)
  return outcome.artifact.manifests.map(({ json }) => Buffer.from(json).toString())
}

test('a remote base is asked for folder by folder, and is what the same folders in the repository would be', () => {
  const app = `resources:\n- "${url('web')}"\ncomponents: ['${url('part')}']\nnamespace: shop\n`
  const files = { 'app/kustomization.yaml': app }
  expect(told(render(files))).toEqual([`needs ${BASES}/part`, `needs ${BASES}/web`])
  const first = { ...files, ...at(BASES, { ...bases }) }
  expect(told(render(first, ['app', `${BASES}/part`, `${BASES}/web`]))).toEqual([
    `needs ${BASES}/files/x.txt`,
    `needs ${BASES}/lib`,
  ])
  const remote = render(first, ['app', BASES])
  expect(told(remote)).toEqual([])
  const local = {
    'app/kustomization.yaml': 'resources: [../web]\ncomponents: [../part]\nnamespace: shop\n',
    ...bases,
  }
  expect(objectsOf(remote)).toEqual(objectsOf(render(local, [''])))
  expect(objectsOf(remote)).toHaveLength(3)
})

test('at the root of either repository, and with a change of the definition on top', () => {
  const mount = mountOf('ssh://git@git.example.com/bases')
  const files = {
    'kustomization.yaml': `resources:\n  - ssh://git@git.example.com/bases?ref=${COMMIT}\n`,
    [`${mount}/kustomization.yaml`]: 'resources: [a.yaml]\n',
    [`${mount}/a.yaml`]: configMap('a'),
  }
  const outcome = renderApplication(
    inputsOf(files, ['', mount]),
    {
      application: 'web',
      path: '',
      namespace: '',
      overrides: [
        {
          kustomize: {
            patches: [{ patch: '{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"},"data":{"c":"d"}}' }],
          },
        },
      ],
    },
    run,
  )
  expect(told(outcome)).toEqual([])
  expect(JSON.parse(objectsOf(outcome)[0] ?? '')).toMatchObject({ data: { a: 'b', c: 'd' } })
})

test('a base may have bases elsewhere, of its own commit or another', () => {
  const other = mountOf('git@git.example.com:other/bases.git', OTHER)
  const files = {
    'app/kustomization.yaml': `resources:\n- ${url('web')}\n`,
    ...at(BASES, { 'web/kustomization.yaml': `resources:\n- git@git.example.com:other/bases.git//x?ref=${OTHER}\n` }),
    ...at(other, { 'x/kustomization.yaml': 'resources: [a.yaml]\n', 'x/a.yaml': configMap('deep') }),
  }
  expect(told(render(files, ['app', BASES]))).toEqual([`needs ${other}/x`])
  expect(objectsOf(render(files, ['app', BASES, other]))).toHaveLength(1)
})

test.for([
  ['a branch', `https://h/r//web?ref=main`, 'not pinned'],
  ['a short id', `https://h/r//web?ref=abc1234`, 'not pinned'],
  ['nothing', `https://h/r//web`, 'not pinned'],
  ['the short form of GitHub', `github.com/org/repo//web?ref=${COMMIT}`, 'write the whole address'],
  ['the local disk', `file:///etc?ref=${COMMIT}`, 'write the whole address'],
] as const)('a base with %s is refused, with the line', ([, address, message]) => {
  const [problem = ''] = told(render({ 'app/kustomization.yaml': `resources:\n- "${address}"\n` }))
  expect(problem).toMatch(new RegExp(`^RenderFailed app/kustomization.yaml:2: .*${message}`))
})

test('an address that is an option to somebody is a name like others, which no Repository has', () => {
  const address = `-oProxyCommand=evil@h:x?ref=${COMMIT}`
  const files = { 'app/kustomization.yaml': `resources:\n- "${address}"\n` }
  expect(told(render(files))).toEqual([`needs /git/-oProxyCommand=evil@h:x/${COMMIT}`])
})

test('a base that leads out of its repository, or that is none, is refused', () => {
  const app = { 'app/kustomization.yaml': `resources:\n- ${url('web')}\n` }
  const lead = at(BASES, { 'web/kustomization.yaml': 'resources: [../../../../repository/secret]\n' })
  expect(told(render({ ...app, ...lead, 'secret/kustomization.yaml': '' }, ['app', 'secret', BASES]))[0]).toMatch(
    /^UnsafePath .*leads out of the repository/,
  )
  expect(told(render({ ...app, ...at(BASES, { 'web/x': '' }) }, ['app', BASES]))[0]).toMatch(
    /^PathNotFound app\/kustomization.yaml:2: .*no folder with a kustomization/,
  )
  const climb = { 'app/kustomization.yaml': `resources:\n- ${url('../../../../etc')}\n` }
  expect(told(render(climb))).toEqual([`needs ${BASES}/etc`])
  const patch = { 'app/kustomization.yaml': `patches:\n- path: ${url('p.yaml')}\n` }
  expect(told(render(patch))[0]).toMatch(/only folders of resources, bases and components may be/)
})

test('bases that name each other in a circle end', () => {
  const circle = at(BASES, {
    'web/kustomization.yaml': `resources:\n- ${url('lib')}\n`,
    'lib/kustomization.yaml': `resources:\n- ${url('web')}\n`,
  })
  expect(
    told(render({ 'app/kustomization.yaml': `resources:\n- ${url('web')}\n`, ...circle }, ['app', BASES]))[0],
  ).toMatch(/^RenderFailed .*cycle/)
})

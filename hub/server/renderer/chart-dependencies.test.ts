// Charts whose dependencies are elsewhere: what the engine asks for, and what it makes of it.
import { beforeAll, expect, test, vi } from 'vitest'
import { createEngine, type Files, inputsOf } from './render.test-support.ts'
import { type NeedsMore, type RunEngine, renderApplication } from './render.ts'
import type { RenderOutcome } from './rendering.ts'

vi.setConfig({ testTimeout: 60_000 })

let run: RunEngine
beforeAll(async () => {
  run = await createEngine()
}, 120_000)

const ADDRESS = 'http://127.0.0.1:18888'
const dependencies = (rest = '', address = ADDRESS): string =>
  `apiVersion: v2\nname: web\nversion: 1.0.0\ndependencies:\n- name: db\n  version: ^1.0.0\n  repository: ${address}\n${rest}`
/** As `helm dependency update` wrote it for both. */
const ALIAS = `- name: db\n  version: ^1.0.0\n  repository: ${ADDRESS}\n  alias: cache\n  condition: cache.enabled\n`
const lock = `dependencies:
- name: db
  repository: ${ADDRESS}
  version: 1.2.0
- name: db
  repository: ${ADDRESS}
  version: 1.2.0
digest: sha256:1f133d3dcc4f2d2b92b9109d7b1d08436d74cb5d7658011676f1908df6d07788
generated: "2026-11-26T17:53:17.667622642Z"
`
const MOUNT = '/charts/http:%2F%2F127.0.0.1:18888/db/1.2.0'
const template = (name: string): string =>
  `apiVersion: v1\nkind: ConfigMap\nmetadata: {name: "{{ .Release.Name }}-${name}"}\ndata: {size: "{{ .Values.size }}"}\n`
const db = (folder: string): Files => ({
  [`${folder}/Chart.yaml`]: 'apiVersion: v2\nname: db\nversion: 1.2.0\n',
  [`${folder}/values.yaml`]: 'size: 1\n',
  [`${folder}/templates/a.yaml`]: template('{{ .Chart.Name }}'),
})
const web: Files = {
  'app/Chart.yaml': dependencies(ALIAS),
  'app/Chart.lock': lock,
  'app/values.yaml': 'db: {size: 2}\ncache: {enabled: true, size: 3}\n',
}

function render(files: Files, read: readonly string[] = ['app'], path = 'app'): RenderOutcome | NeedsMore {
  return renderApplication(inputsOf(files, read), { application: 'web', path, namespace: 'shop' }, run)
}

function told(outcome: RenderOutcome | NeedsMore): string[] {
  if ('needs' in outcome) return outcome.needs.map((need) => `needs ${need}`)
  return outcome.problems.map(({ code, source, message }) => `${code} ${source?.file}:${source?.line}: ${message}`)
}

function sizesOf(outcome: RenderOutcome | NeedsMore): Record<string, string> {
  if ('needs' in outcome) throw new Error(`${outcome.needs} must be read before`)
  const objects = outcome.artifact.manifests.map(({ json }) => JSON.parse(Buffer.from(json).toString()))
  return Object.fromEntries(objects.map(({ metadata, data }) => [metadata.name, data.size]))
}

test('a dependency that is not in charts/ is asked for in the version of the lock, once for all of its aliases', () => {
  expect(told(render(web))).toEqual([`needs ${MOUNT}`])
  const outcome = render({ ...web, ...db(MOUNT) }, ['app', MOUNT])
  expect(told(outcome)).toEqual([])
  expect(sizesOf(outcome)).toEqual({ 'web-cache': '3', 'web-db': '2' })
})

test('a chart at the root of its package has its dependencies beside it, not in it', () => {
  const atRoot = Object.fromEntries(Object.entries(web).map(([file, text]) => [file.slice('app/'.length), text]))
  expect(told(render(atRoot, [''], ''))).toEqual([`needs ${MOUNT}`])
  const outcome = render({ ...atRoot, ...db(MOUNT) }, ['', MOUNT], '')
  expect(sizesOf(outcome)).toEqual({ 'web-cache': '3', 'web-db': '2' })
})

test('what is in charts/ is taken from there, and what is a folder of the repository from that', () => {
  expect(sizesOf(render({ ...web, ...db('app/charts/db') }))).toEqual({ 'web-cache': '3', 'web-db': '2' })
  const local = { 'app/Chart.yaml': dependencies('', 'file://../lib/db'), 'app/values.yaml': 'db: {size: 4}\n' }
  expect(told(render(local))).toEqual(['needs lib/db'])
  expect(sizesOf(render({ ...local, ...db('lib/db') }, ['app', 'lib/db']))).toEqual({ 'web-db': '4' })
  expect(told(render(local, ['app', 'lib/db']))).toEqual([
    'PathNotFound app/Chart.yaml:4: dependencies: db: there is no chart at file://../lib/db',
  ])
})

test.for([
  ['no lock', { 'app/Chart.yaml': dependencies() }, 'there is no Chart.lock that says which version'],
  [
    'the lock of another Chart.yaml',
    { 'app/Chart.yaml': dependencies(), 'app/Chart.lock': lock },
    'Chart.lock is not that of this Chart.yaml',
  ],
  [
    "a name of somebody's own Helm",
    { 'app/Chart.yaml': dependencies('', '"@stable"') },
    '@stable is a name that somebody',
  ],
  ['no repository', { 'app/Chart.yaml': dependencies('', '""') }, 'no repository is given for it'],
  [
    'a folder above the repository',
    { 'app/Chart.yaml': dependencies('', 'file://../../etc') },
    'leads out of the repository',
  ],
  ['an absolute folder', { 'app/Chart.yaml': dependencies('', 'file:///etc') }, 'leads out of the repository'],
  ['the chart itself', { 'app/Chart.yaml': dependencies('', 'file://.') }, 'a folder that the chart is in'],
  ['another way', { 'app/Chart.yaml': dependencies('', 's3://bucket') }, 'write the address of the repository'],
] satisfies [string, Files, string][])('a dependency with %s is refused, with the line', ([, files, message]) => {
  const [problem] = told(render(files))
  expect(problem).toContain(message)
  expect(problem).toMatch(/^(?:RenderFailed|UnsafePath) app\/Chart.yaml:4: /)
})

test('a path of the repository cannot pass for a chart from elsewhere', () => {
  // Git has no paths that begin with a slash; a folder called charts is not one.
  expect(told(render({ ...web, ...db(MOUNT.slice(1)) }, ['']))).toEqual([`needs ${MOUNT}`])
})

test('a chart that a kustomization inflates is asked for in its version, and made part of what Kustomize builds', () => {
  const files = {
    'app/kustomization.yaml': `namePrefix: pre-\nhelmCharts:\n- {name: db, repo: ${ADDRESS}, version: 1.2.0, valuesInline: {size: 7}}\n`,
  }
  expect(told(render(files))).toEqual([`needs ${MOUNT}`])
  const outcome = render({ ...files, ...db(MOUNT) }, ['app', MOUNT])
  expect(sizesOf(outcome)).toEqual({ 'pre-db-db': '7' })
  expect('artifact' in outcome && outcome.artifact.manifests[0]?.source?.file).toBe('app/kustomization.yaml')
})

test('hooks of such a chart are hooks', () => {
  const job =
    'apiVersion: batch/v1\nkind: Job\nmetadata: {name: j, annotations: {helm.sh/hook: pre-install}}\nspec: {template: {spec: {containers: []}}}\n'
  const test =
    'apiVersion: v1\nkind: Pod\nmetadata: {name: t, annotations: {helm.sh/hook: test}}\nspec: {containers: []}\n'
  const files = {
    'app/kustomization.yaml': 'helmCharts: [{name: db}]\n',
    ...db('app/charts/db'),
    'app/charts/db/templates/j.yaml': job,
    'app/charts/db/templates/t.yaml': test,
  }
  const outcome = render(files)
  if ('needs' in outcome) throw new Error('something is needed')
  const objects = outcome.artifact.manifests.map(({ json }) => JSON.parse(Buffer.from(json).toString()))
  expect(objects.map(({ kind, metadata }) => [kind, metadata.annotations?.['fairlead.dev/hook']])).toEqual([
    ['ConfigMap', undefined],
    ['Job', 'pre-sync'],
  ])
})

test.for([
  ['no name', '{repo: https://h}', 'a chart has no name'],
  ['a range', `{name: db, repo: ${ADDRESS}, version: ^1.0.0}`, 'db is not pinned'],
  ['no chart', '{name: none}', 'there is no chart at charts/none'],
  ['an unknown field', '{name: db, vresion: 1}', 'unknown field "vresion"'],
  ['a name by lot', '{name: db, nameTemplate: x}', 'nameTemplate is not supported'],
  ['an unknown merge', '{name: db, valuesMerge: mix}', 'valuesMerge mix is none of'],
  ['values that are not there', '{name: db, valuesFile: none.yaml}', 'none.yaml is not in the repository'],
  ['a home that leads out', '{name: ../../../../etc}', 'leads out of the repository'],
  ['a template that fails', '{name: bad}', 'helmCharts: bad: Helm: '],
] as const)('a kustomization that inflates a chart with %s is refused, with the place', ([, entry, message]) => {
  const files = {
    'app/kustomization.yaml': `helmCharts:\n- ${entry}\n`,
    ...db('app/charts/db'),
    ...db('app/charts/bad'),
    'app/charts/bad/templates/b.yaml': '{{ fail "no such luck" }}',
  }
  const [problem = ''] = told(render(files))
  expect(problem).toContain(message)
  expect(problem).toMatch(/^\w+ app\/(?:kustomization.yaml:2|charts\/bad\/templates\/b.yaml:1): /)
})

// One application, otherwise on some clusters: by labels and by name, each cluster with what is meant for it.
import { readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type Fleet, startFleet } from '../harness/fleet.ts'
import type { GitRepository } from '../harness/git-server.ts'
import { getField } from '../harness/kube-client.ts'
import { waitFor } from '../harness/wait.ts'
import { problemsOf, runs } from './fleet-status.ts'
import { applicationDefinition, configMap, configMapReference, namespace, repositoryDefinition } from './manifests.ts'

let fleet: Fleet
let shop: GitRepository

const chart = {
  'web/Chart.yaml': 'apiVersion: v2\nname: web\nversion: 1.0.0\n',
  'web/values.yaml': 'size: small\ncolour: blue\n',
  'web/eu.yaml': 'colour: green\n',
  'web/templates/namespace.yaml': 'apiVersion: v1\nkind: Namespace\nmetadata: {name: web}\n',
  'web/templates/a.yaml':
    'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: web}\ndata: {size: {{ .Values.size }}, colour: {{ .Values.colour }}, cluster: "${cluster.name}"}\n',
}
const overlay = {
  'tax/kustomization.yaml': 'resources: [ns.yaml, a.yaml]\n',
  'tax/ns.yaml': namespace('tax'),
  'tax/a.yaml': configMap('tax', { rate: '10' }, 'tax'),
}
const patch = JSON.stringify({
  apiVersion: 'v1',
  kind: 'ConfigMap',
  metadata: { name: 'tax', namespace: 'tax' },
  data: { rate: '20' },
})
const inRegion = (region: string) => ({ clusters: { matchLabels: { region } } })
const web = (extra: readonly object[] = []) =>
  applicationDefinition('web', {
    repository: 'shop',
    overrides: [
      { ...inRegion('eu'), helm: { valueFiles: ['eu.yaml'] } },
      { names: ['us'], helm: { values: { size: 'large' } } },
      ...extra,
    ],
  })

/** What a cluster holds of an application. */
async function dataOn(cluster: string, name: string): Promise<unknown> {
  return getField(await fleet.getCluster(cluster).cluster.admin.get(configMapReference(name, name)), 'data')
}
const untilRuns = (what: string, application: string, clusters: readonly string[]) =>
  fleet.waitForStatus(what, (status) => clusters.every((name) => runs(status, application, name, shop.head())))

beforeAll(async () => {
  fleet = await startFleet()
  shop = fleet.git.createRepository('shop')
  shop.commit({ ...chart, ...overlay })
  await Promise.all(['eu', 'us'].map((name) => fleet.addCluster(name)))
  for (const region of ['eu', 'us']) await fleet.cli('cluster', 'label', region, `region=${region}`)
}, 300_000)
afterAll(async () => {
  await fleet?.[Symbol.asyncDispose]()
})

test('each cluster gets the values and patches that are meant for it, and its own variables', async () => {
  const tax = { repository: 'shop', overrides: [{ ...inRegion('eu'), kustomize: { patches: [{ patch }] } }] }
  await fleet.apply(repositoryDefinition('shop', shop.url) + web() + applicationDefinition('tax', tax))
  await untilRuns('web to run', 'web', ['eu', 'us'])
  expect(await dataOn('eu', 'web')).toEqual({ size: 'small', colour: 'green', cluster: 'eu' })
  expect(await dataOn('us', 'web')).toEqual({ size: 'large', colour: 'blue', cluster: 'us' })
  await untilRuns('tax to run', 'tax', ['eu', 'us'])
  expect(await dataOn('eu', 'tax')).toEqual({ rate: '20' })
  expect(await dataOn('us', 'tax')).toEqual({ rate: '10' })
})

test('what a cluster is given, and where that comes from, can be looked at', async () => {
  const objects = await fleet.cli('render', 'web', '--cluster', 'eu')
  expect(objects).toContain('# Source: web/templates/a.yaml')
  expect(objects).toMatch(/data:\n {2}size: small\n {2}colour: green\n {2}cluster: eu\n/)
  const seen = JSON.parse(await fleet.cli('render', 'web', '--cluster', 'us', '-o', 'json'))
  expect(seen).toMatchObject({
    revision: { commit: shop.head() },
    path: 'web',
    overrides: [1],
    variables: ['cluster.name'],
  })
  expect(seen.values).toEqual([
    { path: 'size', json: '"large"', origin: 'overrides[1].helm.values' },
    { path: 'colour', json: '"blue"', origin: 'web/values.yaml' },
  ])
  const explained = await fleet.cli('render', 'web', '--cluster', 'eu', '--explain')
  expect(explained).toMatch(/^overrides: +overrides\[0\]$/m)
  expect(explained).toMatch(/^colour +"green" +web\/eu\.yaml$/m)
  const missing = await fleet.run('render', 'web', '--cluster', 'none')
  expect(missing.stderr).toContain('there is no cluster "none"')
})

test('clusters can be compared, and a working copy with what a cluster is given', async () => {
  const clusters = await fleet.run('diff', 'web', '-c', 'eu', '-c', 'us')
  expect(clusters.code).toBe(9)
  expect(clusters.stdout).toContain('--- eu: ConfigMap web\n+++ us: ConfigMap web\n')
  expect(clusters.stdout).toMatch(/^- {2}colour: green\n(?:.*\n)*\+ {2}colour: blue$/m)
  const first = shop.head()
  shop.commit({ 'web/eu.yaml': 'colour: pink\n' })
  await untilRuns('the new colour', 'web', ['eu', 'us'])
  const revisions = await fleet.run('diff', 'web', '-c', 'eu', '--from', first, '--to', 'main')
  expect(revisions).toMatchObject({ code: 9, stderr: '' })
  expect(revisions.stdout).toMatch(/^--- eu at .*\n(?:.*\n)*- {2}colour: green\n(?:.*\n)*\+ {2}colour: pink$/m)
  expect(await fleet.run('diff', 'web', '-c', 'us', '--to', first)).toMatchObject({ code: 0, stdout: '' })
  const wrong = await fleet.run('diff', 'web', '-c', 'eu', '--to', 'nowhere')
  expect(wrong).toMatchObject({
    code: 2,
    stderr: expect.stringContaining('"nowhere" is neither a full commit id nor a ref'),
  })
  shop.commit({ 'web/eu.yaml': 'colour: green\n' })
  await untilRuns('the old colour', 'web', ['eu', 'us'])
  const copy = shop.workTree
  const same = await fleet.run('diff', 'web', '-c', 'eu', '--local', copy)
  expect(same).toMatchObject({ code: 0, stdout: '' })
  const before = readFileSync(path.join(copy, 'web/eu.yaml'), 'utf8')
  writeFileSync(path.join(copy, 'web/eu.yaml'), 'colour: orange\n')
  const changed = await fleet.run('diff', 'web', '-c', 'eu', '--local', copy)
  writeFileSync(path.join(copy, 'web/eu.yaml'), before)
  expect(changed.code).toBe(9)
  expect(changed.stdout).toMatch(/^- {2}colour: green\n(?:.*\n)*\+ {2}colour: orange$/m)
})

test('a commit, and a definition, reach each cluster as it is meant there', async () => {
  shop.commit({ 'web/eu.yaml': 'colour: red\nsize: medium\n' })
  await untilRuns('the new colour', 'web', ['eu', 'us'])
  expect(await dataOn('eu', 'web')).toMatchObject({ size: 'medium', colour: 'red' })
  expect(await dataOn('us', 'web')).toMatchObject({ size: 'large', colour: 'blue' })
  await fleet.apply(web([{ clusters: {}, helm: { values: { colour: 'white' } } }]))
  await waitFor('white everywhere', async () => {
    const seen = await Promise.all(['eu', 'us'].map((name) => dataOn(name, 'web')))
    return seen.every((data) => (data as { colour: string }).colour === 'white')
  })
})

test('a cluster that is labelled otherwise is changed to what is meant for it now', async () => {
  await fleet.cli('cluster', 'label', 'us', 'region=eu')
  await waitFor('the values of the region', async () => {
    const { size, colour } = (await dataOn('us', 'web')) as Record<string, string>
    return size === 'large' && colour === 'white' && ((await dataOn('us', 'tax')) as { rate: string }).rate === '20'
  })
  await fleet.cli('cluster', 'label', 'us', 'region=us')
  await waitFor('what it was', async () => ((await dataOn('us', 'tax')) as { rate: string }).rate === '10')
})

test('what cannot be rendered for some clusters is told with their names; the others go on, and these stay as they are', async () => {
  shop.commit({ 'web/eu.yaml': 'colour: [broken\n', 'web/values.yaml': 'size: tiny\ncolour: blue\nmore: 1\n' })
  const status = await fleet.waitForStatus(
    'the problem, and the others to go on',
    (seen) => problemsOf(seen, 'web').length > 0 && runs(seen, 'web', 'us', shop.head()),
  )
  expect(problemsOf(status, 'web')).toMatchObject([
    { code: 'RenderFailed', message: expect.stringMatching(/^on eu: /), source: { file: 'web/eu.yaml' } },
  ])
  expect(await dataOn('eu', 'web')).toMatchObject({ size: 'medium', colour: 'white' })
  shop.commit({ 'web/eu.yaml': 'colour: red\n' })
  await untilRuns('it to be mended', 'web', ['eu', 'us'])
  expect(await dataOn('eu', 'web')).toMatchObject({ size: 'tiny', colour: 'white' })
})

test('wrong overrides are refused when they are applied, with their field', async () => {
  await expect(fleet.apply(web([{ names: ['eu'] }]))).rejects.toThrow(/spec\.overrides\[2\].*changes nothing/s)
})

// One artifact for the whole fleet, and each cluster puts its own name, labels and values in.
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type Fleet, startFleet } from '../harness/fleet.ts'
import type { FleetCluster } from '../harness/fleet-cluster.ts'
import type { GitRepository } from '../harness/git-server.ts'
import { waitFor } from '../harness/wait.ts'
import { describeProblem, problemsOf, runs } from './fleet-status.ts'
import { applicationDefinition, configMap, configMapReference, repositoryDefinition } from './manifests.ts'

let fleet: Fleet
let eu: FleetCluster
let us: FleetCluster
let shop: GitRepository

const region = 'topology.kubernetes.io/region'
const settings = configMap('settings', {
  cluster: '${cluster.name}',
  region: `\${cluster.labels.${region}}`,
  zone: '${cluster.values.zone}',
  shell: 'echo ${HOME} $${cluster.name}',
})

beforeAll(async () => {
  fleet = await startFleet()
  shop = fleet.git.createRepository('shop')
  shop.commit({ 'web/settings.yaml': settings, 'web/plain.yaml': configMap('plain', { a: '1' }) })
  eu = await fleet.addCluster('eu', { labels: { [region]: 'eu-west-1' } })
  us = await fleet.addCluster('us', { labels: { [region]: 'us-east-1' } })
  await fleet.cli('cluster', 'value', 'eu', 'zone=eu.example.com')
  await fleet.cli('cluster', 'value', 'us', 'zone=us.example.com')
  await fleet.apply(
    repositoryDefinition('shop', shop.url) + applicationDefinition('web', { repository: 'shop', namespace: 'default' }),
  )
  await fleet.waitForStatus('web to run', (status) =>
    ['eu', 'us'].every((name) => runs(status, 'web', name, shop.head())),
  )
})

afterAll(async () => {
  await fleet?.[Symbol.asyncDispose]()
})

const dataOf = async (cluster: FleetCluster) => (await cluster.cluster.admin.get(configMapReference('settings'))).data

test('each cluster has its own values, out of one artifact', async () => {
  const shell = 'echo ${HOME} ${cluster.name}'
  expect(await dataOf(eu)).toEqual({ cluster: 'eu', region: 'eu-west-1', zone: 'eu.example.com', shell })
  expect(await dataOf(us)).toEqual({ cluster: 'us', region: 'us-east-1', zone: 'us.example.com', shell })
  expect(fleet.query('SELECT DISTINCT artifact_digest FROM deployments')).toHaveLength(1)
  expect(await fleet.cli('cluster', 'get', 'eu', '-o', 'yaml')).toContain('zone: eu.example.com')
})

test('a changed value or label is written at once, on that cluster and nowhere else', async () => {
  const plain = await eu.cluster.admin.get(configMapReference('plain'))
  const other = await us.cluster.admin.get(configMapReference('settings'))
  await fleet.cli('cluster', 'value', 'eu', 'zone=eu2.example.com')
  await fleet.cli('cluster', 'label', 'eu', `${region}=eu-west-2`)
  await waitFor('the new values', async () => {
    const data = (await dataOf(eu)) as Record<string, string>
    return data.zone === 'eu2.example.com' && data.region === 'eu-west-2'
  })
  await fleet.waitForStatus('web to run', (status) => runs(status, 'web', 'eu', shop.head()))
  const versions = async (cluster: FleetCluster, name: string) =>
    (await cluster.cluster.admin.get(configMapReference(name))).metadata.resourceVersion
  expect(await versions(eu, 'plain')).toBe(plain.metadata.resourceVersion)
  expect(await versions(us, 'settings')).toBe(other.metadata.resourceVersion)
})

test('a variable that one cluster lacks is told with object, field, file and line, and changes nothing there', async () => {
  await fleet.cli('cluster', 'value', 'us', 'zone-')
  const status = await fleet.waitForStatus('the problem', (state) => problemsOf(state, 'web').length > 0)
  const [problem] = problemsOf(status, 'web')
  expect(problem && describeProblem(problem)).toBe('UnknownVariable ConfigMap settings web/settings.yaml')
  expect(problem).toMatchObject({
    message: 'data.zone: this cluster has no ${cluster.values.zone}',
    source: { line: 1 },
  })
  expect(runs(status, 'web', 'eu', shop.head())).toBe(true)
  expect(await dataOf(us)).toMatchObject({ zone: 'us.example.com' })
  await fleet.cli('cluster', 'value', 'us', 'zone=back.example.com')
  await waitFor(
    'the value that is back',
    async () => ((await dataOf(us)) as Record<string, string>).zone === 'back.example.com',
  )
})

test('a malformed variable is told by the hub with its own line, and the last good state stays', async () => {
  shop.commit({
    'web/settings.yaml': 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\ndata:\n  a: ${cluster.region}\n',
  })
  const status = await fleet.waitForStatus('the problem', (state) => problemsOf(state, 'web').length > 0)
  const [problem] = problemsOf(status, 'web')
  expect(problem).toMatchObject({ code: 'UnknownVariable', source: { file: 'web/settings.yaml', line: 5 } })
  expect(await dataOf(eu)).toMatchObject({ cluster: 'eu' })
})

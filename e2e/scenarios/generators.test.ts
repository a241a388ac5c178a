// One document for many Applications: a folder that comes runs, a folder that goes takes its objects along, and what cannot be
// read changes nothing, on real clusters.
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type Fleet, startFleet } from '../harness/fleet.ts'
import type { GitRepository } from '../harness/git-server.ts'
import { getField } from '../harness/kube-client.ts'
import { waitFor } from '../harness/wait.ts'
import { findDeployment, problemsOf, runs } from './fleet-status.ts'
import { configMap, configMapReference, repositoryDefinition } from './manifests.ts'

let fleet: Fleet
let shop: GitRepository

const generator = (name: string, forEach: object): string =>
  `---\n${JSON.stringify({ apiVersion: 'fairlead.dev/v1alpha1', kind: 'Application', metadata: { name }, spec: { forEach } })}\n`
const tenant = (name: string) => ({
  [`tenants/${name}/settings.yaml`]: configMap(name, { tenant: name, cluster: '${cluster.name}' }),
})
const settings = async (cluster: string, name: string) => {
  const { admin } = fleet.getCluster(cluster).cluster
  return getField((await admin.find(configMapReference(name, 'default'))) ?? {}, 'data')
}
const allRun = async (applications: readonly string[], cluster: string, commit: string) =>
  await fleet.waitForStatus(
    `${applications.join(', ')} to run on ${cluster}`,
    (status) => applications.every((name) => runs(status, name, cluster, commit)),
    { timeoutMs: 60_000 },
  )

beforeAll(async () => {
  fleet = await startFleet()
  shop = fleet.git.createRepository('shop')
  await fleet.addCluster('eu', { labels: { env: 'prod', region: 'west' } })
  await fleet.addCluster('us', { labels: { env: 'prod', region: 'east' } })
}, 300_000)
afterAll(async () => {
  await fleet?.[Symbol.asyncDispose]()
})

test('one document runs every folder on the clusters of its template', async () => {
  const first = shop.commit({ ...tenant('acme'), ...tenant('globex') })
  await fleet.apply(
    repositoryDefinition('shop', shop.url) +
      generator('tenants', {
        folders: { repository: 'shop', ref: 'main', path: 'tenants/*' },
        labels: { tenant: '${each.name}' },
        template: {
          source: { repository: 'shop', ref: 'main', path: '${each.path}' },
          placement: { clusters: { matchLabels: { env: 'prod' } } },
          namespace: 'default',
        },
      }),
  )
  for (const cluster of ['eu', 'us']) await allRun(['tenants-acme', 'tenants-globex'], cluster, first)
  expect(await settings('us', 'globex')).toEqual({ tenant: 'globex', cluster: 'us' })
  const { stdout } = await fleet.run('get', 'application', 'tenants-acme', '-o', 'json')
  expect(JSON.parse(stdout)).toMatchObject({
    metadata: { owner: 'application:tenants', origin: 'tenants/acme', labels: { tenant: 'acme' } },
  })
  const second = shop.commit(tenant('initech'))
  await allRun(['tenants-acme', 'tenants-globex', 'tenants-initech'], 'eu', second)
})

test('people see what makes what, and that it is whole', async () => {
  const status = await fleet.run('status')
  expect(status.stdout).toMatch(/tenants-acme/)
  const why = await fleet.run('why', 'tenants')
  expect(why.stdout).toContain('makes 3 Applications')
  const made = await fleet.run('why', 'tenants-acme')
  expect(made.stdout).toContain('Application/tenants')
})

test('what cannot be read takes nothing away', async () => {
  await fleet.git.setFault('error')
  await fleet.waitForStatus('the repository to be away', (status) =>
    status.repositories.some((one) => one.status?.problem !== undefined),
  )
  await fleet.stopHub()
  await fleet.startHub()
  await fleet.waitForStatus(
    'the hub to know them',
    (status) => findDeployment(status, 'tenants-acme', 'eu') !== undefined,
  )
  expect(await settings('eu', 'acme')).toEqual({ tenant: 'acme', cluster: 'eu' })
  await fleet.git.setFault('none')
  const gone = shop.commit({ 'tenants/globex/settings.yaml': undefined })
  await fleet.waitForStatus(
    'globex to be gone',
    (status) => findDeployment(status, 'tenants-globex', 'eu') === undefined,
    {
      timeoutMs: 60_000,
    },
  )
  await waitFor('its objects to be gone', async () => (await settings('eu', 'globex')) === undefined, {
    timeoutMs: 60_000,
  })
  await allRun(['tenants-acme', 'tenants-initech'], 'us', gone)
})

test('one Application for each cluster, and for one that joins later', async () => {
  const commit = shop.commit({
    'edge/west/settings.yaml': configMap('edge', { side: 'west' }),
    'edge/east/settings.yaml': configMap('edge', { side: 'east' }),
  })
  await fleet.apply(
    generator('edge', {
      clusters: {},
      template: {
        source: { repository: 'shop', ref: 'main', path: 'edge/${each.labels.region}' },
        namespace: 'default',
      },
    }),
  )
  await allRun(['edge-eu'], 'eu', commit)
  await allRun(['edge-us'], 'us', commit)
  expect(await settings('us', 'edge')).toEqual({ side: 'east' })
  expect((await fleet.run('cluster', 'register', 'asia', '--label', 'region=west')).code).toBe(0)
  await fleet.waitForStatus(
    'one for the new cluster',
    (status) => findDeployment(status, 'edge-asia', 'asia') !== undefined,
  )
  await fleet.waitForStatus('no problem', (status) => problemsOf(status, 'edge').length === 0)
})

test('deleting what makes them deletes them, and their objects', async () => {
  const { code, stdout } = await fleet.run('delete', 'application', 'tenants')
  expect([code, stdout]).toEqual([0, 'application/tenants deleting: leaves eu, us\n'])
  await fleet.waitForStatus('all of them to be gone', (status) =>
    status.applications.every(({ metadata }) => !metadata?.name.startsWith('tenants')),
  )
  for (const cluster of ['eu', 'us']) expect(await settings(cluster, 'acme')).toBeUndefined()
})

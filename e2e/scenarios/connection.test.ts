// A cluster that is cut off is shown as such, with its last known state and the age of it; it heals meanwhile, concerns no
// other cluster, and comes back by itself.
import { timestampMs } from '@bufbuild/protobuf/wkt'
import { SyncState } from '@fairlead/proto/common'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Fleet, startFleet } from '../harness/fleet.ts'
import type { GitRepository } from '../harness/git-server.ts'
import { getField } from '../harness/kube-client.ts'
import { waitFor } from '../harness/wait.ts'
import { connectionOf, findDeployment, runs } from './fleet-status.ts'
import { applicationDefinition, configMap, configMapReference, repositoryDefinition } from './manifests.ts'

let fleet: Fleet
let shop: GitRepository
let firstCommit: string
const web = configMapReference('web')

beforeAll(async () => {
  fleet = await startFleet({ hubFlags: ['--stale-after=4s', '--offline-after=8s'] })
  shop = fleet.git.createRepository('shop')
  firstCommit = shop.commit({ 'web/config.yaml': configMap('web', { a: '1' }) })
  for (const name of ['eu', 'us']) await fleet.addCluster(name, { agentValues: ['heartbeatSeconds=1'] })
  await fleet.apply(
    repositoryDefinition('shop', shop.url) + applicationDefinition('web', { repository: 'shop', namespace: 'default' }),
  )
  await waitUntilRunning(firstCommit, ['eu', 'us'])
})

afterAll(async () => {
  await fleet?.[Symbol.asyncDispose]()
})

async function waitUntilRunning(commit: string, clusters: readonly string[]): Promise<void> {
  await fleet.waitForStatus(`web to run on ${clusters.join(' and ')}`, (status) =>
    clusters.every((cluster) => runs(status, 'web', cluster, commit)),
  )
}

async function waitForConnection(cluster: string, connection: ReturnType<typeof connectionOf>) {
  return await fleet.waitForStatus(
    `${cluster} to be ${connection}`,
    (status) => connectionOf(status, cluster) === connection,
  )
}

/** Changes the ConfigMap by hand and waits until it is put back. */
async function expectToHeal(cluster: string): Promise<void> {
  const { admin } = fleet.getCluster(cluster).cluster
  const declared = getField(await admin.get(web), 'data.a')
  await admin.patch(web, { data: { a: 'hacked' } })
  await waitFor(`${cluster} to heal`, async () => getField(await admin.get(web), 'data.a') === declared, {
    logs: [fleet.getCluster(cluster).kubelet],
  })
}

describe('a cluster that is cut off', () => {
  let cutAt: number

  test('is Stale at once and Offline after a while, with its last known state and when that was', async () => {
    cutAt = Date.now()
    await fleet.getCluster('eu').cut()
    await waitForConnection('eu', 'STALE')
    expect(await fleet.cli('status')).toMatch(/^web +eu \(stale, last known \d+s ago\)/m)
    const status = await waitForConnection('eu', 'OFFLINE')
    expect(connectionOf(status, 'us')).toBe('ONLINE')
    const eu = status.clusters.find(({ name }) => name === 'eu')
    expect(eu?.lastSeenAt && timestampMs(eu.lastSeenAt)).toBeLessThanOrEqual(cutAt + 1_000)
    expect(findDeployment(status, 'web', 'eu')).toMatchObject({ live: { commit: firstCommit } })
    const text = await fleet.cli('status')
    expect(text).toMatch(/^web +eu \(offline, last known \d+s ago\)/m)
    expect(text).toMatch(/eu is Offline: last seen \d+s ago; what is shown of it is its last known state/)
  })

  test('goes on to heal', async () => {
    await expectToHeal('eu')
  })

  test('is not said to be in sync with a commit that it cannot have seen; the others get it', async () => {
    const commit = shop.commit({ 'web/config.yaml': configMap('web', { a: '2' }) })
    await waitUntilRunning(commit, ['us'])
    const deployment = findDeployment(await fleet.status(), 'web', 'eu')
    expect(deployment?.desired?.commit).toBe(commit)
    expect(deployment?.live?.commit).toBe(firstCommit)
    expect(deployment?.sync).not.toBe(SyncState.SYNCED)
    await expectToHeal('us')
  })

  test('is Online again when the cut ends, and catches up', async () => {
    await fleet.getCluster('eu').restore()
    await waitForConnection('eu', 'ONLINE')
    await waitUntilRunning(shop.head(), ['eu', 'us'])
    expect(getField(await fleet.getCluster('eu').cluster.admin.get(web), 'data.a')).toBe('2')
  })
})

describe('a cluster whose packets are dropped without a word', () => {
  test('is Stale and Offline by the age of its last heartbeat, and Online again afterwards', async () => {
    fleet.getCluster('us').freeze()
    await waitForConnection('us', 'STALE')
    const status = await waitForConnection('us', 'OFFLINE')
    expect(connectionOf(status, 'eu')).toBe('ONLINE')
    const commit = shop.commit({ 'web/config.yaml': configMap('web', { a: '3' }) })
    await waitUntilRunning(commit, ['eu'])
    await fleet.getCluster('us').restore()
    await waitForConnection('us', 'ONLINE')
    await waitUntilRunning(commit, ['eu', 'us'])
  })
})

describe('an agent that is stopped', () => {
  test('is told from one that is well, and its applications go on', async () => {
    await fleet.shell(fleet.getCluster('us').cluster, 'helm uninstall fairlead-agent --namespace fairlead-system')
    await waitForConnection('us', 'OFFLINE')
    expect(await fleet.getCluster('us').cluster.admin.find(web)).toBeDefined()
  })
})

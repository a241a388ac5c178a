// Names come back, and things move: what stays declared is never deleted nor made anew, and what left is gone.
import type { FleetStatus } from '@fairlead/proto/fleet'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Fleet, startFleet } from '../harness/fleet.ts'
import type { FleetCluster } from '../harness/fleet-cluster.ts'
import type { GitRepository } from '../harness/git-server.ts'
import { getField, type KubeObject } from '../harness/kube-client.ts'
import { waitFor } from '../harness/wait.ts'
import { connectionOf, describeProblem, findDeployment, problemsOf, runs } from './fleet-status.ts'
import {
  type ApplicationOptions,
  applicationDefinition,
  configMap,
  configMapReference,
  repositoryDefinition,
} from './manifests.ts'

let fleet: Fleet
let shop: GitRepository

beforeAll(async () => {
  fleet = await startFleet()
  shop = fleet.git.createRepository('shop')
  shop.commit({ 'readme.txt': 'the shop' })
  await fleet.addCluster('eu', { labels: { region: 'eu' } })
  await fleet.addCluster('us', { labels: { region: 'us' } })
  await fleet.apply(repositoryDefinition('shop', shop.url))
})

afterAll(async () => {
  await fleet?.[Symbol.asyncDispose]()
})

const find = (cluster: string, name: string) => fleet.getCluster(cluster).cluster.admin.find(configMapReference(name))

async function get(cluster: string, name: string): Promise<KubeObject> {
  return await fleet.getCluster(cluster).cluster.admin.get(configMapReference(name))
}

/** Applies an application of the shop, on the cluster eu unless told otherwise. */
async function apply(name: string, options: Partial<ApplicationOptions> = {}): Promise<void> {
  const placement = options.matchLabels ? {} : { names: ['eu'] }
  const all = { repository: 'shop', namespace: 'default', ...placement, ...options }
  await fleet.apply(applicationDefinition(name, all))
}

async function waitUntilRunning(application: string, cluster = 'eu', commit = shop.head()): Promise<FleetStatus> {
  return await fleet.waitForStatus(`${application} to run on ${cluster}`, (status) =>
    runs(status, application, cluster, commit),
  )
}

async function waitUntilGone(cluster: string, name: string): Promise<void> {
  await waitFor(`ConfigMap ${name} to go from ${cluster}`, async () => (await find(cluster, name)) === undefined, {
    timeoutMs: 30_000,
    logs: [fleet.hub, fleet.getCluster(cluster).kubelet],
  })
}

/** Names of the ConfigMaps that the agent of eu has deleted since then. */
function deletedSince(since: number): string[] {
  const filter = { verbs: ['delete', 'deletecollection'], resource: 'configmaps', namespace: 'default', since }
  return fleet
    .getCluster('eu')
    .agentRequests(filter)
    .map(({ name }) => name)
}

/** What says that an object was neither made anew nor written to. */
function identityOf({ metadata: { uid, resourceVersion, generation } }: KubeObject) {
  return { uid, resourceVersion, generation }
}

describe('a file', () => {
  test('that is renamed with the same object inside touches nothing on the cluster', async () => {
    shop.commit({ 'renamed/old.yaml': configMap('renamed', { a: '1' }) })
    await apply('renamed')
    await waitUntilRunning('renamed')
    const before = await get('eu', 'renamed')
    shop.commit({ 'renamed/old.yaml': undefined, 'renamed/new.yaml': configMap('renamed', { a: '1' }) })
    await waitUntilRunning('renamed')
    expect(identityOf(await get('eu', 'renamed'))).toEqual(identityOf(before))
  })

  test('that comes and goes in quick commits leaves nothing of the steps in between', async () => {
    const [a, b] = [configMap('quick-a', { v: '1' }), configMap('quick-b', { v: '1' })]
    shop.commit({ 'quick/a.yaml': a })
    await apply('quick')
    await waitUntilRunning('quick')
    shop.commit({ 'quick/b.yaml': b })
    await fleet.cli('repository', 'refresh', 'shop')
    shop.commit({ 'quick/a.yaml': undefined })
    await waitUntilRunning('quick')
    await waitUntilGone('eu', 'quick-a')
    expect(await find('eu', 'quick-b')).toBeDefined()
    // Once more the other way, faster than anybody looks.
    shop.commit({ 'quick/a.yaml': a })
    shop.commit({ 'quick/b.yaml': undefined })
    await waitUntilRunning('quick')
    await waitUntilGone('eu', 'quick-b')
    expect(await find('eu', 'quick-a')).toBeDefined()
  })
})

describe('an object', () => {
  test('that moves from one application to another in one commit is handed over, never deleted', async () => {
    const moving = configMap('moving', { a: '1' })
    shop.commit({ 'from/a.yaml': configMap('from', { a: '1' }), 'from/moving.yaml': moving })
    shop.commit({ 'to/a.yaml': configMap('to', { a: '1' }) })
    await apply('from')
    await apply('to')
    await waitUntilRunning('from')
    await waitUntilRunning('to')
    const [before, since] = [await get('eu', 'moving'), Date.now()]
    // To and fro: whether an object is lost on the way is a matter of milliseconds.
    for (const [old, next] of [
      ['from', 'to'],
      ['to', 'from'],
      ['from', 'to'],
    ] as const) {
      shop.commit({ [`${old}/moving.yaml`]: undefined, [`${next}/moving.yaml`]: moving })
      await waitUntilRunning(old)
      await waitUntilRunning(next)
      const after = await get('eu', 'moving')
      expect(after.metadata.uid).toBe(before.metadata.uid)
      expect(after.metadata.labels?.['fairlead.dev/application']).toBe(next)
    }
    expect(deletedSince(since)).toEqual([])
  })

  test('that two applications claim stays with the first, and both are told', async () => {
    shop.commit({ 'first/a.yaml': configMap('claimed', { by: 'first' }) })
    await apply('first')
    await waitUntilRunning('first')
    shop.commit({ 'second/a.yaml': configMap('claimed', { by: 'second' }), 'second/b.yaml': configMap('own', {}) })
    await apply('second')
    await fleet.waitForStatus('both to be told', (status) =>
      ['first', 'second'].every((name) =>
        problemsOf(status, name).some((problem) =>
          describeProblem(problem).startsWith('OwnedByAnother ConfigMap default/claimed'),
        ),
      ),
    )
    expect(getField(await get('eu', 'claimed'), 'data.by')).toBe('first')
    expect(await find('eu', 'own')).toBeDefined()
  })

  test('that the first of two lets go is taken over by the second as it is', async () => {
    const [before, since] = [await get('eu', 'claimed'), Date.now()]
    shop.commit({ 'first/a.yaml': configMap('first-own', { a: '1' }) })
    await waitUntilRunning('first')
    const status = await waitUntilRunning('second')
    expect([...problemsOf(status, 'first'), ...problemsOf(status, 'second')]).toEqual([])
    const after = await get('eu', 'claimed')
    expect(getField(after, 'data.by')).toBe('second')
    expect(after.metadata.uid).toBe(before.metadata.uid)
    expect(deletedSince(since)).toEqual([])
  })
})

describe('an application', () => {
  test('that moves from one cluster to another leaves the one and runs on the other', async () => {
    shop.commit({ 'nomad/a.yaml': configMap('nomad', { a: '1' }) })
    await apply('nomad', { names: ['us'] })
    await waitUntilRunning('nomad', 'us')
    await apply('nomad', { names: ['eu'] })
    await waitUntilRunning('nomad', 'eu')
    await waitUntilGone('us', 'nomad')
    await fleet.waitForStatus('us to be forgotten', (status) => !findDeployment(status, 'nomad', 'us'))
    expect(await find('eu', 'nomad')).toBeDefined()
  })

  test('that is deleted is gone, and made again under its name runs again', async () => {
    shop.commit({ 'again/a.yaml': configMap('again', { a: '1' }) })
    await apply('again')
    await waitUntilRunning('again')
    const before = await get('eu', 'again')
    await fleet.cli('application', 'delete', 'again', '--wait')
    expect(await find('eu', 'again')).toBeUndefined()
    await apply('again')
    await waitUntilRunning('again')
    expect((await get('eu', 'again')).metadata.uid).not.toBe(before.metadata.uid)
  })

  test('that is made again before its removal is confirmed holds what it declares now, and nothing of before', async () => {
    shop.commit({ 'hasty/a.yaml': configMap('hasty-old', { a: '1' }), 'hasty/b.yaml': configMap('hasty', { a: '1' }) })
    shop.commit({ 'hasty2/b.yaml': configMap('hasty', { a: '2' }), 'hasty2/c.yaml': configMap('hasty-new', {}) })
    await apply('hasty')
    await waitUntilRunning('hasty')
    const eu = fleet.getCluster('eu')
    await eu.cut()
    await fleet.cli('application', 'delete', 'hasty')
    await fleet.waitForStatus('the removal to be pending', (status) => {
      return findDeployment(status, 'hasty', 'eu')?.removing === true
    })
    await apply('hasty', { path: 'hasty2' })
    await eu.restore()
    await waitUntilRunning('hasty')
    await waitUntilGone('eu', 'hasty-old')
    expect(getField(await get('eu', 'hasty'), 'data.a')).toBe('2')
    expect(await find('eu', 'hasty-new')).toBeDefined()
  })

  test('that is deleted and made again at once, several times, runs in the end', async () => {
    shop.commit({ 'flicker/a.yaml': configMap('flicker', { a: '1' }) })
    await apply('flicker')
    await waitUntilRunning('flicker')
    for (let round = 0; round < 3; round++) {
      await fleet.cli('application', 'delete', 'flicker')
      await apply('flicker')
    }
    const commit = shop.commit({ 'flicker/a.yaml': configMap('flicker', { a: '2' }) })
    await waitUntilRunning('flicker', 'eu', commit)
    expect(getField(await get('eu', 'flicker'), 'data.a')).toBe('2')
  })

  test('that is deleted and orphaned leaves its objects, and made again takes them over as they are', async () => {
    shop.commit({ 'orphan/a.yaml': configMap('orphan', { a: '1' }) })
    await apply('orphan')
    await waitUntilRunning('orphan')
    const before = await get('eu', 'orphan')
    await fleet.cli('application', 'delete', 'orphan', '--orphan', '--wait')
    expect((await get('eu', 'orphan')).metadata.uid).toBe(before.metadata.uid)
    await apply('orphan')
    await waitUntilRunning('orphan')
    expect((await get('eu', 'orphan')).metadata.uid).toBe(before.metadata.uid)
  })
})

describe('a cluster', () => {
  test('that is removed keeps its workloads and gets nothing more', async () => {
    shop.commit({ 'kept/a.yaml': configMap('kept', { a: '1' }), 'left/a.yaml': configMap('left', { a: '1' }) })
    await apply('kept', { names: ['us'] })
    await apply('left', { matchLabels: { region: 'us' } })
    await waitUntilRunning('kept', 'us')
    await waitUntilRunning('left', 'us')
    await fleet.cli('cluster', 'remove', 'us', '--yes')
    const status = await fleet.status()
    expect(status.clusters.map(({ name }) => name)).toEqual(['eu'])
    expect(findDeployment(status, 'kept', 'us')).toBeUndefined()
    shop.commit({ 'kept/a.yaml': configMap('kept', { a: '2' }) })
    await waitFor(
      'the agent to be refused',
      () => /revoked|IdentityRevoked/i.test(fleet.getCluster('us').kubelet.tail(200)),
      {
        timeoutMs: 30_000,
        logs: [fleet.getCluster('us').kubelet],
      },
    )
    expect(getField(await get('us', 'kept'), 'data.a')).toBe('1')
    expect(await find('us', 'left')).toBeDefined()
  })

  test('that is registered again under its name takes its workloads over as they are, and loses none', async () => {
    const before = { kept: await get('us', 'kept'), left: await get('us', 'left') }
    // This time without the label that selected `left`.
    const printed = await fleet.cli('cluster', 'register', 'us')
    await rejoin(fleet.getCluster('us'), printed)
    await waitUntilRunning('kept', 'us')
    const kept = await get('us', 'kept')
    expect(kept.metadata.uid).toBe(before.kept.metadata.uid)
    expect(getField(kept, 'data.a')).toBe('2')
    expect(findDeployment(await fleet.status(), 'left', 'us')).toBeUndefined()
    // Nobody asked for it to be deleted.
    expect(identityOf(await get('us', 'left'))).toEqual(identityOf(before.left))
  })

  test('that is another one under a name that was used before inherits nothing of the old one', async () => {
    await fleet.cli('cluster', 'remove', 'us', '--yes')
    await fleet.getCluster('us')[Symbol.asyncDispose]()
    await apply('kept', { names: ['eu'] })
    await fleet.addCluster('us', { labels: { region: 'elsewhere' } })
    shop.commit({ 'late/a.yaml': configMap('late', { a: '1' }) })
    await apply('late', { names: ['us'] })
    const status = await waitUntilRunning('late', 'us')
    expect(connectionOf(status, 'us')).toBe('ONLINE')
    expect(status.deployments.filter(({ cluster }) => cluster === 'us').map(({ application }) => application)).toEqual([
      'late',
    ])
    expect(await find('us', 'kept')).toBeUndefined()
    expect(await find('us', 'left')).toBeUndefined()
  })
})

/** Runs the printed command on a cluster that has an agent already, and waits until the hub hears from it. */
async function rejoin(member: FleetCluster, printed: string): Promise<void> {
  await member.install([], printed.trim().replace(/^helm install/, 'helm upgrade --install'))
  await member.kubelet.waitUntilReady()
  await fleet.waitForStatus('us to be Online', (status) => connectionOf(status, 'us') === 'ONLINE')
}

// An application gets another namespace: what is bound to no namespace of its own moves, the new objects first, then the
// old ones go under the guards; what names its namespace is not touched; and the status says where it stands.
import { HealthState, SyncState } from '@fairlead/proto/common'
import type { Deployment } from '@fairlead/proto/fleet'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { writeVerbs } from '../harness/audit.ts'
import { type Fleet, startFleet } from '../harness/fleet.ts'
import type { FleetCluster } from '../harness/fleet-cluster.ts'
import type { GitRepository } from '../harness/git-server.ts'
import { getField, type KubeObject, type KubeReference } from '../harness/kube-client.ts'
import { waitFor } from '../harness/wait.ts'
import { describeProblem, findDeployment, problemsOf, runs } from './fleet-status.ts'
import {
  applicationDefinition,
  configMap,
  configMapReference,
  deployment,
  namespace,
  repositoryDefinition,
  service,
} from './manifests.ts'

let fleet: Fleet
let eu: FleetCluster
let shop: GitRepository

const volumeClaim = JSON.stringify({
  apiVersion: 'v1',
  kind: 'PersistentVolumeClaim',
  metadata: { name: 'data' },
  spec: { storageClassName: '', accessModes: ['ReadWriteOnce'], resources: { requests: { storage: '1Gi' } } },
})
/** A volume that a claim is bound to; nothing is stored on it. */
const volume = (name: string): KubeObject => ({
  apiVersion: 'v1',
  kind: 'PersistentVolume',
  metadata: { name },
  spec: {
    storageClassName: '',
    accessModes: ['ReadWriteOnce'],
    capacity: { storage: '1Gi' },
    hostPath: { path: '/nowhere' },
  },
})
const claimIn = (space: string): KubeReference => ({
  apiVersion: 'v1',
  kind: 'PersistentVolumeClaim',
  metadata: { name: 'data', namespace: space },
})
const webIn = (space: string): KubeReference => ({
  apiVersion: 'apps/v1',
  kind: 'Deployment',
  metadata: { name: 'web', namespace: space },
})
const node = { apiVersion: 'v1', kind: 'Node', metadata: { name: 'node-1' } }

beforeAll(async () => {
  fleet = await startFleet()
  shop = fleet.git.createRepository('shop')
  shop.commit({
    'web/web.yaml': deployment('web', 'nginx:1', { replicas: 2 }),
    'web/service.yaml': service('web', 80),
    'web/config.yaml': configMap('config', { v: '1' }),
    'web/data.yaml': volumeClaim,
    'web/fixed.yaml': configMap('fixed', { v: '1' }, 'default'),
  })
  eu = await fleet.addCluster('eu', { full: true })
  for (const name of ['old', 'new']) await eu.cluster.admin.create(JSON.parse(namespace(name)))
  for (const name of ['one', 'two']) await eu.cluster.admin.create(volume(name))
  await fleet.apply(repositoryDefinition('shop', shop.url))
}, 300_000)
afterAll(async () => {
  await fleet?.[Symbol.asyncDispose]()
})

const find = (reference: KubeReference) => eu.cluster.admin.find(reference)
const webOf = (status: Parameters<typeof findDeployment>[0]) => findDeployment(status, 'web', 'eu') as Deployment
const identityOf = (object: KubeObject | undefined) => {
  const { uid, resourceVersion, generation } = object?.metadata ?? {}
  return { uid, resourceVersion, generation }
}
const podsIn = async (space: string): Promise<string[]> => {
  const pods = { apiVersion: 'v1', kind: 'Pod', metadata: { namespace: space } }
  return (await eu.cluster.admin.list(pods, { labels: 'app=web' })).map(({ metadata }) => String(metadata.uid)).sort()
}
const isGone = async (reference: KubeReference) => {
  const found = await find(reference)
  return !found || found.metadata.deletionTimestamp !== undefined
}

async function moveTo(name: string, space: string): Promise<void> {
  const sync = { prune: true, remediate: true }
  await fleet.apply(applicationDefinition(name, { repository: 'shop', namespace: space, sync }))
}

/** Nothing is scheduled any more: new pods stay Pending, those that run go on. */
async function cordon(isCordoned: boolean): Promise<void> {
  await eu.cluster.admin.patch(node, { spec: { unschedulable: isCordoned } }, { type: 'merge' })
}

/** What the agent has deleted since then. */
function deletesSince(since: number): { readonly what: string; readonly receivedAt: number }[] {
  const deletes = eu
    .agentRequests({ verbs: ['delete'], since })
    .filter(({ namespace: space }) => space !== 'fairlead-system')
  return deletes.map(({ resource, namespace: space, name, receivedAt }) => ({
    what: `${resource} ${space}/${name}`,
    receivedAt,
  }))
}

describe('an application whose namespace is changed', () => {
  let fixed: ReturnType<typeof identityOf>
  let movedAt = 0
  let oldPods: string[] = []

  test('keeps its old objects running until the new ones are healthy, and says what it is waiting for', async () => {
    await moveTo('web', 'old')
    await fleet.waitForStatus('web to run', (status) => runs(status, 'web', 'eu', shop.head()))
    fixed = identityOf(await find(configMapReference('fixed')))
    oldPods = await podsIn('old')
    expect(oldPods).toHaveLength(2)

    await cordon(true)
    movedAt = Date.now()
    await moveTo('web', 'new')
    await waitFor('the new objects', async () => await find(webIn('new')), { timeoutMs: 30_000 })
    const status = await fleet.waitForStatus('the new Deployment to be waited for', (one) =>
      (webOf(one).report?.unhealthy ?? []).some(
        ({ object, health }) =>
          object?.namespace === 'new' && object.name === 'web' && health === HealthState.PROGRESSING,
      ),
    )
    expect(webOf(status)).toMatchObject({ sync: SyncState.OUT_OF_SYNC, health: HealthState.PROGRESSING })
    expect((await fleet.run('status', '--exit-code')).code).not.toBe(0)
    await eu.restartAgent()
    await fleet.waitForStatus('an agent that was started meanwhile to wait too', (one) => {
      const { report } = webOf(one)
      return (
        report?.sync === SyncState.OUT_OF_SYNC && report.unhealthy.some(({ object }) => object?.namespace === 'new')
      )
    })
    expect(deletesSince(movedAt)).toEqual([])
    expect(await podsIn('old')).toEqual(oldPods)
  })

  test('moves then: the old objects go, in order, but for what holds data; nothing else is touched', async () => {
    await cordon(false)
    await waitFor('the old Deployment to go', async () => await isGone(webIn('old')), { timeoutMs: 30_000 })
    await waitFor('all of it to go', async () => {
      const gone = await Promise.all([webIn('old'), configMapReference('config', 'old')].map(isGone))
      return gone.every(Boolean) && (await podsIn('old')).length === 0
    })
    const ready = getField(await find(webIn('new')), 'status.conditions') as {
      type: string
      lastTransitionTime: string
    }[]
    const readyAt = Date.parse(ready.find(({ type }) => type === 'Available')?.lastTransitionTime ?? '')
    const deletes = deletesSince(movedAt)
    expect(deletes.map(({ what }) => what).sort()).toEqual([
      'configmaps old/config',
      'deployments old/web',
      'services old/web',
    ])
    for (const { receivedAt } of deletes) expect(receivedAt).toBeGreaterThanOrEqual(readyAt)
    expect(identityOf(await find(configMapReference('fixed')))).toEqual(fixed)
    // Rolled out once, and not again when the old ones went.
    const rollout = getField(await find(webIn('new')), 'metadata.annotations', 'deployment.kubernetes.io/revision')
    expect(rollout).toBe('1')
  })

  test('holds the old data until that is approved, and is as declared afterwards', async () => {
    const status = await fleet.waitForStatus('the old claim to be held', (one) =>
      problemsOf(one, 'web').some(({ code }) => code === 'PruneHeld'),
    )
    expect(problemsOf(status, 'web').map(describeProblem)).toEqual(['PruneHeld PersistentVolumeClaim old/data'])
    expect(webOf(status).sync).toBe(SyncState.OUT_OF_SYNC)
    const [held] = webOf(status).report?.heldPrunes ?? []
    await fleet.cli('approve-prune', 'web', '--cluster', 'eu', '--digest', held?.digest ?? '', '--yes')
    await waitFor('the old claim to go', async () => await isGone(claimIn('old')), { timeoutMs: 30_000 })
    const done = await fleet.waitForStatus('web to run', (one) => runs(one, 'web', 'eu', shop.head()))
    expect(webOf(done).report?.objects).toBe(5)
    expect(problemsOf(done, 'web')).toEqual([])
    expect(await isGone(claimIn('new'))).toBe(false)
  })
})

describe('a namespace that is not there', () => {
  test('is told, and nothing of the old one is deleted, however long that lasts; the move goes on when it is made', async () => {
    shop.commit({ 'small/a.yaml': configMap('small', { v: '1' }), 'small/b.yaml': configMap('small-b', { v: '1' }) })
    await moveTo('small', 'old')
    await fleet.waitForStatus('small to run', (status) => runs(status, 'small', 'eu', shop.head()))
    const before = identityOf(await find(configMapReference('small', 'old')))
    const since = Date.now()
    await moveTo('small', 'typo')
    const told = ['NamespaceNotFound ConfigMap typo/small small/a.yaml', 'PruneHeld ConfigMap old/small']
    await fleet.waitForStatus(
      'it to be told, and the old objects to be kept for it',
      (status) => {
        const descriptions = problemsOf(status, 'small').map(describeProblem)
        return told.every((one) => descriptions.includes(one))
      },
      // The new objects are waited for for a minute.
      { timeoutMs: 120_000 },
    )
    expect(deletesSince(since)).toEqual([])
    expect(identityOf(await find(configMapReference('small', 'old')))).toEqual(before)

    await eu.cluster.admin.create(JSON.parse(namespace('typo')))
    // What is refused by what is there is tried again ever later; a commit has it tried at once.
    shop.commit({ 'small/b.yaml': configMap('small-b', { v: '2' }) })
    await waitFor('the move', async () => (await find(configMapReference('small', 'old'))) === undefined, {
      timeoutMs: 60_000,
      logs: [eu.kubelet],
    })
    const status = await fleet.waitForStatus('small to run', (one) => runs(one, 'small', 'eu', shop.head()))
    expect(problemsOf(status, 'small')).toEqual([])
    expect(await find(configMapReference('small', 'typo'))).toBeDefined()
  })

  test('and back again: a move that is taken back writes nothing of what was there', async () => {
    const before = identityOf(await find(configMapReference('small', 'typo')))
    const since = Date.now()
    await moveTo('small', 'nowhere')
    await fleet.waitForStatus('it to be told', (status) =>
      problemsOf(status, 'small').some(({ code }) => code === 'NamespaceNotFound'),
    )
    await moveTo('small', 'typo')
    const status = await fleet.waitForStatus('small to run', (one) => runs(one, 'small', 'eu', shop.head()))
    expect(problemsOf(status, 'small')).toEqual([])
    expect(identityOf(await find(configMapReference('small', 'typo')))).toEqual(before)
    const writes = eu.agentRequests({ since, verbs: writeVerbs, namespace: 'typo' })
    expect(writes.filter(({ resource }) => resource !== 'events')).toEqual([])
  })
})

test('a hundred objects and more move, and the old ones wait for an approval', async () => {
  const names = Array.from({ length: 100 }, (_, index) => `crowd-${index}`)
  shop.commit({ 'crowd/all.yaml': names.map((name) => configMap(name, { v: '1' })).join('---\n') })
  await moveTo('crowd', 'old')
  await fleet.waitForStatus('crowd to run', (status) => runs(status, 'crowd', 'eu', shop.head()))
  const since = Date.now()
  await moveTo('crowd', 'new')
  const status = await fleet.waitForStatus('the prune to be held', (one) => {
    return (findDeployment(one, 'crowd', 'eu')?.report?.heldPrunes ?? []).length > 0
  })
  const report = findDeployment(status, 'crowd', 'eu')?.report
  expect(report?.heldPrunes[0]).toMatchObject({ count: 100, reason: '100 of 200 objects would be deleted at once' })
  expect(report).toMatchObject({ objects: 100, health: HealthState.HEALTHY, sync: SyncState.OUT_OF_SYNC })
  const count = async (space: string) => {
    const all = { apiVersion: 'v1', kind: 'ConfigMap', metadata: { namespace: space } }
    return (await eu.cluster.admin.list(all, { labels: 'fairlead.dev/application=crowd' })).length
  }
  expect([await count('old'), await count('new')]).toEqual([100, 100])
  expect(deletesSince(since)).toEqual([])
  await fleet.cli('approve-prune', 'crowd', '--cluster', 'eu', '--yes')
  await waitFor('the old ones to go', async () => (await count('old')) === 0, { timeoutMs: 30_000 })
  await fleet.waitForStatus('crowd to run', (one) => runs(one, 'crowd', 'eu', shop.head()))
  expect(await count('new')).toBe(100)
})

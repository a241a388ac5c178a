// Kubernetes Events on a real API server: on the right object, few, without values, and never in the way of the work.
import { type Cluster, startCluster } from '@fairlead/e2e/harness/cluster'
import type { KubeObject } from '@fairlead/e2e/harness/kube-client'
import { waitFor } from '@fairlead/e2e/harness/wait'
import { createLogger, silentLogger } from '@fairlead/shared/logger'
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest'
import { kubeconfigAccess } from '../kube/access.ts'
import { createKube, type Kube } from '../kube/kube.ts'
import { ReconcilerBed, type TestObject } from '../reconciler/reconciler-bed.ts'
import { EventRecorder, type EventRecorderOptions } from './event-recorder.ts'

let cluster: Cluster
let namespace = ''
let number = 0
const ends: (() => Promise<unknown>)[] = []

beforeAll(async () => {
  cluster = await startCluster({ name: 'events' })
})
afterAll(() => cluster?.stop())
beforeEach(async () => {
  namespace = `events-${++number}`
  await cluster.admin.create({ apiVersion: 'v1', kind: 'Namespace', metadata: { name: namespace } })
})
afterEach(async () => {
  for (const end of ends.splice(0)) await end()
})

const results: string[] = []

/** A reconciler that tells by Events, which are written by their own client. */
async function start(options: Partial<EventRecorderOptions> = {}, token?: string): Promise<ReconcilerBed> {
  const file = cluster.writeKubeconfig(namespace, token === undefined ? {} : { token })
  const access = await kubeconfigAccess(file)
  const kube: Kube = createKube({ access, userAgent: `events ${namespace}`, logger: silentLogger })
  const stop = new AbortController()
  results.length = 0
  const recorder = new EventRecorder({
    kube,
    instance: 'agent-pod',
    onResult: (result) => results.push(result),
    logger: silentLogger,
    signal: stop.signal,
    ...options,
  })
  const bed = await ReconcilerBed.start({ cluster, namespace }, { recorder })
  ends.push(async () => {
    stop.abort()
    await bed.stop()
    await kube.close()
  })
  return bed
}

type EventObject = KubeObject & {
  readonly reason: string
  readonly type: string
  readonly note: string
  readonly regarding: Record<string, string>
  readonly series?: { readonly count: number }
}

async function events(inNamespace = namespace): Promise<EventObject[]> {
  const found = await cluster.admin.list({
    apiVersion: 'events.k8s.io/v1',
    kind: 'Event',
    metadata: { namespace: inNamespace },
  })
  return found as unknown as EventObject[]
}

async function eventOf(name: string, reason: string): Promise<EventObject> {
  return await waitFor(
    `an Event ${reason} of ${name}`,
    async (see) => {
      const all = await events()
      see(all.map(({ reason: one, note, regarding }) => `${regarding.name} ${one}: ${note}`))
      return all.find((event) => event.reason === reason && event.regarding.name === name)
    },
    { timeoutMs: 15_000 },
  )
}

const object = (kind: string, name: string, data: Record<string, string>): TestObject => ({
  apiVersion: 'v1',
  kind,
  metadata: { name },
  ...(kind === 'Secret' ? { stringData: data } : { data }),
})
const at = (one: TestObject) => ({ ...one, metadata: { ...one.metadata, namespace } })

async function edit(one: TestObject, data: Record<string, string>): Promise<void> {
  await cluster.admin.patch(
    at(one),
    { [one.kind === 'Secret' ? 'stringData' : 'data']: data },
    {
      type: 'merge',
      fieldManager: 'kubectl-edit',
    },
  )
}

async function isBack(one: TestObject, key: string, value: string): Promise<void> {
  const wanted = one.kind === 'Secret' ? Buffer.from(value).toString('base64') : value
  await waitFor(
    `${one.metadata.name} to be put back`,
    async () => (await cluster.admin.get(at(one))).data?.[key] === wanted,
  )
}

test('a repair, a deletion, an adoption and a failure are told on their object, with who, which fields and why', async () => {
  const bed = await start()
  const theirs = object('ConfigMap', 'theirs', { a: '1' })
  await cluster.admin.create(at(theirs) as never)
  const config = object('ConfigMap', 'config', { a: '1' })
  const dropped = object('ConfigMap', 'dropped', { a: '1' })
  const broken = { ...object('ConfigMap', 'broken', {}), data: { a: 1 } } as never
  bed.update({ web: { objects: [theirs, config, dropped] } })
  await bed.synced('web')
  const adopted = await eventOf('theirs', 'Adopted')
  expect(adopted).toMatchObject({ type: 'Normal', note: 'taken over by application web' })
  const { uid = '' } = (await cluster.admin.get(at(theirs))).metadata
  expect(adopted.regarding).toMatchObject({ apiVersion: 'v1', kind: 'ConfigMap', namespace, name: 'theirs', uid })
  await edit(config, { a: '2' })
  await isBack(config, 'a', '1')
  expect(await eventOf('config', 'DriftRepaired')).toMatchObject({
    type: 'Normal',
    note: 'put back: kubectl-edit changed data.a',
    reportingController: 'fairlead.dev/agent',
    reportingInstance: 'agent-pod',
    action: 'Repair',
  })
  bed.update({ web: { objects: [theirs, config, broken] } })
  expect(await eventOf('broken', 'ApplyFailed')).toMatchObject({ type: 'Warning', action: 'Apply' })
  bed.update({ web: { objects: [theirs, config] } })
  expect(await eventOf('dropped', 'Pruned')).toMatchObject({ note: 'deleted: application web no longer declares it' })
})

const binding = (role: string, metadata: object = {}): TestObject => ({
  apiVersion: 'rbac.authorization.k8s.io/v1',
  kind: 'RoleBinding',
  metadata: { name: 'viewers', ...metadata },
  roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: role },
  subjects: [{ kind: 'ServiceAccount', name: 'default', namespace }],
})
const HELD = { finalizers: ['example.com/hold'] }
const release = async () => {
  await cluster.admin.patch(at(binding('')), { metadata: { finalizers: null } }, { type: 'merge' })
}

test.each([
  ['at once', {}],
  ['when its finalizer lets it go', HELD],
])(
  'an object that is made anew for a field that cannot be changed is told, on the new object: %s',
  async (_when, held) => {
    const bed = await start()
    const recreate = { annotations: { 'fairlead.dev/recreate': 'true' }, ...held }
    bed.update({ web: { objects: [binding('view', recreate)] } })
    await bed.synced('web')
    const { uid: oldUid } = (await cluster.admin.get(at(binding('')))).metadata
    bed.update({ web: { objects: [binding('edit', recreate)] } })
    if ('finalizers' in held) {
      await waitFor('it to be going', async () => (await cluster.admin.get(at(binding('')))).metadata.deletionTimestamp)
      await release()
    }
    const told = await eventOf('viewers', 'Recreated')
    expect(told).toMatchObject({
      type: 'Normal',
      action: 'Apply',
      note: 'deleted and made anew: application web changed a field that cannot be changed',
    })
    const { uid = '' } = (await cluster.admin.get(at(binding('')))).metadata
    expect(uid).not.toBe(oldUid)
    expect(told.regarding).toMatchObject({ kind: 'RoleBinding', namespace, name: 'viewers', uid })
    await bed.synced('web')
    expect((await events()).filter(({ reason }) => reason === 'DriftRepaired' || reason === 'Pruned')).toEqual([])
  },
)

test('an object that was pruned and comes back before its finalizer lets it go was not made anew for a field', async () => {
  const bed = await start()
  const marker = object('ConfigMap', 'marker', { a: '1' })
  bed.update({ web: { objects: [binding('view', HELD), marker] } })
  await bed.synced('web')
  bed.update({ web: { objects: [marker] } })
  await eventOf('viewers', 'Pruned')
  await waitFor('it to be going', async () => (await cluster.admin.get(at(binding('')))).metadata.deletionTimestamp)
  bed.update({ web: { objects: [binding('view'), marker] } })
  await bed.reported('web', 'declaring it again', ({ objects }) => objects === 2)
  await release()
  await waitFor('it to be back', async () => !(await cluster.admin.find(at(binding(''))))?.metadata.deletionTimestamp)
  await bed.synced('web')
  // Told after whatever would have been told of the binding.
  await edit(marker, { a: '2' })
  await eventOf('marker', 'DriftRepaired')
  expect((await events()).map(({ reason }) => reason)).not.toContain('Recreated')
})

test('of a Secret no Event says a value, whatever is done to it', async () => {
  const bed = await start()
  const secret = object('Secret', 'password', { word: 'correct-horse' })
  bed.update({ web: { objects: [secret] } })
  await bed.synced('web')
  await edit(secret, { word: 'battery-staple' })
  await isBack(secret, 'word', 'correct-horse')
  await eventOf('password', 'DriftRepaired')
  const { stringData: _, ...bare } = secret
  bed.update({ web: { objects: [{ ...bare, data: { word: { nested: 'battery-staple' } } }] } })
  await bed.reported('web', 'not valid', ({ problems }) => problems.length > 0)
  await eventOf('password', 'ApplyFailed')
  const text = JSON.stringify(await events())
  for (const value of [
    'correct-horse',
    'battery-staple',
    ...['correct-horse', 'battery-staple'].map((word) => btoa(word)),
  ]) {
    expect(text).not.toContain(value)
  }
})

test('the same again and again is one Event that counts, and no more requests than the budget has', async () => {
  const limits = { object: { burst: 5, perMinute: 0 }, overall: { burst: 50, perMinute: 0 }, objects: 10 }
  const bed = await start({ limits })
  const config = object('ConfigMap', 'config', { a: '1' })
  bed.update({ web: { objects: [config] } })
  await bed.synced('web')
  const since = Date.now()
  for (let round = 0; round < 12; round++) {
    await edit(config, { a: `edit-${round}` })
    await isBack(config, 'a', '1')
  }
  await waitFor('all to be decided', () => results.length >= 12)
  expect(results.filter((result) => result === 'sent')).toHaveLength(5)
  expect(results.filter((result) => result === 'dropped').length).toBeGreaterThanOrEqual(7)
  const told = (await events()).filter(({ reason }) => reason === 'DriftRepaired')
  expect(told).toHaveLength(1)
  expect(told[0]?.series?.count).toBeGreaterThanOrEqual(4)
  const requests = cluster.auditLog({ userAgent: `events ${namespace}`, since })
  expect(requests.filter(({ resource }) => resource === 'events')).toHaveLength(5)
})

test('where Events are forbidden the work goes on, it is told once, and nobody keeps asking', async () => {
  const account = { apiVersion: 'v1', kind: 'ServiceAccount', metadata: { namespace, name: 'mute' } }
  await cluster.admin.create(account)
  const { token } = await cluster.admin.createToken(namespace, 'mute')
  const lines: string[] = []
  const logger = createLogger({ name: 'test', stream: { write: (line: string) => void lines.push(line) } })
  const bed = await start({ logger }, token)
  const config = object('ConfigMap', 'config', { a: '1' })
  bed.update({ web: { objects: [config] } })
  await bed.synced('web')
  for (const value of ['2', '3', '4']) {
    await edit(config, { a: value })
    await isBack(config, 'a', '1')
    await waitFor('it to be counted', () => results.length > 0)
  }
  await waitFor('all three to be counted', () => results.length >= 3)
  expect(results).toEqual(['failed', 'dropped', 'dropped'])
  expect(lines.filter((line) => line.includes('events may not be written'))).toHaveLength(1)
  expect(cluster.auditLog({ userAgent: `events ${namespace}` }).filter(({ code }) => code === 403)).toHaveLength(1)
})

test('nothing is asked while nothing happens, and an applied slice is no Event', async () => {
  const bed = await start()
  bed.update({ web: { objects: [object('ConfigMap', 'a', { a: '1' }), object('Secret', 'b', { a: '1' })] } })
  await bed.synced('web')
  bed.update({ web: { objects: [object('ConfigMap', 'a', { a: '2' }), object('Secret', 'b', { a: '2' })] } })
  await bed.reported('web', 'at the second', ({ objects }) => objects === 2)
  await isBack(object('ConfigMap', 'a', {}), 'a', '2')
  expect(cluster.auditLog({ userAgent: `events ${namespace}` })).toEqual([])
})

// What comes while a request is under way, and what is tried again: nothing is lost, and nothing is deleted wrongly.
import { type Cluster, startCluster } from '@fairlead/e2e/harness/cluster'
import { waitFor } from '@fairlead/e2e/harness/wait'
import { HealthState, SyncState } from '@fairlead/proto/common'
import { silentLogger } from '@fairlead/shared/logger'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { kubeconfigAccess } from '../kube/access.ts'
import { createKube, type Kube } from '../kube/kube.ts'
import { KubeError } from '../kube/kube-error.ts'
import type { ReconcilerOptions } from '../reconciler.ts'
import { ReconcilerBed, type TestObject } from './reconciler-bed.ts'

let cluster: Cluster
let kube: Kube
let count = 0
let namespace = ''
const beds: ReconcilerBed[] = []

beforeAll(async () => {
  cluster = await startCluster({ name: 'in-flight' })
  const access = await kubeconfigAccess(cluster.kubeconfigPath)
  kube = createKube({ access, userAgent: 'fairlead-agent/test', logger: silentLogger })
}, 120_000)
afterEach(async () => {
  for (const bed of beds.splice(0)) await bed.stop()
})
afterAll(async () => {
  await kube?.close()
  await cluster?.stop()
})

async function start(options: Partial<ReconcilerOptions> = {}): Promise<ReconcilerBed> {
  namespace = `in-flight-${++count}`
  await cluster.admin.create({ apiVersion: 'v1', kind: 'Namespace', metadata: { name: namespace } })
  const bed = await ReconcilerBed.start({ cluster, namespace, waitFor }, { kube, ...options })
  beds.push(bed)
  return bed
}

const configMap = (name: string, value = '1'): TestObject => ({
  apiVersion: 'v1',
  kind: 'ConfigMap',
  metadata: { name },
  data: { value },
})
const find = async (object: TestObject) =>
  await cluster.admin.find({ ...object, metadata: { ...object.metadata, namespace } })

/** Holds back the answer to the next matching call until `release`; `arrived` resolves when the API server has done it. */
function holdBack(verb: 'apply' | 'delete', name: string, word = '') {
  const arrived = Promise.withResolvers<void>()
  const released = Promise.withResolvers<void>()
  let isDone = false
  const call = async (...given: unknown[]): Promise<unknown> => {
    const answer = await (kube[verb] as (...given: unknown[]) => Promise<unknown>)(...given)
    const [, target, body] = given as [unknown, { name: string }, unknown]
    const isWanted = target.name === name && (!(body instanceof Uint8Array) || Buffer.from(body).includes(word))
    if (isDone || !isWanted) return answer
    isDone = true
    arrived.resolve()
    await released.promise
    return answer
  }
  return { kube: { ...kube, [verb]: call } as Kube, arrived: arrived.promise, release: () => released.resolve() }
}

test('a mass prune that is held stays held however often it is tried again', async () => {
  const bed = await start({ limits: { userBaseMs: 600, userMaxMs: 600 } })
  const objects = Array.from({ length: 15 }, (_, index) => configMap(`c${index}`))
  bed.update({ web: { objects } })
  await bed.synced('web')
  bed.update({ web: { objects: objects.slice(0, 3) } })
  const isHeld = () => bed.report('web')?.heldPrunes[0]?.count === 12
  await bed.reported('web', 'held', isHeld)
  const since = performance.now()
  await bed.reported('web', 'tried again some times', () => performance.now() - since > 2_000)
  expect(isHeld()).toBe(true)
  for (const object of objects) expect(await find(object)).toBeDefined()
})

test('an object declared again while it is being deleted comes back, and is owned', async () => {
  const held = holdBack('delete', 'b')
  const bed = await start({ kube: held.kube })
  const [a, b] = [configMap('a'), configMap('b')]
  bed.update({ web: { objects: [a, b] } })
  await bed.synced('web')
  bed.update({ web: { objects: [a] } })
  await held.arrived
  bed.update({ web: { objects: [a, b] } })
  held.release()
  await waitFor('b to be there again', async () => await find(b), { timeoutMs: 5_000 })
  await bed.synced('web')
  bed.update({ web: { objects: [a] } })
  await bed.synced('web')
  await waitFor('b to be pruned', async () => (await find(b)) === undefined, { timeoutMs: 5_000 })
})

test.each<'prune' | 'orphan'>(['prune', 'orphan'])(
  'an object declared again while its %s waits for its turn is not touched',
  async (how) => {
    // Behind a slow webhook for the objects of another application.
    const released = Promise.withResolvers<void>()
    let [waiting, touched] = [0, 0]
    const slow: Kube = {
      ...kube,
      apply: async (resource, target, ...rest) => {
        if (target.name.startsWith('slow-') && ++waiting) await released.promise
        return await kube.apply(resource, target, ...rest)
      },
      delete: async (...given) => {
        touched++
        return await kube.delete(...given)
      },
      patchJson: async (...given) => {
        touched++
        return await kube.patchJson(...given)
      },
    }
    const bed = await start({ kube: slow })
    const [a, b] = [configMap('a'), configMap('b')]
    bed.update({ web: { objects: [a, b] } })
    await bed.synced('web')
    const uid = (await find(b))?.metadata.uid
    const shop = { objects: Array.from({ length: 70 }, (_, index) => configMap(`slow-${index}`)) }
    bed.update({ web: { objects: [a, b] }, shop })
    await waitFor('all places to be taken', () => waiting >= 64, { timeoutMs: 15_000 })
    const queue = (): number => bed.reconciler.inspect().queues.apply ?? 0
    const queued = queue()
    bed.update({ web: how === 'prune' ? { objects: [a] } : { tombstone: 'orphan' }, shop })
    await waitFor('it to wait for its turn', () => queue() > queued, { timeoutMs: 5_000 })
    bed.update({ web: { objects: [a, b] }, shop })
    released.resolve()
    await bed.synced('shop')
    await bed.synced('web')
    expect(touched).toBe(0)
    expect(await find(b)).toMatchObject({ metadata: { uid, labels: { 'fairlead.dev/application': 'web' } } })
  },
  60_000,
)

test('an older revision that comes back while the newer one is being written wins', async () => {
  const held = holdBack('apply', 'a', 'newer')
  const bed = await start({ kube: held.kube })
  bed.update({ web: { objects: [configMap('a', 'older')] } })
  await bed.synced('web')
  const since = performance.now()
  bed.update({ web: { objects: [configMap('a', 'newer')] } })
  await held.arrived
  bed.update({ web: { objects: [configMap('a', 'older')], commit: 'back' } })
  await bed.reported('web', 'loaded', ({ sync }) => sync === SyncState.SYNCED)
  await waitFor('the answer to be waited for, or not', () => performance.now() - since > 300, { timeoutMs: 5_000 })
  held.release()
  await waitFor(
    'the older value',
    async () => ((await find(configMap('a')))?.data as { value?: string })?.value === 'older',
    { timeoutMs: 5_000 },
  )
  await bed.synced('web')
})

test('an object changed in Git while its deletion waits for a finalizer is made anew when it is gone', async () => {
  const bed = await start()
  const held: TestObject = { ...configMap('a'), metadata: { name: 'a', finalizers: ['example.com/hold'] } }
  bed.update({ web: { objects: [held] } })
  await bed.synced('web')
  const target = { ...held, metadata: { ...held.metadata, namespace } }
  await cluster.admin.delete(target)
  await bed.reported('web', 'going', ({ unhealthy }) => unhealthy.some(({ message }) => /being deleted/.test(message)))
  bed.update({ web: { objects: [configMap('a', '2')] } })
  await bed.reported('web', 'waiting', ({ sync, appliedAt }) => sync !== 0 && appliedAt === undefined)
  await cluster.admin.patch(target, { metadata: { finalizers: null } }, { type: 'merge' })
  await bed.synced('web')
  expect((await find(configMap('a')))?.data).toEqual({ value: '2' })
})

test('an object declared in a version that is not served is reported, and never pruned', async () => {
  const crd = {
    apiVersion: 'apiextensions.k8s.io/v1',
    kind: 'CustomResourceDefinition',
    metadata: { name: 'gears.flight.example.com' },
    spec: {
      group: 'flight.example.com',
      scope: 'Namespaced',
      names: { kind: 'Gear', plural: 'gears', singular: 'gear', listKind: 'GearList' },
      versions: [{ name: 'v1', served: true, storage: true, schema: { openAPIV3Schema: { type: 'object' } } }],
    },
  }
  await cluster.admin.create(crd)
  const gear = (version: string): TestObject => ({
    apiVersion: `flight.example.com/${version}`,
    kind: 'Gear',
    metadata: { name: 'g' },
  })
  const bed = await start({ limits: { pruneHealthTimeoutMs: 100 } })
  bed.update({ web: { objects: [gear('v1'), configMap('a'), configMap('old')] } })
  const uid = (await bed.synced('web')) && (await find(gear('v1')))?.metadata.uid
  expect(uid).toBeDefined()
  bed.update({ web: { objects: [gear('v2'), configMap('a', '2')] } })
  const { problems } = await bed.reported('web', 'of an unknown kind', (report) =>
    report.problems.some(({ code }) => code === 'UnknownKind'),
  )
  expect(problems[0]).toMatchObject({ object: { kind: 'Gear', name: 'g' }, source: { file: 'deploy/web.yaml' } })
  await waitFor('the rest to be pruned', async () => !(await find(configMap('old'))), { timeoutMs: 5_000 })
  expect((await find(configMap('a')))?.data).toEqual({ value: '2' })
  expect((await find(gear('v1')))?.metadata.uid).toBe(uid)
  bed.update({ web: { objects: [gear('v1'), configMap('a', '3')] } })
  await bed.synced('web')
  expect((await find(gear('v1')))?.metadata.uid).toBe(uid)
})

test('a deletion that is refused as a conflict is tried again, not forgotten', async () => {
  let refusals = 2
  const refusing: Kube = {
    ...kube,
    delete: async (resource, target, options) => {
      const status = { status: 409, reason: 'Conflict', message: 'denied', causes: [], subject: '' }
      if (target.name === 'b' && refusals-- > 0) throw new KubeError(status)
      return await kube.delete(resource, target, options)
    },
  }
  const bed = await start({ kube: refusing, limits: { transientBaseMs: 10, transientMaxMs: 20 } })
  bed.update({ web: { objects: [configMap('a'), configMap('b')] } })
  await bed.synced('web')
  bed.update({ web: { objects: [configMap('a')] } })
  await waitFor('b to be pruned', async () => (await find(configMap('b'))) === undefined, { timeoutMs: 5_000 })
})

test('an agent for some namespaces touches nothing outside of them, and none touches an agent’s own state', async () => {
  const bed = await start({ namespaces: ['elsewhere'] })
  const state: TestObject = { apiVersion: 'v1', kind: 'Secret', metadata: { name: 'fairlead-inventory-other' } }
  bed.update({ web: { objects: [configMap('outside'), state] } })
  const { problems } = await bed.reported('web', 'refused', (report) => report.problems.length === 2)
  expect(problems.map(({ code }) => code)).toEqual(['ApplyForbidden', 'ApplyForbidden'])
  expect(await find(configMap('outside'))).toBeUndefined()
  expect(await find(state)).toBeUndefined()
  bed.update({ web: { objects: [] } })
  await bed.reported('web', 'without a problem', (report) => report.problems.length === 0)
  const wide = await start()
  wide.update({ web: { objects: [configMap('inside'), state] } })
  await wide.reported('web', 'refused', (report) => report.problems.length === 1)
  // The refusal costs no request, so it is reported before the other object is applied.
  await waitFor('the other object', async () => (await find(configMap('inside'))) !== undefined)
  expect(await find(state)).toBeUndefined()
})

test('a Degraded workload names the pod and the reason, read once', async () => {
  const bed = await start()
  const labels = { app: 'd' }
  const spec = { containers: [{ name: 'c', image: 'nginx:1.0' }] }
  const deployment: TestObject = {
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: { name: 'd' },
    spec: { selector: { matchLabels: labels }, template: { metadata: { labels }, spec } },
  }
  bed.update({ web: { objects: [deployment] } })
  await bed.synced('web')
  await cluster.admin.create({ apiVersion: 'v1', kind: 'ServiceAccount', metadata: { name: 'default', namespace } })
  const pod = { apiVersion: 'v1', kind: 'Pod', metadata: { name: 'd-1', namespace, labels }, spec }
  await cluster.admin.create(pod)
  const state = { waiting: { reason: 'CrashLoopBackOff', message: 'back-off' } }
  const containerStatuses = [{ name: 'c', image: 'nginx:1.0', imageID: '', ready: false, restartCount: 3, state }]
  const status = { phase: 'Running', containerStatuses }
  await cluster.admin.patch(pod, { status }, { type: 'merge', subresource: 'status' })
  const conditions = [
    { type: 'Progressing', status: 'False', reason: 'ProgressDeadlineExceeded', message: 'timed out' },
  ]
  const target = { ...deployment, metadata: { name: 'd', namespace } }
  await cluster.admin.patch(
    target,
    { status: { observedGeneration: 1, conditions } },
    { type: 'merge', subresource: 'status' },
  )
  const { unhealthy } = await bed.reported('web', 'with the cause', (report) =>
    report.unhealthy.some(({ message }) => message.includes('d-1')),
  )
  expect(unhealthy[0]).toMatchObject({
    health: HealthState.DEGRADED,
    message: 'ProgressDeadlineExceeded: timed out; pod d-1: c: CrashLoopBackOff: back-off',
  })
})

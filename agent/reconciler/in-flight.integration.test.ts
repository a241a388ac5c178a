// What comes while a request is under way, and what is tried again: nothing is lost, and nothing is deleted wrongly.
import { waitFor } from '@fairlead/e2e/harness/wait'
import { HealthState, SyncState } from '@fairlead/proto/common'
import { expect, test } from 'vitest'
import type { Kube } from '../kube/kube.ts'
import { KubeError } from '../kube/kube-error.ts'
import type { ReconcilerOptions } from '../reconciler.ts'
import { createWatcher } from '../watcher/watcher.ts'
import { ClusterBed } from './cluster-bed.ts'
import type { TestObject } from './reconciler-bed.ts'

const here = ClusterBed.forFile({ name: 'in-flight' })

const configMap = (name: string, value = '1'): TestObject => ({
  apiVersion: 'v1',
  kind: 'ConfigMap',
  metadata: { name },
  data: { value },
})

/** Holds back the answer to the next matching call until `release`; `arrived` resolves when the API server has done it. */
function holdBack(verb: 'apply' | 'delete', name: string, word = '') {
  const arrived = Promise.withResolvers<void>()
  const released = Promise.withResolvers<void>()
  let isDone = false
  const call = async (...given: unknown[]): Promise<unknown> => {
    const answer = await (here.kube[verb] as (...given: unknown[]) => Promise<unknown>)(...given)
    const [, target, body] = given as [unknown, { name: string }, unknown]
    const isWanted = target.name === name && (!(body instanceof Uint8Array) || Buffer.from(body).includes(word))
    if (isDone || !isWanted) return answer
    isDone = true
    arrived.resolve()
    await released.promise
    return answer
  }
  return { kube: { ...here.kube, [verb]: call } as Kube, arrived: arrived.promise, release: () => released.resolve() }
}

test('a mass prune that is held stays held however often it is tried again', async () => {
  const bed = await here.start({ limits: { userBaseMs: 600, userMaxMs: 600 } })
  const objects = Array.from({ length: 15 }, (_, index) => configMap(`c${index}`))
  bed.update({ web: { objects } })
  await bed.synced('web')
  bed.update({ web: { objects: objects.slice(0, 3) } })
  const isHeld = () => bed.report('web')?.heldPrunes[0]?.count === 12
  await bed.reported('web', 'held', isHeld)
  const since = performance.now()
  await bed.reported('web', 'tried again some times', () => performance.now() - since > 2_000)
  expect(isHeld()).toBe(true)
  for (const object of objects) expect(await here.find(object)).toBeDefined()
})

test('an object declared again while it is being deleted comes back, and is owned', async () => {
  const held = holdBack('delete', 'b')
  const bed = await here.start({ kube: held.kube })
  const [a, b] = [configMap('a'), configMap('b')]
  bed.update({ web: { objects: [a, b] } })
  await bed.synced('web')
  bed.update({ web: { objects: [a] } })
  await held.arrived
  bed.update({ web: { objects: [a, b] } })
  held.release()
  await waitFor('b to be there again', async () => await here.find(b), { timeoutMs: 5_000 })
  await bed.synced('web')
  bed.update({ web: { objects: [a] } })
  await bed.synced('web')
  await waitFor('b to be pruned', async () => (await here.find(b)) === undefined, { timeoutMs: 5_000 })
})

test.each<'prune' | 'orphan'>(['prune', 'orphan'])(
  'an object declared again while its %s waits for its turn is not touched',
  async (how) => {
    // Behind a slow webhook for the objects of another application.
    const released = Promise.withResolvers<void>()
    let [waiting, touched] = [0, 0]
    const slow: Kube = {
      ...here.kube,
      apply: async (resource, target, ...rest) => {
        if (target.name.startsWith('slow-') && ++waiting) await released.promise
        return await here.kube.apply(resource, target, ...rest)
      },
      delete: async (...given) => {
        touched++
        return await here.kube.delete(...given)
      },
      patchJson: async (...given) => {
        touched++
        return await here.kube.patchJson(...given)
      },
    }
    const bed = await here.start({ kube: slow })
    const [a, b] = [configMap('a'), configMap('b')]
    bed.update({ web: { objects: [a, b] } })
    await bed.synced('web')
    const uid = (await here.find(b))?.metadata.uid
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
    expect(await here.find(b)).toMatchObject({ metadata: { uid, labels: { 'fairlead.dev/application': 'web' } } })
  },
  60_000,
)

test('an older revision that comes back while the newer one is being written wins', async () => {
  const held = holdBack('apply', 'a', 'newer')
  const bed = await here.start({ kube: held.kube })
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
    async () => ((await here.find(configMap('a')))?.data as { value?: string })?.value === 'older',
    { timeoutMs: 5_000 },
  )
  await bed.synced('web')
})

test('an object changed in Git while its deletion waits for a finalizer is made anew when it is gone', async () => {
  const bed = await here.start()
  const held: TestObject = { ...configMap('a'), metadata: { name: 'a', finalizers: ['example.com/hold'] } }
  bed.update({ web: { objects: [held] } })
  await bed.synced('web')
  const target = { ...held, metadata: { ...held.metadata, namespace: here.namespace } }
  await here.admin.delete(target)
  await bed.reported('web', 'going', ({ unhealthy }) => unhealthy.some(({ message }) => /being deleted/.test(message)))
  bed.update({ web: { objects: [configMap('a', '2')] } })
  await bed.reported('web', 'waiting', ({ sync, appliedAt }) => sync !== 0 && appliedAt === undefined)
  await here.admin.patch(target, { metadata: { finalizers: null } }, { type: 'merge' })
  await bed.synced('web')
  expect((await here.find(configMap('a')))?.data).toEqual({ value: '2' })
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
  await here.admin.create(crd)
  const gear = (version: string): TestObject => ({
    apiVersion: `flight.example.com/${version}`,
    kind: 'Gear',
    metadata: { name: 'g' },
  })
  const bed = await here.start({ limits: { pruneHealthTimeoutMs: 100 } })
  bed.update({ web: { objects: [gear('v1'), configMap('a'), configMap('old')] } })
  const uid = (await bed.synced('web')) && (await here.find(gear('v1')))?.metadata.uid
  expect(uid).toBeDefined()
  bed.update({ web: { objects: [gear('v2'), configMap('a', '2')] } })
  const { problems } = await bed.reported('web', 'of an unknown kind', (report) =>
    report.problems.some(({ code }) => code === 'UnknownKind'),
  )
  expect(problems[0]).toMatchObject({ object: { kind: 'Gear', name: 'g' }, source: { file: 'deploy/web.yaml' } })
  await waitFor('the rest to be pruned', async () => !(await here.find(configMap('old'))), { timeoutMs: 5_000 })
  expect((await here.find(configMap('a')))?.data).toEqual({ value: '2' })
  expect((await here.find(gear('v1')))?.metadata.uid).toBe(uid)
  bed.update({ web: { objects: [gear('v1'), configMap('a', '3')] } })
  await bed.synced('web')
  expect((await here.find(gear('v1')))?.metadata.uid).toBe(uid)
})

test('a deletion that is refused as a conflict is tried again, not forgotten', async () => {
  let refusals = 2
  const refusing: Kube = {
    ...here.kube,
    delete: async (resource, target, options) => {
      const status = { status: 409, reason: 'Conflict', message: 'denied', causes: [], subject: '' }
      if (target.name === 'b' && refusals-- > 0) throw new KubeError(status)
      return await here.kube.delete(resource, target, options)
    },
  }
  const bed = await here.start({ kube: refusing, limits: { transientBaseMs: 10, transientMaxMs: 20 } })
  bed.update({ web: { objects: [configMap('a'), configMap('b')] } })
  await bed.synced('web')
  bed.update({ web: { objects: [configMap('a')] } })
  await waitFor('b to be pruned', async () => (await here.find(configMap('b'))) === undefined, { timeoutMs: 5_000 })
})

test('an agent for some namespaces touches nothing outside of them, and none touches an agent’s own state', async () => {
  const bed = await here.start({ namespaces: ['elsewhere'] })
  const state: TestObject = { apiVersion: 'v1', kind: 'Secret', metadata: { name: 'fairlead-inventory-other' } }
  bed.update({ web: { objects: [configMap('outside'), state] } })
  const { problems } = await bed.reported('web', 'refused', (report) => report.problems.length === 2)
  expect(problems.map(({ code }) => code)).toEqual(['ApplyForbidden', 'ApplyForbidden'])
  expect(await here.find(configMap('outside'))).toBeUndefined()
  expect(await here.find(state)).toBeUndefined()
  bed.update({ web: { objects: [] } })
  await bed.reported('web', 'without a problem', (report) => report.problems.length === 0)
  const wide = await here.start()
  wide.update({ web: { objects: [configMap('inside'), state] } })
  await wide.reported('web', 'refused', (report) => report.problems.length === 1)
  // The refusal costs no request, so it is reported before the other object is applied.
  await waitFor('the other object', async () => (await here.find(configMap('inside'))) !== undefined)
  expect(await here.find(state)).toBeUndefined()
})

test('a Degraded workload names the pod and the reason, read once', async () => {
  const bed = await here.start()
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
  await here.admin.create({
    apiVersion: 'v1',
    kind: 'ServiceAccount',
    metadata: { name: 'default', namespace: here.namespace },
  })
  const pod = { apiVersion: 'v1', kind: 'Pod', metadata: { name: 'd-1', namespace: here.namespace, labels }, spec }
  await here.admin.create(pod)
  const state = { waiting: { reason: 'CrashLoopBackOff', message: 'back-off' } }
  const containerStatuses = [{ name: 'c', image: 'nginx:1.0', imageID: '', ready: false, restartCount: 3, state }]
  const status = { phase: 'Running', containerStatuses }
  await here.admin.patch(pod, { status }, { type: 'merge', subresource: 'status' })
  const conditions = [
    { type: 'Progressing', status: 'False', reason: 'ProgressDeadlineExceeded', message: 'timed out' },
  ]
  const target = { ...deployment, metadata: { name: 'd', namespace: here.namespace } }
  await here.admin.patch(
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

test('an object that was made anew right before the process ended is deleted by the next one, which has not seen it yet', async () => {
  const first = await here.start()
  const a = here.placed(configMap('a'))
  first.update({ web: { objects: [configMap('a')] } })
  await first.synced('web')
  await here.stop(first)
  // What a repair leaves whose process ends before it notes the uid.
  const { labels } = (await here.find(a))?.metadata ?? {}
  await here.admin.delete(a)
  await here.admin.create(
    { ...a, metadata: { ...a.metadata, ...(labels && { labels }) } },
    { fieldManager: 'fairlead' },
  )
  const createUnseeing: ReconcilerOptions['createWatcher'] = (options) =>
    createWatcher({ ...options, kube: { ...here.kube, listPages: listNever } })
  const second = await here.start({ createWatcher: createUnseeing })
  second.update({ web: { tombstone: 'prune' } })
  await waitFor('the confirmation', () => second.removed.includes('web'))
  expect(await here.find(a)).toBeUndefined()
})

async function* listNever(_resource: unknown, { signal }: { signal?: AbortSignal } = {}): AsyncGenerator<never> {
  await new Promise((_, reject) => signal?.addEventListener('abort', () => reject(signal.reason), { once: true }))
}

// What a guard holds is deleted when exactly that is approved, and nothing else is; what hangs holds up nothing else.
import { waitFor } from '@fairlead/e2e/harness/wait'
import { SyncState } from '@fairlead/proto/common'
import type { ApplicationReport, HeldPrune } from '@fairlead/proto/report'
import { expect, test } from 'vitest'
import type { Kube } from '../kube/kube.ts'
import { KubeError } from '../kube/kube-error.ts'
import { ClusterBed } from './cluster-bed.ts'
import type { ReconcilerBed, TestObject } from './reconciler-bed.ts'

const here = ClusterBed.forFile({ name: 'held-prune' })

const configMap = (name: string, metadata: object = {}): TestObject => ({
  apiVersion: 'v1',
  kind: 'ConfigMap',
  metadata: { name, ...metadata },
  data: { a: '1' },
})
const claim = (name: string): TestObject => ({
  apiVersion: 'v1',
  kind: 'PersistentVolumeClaim',
  metadata: { name },
  spec: { accessModes: ['ReadWriteOnce'], resources: { requests: { storage: '1Gi' } } },
})
const many = (total: number, metadata: object = {}) =>
  Array.from({ length: total }, (_, index) => configMap(`c${String(index).padStart(2, '0')}`, metadata))

const isGoing = async (object: TestObject) => {
  const found = await here.find(object)
  return !found || found.metadata.deletionTimestamp !== undefined
}

const heldOf = (report: ApplicationReport): HeldPrune | undefined => report.heldPrunes[0]
async function held(bed: ReconcilerBed, objects: number): Promise<HeldPrune> {
  const report = await bed.reported('web', `holding ${objects}`, (one) => heldOf(one)?.count === objects)
  return heldOf(report) as HeldPrune
}

test('a volume claim that leaves Git is deleted only when exactly that is approved', async () => {
  const bed = await here.start()
  bed.update({ web: { objects: [configMap('a'), claim('data')] } })
  await bed.synced('web')
  bed.update({ web: { objects: [configMap('a')] } })
  const prune = await held(bed, 1)
  expect(prune).toMatchObject({
    digest: expect.stringMatching(/^[0-9a-f]{64}$/),
    reason: expect.stringContaining(`PersistentVolumeClaim ${here.namespace}/data holds data`),
    objects: [{ kind: 'PersistentVolumeClaim', name: 'data' }],
  })
  const report = bed.report('web')
  expect(report?.sync).toBe(SyncState.OUT_OF_SYNC)
  expect(report?.problems).toMatchObject([{ code: 'PruneHeld', object: { name: 'data' } }])

  bed.update({ web: { objects: [configMap('a')], approve: ['0'.repeat(64), prune.digest.slice(0, 12)] } })
  const deletions = () => bed.requests(['delete']).length
  await bed.reported('web', 'seen to again', ({ heldPrunes }) => heldPrunes.length === 1)
  expect(deletions()).toBe(0)

  bed.update({ web: { objects: [configMap('a')], approve: [prune.digest] } })
  await waitFor('the claim to go', async () => await isGoing(claim('data')))
  const after = await bed.reported('web', 'done', ({ heldPrunes }) => heldPrunes.length === 0)
  expect(after.problems.filter(({ code }) => code === 'PruneHeld')).toEqual([])
  expect(await here.find(configMap('a'))).toBeDefined()
})

test('an approval is no approval of more, nor of another object of that name', async () => {
  // A claim that nobody uses is never bound.
  const bed = await here.start({ limits: { pruneHealthTimeoutMs: 100 } })
  const keep = configMap('keep')
  bed.update({ web: { objects: [keep, claim('one'), claim('two')] } })
  await bed.synced('web')
  bed.update({ web: { objects: [keep, claim('two')] } })
  const first = await held(bed, 1)
  bed.update({ web: { objects: [keep], approve: [first.digest] } })
  const both = await held(bed, 2)
  expect(both.digest).not.toBe(first.digest)
  expect(bed.requests(['delete'])).toEqual([])

  // Declared again and made anew meanwhile: what was approved does not exist any more.
  bed.update({ web: { objects: [keep, claim('one'), claim('two')], approve: [both.digest] } })
  await bed.synced('web')
  const uid = (await here.find(claim('one')))?.metadata.uid
  await here.admin.patch(
    { ...claim('one'), metadata: { name: 'one', namespace: here.namespace } },
    { metadata: { finalizers: null } },
    { type: 'merge' },
  )
  await here.admin.delete({ ...claim('one'), metadata: { name: 'one', namespace: here.namespace } })
  await waitFor('the claim to be made anew', async () => {
    const now = (await here.find(claim('one')))?.metadata.uid
    return now !== undefined && now !== uid
  })
  await bed.synced('web')
  bed.update({ web: { objects: [keep], approve: [both.digest] } })
  const third = await held(bed, 2)
  expect(third.digest).not.toBe(both.digest)
  expect(bed.requests(['delete'])).toEqual([])
})

test('an approved mass prune goes on after a restart until all of it is gone', async () => {
  let bed = await here.start()
  const objects = many(15, { finalizers: ['example.com/hold'] })
  const keep = objects.slice(0, 3)
  bed.update({ web: { objects } })
  await bed.synced('web')
  bed.update({ web: { objects: keep } })
  const prune = await held(bed, 12)
  expect(prune.reason).toBe('12 of 15 objects would be deleted at once')
  bed.update({ web: { objects: keep, approve: [prune.digest] } })
  await waitFor('all to be going', async () => (await Promise.all(objects.slice(3).map(isGoing))).every(Boolean))
  bed = await here.restart(bed)
  // The hub has heard that the digest is not reported any more, and has forgotten the approval.
  bed.update({ web: { objects: keep } })
  const waits = await bed.reported(
    'web',
    'waiting for the finalizers',
    ({ problems }) => problems.filter(({ code }) => code === 'PruneFailed').length === 12,
  )
  expect(waits.problems[0]?.message).toMatch(/being deleted since 20\d\d-.*, waiting for example\.com\/hold/)
  expect(waits.heldPrunes).toEqual([])
  for (const object of objects.slice(3)) {
    const reference = { ...object, metadata: { name: object.metadata.name, namespace: here.namespace } }
    await here.admin.patch(reference, { metadata: { finalizers: null } }, { type: 'merge' })
  }
  await bed.synced('web')
  for (const object of keep) expect(await isGoing(object)).toBe(false)
})

test('an approval that was written down holds after a restart although nothing was deleted yet', async () => {
  let bed = await here.start()
  const objects = many(15)
  bed.update({ web: { objects } })
  await bed.synced('web')
  bed.update({ web: { objects: objects.slice(0, 3) } })
  const prune = await held(bed, 12)
  // The API server refuses every deletion for now.
  const lock = {
    apiVersion: 'admissionregistration.k8s.io/v1',
    kind: 'ValidatingAdmissionPolicy',
    metadata: { name: here.namespace },
    spec: {
      matchConstraints: {
        namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': here.namespace } },
        resourceRules: [{ apiGroups: [''], apiVersions: ['v1'], operations: ['DELETE'], resources: ['configmaps'] }],
      },
      validations: [{ expression: 'false', message: 'not now' }],
    },
  }
  const binding = {
    apiVersion: 'admissionregistration.k8s.io/v1',
    kind: 'ValidatingAdmissionPolicyBinding',
    metadata: { name: here.namespace },
    spec: { policyName: here.namespace, validationActions: ['Deny'] },
  }
  await here.admin.create(lock)
  await here.admin.create(binding)
  await waitFor('deletions to be refused', async () => {
    const probe = { ...configMap('probe'), metadata: { name: 'probe', namespace: here.namespace } }
    await here.admin.apply(probe)
    return await here.admin.delete(probe).then(
      () => false,
      () => true,
    )
  })
  bed.update({ web: { objects: objects.slice(0, 3), approve: [prune.digest] } })
  await bed.reported('web', 'refused', ({ problems }) =>
    problems.some(({ code, message }) => code === 'PruneFailed' && message.includes('not now')),
  )
  bed = await here.restart(bed)
  bed.update({ web: { objects: objects.slice(0, 3) } })
  await bed.reported('web', 'refused again', ({ problems }) =>
    problems.some(({ code, message }) => code === 'PruneFailed' && message.includes('not now')),
  )
  expect(bed.report('web')?.heldPrunes).toEqual([])
  await here.admin.delete(binding)
  await here.admin.delete(lock)
  await bed.synced('web', { timeoutMs: 30_000 })
  for (const object of objects.slice(3)) expect(await here.find(object)).toBeUndefined()
}, 60_000)

test('a namespace is held for what it would take with it, and goes by itself when that is gone', async () => {
  const bed = await here.start({ limits: { userBaseMs: 300, userMaxMs: 300 } })
  const space = `${here.namespace}-space`
  const stranger = { apiVersion: 'v1', kind: 'Secret', metadata: { name: 'of-a-person', namespace: space } }
  const declared = { apiVersion: 'v1', kind: 'Namespace', metadata: { name: space } }
  bed.update({ web: { objects: [configMap('a'), declared, configMap('inside', { namespace: space })] } })
  await bed.synced('web')
  await here.admin.apply(stranger)
  bed.update({ web: { objects: [configMap('a')] } })
  const prune = await held(bed, 1)
  expect(prune.reason).toBe(`Namespace ${space} would take Secret ${space}/of-a-person with it`)
  await waitFor(
    'what is declared inside to be pruned',
    async () => !(await here.admin.find(configMap('inside', { namespace: space }))),
  )
  expect((await here.admin.get(declared)).metadata.deletionTimestamp).toBeUndefined()
  await here.admin.delete(stranger)
  await waitFor('the namespace to go', async () => {
    const found = await here.admin.find(declared)
    return !found || found.metadata.deletionTimestamp !== undefined
  })
})

test('a custom resource definition is held for the objects of others', async () => {
  const bed = await here.start({ limits: { userBaseMs: 300, userMaxMs: 300 } })
  const group = `${here.namespace}.example.com`
  const crd: TestObject = {
    apiVersion: 'apiextensions.k8s.io/v1',
    kind: 'CustomResourceDefinition',
    metadata: { name: `widgets.${group}` },
    spec: {
      group,
      scope: 'Namespaced',
      names: { plural: 'widgets', singular: 'widget', kind: 'Widget' },
      versions: [
        {
          name: 'v1',
          served: true,
          storage: true,
          schema: { openAPIV3Schema: { type: 'object', 'x-kubernetes-preserve-unknown-fields': true } },
        },
      ],
    },
  }
  bed.update({ web: { objects: [configMap('a'), crd] } })
  await bed.synced('web', { healthy: true })
  const widget = { apiVersion: `${group}/v1`, kind: 'Widget', metadata: { name: 'by-hand', namespace: here.namespace } }
  await waitFor('the kind to be served', async () => await here.admin.apply(widget).catch(() => undefined))
  bed.update({ web: { objects: [configMap('a')] } })
  const prune = await held(bed, 1)
  expect(prune.reason).toContain(`would take Widget ${here.namespace}/by-hand with it`)
  await here.admin.delete(widget)
  await bed.synced('web')
  await waitFor('the definition to go', async () => {
    const found = await here.admin.find(crd)
    return !found || found.metadata.deletionTimestamp !== undefined
  })
})

/** A definition of a kind Widget; versions as `{ v1: 'storage' }`. */
const definition = (group: string, plural: string, versions: Record<string, 'storage' | 'served' | 'hidden'>) => ({
  apiVersion: 'apiextensions.k8s.io/v1',
  kind: 'CustomResourceDefinition',
  metadata: { name: `${plural}.${group}` },
  spec: {
    group,
    scope: 'Namespaced',
    names: { plural, singular: plural.slice(0, -1), kind: `${plural.slice(0, 1).toUpperCase()}${plural.slice(1, -1)}` },
    versions: Object.entries(versions).map(([name, how]) => ({
      name,
      served: how !== 'hidden',
      storage: how !== 'served',
      schema: { openAPIV3Schema: { type: 'object', 'x-kubernetes-preserve-unknown-fields': true } },
    })),
  },
})
const spaceOf = (): TestObject => ({
  apiVersion: 'v1',
  kind: 'Namespace',
  metadata: { name: `${here.namespace}-space` },
})

test('objects of a kind that its group’s preferred version does not serve are seen by the guards', async () => {
  const bed = await here.start({ limits: { userBaseMs: 300, userMaxMs: 300 } })
  const group = `${here.namespace}.example.com`
  const [space, inside] = [spaceOf(), `${here.namespace}-space`]
  const crd = definition(group, 'routes', { v1alpha2: 'storage' })
  await here.admin.apply(definition(group, 'gates', { v1: 'storage' }))
  bed.update({ web: { objects: [configMap('a'), crd, space] } })
  await bed.synced('web', { healthy: true })
  const route = { apiVersion: `${group}/v1alpha2`, kind: 'Route', metadata: { name: 'by-hand', namespace: inside } }
  await waitFor('the kind to be served', async () => await here.admin.apply(route).catch(() => undefined))
  bed.update({ web: { objects: [configMap('a'), crd] } })
  const one = await held(bed, 1)
  expect(one.reason).toBe(`Namespace ${inside} would take Route ${inside}/by-hand with it`)
  bed.update({ web: { objects: [configMap('a')] } })
  const both = await held(bed, 2)
  expect(both.reason).toContain(`CustomResourceDefinition routes.${group} would take Route ${inside}/by-hand with it`)
  for (const object of [crd, space]) expect(await isGoing(object)).toBe(false)
})

test('a custom resource definition of which no version is served is held: nobody can say what it would take', async () => {
  const bed = await here.start({ limits: { userBaseMs: 300, userMaxMs: 300, pruneHealthTimeoutMs: 100 } })
  const crd = definition(`${here.namespace}.example.com`, 'routes', { v1: 'hidden' })
  bed.update({ web: { objects: [configMap('a'), crd] } })
  await bed.synced('web')
  bed.update({ web: { objects: [configMap('a')] } })
  const prune = await held(bed, 1)
  expect(prune.reason).toContain('would take what cannot be listed')
  expect(await isGoing(crd)).toBe(false)
  bed.update({ web: { objects: [configMap('a')], approve: [prune.digest] } })
  await waitFor('the definition to go', async () => await isGoing(crd))
})

/** The API server, through a client that can be made to fail. */
function connect(faults: (kube: Kube) => Partial<Kube>): Kube {
  return { ...here.kube, ...faults(here.kube) }
}
const refusal = (status: number) =>
  new KubeError({ status, reason: 'Refused', message: 'not now', causes: [], subject: '' })

test('an approval covers what a namespace would have taken then and no more, also after a restart', async () => {
  let [attempts, isRefusing] = [0, true]
  const kube = connect((real) => ({
    delete: async (resource, target, options) => {
      if (resource.kind === 'Namespace') attempts++
      if (resource.kind === 'Namespace' && isRefusing) throw refusal(403)
      return await real.delete(resource, target, options)
    },
  }))
  const options = { kube, limits: { userBaseMs: 200, userMaxMs: 200, transientBaseMs: 50, transientMaxMs: 100 } }
  let bed = await here.start(options)
  const space = spaceOf()
  const inside = space.metadata.name
  const put = async (object: TestObject) => {
    const placed = { ...object, metadata: { ...object.metadata, namespace: inside } }
    await here.admin.apply(placed)
    return placed
  }
  bed.update({ web: { objects: [configMap('a'), space] } })
  await bed.synced('web')
  await put(configMap('first'))
  bed.update({ web: { objects: [configMap('a')] } })
  const first = await held(bed, 1)
  bed = await here.restart(bed, options)
  bed.update({ web: { objects: [configMap('a')] } })
  expect((await held(bed, 1)).digest).toBe(first.digest)

  const data = await put(claim('data'))
  bed.update({ web: { objects: [configMap('a')], approve: [first.digest] } })
  const takes = (name: string) => (report: ApplicationReport) => heldOf(report)?.reason.includes(name) === true
  const second = heldOf(await bed.reported('web', 'held for the claim', takes(`PersistentVolumeClaim ${inside}/data`)))
  expect(second?.digest).not.toBe(first.digest)
  expect(attempts).toBe(0)

  bed.update({ web: { objects: [configMap('a')], approve: [second?.digest ?? ''] } })
  await bed.reported('web', 'refused', ({ heldPrunes }) => heldPrunes.length === 0 && attempts > 0)
  bed = await here.restart(bed, options)
  const before = attempts
  bed.update({ web: { objects: [configMap('a')] } })
  await bed.reported('web', 'refused again', ({ heldPrunes }) => heldPrunes.length === 0 && attempts > before)
  const late = await put(claim('late'))
  await bed.reported('web', 'held for what came later', takes('late'))
  isRefusing = false
  const since = performance.now()
  await bed.reported('web', 'tried again some times', () => performance.now() - since > 1_000)
  expect(await isGoing(space)).toBe(false)
  // Made anew it is not what was approved either.
  await here.admin.patch(data, { metadata: { finalizers: null } }, { type: 'merge' })
  await here.admin.delete(data)
  for (const object of [late, await put(claim('data'))]) {
    await bed.reported('web', 'tried again some times', () => performance.now() - since > 1_500)
    expect(await isGoing(space)).toBe(false)
    await here.admin.patch(object, { metadata: { finalizers: null } }, { type: 'merge' })
    await here.admin.delete(object)
  }
  await waitFor('the namespace to go, for what is left was approved', async () => await isGoing(space))
}, 60_000)

test('what comes into a namespace while the rest of its application is being deleted holds it', async () => {
  const inside = () => `${here.namespace}-space`
  const kube = connect((real) => ({
    delete: async (resource, target, options) => {
      if (target.name === 'web-old') {
        await here.admin.apply({ ...configMap('late'), metadata: { name: 'late', namespace: inside() } })
      }
      return await real.delete(resource, target, options)
    },
  }))
  const bed = await here.start({ kube, limits: { userBaseMs: 200, userMaxMs: 200 } })
  bed.update({ web: { objects: [configMap('a'), configMap('web-old'), spaceOf()] } })
  await bed.synced('web')
  bed.update({ web: { objects: [configMap('a')] } })
  expect((await held(bed, 1)).reason).toBe(`Namespace ${inside()} would take ConfigMap ${inside()}/late with it`)
  expect(await isGoing(spaceOf())).toBe(false)
})

test('a namespace whose labels were taken off by hand is looked into all the same', async () => {
  const bed = await here.start({ limits: { userBaseMs: 300, userMaxMs: 300 } })
  const space = spaceOf()
  const inside = space.metadata.name
  bed.update({ web: { objects: [configMap('a'), space], remediate: false } })
  await bed.synced('web')
  await here.admin.apply({ ...configMap('of-a-person'), metadata: { name: 'of-a-person', namespace: inside } })
  await here.admin.patch(space, { metadata: { labels: null } }, { type: 'merge' })
  await bed.reported('web', 'missing it', ({ drifted }) => drifted === 1)
  bed.update({ web: { objects: [configMap('a')], remediate: false } })
  expect((await held(bed, 1)).reason).toContain(`would take ConfigMap ${inside}/of-a-person with it`)
  expect(await isGoing(space)).toBe(false)
})

test('a kind that cannot be listed holds the namespace and nothing else', async () => {
  const bed = await here.start({ limits: { userBaseMs: 300, userMaxMs: 300 } })
  const group = `${here.namespace}.example.com`
  const space = spaceOf()
  const inside = space.metadata.name
  await here.admin.apply(definition(group, 'parts', { v1: 'storage' }))
  bed.update({ web: { objects: [configMap('a'), configMap('old'), space] } })
  await bed.synced('web')
  const part = { apiVersion: `${group}/v1`, kind: 'Part', metadata: { name: 'by-hand', namespace: inside } }
  await waitFor('the kind to be served', async () => await here.admin.apply(part).catch(() => undefined))
  // What is stored must be converted, and nobody is there who can.
  const crd: TestObject & { spec: object } = definition(group, 'parts', { v1: 'storage', v2: 'served' })
  const clientConfig = { url: 'https://127.0.0.1:9/convert' }
  const conversion = { strategy: 'Webhook', webhook: { clientConfig, conversionReviewVersions: ['v1'] } }
  const converted: TestObject = { ...crd, spec: { ...crd.spec, conversion } }
  await here.admin.apply(converted)
  await waitFor('listing to fail', async () => {
    const found = await here.admin.find({ ...part, apiVersion: `${group}/v2` }).then(
      () => false,
      (error: Error) => error.message.includes('conversion'),
    )
    return found
  })
  bed.update({ web: { objects: [configMap('a')] } })
  const prune = await held(bed, 1)
  expect(prune.reason).toBe(`Namespace ${inside} would take what cannot be listed (parts.${group}) with it`)
  await waitFor('the rest to be pruned', async () => !(await here.find(configMap('old'))))
  expect(await isGoing(space)).toBe(false)
  bed.update({ web: { objects: [configMap('a')], approve: [prune.digest] } })
  await waitFor('the namespace to go', async () => await isGoing(space))
})

test('an object that cannot be looked at is tried again, and holds up nothing else', async () => {
  let isBroken = true
  const kube = connect((real) => ({
    apply: async (resource, target, ...rest) => {
      if (target.name === 'unsure') throw refusal(403)
      return await real.apply(resource, target, ...rest)
    },
    get: async (resource, target, options) => {
      if (target.name === 'unsure' && isBroken) throw refusal(503)
      return await real.get(resource, target, options)
    },
  }))
  const limits = { transientBaseMs: 50, transientMaxMs: 100, pruneHealthTimeoutMs: 100 }
  const bed = await here.start({ kube, limits })
  bed.update({ web: { objects: [configMap('a'), configMap('old'), configMap('unsure')] } })
  await bed.reported('web', 'refused', ({ problems }) => problems.length === 1)
  await waitFor('the rest to be there', async () => await here.find(configMap('old')))
  bed.update({ web: { objects: [configMap('a')] } })
  await bed.reported('web', 'undecided', ({ problems }) =>
    problems.some(({ code, object }) => code === 'PruneFailed' && object?.name === 'unsure'),
  )
  await waitFor('the rest to be pruned', async () => !(await here.find(configMap('old'))))
  isBroken = false
  await bed.synced('web')
})

test('an application that declares nothing any more keeps what it has until that is approved', async () => {
  const bed = await here.start()
  bed.update({ web: { objects: [configMap('a'), configMap('b')] } })
  await bed.synced('web')
  bed.update({ web: { objects: [] } })
  const prune = await held(bed, 2)
  expect(prune.reason).toContain('nothing is declared any more')
  expect(bed.requests(['delete'])).toEqual([])
  bed.update({ web: { objects: [], approve: [prune.digest] } })
  await waitFor('both to go', async () => !(await here.find(configMap('a'))) && !(await here.find(configMap('b'))))
})

test('an application that leaves takes all but its data, which is deleted when that is approved', async () => {
  const bed = await here.start()
  bed.update({ web: { objects: [...many(12), claim('data')] } })
  await bed.synced('web')
  bed.update({ web: { tombstone: 'prune' } })
  const prune = await held(bed, 1)
  await waitFor('the rest to go', async () =>
    (await Promise.all(many(12).map((object) => here.find(object)))).every((found) => !found),
  )
  expect(await isGoing(claim('data'))).toBe(false)
  expect(bed.removed).toEqual([])
  bed.update({ web: { tombstone: 'prune', approve: [prune.digest] } })
  await waitFor('the claim to go', async () => await isGoing(claim('data')))
  const reference = { ...claim('data'), metadata: { name: 'data', namespace: here.namespace } }
  await here.admin.patch(reference, { metadata: { finalizers: null } }, { type: 'merge' })
  await waitFor('the confirmation', () => bed.removed.includes('web'))
})

test('an application that orphans lets its data go too, as it is', async () => {
  const bed = await here.start()
  bed.update({ web: { objects: [claim('data'), configMap('a')] } })
  await bed.synced('web')
  bed.update({ web: { tombstone: 'prune' } })
  await held(bed, 1)
  bed.update({ web: { tombstone: 'orphan' } })
  await waitFor('the confirmation', () => bed.removed.includes('web'))
  expect(await isGoing(claim('data'))).toBe(false)
  expect((await here.find(claim('data')))?.metadata.labels ?? {}).toEqual({})
})

test('a finalizer that hangs is named, and holds up nothing else', async () => {
  const bed = await here.start()
  const hanging = configMap('hanging', { finalizers: ['example.com/hangs'] })
  bed.update({ web: { objects: [configMap('a'), hanging, configMap('b')] }, shop: { objects: [configMap('s')] } })
  await bed.synced('web')
  bed.update({ web: { objects: [configMap('a')] }, shop: { objects: [configMap('s')] } })
  await waitFor('b to be pruned', async () => !(await here.find(configMap('b'))))
  const report = await bed.reported('web', 'waiting', ({ problems }) =>
    problems.some(({ message }) => message.includes('example.com/hangs')),
  )
  expect(report.problems).toMatchObject([
    { code: 'PruneFailed', object: { name: 'hanging' }, message: expect.stringContaining('example.com/hangs') },
  ])
  bed.update({ web: { objects: [configMap('a'), configMap('new')] }, shop: { objects: [configMap('s2')] } })
  await waitFor('new work to be done', async () => await here.find(configMap('new')))
  await waitFor('other applications to prune', async () => !(await here.find(configMap('s'))))
})

test('an application whose artifact cannot be had holds up prunes only while it may take something over', async () => {
  let bed = await here.start()
  const [web, shop] = [[configMap('a'), configMap('b')], [configMap('s')]]
  bed.update({ web: { objects: web }, shop: { objects: shop } })
  await bed.synced('web')
  await bed.synced('shop')
  bed = await here.restart(bed)
  bed.unavailable.add('shop')
  // What shop declares is what it declared last: it takes over nothing.
  bed.update({ web: { objects: [configMap('a')] }, shop: { objects: shop } })
  await waitFor('b to be pruned', async () => !(await here.find(configMap('b'))))
  await bed.synced('web')
  // Of a newer artifact nobody knows what it declares.
  bed.update({ web: { objects: [configMap('c')] }, shop: { objects: [configMap('s'), configMap('a')] } })
  await bed.reported('web', 'holding', ({ problems }) =>
    problems.some(({ code, message }) => code === 'PruneFailed' && message.includes('application shop')),
  )
  const uid = (await here.find(configMap('a')))?.metadata.uid
  bed.unavailable.clear()
  await bed.synced('shop', { timeoutMs: 30_000 })
  expect((await here.find(configMap('a')))?.metadata.uid).toBe(uid)
  // The same artifact in another namespace declares other objects.
  bed.unavailable.add('shop')
  bed.update({
    web: { objects: [configMap('d')] },
    shop: { objects: [configMap('s'), configMap('a')], namespace: 'default' },
  })
  await bed.reported('web', 'holding again', ({ problems }) =>
    problems.some(({ code, message }) => code === 'PruneFailed' && message.includes('application shop')),
  )
  expect(await here.find(configMap('c'))).toBeDefined()
}, 60_000)

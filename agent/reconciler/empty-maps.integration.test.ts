// What is declared empty must never show as drift, whoever puts something in, and whenever: on real controllers.
import { type Cluster, startCluster } from '@fairlead/e2e/harness/cluster'
import { getField } from '@fairlead/e2e/harness/kube-client'
import { waitFor } from '@fairlead/e2e/harness/wait'
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest'
import { ReconcilerBed, type TestObject } from './reconciler-bed.ts'

const timeout = 60_000
const slow = { timeoutMs: 30_000 }
let cluster: Cluster
let bed: ReconcilerBed
let namespace: string
let number = 0

beforeAll(async () => {
  cluster = await startCluster({ name: 'empty-maps', full: true })
}, 180_000)
afterAll(async () => await cluster?.stop())
beforeEach(async () => {
  namespace = `empty-${++number}`
  await cluster.admin.create({ apiVersion: 'v1', kind: 'Namespace', metadata: { name: namespace } })
  bed = await ReconcilerBed.start({ cluster, namespace })
})
afterEach(async () => await bed.stop())

const deployment = (image = 'nginx:1'): TestObject => ({
  apiVersion: 'apps/v1',
  kind: 'Deployment',
  metadata: { name: 'd', annotations: {}, finalizers: [] },
  spec: {
    replicas: 1,
    selector: { matchLabels: { app: 'd' } },
    template: { metadata: { labels: { app: 'd' }, annotations: {} }, spec: { containers: [{ name: 'c', image }] } },
  },
})
const marker: TestObject = { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'marker' }, data: { a: '1' } }
const at = (object: TestObject) => ({ ...object, metadata: { ...object.metadata, namespace } })
const live = async () => await cluster.admin.find(at(deployment()))
const isAtRevision = async (revision: string) =>
  await waitFor(
    `the controller's annotation to say ${revision}`,
    async () => (await live())?.metadata.annotations?.['deployment.kubernetes.io/revision'] === revision,
    slow,
  )
const restart = async () =>
  await cluster.admin.patch(
    at(deployment()),
    { spec: { template: { metadata: { annotations: { 'kubectl.kubernetes.io/restartedAt': 'now' } } } } },
    { type: 'merge', fieldManager: 'kubectl-rollout' },
  )
/** The marker is repaired after all that came before it was looked at: nothing else may have been. */
async function isOnlyDrift(): Promise<void> {
  await cluster.admin.patch(at(marker), { data: { a: '2' } }, { type: 'merge', fieldManager: 'kubectl-edit' })
  const isRepaired = async () => (await cluster.admin.find(at(marker)))?.data?.a === '1'
  await waitFor('the marker to be repaired', isRepaired, slow)
  const report = await bed.reported('web', 'repaired', ({ drifts }) =>
    drifts.some(({ object }) => object?.name === 'marker'),
  )
  expect(report.drifts.map(({ object, fields }) => [object?.name, fields])).toEqual([['marker', ['data.a']]])
  expect(report.remediations).toBe(1n)
}

test('annotations that are declared empty are the controller’s to fill, to change and to take away', {
  timeout,
}, async () => {
  bed.update({ web: { objects: [deployment(), marker] } })
  await bed.synced('web')
  await isAtRevision('1')
  bed.update({ web: { objects: [deployment('nginx:2'), marker] } })
  await isAtRevision('2')
  await bed.synced('web')
  await restart()
  await isAtRevision('3')
  // What is left is as declared, and the controller writes its own again.
  await cluster.admin.patch(at(deployment()), [{ op: 'remove', path: '/metadata/annotations' }], { type: 'json' })
  await isAtRevision('3')
  await isOnlyDrift()
})

test('what is put into declared empty annotations while the agent is away is no drift when it is back', {
  timeout,
}, async () => {
  bed.update({ web: { objects: [deployment(), marker] } })
  await bed.synced('web')
  await isAtRevision('1')
  await bed.stop()
  await restart()
  await isAtRevision('2')
  bed = await ReconcilerBed.start({ cluster, namespace })
  bed.update({ web: { objects: [deployment(), marker] } })
  await bed.synced('web')
  await isOnlyDrift()
  expect(getField(await live(), 'spec.template.metadata.annotations')).toEqual({
    'kubectl.kubernetes.io/restartedAt': 'now',
  })
})

test('what a person adds to declared empty annotations is taken away, and an emptied map that Git fills is put back', {
  timeout,
}, async () => {
  bed.update({ web: { objects: [deployment()] } })
  await bed.synced('web')
  const annotate = { metadata: { annotations: { by: 'hand' } } }
  await cluster.admin.patch(at(deployment()), annotate, { type: 'merge', fieldManager: 'kubectl-annotate' })
  const added = await bed.reported('web', 'repaired', ({ remediations }) => remediations === 1n)
  expect(added.drifts[0]?.fields).toEqual(['metadata.annotations.by'])
  expect((await live())?.metadata.annotations?.by).toBeUndefined()
  const filled = { ...deployment(), metadata: { name: 'd', annotations: { note: 'x' } } }
  bed.update({ web: { objects: [filled] } })
  await waitFor('the note', async () => (await live())?.metadata.annotations?.note === 'x')
  await bed.synced('web')
  await cluster.admin.patch(at(deployment()), { metadata: { annotations: null } }, { type: 'merge' })
  await waitFor('the note to be put back', async () => (await live())?.metadata.annotations?.note === 'x')
  // From something to nothing: what was ours goes.
  bed.update({ web: { objects: [deployment()] } })
  await waitFor('the note to go', async () => (await live())?.metadata.annotations?.note === undefined)
})

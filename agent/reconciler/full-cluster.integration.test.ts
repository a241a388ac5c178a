// The reconciler where workloads roll out and namespaces are really emptied: controllers, scheduler and a fake node run.
import { type Cluster, startCluster } from '@fairlead/e2e/harness/cluster'
import { getField } from '@fairlead/e2e/harness/kube-client'
import { waitFor } from '@fairlead/e2e/harness/wait'
import { HealthState } from '@fairlead/proto/common'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { ReconcilerBed, type TestObject } from './reconciler-bed.ts'

let cluster: Cluster
let bed: ReconcilerBed
const own = 'fairlead-test'

beforeAll(async () => {
  cluster = await startCluster({ name: 'full', full: true })
  await cluster.admin.create({ apiVersion: 'v1', kind: 'Namespace', metadata: { name: own } })
  bed = await ReconcilerBed.start({ cluster, namespace: own })
}, 180_000)
afterAll(async () => {
  await bed?.stop()
  await cluster?.stop()
})

const namespace = (name: string): TestObject => ({ apiVersion: 'v1', kind: 'Namespace', metadata: { name } })
const deployment = (name: string, space: string, image = 'nginx:1'): TestObject => ({
  apiVersion: 'apps/v1',
  kind: 'Deployment',
  metadata: { name, namespace: space },
  spec: {
    replicas: 2,
    selector: { matchLabels: { app: name } },
    template: { metadata: { labels: { app: name } }, spec: { containers: [{ name: 'c', image }] } },
  },
})
const image = async (name: string, space: string) =>
  getField(await cluster.admin.find(deployment(name, space)), 'spec.template.spec.containers.0.image')

test('an application with its namespace rolls out, is kept so, is replaced and leaves', {
  timeout: 90_000,
}, async () => {
  const space = 'shop'
  bed.update({ shop: { objects: [deployment('web', space), namespace(space)] } })
  const first = await bed.synced('shop', { healthy: true, timeoutMs: 30_000 })
  expect(first).toMatchObject({ problems: [], unhealthy: [], drifts: [] })

  await cluster.admin.patch(
    deployment('web', space),
    [{ op: 'replace', path: '/spec/template/spec/containers/0/image', value: 'evil:1' }],
    { type: 'json' },
  )
  await bed.reported('shop', 'repaired', ({ remediations }) => remediations === 1n)
  expect(await image('web', space)).toBe('nginx:1')

  bed.update({ shop: { objects: [deployment('web2', space), namespace(space)] } })
  await waitFor('the old deployment to be pruned', async () => !(await cluster.admin.find(deployment('web', space))), {
    timeoutMs: 30_000,
  })
  expect(bed.report('shop')?.health).toBe(HealthState.HEALTHY)
  await bed.synced('shop', { healthy: true, timeoutMs: 30_000 })

  bed.update({ shop: { tombstone: 'prune' } })
  await waitFor('the confirmation', () => bed.removed.includes('shop'), { timeoutMs: 30_000 })
  expect(await cluster.admin.find(namespace(space))).toBeUndefined()
})

test('an application that comes back while its namespace is still going is applied anew', {
  timeout: 90_000,
}, async () => {
  const space = 'again'
  const entry = { again: { objects: [namespace(space), deployment('web', space)] } }
  bed.update(entry)
  await bed.synced('again', { healthy: true, timeoutMs: 30_000 })
  const before = await cluster.admin.get(namespace(space))
  bed.update({ again: { tombstone: 'prune' } })
  await waitFor('the namespace to be going', async () => {
    const found = await cluster.admin.find(namespace(space))
    return !found || found.metadata.deletionTimestamp
  })
  bed.update(entry)
  await waitFor(
    'the new namespace',
    async () => {
      const found = await cluster.admin.find(namespace(space))
      return found && found.metadata.uid !== before.metadata.uid
    },
    { timeoutMs: 60_000 },
  )
  await bed.synced('again', { healthy: true, timeoutMs: 60_000 })
})

test('the API server is killed in the middle of an apply: everything converges', { timeout: 120_000 }, async () => {
  const objects = Array.from(
    { length: 200 },
    (_, index): TestObject => ({
      apiVersion: 'v1',
      kind: 'ConfigMap',
      metadata: { name: `k${index}` },
      data: { a: '1' },
    }),
  )
  bed.update({ killed: { objects } })
  await waitFor(
    'the first objects',
    async () =>
      await cluster.admin.find({ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'k3', namespace: own } }),
  )
  await cluster.restartApiServer()
  await bed.synced('killed', { healthy: true, timeoutMs: 60_000 })
  await cluster.admin.patch(
    { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'k7', namespace: own } },
    { data: { a: '9' } },
    { type: 'merge' },
  )
  await bed.reported('killed', 'repaired', ({ remediations }) => remediations === 1n, 30_000)
  bed.update({ killed: { tombstone: 'prune' } })
  await waitFor('the confirmation', () => bed.removed.includes('killed'), { timeoutMs: 60_000 })
})

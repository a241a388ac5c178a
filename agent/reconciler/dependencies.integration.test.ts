// Applications that wait for others of their cluster. No controllers run: the tests say when a Deployment works.
import { type Cluster, startCluster } from '@fairlead/e2e/harness/cluster'
import { waitFor } from '@fairlead/e2e/harness/wait'
import { HealthState, SyncState } from '@fairlead/proto/common'
import type { ApplicationReport } from '@fairlead/proto/report'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { ReconcilerBed, type TestEntry, type TestObject } from './reconciler-bed.ts'

let cluster: Cluster
let count = 0
let namespace = ''
const beds: ReconcilerBed[] = []

beforeAll(async () => {
  cluster = await startCluster({ name: 'dependencies' })
}, 120_000)
afterEach(async () => {
  for (const bed of beds.splice(0)) await bed.stop()
})
afterAll(async () => await cluster?.stop())

async function begin(): Promise<ReconcilerBed> {
  namespace = `depends-${++count}`
  await cluster.admin.create({ apiVersion: 'v1', kind: 'Namespace', metadata: { name: namespace } })
  return await start()
}
async function start(): Promise<ReconcilerBed> {
  const bed = await ReconcilerBed.start({ cluster, namespace })
  beds.push(bed)
  return bed
}

const configMap = (name: string, value: string): TestObject => ({
  apiVersion: 'v1',
  kind: 'ConfigMap',
  metadata: { name, namespace },
  data: { value },
})
const deployment = (value: string): TestObject => ({
  apiVersion: 'apps/v1',
  kind: 'Deployment',
  metadata: { name: 'db', namespace },
  spec: {
    replicas: 1,
    selector: { matchLabels: { app: 'db' } },
    template: {
      metadata: { labels: { app: 'db' }, annotations: { value } },
      spec: { containers: [{ name: 'db', image: 'db:1' }] },
    },
  },
})
/** Says what its controller would: that the newest of the Deployment runs. */
async function letRun(value: string): Promise<void> {
  const found = await waitFor('the Deployment', async () => {
    const object = await cluster.admin.find(deployment(value))
    const template = (object?.spec as { template?: { metadata?: { annotations?: Record<string, string> } } })?.template
    return template?.metadata?.annotations?.value === value ? object : undefined
  })
  const observedGeneration = (found.metadata as { generation?: number }).generation
  const status = { observedGeneration, replicas: 1, updatedReplicas: 1, readyReplicas: 1, availableReplicas: 1 }
  await cluster.admin.patch(deployment(value), { status }, { type: 'merge', subresource: 'status' })
}
const web = (value: string, dependsOn = ['db']): TestEntry => ({
  objects: [configMap('web', value)],
  policy: { dependsOn },
})
const db = (value: string): TestEntry => ({ objects: [deployment(value)] })
const waits = ({ problems }: ApplicationReport): string | undefined =>
  problems.find(({ code }) => code === 'WaitingForDependency')?.message
const readValue = async (): Promise<string | undefined> => (await cluster.admin.find(configMap('web', '')))?.data?.value

test('an application begins when what it depends on is healthy, and says until then what it waits for', async () => {
  const bed = await begin()
  bed.update({ web: web('1'), db: db('1') })
  const waiting = await bed.reported('web', 'waiting for a Deployment', (report) =>
    Boolean(waits(report)?.includes('is progressing')),
  )
  expect(waits(waiting)).toMatch(/^waits for db \(Deployment\.apps \S+\/db is progressing\)$/)
  expect(waiting.sync).toBe(SyncState.OUT_OF_SYNC)
  expect(await readValue()).toBeUndefined()
  await letRun('1')
  const report = await bed.synced('web', { healthy: true })
  expect(report.problems).toEqual([])
  expect(await readValue()).toBe('1')
})

test('a new revision waits too, and meanwhile the one before is healed; one that changes only itself waits for nothing', async () => {
  const bed = await begin()
  bed.update({ web: web('1'), db: db('1') })
  await letRun('1')
  await bed.synced('web')
  bed.update({ web: web('2'), db: db('1') })
  await bed.synced('web')
  bed.update({ web: web('3'), db: db('2') })
  await bed.reported('web', 'waiting', (report) => waits(report) !== undefined)
  await cluster.admin.patch(configMap('web', ''), { data: { value: 'by hand' } }, { type: 'merge' })
  await bed.reported('web', 'repaired', ({ remediations }) => remediations === 1n)
  expect(await readValue()).toBe('2')
  await letRun('2')
  await bed.synced('web')
  expect(await readValue()).toBe('3')
})

test('what has begun goes on when the other fails later, through a restart as well', async () => {
  const bed = await begin()
  bed.update({ web: web('1'), db: db('1') })
  await letRun('1')
  await bed.synced('web')
  await cluster.admin.patch(
    deployment('1'),
    { status: { availableReplicas: 0 } },
    { type: 'merge', subresource: 'status' },
  )
  await bed.reported('db', 'not healthy', ({ health }) => health !== HealthState.HEALTHY)
  await beds.splice(0)[0]?.stop()
  const restarted = await start()
  restarted.update({ web: web('1'), db: db('1') })
  expect((await restarted.synced('web')).problems).toEqual([])
  await cluster.admin.delete(configMap('web', ''))
  await restarted.reported('web', 'repaired', ({ remediations }) => remediations === 1n)
})

test('one that is not placed here, or leaves, is waited for and named; when it comes the work goes on', async () => {
  const bed = await begin()
  bed.update({ web: web('1') })
  const waiting = await bed.reported('web', 'waiting', (report) => waits(report) !== undefined)
  expect(waits(waiting)).toBe('waits for db (this cluster is not asked to run it)')
  bed.update({ web: web('1'), db: { objects: [configMap('db', '1')] } })
  await bed.synced('web')
  bed.update({ web: web('2'), db: { tombstone: 'prune' } })
  await bed.reported('web', 'waiting', (report) => waits(report) !== undefined)
  expect(await readValue()).toBe('1')
  bed.update({ web: web('2', []) })
  await bed.synced('web')
  expect(await readValue()).toBe('2')
})

test('a chain of three comes up one after the other', async () => {
  const bed = await begin()
  bed.update({
    ui: web('1', ['api']),
    api: { objects: [configMap('api', '1')], policy: { dependsOn: ['db'] } },
    db: db('1'),
  })
  await bed.reported('ui', 'waiting for api', (report) => Boolean(waits(report)?.includes('api (its own revision')))
  await letRun('1')
  await bed.synced('ui')
  const order = bed.requests(['patch']).filter(({ name }) => name === 'api' || name === 'web' || name === 'db')
  expect(order.map(({ name }) => name)).toEqual(['db', 'api', 'web'])
})

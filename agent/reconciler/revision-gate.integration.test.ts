// What holds a revision back holds nothing else: not what was in force, not other applications, and for no longer than it
// must, across suspensions, restarts and failures in between.
import { type AdmissionWebhook, startAdmissionWebhook } from '@fairlead/e2e/harness/admission-webhook'
import { type Cluster, startCluster } from '@fairlead/e2e/harness/cluster'
import { getField } from '@fairlead/e2e/harness/kube-client'
import { waitFor } from '@fairlead/e2e/harness/wait'
import type { ApplicationReport } from '@fairlead/proto/report'
import { AppError } from '@fairlead/shared/errors'
import { silentLogger } from '@fairlead/shared/logger'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { kubeconfigAccess } from '../kube/access.ts'
import { createKube, type Kube } from '../kube/kube.ts'
import { OPEN_POLICY } from '../policy/cluster-policy.ts'
import type { ReconcilerOptions } from '../reconciler.ts'
import { ReconcilerBed, type TestEntry, type TestObject } from './reconciler-bed.ts'

let cluster: Cluster
let kube: Kube
let count = 0
let namespace = ''
const beds: ReconcilerBed[] = []
const webhooks: AdmissionWebhook[] = []
const limits = { transientBaseMs: 50, transientMaxMs: 200, userBaseMs: 100, userMaxMs: 400 }
const hour = 3_600_000

beforeAll(async () => {
  cluster = await startCluster({ name: 'revision-gate', full: true })
  const access = await kubeconfigAccess(cluster.kubeconfigPath)
  kube = createKube({ access, userAgent: 'fairlead-agent/test', logger: silentLogger })
}, 180_000)
afterEach(async () => {
  for (const bed of beds.splice(0)) await bed.stop()
  for (const webhook of webhooks.splice(0)) await webhook.stop()
  await cluster.admin.patch(node, { metadata: { labels: { nowhere: null } } }, { type: 'merge' })
})
afterAll(async () => {
  await kube?.close()
  await cluster?.stop()
})

async function begin(options: Partial<ReconcilerOptions> = {}): Promise<ReconcilerBed> {
  namespace = `gate-${++count}`
  await cluster.admin.create({ apiVersion: 'v1', kind: 'Namespace', metadata: { name: namespace } })
  return await start(options)
}
async function start(options: Partial<ReconcilerOptions> = {}): Promise<ReconcilerBed> {
  const bed = await ReconcilerBed.start({ cluster, namespace, waitFor }, { limits, ...options })
  beds.push(bed)
  return bed
}
async function restart(bed: ReconcilerBed, options: Partial<ReconcilerOptions> = {}): Promise<ReconcilerBed> {
  await beds.splice(beds.indexOf(bed), 1)[0]?.stop()
  return await start(options)
}
const configMap = (name: string, value: unknown = '1', metadata: object = {}): TestObject => ({
  apiVersion: 'v1',
  kind: 'ConfigMap',
  metadata: { name, namespace, ...metadata },
  data: { value },
})
const job = (name: string, phase: string | undefined, spec: object = {}, pod: object = {}): TestObject => ({
  apiVersion: 'batch/v1',
  kind: 'Job',
  metadata: { name, namespace, ...(phase !== undefined && { annotations: { 'fairlead.dev/hook': phase } }) },
  spec: {
    ...spec,
    template: { spec: { restartPolicy: 'Never', containers: [{ name: 'c', image: 'busybox:1' }], ...pod } },
  },
})
const node = { apiVersion: 'v1', kind: 'Node', metadata: { name: 'node-1' } }
const nowhere = { nodeSelector: { nowhere: 'true' } }
/** Ends when there is such a node. */
const hanging = (name: string, phase?: string) => job(name, phase, {}, nowhere)
const letJobsEnd = async () =>
  await cluster.admin.patch(node, { metadata: { labels: { nowhere: 'true' } } }, { type: 'merge' })
const find = async (object: TestObject) => await cluster.admin.find(object)
const dataOf = async (name: string) => getField(await find(configMap(name)), 'data.value')
const states = ({ hooks }: ApplicationReport): string[] =>
  hooks.map(({ object, phase, state }) => `${phase} ${object?.name} ${state}`)
const reached = async (bed: ReconcilerBed, state: string) =>
  await bed.reported('web', state, (report) => states(report).includes(state), 30_000)
const problem = async (bed: ReconcilerBed, code: string) =>
  await bed.reported('web', code, ({ problems }) => problems.some((one) => one.code === code))
const validated = (...objects: TestObject[]): TestEntry => ({ objects, policy: { validate: 'server' } })
const suspended = (entry: TestEntry): TestEntry =>
  'tombstone' in entry ? entry : { ...entry, policy: { ...entry.policy, suspend: true } }
/** A revision that came while the application was suspended, and was seen. */
const suspend = async (bed: ReconcilerBed, entry: TestEntry) => {
  const { generation } = bed.update({ web: suspended(entry) })
  const isSeen = ({ suspended: is, drifted, sliceGeneration }: ApplicationReport): boolean =>
    is && drifted > 0 && sliceGeneration === generation
  await bed.reported('web', 'suspended', isSeen)
}

test('what an application declares in a revision that is held back is not taken by another after a restart', async () => {
  const bed = await begin()
  bed.update({ web: validated(configMap('x')) })
  await bed.synced('web')
  const entries = {
    web: validated(configMap('x', '2'), configMap('bad', { not: 'text' })),
    other: { objects: [configMap('x', 'of another'), configMap('o')] },
  }
  const contested = async (one: ReconcilerBed) =>
    await one.reported('other', 'contested', ({ problems }) => problems.some(({ code }) => code === 'OwnedByAnother'))
  bed.update(entries)
  await problem(bed, 'ValidationFailed')
  await contested(bed)
  const second = await restart(bed)
  second.update(entries)
  await problem(second, 'ValidationFailed')
  await contested(second)
  expect((await find(configMap('x')))?.metadata.labels).toMatchObject({ 'fairlead.dev/application': 'web' })
  expect(await dataOf('x')).toBe('1')
})

test('a hook that cannot be one holds back its own revision: after a restart what is in force is healed, and others prune', async () => {
  const bed = await begin()
  bed.update({
    web: { objects: [configMap('a'), configMap('b')] },
    other: { objects: [configMap('o'), configMap('gone')] },
  })
  await bed.synced('web')
  await bed.synced('other')
  const web = { objects: [configMap('a', '2'), configMap('b'), job('migrate', 'PreSync')] }
  bed.update({ web, other: { objects: [configMap('o'), configMap('gone')] } })
  await problem(bed, 'InvalidManifest')
  const second = await restart(bed)
  second.update({ web, other: { objects: [configMap('o')] } })
  expect((await problem(second, 'InvalidManifest')).problems).toMatchObject([
    { object: { kind: 'Job', name: 'migrate' }, source: { file: 'deploy/web.yaml', line: 21 } },
  ])
  await cluster.admin.delete(configMap('b'))
  await waitFor('what is in force to be healed', async () => await find(configMap('b')))
  await second.synced('other')
  expect([await find(configMap('gone')), await dataOf('a')]).toEqual([undefined, '1'])
})

test('of an application that is validated no more stand before others than of one that is applied', async () => {
  const bed = await begin()
  const webhook = await startAdmissionWebhook({ cluster, name: `slow-${count}`, namespaces: [namespace] })
  webhooks.push(webhook)
  webhook.delayMs = 300
  bed.update({ web: validated(...Array.from({ length: 200 }, (_, index) => configMap(`c-${index}`))) })
  await waitFor('the webhook to be asked', () => webhook.requests.length > 0)
  expect(bed.reconciler.inspect().queues.apply).toBeLessThan(64)
  webhook.delayMs = 0
  await bed.synced('web', { timeoutMs: 30_000 })
})

// Much of it: as many objects as one application may have, and revisions that come faster than they can be applied.
import { setInterval as every } from 'node:timers/promises'
import { writeVerbs } from '@fairlead/e2e/harness/audit'
import { type Cluster, startCluster } from '@fairlead/e2e/harness/cluster'
import { getField } from '@fairlead/e2e/harness/kube-client'
import { waitFor } from '@fairlead/e2e/harness/wait'
import { HealthState, SyncState } from '@fairlead/proto/common'
import type { ApplicationReport } from '@fairlead/proto/report'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { ReconcilerBed, type TestObject } from './reconciler-bed.ts'

/** A limit for a machine that does much else; both tests wait by condition. */
const LONG_MS = 600_000

let cluster: Cluster
const beds: ReconcilerBed[] = []

beforeAll(async () => {
  cluster = await startCluster({ name: 'large' })
}, 120_000)
afterEach(async () => {
  for (const bed of beds.splice(0)) await bed.stop()
})
afterAll(async () => await cluster?.stop())

async function start(namespace: string): Promise<ReconcilerBed> {
  const bed = await ReconcilerBed.start({ cluster, namespace })
  beds.push(bed)
  return bed
}

const configMap = (name: string, data: Record<string, string>): TestObject => ({
  apiVersion: 'v1',
  kind: 'ConfigMap',
  metadata: { name },
  data,
})
const serviceAccount = (name: string): TestObject => ({ apiVersion: 'v1', kind: 'ServiceAccount', metadata: { name } })

/** Waits until the hub would have been told that all is applied and one repaired. Asking for reports of so many objects again and again would be most of the work. */
async function told({ reports }: ReconcilerBed): Promise<ApplicationReport> {
  return await waitFor(
    'the application to be told Synced and Healthy after one repair',
    (see) => {
      const report = reports.get('large')
      see(report)
      // Written down, too: it is stopped right after this, and must have nothing to apply again.
      const isWell = report?.appliedAt !== undefined && report.health === HealthState.HEALTHY
      return isWell && report.remediations > 0n ? report : undefined
    },
    { timeoutMs: LONG_MS, intervalMs: 50 },
  )
}

async function makeNamespace(name: string): Promise<void> {
  await cluster.admin.create({ apiVersion: 'v1', kind: 'Namespace', metadata: { name } })
}

test('13,000 objects of one application are all applied, one that drifts is repaired while the others are, and a second pass writes nothing but what drifted since', {
  timeout: LONG_MS,
}, async () => {
  const namespace = 'large'
  await makeNamespace(namespace)
  const objects = Array.from({ length: 13_000 }, (_, index) =>
    index % 4 === 0 ? serviceAccount(`l${index}`) : configMap(`l${index}`, { a: String(index) }),
  )
  const at = (name: string) => ({ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name, namespace } })
  const value = async (name: string) => getField(await cluster.admin.find(at(name)), 'data.a')
  const edit = async (name: string): Promise<void> => {
    await cluster.admin.patch(at(name), { data: { a: 'edited' } }, { type: 'merge', fieldManager: 'kubectl-edit' })
  }
  const first = await start(namespace)
  first.update({ large: { objects } })
  await waitFor('the first ConfigMap', async () => await value('l1'), { timeoutMs: LONG_MS, intervalMs: 20 })
  await edit('l1')
  await waitFor('it to be put back', async () => (await value('l1')) === '1', { timeoutMs: LONG_MS, intervalMs: 20 })
  expect(first.report('large')?.sync).not.toBe(SyncState.SYNCED)
  const report = await told(first)
  expect(report).toMatchObject({ objects: 13_000, problems: [], unhealthy: [], remediations: 1n })
  for (const kind of ['ConfigMap', 'ServiceAccount']) {
    const found = await cluster.admin.list(
      { apiVersion: 'v1', kind, metadata: { namespace } },
      { labels: 'fairlead.dev/application=large' },
    )
    const declared = objects.filter((object) => object.kind === kind)
    const content = new Map(found.map((object) => [object.metadata.name, object.data]))
    expect(content).toEqual(new Map(declared.map((object) => [object.metadata.name, object.data])))
  }

  beds.splice(beds.indexOf(first), 1)
  await first.stop()
  await edit('l9999')
  const before = first.requests(writeVerbs).length
  const second = await start(namespace)
  second.update({ large: { objects } })
  await waitFor('it to be put back', async () => (await value('l9999')) === '9999', { timeoutMs: LONG_MS })
  const again = await told(second)
  expect(again).toMatchObject({ objects: 13_000, problems: [], remediations: 1n })
  const written = second.requests(writeVerbs).slice(before)
  expect(new Set(written.map(({ name }) => name))).toEqual(new Set(['l9999']))
})

test('sixty revisions, one every 100 ms, end as the last one, and no object is written more often than there were revisions, nor twice once the last is there', {
  timeout: LONG_MS,
}, async () => {
  const namespace = 'churn'
  await makeNamespace(namespace)
  const names = Array.from({ length: 50 }, (_, index) => `c${index}`)
  const commitOf = (revision: number): string => String(revision).padStart(40, '0')
  const bed = await start(namespace)
  let revision = 0
  let lastGivenAt = 0
  for await (const _ of every(100)) {
    revision++
    lastGivenAt = Date.now()
    const objects = names.map((name) => configMap(name, { revision: String(revision) }))
    bed.update({ churn: { objects, commit: commitOf(revision) } })
    if (revision === 60) break
  }
  const isLast = ({ revision: applied }: { revision?: { commit: string } | undefined }): boolean =>
    applied?.commit === commitOf(60)
  const report = await bed.reported(
    'churn',
    'Synced at the last revision',
    (seen) => seen.sync === SyncState.SYNCED && isLast(seen),
    LONG_MS,
  )
  expect(report).toMatchObject({ objects: 50, problems: [], drifts: [], remediations: 0n })
  const found = await cluster.admin.list(
    { apiVersion: 'v1', kind: 'ConfigMap', metadata: { namespace } },
    { labels: 'fairlead.dev/application=churn' },
  )
  expect(found.map(({ metadata, data }) => [metadata.name, data]).toSorted()).toEqual(
    names.map((name) => [name, { revision: '60' }]).toSorted(),
  )
  const mostWrites = (since: number): number => {
    const written = cluster.auditLog({ verbs: writeVerbs, resource: 'configmaps', namespace, since })
    const counts = Map.groupBy(
      written.filter(({ name }) => names.includes(name)),
      ({ name }) => name,
    )
    return Math.max(...[...counts.values()].map((group) => group.length))
  }
  expect(mostWrites(0)).toBeLessThanOrEqual(60)
  // One that was under way for an older revision, and its own.
  expect(mostWrites(lastGivenAt)).toBeLessThanOrEqual(2)
})

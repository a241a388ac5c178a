// From what was rendered to signed slices: decides the deployments of some applications on some clusters and makes the
// slices that change, with their outbox rows, in one transaction.
import { setImmediate as nextTurn } from 'node:timers/promises'
import { create, toJsonString } from '@bufbuild/protobuf'
import { timestampFromMs } from '@bufbuild/protobuf/wkt'
import { ProblemSchema } from '@fairlead/proto/common'
import type { ApplicationSpec } from '@fairlead/proto/definitions'
import { SyncPolicySchema } from '@fairlead/proto/slice'
import type { SigningKeyPair } from '@fairlead/shared/signing'
import { nextGeneration } from '@fairlead/shared/slice'
import type { Insertable, Selectable, Transaction } from 'kysely'
import { readApprovals } from './approvals/approvals.ts'
import type { ApplicationDefinition, ClusterDefinition, VariantRenders } from './fleet-snapshot.ts'
import { placeApplication } from './placer/placer.ts'
import {
  type ApplicationIntent,
  type DeploymentRow,
  type DesiredContent,
  planDeployments,
} from './slicer/deployment-plan.ts'
import { type SliceDeployment, signSlice, sliceContent } from './slicer/slicer.ts'
import { readProblem } from './store/definition-rows.ts'
import type { DeploymentsTable, Schema, SlicesTable } from './store/schema.ts'
import type { Store } from './store/store.ts'
import type { VariantIndex } from './variants.ts'

/** What is to be placed where. */
export interface PlaceRequest {
  readonly applications: readonly ApplicationDefinition[]
  readonly clusters: readonly ClusterDefinition[]
  readonly renders: ReadonlyMap<string, VariantRenders>
  readonly variants: VariantIndex
  /** Clusters whose slice is compared even when no deployment changes. */
  readonly mustSlice: ReadonlySet<string>
  readonly signingKey: SigningKeyPair
  readonly nowMs: number
}

/** Bounds how long one transaction keeps the database. */
const CLUSTERS_PER_TRANSACTION = 25
const ROWS_PER_STATEMENT = 500
/** Largest slice: the broker's 1 MiB, less some room for headers. */
const MAX_SLICE_BYTES = 1_048_576 - 1_024
const NAMES_PER_QUERY = 500

/** Places, and returns the clusters whose slice is new. */
export async function placeAndSlice(store: Store, request: PlaceRequest): Promise<string[]> {
  const changed: string[] = []
  for (let start = 0; start < request.clusters.length; start += CLUSTERS_PER_TRANSACTION) {
    const clusters = request.clusters.slice(start, start + CLUSTERS_PER_TRANSACTION)
    changed.push(...(await store.transaction((transaction) => placeChunk(transaction, { ...request, clusters }))))
    // The database answers at once and gives nobody else a turn.
    await nextTurn()
  }
  return changed
}

/** What an application wants of its clusters, out of its definition and its renders. */
export function intentOf(application: ApplicationDefinition, renders: VariantRenders = new Map()): ApplicationIntent {
  if (application.deleting !== null) return { kind: 'leave', prune: application.deleting === 'prune' }
  const { spec } = application
  const content = new Map<string, DesiredContent>()
  for (const [variant, { artifactDigest, revision, incomplete }] of renders) {
    if (artifactDigest === null || revision === null) continue
    content.set(variant, { artifactDigest, revision, policy: policyOf(spec, incomplete) })
  }
  if (content.size === 0) return { kind: 'keep' }
  const { sync } = spec
  return {
    kind: 'run',
    content,
    pruneOnLeave: sync?.deletionPolicy ? sync.deletionPolicy === 'delete' : (sync?.prune ?? true),
  }
}

/** How agents apply it, as JSON; of an incomplete artifact nothing is pruned. */
function policyOf({ namespace, sync, suspend, health, dependsOn }: ApplicationSpec, isIncomplete: boolean): string {
  const policy = create(SyncPolicySchema, {
    namespace,
    prune: (sync?.prune ?? true) && !isIncomplete,
    remediate: sync?.remediate ?? true,
    adopt: sync?.adopt || 'ifEqual',
    suspend,
    serviceAccount: sync?.serviceAccount ?? '',
    ignoreFields: sync?.ignoreFields ?? [],
    validate: sync?.validate ?? '',
    healthRules: health?.rules ?? [],
    ...(health?.progressDeadline ? { progressDeadline: health.progressDeadline } : {}),
    substitute: sync?.substitute ?? true,
    dependsOn,
  })
  return toJsonString(SyncPolicySchema, policy)
}

async function placeChunk(transaction: Transaction<Schema>, request: PlaceRequest): Promise<string[]> {
  const clusters = await presentClusters(transaction, request.clusters)
  const ids = clusters.map((cluster) => cluster.id)
  const joined = new Set(clusters.filter((cluster) => cluster.hasJoined).map((cluster) => cluster.id))
  const slices = await readSlices(transaction, ids)
  const generationOf = (id: string): bigint => nextGeneration(BigInt(slices.get(id)?.generation ?? 0), request.nowMs)
  // Without a hash it is to be signed again, whoever asked for that and died before it was done.
  const touched = new Set(ids.filter((id) => request.mustSlice.has(id) || !slices.get(id)?.contentHash))
  const rows = await readDeployments(transaction, ids, request.applications)
  const upserts: Selectable<DeploymentsTable>[] = []
  for (const application of await presentApplications(transaction, request.applications)) {
    const intent = intentOf(application, request.renders.get(application.name))
    const placed = intent.kind === 'run' ? placeVariants(application, clusters, request.variants) : new Map()
    const plan = planDeployments({
      application: application.name,
      intent,
      placed,
      rows: rows.get(application.name) ?? [],
      hasJoined: (id) => joined.has(id),
    })
    for (const row of plan.upserts) {
      // A tombstone's time is the first generation that carries it: that is what its confirmation is held against.
      const since = row.state === 'tombstone' ? Number(generationOf(row.cluster_id)) : request.nowMs
      upserts.push({ ...row, since })
    }
    for (const id of [...plan.deletes, ...plan.upserts.map((row) => row.cluster_id)]) touched.add(id)
    await deleteDeployments(transaction, plan.deletes, application.name)
  }
  await upsertDeployments(transaction, upserts)
  return await sliceClusters(
    transaction,
    clusters.filter((cluster) => touched.has(cluster.id)),
    request,
    slices,
  )
}

/** The id of the variant by the id of the cluster, of those that run the application. Throws InvalidArgument when the placement cannot be told. */
function placeVariants(
  { spec }: ApplicationDefinition,
  clusters: readonly ClusterDefinition[],
  variants: VariantIndex,
): ReadonlyMap<string, string> {
  // What makes others runs nowhere itself.
  const placed = new Set(spec.forEach ? [] : placeApplication(spec.placement, clusters))
  const selected = clusters.filter(({ id }) => placed.has(id))
  return new Map(selected.map((cluster) => [cluster.id, variants.of(spec, cluster).id]))
}

/** Has the slices signed again by the next placeAndSlice, as newer generations than those given; what is beyond `limit` counts as 0. The time alone is not enough where the clock is behind the one that made them. */
export async function raiseGenerations(store: Store, seen: ReadonlyMap<string, bigint>, limit: bigint): Promise<void> {
  const entries = [...seen]
  for (let start = 0; start < entries.length; start += ROWS_PER_STATEMENT) {
    await store.transaction(async (transaction) => {
      for (const [id, generation] of entries.slice(start, start + ROWS_PER_STATEMENT)) {
        const atLeast = generation > limit ? 0n : generation
        await transaction
          .updateTable('slices')
          .set(({ fn, val }) => ({ content_hash: '', generation: fn('max', ['generation', val(atLeast)]) }))
          .where('cluster_id', '=', id)
          .execute()
      }
    })
    await nextTurn()
  }
}

interface HeldSlice {
  readonly generation: number
  readonly contentHash: string
}

/** Signs the slices whose content changed and queues them. */
async function sliceClusters(
  transaction: Transaction<Schema>,
  clusters: readonly ClusterDefinition[],
  { signingKey: key, nowMs }: PlaceRequest,
  slices: ReadonlyMap<string, HeldSlice>,
): Promise<string[]> {
  const deployments = await readSliceDeployments(
    transaction,
    clusters.map((cluster) => cluster.id),
  )
  const changed: Insertable<SlicesTable>[] = []
  const tooLarge = new Map<string, number>()
  for (const cluster of clusters) {
    const held = slices.get(cluster.id)
    const content = sliceContent(cluster, deployments.get(cluster.id) ?? [])
    if (held?.contentHash === content.hash) continue
    const lastGeneration = BigInt(held?.generation ?? 0)
    const { generation, document } = signSlice(content, { lastGeneration, nowMs, key })
    // NATS would refuse it: the cluster keeps the last one.
    if (document.length > MAX_SLICE_BYTES) tooLarge.set(cluster.id, document.length)
    else changed.push({ cluster_id: cluster.id, generation, content_hash: content.hash, document })
  }
  await saveSlices(transaction, changed, nowMs)
  await saveSliceProblems(
    transaction,
    clusters.map((cluster) => cluster.id),
    { tooLarge, nowMs },
  )
  return changed.map((row) => row.cluster_id)
}

async function saveSlices(
  transaction: Transaction<Schema>,
  rows: readonly Insertable<SlicesTable>[],
  nowMs: number,
): Promise<void> {
  if (rows.length === 0) return
  await transaction
    .replaceInto('slices')
    .values([...rows])
    .execute()
  // Rows of earlier slices are of no use any more; the publisher sends what is newest. So the outbox cannot grow for ever.
  const ids = rows.map((row) => row.cluster_id)
  await transaction.deleteFrom('outbox').where('kind', '=', 'slice').where('key', 'in', ids).execute()
  const outbox = rows.map((row) => ({ kind: 'slice' as const, key: row.cluster_id, created_at: nowMs }))
  await transaction.insertInto('outbox').values(outbox).execute()
}

/** Records which of these clusters' slices are too large, and that the others' are not. */
async function saveSliceProblems(
  transaction: Transaction<Schema>,
  ids: readonly string[],
  { tooLarge, nowMs }: { tooLarge: ReadonlyMap<string, number>; nowMs: number },
): Promise<void> {
  const rows = await transaction.selectFrom('slice_problems').selectAll().where('cluster_id', 'in', ids).execute()
  const since = new Map(rows.map((row) => [row.cluster_id, readProblem(row.problem).since]))
  if (rows.length > 0) await transaction.deleteFrom('slice_problems').where('cluster_id', 'in', ids).execute()
  for (const [id, sizeBytes] of tooLarge) {
    const message = `what this cluster should run takes ${sizeBytes} bytes to say, and at most ${MAX_SLICE_BYTES} can be sent; it keeps the last slice: place fewer applications on it`
    const problem = create(ProblemSchema, {
      code: 'LimitExceeded',
      message,
      since: since.get(id) ?? timestampFromMs(nowMs),
    })
    const row = { cluster_id: id, problem: toJsonString(ProblemSchema, problem) }
    await transaction.insertInto('slice_problems').values(row).execute()
  }
}

/** Those that still exist, as they are now: a cluster may have been removed or joined since the snapshot. */
async function presentClusters(
  transaction: Transaction<Schema>,
  clusters: readonly ClusterDefinition[],
): Promise<ClusterDefinition[]> {
  const ids = clusters.map((cluster) => cluster.id)
  const rows = await transaction.selectFrom('clusters').select(['id', 'joined_at']).where('id', 'in', ids).execute()
  const joinedAt = new Map(rows.map((row) => [row.id, row.joined_at]))
  return clusters
    .filter((cluster) => joinedAt.has(cluster.id))
    .map((cluster) => ({ ...cluster, hasJoined: joinedAt.get(cluster.id) !== null }))
}

/** Those that are still as the snapshot has them; the others changed meanwhile and get a pass of their own. */
async function presentApplications(
  transaction: Transaction<Schema>,
  applications: readonly ApplicationDefinition[],
): Promise<ApplicationDefinition[]> {
  const rows = await transaction.selectFrom('applications').select(['name', 'uid', 'generation', 'deleting']).execute()
  const present = new Map(rows.map((row) => [row.name, row]))
  return applications.filter((application) => {
    const row = present.get(application.name)
    return (
      row?.uid === application.uid && row.generation === application.generation && row.deleting === application.deleting
    )
  })
}

async function readSlices(transaction: Transaction<Schema>, ids: readonly string[]): Promise<Map<string, HeldSlice>> {
  const rows = await transaction
    .selectFrom('slices')
    .select(['cluster_id', 'generation', 'content_hash'])
    .where('cluster_id', 'in', ids)
    .execute()
  return new Map(rows.map((row) => [row.cluster_id, { generation: row.generation, contentHash: row.content_hash }]))
}

async function readDeployments(
  transaction: Transaction<Schema>,
  ids: readonly string[],
  applications: readonly ApplicationDefinition[],
): Promise<Map<string, DeploymentRow[]>> {
  const query = transaction
    .selectFrom('deployments')
    .select(['cluster_id', 'application', 'state', 'prune', 'artifact_digest', 'revision', 'policy'])
    .where('cluster_id', 'in', ids)
  const names = applications.map((application) => application.name)
  const rows = await (names.length > NAMES_PER_QUERY ? query : query.where('application', 'in', names)).execute()
  return Map.groupBy(rows, (row) => row.application)
}

async function readSliceDeployments(
  transaction: Transaction<Schema>,
  ids: readonly string[],
): Promise<Map<string, (SliceDeployment & { cluster_id: string })[]>> {
  const rows = await transaction
    .selectFrom('deployments')
    .leftJoin('artifacts', 'artifacts.digest', 'deployments.artifact_digest')
    .select(['cluster_id', 'application', 'state', 'prune', 'revision', 'policy', 'reference'])
    .where('cluster_id', 'in', ids)
    .execute()
  const approvals = await readApprovals(transaction, ids)
  const complete = rows.map((row) => {
    const approvedPrunes = approvals.get(row.cluster_id)?.get(row.application)
    return approvedPrunes ? { ...row, approvedPrunes } : row
  })
  return Map.groupBy(complete, (row) => row.cluster_id)
}

async function upsertDeployments(
  transaction: Transaction<Schema>,
  rows: readonly Selectable<DeploymentsTable>[],
): Promise<void> {
  for (let start = 0; start < rows.length; start += ROWS_PER_STATEMENT) {
    const part = rows.slice(start, start + ROWS_PER_STATEMENT)
    await transaction.replaceInto('deployments').values(part).execute()
  }
}

async function deleteDeployments(
  transaction: Transaction<Schema>,
  clusterIds: readonly string[],
  application: string,
): Promise<void> {
  if (clusterIds.length === 0) return
  await transaction
    .deleteFrom('deployments')
    .where('application', '=', application)
    .where('cluster_id', 'in', [...clusterIds])
    .execute()
}

// Compares what NATS holds with the database, which is the truth, and has the difference published again. A lost or
// restored NATS, and a restored database, are only delays.
import type { Logger } from '@fairlead/shared/logger'
import { blobSubject, CLUSTER_ID_PATTERN, desiredSubject, STREAMS } from '@fairlead/shared/subjects'
import type { JetStreamClient, JetStreamManager } from '@nats-io/jetstream'
import type { Store } from '../store/store.ts'
import { forEachInFlight } from './in-flight.ts'
import { GENERATION_HEADER, purgeCluster } from './outbox.ts'

/** What rebuilding needs. */
export interface RebuildOptions {
  readonly store: Store
  readonly js: JetStreamClient
  /** Has these clusters' slices signed again as a newer generation: NATS, and so the agent, has seen a newer one than the database knows. */
  readonly resign: (seen: ReadonlyMap<string, bigint>) => Promise<void>
  readonly logger: Logger
}

/** What was found to differ. */
export interface RebuildOutcome {
  readonly artifacts: number
  readonly slices: number
  readonly purged: number
}

const GETS_IN_FLIGHT = 64
const INSERT_BATCH = 1000

/** Puts outbox rows for everything that NATS lacks or has otherwise, and purges what belongs to no cluster. */
export async function rebuild(options: RebuildOptions): Promise<RebuildOutcome> {
  const { js, store, logger } = options
  const manager = await js.jetstreamManager(false)
  // NATS is read before the database: what is published meanwhile is then in the database too, and never looks foreign.
  const blobs = await listSubjects(manager, STREAMS.blobs)
  const desired = await listSubjects(manager, STREAMS.desired)
  const status = await listSubjects(manager, STREAMS.status)
  const artifacts = await findLostArtifacts(store, blobs)
  const { lost, older } = await findLostSlices(store, manager, desired)
  await enqueue(store, 'artifact', artifacts)
  await enqueue(store, 'slice', lost)
  if (older.size > 0) {
    logger.warn({ clusters: older.size }, 'NATS has newer slices than the database; signing again')
    await options.resign(older)
  }
  const foreign = await findForeignClusters(store, [...desired, ...status])
  for (const clusterId of foreign) await purgeCluster(js, clusterId)
  const outcome = { artifacts: artifacts.length, slices: lost.length, purged: foreign.length }
  if (artifacts.length + lost.length + foreign.length > 0) logger.info(outcome, 'NATS differs from the database')
  return outcome
}

async function listSubjects(manager: JetStreamManager, stream: string): Promise<Set<string>> {
  const info = await manager.streams.info(stream, { subjects_filter: '>' })
  return new Set(Object.keys(info.state.subjects ?? {}))
}

/** Artifacts in use of which a chunk is missing. */
async function findLostArtifacts(store: Store, blobs: ReadonlySet<string>): Promise<string[]> {
  const chunks = await store.db
    .selectFrom('artifact_chunks')
    .select(['digest', 'artifact_digest'])
    .where('artifact_digest', 'in', (query) =>
      query.selectFrom('deployments').select('artifact_digest').where('artifact_digest', 'is not', null).$castTo<{
        artifact_digest: string
      }>(),
    )
    .execute()
  return [
    ...new Set(
      chunks.filter(({ digest }) => !blobs.has(blobSubject(digest))).map(({ artifact_digest }) => artifact_digest),
    ),
  ]
}

/** Clusters whose slice is missing or another one; `older` are those of which NATS holds a newer generation, with that. */
async function findLostSlices(
  store: Store,
  manager: JetStreamManager,
  desired: ReadonlySet<string>,
): Promise<{ lost: string[]; older: Map<string, bigint> }> {
  const rows = await store.db.selectFrom('slices').select(['cluster_id', 'generation', 'document']).execute()
  const lost: string[] = []
  const older = new Map<string, bigint>()
  await forEachInFlight(rows, GETS_IN_FLIGHT, async ({ cluster_id, generation, document }) => {
    const subject = desiredSubject(cluster_id, 'main')
    const held = desired.has(subject)
      ? await manager.direct.getMessage(STREAMS.desired, { last_by_subj: subject })
      : undefined
    // The bytes and not the hash in the header: a broker that changed the one may have kept the other.
    if (held && Buffer.compare(held.data, document) === 0) return
    const heldGeneration = readGeneration(held?.header.get(GENERATION_HEADER))
    if (heldGeneration > BigInt(generation)) older.set(cluster_id, heldGeneration)
    else lost.push(cluster_id)
  })
  return { lost, older }
}

/** The generation in a header; 0 when it is none. */
function readGeneration(text: string | undefined): bigint {
  return text !== undefined && /^\d{1,20}$/.test(text) ? BigInt(text) : 0n
}

/** Ids in subjects that no cluster has. */
async function findForeignClusters(store: Store, subjects: readonly string[]): Promise<string[]> {
  const rows = await store.db.selectFrom('clusters').select('id').execute()
  const known = new Set(rows.map((row) => row.id))
  const ids = new Set(subjects.map((subject) => subject.split('.')[1] ?? ''))
  return [...ids].filter((id) => CLUSTER_ID_PATTERN.test(id) && !known.has(id))
}

/** Queues what does not wait already: a NATS that takes nothing is compared again and again. */
async function enqueue(store: Store, kind: 'artifact' | 'slice', keys: readonly string[]): Promise<void> {
  if (keys.length === 0) return
  const createdAt = Date.now()
  const waiting = await store.db.selectFrom('outbox').select('key').where('kind', '=', kind).execute()
  const known = new Set(waiting.map((row) => row.key))
  const missing = keys.filter((key) => !known.has(key))
  for (let start = 0; start < missing.length; start += INSERT_BATCH) {
    const rows = missing.slice(start, start + INSERT_BATCH).map((key) => ({ kind, key, created_at: createdAt }))
    await store.db.insertInto('outbox').values(rows).execute()
  }
}

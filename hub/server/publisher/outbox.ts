// The outbox: what the database has decided and NATS does not know yet. Rows go only after NATS has acknowledged, so that
// whatever dies in between is published again; publishing twice changes nothing.
import type { Logger } from '@fairlead/shared/logger'
import { blobSubject, desiredSubject, eventSubject, STREAMS, statusSubject } from '@fairlead/shared/subjects'
import { JetStreamApiCodes, JetStreamApiError, type JetStreamClient } from '@nats-io/jetstream'
import { headers, type MsgHdrs } from '@nats-io/transport-node'
import type { Selectable } from 'kysely'
import type { OutboxKind, OutboxTable, SlicesTable } from '../store/schema.ts'
import type { Store } from '../store/store.ts'
import { forEachInFlight } from './in-flight.ts'

/** Header that holds a slice's generation. */
export const GENERATION_HEADER = 'Fairlead-Generation'

/** What draining needs. */
export interface OutboxOptions {
  readonly store: Store
  readonly js: JetStreamClient
  /** Largest message that NATS takes, in bytes. */
  readonly maxPayloadBytes: number
  /** Sends the accounts' claims. */
  readonly pushClaims: () => Promise<void>
  readonly logger: Logger
  /** Rejects when answers that are waited for will not come any more. */
  readonly interrupted: Promise<never>
}

/** Room that the headers of a slice need within NATS's limit. */
const HEADER_BYTES = 1_024
const BATCH = 500
const SLICES_IN_FLIGHT = 256
/** Chunks are large: this bounds the memory. */
const CHUNKS_IN_FLIGHT = 8
/** An acknowledgement is waited for so long. */
export const PUBLISH_TIMEOUT_MS = 10_000

/** Publishes one batch in order: claims, artifacts, slices, then what is to be forgotten. Returns the number of rows done; throws when NATS does not take something, and leaves those rows. */
export async function drainBatch(options: OutboxOptions): Promise<number> {
  const { rows, slices } = await readBatch(options.store)
  const keysOf = (kind: OutboxKind): string[] => [
    ...new Set(rows.filter((row) => row.kind === kind).map((row) => row.key)),
  ]
  if (keysOf('claims').length > 0) await options.pushClaims()
  for (const digest of keysOf('artifact')) await publishArtifact(options, digest)
  await publishSlices(options, slices)
  for (const clusterId of keysOf('purge-cluster')) await purgeCluster(options.js, clusterId)
  await deleteRows(options.store, rows)
  return rows.length
}

/** Publishes and waits for the acknowledgement, or until it will not come any more. */
async function publish(
  { js, interrupted }: OutboxOptions,
  subject: string,
  message: { readonly bytes: Uint8Array; readonly headers?: MsgHdrs },
): Promise<void> {
  const { bytes, headers } = message
  const acknowledged = js.publish(subject, bytes, { timeout: PUBLISH_TIMEOUT_MS, ...(headers && { headers }) })
  await Promise.race([acknowledged, interrupted])
}

/** The next rows, and the slices that they name as they are at that moment: one that is signed later may need artifacts that are not in this batch. */
async function readBatch(
  store: Store,
): Promise<{ rows: Selectable<OutboxTable>[]; slices: Selectable<SlicesTable>[] }> {
  return await store.transaction(async (transaction) => {
    const rows = await transaction
      .selectFrom('outbox')
      .selectAll()
      // A slice is newer than its row when it was signed again, and needs artifacts that were queued after that row.
      .orderBy((query) => query.case().when('kind', 'in', ['claims', 'artifact']).then(0).else(1).end())
      .orderBy('id')
      .limit(BATCH)
      .execute()
    const ids = rows.filter((row) => row.kind === 'slice').map((row) => row.key)
    const slices = await transaction.selectFrom('slices').selectAll().where('cluster_id', 'in', ids).execute()
    return { rows, slices }
  })
}

async function publishArtifact(options: OutboxOptions, digest: string): Promise<void> {
  const { store } = options
  const chunks = await store.db
    .selectFrom('artifact_chunks')
    .select('digest')
    .where('artifact_digest', '=', digest)
    .execute()
  await forEachInFlight(chunks, CHUNKS_IN_FLIGHT, async (chunk) => {
    const row = await store.db
      .selectFrom('artifact_chunks')
      .select('bytes')
      .where('digest', '=', chunk.digest)
      .executeTakeFirst()
    // It is gone when nothing needs it any more.
    if (row) await publish(options, blobSubject(chunk.digest), row)
  })
}

async function publishSlices(options: OutboxOptions, slices: readonly Selectable<SlicesTable>[]): Promise<void> {
  const { maxPayloadBytes, logger } = options
  await forEachInFlight(slices, SLICES_IN_FLIGHT, async ({ cluster_id, document, generation }) => {
    if (document.length > maxPayloadBytes - HEADER_BYTES) {
      // No retry helps; everything else goes on, and the cluster keeps what it has.
      logger.error(
        { clusterId: cluster_id, sizeBytes: document.length, maxPayloadBytes },
        'slice is too large for NATS',
      )
      return
    }
    const message = { bytes: document, headers: generationHeader(generation) }
    await publish(options, desiredSubject(cluster_id, 'main'), message)
    logger.debug({ clusterId: cluster_id, generation }, 'slice published')
  })
}

function generationHeader(generation: number): MsgHdrs {
  const header = headers()
  header.set(GENERATION_HEADER, String(generation))
  return header
}

/** Takes everything of a cluster out of NATS. */
export async function purgeCluster(js: JetStreamClient, clusterId: string): Promise<void> {
  const manager = await js.jetstreamManager(false)
  const filters = [
    [STREAMS.desired, desiredSubject(clusterId, 'main')],
    [STREAMS.desired, desiredSubject(clusterId, 'cmd')],
    [STREAMS.status, statusSubject(clusterId)],
    [STREAMS.events, eventSubject(clusterId)],
  ] as const
  for (const [stream, filter] of filters) {
    try {
      await manager.streams.purge(stream, { filter })
    } catch (error) {
      if (!(error instanceof JetStreamApiError) || error.code !== JetStreamApiCodes.StreamNotFound) throw error
    }
  }
}

async function deleteRows(store: Store, rows: readonly Selectable<OutboxTable>[]): Promise<void> {
  if (rows.length === 0) return
  const ids = rows.map((row) => row.id)
  await store.db.deleteFrom('outbox').where('id', 'in', ids).execute()
}

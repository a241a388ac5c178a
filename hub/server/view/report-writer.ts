// Writes what agents say to the database, many reports in one transaction: a fleet's heartbeats must not cost a disk flush each.
import { setTimeout as delay, setImmediate as nextTurn } from 'node:timers/promises'
import { create, toJson, toJsonString } from '@bufbuild/protobuf'
import { ProblemSchema } from '@fairlead/proto/common'
import { AgentFactsSchema, RefusalsSchema } from '@fairlead/proto/report'
import type { Logger } from '@fairlead/shared/logger'
import type { Transaction } from 'kysely'
import type { StoredCapabilities } from '../capabilities.ts'
import { saveCapabilities } from '../store/capabilities-rows.ts'
import type { Schema } from '../store/schema.ts'
import type { Store } from '../store/store.ts'
import { type ClusterEntry, reportBytes } from './cluster-entry.ts'

const ROWS_PER_STATEMENT = 100
/** Bounds how long one transaction holds up the process. */
const ROWS_PER_TRANSACTION = 1_000
/** How often reports are written, in milliseconds. */
const TICK_MS = 1_000
/** Every how many ticks heartbeats alone are written: their age matters by the minute. */
const TICKS_PER_HEARTBEAT = 10

/** What is to be written of one cluster. */
interface Pending {
  readonly applications: Set<string>
  facts: boolean
}

/** What a writer needs. */
export interface ReportWriterOptions {
  readonly store: Store
  readonly entries: ReadonlyMap<string, ClusterEntry>
  readonly logger: Logger
  /** Called when it is stored that clusters serve other kinds than before. */
  readonly onCapabilities?: (() => void) | undefined
}

/** Collects what changed and writes it once a second. */
export class ReportWriter {
  readonly #store: Store
  readonly #entries: ReadonlyMap<string, ClusterEntry>
  readonly #logger: Logger
  readonly #onCapabilities: () => void
  readonly #controller = new AbortController()
  #reports = new Map<string, Pending>()
  #heartbeats = new Set<string>()
  #loop: Promise<void> = Promise.resolve()

  constructor({ store, entries, logger, onCapabilities = () => {} }: ReportWriterOptions) {
    this.#store = store
    this.#entries = entries
    this.#logger = logger
    this.#onCapabilities = onCapabilities
  }

  /** A report changed these applications. */
  addReport(clusterId: string, applications: readonly string[], facts: boolean): void {
    const pending = this.#reports.get(clusterId) ?? { applications: new Set<string>(), facts: false }
    for (const application of applications) pending.applications.add(application)
    pending.facts ||= facts
    this.#reports.set(clusterId, pending)
  }

  /** A heartbeat came. */
  addHeartbeat(clusterId: string): void {
    this.#heartbeats.add(clusterId)
  }

  start(): void {
    this.#loop = this.#run()
  }

  /** Writes what is left and ends. */
  async stop(): Promise<void> {
    this.#controller.abort()
    await this.#loop
    await this.#flush(true)
  }

  async #run(): Promise<void> {
    const { signal } = this.#controller
    for (let tick = 1; !signal.aborted; tick++) {
      await delay(TICK_MS, undefined, { signal, ref: false }).catch(() => {})
      if (!signal.aborted) await this.#flush(tick % TICKS_PER_HEARTBEAT === 0)
    }
  }

  async #flush(withHeartbeats: boolean): Promise<void> {
    const pending = this.#reports
    this.#reports = new Map()
    if (withHeartbeats) {
      for (const id of this.#heartbeats)
        if (!pending.has(id)) pending.set(id, { applications: new Set(), facts: false })
      this.#heartbeats.clear()
    }
    for (const batch of batches(pending)) {
      try {
        const stored = await this.#store.transaction((transaction) => this.#write(transaction, batch))
        for (const { entry, capabilities } of stored) {
          if (entry.unstoredCapabilities === capabilities) entry.unstoredCapabilities = undefined
        }
        if (stored.length > 0) this.#onCapabilities()
      } catch (error) {
        this.#logger.error({ error }, 'reports could not be stored')
        for (const [id, { applications, facts }] of batch) this.addReport(id, [...applications], facts)
      }
      // The database answers at once and gives nobody else a turn.
      await nextTurn()
    }
  }

  /** Returns the clusters of which it stored what they serve. */
  async #write(
    transaction: Transaction<Schema>,
    batch: readonly (readonly [string, Pending])[],
  ): Promise<{ readonly entry: ClusterEntry; readonly capabilities: StoredCapabilities }[]> {
    const ids = batch.map(([id]) => id)
    const known = await transaction.selectFrom('clusters').select('id').where('id', 'in', ids).execute()
    const present = new Set(known.map(({ id }) => id))
    const changes = batch.flatMap(([id, pending]) => {
      const entry = present.has(id) ? this.#entries.get(id) : undefined
      return entry ? [{ entry, pending }] : []
    })
    await writeClusters(
      transaction,
      changes.map(({ entry }) => entry),
    )
    await writeApplications(transaction, changes)
    const stored = []
    for (const { entry, pending } of changes) {
      if (!pending.facts || !entry.facts) continue
      const facts = toJsonString(AgentFactsSchema, entry.facts)
      await transaction.updateTable('clusters').set({ facts }).where('id', '=', entry.id).execute()
      const { unstoredCapabilities: capabilities } = entry
      if (!capabilities) continue
      await saveCapabilities(transaction, entry.id, capabilities)
      stored.push({ entry, capabilities })
    }
    return stored
  }
}

/** The clusters, as many together as a transaction may have rows; one cluster's rows are never divided. */
function* batches(pending: ReadonlyMap<string, Pending>): Generator<(readonly [string, Pending])[]> {
  let batch: (readonly [string, Pending])[] = []
  let rows = 0
  for (const entry of pending) {
    batch.push(entry)
    rows += 1 + entry[1].applications.size
    if (rows < ROWS_PER_TRANSACTION) continue
    yield batch
    batch = []
    rows = 0
  }
  if (batch.length > 0) yield batch
}

async function writeClusters(transaction: Transaction<Schema>, entries: readonly ClusterEntry[]): Promise<void> {
  const rows = entries.map((entry) => ({
    cluster_id: entry.id,
    session: entry.session,
    sequence: entry.sequence,
    slice_generation: Number(entry.verifiedGeneration),
    last_seen_at: entry.lastSeenAtMs ?? 0,
    refusals: toJsonString(RefusalsSchema, entry.refusals ?? create(RefusalsSchema)),
    problems: JSON.stringify(entry.problems.map((problem) => toJson(ProblemSchema, problem))),
  }))
  for (const part of parts(rows)) {
    await transaction.replaceInto('cluster_reports').values(part).execute()
  }
}

async function writeApplications(
  transaction: Transaction<Schema>,
  changes: readonly { entry: ClusterEntry; pending: Pending }[],
): Promise<void> {
  const rows: { cluster_id: string; application: string; report: Uint8Array; received_at: number }[] = []
  for (const { entry, pending } of changes) {
    const gone: string[] = []
    for (const application of pending.applications) {
      const cell = entry.cells.get(application)
      if (cell?.report === undefined) gone.push(application)
      else {
        const report = reportBytes(cell.report)
        rows.push({ cluster_id: entry.id, application, report, received_at: cell.receivedAtMs })
      }
    }
    for (const part of parts(gone)) {
      await transaction
        .deleteFrom('application_reports')
        .where('cluster_id', '=', entry.id)
        .where('application', 'in', part)
        .execute()
    }
  }
  for (const part of parts(rows)) {
    await transaction.replaceInto('application_reports').values(part).execute()
  }
}

function* parts<T>(rows: readonly T[]): Generator<T[]> {
  for (let start = 0; start < rows.length; start += ROWS_PER_STATEMENT)
    yield rows.slice(start, start + ROWS_PER_STATEMENT)
}

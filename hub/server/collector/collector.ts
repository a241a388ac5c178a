// Takes what agents say into the fleet view. Who speaks is told by the subject alone, which NATS has checked; nothing in a
// message is believed about identity.
import type { Heartbeat, Report } from '@fairlead/proto/report'
import type { Logger } from '@fairlead/shared/logger'
import { ALL_HEARTBEATS, findClusterId, STREAMS } from '@fairlead/shared/subjects'
import { type JsMsg, jetstream } from '@nats-io/jetstream'
import type { Msg, NatsConnection } from '@nats-io/transport-node'
import type { Store } from '../store/store.ts'
import { readHeartbeat, readReport } from './agent-message.ts'
import { confirmRemovals } from './removal.ts'
import { StreamReader } from './stream-reader.ts'

/** Where reports go. */
export interface ReportTarget {
  /** `gap` is true when reports are missing before this one. */
  applyReport(clusterId: string, report: Report, atMs: number): { gap: boolean }
  heartbeat(clusterId: string, heartbeat: Heartbeat, atMs: number): { gap: boolean }
}

/** What a collector needs. */
export interface CollectorOptions {
  readonly store: Store
  /** In the HUB account. */
  readonly connection: NatsConnection
  readonly view: ReportTarget
  readonly isKnownCluster: (clusterId: string) => Promise<boolean>
  /** Asks the agent for a full report. */
  readonly requestReport: (clusterId: string) => Promise<void>
  /** Called when these applications have left that cluster. */
  readonly onRemoved: (clusterId: string, applications: readonly string[]) => void
  /** Called with each report that could be read. */
  readonly onReport?: (clusterId: string, report: Report) => Promise<void>
  /** Called when an agent has verified a newer slice than the database knows: the database was restored. */
  readonly onNewerGeneration: (clusterId: string, generation: bigint) => void
  readonly logger: Logger
}

/** Messages that were passed over since the start. */
export interface CollectorCounts {
  /** Too large, not decodable, or not to be kept. */
  malformed: number
  /** From clusters that the hub does not know. */
  unknown: number
}

/** Collects. */
export interface Collector {
  readonly counts: Readonly<CollectorCounts>
  start(): void
  /** NATS was away: read again from where it was left. */
  reopen(): void
  stop(): Promise<void>
}

/** An agent is asked at most once in this time. */
const ASK_EVERY_MS = 5_000
/** A slice is signed again on an agent's word at most once in this time. */
const RESIGN_EVERY_MS = 60_000
/** Messages of a cluster that are refused are logged at most once in this time. */
const TELL_EVERY_MS = 60_000

/** Makes a collector. */
export function createCollector(options: CollectorOptions): Collector {
  return new ReportCollector(options)
}

class ReportCollector implements Collector {
  readonly counts: CollectorCounts = { malformed: 0, unknown: 0 }
  readonly #options: CollectorOptions
  readonly #readers: readonly StreamReader[]
  readonly #askedAt = new Map<string, number>()
  readonly #resignedAt = new Map<string, number>()
  readonly #toldAt = new Map<string, number>()
  #unsubscribe: () => void = () => {}

  constructor(options: CollectorOptions) {
    this.#options = options
    const { store, logger, connection } = options
    const js = jetstream(connection)
    this.#readers = [STREAMS.status, STREAMS.events].map(
      (stream) => new StreamReader({ js, stream, store, logger, handle: (message) => this.#takeReport(message) }),
    )
  }

  start(): void {
    for (const reader of this.#readers) reader.start()
    const subscription = this.#options.connection.subscribe(ALL_HEARTBEATS, {
      callback: (error, message) => {
        if (error) return
        this.#takeHeartbeat(message).catch((cause: unknown) =>
          this.#options.logger.error({ error: cause }, 'heartbeat could not be processed'),
        )
      },
    })
    this.#unsubscribe = () => subscription.unsubscribe()
  }

  reopen(): void {
    for (const reader of this.#readers) reader.reopen()
  }

  async stop(): Promise<void> {
    this.#unsubscribe()
    await Promise.all(this.#readers.map((reader) => reader.stop()))
  }

  async #takeReport(message: JsMsg): Promise<void> {
    const clusterId = await this.#identify(message.subject)
    if (clusterId === undefined) return
    const report = this.#decode(clusterId, message.data, readReport)
    if (!report) return
    const { view, store } = this.#options
    const { gap } = view.applyReport(clusterId, report, message.time.getTime())
    const removal = { clusterId, applications: report.removed, sliceGeneration: report.sliceGeneration }
    const removed = await confirmRemovals(store, removal)
    if (removed.length > 0) this.#options.onRemoved(clusterId, removed)
    await this.#options.onReport?.(clusterId, report)
    if (gap) this.#ask(clusterId)
    await this.#compareGeneration(clusterId, report.sliceGeneration)
  }

  async #takeHeartbeat(message: Msg): Promise<void> {
    const clusterId = await this.#identify(message.subject)
    if (clusterId === undefined) return
    const heartbeat = this.#decode(clusterId, message.data, readHeartbeat)
    if (heartbeat && this.#options.view.heartbeat(clusterId, heartbeat, Date.now()).gap) this.#ask(clusterId)
  }

  async #identify(subject: string): Promise<string | undefined> {
    const clusterId = findClusterId(subject)
    if (clusterId !== undefined && (await this.#options.isKnownCluster(clusterId))) return clusterId
    this.counts.unknown++
    return undefined
  }

  #decode<T>(clusterId: string, data: Uint8Array, read: (data: Uint8Array) => T): T | undefined {
    try {
      return read(data)
    } catch (error) {
      this.counts.malformed++
      // Counted always, told now and then: an agent may send as many as it likes.
      if (isDue(this.#toldAt, clusterId, TELL_EVERY_MS)) {
        this.#options.logger.warn({ clusterId, sizeBytes: data.length, error }, 'message of an agent is refused')
      }
      return undefined
    }
  }

  #ask(clusterId: string): void {
    if (!isDue(this.#askedAt, clusterId, ASK_EVERY_MS)) return
    this.#options.requestReport(clusterId).catch((error: unknown) => {
      this.#askedAt.delete(clusterId)
      this.#options.logger.warn({ error, clusterId }, 'report could not be asked for')
    })
  }

  async #compareGeneration(clusterId: string, generation: bigint): Promise<void> {
    const row = await this.#options.store.db
      .selectFrom('slices')
      .select('generation')
      .where('cluster_id', '=', clusterId)
      .executeTakeFirst()
    if (!row || generation <= BigInt(row.generation) || !isDue(this.#resignedAt, clusterId, RESIGN_EVERY_MS)) return
    this.#options.logger.warn({ clusterId }, 'the agent has a newer slice than the database; signing again')
    this.#options.onNewerGeneration(clusterId, generation)
  }
}

/** True, and remembered, when the last time was longer ago. */
function isDue(times: Map<string, number>, key: string, everyMs: number): boolean {
  const now = performance.now()
  const last = times.get(key)
  if (last !== undefined && now - last < everyMs) return false
  times.set(key, now)
  return true
}

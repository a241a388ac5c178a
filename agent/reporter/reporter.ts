// Tells the hub what the cluster is like: deltas merged for a moment, a full report after each connect, a heartbeat of a
// few bytes. While NATS is away only the latest state of each application is remembered.
import { randomBytes } from 'node:crypto'
import { create, toBinary } from '@bufbuild/protobuf'
import type { Problem } from '@fairlead/proto/common'
import {
  type AgentFacts,
  type ApplicationReport,
  HeartbeatSchema,
  type Refusals,
  type Report,
  ReportSchema,
} from '@fairlead/proto/report'
import type { Slice } from '@fairlead/proto/slice'
import { backoffMs, jittered, sleep } from '@fairlead/shared/backoff'
import { AppError } from '@fairlead/shared/errors'
import type { Logger } from '@fairlead/shared/logger'
import { AGENT_MAX_PAYLOAD_BYTES, eventSubject, heartbeatSubject, statusSubject } from '@fairlead/shared/subjects'
import type { ReportSink } from '../desired-state.ts'
import { clip, encodeReport, packDeltas, planFull } from './packing.ts'

/** What a reporter needs of the connection to NATS. */
export interface ReportConnection {
  readonly isConnected: boolean
  request(subject: string, payload: Uint8Array, timeoutMs: number): Promise<{ readonly data: Uint8Array }>
  publish(subject: string, payload: Uint8Array): void
}

/** What a reporter is made of. */
export interface ReporterOptions {
  readonly connection: ReportConnection
  /** The present state of every application, for full reports. */
  readonly reports: () => readonly ApplicationReport[]
  readonly facts: () => AgentFacts
  /** Generation of the last slice that was obeyed. */
  readonly generation: () => bigint
  /** Documents refused so far. */
  readonly refusals: () => Refusals
  readonly logger: Logger
  /** Time between heartbeats in milliseconds. */
  readonly heartbeatMs: number
  /** Called each time that the loop of the heartbeats turns. */
  readonly onTurn?: () => void
  /** For how long changes are merged, in milliseconds, default 60. */
  readonly mergeMs?: number
  /** Largest message in bytes; default what an agent may send, less some room for headers. */
  readonly limitBytes?: number
}

/** Short at first: after a restart of NATS the first requests may go nowhere. */
const ACK_TIMEOUT_MS = { first: 500, longest: 5_000 }
/** The longest that a full report waits for the reconciler to speak of every application. */
const COMPLETE_WAIT_MS = 5_000
/** Heartbeats name only sequences acknowledged this long ago: they travel faster than reports through JetStream. */
const SETTLED_MS = 1_000
/** Names of removed applications, and problems of the agent, in one report. */
const MAX_REMOVED = 400
const MAX_PROBLEMS = 10
/** Tries of one report, over about a minute, before everything is told anew. */
const MAX_TRIES = 10

/** The ReportSink of the link. */
export class Reporter implements ReportSink {
  readonly #options: ReporterOptions
  readonly #session = randomBytes(6).toString('base64url')
  readonly #limitBytes: number
  readonly #pending = new Map<string, ApplicationReport>()
  readonly #pendingRemoved = new Set<string>()
  /** Tombstones carried out that the slice still lists; in every full report, until the hub has taken notice. */
  readonly #removed = new Set<string>()
  readonly #problems = new Map<string, Problem>()
  readonly #stopping = new AbortController()
  #clusterId: string | undefined
  #slice: Slice | undefined
  #sequence = 0n
  #settled: { sequence: bigint; atMs: number }[] = []
  #isFullDue = false
  #isDirty = false
  #sending: Promise<void> | undefined
  #changed = Promise.withResolvers<void>()

  constructor(options: ReporterOptions) {
    this.#options = options
    this.#limitBytes = options.limitBytes ?? AGENT_MAX_PAYLOAD_BYTES - 1_024
  }

  /** Random for this process. */
  get session(): string {
    return this.#session
  }

  put(report: ApplicationReport): void {
    // A last word of what is gone: that it is gone holds until the slice wants it again.
    if (this.#removed.has(report.application)) return
    this.#pending.set(report.application, report)
    this.#touch()
  }

  removed(application: string): void {
    this.#pending.delete(application)
    this.#removed.add(application)
    this.#pendingRemoved.add(application)
    this.#touch()
  }

  /** Says which slice is obeyed, so that confirmed tombstones can be forgotten, and has its generation reported. */
  obeying(slice: Slice): void {
    this.#slice = slice
    const tombstones = new Set(
      slice.entries.filter(({ intent }) => intent.case === 'tombstone').map(({ application }) => application),
    )
    for (const application of this.#removed) {
      if (tombstones.has(application)) continue
      this.#removed.delete(application)
      this.#pendingRemoved.delete(application)
    }
    this.#touch()
  }

  /** Sets or (undefined) clears a problem of the agent as a whole. */
  setProblem(name: string, problem: Problem | undefined): void {
    if (problem) this.#problems.set(name, problem)
    else if (!this.#problems.delete(name)) return
    this.#touch()
  }

  /** Has the refusal counts sent. */
  touch(): void {
    this.#touch()
  }

  /** To be called after each connect: everything is told again. */
  connected(clusterId: string): void {
    this.#clusterId = clusterId
    this.#isFullDue = true
    this.#send()
  }

  /** Has a full report sent. */
  reportFully(): void {
    this.#isFullDue = true
    this.#send()
  }

  /** Sends heartbeats until the signal aborts. */
  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      this.#options.onTurn?.()
      await sleep(jittered(this.#options.heartbeatMs), signal).catch(() => undefined)
      if (!signal.aborted) this.#heartbeat()
    }
  }

  /** Gives up what is being sent. */
  async stop(): Promise<void> {
    this.#stopping.abort()
    this.#changed.resolve()
    await this.#sending
  }

  #touch(): void {
    this.#isDirty = true
    this.#changed.resolve()
    this.#changed = Promise.withResolvers<void>()
    this.#send()
  }

  #heartbeat(): void {
    if (this.#clusterId === undefined || !this.#options.connection.isConnected) return
    const settledBefore = Date.now() - SETTLED_MS
    const settled = this.#settled.findLast(({ atMs }) => atMs <= settledBefore)
    if (settled) this.#settled = this.#settled.filter(({ sequence }) => sequence >= settled.sequence)
    const heartbeat = create(HeartbeatSchema, {
      sliceGeneration: this.#options.generation(),
      reportSequence: settled?.sequence ?? 0n,
      session: this.#session,
    })
    this.#options.connection.publish(heartbeatSubject(this.#clusterId), toBinary(HeartbeatSchema, heartbeat))
  }

  get #canSend(): boolean {
    return this.#clusterId !== undefined && this.#options.connection.isConnected && !this.#stopping.signal.aborted
  }

  /** Begins to send unless that is under way already. */
  #send(): void {
    if (this.#sending || !this.#canSend) return
    this.#sending = this.#sendAll().finally(() => {
      this.#sending = undefined
      if (this.#canSend && (this.#isFullDue || this.#isDirty)) this.#send()
    })
  }

  async #sendAll(): Promise<void> {
    const { signal } = this.#stopping
    while (this.#canSend && (this.#isFullDue || this.#isDirty)) {
      if (this.#isFullDue) {
        await this.#untilComplete()
        if (!(await this.#sendFull())) return
      } else {
        await sleep(this.#options.mergeMs ?? 60, signal).catch(() => undefined)
        if (!this.#isFullDue && !(await this.#sendDeltas())) return
      }
    }
  }

  /** A full report must not say less than there is: after a start the reconciler first has to look. */
  async #untilComplete(): Promise<void> {
    const deadline = Date.now() + COMPLETE_WAIT_MS
    while (this.#canSend && !this.#isComplete() && Date.now() < deadline) {
      const waiting = new AbortController()
      await Promise.race([
        this.#changed.promise,
        sleep(Math.max(0, deadline - Date.now()), waiting.signal).catch(() => undefined),
      ])
      waiting.abort()
    }
  }

  #isComplete(): boolean {
    const known = new Set(this.#options.reports().map(({ application }) => application))
    const entries = this.#slice?.entries ?? []
    return entries.every(({ application, intent }) => intent.case !== 'desired' || known.has(application))
  }

  /** Returns whether the hub has it. */
  async #sendFull(): Promise<boolean> {
    this.#isFullDue = false
    this.#isDirty = false
    this.#pending.clear()
    this.#pendingRemoved.clear()
    const removed = [...this.#removed]
    for (const application of removed.slice(MAX_REMOVED)) this.#pendingRemoved.add(application)
    const report = this.#frame(removed.slice(0, MAX_REMOVED))
    report.full = true
    report.facts = this.#options.facts()
    const { full, rest } = planFull(this.#options.reports(), this.#limitBytes - encodeReport(report).length)
    report.applications = [...full.applications]
    report.truncated = full.truncated
    const isSent = await this.#deliver(statusSubject, report)
    if (!isSent) this.#isFullDue = true
    // What did not fit follows as deltas, unless something newer has come.
    for (const left of rest) if (!this.#pending.has(left.application)) this.#pending.set(left.application, left)
    if (rest.length > 0 || this.#pendingRemoved.size > 0) this.#isDirty = true
    return isSent
  }

  async #sendDeltas(): Promise<boolean> {
    this.#isDirty = false
    const applications = [...this.#pending.values()]
    this.#pending.clear()
    let first = true
    while (first || applications.length > 0 || this.#pendingRemoved.size > 0) {
      first = false
      const removed = [...this.#pendingRemoved].slice(0, MAX_REMOVED)
      for (const application of removed) this.#pendingRemoved.delete(application)
      const report = this.#frame(removed)
      const [part] = packDeltas(applications, this.#limitBytes - encodeReport(report).length)
      report.applications = [...(part?.applications ?? [])]
      report.truncated = part?.truncated ?? false
      applications.splice(0, report.applications.length)
      if (await this.#deliver(eventSubject, report)) continue
      // The connection is gone; the full report after the next one tells all.
      this.#isFullDue = true
      return false
    }
    return true
  }

  #frame(removed: string[]): Report {
    const problems = [...this.#problems.values()].slice(0, MAX_PROBLEMS)
    return create(ReportSchema, {
      sequence: ++this.#sequence,
      session: this.#session,
      sliceGeneration: this.#options.generation(),
      removed,
      refusals: this.#options.refusals(),
      problems: problems.map((problem) => ({ ...problem, message: clip(problem.message, 512) })),
    })
  }

  /** Sends the same bytes until they are acknowledged; false when the connection was lost first, or nobody stores them. */
  async #deliver(subjectOf: (clusterId: string) => string, report: Report): Promise<boolean> {
    const bytes = encodeReport(report)
    const subject = subjectOf(this.#clusterId ?? '')
    const { first, longest } = ACK_TIMEOUT_MS
    for (let attempt = 0; this.#canSend && attempt < MAX_TRIES; attempt++) {
      try {
        const answer = await this.#options.connection.request(subject, bytes, Math.min(longest, first * 2 ** attempt))
        expectAck(answer.data)
        this.#settled.push({ sequence: report.sequence, atMs: Date.now() })
        this.#options.logger.debug({ sequence: String(report.sequence), full: report.full, attempt }, 'reported')
        return true
      } catch (error) {
        if (!(error instanceof AppError)) throw error
        if (attempt === 3) this.#options.logger.warn({ error, bytes: bytes.length }, 'a report is not acknowledged')
        await sleep(backoffMs(attempt, { baseMs: 250, maxMs: 10_000 }), this.#stopping.signal).catch(() => undefined)
      }
    }
    return false
  }
}

function expectAck(data: Uint8Array): void {
  let ack: { stream?: unknown; error?: { description?: string } }
  try {
    ack = JSON.parse(Buffer.from(data).toString('utf8')) as typeof ack
  } catch (cause) {
    throw new AppError('NatsUnavailable', 'the acknowledgement is not JSON', { cause })
  }
  if (ack.error || ack.stream === undefined) {
    throw new AppError('NatsUnavailable', `the report was not stored: ${ack.error?.description ?? 'no reason given'}`)
  }
}

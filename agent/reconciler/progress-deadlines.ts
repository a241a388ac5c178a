// Objects that are Progressing for longer than their application allows count as Degraded. One timer for the nearest; no
// request is made for it.
import { HealthState } from '@fairlead/proto/common'
import type { KubernetesObject } from '@fairlead/shared/object-reference'
import { conditionsOf } from '../health/conditions.ts'
import { degraded, type Health } from '../health/verdict.ts'
import type { ObjectRecord } from './object-record.ts'

/** What the deadlines need to know. */
export interface ProgressDeadlinesOptions {
  /** Milliseconds since the epoch. */
  readonly clock: () => number
  /** An object ran out of time; its record says so already. */
  readonly onExpired: (record: ObjectRecord) => void
  /** An object has time again because its application has a new revision; its record says so already. */
  readonly onRestarted: (record: ObjectRecord) => void
}

interface Progress {
  readonly uid: string
  /** Health before the deadline. */
  health: Health
  sinceMs: number
}

interface Limit {
  readonly deadlineMs: number
  /** When the application's revision came to this process, or was applied before; the time of no object begins earlier. */
  readonly startMs: number
}

/** The longest that a timer waits; then it looks again. */
const TIMER_MAX_MS = 3_600_000

/** Deadlines of all applications. */
export class ProgressDeadlines {
  readonly #options: ProgressDeadlinesOptions
  readonly #limits = new Map<string, Limit>()
  readonly #progress = new Map<ObjectRecord, Progress>()
  /** Objects that this process has seen in another state: their Progressing begins when it is seen. */
  readonly #settled = new WeakSet<ObjectRecord>()
  #timer: NodeJS.Timeout | undefined

  constructor(options: ProgressDeadlinesOptions) {
    this.#options = options
  }

  /** Sets an application's deadline from a time on, or takes it away. With another start the time of all its objects begins again. */
  set(application: string, limit: Limit | undefined): void {
    const before = this.#limits.get(application)
    if (limit) this.#limits.set(application, limit)
    else this.#limits.delete(application)
    if (before?.deadlineMs === limit?.deadlineMs && before?.startMs === limit?.startMs) return
    for (const [record, progress] of this.#progress) {
      if (record.application !== application) continue
      if (limit) progress.sinceMs = Math.max(progress.sinceMs, limit.startMs)
      const wasExpired = record.health.health === HealthState.DEGRADED
      this.#judge(record, progress)
      if (wasExpired && record.health === progress.health) this.#options.onRestarted(record)
      if (!limit) this.#progress.delete(record)
    }
    this.#schedule()
  }

  /** The start that was set for an application. */
  startMs(application: string): number | undefined {
    return this.#limits.get(application)?.startMs
  }

  /** Takes a record as it was just observed, with its health as of the object alone, and gives it the health as of its time. */
  note(record: ObjectRecord, object: KubernetesObject): void {
    const { health } = record
    if (health.health !== HealthState.PROGRESSING) {
      this.#settled.add(record)
      this.#progress.delete(record)
      return
    }
    const known = this.#progress.get(record)
    const uid = object.metadata.uid ?? ''
    // Declared or not: at a start the first list comes before it is known what is declared, and no event may follow.
    const progress = known?.uid === uid ? known : { uid, health, sinceMs: this.#since(record, object) }
    progress.health = health
    this.#progress.set(record, progress)
    this.#judge(record, progress)
    this.#schedule()
  }

  /** How many objects are followed because they are Progressing. */
  get size(): number {
    return this.#progress.size
  }

  /** Ends the timer. */
  stop(): void {
    clearTimeout(this.#timer)
    this.#progress.clear()
  }

  /** Since when an object that was not seen before progresses, as far as it tells itself. */
  #since(record: ObjectRecord, object: KubernetesObject): number {
    const nowMs = this.#options.clock()
    if (this.#settled.has(record)) return nowMs
    const startMs = this.#limits.get(record.application)?.startMs ?? 0
    return Math.min(nowMs, Math.max(startMs, progressSinceMs(object) ?? nowMs))
  }

  #judge(record: ObjectRecord, progress: Progress): void {
    const dueMs = this.#dueMs(record, progress)
    record.health = dueMs <= this.#options.clock() ? this.#expired(record, progress) : progress.health
  }

  #expired(record: ObjectRecord, { health, sinceMs }: Progress): Health {
    const since = new Date(sinceMs).toISOString().replace(/\.\d+Z$/, 'Z')
    const deadline = formatDuration(this.#limits.get(record.application)?.deadlineMs ?? 0)
    return degraded(`Progressing since ${since}, longer than the progress deadline of ${deadline}: ${health.message}`)
  }

  #dueMs({ application }: ObjectRecord, { sinceMs }: Progress): number {
    const limit = this.#limits.get(application)
    return limit ? sinceMs + limit.deadlineMs : Number.POSITIVE_INFINITY
  }

  #schedule(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
    let nearest = Number.POSITIVE_INFINITY
    for (const [record, progress] of this.#progress) {
      // Gone or replaced since: what is pruned tells nothing more.
      if (record.live?.uid !== progress.uid) this.#progress.delete(record)
      else if (record.health === progress.health) nearest = Math.min(nearest, this.#dueMs(record, progress))
    }
    if (nearest === Number.POSITIVE_INFINITY) return
    const delayMs = Math.min(TIMER_MAX_MS, Math.max(1, nearest - this.#options.clock()))
    this.#timer = setTimeout(() => this.#expire(), delayMs)
    this.#timer.unref()
  }

  #expire(): void {
    for (const [record, progress] of this.#progress) {
      const isThere = record.live?.uid === progress.uid
      if (isThere && record.health === progress.health && this.#dueMs(record, progress) <= this.#options.clock()) {
        this.#judge(record, progress)
        this.#options.onExpired(record)
      }
    }
    this.#schedule()
  }
}

/** When an object last began to progress, as far as it tells: it was made, its spec was written, or a condition changed. */
export function progressSinceMs(object: KubernetesObject): number | undefined {
  const { creationTimestamp, managedFields = [] } = object.metadata
  const written = managedFields.filter(({ subresource }) => !subresource).map(({ time }) => Date.parse(String(time)))
  const changed = conditionsOf(object).map(({ lastTransitionMs }) => lastTransitionMs ?? Number.NaN)
  const times = [Date.parse(String(creationTimestamp)), ...written, ...changed].filter((time) => !Number.isNaN(time))
  // They are cut to seconds: never too early.
  return times.length === 0 ? undefined : Math.max(...times) + 999
}

/** `1h30m`, `90s`. */
function formatDuration(ms: number): string {
  const seconds = Math.round(ms / 1_000)
  const parts = [
    [Math.floor(seconds / 3_600), 'h'],
    [Math.floor((seconds % 3_600) / 60), 'm'],
    [seconds % 60, 's'],
  ] as const
  return parts.map(([count, unit]) => (count > 0 ? `${count}${unit}` : '')).join('') || `${ms}ms`
}

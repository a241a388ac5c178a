// Kubernetes Events on what the agent does: written beside the work, never in its way. What cannot be written is dropped and
// counted. The same again is counted on the Event that is there, as events.k8s.io/v1 has it.
import { randomBytes } from 'node:crypto'
import { toAppError } from '@fairlead/shared/errors'
import type { Logger } from '@fairlead/shared/logger'
import { joinApiVersion } from '@fairlead/shared/object-reference'
import type { Kube, KubeResponse } from '../kube/kube.ts'
import { KubeError, parseStatus } from '../kube/kube-error.ts'
import type { ObjectRecord } from '../reconciler/object-record.ts'
import type { Recorder } from '../recorder.ts'
import { type BudgetLimits, EventBudget } from './event-budget.ts'
import {
  describeAdoption,
  describeDrift,
  describeFailure,
  describePrune,
  describeRecreation,
  type Happening,
} from './event-notes.ts'

/** How Events are written. */
export interface EventRecorderOptions {
  readonly kube: Kube
  /** Name of the pod: who reports. */
  readonly instance: string
  /** The namespaces that the agent may work in: Events of objects elsewhere are dropped. Default: all. */
  readonly namespaces?: readonly string[] | undefined
  /** Told what became of each. */
  readonly onResult?: (result: 'sent' | 'dropped' | 'failed') => void
  readonly logger: Logger
  /** Gives up what is under way. */
  readonly signal: AbortSignal
  /** Default EVENT_LIMITS. */
  readonly limits?: BudgetLimits
  /** Milliseconds since the epoch, default Date.now. */
  readonly clock?: () => number
}

/** Events that wait; more are dropped. */
const QUEUE_MAX = 200
const TIMEOUT_MS = 5_000
/** Where Events may not be written nobody tries for this long. */
const FORBIDDEN_MS = 10 * 60_000
/** Event that are counted on further, and for how long: the API server forgets them after an hour. */
const SERIES_KEPT = 500
const SERIES_MS = 30 * 60_000
/** Of objects without a namespace. */
const CLUSTER_NAMESPACE = 'default'

/** The same happening of the same object, again and again. */
interface Series {
  readonly namespace: string
  readonly beganAtMs: number
  /** How often it happened, told or not. */
  count: number
  /** Of the Event, once it is there. */
  name: string | undefined
}

/** Writes Events. */
export class EventRecorder implements Recorder {
  readonly #options: EventRecorderOptions
  readonly #budget: EventBudget
  readonly #series = new Map<string, Series>()
  readonly #forbiddenUntilMs = new Map<string, number>()
  readonly #queue: (() => Promise<void>)[] = []
  #isWriting = false
  #isTold = false

  constructor(options: EventRecorderOptions) {
    this.#options = options
    this.#budget = new EventBudget(options.limits)
  }

  applied(record: ObjectRecord, { adopted }: { readonly adopted: boolean }): void {
    if (adopted) this.#record(record, describeAdoption(record))
  }

  drifted(drift: Parameters<Recorder['drifted']>[0]): void {
    this.#record(drift.record, describeDrift(drift))
  }

  pruned(record: ObjectRecord): void {
    this.#record(record, describePrune(record))
  }

  recreated(record: ObjectRecord): void {
    this.#record(record, describeRecreation(record))
  }

  failed(record: ObjectRecord, error: Parameters<Recorder['failed']>[1]): void {
    const happening = describeFailure(record, error)
    if (happening) this.#record(record, happening)
  }

  #record(record: ObjectRecord, happening: Happening): void {
    const nowMs = this.#now()
    const namespace = record.namespace || CLUSTER_NAMESPACE
    const key = `${record.key} ${happening.reason} ${happening.note}`
    const series = this.#seriesOf(key, namespace, nowMs)
    // Counted also when it is not written: the next one that is says how many there were.
    series.count++
    if (
      this.#isForbidden(namespace, nowMs) ||
      this.#queue.length >= QUEUE_MAX ||
      !this.#budget.take(record.key, nowMs)
    ) {
      this.#options.onResult?.('dropped')
      return
    }
    // Read now: the record changes.
    const regarding = regardingOf(record)
    this.#enqueue(namespace, async () => {
      if (!(await this.#countOn(series))) await this.#create(series, regarding, happening)
    })
  }

  #isForbidden(namespace: string, nowMs: number): boolean {
    const isOutside = this.#options.namespaces?.includes(namespace) === false
    return isOutside || (this.#forbiddenUntilMs.get(namespace) ?? 0) > nowMs
  }

  #seriesOf(key: string, namespace: string, nowMs: number): Series {
    const found = this.#series.get(key)
    if (found && nowMs - found.beganAtMs < SERIES_MS) return found
    this.#series.delete(key)
    const series = { namespace, beganAtMs: nowMs, count: 0, name: undefined }
    this.#series.set(key, series)
    const [oldest] = this.#series.keys()
    if (this.#series.size > SERIES_KEPT && oldest !== undefined) this.#series.delete(oldest)
    return series
  }

  #enqueue(namespace: string, write: () => Promise<void>): void {
    const { onResult, signal } = this.#options
    this.#queue.push(async () => {
      try {
        if (signal.aborted) return
        await write()
        onResult?.('sent')
      } catch (error) {
        if (signal.aborted) return
        onResult?.('failed')
        this.#noteFailure(namespace, error)
      }
    })
    this.#writeNext()
  }

  /** One at a time: they are few, and the work must not wait for them. */
  #writeNext(): void {
    if (this.#isWriting) return
    const next = this.#queue.shift()
    if (!next) return
    this.#isWriting = true
    void next().finally(() => {
      this.#isWriting = false
      this.#writeNext()
    })
  }

  #noteFailure(namespace: string, thrown: unknown): void {
    const error = toAppError(thrown)
    const { logger } = this.#options
    // Of a namespace that is going: none can be written there any more, and that is no trouble.
    if (error instanceof KubeError && error.status === 403 && error.code === 'ApplyForbidden') {
      this.#forbiddenUntilMs.set(namespace, this.#now() + FORBIDDEN_MS)
      if (this.#isTold) return
      this.#isTold = true
      logger.warn({ namespace, error }, 'events may not be written here; the work goes on without')
    } else logger.debug({ namespace, error }, 'an event could not be written')
  }

  async #create(series: Series, regarding: Regarding, happening: Happening): Promise<void> {
    const { instance } = this.#options
    const { reason, type, action, note } = happening
    const nowMs = this.#now()
    const { namespace } = series
    const name = eventName(regarding.name)
    await this.#send('POST', namespace, '', {
      apiVersion: 'events.k8s.io/v1',
      kind: 'Event',
      metadata: { name, namespace },
      eventTime: microTime(nowMs),
      reportingController: 'fairlead.dev/agent',
      reportingInstance: instance.slice(0, 128),
      regarding,
      action,
      reason,
      type,
      note,
    })
    series.name = name
  }

  /** False when the Event is not there yet, or not any more. */
  async #countOn({ name, namespace, count }: Series): Promise<boolean> {
    if (name === undefined) return false
    const series = { count: Math.max(2, count), lastObservedTime: microTime(this.#now()) }
    try {
      await this.#send('PATCH', namespace, `/${name}`, { series })
      return true
    } catch (error) {
      if (error instanceof KubeError && error.status === 404) return false
      throw error
    }
  }

  async #send(method: 'POST' | 'PATCH', namespace: string, rest: string, body: object): Promise<void> {
    const { kube, signal } = this.#options
    const path = `/apis/events.k8s.io/v1/namespaces/${encodeURIComponent(namespace)}/events${rest}`
    const contentType = method === 'PATCH' ? 'application/merge-patch+json' : 'application/json'
    expectOk(await kube.request({ method, path, body, contentType, signal, timeoutMs: TIMEOUT_MS }))
  }

  #now(): number {
    return (this.#options.clock ?? Date.now)()
  }
}

interface Regarding {
  readonly apiVersion: string
  readonly kind: string
  readonly namespace?: string
  readonly name: string
  readonly uid?: string
}

function regardingOf({ group, kind, namespace, name, resource, live, applied }: ObjectRecord): Regarding {
  const uid = live?.uid ?? applied?.uid ?? ''
  return {
    apiVersion: joinApiVersion(group, resource.version),
    kind,
    name,
    ...(namespace !== '' && { namespace }),
    ...(uid !== '' && { uid }),
  }
}

/** Names of Events are narrower than those of some objects. */
function eventName(name: string): string {
  const plain = name
    .toLowerCase()
    .replaceAll(/[^a-z0-9.-]+/g, '-')
    .slice(0, 200)
  return `${plain.replaceAll(/^[.-]+|[.-]+$/g, '') || 'object'}.${randomBytes(8).toString('hex')}`
}

function microTime(ms: number): string {
  return new Date(ms).toISOString().replace('Z', '000Z')
}

function expectOk({ status, body }: KubeResponse): void {
  if (status >= 300) throw new KubeError(parseStatus(status, body), { object: 'Event' })
}

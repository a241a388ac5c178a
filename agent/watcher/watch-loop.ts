// One watch, for as long as it is wanted: list once, watch from there, resume after every interruption; list again only
// when the API server has forgotten where we were, and then tell what had gone meanwhile.
import { backoffMs, jittered } from '@fairlead/shared/backoff'
import type { Logger } from '@fairlead/shared/logger'
import { joinApiVersion, type KubernetesObject } from '@fairlead/shared/object-reference'
import type { Kube, ResourceType } from '../kube/kube.ts'
import { isExpired, isStatus, KubeError } from '../kube/kube-error.ts'
import type { Gate } from './gate.ts'
import type { KindState } from './kind-watch.ts'
import type { StoreCheck } from './store-check.ts'
import type { ObjectEvent } from './watcher.ts'

/** What one watch needs. */
export interface WatchLoopOptions {
  readonly kube: Kube
  readonly resource: ResourceType
  /** Undefined: the whole cluster. */
  readonly namespace: string | undefined
  readonly labelSelector: string
  /** Asked before each list. */
  readonly metadataOnly: () => boolean
  readonly gate: Gate
  readonly storeCheck: StoreCheck
  readonly onEvent: (event: ObjectEvent) => void
  readonly onListed: () => void
  readonly onState: () => void
  readonly onReopened?: (() => void) | undefined
  readonly logger: Logger
  readonly timing: WatchTiming
}

/** How long things take; the defaults are for clusters, tests are less patient. */
export interface WatchTiming {
  /** A watch is asked to last a random time between these, seconds. */
  readonly leastSeconds: number
  readonly mostSeconds: number
  /** Longest time between tries of what only an administrator can mend, ms. */
  readonly slowRetryMs: number
  /**
   * API servers send a bookmark about every minute, once a watch had its first. When nothing comes for this long after
   * that, ms, the watch is dead however open it looks.
   */
  readonly silenceMs: number
  /** How much longer than it was asked to last a watch may stay open, ms: then its end was lost, and perhaps events with it. */
  readonly overdueMs: number
}

/** Long, because each re-opening is a request; random, so that the watches of a fleet of agents do not fall due together. */
export const DEFAULT_TIMING: WatchTiming = {
  leastSeconds: 1_800,
  mostSeconds: 3_600,
  slowRetryMs: 30_000,
  silenceMs: 4 * 60_000,
  overdueMs: 60_000,
}
const MAX_BACKOFF_MS = 5_000
/** A watch that ends sooner counts as a failure, lest a server that closes at once be asked in a tight loop. */
const SHORTEST_WATCH_MS = 1_000
/** Between lists, should the API server forget at once what it has just told. */
const LIST_INTERVAL_MS = 2_000

/** One watch. */
export class WatchLoop {
  readonly #options: WatchLoopOptions
  /** What is there: uid by `namespace/name`. */
  #known = new Map<string, string>()
  #position: string | undefined
  #state: { state: KindState; message: string } = { state: 'listing', message: '' }
  #isListed = false
  #wasOpen = false
  /** Ends the present list, watch or pause. */
  #interrupt = new AbortController()
  /** Ends the present pause. */
  #wake: (() => void) | undefined
  /** In a row. A watch that lasts, or tells something, ends the row; that it opened does not. */
  #failures = 0
  #listedAt = Number.NEGATIVE_INFINITY
  /** When the connection was last seen broken, until the store was asked how far it is. */
  #lostAt: number | undefined

  constructor(options: WatchLoopOptions) {
    this.#options = options
  }

  /** See WatchState. */
  get state(): { readonly state: KindState; readonly message: string } {
    return this.#state
  }

  /** Whether it was listed completely since it began, or since `relist`. */
  get isListed(): boolean {
    return this.#isListed
  }

  /** Cuts a pause short. */
  hurry(): void {
    this.#wake?.()
  }

  /** Begins anew with a list. */
  relist(): void {
    this.#position = undefined
    this.#isListed = false
    this.#interrupt.abort('relist')
  }

  /** Runs until the signal aborts; never rejects. */
  async run(signal: AbortSignal): Promise<void> {
    const stop = (): void => this.#interrupt.abort('stop')
    signal.addEventListener('abort', stop, { once: true })
    while (!signal.aborted) {
      if (this.#interrupt.signal.aborted) this.#interrupt = new AbortController()
      try {
        await this.#proceed(this.#interrupt.signal)
      } catch (error) {
        if (signal.aborted) return
        if (!this.#interrupt.signal.aborted) await this.#pause(this.#noteFailure(error))
      }
    }
  }

  async #proceed(signal: AbortSignal): Promise<void> {
    if (this.#position !== undefined && this.#lostAt !== undefined)
      await this.#checkStore(this.#position, this.#lostAt, signal)
    if (this.#position === undefined) await this.#list(signal)
    else await this.#watch(this.#position, signal)
  }

  async #checkStore(position: string, lostAt: number, signal: AbortSignal): Promise<void> {
    const { kube, resource, namespace, labelSelector, logger, storeCheck } = this.#options
    const isBehind = await storeCheck.isBehind(position, lostAt, async () => {
      const pages = kube.listPages(resource, { namespace, labelSelector, metadataOnly: true, limit: 1, signal })
      const { value } = await pages.next()
      await pages.return()
      return value?.resourceVersion ?? ''
    })
    signal.throwIfAborted()
    this.#lostAt = undefined
    if (!isBehind) return
    logger.warn({ kind: resource.kind, namespace }, 'API server is behind what it told before, listing again')
    this.#position = undefined
    this.#setState('listing')
  }

  async #list(signal: AbortSignal): Promise<void> {
    const { kube, resource, namespace, labelSelector, gate, onListed } = this.#options
    const metadataOnly = this.#options.metadataOnly()
    const found = new Map<string, string>()
    const position = await gate.run(async () => {
      let resourceVersion = ''
      for await (const page of kube.listPages(resource, { namespace, labelSelector, metadataOnly, signal })) {
        for (const object of page.items) {
          found.set(keyOf(object), object.metadata.uid ?? '')
          // Known although the list may yet be cut short: what goes before the next one must be told.
          this.#tellUpsert(object)
        }
        resourceVersion = page.resourceVersion
      }
      return resourceVersion
    }, signal)
    signal.throwIfAborted()
    this.#forgetAllBut(found)
    this.#position = position
    this.#lostAt = undefined
    this.#listedAt = performance.now()
    this.#isListed = true
    this.#setState('live')
    onListed()
  }

  async #watch(position: string, signal: AbortSignal): Promise<void> {
    const { kube, resource, namespace, labelSelector, logger } = this.#options
    const openedAt = performance.now()
    const { leastSeconds, mostSeconds, silenceMs, overdueMs } = this.#options.timing
    const timeoutSeconds = Math.round(leastSeconds + Math.random() * (mostSeconds - leastSeconds))
    const silence = new Silence(silenceMs, timeoutSeconds * 1000 + overdueMs)
    const either = AbortSignal.any([signal, silence.signal])
    try {
      const metadataOnly = this.#options.metadataOnly()
      const wanted = {
        namespace,
        labelSelector,
        metadataOnly,
        resourceVersion: position,
        timeoutSeconds,
        signal: either,
      }
      const events = await kube.watch(resource, wanted)
      if (this.#wasOpen) this.#options.onReopened?.()
      this.#wasOpen = true
      this.#setState('live')
      for await (const { type, object } of events) {
        // Interrupted in the middle of a chunk: what follows is told by the list to come.
        if (signal.aborted) return
        this.#failures = 0
        silence.hear(type === 'BOOKMARK')
        this.#position = object.metadata.resourceVersion ?? this.#position
        if (type === 'DELETED') this.#tellDeleted(object)
        else if (type !== 'BOOKMARK') this.#tellUpsert(object)
      }
    } catch (error) {
      if (!silence.signal.aborted || signal.aborted) throw error
      logger.warn({ kind: resource.kind, namespace }, 'watch fell silent and is opened again')
    } finally {
      silence.stop()
      if (performance.now() - openedAt >= SHORTEST_WATCH_MS) this.#failures = 0
    }
    if (performance.now() - openedAt < SHORTEST_WATCH_MS)
      await this.#pause(backoffMs(this.#failures++, { maxMs: MAX_BACKOFF_MS }))
  }

  #tellUpsert(object: KubernetesObject): void {
    this.#known.set(keyOf(object), object.metadata.uid ?? '')
    this.#tell('upsert', object)
  }

  #tellDeleted(object: KubernetesObject): void {
    this.#known.delete(keyOf(object))
    this.#tell('deleted', object)
  }

  #tell(type: ObjectEvent['type'], object: KubernetesObject): void {
    const { resource, onEvent, logger } = this.#options
    try {
      onEvent({ type, resource, object })
    } catch (error) {
      logger.error({ error, kind: resource.kind }, 'watch event could not be handled')
    }
  }

  /** Tells of every object that was there and is not among those found. */
  #forgetAllBut(found: Map<string, string>): void {
    const before = this.#known
    this.#known = found
    const { group, version, kind } = this.#options.resource
    for (const [key, uid] of before) {
      if (found.has(key)) continue
      const [namespace = '', name = ''] = key.split('/')
      const metadata = { name, uid, ...(namespace !== '' && { namespace }) }
      this.#tell('deleted', { apiVersion: joinApiVersion(group, version), kind, metadata })
    }
  }

  /** Decides what a failure means; returns how long to wait, in ms. */
  #noteFailure(error: unknown): number {
    const message = error instanceof Error ? error.message : String(error)
    const attempt = this.#failures++
    if (isExpired(error)) {
      this.#position = undefined
      this.#setState('listing')
      return performance.now() - this.#listedAt > LIST_INTERVAL_MS ? 0 : jittered(LIST_INTERVAL_MS)
    }
    if (isStatus(error, 403)) return this.#waitSlowly('forbidden', message, attempt)
    if (isStatus(error, 405)) return this.#waitSlowly('forbidden', message, attempt)
    if (isStatus(error, 404)) {
      // The kind's objects went with it.
      this.#forgetAllBut(new Map())
      this.#options.kube.forgetDiscovery(this.#options.resource.group)
      return this.#waitSlowly('gone', message, attempt)
    }
    this.#lostAt = performance.now()
    // A connection that breaks is opened again at once; only when that fails is the API server away.
    if (attempt > 0 || this.#position === undefined) this.#setState('unavailable', message)
    const askedMs = error instanceof KubeError ? (error.retryAfterMs ?? 0) : 0
    return Math.max(backoffMs(attempt, { baseMs: 50, maxMs: MAX_BACKOFF_MS }), askedMs * (1 + Math.random() / 4))
  }

  #waitSlowly(state: 'forbidden' | 'gone', message: string, attempt: number): number {
    this.#position = undefined
    this.#setState(state, message)
    // Soon at first: a CRD that was replaced, a role that is just being bound.
    return backoffMs(attempt, { baseMs: 1_000, maxMs: this.#options.timing.slowRetryMs })
  }

  #setState(state: KindState, message = ''): void {
    if (this.#state.state === state && this.#state.message === message) return
    const { logger, resource, namespace, onState } = this.#options
    if (this.#state.state !== state)
      logger.debug({ kind: resource.kind, namespace, state, message }, 'watch state changed')
    this.#state = { state, message }
    onState()
  }

  /** Resolves after a while, or as soon as it is hurried or interrupted. */
  async #pause(ms: number): Promise<void> {
    const { signal } = this.#interrupt
    if (ms <= 0 || signal.aborted) return
    const { promise, resolve } = Promise.withResolvers<void>()
    const timer = setTimeout(resolve, ms)
    this.#wake = resolve
    const abort = (): void => resolve()
    signal.addEventListener('abort', abort, { once: true })
    await promise
    signal.removeEventListener('abort', abort)
    clearTimeout(timer)
    this.#wake = undefined
  }
}

/** Aborts when nothing was heard for long after a bookmark (a watch without them is silent as long as nothing happens), and when the end does not come. */
class Silence {
  readonly #controller = new AbortController()
  readonly #ms: number
  readonly #end: NodeJS.Timeout
  #timer: NodeJS.Timeout | undefined

  constructor(ms: number, longestMs: number) {
    this.#ms = ms
    this.#end = setTimeout(() => this.#controller.abort(), longestMs).unref()
  }

  get signal(): AbortSignal {
    return this.#controller.signal
  }

  hear(isBookmark: boolean): void {
    if (this.#timer) this.#timer.refresh()
    else if (isBookmark) this.#timer = setTimeout(() => this.#controller.abort(), this.#ms).unref()
  }

  stop(): void {
    clearTimeout(this.#timer)
    clearTimeout(this.#end)
  }
}

function keyOf({ metadata }: KubernetesObject): string {
  return `${metadata.namespace ?? ''}/${metadata.name}`
}

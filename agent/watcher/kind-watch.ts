// All watches of one kind: one over the cluster, or one a namespace. The kind is as well as its worst watch.
import { unlessAborted } from '@fairlead/shared/backoff'
import { AppError } from '@fairlead/shared/errors'
import type { ResourceType } from '../kube/kube.ts'
import type { Gate } from './gate.ts'
import type { StoreCheck } from './store-check.ts'
import { DEFAULT_TIMING, WatchLoop } from './watch-loop.ts'
import type { WatcherOptions } from './watcher.ts'

/** See WatchState. */
export type KindState = 'listing' | 'live' | 'unavailable' | 'forbidden' | 'gone'

/** What a KindWatch needs. */
export interface KindWatchOptions extends WatcherOptions {
  readonly resource: ResourceType
  readonly metadataOnly: boolean
  readonly gate: Gate
  readonly storeCheck: StoreCheck
}

interface State {
  readonly state: KindState
  readonly message: string
}

const WORST_FIRST: readonly KindState[] = ['gone', 'forbidden', 'unavailable', 'listing', 'live']

/** One watched kind. */
export class KindWatch {
  readonly resource: ResourceType
  readonly #options: KindWatchOptions
  readonly #controller = new AbortController()
  #metadataOnly: boolean
  #loops: WatchLoop[] = []
  #running: Promise<unknown> = Promise.resolve()
  #synced = Promise.withResolvers<void>()
  #reported: State = { state: 'listing', message: '' }

  constructor(options: KindWatchOptions) {
    this.#options = options
    this.resource = options.resource
    this.#metadataOnly = options.metadataOnly
    const scopes = this.resource.namespaced && options.namespaces ? options.namespaces : [undefined]
    this.#loops = scopes.map((namespace) => this.#makeLoop(namespace))
    this.#running = Promise.all(this.#loops.map(async (loop) => await loop.run(this.#controller.signal)))
    // Waiters handle it; with none, a stop is no news.
    this.#synced.promise.catch(() => undefined)
  }

  /** The worst of its watches. */
  get state(): State {
    const states = this.#loops.map((loop) => loop.state)
    for (const state of WORST_FIRST) {
      const found = states.find((one) => one.state === state)
      if (found) return found
    }
    return { state: 'live', message: '' }
  }

  /** Asked for again: try at once what had failed, and give whole objects from now on if that is asked. */
  demand(metadataOnly: boolean): void {
    if (this.#metadataOnly && !metadataOnly) {
      this.#metadataOnly = false
      this.#synced = Promise.withResolvers()
      this.#synced.promise.catch(() => undefined)
      for (const loop of this.#loops) loop.relist()
    } else {
      for (const loop of this.#loops) loop.hurry()
    }
  }

  /** Resolves when everything was listed in the form that is asked for. */
  async synced(signal?: AbortSignal): Promise<void> {
    const { promise } = this.#synced
    if (!signal) return await promise
    await unlessAborted(promise, signal, `gave up waiting for the list of ${this.resource.kind}`)
  }

  /** Ends the watches. */
  async stop(): Promise<void> {
    const reason = new AppError('Aborted', 'the watch was ended')
    this.#controller.abort(reason)
    this.#synced.reject(reason)
    await this.#running
  }

  #makeLoop(namespace: string | undefined): WatchLoop {
    const { kube, gate, storeCheck, labelSelector, logger, onEvent, onReopened } = this.#options
    return new WatchLoop({
      kube,
      gate,
      storeCheck,
      labelSelector,
      logger,
      onReopened,
      timing: { ...DEFAULT_TIMING, ...this.#options.timing },
      resource: this.resource,
      namespace,
      metadataOnly: () => this.#metadataOnly,
      onEvent: (event) => {
        if (!this.#controller.signal.aborted) onEvent(event)
      },
      onListed: () => this.#noteListed(),
      onState: () => this.#noteState(),
    })
  }

  #noteListed(): void {
    if (this.#controller.signal.aborted || !this.#loops.every((loop) => loop.isListed)) return
    this.#synced.resolve()
    this.#options.onSynced?.(this.resource)
  }

  #noteState(): void {
    const now = this.state
    const isSame = now.state === this.#reported.state && now.message === this.#reported.message
    if (isSame || this.#controller.signal.aborted) return
    this.#reported = now
    this.#options.onState?.({ resource: this.resource, ...now })
  }
}

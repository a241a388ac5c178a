// Keeps one watch a kind (and namespace) open on the objects that the agent manages, and tells what changes.
// In steady state the open watches are the only requests that an agent makes.
import type { Logger } from '@fairlead/shared/logger'
import type { KubernetesObject } from '@fairlead/shared/object-reference'
import type { Kube, ResourceType } from '../kube/kube.ts'
import { createGate, type Gate } from './gate.ts'
import { type KindState, KindWatch } from './kind-watch.ts'
import { StoreCheck } from './store-check.ts'
import type { WatchTiming } from './watch-loop.ts'

/** A change of a managed object. */
export interface ObjectEvent {
  /** `upsert`: there, new or changed or listed again. `deleted`: gone, or no longer selected (our label was taken off). */
  readonly type: 'upsert' | 'deleted'
  readonly resource: ResourceType
  /** Whole, or apiVersion, kind and metadata only. Of an object that went while nobody watched: name, namespace and uid. */
  readonly object: KubernetesObject
}

/** How a kind's watch is doing. */
export interface WatchState {
  readonly resource: ResourceType
  /** `live`: listed and watching. `unavailable`: the API server is away. `forbidden`: may not list or watch. `gone`: the kind is not served. */
  readonly state: KindState
  /** What the API server said; empty when all is well. */
  readonly message: string
}

/** How to make a Watcher. */
export interface WatcherOptions {
  readonly kube: Kube
  /** Such as `app.kubernetes.io/managed-by=fairlead`. */
  readonly labelSelector: string
  /** One watch a namespace and kind; undefined: one watch a kind over the whole cluster. */
  readonly namespaces?: readonly string[] | undefined
  /** Called in order, synchronously; must not throw. */
  readonly onEvent: (event: ObjectEvent) => void
  /** Called each time a kind was listed completely: first, and after each time that watching had been interrupted for too long. */
  readonly onSynced?: (resource: ResourceType) => void
  /** Called when a kind's state changes. */
  readonly onState?: (state: WatchState) => void
  readonly logger: Logger
  /** Called when a watch that had ended is opened again. */
  readonly onReopened?: () => void
  /** Overrides DEFAULT_TIMING. */
  readonly timing?: Partial<WatchTiming>
}

/** Open watches. */
export interface Watcher {
  /**
   * Watches a kind; resolves when it was listed once, which can take as long as the API server is away or permission is
   * missing: pass a signal to give up waiting (rejects with AppError Aborted; the watch stays). Asked again it tries at
   * once what had failed; asked with more (`metadataOnly: false`) it lists anew. Asking for less changes nothing.
   */
  ensure(resource: ResourceType, options: { metadataOnly: boolean; signal?: AbortSignal }): Promise<void>
  /** Ends the watch of a kind; no event of it comes afterwards. */
  release(resource: ResourceType): void
  /** The states of all watched kinds. */
  states(): readonly WatchState[]
  /** Ends all watches; no event comes afterwards. */
  stop(): Promise<void>
}

/** Lists that run at a time: their pages are what an agent's memory peaks at. */
const LISTS_AT_A_TIME = 2

/** Makes a Watcher; it asks nothing before the first `ensure`. */
export function createWatcher(options: WatcherOptions): Watcher {
  return new KindWatches(options)
}

class KindWatches implements Watcher {
  readonly #options: WatcherOptions
  readonly #gate: Gate = createGate(LISTS_AT_A_TIME)
  readonly #storeCheck = new StoreCheck()
  readonly #kinds = new Map<string, KindWatch>()

  constructor(options: WatcherOptions) {
    this.#options = options
  }

  async ensure(resource: ResourceType, options: { metadataOnly: boolean; signal?: AbortSignal }): Promise<void> {
    const key = keyOf(resource)
    let kind = this.#kinds.get(key)
    if (kind && kind.resource.version !== resource.version && kind.state.state === 'gone') {
      // The version was taken away; the one asked for now may be served.
      void kind.stop()
      kind = undefined
    }
    if (!kind) {
      const shared = { ...this.#options, gate: this.#gate, storeCheck: this.#storeCheck }
      kind = new KindWatch({ ...shared, resource, metadataOnly: options.metadataOnly })
      this.#kinds.set(key, kind)
    } else {
      kind.demand(options.metadataOnly)
    }
    await kind.synced(options.signal)
  }

  release(resource: ResourceType): void {
    const kind = this.#kinds.get(keyOf(resource))
    this.#kinds.delete(keyOf(resource))
    void kind?.stop()
  }

  states(): readonly WatchState[] {
    return [...this.#kinds.values()].map((kind) => ({ resource: kind.resource, ...kind.state }))
  }

  async stop(): Promise<void> {
    const kinds = [...this.#kinds.values()]
    this.#kinds.clear()
    await Promise.all(kinds.map(async (kind) => await kind.stop()))
  }
}

/** The same kind in two versions is one set of objects. */
function keyOf({ group, plural }: ResourceType): string {
  return `${group}/${plural}`
}

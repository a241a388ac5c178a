// Which kinds are watched: exactly those of which something is owned.
import { unlessAborted } from '@fairlead/shared/backoff'
import { needsWholeObject } from '../health/health.ts'
import type { ResourceType } from '../kube/kube.ts'
import type { Watcher, WatchState } from '../watcher/watcher.ts'

/** How long an application waits for the first list of a kind before it goes on without. */
const FIRST_LIST_TIMEOUT_MS = 15_000

type Asked = PromiseWithResolvers<void> & { readonly resource: ResourceType }

/** Watches by kind. */
export class WatchedKinds {
  readonly #watcher: Watcher
  /** For each watched kind: resolves when there is nothing more to wait for. */
  readonly #asked = new Map<string, Asked>()
  readonly #live = new Set<string>()
  readonly #forbidden = new Map<string, string>()

  constructor(watcher: Watcher) {
    this.#watcher = watcher
  }

  /** Watches a kind and waits until it was listed, is forbidden, or 15 s are over: without the list, what was applied last is trusted. Throws Aborted. */
  async ensure(resource: ResourceType, signal: AbortSignal): Promise<void> {
    const first = this.#ask(resource)
    const timer = setTimeout(first.resolve, FIRST_LIST_TIMEOUT_MS)
    await unlessAborted(first.promise, signal).finally(() => clearTimeout(timer))
  }

  #ask(resource: ResourceType): Asked {
    const key = keyOf(resource)
    const known = this.#asked.get(key)
    if (known) return known
    const first = { ...Promise.withResolvers<void>(), resource }
    this.#asked.set(key, first)
    const metadataOnly = !needsWholeObject(resource)
    // Rejects when it is released meanwhile: then nobody waits for it any more.
    this.#watcher.ensure(resource, { metadataOnly }).then(() => {
      if (this.#asked.get(key) === first) this.#live.add(key)
      first.resolve()
    }, first.resolve)
    return first
  }

  /** Takes in what the watcher says of a kind. While the API server is away what is known stays good: the watch resumes, or lists again. */
  noteState({ resource, state, message }: WatchState): void {
    const key = keyOf(resource)
    if (state === 'live') this.#live.add(key)
    if (state === 'forbidden') this.#forbidden.set(key, message)
    else this.#forbidden.delete(key)
    if (state !== 'forbidden' && state !== 'gone') return
    this.#live.delete(key)
    this.#asked.get(key)?.resolve()
  }

  /** Whether the watch of a kind tells what is there. */
  isWatched(resource: ResourceType): boolean {
    return this.#live.has(keyOf(resource))
  }

  /** Why a kind may not be watched; undefined when it may. */
  forbiddenReason(resource: ResourceType): string | undefined {
    return this.#forbidden.get(keyOf(resource))
  }

  /** Ends the watches of kinds that are not in use any more. */
  releaseUnused(used: Iterable<{ readonly resource: ResourceType }>): void {
    const keys = new Set<string>()
    for (const { resource } of used) keys.add(keyOf(resource))
    for (const [key, { resource }] of this.#asked) {
      if (keys.has(key)) continue
      this.#asked.delete(key)
      this.#live.delete(key)
      this.#forbidden.delete(key)
      this.#watcher.release(resource)
    }
  }
}

/** The same kind in two versions is one set of objects. */
function keyOf({ group, kind }: ResourceType): string {
  return `${group}/${kind}`
}

// The autoscalers of the cluster, ours or not: watched whole, because only their spec says what they target, and only
// while workloads are owned. Where they may not be watched, managedFields tell what an autoscaler has taken.
import { isAborted, toAppError } from '@fairlead/shared/errors'
import type { Logger } from '@fairlead/shared/logger'
import type { Kube, ResourceType } from '../kube/kube.ts'
import { findScaleTarget, ScaleTargets, type Scaling } from '../remediator/autoscaling.ts'
import { createWatcher, type ObjectEvent, type Watcher, type WatchState } from '../watcher/watcher.ts'

/** What it needs, and tells. */
export interface AutoscalersOptions {
  readonly kube: Kube
  /** As the agent's own watches. */
  readonly namespaces: readonly string[] | undefined
  readonly logger: Logger
  /** Milliseconds since the epoch. */
  readonly clock: () => number
  readonly signal: AbortSignal
  /** An object became a target, or is not one any more. */
  readonly onTarget: (key: string, scaling: Scaling) => void
}

const KINDS = {
  replicas: { group: 'autoscaling', version: 'v2', kind: 'HorizontalPodAutoscaler' },
  resources: { group: 'autoscaling.k8s.io', version: 'v1', kind: 'VerticalPodAutoscaler' },
} as const
/** How long an application waits for the first list before it goes on without, in milliseconds. */
const FIRST_LIST_TIMEOUT_MS = 5_000
/** A kind that was not served is looked for again by the first pass after so long, in milliseconds. */
const LOOK_AGAIN_MS = 600_000
/** Who may not watch is told so seldom, lest an agent at rest keep asking. */
const TIMING = { slowRetryMs: 1_800_000 }

interface Watched {
  readonly targets: ScaleTargets
  resource: ResourceType | undefined
  /** The list is complete: what is not in it is not there. */
  isLive: boolean
  lookedAtMs: number
  first: Promise<void> | undefined
}

/** Targets of autoscalers. */
export class Autoscalers {
  readonly #options: AutoscalersOptions
  readonly #watcher: Watcher
  readonly #watched: Readonly<Record<Scaling, Watched>> = { replicas: newWatched(), resources: newWatched() }

  constructor(options: AutoscalersOptions) {
    const { kube, namespaces, logger } = options
    this.#options = options
    this.#watcher = createWatcher({
      kube,
      namespaces,
      logger,
      labelSelector: '',
      timing: TIMING,
      onEvent: (event) => this.#note(event),
      onState: (state) => this.#noteState(state),
    })
  }

  /** The watches, and what the API server said of those that are not live. */
  states(): readonly WatchState[] {
    return this.#watcher.states()
  }

  /** Whether an autoscaler targets the object; undefined where that cannot be told. */
  isTarget(key: string, scaling: Scaling): boolean | undefined {
    const { isLive, targets } = this.#watched[scaling]
    return isLive ? targets.has(key) : undefined
  }

  /** Watches, and waits until what there is is known, may not be, or 5 s are over. Never throws. */
  async ensure(): Promise<void> {
    await Promise.all([this.#ensure('replicas'), this.#ensure('resources')])
  }

  /** No workload is owned any more: nothing is watched. */
  release(): void {
    for (const watched of Object.values(this.#watched)) {
      if (watched.resource) this.#watcher.release(watched.resource)
      watched.targets.clear()
      Object.assign(watched, { resource: undefined, isLive: false, first: undefined, lookedAtMs: 0 })
    }
  }

  /** Ends the watches. */
  async stop(): Promise<void> {
    await this.#watcher.stop()
  }

  async #ensure(scaling: Scaling): Promise<void> {
    const watched = this.#watched[scaling]
    const nowMs = this.#options.clock()
    if (!watched.resource && nowMs - watched.lookedAtMs >= LOOK_AGAIN_MS) watched.first = undefined
    if (!watched.first) {
      watched.lookedAtMs = nowMs
      watched.first = this.#open(scaling, watched)
    }
    await watched.first
  }

  async #open(scaling: Scaling, watched: Watched): Promise<void> {
    const { kube, signal, logger } = this.#options
    try {
      const resource = await kube.resolve(KINDS[scaling], { signal })
      watched.resource = resource
      const timeout = AbortSignal.any([signal, AbortSignal.timeout(FIRST_LIST_TIMEOUT_MS)])
      await this.#watcher.ensure(resource, { metadataOnly: false, signal: timeout })
      watched.isLive = true
    } catch (thrown) {
      const error = toAppError(thrown)
      // Most clusters have no vertical autoscaler; a list that takes long may still come.
      if (error.code === 'UnknownKind' || isAborted(error)) return
      logger.warn({ kind: KINDS[scaling].kind, error }, 'autoscalers cannot be watched')
      watched.first = undefined
    }
  }

  #note({ type, resource, object }: ObjectEvent): void {
    const scaling = scalingOf(resource)
    const { namespace = '', name } = object.metadata
    const target = type === 'deleted' ? undefined : findScaleTarget(object, scaling)
    for (const key of this.#watched[scaling].targets.set(`${namespace}/${name}`, target))
      this.#options.onTarget(key, scaling)
  }

  #noteState({ resource, state, message }: WatchState): void {
    const scaling = scalingOf(resource)
    const watched = this.#watched[scaling]
    if (state === 'live') watched.isLive = true
    if (state !== 'forbidden' && state !== 'gone') return
    if (watched.isLive || state === 'forbidden')
      this.#options.logger.info({ kind: resource.kind, state, message }, 'autoscalers are not watched')
    watched.isLive = false
    // What was left stays left: that it cannot be seen any more does not mean that it went.
    if (state === 'gone') for (const key of watched.targets.clear()) this.#options.onTarget(key, scaling)
  }
}

function newWatched(): Watched {
  return {
    targets: new ScaleTargets(),
    resource: undefined,
    isLive: false,
    lookedAtMs: Number.NEGATIVE_INFINITY,
    first: undefined,
  }
}

function scalingOf({ group }: ResourceType): Scaling {
  return group === KINDS.resources.group ? 'resources' : 'replicas'
}

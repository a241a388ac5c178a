// The way of one commit through the hub: tracker -> renderer -> placer -> slicer -> publisher. Level-triggered: whatever
// woke it, a pass compares the database with what the last pass saw and computes only what differs, so no trigger is lost
// and a crash at any point is made up for by the next pass.
import { backoffMs, jittered, sleep } from '@fairlead/shared/backoff'
import { type AppError, isAborted, toAppError } from '@fairlead/shared/errors'
import type { Logger } from '@fairlead/shared/logger'
import type { SigningKeyPair } from '@fairlead/shared/signing'
import {
  EMPTY_SNAPSHOT,
  type FleetSnapshot,
  findChanges,
  readSnapshot,
  refKey,
  withoutChanges,
} from './fleet-snapshot.ts'
import { placeAndSlice, raiseGenerations } from './place-stage.ts'
import type { TreeReader } from './render-inputs.ts'
import { RenderQueue } from './render-queue.ts'
import { type RenderTarget, recordFailure, recordUnchanged, renderTarget } from './render-stage.ts'
import type { Renderer } from './renderer/renderer.ts'
import type { Store } from './store/store.ts'
import { VariantIndex, variantKey } from './variants.ts'
import { findTargets, settledKey, WholeCommits } from './whole-commits.ts'

/** What a pipeline needs. */
export interface PipelineOptions {
  readonly store: Store
  readonly trees: TreeReader
  readonly renderer: Renderer
  readonly signingKey: SigningKeyPair
  /** Called when the outbox has new rows. */
  readonly onPublish: () => void
  /** Called when definitions or renders changed, or the deployments of these clusters. */
  readonly onChange: (clusterIds: readonly string[]) => void
  readonly logger: Logger
  /** Milliseconds since the epoch, default Date.now. */
  readonly clock?: () => number
  /** First and longest wait before a render that took too long is tried again, in milliseconds; default a minute and an hour. */
  readonly slowRetry?: { readonly baseMs: number; readonly maxMs: number }
  /** How often everything is computed again although nothing changed, in milliseconds, default 10 minutes. */
  readonly resyncMs?: number
}

/** Keeps renders, deployments and slices equal to definitions, clusters and Git. */
export interface Pipeline {
  start(): void
  /** Something may have changed. Returns at once. */
  wake(): void
  /** An agent has confirmed removals on this cluster: its slice no longer needs them. */
  reslice(clusterIds: readonly string[]): void
  /** Signs the slices of these clusters again, even if they say the same, as a newer generation than the one that was seen of each elsewhere. One that no clock can explain is not believed. */
  resign(seen: ReadonlyMap<string, bigint>): Promise<void>
  /** True for a cluster that the last pass saw. */
  knows(clusterId: string): boolean
  stop(): Promise<void>
}

const RENDERS_IN_FLIGHT = 4
/** While more renders are about to end, a pass waits at most this long for them: one new slice instead of many. */
const GATHER_MS = 15
/** And longer where passes take long, so that most of the processor is left to the renders: this many times the last pass, up to a limit. */
const GATHER_PASSES = 4
const GATHER_MAX_MS = 250
const GATHER_STEP_MS = 3
const RETRY = { baseMs: 200, maxMs: 10_000 }
/** A generation further ahead than this was made by no hub, and could leave no room for newer ones. */
const MAX_CLOCK_ERROR_MS = 7 * 86_400_000
const RENDER_RETRY = { baseMs: 1_000, maxMs: 60_000 }
/** What was too slow takes a worker for as long once more. */
const SLOW_RENDER_RETRY = { baseMs: 60_000, maxMs: 3_600_000 }

interface StaleTarget {
  readonly target: RenderTarget
  /** Equal for what need not be rendered again. */
  readonly key: string
}

/** Makes a pipeline. */
export function createPipeline(options: PipelineOptions): Pipeline {
  return new PipelineLoop(options)
}

class PipelineLoop implements Pipeline {
  readonly #options: PipelineOptions
  readonly #renders = new RenderQueue(RENDERS_IN_FLIGHT)
  readonly #stopping = new AbortController()
  /** By variantKey, what was last rendered or refused. */
  readonly #settled = new Map<string, string>()
  readonly #failures = new Map<string, number>()
  readonly #toSlice = new Set<string>()
  readonly #variants = new VariantIndex()
  readonly #wholeCommits = new WholeCommits({ variants: this.#variants })
  #seen: FleetSnapshot = EMPTY_SNAPSHOT
  #wakeUp = Promise.withResolvers<void>()
  #running: Promise<void> = Promise.resolve()

  constructor(options: PipelineOptions) {
    this.#options = options
  }

  start(): void {
    this.#running = this.#run()
  }

  wake(): void {
    this.#wakeUp.resolve()
  }

  reslice(clusterIds: readonly string[]): void {
    for (const id of clusterIds) this.#toSlice.add(id)
    this.wake()
  }

  async resign(seen: ReadonlyMap<string, bigint>): Promise<void> {
    const { store, clock = Date.now } = this.#options
    await raiseGenerations(store, seen, BigInt(clock() + MAX_CLOCK_ERROR_MS))
    this.reslice([...seen.keys()])
  }

  knows(clusterId: string): boolean {
    return this.#seen.clusters.has(clusterId)
  }

  async stop(): Promise<void> {
    this.#stopping.abort()
    this.wake()
    await this.#renders.stop()
    await this.#running
  }

  /** One pass after the other, never two at once. */
  async #run(): Promise<void> {
    const { signal } = this.#stopping
    let fullAt = performance.now() + jittered(this.#options.resyncMs ?? 600_000)
    for (let failures = 0; !signal.aborted; ) {
      // Before the pass, so that a wake during the pass is not lost.
      this.#wakeUp = Promise.withResolvers()
      try {
        const startedAt = performance.now()
        await this.#pass()
        failures = 0
        const gatherMs = Math.min(GATHER_MAX_MS, Math.max(GATHER_MS, GATHER_PASSES * (performance.now() - startedAt)))
        await this.#waitForWake(Math.min(fullAt, this.#wholeCommits.heldUntil) - performance.now(), gatherMs)
        if (performance.now() >= fullAt) {
          this.#seen = { ...EMPTY_SNAPSHOT, clusters: this.#seen.clusters }
          this.#settled.clear()
          fullAt = performance.now() + jittered(this.#options.resyncMs ?? 600_000)
        }
      } catch (error) {
        if (signal.aborted) return
        this.#options.logger.error({ error, failures }, 'pipeline pass failed; trying again')
        await sleep(backoffMs(failures++, RETRY), signal).catch(() => {})
      }
    }
  }

  async #pass(): Promise<void> {
    const { store, signingKey, clock = Date.now, onPublish, onChange } = this.#options
    // Before the snapshot: of what is settled only later, the snapshot may not hold the outcome.
    const settled = new Map(this.#settled)
    const now = await readSnapshot(store, this.#seen)
    this.#renderStale(now)
    const changes = findChanges(this.#seen, now)
    const { clusters } = changes
    const held = this.#wholeCommits.holdBack(changes.applications, now, settled)
    const applications = changes.applications.filter(({ name }) => !held.has(name))
    const mustSlice = new Set(this.#toSlice)
    this.#toSlice.clear()
    const base = { renders: now.renders, variants: this.#variants, mustSlice, signingKey, nowMs: clock() }
    const everywhere = { ...base, applications, clusters: [...now.clusters.values()] }
    const others = [...now.applications.values()].filter((application) => !changes.applications.includes(application))
    const dirty = new Set([...clusters.map((cluster) => cluster.id), ...mustSlice])
    const dirtyClusters = everywhere.clusters.filter(({ id }) => dirty.has(id))
    // Labels and values are in the slice itself: it may change where no deployment does.
    const here = { ...base, mustSlice: dirty, applications: others, clusters: dirtyClusters }
    const changed: string[] = []
    try {
      if (applications.length > 0) changed.push(...(await placeAndSlice(store, everywhere)))
      if (dirty.size > 0) changed.push(...(await placeAndSlice(store, here)))
    } catch (error) {
      for (const id of mustSlice) this.#toSlice.add(id)
      throw error
    }
    onPublish()
    if (changed.length > 0) this.#options.logger.info({ clusters: changed.length }, 'slices signed')
    const forgotten = await this.#forgetApplications()
    await this.#forgetVariants(now)
    this.#seen = withoutChanges(now, this.#seen, held)
    if (applications.length + dirty.size + forgotten > 0) onChange([...new Set([...changed, ...dirty])])
  }

  /** Begins the renders of all applications whose commit or definition is not the one that was rendered; those of one commit are looked at together, as most have not changed in it. */
  #renderStale(now: FleetSnapshot): void {
    const stale: StaleTarget[] = []
    const wanted = new Set<string>()
    for (const application of now.applications.values()) {
      if (application.deleting !== null) continue
      for (const target of findTargets(application, now, this.#variants)) {
        const id = variantKey(target)
        wanted.add(id)
        const key = settledKey(application, target)
        const isUnderWay = this.#renders.has(id, key)
        if (this.#settled.get(id) !== key && !isUnderWay) stale.push({ target, key })
      }
    }
    for (const [source, targets] of Map.groupBy(stale, ({ target }) => refKey(target.repository, target.commit))) {
      const key = JSON.stringify(targets.map((each) => each.key))
      const repository = targets[0]?.target.repository ?? ''
      const work = (signal: AbortSignal): Promise<void> => this.#renderChanged(targets, signal)
      this.#renders.submit({ id: source, repository, key, work })
    }
    for (const id of this.#settled.keys()) if (!wanted.has(id)) this.#settled.delete(id)
  }

  async #renderChanged(targets: readonly StaleTarget[], signal: AbortSignal): Promise<void> {
    const all = targets.map(({ target }) => target)
    // What cannot be told here, each render finds out and reports for itself.
    const changed = await recordUnchanged(this.#options, all, signal).catch(() => all)
    if (signal.aborted) return
    for (const { target, key } of targets) {
      if (changed.includes(target)) {
        const { repository } = target
        this.#renders.submit({ id: variantKey(target), repository, key, work: (own) => this.#render(target, key, own) })
      } else this.#settle(variantKey(target), key)
    }
    if (changed.length < targets.length) this.wake()
  }

  #settle(id: string, key: string): void {
    this.#settled.set(id, key)
    this.#failures.delete(id)
  }

  async #render(target: RenderTarget, key: string, signal: AbortSignal): Promise<void> {
    const { application, variant, commit } = target
    const { logger } = this.#options
    try {
      const outcome = await renderTarget(this.#options, target, signal)
      this.#settle(variantKey(target), key)
      logger.debug({ application, variant, commit, outcome }, 'application rendered')
    } catch (cause) {
      if (signal.aborted) return
      // Given up by somebody else, such as a tracker that stops: no problem of the application, but to be done again.
      if (isAborted(cause)) this.#retryLater(variantKey(target), key)
      else await this.#recordFailure(target, key, toAppError(cause))
    }
    // Problems may have come or gone, whatever happened to the artifact.
    this.#options.onChange([])
    // A moment later the queue knows that this render has ended.
    setImmediate(() => this.wake())
  }

  async #recordFailure(target: RenderTarget, key: string, error: AppError): Promise<void> {
    const { store, logger, slowRetry = SLOW_RENDER_RETRY } = this.#options
    const { application, variant, commit } = target
    const id = variantKey(target)
    const failures = this.#failures.get(id) ?? 0
    logger.warn({ application, variant, commit, error, failures }, 'application cannot be rendered')
    try {
      await recordFailure(store, target, error)
    } catch (cause) {
      logger.error({ application, error: cause }, 'failed render could not be recorded')
      return this.#retryLater(id, key)
    }
    if (error.kind === 'user') this.#settled.set(id, key)
    else this.#retryLater(id, key, error.code === 'RenderTimeout' ? slowRetry : RENDER_RETRY)
  }

  /** Settles what was tried, and has it tried again after a while. */
  #retryLater(id: string, key: string, pace = RENDER_RETRY): void {
    const failures = this.#failures.get(id) ?? 0
    this.#settled.set(id, key)
    this.#failures.set(id, failures + 1)
    const retry = sleep(backoffMs(failures, pace), this.#stopping.signal)
    void retry.then(
      () => {
        this.#settled.delete(id)
        this.wake()
      },
      () => {},
    )
  }

  /** Applications that are being deleted and run nowhere any more. */
  async #forgetApplications(): Promise<number> {
    const gone = await this.#options.store.db
      .deleteFrom('applications')
      .where('deleting', 'is not', null)
      .where(({ not, exists, selectFrom }) =>
        not(exists(selectFrom('deployments').select('application').whereRef('application', '=', 'applications.name'))),
      )
      .returning('name')
      .execute()
    for (const { name } of gone) this.#options.logger.info({ application: name }, 'application is gone')
    return gone.length
  }

  /** Renders of variants that no cluster needs any more; what clusters run of them stays with their deployments. */
  async #forgetVariants(now: FleetSnapshot): Promise<void> {
    for (const [application, variants] of now.renders) {
      const spec = now.applications.get(application)?.spec
      if (!spec) continue
      const needed = new Set(this.#variants.neededOf(spec, now.clusters).map(({ id }) => id))
      const unneeded = [...variants.keys()].filter((id) => !needed.has(id))
      if (unneeded.length === 0) continue
      const rows = this.#options.store.db.deleteFrom('renders').where('application', '=', application)
      await rows.where('variant', 'in', unneeded).execute()
    }
  }

  async #waitForWake(atMostMs: number, gatherMs: number): Promise<void> {
    const waiting = new AbortController()
    const due = sleep(Math.max(0, atMostMs), waiting.signal).catch(() => {})
    await Promise.race([due, this.#wakeUp.promise])
    waiting.abort()
    for (let waitedMs = 0; this.#renders.size > 0 && waitedMs < gatherMs; waitedMs += GATHER_STEP_MS) {
      await sleep(GATHER_STEP_MS, this.#stopping.signal).catch(() => {})
    }
  }
}

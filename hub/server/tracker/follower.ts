// Follows one repository: polls it, again and again, and says what was found. One poll and one fetch serve every application
// of the repository.
import { setTimeout as delay } from 'node:timers/promises'
import { jittered } from '@fairlead/shared/backoff'
import { toAppError } from '@fairlead/shared/errors'
import type { Logger } from '@fairlead/shared/logger'
import { GitServerBusy } from './git-http.ts'
import type { LfsReader } from './mirror.ts'
import type { PushedRef } from './pushed-refs.ts'
import type { RefSource } from './ref-source.ts'
import type { FollowedRepository, PollOutcome, RefOutcome } from './tracked-rows.ts'

/** What a follower works with. */
export interface FollowerContext {
  readonly source: RefSource
  readonly logger: Logger
  /** Told after each poll; the next waits until it resolves. */
  onOutcome(outcome: PollOutcome): Promise<void>
}

/** Webhooks have polls follow each other no faster than this, in milliseconds. */
const HINT_SPACING_MS = 250
/** A version of a chart is taken to stay what it is for this long, in milliseconds: many applications may depend on it. */
const CHART_MS = 60_000
const MAX_BROUGHT = 1_000
const HINTED = 'hinted'
/** Longest wait after failures, in milliseconds, unless the poll interval is longer. */
const MAX_FAILURE_WAIT_MS = 120_000

/** Follows one repository from start to stop. */
export class Follower {
  readonly #context: FollowerContext
  readonly #stopping = new AbortController()
  #repository: FollowedRepository
  #wake = new AbortController()
  #loop: Promise<void> = Promise.resolve()
  #lock: Promise<unknown> = Promise.resolve()
  #failures = 0
  #polledAtMs = 0
  /** Commits that were asked for by others than refs, and brought. */
  readonly #commits = new Set<string>()
  /** Versions of charts that were asked for, and brought. */
  readonly #charts = new Map<string, { readonly commit: string | undefined; readonly untilMs: number }>()
  /** The server asked to be left alone until then, by performance.now; a webhook is no reason not to. */
  #busyUntilMs = 0

  constructor(repository: FollowedRepository, context: FollowerContext) {
    this.#repository = repository
    this.#context = context
  }

  /** What is followed. */
  get repository(): FollowedRepository {
    return this.#repository
  }

  /** Number of fetches so far: when it has grown, what could not be read may be there now. */
  get fetches(): number {
    return this.#context.source.fetches
  }

  /** Downloads what Git LFS pointers stand for; undefined when the repository does not ask for it. */
  get lfs(): LfsReader | undefined {
    return this.#context.source.findLfs(this.#repository)
  }

  /** Begins to poll, at once. */
  start(): void {
    this.#loop = this.#run()
  }

  /** Ends the poll that runs and all that would come. */
  async stop(): Promise<void> {
    this.#stopping.abort()
    this.#wake.abort()
    await this.#loop
    await this.#lock.catch(() => undefined)
  }

  /** Polls at once, or once more after the poll that runs; any number of calls in that time are one. */
  refresh(): void {
    this.#context.source.forgetRefusals()
    this.#wake.abort()
  }

  /** Polls soon because somebody says that these refs were pushed, and goes on looking for a while until the server serves them. */
  hint(pushed: readonly PushedRef[]): void {
    this.#context.source.expect(pushed)
    if (performance.now() >= this.#busyUntilMs) this.#wake.abort(HINTED)
  }

  /** Takes a changed definition over and polls at once. */
  update(repository: FollowedRepository): void {
    this.#repository = repository
    this.#failures = 0
    // What was signed by other keys, or is at another address.
    this.#charts.clear()
    this.#commits.clear()
    this.refresh()
  }

  /** What a version of a chart is, brought; undefined where there are no charts. A version that was asked for a moment ago is not asked for again. Rejects as RefSource.bringChart does. */
  async bringChart(chart: { readonly name: string; readonly version: string }): Promise<string | undefined> {
    const key = `${chart.name} ${chart.version}`
    const known = this.#charts.get(key)
    if (known && performance.now() < known.untilMs) return known.commit
    const repository = this.#repository
    const commit = await this.#exclusive((signal) => this.#context.source.bringChart(repository, chart, signal))
    if (this.#charts.size >= MAX_BROUGHT) this.#charts.clear()
    if (repository === this.#repository) this.#charts.set(key, { commit, untilMs: performance.now() + CHART_MS })
    return commit
  }

  /** Brings a commit that no ref need name. Rejects as RefSource.bringCommit does. */
  async bringCommit(commit: string): Promise<void> {
    if (this.#commits.has(commit)) return
    const repository = this.#repository
    await this.#exclusive((signal) => this.#context.source.bringCommit(repository, commit, signal))
    if (this.#commits.size >= MAX_BROUGHT) this.#commits.clear()
    if (repository === this.#repository) this.#commits.add(commit)
  }

  /** Brings `commit` again, because it turned out to be lost or damaged. Rejects as a poll's fetch does. */
  async repair(commit: string): Promise<void> {
    await this.#exclusive((signal) => this.#context.source.repair(this.#repository, commit, signal))
  }

  async #run(): Promise<void> {
    const { signal } = this.#stopping
    while (!signal.aborted) {
      this.#wake = new AbortController()
      this.#polledAtMs = performance.now()
      const outcome = await this.#pollSafely()
      if (outcome === undefined) return
      await this.#tell(outcome)
      await this.#pause(this.#waitMs(outcome))
    }
  }

  /** Ends at once when somebody asks, or asked while the poll ran. */
  async #pause(waitMs: number): Promise<void> {
    const [stop, wake] = [this.#stopping.signal, this.#wake.signal]
    await delay(waitMs, undefined, { signal: AbortSignal.any([stop, wake]), ref: false }).catch(() => undefined)
    if (wake.reason !== HINTED) return
    const spacingMs = this.#polledAtMs + HINT_SPACING_MS - performance.now()
    if (spacingMs > 0) await delay(spacingMs, undefined, { signal: stop, ref: false }).catch(() => undefined)
  }

  async #tell(outcome: PollOutcome): Promise<void> {
    try {
      await this.#context.onOutcome(outcome)
    } catch (error) {
      if (!this.#stopping.signal.aborted) this.#context.logger.error({ error }, 'poll could not be recorded')
    }
  }

  #waitMs({ problem }: PollOutcome): number {
    const { pollIntervalMs } = this.#repository
    if (problem === undefined) {
      const waitMs = jittered(pollIntervalMs)
      return Math.min(waitMs, this.#context.source.nextLookMs() ?? waitMs)
    }
    const longest = Math.max(pollIntervalMs, MAX_FAILURE_WAIT_MS)
    const grown = Math.min(longest, pollIntervalMs * 2 ** Math.min(20, this.#failures - 1))
    const asked = problem instanceof GitServerBusy ? (problem.retryAfterMs ?? 0) : 0
    this.#busyUntilMs = performance.now() + asked
    return Math.max(jittered(grown), asked)
  }

  /** Undefined when the follower stops. */
  async #pollSafely(): Promise<PollOutcome | undefined> {
    try {
      const repository = this.#repository
      const refs = await this.#exclusive<RefOutcome[]>((signal) => this.#context.source.poll(repository, signal))
      // What an older definition let through may lack what the new one asks for.
      if (repository !== this.#repository) return await this.#pollSafely()
      this.#failures = 0
      return { refs, atMs: Date.now() }
    } catch (thrown) {
      if (this.#stopping.signal.aborted) return undefined
      this.#failures++
      const problem = toAppError(thrown)
      return { problem, refs: [], atMs: Date.now() }
    }
  }

  /** One after the other: two fetches into one mirror would do the same work twice. */
  #exclusive<T>(work: (signal: AbortSignal) => Promise<T>): Promise<T> {
    const { signal } = this.#stopping
    const run = this.#lock.then(() => {
      signal.throwIfAborted()
      return work(signal)
    })
    this.#lock = run.catch(() => undefined)
    return run
  }
}

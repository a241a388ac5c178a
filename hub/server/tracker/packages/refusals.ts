// Packages that were downloaded and could not be taken: tried again, but not at each poll, for they may be large.
import { type AppError, toAppError } from '@fairlead/shared/errors'

/** First and longest wait, in milliseconds. */
const FIRST_WAIT_MS = 60_000
const MAX_WAIT_MS = 3_600_000
const MAX_REFUSALS = 1_000
/** Of the package, and so no matter of when it is asked for. */
const FINAL = ['LimitExceeded', 'UnsafePath', 'FetchFailed']

interface Refusal {
  readonly problem: AppError
  readonly waitMs: number
  readonly untilMs: number
}

/** What could not be taken, by digest. */
export class Refusals {
  readonly #refused = new Map<string, Refusal>()

  /** Forgets all of it: everything is tried again. */
  clear(): void {
    this.#refused.clear()
  }

  /** Does `work`, unless it failed a moment ago; then rejects as it did. */
  async unlessRefused(digest: string, work: () => Promise<void>): Promise<void> {
    const last = this.#refused.get(digest)
    if (last && performance.now() < last.untilMs) throw last.problem
    try {
      await work()
      this.#refused.delete(digest)
    } catch (error) {
      const problem = toAppError(error)
      if (FINAL.includes(problem.code)) {
        if (this.#refused.size >= MAX_REFUSALS) this.#refused.clear()
        const waitMs = last ? Math.min(MAX_WAIT_MS, last.waitMs * 2) : FIRST_WAIT_MS
        this.#refused.set(digest, { problem, waitMs, untilMs: performance.now() + waitMs })
      }
      throw problem
    }
  }
}

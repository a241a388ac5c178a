// Whether the pass of an application gets on. All that a pass waits for has a limit of its own (a request 30 s, a wave ten
// minutes), or is waited for here: then the wait is no sign of a defect, however long it takes.
import type { Limiter } from '../applier/limiter.ts'

/** The clock of one application's passes. */
export class PassClock {
  readonly #clock: () => number
  /** Undefined between passes. */
  #progressedAtMs: number | undefined
  /** Waits without a limit that are under way. */
  #waits = 0

  /** `clock` measures milliseconds; default performance.now. */
  constructor(clock: () => number = () => performance.now()) {
    this.#clock = clock
  }

  /** A pass begins. */
  begin(): void {
    this.#progressedAtMs = this.#clock()
  }

  /** It has ended. */
  end(): void {
    this.#progressedAtMs = undefined
  }

  /** It got on; between passes that means nothing. */
  progressed(): void {
    if (this.#progressedAtMs !== undefined) this.#progressedAtMs = this.#clock()
  }

  /** For how long the pass has not got on, in milliseconds; 0 between passes and during waits that may take as long as they take. */
  get idleMs(): number {
    return this.#progressedAtMs === undefined || this.#waits > 0 ? 0 : this.#clock() - this.#progressedAtMs
  }

  /** Waits for something outside that may take as long as it takes. Rejects as it does. */
  async patiently<T>(wait: Promise<T>): Promise<T> {
    this.#waits++
    try {
      return await wait
    } finally {
      this.#waits--
      this.progressed()
    }
  }

  /** Runs a task of the pass when the limiter has a place for it: the writes of others have limits of their own. Rejects as the task does. */
  async inTurn<T>(limiter: Limiter, task: () => Promise<T>): Promise<T> {
    const turn = Promise.withResolvers<void>()
    const running = limiter.run(async () => {
      turn.resolve()
      return await task()
    })
    await this.patiently(turn.promise)
    try {
      return await running
    } finally {
      this.progressed()
    }
  }
}

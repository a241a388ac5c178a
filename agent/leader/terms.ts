// What only the leader runs, made anew for each term and stopped as a whole at its end. A term begins when the one before
// has ended.
import { Lifecycle } from '@fairlead/shared/lifecycle'
import type { Logger } from '@fairlead/shared/logger'

/** How terms are made. */
export interface TermsOptions<Led> {
  /** Makes and starts what is led, with a lifecycle of its own. */
  readonly begin: (lifecycle: Lifecycle) => Led
  /** Its parts are stopped within this time, in milliseconds. */
  readonly stopDeadlineMs: number
  readonly logger: Logger
}

/** One term at a time. */
export class Terms<Led> {
  readonly #options: TermsOptions<Led>
  #lifecycle: Lifecycle | undefined
  #current: Led | undefined
  #changes: Promise<void> = Promise.resolve()

  constructor(options: TermsOptions<Led>) {
    this.#options = options
  }

  /** What is led; undefined outside of a term. */
  get current(): Led | undefined {
    return this.#current
  }

  /** Begins a term when the last one has ended. */
  begin(): void {
    const lifecycle = new Lifecycle(this.#options.logger)
    this.#lifecycle = lifecycle
    this.#changes = this.#changes.then(() => {
      // Ended before it could begin.
      if (!lifecycle.signal.aborted) this.#current = this.#options.begin(lifecycle)
    })
  }

  /** Ends the term; resolves when all of it has stopped. */
  async end(): Promise<void> {
    const lifecycle = this.#lifecycle
    this.#lifecycle = undefined
    if (lifecycle) {
      // Aborts the term's signal at once.
      const stopping = lifecycle.stop(this.#options.stopDeadlineMs)
      this.#changes = this.#changes.then(async () => {
        await stopping
        this.#current = undefined
      })
    }
    await this.#changes
  }
}

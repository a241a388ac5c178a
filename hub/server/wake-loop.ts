// Runs a pass again and again: whenever somebody wakes it, and after a while anyway. Level-triggered: a pass looks at all there
// is, so that no wake can be lost and a failure is made up for by the next one.
import { sleep } from '@fairlead/shared/backoff'

/** How it runs. */
export interface WakeLoopOptions {
  /** One pass after the other, never two at once. */
  readonly pass: (signal: AbortSignal) => Promise<void>
  /** Told what a pass rejects with, unless the loop is stopping. */
  readonly onError: (error: unknown) => void
  /** A pass follows the last one after this long, in milliseconds, whoever wakes it. */
  readonly everyMs: number
}

/** The loop; nothing runs before start. */
export class WakeLoop {
  readonly #options: WakeLoopOptions
  readonly #stopping = new AbortController()
  #wakeUp = Promise.withResolvers<void>()
  #running: Promise<void> = Promise.resolve()

  constructor(options: WakeLoopOptions) {
    this.#options = options
  }

  /** Begins with a pass. */
  start(): void {
    this.#running = this.#run()
  }

  /** Something may have changed. Returns at once. */
  wake(): void {
    this.#wakeUp.resolve()
  }

  /** Aborts the pass that runs and waits for its end. */
  async stop(): Promise<void> {
    this.#stopping.abort()
    this.wake()
    await this.#running
  }

  async #run(): Promise<void> {
    const { signal } = this.#stopping
    const { pass, onError, everyMs } = this.#options
    while (!signal.aborted) {
      // Before the pass, so that a wake during the pass is not lost.
      this.#wakeUp = Promise.withResolvers()
      try {
        await pass(signal)
      } catch (error) {
        if (!signal.aborted) onError(error)
      }
      const waiting = new AbortController()
      await Promise.race([sleep(everyMs, waiting.signal).catch(() => {}), this.#wakeUp.promise])
      waiting.abort()
    }
  }
}

// Start and stop of a process's parts: everything started is stopped in reverse order, within a deadline.
import type { Logger } from './logger.ts'

/** Keeps what was started and stops it in reverse order. */
export class Lifecycle {
  readonly #parts: { name: string; stop: () => Promise<void> }[] = []
  readonly #controller = new AbortController()
  readonly #logger: Logger

  constructor(logger: Logger) {
    this.#logger = logger
  }

  /** Aborts when stopping begins: every loop and wait of the process listens to it. */
  get signal(): AbortSignal {
    return this.#controller.signal
  }

  /** Registers a started part under a name for the log. */
  add(name: string, stop: () => Promise<void> | void): void {
    this.#parts.push({ name, stop: async () => stop() })
  }

  /** Aborts the signal, then stops the parts in reverse order. A part that fails or outlives `deadlineMs` (for all together, default 10,000) is logged and passed over. */
  async stop(deadlineMs = 10_000): Promise<void> {
    this.#controller.abort()
    const deadline = Date.now() + deadlineMs
    for (const part of this.#parts.splice(0).reverse()) {
      const remainingMs = Math.max(0, deadline - Date.now())
      const timeout = Promise.withResolvers<'timeout'>()
      const timer = setTimeout(() => timeout.resolve('timeout'), remainingMs)
      try {
        if ((await Promise.race([part.stop(), timeout.promise])) === 'timeout') {
          this.#logger.warn({ part: part.name }, 'part did not stop in time')
        }
      } catch (error) {
        this.#logger.warn({ part: part.name, error }, 'part failed to stop')
      } finally {
        clearTimeout(timer)
      }
    }
  }
}

/** Runs `stop` at the first SIGTERM or SIGINT, then exits 0; a second signal exits 1 at once. Returns a function that takes the handlers away. */
export function stopOnSignals(stop: () => Promise<void>): () => void {
  let stopping = false
  const handle = (): void => {
    if (stopping) process.exit(1)
    stopping = true
    void stop().then(
      () => process.exit(0),
      () => process.exit(1),
    )
  }
  process.on('SIGTERM', handle)
  process.on('SIGINT', handle)
  return () => {
    process.off('SIGTERM', handle)
    process.off('SIGINT', handle)
  }
}

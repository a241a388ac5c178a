// How an application waits: it sleeps, or waits for a condition, until it is woken, nudged, or given up.
import { AppError } from '@fairlead/shared/errors'

/** How long wishes to be woken soon are gathered, in milliseconds. */
const SOON_MS = 250
/** What a timer of Node can wait, in milliseconds; nobody waits for longer than that. */
const TIMER_MAX_MS = 2 ** 31 - 1

/** What one loop waits with. */
export class WakeSignal {
  readonly #waiters = new Set<() => void>()
  #isAwake = false
  #soon: NodeJS.Timeout | undefined

  /** Ends a sleep, or the next one if none is under way; gives up what is waited for. */
  wake(): void {
    this.#isAwake = true
    this.nudge()
  }

  /** Wakes in a quarter of a second, once for all who ask for it until then. */
  wakeSoon(): void {
    this.#soon ??= setTimeout(() => {
      this.#soon = undefined
      this.wake()
    }, SOON_MS).unref()
  }

  /** Conditions that are waited for are looked at again. */
  nudge(): void {
    for (const look of [...this.#waiters]) look()
  }

  /** What woke it is seen to from here on. */
  begin(): void {
    this.#isAwake = false
  }

  /** Waits until the condition holds; false after the time limit. Throws Aborted, also when woken: then the work begins anew. */
  async until(condition: () => boolean, timeoutMs: number, signal: AbortSignal): Promise<boolean> {
    const deadline = performance.now() + timeoutMs
    while (!condition()) {
      const remainingMs = deadline - performance.now()
      if (remainingMs <= 0) return false
      if (this.#isAwake) throw new AppError('Aborted', 'woken')
      await this.#waitForChange(remainingMs, signal)
    }
    return true
  }

  /** Resolves when woken, when the time is over, or when the signal aborts. */
  async sleep(ms: number, signal: AbortSignal): Promise<void> {
    const deadline = performance.now() + ms
    while (!this.#isAwake && !signal.aborted) {
      const remainingMs = deadline - performance.now()
      if (remainingMs <= 0) return
      await this.#waitForChange(remainingMs, signal).catch(() => undefined)
    }
  }

  async #waitForChange(timeoutMs: number, signal: AbortSignal): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>()
    const timer = timeoutMs <= TIMER_MAX_MS ? setTimeout(resolve, timeoutMs) : undefined
    this.#waiters.add(resolve)
    const abort = (): void => resolve()
    signal.addEventListener('abort', abort, { once: true })
    if (signal.aborted) resolve()
    await promise
    clearTimeout(timer)
    // The signal lives as long as the application is left in peace, and each change comes by here.
    signal.removeEventListener('abort', abort)
    this.#waiters.delete(resolve)
    if (signal.aborted) throw new AppError('Aborted', 'something newer came')
  }
}

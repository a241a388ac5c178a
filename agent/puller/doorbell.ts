// Turns doorbells into pulls: the first at once, bursts up to a limit, then one a second. Anybody who knows a cluster's
// id may ring, so rings cost nothing but that.
import { sleep } from '@fairlead/shared/backoff'

/** How often pulls may follow each other. */
export interface DoorbellOptions {
  /** Pulls that may happen at once after a quiet time, default 10. */
  readonly burst?: number
  /** Time in milliseconds after which one more is allowed, default 1,000. */
  readonly refillMs?: number
}

/** Runs `pull` after each ring: never two at a time, rings meanwhile merged into one more. */
export class Doorbell {
  readonly #pull: (signal: AbortSignal) => Promise<void>
  readonly #signal: AbortSignal
  readonly #burst: number
  readonly #refillMs: number
  #allowed: number
  #countedAtMs = performance.now()
  #isRung = false
  #running: Promise<void> | undefined

  /** `pull` must not reject. */
  constructor(pull: (signal: AbortSignal) => Promise<void>, signal: AbortSignal, options: DoorbellOptions = {}) {
    this.#pull = pull
    this.#signal = signal
    this.#burst = options.burst ?? 10
    this.#refillMs = options.refillMs ?? 1_000
    this.#allowed = this.#burst
  }

  /** Has the document pulled, once more if a pull is under way. */
  ring(): void {
    this.#isRung = true
    this.#running ??= this.#run().finally(() => {
      this.#running = undefined
      // Rung between the last look and here.
      if (this.#isRung && !this.#signal.aborted) this.ring()
    })
  }

  /** Resolves when no pull is under way. */
  async idle(): Promise<void> {
    await this.#running
  }

  async #run(): Promise<void> {
    while (this.#isRung && !this.#signal.aborted) {
      await this.#wait()
      this.#isRung = false
      if (!this.#signal.aborted) await this.#pull(this.#signal)
    }
  }

  async #wait(): Promise<void> {
    const now = performance.now()
    this.#allowed = Math.min(this.#burst, this.#allowed + (now - this.#countedAtMs) / this.#refillMs)
    this.#countedAtMs = now
    if (this.#allowed < 1) {
      await sleep((1 - this.#allowed) * this.#refillMs, this.#signal).catch(() => undefined)
      this.#allowed = 1
      this.#countedAtMs = performance.now()
    }
    this.#allowed--
  }
}

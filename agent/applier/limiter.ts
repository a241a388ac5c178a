// How many requests may be in flight at once. One that is slow gives its place to others, so that a slow admission
// webhook for one object does not hold up the rest.

/** Settings of a limiter. */
export interface LimiterOptions {
  /** Places, default 8: more only burdens the API server (measured). */
  readonly places?: number
  /** After this long a task gives its place to the next but goes on, default 500 ms. */
  readonly slowMs?: number
  /** Never more than this many at once, slow ones included, default 64. */
  readonly ceiling?: number
}

/** Runs tasks, first come first served. */
export class Limiter {
  readonly #places: number
  readonly #slowMs: number
  readonly #ceiling: number
  readonly #waiting: (() => void)[] = []
  readonly #running = new Set<{ readonly startedAt: number }>()
  #quick = 0
  #total = 0

  constructor({ places = 8, slowMs = 500, ceiling = 64 }: LimiterOptions = {}) {
    this.#places = places
    this.#slowMs = slowMs
    this.#ceiling = ceiling
  }

  /** Tasks that wait for a place. */
  get waiting(): number {
    return this.#waiting.length
  }

  /** For how long the oldest of the running tasks has run, in milliseconds; 0 without any. */
  get oldestMs(): number {
    const [oldest] = this.#running
    return oldest ? performance.now() - oldest.startedAt : 0
  }

  /** Runs the task when there is a place. Rejects as the task does. */
  async run<T>(task: () => Promise<T>): Promise<T> {
    if (!this.#hasPlace()) {
      const { promise, resolve } = Promise.withResolvers<void>()
      this.#waiting.push(resolve)
      await promise
    } else this.#take()
    let isQuick = true
    const yieldPlace = (): void => {
      if (!isQuick) return
      isQuick = false
      this.#quick--
      this.#admit()
    }
    const timer = setTimeout(yieldPlace, this.#slowMs)
    const running = { startedAt: performance.now() }
    this.#running.add(running)
    try {
      return await task()
    } finally {
      clearTimeout(timer)
      this.#running.delete(running)
      this.#total--
      if (isQuick) yieldPlace()
      else this.#admit()
    }
  }

  #hasPlace(): boolean {
    return this.#quick < this.#places && this.#total < this.#ceiling
  }

  #take(): void {
    this.#quick++
    this.#total++
  }

  #admit(): void {
    while (this.#hasPlace()) {
      const next = this.#waiting.shift()
      if (!next) return
      this.#take()
      next()
    }
  }
}

// Whether the process does its work: loops that must turn say so, and one that has not for too long is stuck. Decides
// /healthz: only a defect of the process itself fails it, never an outage of anything outside.

/** A loop that must turn. */
export interface LoopSign {
  /** It turned. */
  turned(): void
  /** It has ended as it should. */
  ended(): void
}

/** What the process's loops say. */
export class Liveness {
  readonly #clock: () => number
  readonly #loops = new Map<string, { turnedAtMs: number; readonly maxAgeMs: number }>()
  readonly #checks = new Map<string, () => string | undefined>()

  /** `clock` measures milliseconds; default performance.now. */
  constructor(clock: () => number = () => performance.now()) {
    this.#clock = clock
  }

  /** Registers a loop that turns at least every `maxAgeMs`. */
  loop(name: string, maxAgeMs: number): LoopSign {
    const loop = { turnedAtMs: this.#clock(), maxAgeMs }
    this.#loops.set(name, loop)
    return {
      turned: () => {
        loop.turnedAtMs = this.#clock()
      },
      ended: () => {
        if (this.#loops.get(name) === loop) this.#loops.delete(name)
      },
    }
  }

  /** Registers a question that is asked whenever somebody looks; it answers with what is stuck, or undefined. */
  check(name: string, findStuck: () => string | undefined): { ended(): void } {
    this.#checks.set(name, findStuck)
    return { ended: () => void (this.#checks.get(name) === findStuck && this.#checks.delete(name)) }
  }

  /** What is stuck, in words; empty when the process is well. */
  findStuck(): string[] {
    const nowMs = this.#clock()
    const loops = [...this.#loops]
      .filter(([, { turnedAtMs, maxAgeMs }]) => nowMs - turnedAtMs > maxAgeMs)
      .map(([name, { turnedAtMs }]) => `${name} has not turned for ${Math.round((nowMs - turnedAtMs) / 1000)} s`)
    const checks = [...this.#checks.values()].map((findStuck) => findStuck()).filter((found) => found !== undefined)
    return [...loops, ...checks]
  }
}

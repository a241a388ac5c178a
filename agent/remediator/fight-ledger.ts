// Notices when another writer keeps undoing what we put back, and makes us yield for a while instead of answering
// each time. People, and deletions, which have no author, meet more patience: nobody does by hand what it takes.

/** When a series of repairs counts as a fight and how we back off. */
export interface FightLimits {
  /** Time in which a repair counts for half, default 10,000 ms. */
  readonly halfLifeMs?: number
  /** Decayed number of repairs from which on we yield, default 8. */
  readonly threshold?: number
  /**
   * The same for people and for deletions, default 30: with the half-life of 10 s more than two a second for more than
   * ten seconds. Twenty in a row, as fast as they are put back, are not enough.
   */
  readonly patientThreshold?: number
  /** First time of yielding, default 1,000 ms; doubles while the fight goes on. */
  readonly baseDelayMs?: number
  /** Longest time of yielding, default 300,000 ms. */
  readonly maxDelayMs?: number
  /** A fight is over when nothing was undone for this long beyond the last delay, default 60,000 ms. */
  readonly quietMs?: number
}

/** So many are remembered before old ones are looked for. */
const SWEEP_AT = 100

interface Fight {
  count: number
  atMs: number
  delayMs: number
}

/** Repairs by object and rival. */
export class FightLedger {
  readonly #fights = new Map<string, Fight>()
  readonly #limits: Required<FightLimits>
  #sweepAt = SWEEP_AT

  constructor(limits: FightLimits = {}) {
    const defaults = {
      halfLifeMs: 10_000,
      threshold: 8,
      patientThreshold: 30,
      baseDelayMs: 1_000,
      maxDelayMs: 300_000,
      quietMs: 60_000,
    }
    this.#limits = { ...defaults, ...limits }
  }

  /** Notes that a rival undid what we declared; returns how long to wait before putting it back, 0 for at once. `patient` for people and deletions. */
  note(object: string, rival: string, nowMs: number, { patient = false } = {}): number {
    const { halfLifeMs, baseDelayMs, maxDelayMs } = this.#limits
    const threshold = patient ? this.#limits.patientThreshold : this.#limits.threshold
    const key = `${object}\0${rival}`
    const fight = this.#fights.get(key) ?? { count: 0, atMs: nowMs, delayMs: 0 }
    if (!this.#fights.has(key)) this.#sweepFor(nowMs)
    this.#fights.set(key, fight)
    if (this.#isOver(fight, nowMs)) fight.delayMs = 0
    fight.count = fight.count * 0.5 ** ((nowMs - fight.atMs) / halfLifeMs) + 1
    fight.atMs = nowMs
    if (fight.delayMs > 0) fight.delayMs = Math.min(maxDelayMs, fight.delayMs * 2)
    else if (fight.count >= threshold) fight.delayMs = baseDelayMs
    return fight.delayMs
  }

  /** How long after `nowMs` a fight over an object is over if nothing more happens; 0 when there is none. */
  remainingMs(object: string, nowMs: number): number {
    let remaining = 0
    for (const [key, fight] of this.#fights) {
      if (!key.startsWith(`${object}\0`) || fight.delayMs === 0) continue
      remaining = Math.max(remaining, fight.atMs + fight.delayMs + this.#limits.quietMs - nowMs)
    }
    return remaining
  }

  /** How many are remembered. */
  get size(): number {
    return this.#fights.size
  }

  /** Before one more is remembered, now and then: forgets what has long decayed. */
  #sweepFor(nowMs: number): void {
    if (this.#fights.size < this.#sweepAt) return
    for (const [key, fight] of this.#fights) {
      if (this.#isOver(fight, nowMs) && nowMs - fight.atMs > 10 * this.#limits.halfLifeMs) this.#fights.delete(key)
    }
    this.#sweepAt = Math.max(SWEEP_AT, this.#fights.size * 2)
  }

  #isOver(fight: Fight, nowMs: number): boolean {
    return nowMs - fight.atMs > fight.delayMs + this.#limits.quietMs
  }
}

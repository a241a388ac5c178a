// How many Events may be written: a few at once for an object and for all, and then slowly. Pure but for what it remembers,
// which is bounded.

/** A bucket of tokens. */
export interface BucketLimits {
  readonly burst: number
  /** Tokens that come back each minute. */
  readonly perMinute: number
}

/** The limits. */
export interface BudgetLimits {
  readonly object: BucketLimits
  readonly overall: BucketLimits
  /** Objects that are remembered. */
  readonly objects: number
}

/** Far below what an API server notices, and enough to see what goes on. */
export const EVENT_LIMITS: BudgetLimits = {
  object: { burst: 6, perMinute: 1 },
  overall: { burst: 50, perMinute: 60 },
  objects: 1_000,
}

/** Tokens for each object and for all. */
export class EventBudget {
  readonly #limits: BudgetLimits
  readonly #objects = new Map<string, Bucket>()
  readonly #overall: Bucket

  constructor(limits: BudgetLimits = EVENT_LIMITS) {
    this.#limits = limits
    this.#overall = new Bucket(limits.overall)
  }

  /** Takes a token for an object at a time in milliseconds; false when there is none. */
  take(object: string, nowMs: number): boolean {
    const known = this.#objects.get(object)
    const bucket = known ?? new Bucket(this.#limits.object)
    // The object that was heard of last is forgotten last.
    this.#objects.delete(object)
    this.#objects.set(object, bucket)
    const [oldest] = this.#objects.keys()
    if (this.#objects.size > this.#limits.objects && oldest !== undefined) this.#objects.delete(oldest)
    if (bucket.left(nowMs) < 1 || this.#overall.left(nowMs) < 1) return false
    bucket.take()
    this.#overall.take()
    return true
  }
}

class Bucket {
  readonly #limits: BucketLimits
  #tokens: number
  #atMs: number | undefined

  constructor(limits: BucketLimits) {
    this.#limits = limits
    this.#tokens = limits.burst
  }

  left(nowMs: number): number {
    const passedMs = Math.max(0, nowMs - (this.#atMs ?? nowMs))
    this.#atMs = nowMs
    this.#tokens = Math.min(this.#limits.burst, this.#tokens + (passedMs / 60_000) * this.#limits.perMinute)
    return this.#tokens
  }

  take(): void {
    this.#tokens--
  }
}

// When a failed object is tried again. Errors of the user are tried again too, slowly: what was wrong may be the
// cluster, and a later fix there must be noticed.

import { backoffMs } from '@fairlead/shared/backoff'
import type { AppError } from '@fairlead/shared/errors'

/** How failed objects are tried again. */
export interface RetryLimits {
  /** First delay after an error that passes by itself, default 500 ms. */
  readonly transientBaseMs?: number
  /** Longest delay after an error that passes by itself, default 30,000 ms. */
  readonly transientMaxMs?: number
  /** First delay after an error that somebody must mend, default 30,000 ms. */
  readonly userBaseMs?: number
  /** Longest delay after an error that somebody must mend, default 300,000 ms. */
  readonly userMaxMs?: number
}

/** Milliseconds until the next try; `attempt` counts the failures before this one. */
export function retryDelayMs(error: AppError, attempt: number, limits: RetryLimits = {}): number {
  const { transientBaseMs = 500, transientMaxMs = 30_000, userBaseMs = 30_000, userMaxMs = 300_000 } = limits
  return error.kind === 'user'
    ? backoffMs(attempt, { baseMs: userBaseMs, maxMs: userMaxMs })
    : backoffMs(attempt, { baseMs: transientBaseMs, maxMs: transientMaxMs })
}

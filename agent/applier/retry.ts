// When a failed object is tried again, by the class of its error. Errors of the user are tried again too, slowly: what
// was wrong may be the cluster, and a later fix there must be noticed.

import { backoffMs } from '@fairlead/shared/backoff'
import type { AppError, ErrorCode } from '@fairlead/shared/errors'
import { KubeError } from '../kube/kube-error.ts'

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

/** `conflict`: another write came in between, the next try is likely to succeed. `transient`: passes by itself. `user`: somebody must mend it. */
export type RetryClass = 'conflict' | 'transient' | 'user'

/** First delay and longest delay after a conflict, in milliseconds. */
const CONFLICT = { baseMs: 50, maxMs: 5_000 }
const CONFLICTS: ReadonlySet<ErrorCode> = new Set(['ApplyConflict', 'AlreadyExists'])

/** The class of an error. */
export function retryClassOf(error: Pick<AppError, 'code' | 'kind'>): RetryClass {
  if (CONFLICTS.has(error.code)) return 'conflict'
  // Made by somebody else at the same time as the application, often: a look costs one small request.
  if (error.code === 'ServiceAccountMissing') return 'transient'
  return error.kind === 'user' ? 'user' : 'transient'
}

/** Milliseconds until the next try; `attempt` counts the failures before this one. Never sooner than the API server asked for. */
export function retryDelayMs(error: AppError, attempt: number, limits: RetryLimits = {}): number {
  const askedMs = error instanceof KubeError ? (error.retryAfterMs ?? 0) : 0
  return Math.max(askedMs, backoffMs(attempt, backoffOf(retryClassOf(error), limits)))
}

function backoffOf(retryClass: RetryClass, limits: RetryLimits): { baseMs: number; maxMs: number } {
  const { transientBaseMs = 500, transientMaxMs = 30_000, userBaseMs = 30_000, userMaxMs = 300_000 } = limits
  if (retryClass === 'user') return { baseMs: userBaseMs, maxMs: userMaxMs }
  if (retryClass === 'transient') return { baseMs: transientBaseMs, maxMs: transientMaxMs }
  return { baseMs: Math.min(CONFLICT.baseMs, transientBaseMs), maxMs: Math.min(CONFLICT.maxMs, transientMaxMs) }
}

// Waiting: exponential backoff with full jitter, and sleeps and waits that can be aborted.
import { setTimeout as delay } from 'node:timers/promises'
import { AppError } from './errors.ts'

/** How a backoff grows. */
export interface BackoffOptions {
  /** First delay in milliseconds, default 500. */
  readonly baseMs?: number
  /** Largest delay in milliseconds, default 30,000. */
  readonly maxMs?: number
  /** Random source in [0, 1), default Math.random. */
  readonly random?: () => number
}

/** Delay in milliseconds before try `attempt` (0 for the first retry): between half and all of base x 2^attempt, capped. */
export function backoffMs(
  attempt: number,
  { baseMs = 500, maxMs = 30_000, random = Math.random }: BackoffOptions = {},
): number {
  const ceiling = Math.min(maxMs, baseMs * 2 ** Math.min(attempt, 30))
  return ceiling / 2 + (random() * ceiling) / 2
}

/** `ms` give or take `fraction` of it (default a tenth). */
export function jittered(ms: number, fraction = 0.1, random: () => number = Math.random): number {
  return ms * (1 - fraction + 2 * fraction * random())
}

/** Resolves after `ms`; rejects with the signal's reason when it aborts. The timer does not keep the process alive. */
export async function sleep(ms: number, signal?: AbortSignal): Promise<void> {
  await delay(ms, undefined, signal ? { signal } : {})
}

/** As the promise, unless the signal aborts first: then it rejects at once, with the signal's reason where that is an AppError, else with Aborted and `message`. The work behind the promise goes on. */
export async function unlessAborted<T>(promise: Promise<T>, signal: AbortSignal, message = 'given up'): Promise<T> {
  const { promise: aborted, reject } = Promise.withResolvers<never>()
  const abort = (): void => {
    const { reason } = signal
    reject(reason instanceof AppError ? reason : new AppError('Aborted', message, { cause: reason }))
  }
  signal.addEventListener('abort', abort, { once: true })
  if (signal.aborted) abort()
  try {
    return await Promise.race([promise, aborted])
  } finally {
    signal.removeEventListener('abort', abort)
  }
}

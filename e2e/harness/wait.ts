// Waiting for a condition: the only way in which a test lets time pass. A time-out says what was waited for, what was
// last seen, and how the logs end.

import { setTimeout as delay } from 'node:timers/promises'
import { inspect } from 'node:util'

/** Something whose last lines help to explain why a wait failed: a process, a pod, a server. */
export type LogSource = {
  readonly name: string
  /** The last lines of the log, 30 by default. */
  tail(lines?: number): string
}

/** A process that a wait depends on: the wait fails at once when it has ended. */
export type LifeSign = LogSource & {
  /** Why it is no longer running, or undefined while it runs. */
  describeExit(): string | undefined
}

/** Limits and explanations of one wait. */
export type WaitOptions = {
  /** Default 10,000 ms. */
  readonly timeoutMs?: number
  /** Between two looks at the condition. Default 25 ms. */
  readonly intervalMs?: number
  /** Ends the wait; waitFor rejects with the signal's reason. */
  readonly signal?: AbortSignal
  /** Shown by their tails when the wait fails. */
  readonly logs?: readonly LogSource[]
  /** The wait fails at once, with the log, when one of these is no longer running. */
  readonly alive?: readonly LifeSign[]
}

const lateError = new Error('the condition did not answer in time')

type Truthy<T> = Exclude<T, false | undefined | null | 0 | ''>

/**
 * Waits until the condition returns something truthy, and returns that. A condition that throws counts as not yet
 * true. The condition may call `see` with what it looks at, to be shown on time-out; else its last result is shown.
 */
export async function waitFor<T>(
  what: string,
  condition: (see: (value: unknown) => void) => T | Promise<T>,
  options: WaitOptions = {},
): Promise<Truthy<T>> {
  const { timeoutMs = 10_000, intervalMs = 25, signal, alive = [] } = options
  const deadline = performance.now() + timeoutMs
  let seen: unknown
  for (;;) {
    signal?.throwIfAborted()
    let hasSeen = false
    const see = (value: unknown) => {
      hasSeen = true
      seen = value
    }
    try {
      const result = await withDeadline(condition(see), deadline)
      if (result) return result as Truthy<T>
      if (!hasSeen) seen = result
    } catch (error) {
      // What was seen in good time says more than that the last look was too late.
      if (!(error === lateError && seen !== undefined)) seen = error
    }
    const ended = alive.find((process) => process.describeExit() !== undefined)
    if (ended)
      throw explain(`${ended.describeExit()} while waiting for ${what}`, seen, [ended, ...(options.logs ?? [])])
    if (performance.now() >= deadline) {
      throw explain(`waited ${timeoutMs} ms for ${what}`, seen, [...alive, ...(options.logs ?? [])])
    }
    await delay(intervalMs, undefined, signal ? { signal } : {})
  }
}

/** The result, unless it comes after the deadline: a condition that never answers must not outlive the wait. */
async function withDeadline<T>(result: T | Promise<T>, deadline: number): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  const expired = new Promise<never>((_, reject) => {
    const remainingMs = Math.max(deadline - performance.now(), 0)
    timer = setTimeout(() => reject(lateError), remainingMs)
  })
  try {
    return await Promise.race([result, expired])
  } finally {
    clearTimeout(timer)
  }
}

function explain(message: string, seen: unknown, logs: readonly LogSource[]): Error {
  const last =
    seen instanceof Error ? seen.message : inspect(seen, { depth: 8, breakLength: 140, maxStringLength: 4000 })
  const tails = [...new Set(logs)].map((log) => `--- the end of the log of ${log.name}\n${log.tail()}`)
  return new Error([message, `last seen: ${last}`, ...tails].join('\n'))
}

// Keeps one agent of several the one that writes. Thin: what to do is decided in election.ts, here it is done, and the
// Lease is watched, so that a stand-by hears at once that it was given back.
import { backoffMs, sleep } from '@fairlead/shared/backoff'
import { type AppError, toAppError } from '@fairlead/shared/errors'
import type { Logger } from '@fairlead/shared/logger'
import type { Kube } from '../kube/kube.ts'
import { isStatus } from '../kube/kube-error.ts'
import {
  decideElection,
  ELECTION_TIMING,
  type ElectionTiming,
  mayWrite,
  type Observation,
  observeLease,
} from './election.ts'
import { Lease } from './lease.ts'

/** Name of the Lease in the agent's namespace. */
export const LEASE_NAME = 'fairlead-agent'

/** Between two tries of a write that failed; the longest that one may take; the longest pause of the loop, in ms. */
const RETRY_MS = 500
const CALL_MS = 3_000
const TURN_MS = 15_000

/** How an election is made. */
export interface LeaderElectionOptions {
  readonly kube: Kube
  /** The agent's own namespace. */
  readonly namespace: string
  /** Different for each process: the pod's name and something random. */
  readonly identity: string
  /** Called when this process begins to lead. */
  readonly onAcquired: () => void
  /** Called when it ceases to lead, other than by `release`: nothing may be written any more. */
  readonly onLost: () => void
  /** Called each time that the loop turns, at least every 15 s. */
  readonly onTurn?: () => void
  readonly logger: Logger
  /** Default ELECTION_TIMING. */
  readonly timing?: ElectionTiming
}

/** One candidate. */
export class LeaderElection {
  readonly #options: LeaderElectionOptions
  readonly #timing: ElectionTiming
  readonly #lease: Lease
  #observation: Observation | undefined
  #renewedAtMs: number | undefined
  #wake = Promise.withResolvers<void>()
  #told = ''

  constructor(options: LeaderElectionOptions) {
    this.#options = options
    this.#timing = options.timing ?? ELECTION_TIMING
    this.#lease = new Lease(options.kube, options.namespace, LEASE_NAME)
  }

  /** Whether it leads. */
  get isLeader(): boolean {
    return this.#renewedAtMs !== undefined
  }

  /** Who has the Lease, as far as is known; empty for nobody. */
  get holder(): string {
    return this.#observation?.record?.holder ?? ''
  }

  /** Whether the Lease has been read: then a stand-by can take over. */
  get isInformed(): boolean {
    return this.#observation !== undefined
  }

  /** Whether this process may write in this moment: it leads, and no other can have begun to. */
  mayWrite(): boolean {
    return mayWrite(this.#candidate, performance.now(), this.#timing)
  }

  /** Runs until the signal aborts. What is held stays held until `release`, or until it expires. */
  async run(signal: AbortSignal): Promise<void> {
    const following = this.#follow(signal)
    while (!signal.aborted) {
      this.#options.onTurn?.()
      const nowMs = performance.now()
      const step = decideElection(this.#candidate, nowMs, this.#timing)
      if (step.do === 'stepDown') this.#stepDown(step.why)
      else if (step.do === 'wait') await this.#wait(Math.min(step.untilMs - nowMs, TURN_MS), signal)
      else await this.#claim(signal)
    }
    await following
  }

  /** Gives the Lease back, so that a stand-by takes over at once. To be called when nothing writes any more. Never rejects: what cannot be given back expires. */
  async release(): Promise<void> {
    const { identity, logger } = this.#options
    const record = this.#observation?.record
    if (!this.isLeader || record?.holder !== identity) return
    this.#renewedAtMs = undefined
    try {
      await this.#lease.write(record, { holder: '', leaseMs: 1_000 }, CALL_MS)
      logger.info({ identity }, 'gave the lead back')
    } catch (error) {
      logger.warn({ error }, 'the lead could not be given back and expires')
    }
  }

  get #candidate() {
    const { identity } = this.#options
    return { identity, observation: this.#observation, renewedAtMs: this.#renewedAtMs }
  }

  async #claim(signal: AbortSignal): Promise<void> {
    const { identity, logger } = this.#options
    const sentAtMs = performance.now()
    const leftMs = (this.#renewedAtMs ?? sentAtMs) + this.#timing.deadlineMs - sentAtMs
    const timeoutMs = Math.max(1, Math.min(CALL_MS, leftMs))
    try {
      const last = this.#observation?.record
      const written = await this.#lease.write(last, { holder: identity, leaseMs: this.#timing.leaseMs }, timeoutMs)
      this.#observe(written)
      const wasLeader = this.isLeader
      // Counted from when it was sent: others see it later than that.
      this.#renewedAtMs = sentAtMs
      this.#told = ''
      if (wasLeader || signal.aborted) return
      logger.info({ identity, transitions: written.transitions }, 'leading')
      this.#options.onAcquired()
    } catch (error) {
      await this.#recover(toAppError(error), signal)
    }
  }

  async #recover(error: AppError, signal: AbortSignal): Promise<void> {
    if (error.kind === 'bug') throw error
    try {
      // Somebody else was quicker, or took it away: see who.
      if (isStatus(error, 409) || isStatus(error, 404)) return this.#observe(await this.#lease.read(CALL_MS))
    } catch (thrown) {
      if (toAppError(thrown).kind === 'bug') throw thrown
    }
    if (this.#told !== error.message) this.#options.logger.warn({ error }, 'the lease cannot be written')
    this.#told = error.message
    await sleep(RETRY_MS * (1 + Math.random() / 2), signal).catch(() => undefined)
  }

  #stepDown(why: 'lost' | 'silent'): void {
    this.#renewedAtMs = undefined
    const { logger, identity, onLost } = this.#options
    logger.warn({ identity, holder: this.holder, why }, 'no longer leading')
    onLost()
  }

  async #follow(signal: AbortSignal): Promise<void> {
    for (let failures = 0; !signal.aborted; ) {
      try {
        for await (const record of this.#lease.follow(signal)) {
          failures = 0
          this.#observe(record)
        }
      } catch (error) {
        if (signal.aborted) return
        const seen = toAppError(error)
        if (seen.kind === 'bug') throw error
        if (failures === 0) this.#options.logger.debug({ error: seen }, 'the lease cannot be watched')
      }
      await sleep(backoffMs(failures++, { baseMs: 50, maxMs: 2_000 }), signal).catch(() => undefined)
    }
  }

  #observe(record: Observation['record']): void {
    const last = this.#observation
    // An event of a write that is answered already.
    if (last?.record && record && isOlder(record.resourceVersion, last.record.resourceVersion)) return
    this.#observation = observeLease(last, record, performance.now())
    if (this.#observation === last) return
    this.#wake.resolve()
    this.#wake = Promise.withResolvers()
  }

  async #wait(ms: number, signal: AbortSignal): Promise<void> {
    const waiting = new AbortController()
    await Promise.race([
      this.#wake.promise,
      sleep(Math.max(0, ms), AbortSignal.any([signal, waiting.signal])).catch(() => undefined),
    ])
    waiting.abort()
  }
}

/** Resource versions of one object are numbers that grow; what is not a number is taken as new. */
function isOlder(a: string, b: string): boolean {
  return /^\d+$/.test(a) && /^\d+$/.test(b) && BigInt(a) < BigInt(b)
}

// Whether, and when, this process leads: always where it is alone, by election where there are several. What is led is
// begun and ended as a whole.
import { randomBytes } from 'node:crypto'
import type { Lifecycle } from '@fairlead/shared/lifecycle'
import type { Logger } from '@fairlead/shared/logger'
import type { Kube } from '../kube/kube.ts'
import type { Liveness } from '../liveness.ts'
import { LeaderElection } from './leader-election.ts'
import { Terms } from './terms.ts'

/** The loop of the election turns every 15 s at least, but for a request that takes its time. */
const ELECTION_STUCK_MS = 60_000

/** How leading is arranged. */
export interface LeadOptions<Led> {
  /** Makes and starts what is led, with a lifecycle of its own. */
  readonly begin: (term: Lifecycle) => Led
  readonly kube: Kube
  readonly liveness: Liveness
  readonly logger: Logger
  readonly config: { readonly leaderElection: boolean; readonly namespace: string; readonly podName: string }
  /** What is led is stopped within this time, in milliseconds. */
  readonly stopDeadlineMs: number
  readonly onTransition: (to: 'leader' | 'standby') => void
}

/** The lead of one process. */
export class Lead<Led> {
  readonly #options: LeadOptions<Led>
  readonly #terms: Terms<Led>
  readonly #election: LeaderElection | undefined

  constructor(options: LeadOptions<Led>) {
    this.#options = options
    const { begin, kube, liveness, logger, config, stopDeadlineMs } = options
    this.#terms = new Terms({ begin, stopDeadlineMs, logger })
    if (!config.leaderElection) return
    const loop = liveness.loop('the election', ELECTION_STUCK_MS)
    this.#election = new LeaderElection({
      kube,
      namespace: config.namespace,
      identity: `${config.podName}_${randomBytes(6).toString('base64url')}`,
      onAcquired: () => this.#begin(),
      onLost: () => this.#lose(),
      onTurn: () => loop.turned(),
      logger,
    })
  }

  /** What is led; undefined on a stand-by. */
  get current(): Led | undefined {
    return this.#terms.current
  }

  /** `leader`, `standby`, or `alone` where there is no election. */
  get role(): 'leader' | 'standby' | 'alone' {
    if (!this.#election) return 'alone'
    return this.#election.isLeader ? 'leader' : 'standby'
  }

  /** Who leads, as far as is known; empty where there is no election. */
  get leader(): string {
    return this.#election?.holder ?? ''
  }

  /** It does not lead, and can take over. */
  get isStandby(): boolean {
    return this.#election !== undefined && !this.#election.isLeader && this.#election.isInformed
  }

  /** Whether a write may be sent in this moment. */
  mayWrite(): boolean {
    return this.#election?.mayWrite() ?? true
  }

  /** Begins; at the end what is led is stopped first, and only then is the lead given back. */
  start(lifecycle: Lifecycle, onBug: (error: unknown) => void): void {
    const election = this.#election
    if (!election) this.#begin()
    else {
      const running = election.run(lifecycle.signal).catch(onBug)
      lifecycle.add('election', async () => {
        await running
        await election.release()
      })
    }
    lifecycle.add('leading', async () => await this.#terms.end())
  }

  #begin(): void {
    this.#options.onTransition('leader')
    this.#terms.begin()
  }

  #lose(): void {
    this.#options.onTransition('standby')
    // Parts that fail to stop are logged by the lifecycle.
    void this.#terms.end()
  }
}

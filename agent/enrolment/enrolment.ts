// How the agent gets and keeps its identity: joins once with the one-time token, renews its JWT, and says clearly when
// the hub refuses. Nothing here ever stops what the applications do.
import type { AgentFacts } from '@fairlead/proto/report'
import { backoffMs, jittered, sleep } from '@fairlead/shared/backoff'
import { sha256Hex } from '@fairlead/shared/digest'
import { AppError, isAborted, toAppError } from '@fairlead/shared/errors'
import type { Logger } from '@fairlead/shared/logger'
import { createNkey } from '@fairlead/shared/nkey'
import type { Kube } from '../kube/kube.ts'
import { fetchPinnedCa } from './ca-pin.ts'
import { type HubEndpoint, joinHub, renewCredentials } from './hub-client.ts'
import { findJoined, type JoinedIdentity, jwtLifetime, type StoredIdentity } from './identity.ts'
import { IdentityStore } from './identity-store.ts'

/** What enrolment needs of the settings. */
export interface EnrolmentConfig {
  readonly hubAddress: string
  readonly hubCaPin: string
  readonly joinToken: string | undefined
  readonly joinSecret: string | undefined
  readonly namespace: string
}

/** How enrolment is made. */
export interface EnrolmentOptions {
  readonly config: EnrolmentConfig
  readonly kube: Kube
  /** Told to the hub when joining. */
  readonly facts: () => Promise<AgentFacts>
  /** Called with the first identity, and whenever it or its credentials have changed. */
  readonly onIdentity: (identity: JoinedIdentity) => void
  /** Called when what keeps the agent from its hub changes; undefined when nothing does. */
  readonly onProblem: (problem: AppError | undefined) => void
  readonly logger: Logger
  /** Waiting times in milliseconds, for tests. */
  readonly timing?: Partial<EnrolmentTiming>
}

/** Waiting times in milliseconds. */
export interface EnrolmentTiming {
  /** First and largest wait after a hub that does not answer. */
  readonly transient: { readonly baseMs: number; readonly maxMs: number }
  /** The same after a refusal. */
  readonly refused: { readonly baseMs: number; readonly maxMs: number }
  /** How often a new join token is looked for while the hub refuses. */
  readonly tokenPollMs: number
  /** Least time between two renewals that NATS's refusals ask for. */
  readonly refreshMs: number
}

const DEFAULT_TIMING: EnrolmentTiming = {
  transient: { baseMs: 500, maxMs: 30_000 },
  refused: { baseMs: 30_000, maxMs: 300_000 },
  tokenPollMs: 10_000,
  refreshMs: 15_000,
}

/** The longest that a timer may wait. */
const MAX_WAIT_MS = 2 ** 31 - 1

/** A running enrolment. */
export class Enrolment {
  readonly #options: EnrolmentOptions
  readonly #timing: EnrolmentTiming
  readonly #store: IdentityStore
  #stored: StoredIdentity | undefined
  #isRevoked = false
  #problem: AppError | undefined
  /** When the JWT is to be renewed, in ms since the epoch. */
  #renewAtMs = Number.POSITIVE_INFINITY
  #renewedAtMs = 0
  #wake = new AbortController()

  constructor(options: EnrolmentOptions) {
    this.#options = options
    this.#timing = { ...DEFAULT_TIMING, ...options.timing }
    this.#store = new IdentityStore(options.kube, options.config.namespace)
  }

  /** True from when the hub refuses the identity until another one has joined, whatever passing trouble is met on the way. */
  get isRevoked(): boolean {
    return this.#isRevoked
  }

  /** Runs until the signal aborts; never rejects for anything outside the process. */
  async run(signal: AbortSignal): Promise<void> {
    for (let failures = 0; !signal.aborted; ) {
      try {
        await this.#advance(signal)
        failures = 0
        this.#setProblem(undefined)
        await this.#waitUntil(this.#renewAtMs, signal)
      } catch (error) {
        if (signal.aborted) return
        if (!isExpected(error)) throw error
        await this.#recover(toAppError(error), failures++, signal)
      }
    }
  }

  /** Asks for new credentials soon: NATS refused the JWT, or a slice is signed with a key that is not known yet. */
  refresh(): void {
    this.#renewAtMs = Math.min(
      this.#renewAtMs,
      Math.max(Date.now(), this.#renewedAtMs + jittered(this.#timing.refreshMs)),
    )
    this.#wake.abort()
  }

  /** Does the next thing that is due: load, join or renew. */
  async #advance(signal: AbortSignal): Promise<void> {
    if (!this.#stored) await this.#load(signal)
    const { stored, caPin } = { stored: this.#stored, caPin: this.#options.config.hubCaPin }
    if (!stored?.joined || stored.hub?.caPin !== caPin) {
      await this.#join(await this.#requireToken(signal), signal)
    } else if (this.#isRevoked && (await this.#hasNewToken(signal))) {
      await this.#join(await this.#requireToken(signal), signal)
    } else if (Date.now() >= this.#renewAtMs) {
      await this.#renew(stored, signal)
    }
  }

  async #load(signal: AbortSignal): Promise<void> {
    this.#stored = await this.#store.load(signal)
    if (!this.#stored?.joined) return
    // Also when the settings name another hub now: until that one has been joined, the old one's slice is kept up.
    const { issuedAtMs, expiresAtMs } = jwtLifetime(this.#stored.joined.credentials)
    this.#renewAtMs = issuedAtMs + (expiresAtMs - issuedAtMs) * (0.6 + 0.1 * Math.random())
    this.#announce()
  }

  /** Redeems the token. The key is in the Secret before the token is sent, so that a crash in between loses nothing: the same token with the same key is asked again. */
  async #join(token: string, signal: AbortSignal): Promise<void> {
    const { config, facts, logger } = this.#options
    const caPem = await fetchPinnedCa(config.hubAddress, config.hubCaPin, signal)
    const hub = { caPem, caPin: config.hubCaPin }
    const tokenDigest = sha256Hex(token)
    const started = this.#stored
    if (!started || started.joined || started.tokenDigest !== tokenDigest || started.hub?.caPin !== hub.caPin) {
      // A key that has joined once is never used for another join: the hub may have revoked it.
      const key = started && !started.joined ? started.key : createNkey('U')
      await this.#save({ key, tokenDigest, joined: undefined, hub }, signal)
    }
    const pending = this.#stored
    if (!pending) throw new AppError('Internal', 'no identity after it was saved')
    const answer = await joinHub(
      { address: config.hubAddress, caPem },
      { token, key: pending.key, facts: await facts() },
      signal,
    )
    const { clusterId, clusterName, credentials } = answer
    if (!credentials) throw new AppError('Unavailable', `the hub at ${config.hubAddress} sent no credentials`)
    await this.#save({ ...pending, joined: { clusterId, clusterName, credentials }, hub }, signal)
    this.#isRevoked = false
    logger.info({ cluster: clusterName, hub: config.hubAddress }, 'joined the hub')
    this.#scheduleRenewal()
    this.#announce()
  }

  async #renew(stored: StoredIdentity, signal: AbortSignal): Promise<void> {
    const { joined, hub } = stored
    if (!joined || !hub) throw new AppError('Internal', 'nothing to renew')
    const endpoint: HubEndpoint = { address: this.#options.config.hubAddress, caPem: hub.caPem }
    this.#renewedAtMs = Date.now()
    const credentials = await renewCredentials(endpoint, { clusterId: joined.clusterId, key: stored.key }, signal)
    await this.#save({ ...stored, joined: { ...joined, credentials } }, signal)
    this.#isRevoked = false
    this.#options.logger.info({ expiresAt: new Date(jwtLifetime(credentials).expiresAtMs) }, 'renewed the credentials')
    this.#scheduleRenewal()
    this.#announce()
  }

  /** At two thirds of the JWT's life. Only its length is used, so that a wrong clock here does no harm. */
  #scheduleRenewal(): void {
    const credentials = this.#stored?.joined?.credentials
    if (!credentials) return
    const { issuedAtMs, expiresAtMs } = jwtLifetime(credentials)
    this.#renewedAtMs = Date.now()
    this.#renewAtMs = Date.now() + Math.max(1_000, jittered(((expiresAtMs - issuedAtMs) * 2) / 3, 0.1))
  }

  async #save(identity: StoredIdentity, signal: AbortSignal): Promise<void> {
    try {
      await this.#store.save(identity, signal)
      this.#stored = identity
    } catch (error) {
      // Another agent wrote the Secret: what it says holds.
      if (error instanceof AppError && error.code === 'ApplyConflict') this.#stored = await this.#store.load(signal)
      throw error
    }
  }

  #announce(): void {
    const identity = this.#stored && findJoined(this.#stored)
    if (identity) this.#options.onIdentity(identity)
  }

  async #findToken(signal: AbortSignal): Promise<string | undefined> {
    const { joinSecret, joinToken } = this.#options.config
    return (joinSecret === undefined ? undefined : await this.#store.readToken(joinSecret, signal)) ?? joinToken
  }

  async #requireToken(signal: AbortSignal): Promise<string> {
    const token = await this.#findToken(signal)
    if (token !== undefined) return token
    const message = 'there is no join token: get one with "fairlead cluster token <name>" and give it to the chart'
    throw new AppError('JoinTokenRefused', message)
  }

  async #hasNewToken(signal: AbortSignal): Promise<boolean> {
    const token = await this.#findToken(signal)
    return token !== undefined && sha256Hex(token) !== this.#stored?.tokenDigest
  }

  /** Says what is wrong and waits: shortly for a hub that is away, long for one that refuses, but then looks for a new token. */
  async #recover(problem: AppError, failures: number, signal: AbortSignal): Promise<void> {
    if (problem.code === 'IdentityRevoked') this.#isRevoked = true
    this.#setProblem(problem)
    if (problem.kind !== 'user') {
      await this.#waitUntil(Date.now() + backoffMs(failures, this.#timing.transient), signal)
      return
    }
    const until = Date.now() + backoffMs(failures, this.#timing.refused)
    const triedDigest = await this.#tokenDigest(signal)
    // With a revoked identity no token was tried: one that is new may have been there since before the start.
    const isUntried = triedDigest !== undefined && triedDigest !== this.#stored?.tokenDigest
    if (problem.code === 'IdentityRevoked' && isUntried) return
    while (Date.now() < until && !signal.aborted) {
      await this.#waitUntil(Math.min(until, Date.now() + jittered(this.#timing.tokenPollMs)), signal)
      if ((await this.#tokenDigest(signal)) !== triedDigest) return
    }
  }

  async #tokenDigest(signal: AbortSignal): Promise<string | undefined> {
    try {
      const token = await this.#findToken(signal)
      return token === undefined ? undefined : sha256Hex(token)
    } catch (error) {
      if (!isExpected(error)) throw error
      return undefined
    }
  }

  /** Waits, or until refresh is called. */
  async #waitUntil(atMs: number, signal: AbortSignal): Promise<void> {
    this.#wake = new AbortController()
    const waitMs = Math.min(MAX_WAIT_MS, Math.max(0, atMs - Date.now()))
    await sleep(waitMs, AbortSignal.any([signal, this.#wake.signal])).catch(() => undefined)
  }

  #setProblem(problem: AppError | undefined): void {
    const isNew = problem?.message !== this.#problem?.message
    this.#problem = problem
    if (!isNew) return
    if (problem) this.#options.logger.error({ error: problem }, 'enrolment is not complete')
    this.#options.onProblem(problem)
  }
}

/** False for defects, which must crash the process. */
function isExpected(error: unknown): boolean {
  return isAborted(error) || (error instanceof AppError && error.kind !== 'bug')
}

// How an agent gets and keeps its identity: redeems a one-time token for a key made in the cluster, and renews by proof of that key.
import { toJsonString } from '@bufbuild/protobuf'
import type { Credentials } from '@fairlead/proto/enrolment'
import { type AgentFacts, AgentFactsSchema } from '@fairlead/proto/report'
import { joinProofBytes, renewProofBytes } from '@fairlead/shared/enrolment-proof'
import { AppError } from '@fairlead/shared/errors'
import type { Logger } from '@fairlead/shared/logger'
import { isPublicNkey, verifyNkey } from '@fairlead/shared/nkey'
import { CLUSTER_ID_PATTERN } from '@fairlead/shared/subjects'
import type { Transaction } from 'kysely'
import { AttemptLimiter, type AttemptLimits, JOIN_LIMITS, peerHost } from '../attempt-limiter.ts'
import { readCapabilities } from '../capabilities.ts'
import { writeAudit } from '../store/audit.ts'
import { saveCapabilities } from '../store/capabilities-rows.ts'
import type { Schema } from '../store/schema.ts'
import type { Store } from '../store/store.ts'
import { createChallenges } from './challenge.ts'
import type { CredentialIssuer } from './credential-issuer.ts'
import { consumeToken, findToken, type TokenRefusal } from './join-token.ts'
import { revokeKey } from './revocation.ts'

/** A request to join. */
export interface JoinAttempt {
  readonly token: string
  readonly publicKey: string
  readonly proof: Uint8Array
  readonly facts?: AgentFacts | undefined
  /** Address of the caller, for the limits. */
  readonly peer: string
}

/** A request to renew. */
export interface RenewAttempt {
  readonly clusterId: string
  readonly publicKey: string
  readonly challenge: Uint8Array
  readonly proof: Uint8Array
}

/** An agent's identity. */
export interface Joined {
  readonly clusterId: string
  readonly clusterName: string
  readonly credentials: Credentials
}

/** How an agent gets and keeps its identity. */
export interface Enrolment {
  /** Redeems a token. The same key may redeem its own token again until it expires, so that a lost answer loses no cluster. Throws JoinTokenRefused in the same words whatever is wrong with the token, TooManyAttempts without touching the database, InvalidArgument for a key or proof that does not hold. */
  join(attempt: JoinAttempt): Promise<Joined>
  /** A challenge to be answered within a minute. */
  challenge(): Uint8Array
  /** New credentials. Throws IdentityRevoked for a removed cluster or a replaced key, FailedPrecondition for an old challenge, PermissionDenied for a wrong proof. */
  renew(attempt: RenewAttempt): Promise<Credentials>
  /** Join tokens that were refused since the start. */
  refusedTokens(): number
  /** Has NATS disconnect a key that was revoked in the database. What fails here is made up for by the outbox. */
  disconnect(publicKey: string | undefined): Promise<void>
}

interface EnrolmentOptions {
  readonly store: Store
  readonly issuer: CredentialIssuer
  readonly onChange: () => void
  readonly logger: Logger
  readonly clock: () => number
  readonly limits?: AttemptLimits
}

const TOKEN_REFUSED =
  'the join token is unknown, already used, or expired; make a new one with: fairlead cluster token <name>'

/** Makes the enrolment part of the registry. */
export function createEnrolment(options: EnrolmentOptions): Enrolment {
  const door = new Door(options)
  return {
    join: (attempt) => door.join(attempt),
    challenge: () => door.challenge(),
    renew: (attempt) => door.renew(attempt),
    refusedTokens: () => door.refusedTokens,
    disconnect: (publicKey) => door.disconnect(publicKey),
  }
}

class Door {
  readonly #options: EnrolmentOptions
  readonly #limiter: AttemptLimiter
  readonly #challenges = createChallenges()
  refusedTokens = 0

  constructor(options: EnrolmentOptions) {
    this.#options = options
    this.#limiter = new AttemptLimiter(options.limits ?? JOIN_LIMITS)
  }

  async join(attempt: JoinAttempt): Promise<Joined> {
    const { store, issuer, onChange, logger, clock } = this.#options
    this.#refuseTooMany(attempt.peer)
    checkJoinProof(attempt)
    const outcome = await store.transaction(async (transaction) => {
      // Transactions follow each other: guesses sent all at once are counted before the next one is looked at.
      this.#refuseTooMany(attempt.peer)
      const outcome = await redeem(transaction, attempt, clock())
      if ('reason' in outcome) this.#limiter.countWrong(attempt.peer, clock())
      return outcome
    })
    if ('reason' in outcome) return await this.#refuse(attempt, outcome)
    const { clusterId, clusterName, replacedKey } = outcome
    logger.info({ cluster: clusterName, clusterId, replaced: replacedKey !== undefined }, 'cluster joined')
    onChange()
    await this.disconnect(replacedKey)
    return { clusterId, clusterName, credentials: await issuer.issue(clusterId, attempt.publicKey) }
  }

  challenge(): Uint8Array {
    return this.#challenges.issue(this.#options.clock())
  }

  async renew({ clusterId, publicKey, challenge, proof }: RenewAttempt): Promise<Credentials> {
    const { store, issuer, clock } = this.#options
    if (!this.#challenges.isValid(challenge, clock())) {
      const why = 'the challenge is not of this hub or older than a minute; ask for another'
      throw new AppError('FailedPrecondition', why)
    }
    if (!verifyNkey(publicKey, renewProofBytes(clusterId, publicKey, challenge), proof)) {
      throw new AppError('PermissionDenied', 'the proof does not hold for this key')
    }
    await checkIdentity(store, clusterId, publicKey)
    return await issuer.issue(clusterId, publicKey)
  }

  async disconnect(publicKey: string | undefined): Promise<void> {
    const { issuer, logger } = this.#options
    if (publicKey === undefined) return
    await issuer.revoke(publicKey).catch((error: unknown) => logger.warn({ error }, 'revoked key not yet disconnected'))
  }

  #refuseTooMany(peer: string): void {
    const waitMs = this.#limiter.waitMs(peer, this.#options.clock())
    if (waitMs === 0) return
    this.refusedTokens++
    const seconds = Math.ceil(waitMs / 1_000)
    throw new AppError('TooManyAttempts', `too many wrong join tokens were tried; wait ${seconds} s`)
  }

  async #refuse(attempt: JoinAttempt, { reason, clusterName }: Refusal): Promise<never> {
    const { store, logger, clock } = this.#options
    this.refusedTokens++
    const peer = peerHost(attempt.peer)
    logger.warn({ reason, peer, cluster: clusterName }, 'join token refused')
    const object = clusterName === undefined ? 'Cluster' : `Cluster/${clusterName}`
    const entry = { actor: `peer:${peer}`, action: 'cluster.join.refused', object, detail: { reason } }
    await writeAudit(store.db, entry, clock())
    throw new AppError('JoinTokenRefused', TOKEN_REFUSED)
  }
}

interface Refusal {
  readonly reason: TokenRefusal
  readonly clusterName?: string
}

interface Redeemed {
  readonly clusterId: string
  readonly clusterName: string
  /** The key that was in use until now. */
  readonly replacedKey?: string
}

function checkJoinProof({ token, publicKey, proof }: JoinAttempt): void {
  if (!isPublicNkey('U', publicKey)) throw new AppError('InvalidArgument', 'the public key is not an nkey of a user')
  if (!verifyNkey(publicKey, joinProofBytes(token, publicKey), proof)) {
    throw new AppError('InvalidArgument', 'the proof does not hold for this token and key')
  }
}

/** Consumes the token, gives the cluster its key and writes the audit row: all or nothing. */
async function redeem(
  transaction: Transaction<Schema>,
  attempt: JoinAttempt,
  nowMs: number,
): Promise<Refusal | Redeemed> {
  const { token, publicKey } = attempt
  const state = await findToken(transaction, token, nowMs)
  const cluster =
    state.clusterId === undefined
      ? undefined
      : await transaction.selectFrom('clusters').selectAll().where('id', '=', state.clusterId).executeTakeFirst()
  if (state.refusal !== undefined || !cluster) {
    return { reason: state.refusal ?? 'unknown', ...(cluster ? { clusterName: cluster.name } : {}) }
  }
  const joined = { clusterId: cluster.id, clusterName: cluster.name }
  if (state.used) return cluster.public_key === publicKey ? joined : { reason: 'used', clusterName: cluster.name }
  await refuseKnownKey(transaction, publicKey, cluster.id)
  const replacedKey = cluster.public_key !== null && cluster.public_key !== publicKey ? cluster.public_key : undefined
  if (replacedKey !== undefined) await revokeKey(transaction, replacedKey, nowMs)
  await consumeToken(transaction, { token, clusterId: cluster.id, nowMs })
  await transaction
    .updateTable('clusters')
    .set({ public_key: publicKey, facts: writeFacts(attempt.facts) ?? cluster.facts, joined_at: nowMs })
    .where('id', '=', cluster.id)
    .execute()
  const capabilities = attempt.facts && readCapabilities(attempt.facts)
  if (capabilities) await saveCapabilities(transaction, cluster.id, capabilities)
  const detail = { publicKey, ...(replacedKey === undefined ? {} : { replacedKey }) }
  const object = `Cluster/${cluster.name}`
  await writeAudit(transaction, { actor: `agent:${cluster.name}`, action: 'cluster.join', object, detail }, nowMs)
  return replacedKey === undefined ? joined : { ...joined, replacedKey }
}

/** A key is one cluster's for ever: neither another cluster's nor a revoked one may come back. */
async function refuseKnownKey(transaction: Transaction<Schema>, publicKey: string, clusterId: string): Promise<void> {
  const revoked = await transaction
    .selectFrom('revoked_keys')
    .select('public_key')
    .where('public_key', '=', publicKey)
    .executeTakeFirst()
  if (revoked) throw new AppError('IdentityRevoked', 'this key was revoked; the agent must make a new one')
  const other = await transaction
    .selectFrom('clusters')
    .select('name')
    .where('public_key', '=', publicKey)
    .where('id', '!=', clusterId)
    .executeTakeFirst()
  if (other) throw new AppError('InvalidArgument', 'this key belongs to another cluster; the agent must make its own')
}

async function checkIdentity(store: Store, clusterId: string, publicKey: string): Promise<void> {
  const row = CLUSTER_ID_PATTERN.test(clusterId)
    ? await store.db.selectFrom('clusters').select('public_key').where('id', '=', clusterId).executeTakeFirst()
    : undefined
  if (row?.public_key === publicKey) return
  const why = row ? "this cluster's key was replaced" : 'this cluster was removed'
  throw new AppError('IdentityRevoked', `${why}; to join again: fairlead cluster token <name>`)
}

function writeFacts(facts: AgentFacts | undefined): string | undefined {
  return facts === undefined ? undefined : toJsonString(AgentFactsSchema, { ...facts, served: [] })
}

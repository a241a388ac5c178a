// Gives agents their NATS credentials and takes them away. What is revoked is in the database; NATS is told, and told again
// whenever the hub connects.
import { create } from '@bufbuild/protobuf'
import { timestampFromMs } from '@bufbuild/protobuf/wkt'
import { type Credentials, CredentialsSchema, SigningKeySchema } from '@fairlead/proto/enrolment'
import { AppError } from '@fairlead/shared/errors'
import type { Logger } from '@fairlead/shared/logger'
import { isPublicNkey } from '@fairlead/shared/nkey'
import type { SigningKeyPair } from '@fairlead/shared/signing'
import { CLAIMS_UPDATE_SUBJECT, CLUSTER_ID_PATTERN, claimsLookupSubject } from '@fairlead/shared/subjects'
import type { NatsConnection } from '@nats-io/transport-node'
import type { Store } from '../store/store.ts'
import { readClaims } from './claims.ts'
import { accountBodies, accountJwt, agentUserJwt, type Revocations, type Trust } from './trust.ts'

/** How long an agent's JWT is valid, in milliseconds. */
export const CREDENTIAL_LIFETIME_MS = 86_400_000

/** Gives and takes agents' credentials. */
export interface CredentialIssuer {
  /** Credentials for 24 h. Throws InvalidArgument for anything but a cluster id that the hub made and a public user key. */
  issue(clusterId: string, publicKey: string): Promise<Credentials>
  /** Refuses the key from now on and disconnects it at once. Kept in the database, so it holds also when NATS is away. */
  revoke(publicKey: string): Promise<void>
}

/** What an issuer needs. */
export interface IssuerOptions {
  readonly trust: Trust
  readonly store: Store
  /** What agents are told of NATS. */
  readonly natsUrls: readonly string[]
  readonly natsCaPem: string
  readonly signingKeys: readonly Pick<SigningKeyPair, 'id' | 'publicKey'>[]
  readonly logger: Logger
  /** Default 24 h. */
  readonly lifetimeMs?: number
}

const REQUEST_TIMEOUT_MS = 5_000

/** The issuer, and what keeps the accounts' claims in NATS as they should be. */
export class Issuer implements CredentialIssuer {
  readonly #options: IssuerOptions
  readonly #lifetimeMs: number
  #system: NatsConnection | undefined
  #pushing: Promise<void> = Promise.resolve()

  constructor(options: IssuerOptions) {
    this.#options = options
    this.#lifetimeMs = options.lifetimeMs ?? CREDENTIAL_LIFETIME_MS
  }

  async issue(clusterId: string, publicKey: string): Promise<Credentials> {
    // The name takes the place of a token in permissions: `*` there would open every cluster.
    if (!CLUSTER_ID_PATTERN.test(clusterId)) throw new AppError('InvalidArgument', 'not a cluster id')
    if (!isPublicNkey('U', publicKey)) throw new AppError('InvalidArgument', 'not the public key of a NATS user')
    const { trust, natsUrls, natsCaPem, signingKeys } = this.#options
    const exp = Math.floor((Date.now() + this.#lifetimeMs) / 1000)
    return create(CredentialsSchema, {
      userJwt: agentUserJwt(trust, clusterId, publicKey, exp),
      expiresAt: timestampFromMs(exp * 1000),
      natsUrls: [...natsUrls],
      natsCaPem,
      signingKeys: signingKeys.map(({ id, publicKey: key }) => create(SigningKeySchema, { id, publicKey: key })),
    })
  }

  async revoke(publicKey: string): Promise<void> {
    const now = Date.now()
    const row = { public_key: publicKey, revoked_at: now, expires_at: now + this.#lifetimeMs + 3_600_000 }
    await this.#options.store.db
      .insertInto('revoked_keys')
      .values(row)
      .onConflict((conflict) => conflict.doNothing())
      .execute()
    await this.pushClaims()
  }

  /** What NATS must refuse: all that a revoked key was ever issued, by whatever clock, as it never comes back. Forgets keys whose last JWT has expired. */
  async readRevocations(): Promise<Revocations> {
    const { db } = this.#options.store
    await db.deleteFrom('revoked_keys').where('expires_at', '<', Date.now()).execute()
    const rows = await db
      .selectFrom('revoked_keys')
      .select(['public_key', 'expires_at'])
      .orderBy('public_key')
      .execute()
    return Object.fromEntries(rows.map((row) => [row.public_key, Math.floor(row.expires_at / 1000)]))
  }

  /** Uses this connection to the SYS account from now on. */
  attach(system: NatsConnection): void {
    this.#system = system
  }

  /** The connection is lost: nothing is sent until `attach`. */
  detach(): void {
    this.#system = undefined
  }

  /** Makes NATS hold the accounts' claims as they should be, and waits until it does. Without a connection it returns at once: the next connect does it. */
  async pushClaims(): Promise<void> {
    const run = this.#pushing.then(() => this.#push())
    this.#pushing = run.catch(() => {})
    await run
  }

  async #push(): Promise<void> {
    const system = this.#system
    if (!system || system.isClosed()) return
    const bodies = accountBodies(this.#options.trust, await this.readRevocations())
    for (const [publicKey, body] of bodies) await this.#pushAccount(system, publicKey, body)
  }

  async #pushAccount(system: NatsConnection, publicKey: string, body: Record<string, unknown>): Promise<void> {
    const { trust, logger } = this.#options
    const reply = await system.request(claimsLookupSubject(publicKey), '', { timeout: REQUEST_TIMEOUT_MS })
    const present = readClaims(reply.string())
    // An update that changes permissions disconnects every agent, so nothing is sent without need.
    if (present && sameBody(present.nats, body)) return
    // The server passes over claims that are older than those it holds, as after the clock was set back.
    const iat = Math.max(Math.floor(Date.now() / 1000), typeof present?.iat === 'number' ? present.iat : 0)
    const jwt = accountJwt(trust, publicKey, body, iat)
    const answer = await system.request(CLAIMS_UPDATE_SUBJECT, jwt, { timeout: REQUEST_TIMEOUT_MS })
    const { error } = answer.json<{ error?: { description?: string } }>()
    if (error) throw new AppError('NatsUnavailable', `NATS refuses the claims: ${error.description ?? 'unknown'}`)
    logger.info({ account: publicKey }, 'account claims updated')
  }
}

/** True when both say the same; our own JWTs come back as they were signed. */
function sameBody(present: unknown, wanted: Record<string, unknown>): boolean {
  const { type: _type, version: _version, ...body } = (present ?? {}) as Record<string, unknown>
  return JSON.stringify(body) === JSON.stringify(wanted)
}

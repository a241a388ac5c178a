// For tests: a NATS with the two accounts and the agent role that shared/subjects spells, as the hub sets it up.
import { createHash, randomBytes } from 'node:crypto'
import { base32Encode, createNkey, type Nkey } from '@fairlead/shared/nkey'
import { AGENT_PERMISSIONS, SERVICE_EXPORTS, STREAM_EXPORT } from '@fairlead/shared/subjects'

const UNLIMITED = { subs: -1, data: -1, payload: -1, imports: -1, exports: -1, wildcards: true, conn: -1, leaf: -1 }

/** The keys of one NATS. */
export class NatsTrust {
  readonly operator = createNkey('O')
  readonly system = createNkey('A')
  readonly hub = createNkey('A')
  readonly agents = createNkey('A')
  readonly role = createNkey('A')

  /** The part of nats-server's configuration that says whom to believe. */
  config(): string {
    const operator = jwt('test', this.operator.publicKey, this.operator, {
      type: 'operator',
      system_account: this.system.publicKey,
    })
    const preload = [this.system, this.hub, this.agents].map(
      (account) => `${account.publicKey}: ${JSON.stringify(this.#accountJwt(account))}`,
    )
    return `operator: ${JSON.stringify(operator)}
system_account: ${this.system.publicKey}
resolver: MEMORY
resolver_preload: { ${preload.join('\n')} }`
  }

  /** A JWT for an agent's key, living `seconds` (default an hour). */
  agentJwt(clusterId: string, publicKey: string, seconds = 3600): string {
    const nats = { type: 'user', issuer_account: this.agents.publicKey }
    return jwt(clusterId, publicKey, this.role, nats, Math.floor(Date.now() / 1000) + seconds)
  }

  /** A JWT that may do everything in the account HUB. */
  hubJwt(publicKey: string): string {
    return jwt('hub', publicKey, this.hub, { type: 'user', subs: -1, data: -1, payload: -1, pub: {}, sub: {} })
  }

  #accountJwt(account: Nkey): string {
    const services = SERVICE_EXPORTS.map((subject) => ({ name: subject, subject, type: 'service' }))
    const stream = { name: 'doorbells', subject: STREAM_EXPORT, type: 'stream' }
    const exports = [...services, stream]
    const imports = exports.map((entry) => ({ ...entry, account: this.hub.publicKey }))
    const role = { kind: 'user_scope', key: this.role.publicKey, role: 'agent', template: AGENT_PERMISSIONS }
    const storage = { mem_storage: -1, disk_storage: -1, streams: -1, consumer: -1 }
    const bodies = new Map<Nkey, Record<string, unknown>>([
      [this.system, { limits: UNLIMITED }],
      [this.hub, { limits: { ...UNLIMITED, ...storage }, exports }],
      [this.agents, { limits: UNLIMITED, signing_keys: [role], imports }],
    ])
    return jwt('account', account.publicKey, this.operator, { type: 'account', ...bodies.get(account) })
  }
}

/** A cluster id like the hub's. */
export function createTestClusterId(): string {
  return base32Encode(randomBytes(16)).toLowerCase().slice(0, 26)
}

function jwt(name: string, sub: string, signer: Nkey, nats: Record<string, unknown>, exp?: number): string {
  const iat = Math.floor(Date.now() / 1000)
  const body = { aud: 'NATS', exp, iat, iss: signer.publicKey, name, sub, nats: { ...nats, version: 2 } }
  const jti = createHash('sha256').update(JSON.stringify(body)).digest('base64url')
  const encode = (data: string | Uint8Array): string => Buffer.from(data).toString('base64url')
  const text = `${encode(JSON.stringify({ typ: 'JWT', alg: 'ed25519-nkey' }))}.${encode(JSON.stringify({ ...body, jti }))}`
  return `${text}.${encode(signer.sign(Buffer.from(text)))}`
}

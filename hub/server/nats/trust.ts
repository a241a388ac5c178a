// The chain of trust: the hub is the operator of its NATS. Two accounts besides SYS: HUB owns JetStream, AGENTS has nothing
// but imports; every agent's JWT is signed with AGENTS' scoped key `agent`, whose template fixes what an agent may do.
import path from 'node:path'
import { createNkey, type Nkey, type NkeyKind, parseNkeySeed } from '@fairlead/shared/nkey'
import { AGENT_PERMISSIONS, SERVICE_EXPORTS, STREAM_EXPORT } from '@fairlead/shared/subjects'
import { keepSecretFile } from '../secret-file.ts'
import { signClaims } from './claims.ts'

/** The keys behind everything that NATS believes. */
export interface Trust {
  readonly operator: Nkey
  /** Signs the accounts' JWTs. */
  readonly operatorSigning: Nkey
  readonly system: Nkey
  readonly hub: Nkey
  readonly agents: Nkey
  /** The scoped signing key of role `agent`. */
  readonly agentRole: Nkey
}

/** Public keys with the time in seconds since the epoch up to which JWTs issued for them are refused. */
export type Revocations = Readonly<Record<string, number>>

const ACCOUNT_LIMITS = { subs: -1, data: -1, payload: -1, imports: -1, exports: -1, wildcards: true, conn: -1, leaf: 0 }
const JETSTREAM_LIMITS = { mem_storage: -1, disk_storage: -1, streams: -1, consumer: -1 }

/** Reads the keys from `folder` and makes those that are missing (mode 0600). */
export async function openTrust(folder: string): Promise<Trust> {
  const keep = async (name: string, kind: NkeyKind): Promise<Nkey> =>
    parseNkeySeed((await keepSecretFile(path.join(folder, `nats-${name}.nk`), () => createNkey(kind).seed)).trim())
  return {
    operator: await keep('operator', 'O'),
    operatorSigning: await keep('operator-signing', 'O'),
    system: await keep('account-sys', 'A'),
    hub: await keep('account-hub', 'A'),
    agents: await keep('account-agents', 'A'),
    agentRole: await keep('role-agent', 'A'),
  }
}

/** The operator's JWT. */
export function operatorJwt({ operator, operatorSigning, system }: Trust): string {
  const body = { system_account: system.publicKey, signing_keys: [operatorSigning.publicKey] }
  return signClaims({ name: 'FAIRLEAD', sub: operator.publicKey, nats: { type: 'operator', ...body } }, operator)
}

/** What each account may do, by its public key. AGENTS carries the revocations. */
export function accountBodies(trust: Trust, revocations: Revocations): Map<string, Record<string, unknown>> {
  const services = SERVICE_EXPORTS.map((subject) => ({ name: subject, subject, type: 'service' }))
  const stream = { name: 'doorbells', subject: STREAM_EXPORT, type: 'stream' }
  const imports = [...services, stream].map((entry) => ({ ...entry, account: trust.hub.publicKey }))
  const template = AGENT_PERMISSIONS
  const role = { kind: 'user_scope', key: trust.agentRole.publicKey, role: 'agent', template }
  const agents = { limits: ACCOUNT_LIMITS, signing_keys: [role], imports }
  return new Map<string, Record<string, unknown>>([
    [trust.system.publicKey, { limits: ACCOUNT_LIMITS }],
    [trust.hub.publicKey, { limits: { ...ACCOUNT_LIMITS, ...JETSTREAM_LIMITS }, exports: [...services, stream] }],
    [trust.agents.publicKey, Object.keys(revocations).length > 0 ? { ...agents, revocations } : agents],
  ])
}

/** An account's JWT. `iat` in seconds since the epoch must not be older than that of the JWT it replaces. */
export function accountJwt(trust: Trust, publicKey: string, body: Record<string, unknown>, iat?: number): string {
  const name = { [trust.system.publicKey]: 'SYS', [trust.hub.publicKey]: 'HUB' }[publicKey] ?? 'AGENTS'
  const nats = { type: 'account' as const, ...body }
  return signClaims({ name, sub: publicKey, nats, ...(iat !== undefined && { iat }) }, trust.operatorSigning)
}

/** A JWT of the hub's own: it has every right in its account, and no end, as its key never leaves the process. */
export function hubUserJwt(account: Nkey, name: string, userPublicKey: string): string {
  const nats = { type: 'user' as const, subs: -1, data: -1, payload: -1, pub: {}, sub: {} }
  return signClaims({ name, sub: userPublicKey, nats }, account)
}

/** An agent's JWT: its rights are those of the role's template, in which the cluster id takes the place of the name. */
export function agentUserJwt(trust: Trust, clusterId: string, userPublicKey: string, exp: number): string {
  const nats = { type: 'user' as const, issuer_account: trust.agents.publicKey }
  return signClaims({ name: clusterId, sub: userPublicKey, exp, nats }, trust.agentRole)
}

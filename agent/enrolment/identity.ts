// The agent's identity as it is kept in its cluster: a private key that is made here and never leaves, and what the hub
// gave for it.
import { fromBinary, toBinary } from '@bufbuild/protobuf'
import { timestampMs } from '@bufbuild/protobuf/wkt'
import { type Credentials, CredentialsSchema } from '@fairlead/proto/enrolment'
import { AppError } from '@fairlead/shared/errors'
import { type Nkey, parseNkeySeed } from '@fairlead/shared/nkey'
import type { TrustedKeys } from '@fairlead/shared/signing'

/** Who the agent is to the hub and to NATS. */
export interface JoinedIdentity {
  readonly key: Nkey
  /** The cluster's id, used in subjects. */
  readonly clusterId: string
  readonly clusterName: string
  readonly credentials: Credentials
  /** The hub's keys by id. */
  readonly trusted: TrustedKeys
}

/** What the identity Secret holds. */
export interface StoredIdentity {
  readonly key: Nkey
  /** SHA-256 of the join token that the key was or is being joined with. */
  readonly tokenDigest: string | undefined
  /** What the hub answered; undefined while the join has not been answered. */
  readonly joined:
    | { readonly clusterId: string; readonly clusterName: string; readonly credentials: Credentials }
    | undefined
  /** The hub's CA that the pin named, and the pin. */
  readonly hub: { readonly caPem: string; readonly caPin: string } | undefined
}

/** The identity with its keys ready to use, or undefined when it has not joined. */
export function findJoined(stored: StoredIdentity): JoinedIdentity | undefined {
  if (!stored.joined) return undefined
  const { credentials } = stored.joined
  const trusted = new Map(credentials.signingKeys.map(({ id, publicKey }) => [id, publicKey]))
  return { key: stored.key, ...stored.joined, trusted }
}

/** The Secret's data for an identity. */
export function encodeIdentity({ key, tokenDigest, joined, hub }: StoredIdentity): Record<string, string> {
  const data: Record<string, Uint8Array | string | undefined> = {
    seed: key.seed,
    'public-key': key.publicKey,
    'token-sha256': tokenDigest,
    'cluster-id': joined?.clusterId,
    'cluster-name': joined?.clusterName,
    credentials: joined && toBinary(CredentialsSchema, joined.credentials),
    'hub-ca.crt': hub?.caPem,
    'hub-ca-pin': hub?.caPin,
  }
  const given = Object.entries(data).flatMap(([name, value]) => (value === undefined ? [] : [[name, value] as const]))
  return Object.fromEntries(given.map(([name, value]) => [name, Buffer.from(value as Uint8Array).toString('base64')]))
}

/** Reads the Secret's data. Throws InvalidArgument when the key is not one; damaged answers of the hub count as not joined. */
export function decodeIdentity(data: Readonly<Record<string, string>>): StoredIdentity {
  const text = (name: string): string | undefined =>
    data[name] === undefined ? undefined : Buffer.from(data[name], 'base64').toString('utf8')
  const [clusterId, caPem, caPin] = [text('cluster-id'), text('hub-ca.crt'), text('hub-ca-pin')]
  const credentials = data.credentials === undefined ? undefined : decodeCredentials(data.credentials)
  return {
    key: parseNkeySeed(text('seed') ?? ''),
    tokenDigest: text('token-sha256'),
    joined: clusterId && credentials ? { clusterId, clusterName: text('cluster-name') ?? '', credentials } : undefined,
    hub: caPem && caPin ? { caPem, caPin } : undefined,
  }
}

function decodeCredentials(base64: string): Credentials | undefined {
  try {
    return fromBinary(CredentialsSchema, Buffer.from(base64, 'base64'))
  } catch {
    return undefined
  }
}

/** When the user JWT was issued and when it expires, in ms since the epoch by the hub's clock. */
export function jwtLifetime(credentials: Credentials): { issuedAtMs: number; expiresAtMs: number } {
  const expiresAtMs = credentials.expiresAt ? timestampMs(credentials.expiresAt) : Number.POSITIVE_INFINITY
  const payload = credentials.userJwt.split('.')[1]
  if (payload === undefined) throw new AppError('Unavailable', 'the hub sent something that is not a JWT')
  const claims = JSON.parse(Buffer.from(payload, 'base64url').toString('utf8')) as { iat?: unknown }
  const issuedAtMs = typeof claims.iat === 'number' ? claims.iat * 1000 : Date.now()
  return { issuedAtMs, expiresAtMs }
}

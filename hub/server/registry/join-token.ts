// One-time join tokens. The hub keeps only their SHA-256.
import { randomBytes } from 'node:crypto'
import { sha256Hex } from '@fairlead/shared/digest'
import { AppError } from '@fairlead/shared/errors'
import type { Transaction } from 'kysely'
import type { Schema } from '../store/schema.ts'

/** Shortest, default and longest time that a token can be used, in milliseconds. */
export const TOKEN_TTL_MS = { min: 60_000, default: 3_600_000, max: 7 * 86_400_000 } as const

const TOKEN = /^flj_[A-Za-z0-9_-]{43}$/

/** Why a token was refused; told to the log and the audit trail, never to the caller. */
export type TokenRefusal = 'malformed' | 'unknown' | 'used' | 'expired'

/** A new token: 32 random bytes. */
export function createToken(): string {
  return `flj_${randomBytes(32).toString('base64url')}`
}

/** A time to live in whole milliseconds; undefined is the default. Throws InvalidArgument outside of the bounds. */
export function checkTokenTtl(ttlMs: number | undefined): number {
  if (ttlMs === undefined) return TOKEN_TTL_MS.default
  if (ttlMs >= TOKEN_TTL_MS.min && ttlMs <= TOKEN_TTL_MS.max) return Math.floor(ttlMs)
  throw new AppError('InvalidArgument', 'a join token lives between 1m and 7d', { context: { field: 'tokenTtl' } })
}

/** Stores a token and ends the earlier ones of the cluster that were not used: one token at a time can make a cluster's agent. */
export async function storeToken(
  transaction: Transaction<Schema>,
  { token, clusterId, expiresAtMs, nowMs }: { token: string; clusterId: string; expiresAtMs: number; nowMs: number },
): Promise<void> {
  await endTokens(transaction, clusterId, nowMs)
  await transaction
    .insertInto('join_tokens')
    .values({ token_sha256: sha256Hex(token), cluster_id: clusterId, expires_at: expiresAtMs, used_at: null })
    .execute()
}

async function endTokens(transaction: Transaction<Schema>, clusterId: string, nowMs: number): Promise<void> {
  await transaction
    .updateTable('join_tokens')
    .set({ expires_at: nowMs })
    .where('cluster_id', '=', clusterId)
    .where('used_at', 'is', null)
    .where('expires_at', '>', nowMs)
    .execute()
  // Kept for a while so that the log can say "used" or "expired" instead of "unknown".
  await transaction
    .deleteFrom('join_tokens')
    .where('expires_at', '<', nowMs - 30 * 86_400_000)
    .execute()
}

/** What a token is good for. */
export type TokenState =
  | { readonly refusal: TokenRefusal; readonly clusterId?: string }
  | { readonly refusal?: undefined; readonly clusterId: string; readonly used: boolean }

/** Looks a token up. A used one that has not expired comes back with `used`: whether it may be redeemed again is for the caller to say. */
export async function findToken(transaction: Transaction<Schema>, token: string, nowMs: number): Promise<TokenState> {
  if (!TOKEN.test(token)) return { refusal: 'malformed' }
  const row = await transaction
    .selectFrom('join_tokens')
    .selectAll()
    .where('token_sha256', '=', sha256Hex(token))
    .executeTakeFirst()
  if (!row) return { refusal: 'unknown' }
  if (row.expires_at <= nowMs) return { refusal: row.used_at === null ? 'expired' : 'used', clusterId: row.cluster_id }
  return { clusterId: row.cluster_id, used: row.used_at !== null }
}

/** Marks a token as used, and ends the others of its cluster. */
export async function consumeToken(
  transaction: Transaction<Schema>,
  { token, clusterId, nowMs }: { token: string; clusterId: string; nowMs: number },
): Promise<void> {
  await transaction
    .updateTable('join_tokens')
    .set({ used_at: nowMs })
    .where('token_sha256', '=', sha256Hex(token))
    .execute()
  await endTokens(transaction, clusterId, nowMs)
}

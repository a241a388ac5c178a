// Keys that must not connect any more.
import type { Transaction } from 'kysely'
import type { Schema } from '../store/schema.ts'

/** How long a revocation is kept: twice the longest life of a JWT, in milliseconds. */
export const REVOCATION_KEPT_MS = 2 * 86_400_000

/** Revokes a key and has the account's claims published again; also forgets revocations that no valid JWT can need. */
export async function revokeKey(transaction: Transaction<Schema>, publicKey: string, nowMs: number): Promise<void> {
  await transaction.deleteFrom('revoked_keys').where('expires_at', '<', nowMs).execute()
  await transaction
    .insertInto('revoked_keys')
    .values({ public_key: publicKey, revoked_at: nowMs, expires_at: nowMs + REVOCATION_KEPT_MS })
    .onConflict((conflict) => conflict.column('public_key').doNothing())
    .execute()
  await transaction.insertInto('outbox').values({ kind: 'claims', key: publicKey, created_at: nowMs }).execute()
}

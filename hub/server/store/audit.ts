// The audit trail: one row for each change, written in the transaction of the change.
import type { Kysely } from 'kysely'
import type { Schema } from './schema.ts'

/** One change. */
export interface AuditEntry {
  /** admin, agent:<cluster name>, git:<repository> or hub. */
  readonly actor: string
  /** Noun and verb, for example cluster.register. */
  readonly action: string
  /** Kind and name, for example Cluster/prod-eu-1. */
  readonly object: string
  /** More about it; never secrets. */
  readonly detail?: Readonly<Record<string, unknown>>
}

/** Writes an entry; pass the transaction of the change. */
export async function writeAudit(transaction: Kysely<Schema>, entry: AuditEntry, atMs: number): Promise<void> {
  const { actor, action, object, detail = {} } = entry
  await transaction
    .insertInto('audit')
    .values({ at: atMs, actor, action, object, detail: JSON.stringify(detail) })
    .execute()
}

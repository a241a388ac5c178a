// What clusters report of themselves for charts, once for all clusters that report the same.
import type { Kysely, Transaction } from 'kysely'
import type { Capabilities, StoredCapabilities } from '../capabilities.ts'
import type { Schema } from './schema.ts'

/** Saves what a cluster reports, and forgets what no cluster reports any more. */
export async function saveCapabilities(
  transaction: Transaction<Schema>,
  clusterId: string,
  { digest, content }: StoredCapabilities,
): Promise<void> {
  await transaction
    .insertInto('capabilities')
    .values({ digest, content })
    .onConflict((conflict) => conflict.doNothing())
    .execute()
  await transaction.updateTable('clusters').set({ capabilities: digest }).where('id', '=', clusterId).execute()
  await transaction
    .deleteFrom('capabilities')
    .where(({ not, exists, selectFrom }) =>
      not(exists(selectFrom('clusters').select('id').whereRef('clusters.capabilities', '=', 'capabilities.digest'))),
    )
    .execute()
}

/** What was saved under the digest; undefined when no cluster reports it any more. */
export async function findCapabilities(db: Kysely<Schema>, digest: string): Promise<Capabilities | undefined> {
  const row = await db.selectFrom('capabilities').select('content').where('digest', '=', digest).executeTakeFirst()
  return row && (JSON.parse(row.content) as Capabilities)
}

// An agent has carried out tombstones: the hub forgets those deployments, and an application that has left its last cluster.
import type { Store } from '../store/store.ts'

/** What an agent says it has removed. */
export interface Removal {
  readonly clusterId: string
  readonly applications: readonly string[]
  /** Generation of the slice that the agent had verified. */
  readonly sliceGeneration: bigint
}

/**
 * Deletes the tombstones that the agent confirms and returns their applications. A row that is desired again stays, and so
 * does a tombstone that is newer than the slice the agent speaks of: `since` of a tombstone is the first generation that carries it.
 */
export async function confirmRemovals(store: Store, removal: Removal): Promise<string[]> {
  const { clusterId, applications, sliceGeneration } = removal
  if (applications.length === 0) return []
  return await store.transaction(async (transaction) => {
    const confirmed = await transaction
      .deleteFrom('deployments')
      .where('cluster_id', '=', clusterId)
      .where('application', 'in', [...applications])
      .where('state', '=', 'tombstone')
      .where('since', '<=', Number(sliceGeneration))
      .returning('application')
      .execute()
    const names = confirmed.map((row) => row.application)
    if (names.length === 0) return names
    await transaction
      .deleteFrom('application_reports')
      .where('cluster_id', '=', clusterId)
      .where('application', 'in', names)
      .execute()
    await transaction
      .deleteFrom('applications')
      .where('name', 'in', names)
      .where('deleting', 'is not', null)
      .where(({ not, exists, selectFrom }) =>
        not(exists(selectFrom('deployments').select('application').whereRef('application', '=', 'applications.name'))),
      )
      .execute()
    return names
  })
}

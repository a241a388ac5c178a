// Approvals of prunes that a guard holds: what an administrator approved, until the agent reports that digest no more.
import { SyncState } from '@fairlead/proto/common'
import type { ApplicationReport, HeldPrune, Report } from '@fairlead/proto/report'
import { AppError } from '@fairlead/shared/errors'
import type { Transaction } from 'kysely'
import { writeAudit } from '../store/audit.ts'
import type { Schema } from '../store/schema.ts'
import type { Store } from '../store/store.ts'

/** What approvals need. */
export interface ApprovalsOptions {
  readonly store: Store
  /** What the cluster last said of the application. Throws NotFound for names that do not exist. */
  readonly findReport: (application: string, cluster: string) => ApplicationReport | undefined
  /** Slices of these clusters must be signed again. */
  readonly onChange: (clusterIds: readonly string[]) => void
}

/** Which prune is approved. */
export interface ApprovalRequest {
  readonly application: string
  readonly cluster: string
  /** The whole digest or its first characters, at least eight. */
  readonly digest: string
}

/** Approves. */
export interface Approvals {
  /** Approves what the cluster reports as held and returns it. Throws NotFound, InvalidArgument, or FailedPrecondition when it reports no such prune. */
  approve(request: ApprovalRequest, actor: string): Promise<HeldPrune>
}

const DIGEST = /^[0-9a-f]{64}$/
const DIGEST_START = /^[0-9a-f]{8,64}$/

/** Makes the approvals of a store. */
export function createApprovals({ store, findReport, onChange }: ApprovalsOptions): Approvals {
  return {
    approve: async ({ application, cluster, digest }, actor) => {
      const held = findHeld(findReport(application, cluster), { application, cluster, digest })
      const clusterId = await store.transaction((transaction) =>
        record(transaction, { application, cluster, digest: held.digest, count: held.count, actor }),
      )
      if (clusterId !== undefined) onChange([clusterId])
      return held
    },
  }
}

function findHeld(report: ApplicationReport | undefined, request: ApprovalRequest): HeldPrune {
  const { application, cluster, digest } = request
  if (!DIGEST_START.test(digest)) {
    throw new AppError('InvalidArgument', 'a digest is given by at least its first eight hexadecimal digits')
  }
  // An agent may say anything; only what is a digest goes into a slice.
  const held = (report?.heldPrunes ?? []).filter((one) => DIGEST.test(one.digest) && one.digest.startsWith(digest))
  const [first, second] = held
  if (first && !second) return first
  const what = first ? `more than one held prune` : 'no held prune'
  const why = first ? 'give more of it' : 'what would be deleted may have changed; see fairlead status'
  throw new AppError(
    'FailedPrecondition',
    `${application} on ${cluster} reports ${what} whose digest begins with ${digest}: ${why}`,
  )
}

/** Writes an approval down and returns the cluster's id; undefined when it was approved before. */
async function record(
  transaction: Transaction<Schema>,
  approval: { application: string; cluster: string; digest: string; count: number; actor: string },
): Promise<string | undefined> {
  const { application, cluster, digest, count, actor } = approval
  const row = await transaction.selectFrom('clusters').select('id').where('name', '=', cluster).executeTakeFirst()
  if (!row) throw new AppError('NotFound', `there is no cluster ${JSON.stringify(cluster.slice(0, 80))}`)
  const known = await transaction
    .selectFrom('applications')
    .select('name')
    .where('name', '=', application)
    .executeTakeFirst()
  if (!known) throw new AppError('NotFound', `there is no Application ${JSON.stringify(application.slice(0, 80))}`)
  const approvedAt = Date.now()
  const { numInsertedOrUpdatedRows = 0n } = await transaction
    .insertInto('prune_approvals')
    .values({ cluster_id: row.id, application, digest, approved_at: approvedAt })
    .onConflict((conflict) => conflict.columns(['cluster_id', 'application', 'digest']).doNothing())
    .executeTakeFirstOrThrow()
  if (numInsertedOrUpdatedRows === 0n) return undefined
  // Whatever happens to this process, the slice is signed again.
  await transaction.updateTable('slices').set({ content_hash: '' }).where('cluster_id', '=', row.id).execute()
  const entry = {
    actor,
    action: 'prune.approve',
    object: `Application/${application}`,
    detail: { cluster, digest, objects: count },
  }
  await writeAudit(transaction, entry, approvedAt)
  return row.id
}

/** Digests that were approved, by application, for each of these clusters. */
export async function readApprovals(
  transaction: Transaction<Schema>,
  clusterIds: readonly string[],
): Promise<Map<string, Map<string, string[]>>> {
  const rows = await transaction
    .selectFrom('prune_approvals')
    .select(['cluster_id', 'application', 'digest'])
    .where('cluster_id', 'in', clusterIds)
    .orderBy('digest')
    .execute()
  return new Map(
    [...Map.groupBy(rows, (row) => row.cluster_id)].map(([id, ofCluster]) => [
      id,
      new Map(
        [...Map.groupBy(ofCluster, (row) => row.application)].map(([name, list]) => [
          name,
          list.map((row) => row.digest),
        ]),
      ),
    ]),
  )
}

/** Forgets the approvals that a report shows to be of no use any more; true when there were any. */
export async function forgetApprovals(store: Store, clusterId: string, report: Report): Promise<boolean> {
  const rows = await store.db
    .selectFrom('prune_approvals')
    .select(['application', 'digest'])
    .where('cluster_id', '=', clusterId)
    .execute()
  if (rows.length === 0) return false
  const reports = new Map(report.applications.map((each) => [each.application, each]))
  const removed = new Set(report.removed)
  const done = rows.filter(({ application, digest }) => {
    return removed.has(application) || isSettled(reports.get(application), digest)
  })
  for (const { application, digest } of done) {
    await store.db
      .deleteFrom('prune_approvals')
      .where('cluster_id', '=', clusterId)
      .where('application', '=', application)
      .where('digest', '=', digest)
      .execute()
  }
  return done.length > 0
}

/** True when the agent has looked at all that is to be deleted and holds something else, or nothing. */
function isSettled(report: ApplicationReport | undefined, digest: string): boolean {
  if (!report) return false
  const { heldPrunes, appliedAt, sync } = report
  if (heldPrunes.length > 0) return heldPrunes.every((held) => held.digest !== digest)
  // Holding nothing may also say that it has not come to look yet: what is still to be deleted keeps it OutOfSync.
  return appliedAt !== undefined && sync === SyncState.SYNCED
}

// What the hub has stored of the agent's reports, read beside the hub: asking it would take the processor from what is
// measured. The hub notes when it received each report.
import { fromBinary } from '@bufbuild/protobuf'
import { HealthState, SyncState } from '@fairlead/proto/common'
import { type ApplicationReport, ApplicationReportSchema } from '@fairlead/proto/report'
import { waitFor } from '../harness/wait.ts'
import type { Bench } from './workload.ts'

/** A stored report. */
export interface StoredReport {
  readonly report: ApplicationReport
  /** Milliseconds since the epoch by the hub's clock, which is the machine's. */
  readonly receivedAtMs: number
}

/** The last report of every application. */
export function readReports({ fleet }: Bench): StoredReport[] {
  const rows = fleet.query('SELECT report, received_at FROM application_reports')
  return rows.map(({ report, received_at }) => ({
    report: fromBinary(ApplicationReportSchema, report as Uint8Array),
    receivedAtMs: Number(received_at),
  }))
}

/** True for Synced and Healthy at a commit. */
export function isConverged({ report }: StoredReport, commit: string): boolean {
  const { sync, health, revision } = report
  return sync === SyncState.SYNCED && health === HealthState.HEALTHY && revision?.commit === commit
}

/** Waits until `count` applications are Synced and Healthy at a commit; when the hub received the report that was last, in milliseconds since the epoch. */
export async function waitUntilConverged(
  bench: Bench,
  count: number,
  commit: string,
  intervalMs = 250,
): Promise<number> {
  const { kubelet } = bench.fleet.getCluster('bench')
  return await waitFor(
    `${count} applications to be Synced and Healthy at ${commit.slice(0, 8)}`,
    (see) => {
      const converged = readReports(bench).filter((stored) => isConverged(stored, commit))
      see(`${converged.length} are`)
      return converged.length === count && Math.max(...converged.map(({ receivedAtMs }) => receivedAtMs))
    },
    { timeoutMs: 300_000, intervalMs, logs: [bench.fleet.hub, kubelet] },
  )
}

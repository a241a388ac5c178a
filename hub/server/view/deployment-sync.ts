// Decides whether a cluster holds what it should. Pure.
import { type Revision, SyncState } from '@fairlead/proto/common'
import type { ApplicationReport } from '@fairlead/proto/report'

/** What a cluster should run of one application. */
export interface DesiredDeployment {
  /** True when it must leave. */
  readonly removing: boolean
  readonly revision: Revision | undefined
  readonly artifactDigest: string | undefined
}

/** Synced only when the agent says so of the very revision and artifact that are desired; Unknown when it never spoke of the application. */
export function decideSync(desired: DesiredDeployment, report: ApplicationReport | undefined): SyncState {
  if (!report) return SyncState.UNKNOWN
  if (desired.removing || !isAbout(report, desired)) return SyncState.OUT_OF_SYNC
  return report.sync === SyncState.UNSPECIFIED ? SyncState.UNKNOWN : report.sync
}

function isAbout(report: ApplicationReport, { revision, artifactDigest }: DesiredDeployment): boolean {
  return (
    report.artifactDigest !== '' &&
    report.artifactDigest === artifactDigest &&
    report.revision?.commit === revision?.commit &&
    report.revision?.repository === revision?.repository
  )
}

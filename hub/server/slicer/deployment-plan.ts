// Decides how the deployments of one application change. Pure. Absence never deletes: what is no longer placed gets a
// tombstone, and a row goes only where no agent can hold anything.
import type { DeploymentsTable } from '../store/schema.ts'

/** What an application wants of the clusters. */
export type ApplicationIntent =
  /** Run this on the placed clusters. */
  | {
      readonly kind: 'run'
      /** By the id of the variant; what is not here could not be rendered yet. */
      readonly content: ReadonlyMap<string, DesiredContent>
      /** Whether clusters that are no longer placed delete the objects. */
      readonly pruneOnLeave: boolean
    }
  /** Nothing could be rendered yet, or the placement cannot be told: leave everything as it is. */
  | { readonly kind: 'keep' }
  /** Leave every cluster. */
  | { readonly kind: 'leave'; readonly prune: boolean }

/** What a cluster is to run. */
export interface DesiredContent {
  readonly artifactDigest: string
  /** Revision as proto JSON. */
  readonly revision: string
  /** SyncPolicy as proto JSON. */
  readonly policy: string
}

/** A row as the plan reads it. */
export type DeploymentRow = Pick<
  DeploymentsTable,
  'cluster_id' | 'application' | 'state' | 'prune' | 'artifact_digest' | 'revision' | 'policy'
>

/** What changes. */
export interface DeploymentPlan {
  /** Rows to write, without the time. */
  readonly upserts: readonly DeploymentRow[]
  /** Clusters whose row goes at once, because their agent never joined. */
  readonly deletes: readonly string[]
}

/** What the plan is made from, for all clusters or for some. */
export interface PlanInput {
  readonly application: string
  readonly intent: ApplicationIntent
  /** Clusters that the placement selects, of those considered, each with its variant. */
  readonly placed: ReadonlyMap<string, string>
  /** Present rows of the clusters considered. */
  readonly rows: readonly DeploymentRow[]
  /** True when an agent has ever joined as that cluster. */
  readonly hasJoined: (clusterId: string) => boolean
}

/** The changes of one application's deployments. */
export function planDeployments({ application, intent, placed, rows, hasJoined }: PlanInput): DeploymentPlan {
  if (intent.kind === 'keep') return { upserts: [], deletes: [] }
  const present = new Map(rows.map((row) => [row.cluster_id, row]))
  const upserts: DeploymentRow[] = []
  const deletes: string[] = []
  const wanted = new Set(intent.kind === 'run' ? placed.keys() : [])
  if (intent.kind === 'run') {
    for (const [clusterId, variant] of placed) {
      const content = intent.content.get(variant)
      // Until it is rendered for this cluster, the cluster keeps what it has.
      if (!content) continue
      const { artifactDigest, revision, policy } = content
      const row: DeploymentRow = {
        cluster_id: clusterId,
        application,
        state: 'desired',
        prune: 0,
        artifact_digest: artifactDigest,
        revision,
        policy,
      }
      if (!isSame(row, present.get(clusterId))) upserts.push(row)
    }
  }
  const prune = (intent.kind === 'run' ? intent.pruneOnLeave : intent.prune) ? 1 : 0
  for (const row of rows.filter((candidate) => !wanted.has(candidate.cluster_id))) {
    if (!hasJoined(row.cluster_id)) deletes.push(row.cluster_id)
    else if (row.state === 'desired' || isChanged(row, prune, intent.kind)) {
      upserts.push({ ...row, state: 'tombstone', prune, artifact_digest: null, revision: null, policy: null })
    }
  }
  return { upserts, deletes }
}

/**
 * Deleting says each time how. A definition that changes after a cluster was left lets objects go that were to be deleted,
 * held ones above all, but never has objects deleted that were let go.
 */
function isChanged({ prune: present }: DeploymentRow, prune: number, kind: 'run' | 'leave'): boolean {
  return kind === 'leave' ? present !== prune : present > prune
}

function isSame(row: DeploymentRow, present: DeploymentRow | undefined): boolean {
  return (
    present?.state === row.state &&
    present.artifact_digest === row.artifact_digest &&
    present.revision === row.revision &&
    present.policy === row.policy
  )
}

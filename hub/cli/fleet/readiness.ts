// Decides whether a fleet is where it should be, and if not, why. Pure.
import { ConnectionState, HealthState, SyncState } from '@fairlead/proto/common'
import type { Application } from '@fairlead/proto/definitions'
import type { Deployment, FleetStatus } from '@fairlead/proto/fleet'
import { connectionWord, healthWord, plain, plural, syncWord } from '../output/text.ts'

/** Whether everything is Synced and Healthy. */
export interface Readiness {
  readonly ready: boolean
  /** Why not, one line each; empty when ready. */
  readonly reasons: readonly string[]
}

/** What is judged. */
export interface ReadinessOptions {
  /** Every application must run this commit (a prefix). */
  readonly commit?: string | undefined
  /** The only cluster that the state was asked for; empty for all. */
  readonly cluster?: string
}

/**
 * Ready means: every application is rendered from the newest commit of a repository that can be read, and is Synced and
 * Healthy on every cluster it selects, as told by agents that are Online; nothing is still being removed. With `commit` (a
 * prefix), every application must moreover run that commit. A fleet without applications is ready; definitions from Git that are not taken over are not.
 */
export function assessReadiness(status: FleetStatus, { commit, cluster = '' }: ReadinessOptions = {}): Readiness {
  const reasons = [
    ...status.repositories.flatMap((repository) => {
      const { problem, definitions } = repository.status ?? {}
      const found = [...(problem ? [problem] : []), ...(definitions?.problems ?? [])]
      return [
        ...new Set(found.map(({ code }) => `repository ${plain(repository.metadata?.name ?? '')}: ${plain(code)}`)),
      ]
    }),
    ...status.applications.flatMap((application) => assessApplication(application, status.deployments, cluster)),
    ...status.deployments.flatMap((deployment) => assessDeployment(deployment, commit)),
  ]
  return { ready: reasons.length === 0, reasons }
}

function assessApplication(application: Application, deployments: readonly Deployment[], only: string): string[] {
  const name = application.metadata?.name ?? ''
  const state = application.status
  if (state?.deleting) return [`${plain(name)}: is being deleted`]
  const problems = (state?.problems ?? []).map((problem) => `${plain(name)}: ${plain(problem.code)}`)
  if (problems.length > 0) return [...new Set(problems)]
  // What makes others runs nowhere itself: these are judged for themselves.
  if (application.spec?.forEach) return []
  if (!state?.revision) return [`${plain(name)}: not rendered yet`]
  const present = new Set(deployments.filter((one) => one.application === name).map((one) => one.cluster))
  const missing = state.clusters.filter((cluster) => (only === '' || cluster === only) && !present.has(cluster))
  return missing.length === 0 ? [] : [`${plain(name)}: not yet sent to ${plural(missing.length, 'cluster')}`]
}

function assessDeployment(deployment: Deployment, commit: string | undefined): string[] {
  const subject = `${plain(deployment.application)} on ${plain(deployment.cluster)}`
  if (deployment.removing) return [`${subject}: is being removed`]
  if (deployment.connection !== ConnectionState.ONLINE)
    return [`${subject}: the cluster is ${connectionWord(deployment.connection)}`]
  if (deployment.sync !== SyncState.SYNCED || deployment.health !== HealthState.HEALTHY) {
    return [`${subject}: ${syncWord(deployment.sync)}, ${healthWord(deployment.health)}`]
  }
  if (commit !== undefined && !deployment.live?.commit.startsWith(commit)) {
    return [`${subject}: runs ${deployment.live?.commit.slice(0, 8) ?? 'nothing'}`]
  }
  return []
}

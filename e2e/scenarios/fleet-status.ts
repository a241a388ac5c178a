// Questions that the scenarios ask of a fleet's status.
import { ConnectionState, HealthState, type Problem, SyncState } from '@fairlead/proto/common'
import type { Deployment, FleetStatus } from '@fairlead/proto/fleet'
import type { Drift } from '@fairlead/proto/report'
import { formatObjectReference } from '@fairlead/shared/object-reference'

/** An application on a cluster; undefined when the hub knows of none. */
export function findDeployment(status: FleetStatus, application: string, cluster: string): Deployment | undefined {
  return status.deployments.find((one) => one.application === application && one.cluster === cluster)
}

/** Whether a cluster holds exactly what the commit declares, and all of it works. */
export function runs(status: FleetStatus, application: string, cluster: string, commit: string): boolean {
  const deployment = findDeployment(status, application, cluster)
  return (
    deployment?.live?.commit === commit &&
    deployment.sync === SyncState.SYNCED &&
    deployment.health === HealthState.HEALTHY
  )
}

/** Everything that is wrong with an application: what the hub says of its commit and what its agents say. */
export function problemsOf(status: FleetStatus, application: string): Problem[] {
  const found = status.applications.find(({ metadata }) => metadata?.name === application)
  return [
    ...(found?.status?.problems ?? []),
    ...status.deployments.filter((one) => one.application === application).flatMap((one) => one.report?.problems ?? []),
  ]
}

/** Everything that keeps a repository from being read: of itself and of its refs. */
export function repositoryProblems(status: FleetStatus, repository: string): Problem[] {
  const found = status.repositories.find(({ metadata }) => metadata?.name === repository)
  const { problem, refs = [] } = found?.status ?? {}
  return [...(problem ? [problem] : []), ...refs.flatMap((ref) => (ref.problem ? [ref.problem] : []))]
}

/** `ApplyInvalid Service default/web web/service.yaml`: the code, the object and the file, empty parts left out. */
export function describeProblem({ code, object, source }: Problem): string {
  const parts = [code, object ? formatObjectReference(object).trim() : '', source?.file ?? '']
  return parts.filter((part) => part !== '').join(' ')
}

/** Latest drifts of an application on a cluster, newest first. */
export function driftsOf(status: FleetStatus, application: string, cluster: string): readonly Drift[] {
  return findDeployment(status, application, cluster)?.report?.drifts ?? []
}

/** Whether the hub hears from a cluster; undefined when it knows none of that name. */
export function connectionOf(status: FleetStatus, cluster: string): keyof typeof ConnectionState | undefined {
  const found = status.clusters.find(({ name }) => name === cluster)
  return found && (ConnectionState[found.connection] as keyof typeof ConnectionState)
}

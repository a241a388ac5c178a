// Prunes that a guard holds, as lines of text. Pure.
import { ConnectionState } from '@fairlead/proto/common'
import type { Deployment, FleetStatus } from '@fairlead/proto/fleet'
import type { HeldPrune } from '@fairlead/proto/report'
import { formatObjectReference } from '@fairlead/shared/object-reference'
import { agoOf, connectionWord, plain, plural } from './text.ts'

/** What would be deleted and why it is held; more objects than `limit` are only counted. */
export function heldPruneLines(prune: HeldPrune, now: number, limit: number): string[] {
  const shown = prune.objects.slice(0, limit)
  const more = prune.count - shown.length
  return [
    `prune ${plain(prune.digest).slice(0, 12)}, held ${agoOf(prune.since, now)}: ${plain(prune.reason)}`,
    ...shown.map((object) => `  would delete ${plain(formatObjectReference(object))}`),
    ...(more > 0 ? [`  would delete ${plural(more, 'more object')}`] : []),
  ]
}

/** The held prunes of a deployment, each with the command that approves it. */
export function heldPrunesOf(deployment: Deployment, now: number, limit = 5): string[] {
  const [application, cluster] = [plain(deployment.application), plain(deployment.cluster)]
  return (deployment.report?.heldPrunes ?? []).flatMap((prune) => {
    const [first = '', ...rest] = heldPruneLines(prune, now, limit)
    const digest = plain(prune.digest).slice(0, 12)
    return [
      `${application} on ${cluster}: ${first}`,
      ...rest,
      `  approve: fairlead approve-prune ${application} --cluster ${cluster} --digest ${digest}`,
    ]
  })
}

/** Why an approved prune is not carried out yet, a line each; empty when the agent does it at once. `status` is that of this deployment. */
export function waitLines({ clusters, deployments: [deployment] }: FleetStatus): string[] {
  if (!deployment) return []
  const [application, cluster] = [plain(deployment.application), plain(deployment.cluster)]
  const problems = clusters.find(({ name }) => name === deployment.cluster)?.problems ?? []
  const reasons = [
    ...(deployment.connection === ConnectionState.ONLINE
      ? []
      : [`${cluster} is ${connectionWord(deployment.connection)}: it is done when its agent is back`]),
    ...(deployment.report?.suspended
      ? [`${application} is suspended: it is done after "fairlead application resume ${application}"`]
      : []),
    ...problems.filter(({ code }) => code === 'PolicyForbids').map(({ message }) => plain(message)),
  ]
  return reasons.map((reason) => `it waits: ${reason}`)
}

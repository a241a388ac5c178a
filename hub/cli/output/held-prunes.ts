// Prunes that a guard holds, as lines of text. Pure.
import type { Deployment } from '@fairlead/proto/fleet'
import type { HeldPrune } from '@fairlead/proto/report'
import { formatObjectReference } from '@fairlead/shared/object-reference'
import { agoOf, plain, plural } from './text.ts'

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

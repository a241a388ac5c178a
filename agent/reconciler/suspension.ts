// Applications of which nothing is put back: suspended, by policy, or because the cluster's owner pauses the agent. What
// differs is found, and left.
import type { Application } from './application.ts'
import type { ReconcilerContext } from './context.ts'
import { findDifference, isPending, type ObjectRecord } from './object-record.ts'
import type { DesiredTarget } from './target.ts'

/** More are only counted. */
const INSPECTED_MAX = 20

/** Whether drift is left: by policy, or because nothing may be written for now. */
export function isDriftLeft({ policy }: DesiredTarget, { isPaused }: Pick<ReconcilerContext, 'isPaused'>): boolean {
  return policy.suspend || !policy.remediate || isPaused()
}

/** Finds out about objects that differ and of which nothing was told yet: what happened while nobody watched. Throws Aborted. */
export async function inspectLeft(application: Application, target: DesiredTarget, signal: AbortSignal): Promise<void> {
  if (!isDriftLeft(target, application.context)) return
  const { kinds, left } = application.context
  let inspected = 0
  for (const record of application.records()) {
    if (signal.aborted) return
    application.pass.progressed()
    // That it could not be put back matters no more.
    if (record.declared && record.deleting === '' && !isPending(record)) record.failure = undefined
    if (record.driftLeft || isPending(record) || record.live?.terminating) continue
    const difference = findDifference(record, kinds.isWatched(record.resource))
    if (difference === undefined) continue
    if (inspected++ < INSPECTED_MAX) await left.inspect(record, difference)
    else record.driftLeft = true
  }
}

/** How many objects differ from what is declared and are left so. */
export function countDrifted(application: Application, records: readonly ObjectRecord[]): number {
  const { target, loaded, gate, context } = application
  if (target?.kind !== 'desired' || !isDriftLeft(target, context)) return 0
  if (!loaded && !gate.isHeld) return 0
  // Then also what is new and what was dropped stays as it is.
  const isStill = target.policy.suspend || context.isPaused()
  return records.filter((record) => {
    // While a revision is held back after a restart, what is in force may not be known.
    if (!record.declared) return loaded !== undefined && isStill && target.policy.prune
    if (isPending(record)) return isStill
    return record.driftLeft || findDifference(record, context.kinds.isWatched(record.resource)) !== undefined
  }).length
}

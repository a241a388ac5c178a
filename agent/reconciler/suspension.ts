// Applications of which nothing is put back, for now or by policy: what differs is found, and left.
import type { Application } from './application.ts'
import { findDifference, isPending, type ObjectRecord } from './object-record.ts'
import type { DesiredTarget } from './target.ts'

/** More are only counted. */
const INSPECTED_MAX = 20

/** Whether drift is left. */
export function isDriftLeft({ policy }: DesiredTarget): boolean {
  return policy.suspend || !policy.remediate
}

/** Finds out about objects that differ and of which nothing was told yet: what happened while nobody watched. Throws Aborted. */
export async function inspectLeft(application: Application, target: DesiredTarget, signal: AbortSignal): Promise<void> {
  if (!isDriftLeft(target)) return
  const { kinds, left } = application.context
  let inspected = 0
  for (const record of application.records()) {
    if (signal.aborted) return
    if (record.driftLeft || isPending(record) || record.live?.terminating) continue
    const difference = findDifference(record, kinds.isWatched(record.resource))
    if (difference === undefined) continue
    if (inspected++ < INSPECTED_MAX) await left.inspect(record, difference)
    else record.driftLeft = true
  }
}

/** How many objects differ from what is declared and are left so. */
export function countDrifted(application: Application, records: readonly ObjectRecord[]): number {
  const { target, loaded, context } = application
  if (target?.kind !== 'desired' || !loaded || !isDriftLeft(target)) return 0
  const { suspend, prune } = target.policy
  return records.filter((record) => {
    if (!record.declared) return suspend && prune
    if (isPending(record)) return suspend
    return record.driftLeft || findDifference(record, context.kinds.isWatched(record.resource)) !== undefined
  }).length
}

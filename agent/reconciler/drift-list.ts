// The latest drifts of an application, newest first. Pure.
import { timestampFromMs } from '@bufbuild/protobuf/wkt'
import type { Drift } from '@fairlead/proto/report'
import { objectKey } from '@fairlead/shared/object-reference'

/** With one more. One of an object whose drift was left so far is the same drift: it keeps the time at which it was seen first. */
export function addDrift(drifts: readonly Drift[], drift: Drift): readonly Drift[] {
  const key = keyOf(drift)
  const open = drifts.find((one) => !one.remediatedAt && keyOf(one) === key)
  if (!open) return [drift, ...drifts]
  const { detectedAt } = open
  return [{ ...drift, ...(detectedAt ? { detectedAt } : {}) }, ...drifts.filter((one) => one !== open)]
}

/** With those that stood and do not any more marked as put back, by whomever; the same list when there are none. */
export function closeDrifts(
  drifts: readonly Drift[],
  isOpen: (key: string) => boolean,
  nowMs: number,
): readonly Drift[] {
  const isOver = (drift: Drift): boolean => !drift.remediatedAt && !isOpen(keyOf(drift))
  if (!drifts.some(isOver)) return drifts
  const remediatedAt = timestampFromMs(nowMs)
  return drifts.map((drift) => (isOver(drift) ? { ...drift, remediatedAt } : drift))
}

function keyOf({ object }: Drift): string {
  return object ? objectKey(object) : ''
}

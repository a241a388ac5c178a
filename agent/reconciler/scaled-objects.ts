// What autoscalers mean for the objects that are owned: spec.replicas is left to one that targets the object, from its
// first apply on, and taken back when it goes.
import type { Declared } from '../applier/declared.ts'
import type { Scaling } from '../remediator/autoscaling.ts'
import type { Application } from './application.ts'
import type { Autoscalers } from './autoscalers.ts'
import type { ReconcilerContext } from './context.ts'
import type { ObjectRecord } from './object-record.ts'
import { isDriftLeft } from './suspension.ts'
import type { DesiredTarget } from './target.ts'

/** The controller behind HorizontalPodAutoscalers: what it has scaled, one of them targeted. */
const HPA_CONTROLLER = 'kube-controller-manager'
/** Records that were looked at once since the process started. */
const known = new WeakSet<ObjectRecord>()

/** Whether autoscalers may set something of an object: it declares replicas, or a template with containers. */
export function isScalable({ declared }: ObjectRecord): boolean {
  return declared !== undefined && canBeScaled(declared)
}

function canBeScaled({ replicas, hasTemplate }: Declared): boolean {
  return replicas !== undefined || hasTemplate
}

/**
 * Before anything is declared: waits until the targets of autoscalers are known, or cannot be, when any of the objects may
 * be one. An event repairs an object as soon as it is declared. Never throws.
 */
export async function awaitAutoscalers(
  { autoscalers }: Pick<ReconcilerContext, 'autoscalers'>,
  declared: Iterable<Declared>,
): Promise<void> {
  for (const object of declared) if (canBeScaled(object)) return await autoscalers.ensure()
}

/** In the moment in which objects are declared, and may be written from then on: notes which of them are known targets. */
export function noteTargets(records: readonly ObjectRecord[], autoscalers: Autoscalers): void {
  for (const record of records.filter(isScalable)) {
    // That there is no autoscaler is only known once the object was seen, too.
    if (autoscalers.isTarget(record.key, 'replicas') === true) record.isScaled = true
    if (autoscalers.isTarget(record.key, 'resources') === true) record.isResized = true
  }
}

/** Before objects are applied: notes which of them autoscalers target. Watches these first. Never throws. */
export async function noteAutoscalers(application: Application, target: DesiredTarget): Promise<void> {
  const { autoscalers } = application.context
  const records = application.records().filter(isScalable)
  if (records.length === 0) return
  await autoscalers.ensure()
  for (const record of records) {
    noteScaling(record, autoscalers, 'resources')
    const mustApply = noteScaling(record, autoscalers, 'replicas')
    if (mustApply && !isDriftLeft(target, application.context)) record.dirty = true
  }
}

/** Takes in whether an autoscaler targets an object; true when it must be applied again for that. */
export function noteScaling(record: ObjectRecord, autoscalers: Autoscalers, scaling: Scaling): boolean {
  const isTarget = autoscalers.isTarget(record.key, scaling)
  if (scaling === 'resources') {
    record.isResized = isTarget ?? record.isResized
    return false
  }
  const { declared, live, applied } = record
  const isNew = !known.has(record)
  if (isTarget === undefined || declared?.replicas === undefined) return false
  known.add(record)
  if (isTarget) {
    record.isScaled = true
    return declared.replicas !== 0 && applied !== undefined && live?.ownsReplicas === true
  }
  // We declare it, and have left it out of the last apply: for one that went while nobody watched. Scaling by an HPA
  // leaves no owner where there was none (seen on 1.36).
  const isOrphaned = live?.ownsReplicas === false && (live.scaler === '' || live.scaler === HPA_CONTROLLER)
  const hasGone = record.isScaled === true || (isNew && applied !== undefined && isOrphaned)
  if (!hasGone) return false
  record.isScaled = false
  return applied !== undefined && live?.ownsReplicas === false
}

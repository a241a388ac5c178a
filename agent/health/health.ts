// Whether an object works: pure rules by kind after kstatus (sigs.k8s.io/cli-utils) and Argo CD; where the two differ,
// what helps a person more: a load balancer without an address and a running Job are on their way, a paused one is told.
import { HealthState } from '@fairlead/proto/common'
import { type KubernetesObject, splitApiVersion } from '@fairlead/shared/object-reference'
import { isStatelessKind } from '@fairlead/shared/stateless-kinds'
import { assessByRule } from './condition-rule.ts'
import { conditionsOf, describeCondition, numberOf, statusOf, textOf } from './conditions.ts'
import { assessKind, hasRule } from './kinds.ts'
import { findShippedRule } from './shipped-kinds.ts'
import { degraded, HEALTHY, type Health, type HealthContext, progressing } from './verdict.ts'
import { assessWorkload, isWorkload } from './workloads.ts'

export type { Health, HealthContext } from './verdict.ts'

/** Health of an object as the API server has it, whole unless needsWholeObject says otherwise; undefined is Missing. */
export function assessHealth(object: KubernetesObject | undefined, context: HealthContext): Health {
  if (!object) return { health: HealthState.MISSING, message: 'not in the cluster' }
  if (object.metadata.deletionTimestamp !== undefined) return progressing('being deleted')
  const [group] = splitApiVersion(object.apiVersion)
  const key = `${group}/${object.kind}`
  if (isStatelessKind(group, object.kind)) return HEALTHY
  const behind = assessObserved(object)
  if (behind) return behind
  if (isWorkload(key)) return assessWorkload(key, object)
  if (hasRule(key)) return assessKind(key, object, context)
  const rule = findShippedRule(group, object.kind)
  return rule ? assessByRule(rule, object) : assessConditions(object)
}

// Best first. Unknown is worse than Progressing: nobody can say whether it works; but a known fault is more to be told.
const ORDER: readonly HealthState[] = [
  HealthState.UNSPECIFIED,
  HealthState.HEALTHY,
  HealthState.SUSPENDED,
  HealthState.PROGRESSING,
  HealthState.UNKNOWN,
  HealthState.MISSING,
  HealthState.DEGRADED,
]

/** The worst of several, the first of equals; Healthy when there are none. Order: Degraded, Missing, Unknown, Progressing, Suspended, Healthy. */
export function worstHealth(all: Iterable<Health>): Health {
  let worst: Health = HEALTHY
  for (const one of all) if (ORDER.indexOf(one.health) > ORDER.indexOf(worst.health)) worst = one
  return worst
}

/** Whether assessHealth needs more than metadata: false for kinds whose status says nothing of whether they work. */
export function needsWholeObject({ group, kind }: { readonly group: string; readonly kind: string }): boolean {
  return !isStatelessKind(group, kind)
}

/** Whether a kind is judged by a rule of its own, and not by the conditions that it may have; so every built-in kind is. */
export function hasOwnRule({ group, kind }: { readonly group: string; readonly kind: string }): boolean {
  const key = `${group}/${kind}`
  return isStatelessKind(group, kind) || isWorkload(key) || hasRule(key) || findShippedRule(group, kind) !== undefined
}

/** Whether the controller has not seen the newest spec of an object yet. */
export function isBehind(object: KubernetesObject): boolean {
  return assessObserved(object) !== undefined
}

/** A controller that has not seen the newest spec has nothing to say of it. */
function assessObserved(object: KubernetesObject): Health | undefined {
  const generation = numberOf(object.metadata.generation)
  const { observedGeneration } = statusOf(object)
  // Argo Rollouts writes it as text.
  const observed = /^\d{1,15}$/.test(textOf(observedGeneration))
    ? Number(observedGeneration)
    : numberOf(observedGeneration)
  if (generation === undefined || observed === undefined || observed >= generation) return undefined
  return progressing(`its controller has seen generation ${observed} of ${generation}`)
}

/** Reasons with which controllers say that waiting will not help, though they leave Ready at False. */
const FAILURE = /fail|error|invalid|denied|forbidden|stalled|notsupported/i

/** The conventions for everything else: Stalled, Reconciling, Ready, Available. Without any of them: Healthy, as kstatus has it. */
function assessConditions(object: KubernetesObject): Health {
  const conditions = conditionsOf(object)
  const find = (type: string) => conditions.find((condition) => condition.type === type)
  const stalled = find('Stalled')
  if (stalled?.status === 'True') return degraded(describeCondition(stalled))
  const reconciling = find('Reconciling')
  if (reconciling?.status === 'True') return progressing(describeCondition(reconciling))
  // Claims and composites of Crossplane are kinds of their own.
  const synced = find('Synced')
  if (synced?.status === 'False' && synced.reason === 'ReconcileError') return degraded(describeCondition(synced))
  const ready = find('Ready') ?? find('Available')
  if (!ready) return HEALTHY
  const generation = numberOf(object.metadata.generation)
  if (ready.observedGeneration !== undefined && generation !== undefined && ready.observedGeneration < generation) {
    return progressing(`${ready.type} speaks of generation ${ready.observedGeneration}, not yet of ${generation}`)
  }
  if (ready.status === 'True') return HEALTHY
  const isFailure = ready.status === 'False' && FAILURE.test(ready.reason)
  return isFailure ? degraded(describeCondition(ready)) : progressing(describeCondition(ready))
}

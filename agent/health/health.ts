// Whether an object works: pure rules by kind after kstatus (sigs.k8s.io/cli-utils) and Argo CD; where the two differ,
// what helps a person more: a load balancer without an address and a running Job are on their way, a paused one is told.
import { HealthState } from '@fairlead/proto/common'
import { type KubernetesObject, splitApiVersion } from '@fairlead/shared/object-reference'
import { conditionsOf, describeCondition, numberOf, statusOf } from './conditions.ts'
import { assessKind, hasRule } from './kinds.ts'
import { degraded, HEALTHY, type Health, type HealthContext, progressing } from './verdict.ts'
import { assessWorkload, isWorkload } from './workloads.ts'

export type { Health, HealthContext } from './verdict.ts'

/** Health of an object as the API server has it, whole unless needsWholeObject says otherwise; undefined is Missing. */
export function assessHealth(object: KubernetesObject | undefined, context: HealthContext): Health {
  if (!object) return { health: HealthState.MISSING, message: 'not in the cluster' }
  if (object.metadata.deletionTimestamp !== undefined) return progressing('being deleted')
  const [group] = splitApiVersion(object.apiVersion)
  const key = `${group}/${object.kind}`
  if (STATELESS.has(key)) return HEALTHY
  const behind = assessObserved(object)
  if (behind) return behind
  if (isWorkload(key)) return assessWorkload(key, object)
  if (hasRule(key)) return assessKind(key, object, context)
  return assessConditions(object)
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
  return !STATELESS.has(`${group}/${kind}`)
}

/** Whether the controller has not seen the newest spec of an object yet. */
export function isBehind(object: KubernetesObject): boolean {
  return assessObserved(object) !== undefined
}

/** A controller that has not seen the newest spec has nothing to say of it. */
function assessObserved(object: KubernetesObject): Health | undefined {
  const { generation } = object.metadata
  const observed = numberOf(statusOf(object).observedGeneration)
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
  const ready = find('Ready') ?? find('Available')
  if (!ready) return HEALTHY
  const { generation } = object.metadata
  if (ready.observedGeneration !== undefined && generation !== undefined && ready.observedGeneration < generation) {
    return progressing(`${ready.type} speaks of generation ${ready.observedGeneration}, not yet of ${generation}`)
  }
  if (ready.status === 'True') return HEALTHY
  const isFailure = ready.status === 'False' && FAILURE.test(ready.reason)
  return isFailure ? degraded(describeCondition(ready)) : progressing(describeCondition(ready))
}

/** Kinds that work as soon as they are there. Ingress is among them: many controllers never write its status. */
const STATELESS: ReadonlySet<string> = new Set(
  [
    ['', 'ConfigMap Secret ServiceAccount Endpoints Event LimitRange PodTemplate'],
    ['admissionregistration.k8s.io', 'MutatingWebhookConfiguration ValidatingWebhookConfiguration'],
    ['admissionregistration.k8s.io', 'MutatingAdmissionPolicy MutatingAdmissionPolicyBinding'],
    ['admissionregistration.k8s.io', 'ValidatingAdmissionPolicyBinding'],
    ['apps', 'ControllerRevision'],
    ['coordination.k8s.io', 'Lease'],
    ['discovery.k8s.io', 'EndpointSlice'],
    ['networking.k8s.io', 'Ingress IngressClass NetworkPolicy'],
    ['extensions', 'Ingress'],
    ['node.k8s.io', 'RuntimeClass'],
    ['rbac.authorization.k8s.io', 'Role RoleBinding ClusterRole ClusterRoleBinding'],
    ['scheduling.k8s.io', 'PriorityClass'],
    ['storage.k8s.io', 'StorageClass CSIDriver CSINode CSIStorageCapacity VolumeAttributesClass'],
  ].flatMap(([group, kinds = '']) => kinds.split(' ').map((kind) => `${group}/${kind}`)),
)

// Health of the built-in kinds that run no pods but have a status of their own.
import type { KubernetesObject } from '@fairlead/shared/object-reference'
import {
  type Condition,
  conditionsOf,
  describeCondition,
  fieldsOf,
  findCondition,
  itemsOf,
  numberOf,
  specOf,
  statusOf,
  textOf,
  toConditions,
} from './conditions.ts'
import { degraded, HEALTHY, type Health, type HealthContext, progressing } from './verdict.ts'

type Rule = (object: KubernetesObject, context: HealthContext) => Health

const RULES: Readonly<Record<string, Rule>> = {
  '/PersistentVolumeClaim': assessClaim,
  '/PersistentVolume': assessVolume,
  '/Service': assessService,
  '/Namespace': assessNamespace,
  '/Node': (object) => assessCondition(object, 'Ready'),
  '/ResourceQuota': () => HEALTHY,
  '/ComponentStatus': (object) => assessCondition(object, 'Healthy'),
  'admissionregistration.k8s.io/ValidatingAdmissionPolicy': () => HEALTHY,
  'apiextensions.k8s.io/CustomResourceDefinition': assessDefinition,
  'apiregistration.k8s.io/APIService': (object) => assessCondition(object, 'Available'),
  'autoscaling/HorizontalPodAutoscaler': assessAutoscaler,
  'policy/PodDisruptionBudget': assessDisruptionBudget,
  'certificates.k8s.io/CertificateSigningRequest': assessSigningRequest,
  'certificates.k8s.io/PodCertificateRequest': assessPodCertificate,
  'certificates.k8s.io/ClusterTrustBundle': () => HEALTHY,
  'flowcontrol.apiserver.k8s.io/FlowSchema': assessFlowSchema,
  'flowcontrol.apiserver.k8s.io/PriorityLevelConfiguration': () => HEALTHY,
  'internal.apiserver.k8s.io/StorageVersion': () => HEALTHY,
  // Whole, so that an application may have a rule of its own; many controllers never write its status.
  'networking.k8s.io/Ingress': () => HEALTHY,
  'extensions/Ingress': () => HEALTHY,
  'networking.k8s.io/ServiceCIDR': (object) => assessCondition(object, 'Ready'),
  // Claims wait for a pod that wants them, and pod groups for their pods.
  'resource.k8s.io/ResourceClaim': () => HEALTHY,
  'resource.k8s.io/ResourcePoolStatusRequest': () => HEALTHY,
  'scheduling.k8s.io/PodGroup': () => HEALTHY,
  'scheduling.k8s.io/Workload': () => HEALTHY,
  'storage.k8s.io/VolumeAttachment': assessAttachment,
  'storagemigration.k8s.io/StorageVersionMigration': assessMigration,
}

/** Whether there is a rule for `group/Kind`. */
export function hasRule(key: string): boolean {
  return Object.hasOwn(RULES, key)
}

/** Health by the rule of the kind. */
export function assessKind(key: string, object: KubernetesObject, context: HealthContext): Health {
  return RULES[key]?.(object, context) ?? HEALTHY
}

function assessCondition(object: KubernetesObject, type: string): Health {
  const condition = findCondition(object, type)
  if (condition?.status === 'True') return HEALTHY
  return progressing(condition ? describeCondition(condition) : `${type} is not known yet`)
}

function assessClaim(object: KubernetesObject): Health {
  const phase = textOf(statusOf(object).phase)
  if (phase === 'Bound') return HEALTHY
  if (phase === 'Lost') return degraded('the volume that the claim was bound to is lost')
  return progressing('the claim is not bound to a volume yet')
}

function assessVolume(object: KubernetesObject): Health {
  const { phase, message } = statusOf(object)
  if (phase === 'Failed') return degraded(textOf(message) || 'the volume could not be reclaimed')
  return phase === 'Pending' || phase === undefined ? progressing('the volume is not available yet') : HEALTHY
}

function assessService(object: KubernetesObject): Health {
  if (specOf(object).type !== 'LoadBalancer') return HEALTHY
  const addresses = itemsOf(fieldsOf(statusOf(object).loadBalancer).ingress)
  return addresses.length > 0 ? HEALTHY : progressing('the load balancer has no address yet')
}

function assessNamespace(object: KubernetesObject): Health {
  return statusOf(object).phase === 'Terminating' ? progressing('being deleted') : HEALTHY
}

function assessDefinition(object: KubernetesObject): Health {
  const names = findCondition(object, 'NamesAccepted')
  if (names?.status === 'False') return degraded(describeCondition(names))
  const established = findCondition(object, 'Established')
  if (established?.status !== 'True') {
    return progressing(established ? describeCondition(established) : 'the API server has not taken it up yet')
  }
  const structural = findCondition(object, 'NonStructuralSchema')
  return structural?.status === 'True' ? degraded(describeCondition(structural)) : HEALTHY
}

/** Metrics are missing for a while after every start of a workload; later than this it is a fault. */
const METRICS_GRACE_MS = 5 * 60_000

function assessAutoscaler(object: KubernetesObject, { now }: HealthContext): Health {
  const conditions = autoscalerConditions(object)
  if (conditions.length === 0) return progressing('its controller has not seen it yet')
  const fault = conditions.find(
    ({ type, status, reason }) =>
      status === 'False' &&
      ((type === 'AbleToScale' && /^Failed/.test(reason)) ||
        (type === 'ScalingActive' && /^Failed|^Invalid|^AmbiguousSelector/.test(reason))),
  )
  if (!fault) return HEALTHY
  return isRecent(fault, now, METRICS_GRACE_MS)
    ? progressing(describeCondition(fault))
    : degraded(describeCondition(fault))
}

/** autoscaling/v1 has its conditions in an annotation. */
function autoscalerConditions(object: KubernetesObject): Condition[] {
  const conditions = conditionsOf(object)
  const text = object.metadata.annotations?.['autoscaling.alpha.kubernetes.io/conditions']
  if (conditions.length > 0 || typeof text !== 'string') return conditions
  try {
    return toConditions(JSON.parse(text))
  } catch {
    return []
  }
}

function isRecent({ lastTransitionMs }: Condition, now: Date, ms: number): boolean {
  return lastTransitionMs !== undefined && now.getTime() - lastTransitionMs < ms
}

function assessDisruptionBudget(object: KubernetesObject): Health {
  const { observedGeneration } = statusOf(object)
  if (numberOf(observedGeneration) === undefined) return progressing('its controller has not seen it yet')
  const allowed = findCondition(object, 'DisruptionAllowed')
  return allowed?.reason === 'SyncFailed' ? degraded(describeCondition(allowed)) : HEALTHY
}

function assessSigningRequest(object: KubernetesObject): Health {
  const refused = conditionsOf(object).find(({ type }) => type === 'Denied' || type === 'Failed')
  if (refused) return degraded(describeCondition(refused))
  return textOf(statusOf(object).certificate) === '' ? progressing('the certificate is not issued yet') : HEALTHY
}

function assessPodCertificate(object: KubernetesObject): Health {
  const refused = conditionsOf(object).find(({ type, status }) => /^(Denied|Failed)$/.test(type) && status === 'True')
  if (refused) return degraded(describeCondition(refused))
  return findCondition(object, 'Issued')?.status === 'True' ? HEALTHY : progressing('the certificate is not issued yet')
}

function assessFlowSchema(object: KubernetesObject): Health {
  const dangling = findCondition(object, 'Dangling')
  return dangling?.status === 'True' ? degraded(describeCondition(dangling)) : HEALTHY
}

function assessAttachment(object: KubernetesObject): Health {
  const { attached, attachError, detachError } = statusOf(object)
  const error = textOf(fieldsOf(attachError).message) || textOf(fieldsOf(detachError).message)
  if (error !== '') return degraded(error)
  return attached === true ? HEALTHY : progressing('the volume is not attached yet')
}

function assessMigration(object: KubernetesObject): Health {
  const failed = findCondition(object, 'Failed')
  if (failed?.status === 'True') return degraded(describeCondition(failed))
  return findCondition(object, 'Succeeded')?.status === 'True' ? HEALTHY : progressing('objects are being written anew')
}

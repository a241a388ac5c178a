// Health of what runs pods: Deployment, StatefulSet, DaemonSet, ReplicaSet, Job, CronJob, Pod.
import type { KubernetesObject } from '@fairlead/shared/object-reference'
import {
  describeCondition,
  fieldsOf,
  findCondition,
  itemsOf,
  numberOf,
  specOf,
  statusOf,
  textOf,
} from './conditions.ts'
import { degraded, HEALTHY, type Health, progressing, suspended } from './verdict.ts'

type Rule = (object: KubernetesObject) => Health

const RULES: Readonly<Record<string, Rule>> = {
  'apps/Deployment': assessDeployment,
  'extensions/Deployment': assessDeployment,
  'apps/StatefulSet': assessStatefulSet,
  'apps/DaemonSet': assessDaemonSet,
  'apps/ReplicaSet': assessReplicaSet,
  '/ReplicationController': assessReplicaSet,
  'batch/Job': assessJob,
  'batch/CronJob': assessCronJob,
  '/Pod': assessPod,
}

/** Whether there is a rule for `group/Kind`. */
export function isWorkload(key: string): boolean {
  return Object.hasOwn(RULES, key)
}

/** Health of a workload by the rule of its kind. */
export function assessWorkload(key: string, object: KubernetesObject): Health {
  return RULES[key]?.(object) ?? HEALTHY
}

/** A status that was never written. Without a controller it stays so, and it never works. */
function isUnobserved(object: KubernetesObject): boolean {
  return numberOf(statusOf(object).observedGeneration) === undefined
}

function assessDeployment(object: KubernetesObject): Health {
  const spec = specOf(object)
  const status = statusOf(object)
  if (spec.paused === true) return suspended('the Deployment is paused')
  const isProgressing = findCondition(object, 'Progressing')
  if (isProgressing?.reason === 'ProgressDeadlineExceeded') return degraded(describeCondition(isProgressing))
  const failure = findCondition(object, 'ReplicaFailure')
  if (failure?.status === 'True') return degraded(describeCondition(failure))
  if (isUnobserved(object)) return progressing('its controller has not seen it yet')
  const wanted = numberOf(spec.replicas) ?? 1
  const { replicas = 0, updated = 0, ready = 0, available = 0 } = counts(status)
  if (updated < wanted) return progressing(`${updated} of ${wanted} pods are of the newest version`)
  if (replicas > updated) return progressing(`${replicas - updated} old pods are still there`)
  if (available < updated) return progressing(`${available} of ${updated} pods are available`)
  if (ready < wanted) return progressing(`${ready} of ${wanted} pods are ready`)
  return HEALTHY
}

function assessStatefulSet(object: KubernetesObject): Health {
  const spec = specOf(object)
  const status = statusOf(object)
  if (isUnobserved(object)) return progressing('its controller has not seen it yet')
  const wanted = numberOf(spec.replicas) ?? 1
  const { replicas = 0, updated = 0, ready = 0 } = counts(status)
  const strategy = fieldsOf(spec.updateStrategy)
  if (replicas < wanted) return progressing(`${replicas} of ${wanted} pods are there`)
  if (ready < wanted) return progressing(`${ready} of ${wanted} pods are ready`)
  if (replicas > wanted) return progressing(`${replicas - wanted} pods too many are still there`)
  if (strategy.type === 'OnDelete') return HEALTHY
  const partition = numberOf(fieldsOf(strategy.rollingUpdate).partition) ?? 0
  if (partition > 0) {
    const due = Math.max(0, wanted - partition)
    return updated < due ? progressing(`${updated} of ${due} pods are of the newest version`) : HEALTHY
  }
  const isCurrent = textOf(status.currentRevision) === textOf(status.updateRevision)
  return isCurrent ? HEALTHY : progressing(`${updated} of ${wanted} pods are of the newest version`)
}

function assessDaemonSet(object: KubernetesObject): Health {
  const status = statusOf(object)
  if (isUnobserved(object)) return progressing('its controller has not seen it yet')
  const wanted = numberOf(status.desiredNumberScheduled) ?? 0
  const scheduled = numberOf(status.currentNumberScheduled) ?? 0
  const updated = numberOf(status.updatedNumberScheduled) ?? 0
  const available = numberOf(status.numberAvailable) ?? 0
  const ready = numberOf(status.numberReady) ?? 0
  if (scheduled < wanted) return progressing(`${scheduled} of ${wanted} nodes have a pod`)
  const replaces = fieldsOf(specOf(object).updateStrategy).type !== 'OnDelete'
  if (replaces && updated < wanted) return progressing(`${updated} of ${wanted} pods are of the newest version`)
  if (available < wanted) return progressing(`${available} of ${wanted} pods are available`)
  if (ready < wanted) return progressing(`${ready} of ${wanted} pods are ready`)
  return HEALTHY
}

function assessReplicaSet(object: KubernetesObject): Health {
  const failure = findCondition(object, 'ReplicaFailure')
  if (failure?.status === 'True') return degraded(describeCondition(failure))
  if (isUnobserved(object)) return progressing('its controller has not seen it yet')
  const wanted = numberOf(specOf(object).replicas) ?? 1
  const { replicas = 0, ready = 0, available = 0 } = counts(statusOf(object))
  if (replicas < wanted) return progressing(`${replicas} of ${wanted} pods are there`)
  if (available < wanted) return progressing(`${available} of ${wanted} pods are available`)
  if (ready < wanted) return progressing(`${ready} of ${wanted} pods are ready`)
  return replicas > wanted ? progressing(`${replicas - wanted} pods too many are still there`) : HEALTHY
}

function assessJob(object: KubernetesObject): Health {
  const failed = findCondition(object, 'Failed')
  if (failed?.status === 'True') return degraded(describeCondition(failed))
  if (findCondition(object, 'Complete')?.status === 'True') return HEALTHY
  if (findCondition(object, 'Suspended')?.status === 'True' || specOf(object).suspend === true) {
    return suspended('the Job is suspended')
  }
  const status = statusOf(object)
  const failing = findCondition(object, 'FailureTarget')
  if (failing?.status === 'True') return progressing(describeCondition(failing))
  if (status.startTime === undefined) return progressing('the Job has not started yet')
  const succeeded = numberOf(status.succeeded) ?? 0
  const failures = numberOf(status.failed) ?? 0
  const tried = failures === 0 ? '' : `, ${failures} failed`
  return progressing(`${succeeded} of ${numberOf(specOf(object).completions) ?? 1} pods have succeeded${tried}`)
}

function assessCronJob(object: KubernetesObject): Health {
  return specOf(object).suspend === true ? suspended('the CronJob is suspended') : HEALTHY
}

/** Waiting reasons that waiting does not mend: ErrImagePull, ImagePullBackOff, CrashLoopBackOff, CreateContainerConfigError. */
const HOPELESS = /^Err|Error$|BackOff$|^InvalidImageName$/

function assessPod(object: KubernetesObject): Health {
  const status = statusOf(object)
  const reason = textOf(status.reason)
  const message = [reason, textOf(status.message)].filter((text) => text !== '').join(': ')
  switch (status.phase) {
    case 'Succeeded':
      return HEALTHY
    case 'Failed':
      return degraded(message || describeTerminated(object) || 'the pod has failed')
    case 'Running':
      return assessRunningPod(object)
    case 'Unknown':
      return progressing(message || 'its node is not heard from')
    default: {
      const stuck = describeStuckContainer(object)
      if (stuck !== undefined) return degraded(stuck)
      const scheduled = findCondition(object, 'PodScheduled')
      if (scheduled?.status === 'False') return progressing(describeCondition(scheduled))
      return progressing(message || 'its containers are not running yet')
    }
  }
}

function assessRunningPod(object: KubernetesObject): Health {
  const stuck = describeStuckContainer(object)
  if (stuck !== undefined) return degraded(stuck)
  const ready = findCondition(object, 'Ready')
  if (ready?.status === 'True') return HEALTHY
  const crashed = containersOf(object).find((container) => fieldsOf(fieldsOf(container.lastState).terminated).exitCode)
  const restarts = crashed ? ` after ${numberOf(crashed.restartCount) ?? 1} restarts of ${textOf(crashed.name)}` : ''
  return progressing(ready ? `${describeCondition(ready)}${restarts}` : `not ready yet${restarts}`)
}

/** `container: Reason: message` of the first container that cannot start, undefined when there is none. */
function describeStuckContainer(object: KubernetesObject): string | undefined {
  for (const container of containersOf(object)) {
    const { reason, message } = fieldsOf(fieldsOf(container.state).waiting)
    if (!HOPELESS.test(textOf(reason))) continue
    const last = fieldsOf(fieldsOf(container.lastState).terminated)
    const exit = last.exitCode === undefined ? '' : ` (last exit code ${String(last.exitCode)}, ${textOf(last.reason)})`
    return `${textOf(container.name)}: ${textOf(reason)}${message ? `: ${textOf(message)}` : ''}${exit}`
  }
  return undefined
}

function describeTerminated(object: KubernetesObject): string | undefined {
  for (const container of containersOf(object)) {
    const { exitCode, reason } = fieldsOf(fieldsOf(container.state).terminated)
    if (numberOf(exitCode)) return `${textOf(container.name)}: ${textOf(reason)} with exit code ${String(exitCode)}`
  }
  return undefined
}

function containersOf(object: KubernetesObject): Record<string, unknown>[] {
  const { initContainerStatuses, containerStatuses } = statusOf(object)
  return [...itemsOf(initContainerStatuses), ...itemsOf(containerStatuses)]
}

function counts(status: Record<string, unknown>) {
  return {
    replicas: numberOf(status.replicas),
    updated: numberOf(status.updatedReplicas),
    ready: numberOf(status.readyReplicas),
    available: numberOf(status.availableReplicas),
  }
}

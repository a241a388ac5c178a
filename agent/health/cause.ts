// Why a workload does not work: the pod that fares worst and what is wrong with it. Read only when somebody asks.
import type { HealthState } from '@fairlead/proto/common'
import type { KubernetesObject } from '@fairlead/shared/object-reference'
import type { Kube, ResourceType } from '../kube/kube.ts'
import { fieldsOf, itemsOf, specOf, textOf } from './conditions.ts'
import { assessHealth, worstHealth } from './health.ts'
import { HEALTHY } from './verdict.ts'

const PODS: ResourceType = { group: '', version: 'v1', kind: 'Pod', plural: 'pods', namespaced: true, verbs: ['list'] }
/** One page: of many sick pods the first show why. */
const PODS_MAX = 50

/**
 * `pod web-7d4b9-x2x: app: CrashLoopBackOff: ...` for the sickest pod that a workload selects; undefined when it selects
 * none, when all are well, and when pods may not be read. One request; rejects only with AppError Aborted.
 */
export async function readCause(
  kube: Kube,
  workload: KubernetesObject,
  { now, signal }: { now: Date; signal: AbortSignal },
): Promise<string | undefined> {
  const labelSelector = podSelector(workload)
  const { namespace } = workload.metadata
  if (labelSelector === undefined || namespace === undefined) return undefined
  try {
    const pages = kube.listPages(PODS, { namespace, labelSelector, limit: PODS_MAX, signal })
    const { value } = await pages.next()
    await pages.return()
    return value ? describePods(value.items, now) : undefined
  } catch (error) {
    if (signal.aborted) throw error
    return undefined
  }
}

/** The sickest of the pods in words; undefined when none is sick. */
export function describePods(pods: readonly KubernetesObject[], now: Date): string | undefined {
  const assessed = pods.map((pod) => {
    const { health, message } = assessHealth(pod, { now })
    return { health, message: `pod ${pod.metadata.name}: ${message}` }
  })
  const worst: { health: HealthState; message: string } = worstHealth(assessed)
  return worst.health === HEALTHY.health ? undefined : worst.message
}

/** A workload's spec.selector as a query; undefined when it has none, which must never select everything. */
export function podSelector(workload: KubernetesObject): string | undefined {
  const { matchLabels, matchExpressions } = fieldsOf(specOf(workload).selector)
  const equal = Object.entries(fieldsOf(matchLabels)).map(([label, value]) => `${label}=${textOf(value)}`)
  const expressions = itemsOf(matchExpressions).map(({ key, operator, values }) => {
    const list = Array.isArray(values) ? values.map(textOf).join(',') : ''
    switch (operator) {
      case 'In':
        return `${textOf(key)} in (${list})`
      case 'NotIn':
        return `${textOf(key)} notin (${list})`
      case 'DoesNotExist':
        return `!${textOf(key)}`
      default:
        return textOf(key)
    }
  })
  const all = [...equal, ...expressions]
  return all.length === 0 ? undefined : all.join(',')
}

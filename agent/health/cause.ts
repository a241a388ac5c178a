// Why a workload does not work: the pod that fares worst, what is wrong with it, and, where it is allowed, what it wrote last.
// Read only when somebody asks.
import type { KubernetesObject } from '@fairlead/shared/object-reference'
import { coreKind } from '../kube/core-kinds.ts'
import type { Kube, ListOptions, ResourceType } from '../kube/kube.ts'
import { fieldsOf, itemsOf, numberOf, specOf, textOf } from './conditions.ts'
import { assessHealth, type Health, worstHealth } from './health.ts'
import { findBlamedContainer, readLogLines } from './pod-log.ts'
import { HEALTHY } from './verdict.ts'

const PODS = coreKind('Pod', 'pods')
const EVENTS = coreKind('Event', 'events')
const REPLICA_SETS: ResourceType = { ...coreKind('ReplicaSet', 'replicasets'), group: 'apps' }
/** One page: of many sick pods the first show why. */
const LISTED_MAX = 50
/** Longest text of a cause, in characters. */
const TEXT_MAX = 1_000

/** What is wrong with the pods of a workload. */
export interface Cause {
  /** `pod web-7d4b9-x2x: app: CrashLoopBackOff: ...`; empty when nothing can be told that the workload does not say itself. */
  readonly text: string
  /** The last lines of the container at fault; empty unless they were asked for. */
  readonly logLines: readonly string[]
}

/** How causes are read. */
export interface CauseOptions {
  readonly now: Date
  /** Read the log of the container at fault as well. */
  readonly podLogs: boolean
  readonly signal: AbortSignal
}

const NOTHING: Cause = { text: '', logLines: [] }

/**
 * What is wrong with the pods of a workload: its own (a Deployment's newest ReplicaSet first), their events when they say no
 * more than that they are not ready, its own events when there is no pod. One to four requests; what may not be read is left
 * out. Rejects only with AppError Aborted.
 */
export async function readCause(kube: Kube, workload: KubernetesObject, options: CauseOptions): Promise<Cause> {
  const { namespace } = workload.metadata
  if (namespace === undefined) return NOTHING
  const { signal } = options
  const list = async (resource: ResourceType, query: ListOptions): Promise<readonly KubernetesObject[] | undefined> =>
    await firstPage(kube, resource, { ...query, namespace, signal })
  const pods = await readPods(workload, list)
  if (!pods) return NOTHING
  const sickest = findSickest(pods, options.now)
  if (!sickest) return pods.length === 0 ? await causeWithoutPods(workload, list) : NOTHING
  const { pod, health } = sickest
  const event = isVague(pod) ? await newestWarning(pod, list) : ''
  const blamed = options.podLogs ? findBlamedContainer(pod) : undefined
  const logLines = blamed ? await readLogLines(kube, pod, blamed, signal) : []
  // A pod that is declared itself has said it.
  const own = workload.kind === 'Pod' ? '' : `pod ${pod.metadata.name}: ${health.message}`
  const text = [own, event].filter((part) => part !== '').join('; ')
  return { text: text.slice(0, TEXT_MAX), logLines }
}

type List = (resource: ResourceType, query: ListOptions) => Promise<readonly KubernetesObject[] | undefined>

/** Undefined when it may not be read. */
async function firstPage(
  kube: Kube,
  resource: ResourceType,
  query: ListOptions,
): Promise<readonly KubernetesObject[] | undefined> {
  try {
    const pages = kube.listPages(resource, { ...query, limit: LISTED_MAX })
    const { value } = await pages.next()
    await pages.return()
    return value?.items ?? []
  } catch (error) {
    if (query.signal?.aborted) throw error
    return undefined
  }
}

/** The pods to look at; undefined when the workload selects none by what it says, or they may not be read. */
async function readPods(workload: KubernetesObject, list: List): Promise<readonly KubernetesObject[] | undefined> {
  if (workload.kind === 'Pod') return [workload]
  const labelSelector = podSelector(workload)
  if (labelSelector === undefined) return undefined
  const pods = await list(PODS, { labelSelector })
  if (workload.kind !== 'Deployment' || !pods || pods.length === 0) return pods
  const sets = (await list(REPLICA_SETS, { labelSelector, metadataOnly: true })) ?? []
  const newest = sets.filter((set) => isOwnedBy(set, workload)).sort((a, b) => revisionOf(b) - revisionOf(a))[0]
  const own = newest ? pods.filter((pod) => isOwnedBy(pod, newest)) : []
  return own.length > 0 ? own : pods
}

function isOwnedBy(object: KubernetesObject, owner: KubernetesObject): boolean {
  return itemsOf(object.metadata.ownerReferences).some(({ uid }) => uid !== undefined && uid === owner.metadata.uid)
}

function revisionOf(set: KubernetesObject): number {
  return Number(set.metadata.annotations?.['deployment.kubernetes.io/revision'] ?? 0) || 0
}

/** The pod that fares worst, of equals the newest; undefined when none is sick. */
export function findSickest(
  pods: readonly KubernetesObject[],
  now: Date,
): { readonly pod: KubernetesObject; readonly health: Health } | undefined {
  const made = (pod: KubernetesObject): string => textOf(pod.metadata.creationTimestamp)
  const newestFirst = [...pods].sort((a, b) => (made(a) < made(b) ? 1 : made(a) > made(b) ? -1 : 0))
  const assessed = newestFirst.map((pod) => ({ pod, health: assessHealth(pod, { now }) }))
  const worst = worstHealth(assessed.map(({ health }) => health))
  if (worst.health === HEALTHY.health) return undefined
  return assessed.find(({ health }) => health === worst)
}

/** Whether a pod's own status leaves open why: a failing probe or mount is told by events alone. */
function isVague(pod: KubernetesObject): boolean {
  const { phase, containerStatuses, initContainerStatuses } = fieldsOf(pod.status)
  if (phase !== 'Running' && phase !== 'Pending') return false
  const waiting = [...itemsOf(initContainerStatuses), ...itemsOf(containerStatuses)].map(({ state }) =>
    textOf(fieldsOf(fieldsOf(state).waiting).reason),
  )
  return !waiting.some((reason) => reason !== '' && reason !== 'ContainerCreating' && reason !== 'PodInitializing')
}

async function causeWithoutPods(workload: KubernetesObject, list: List): Promise<Cause> {
  const event = await newestWarning(workload, list)
  return event === '' ? NOTHING : { text: `it has no pods; ${event}`.slice(0, TEXT_MAX), logLines: [] }
}

/** `Unhealthy: Readiness probe failed: ...` of the newest warning about an object; empty when there is none. */
async function newestWarning({ metadata }: KubernetesObject, list: List): Promise<string> {
  const { name, uid } = metadata
  if (uid === undefined) return ''
  const fieldSelector = `involvedObject.name=${name},involvedObject.uid=${uid},type=Warning`
  const events = (await list(EVENTS, { fieldSelector })) ?? []
  const at = (event: KubernetesObject): string => textOf(event.lastTimestamp) || textOf(event.eventTime)
  const newest = [...events].sort((a, b) => (at(a) < at(b) ? 1 : -1))[0]
  if (!newest) return ''
  const count = numberOf(newest.count) ?? 1
  return `${textOf(newest.reason)}: ${textOf(newest.message)}${count > 1 ? ` (${count} times)` : ''}`
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

// Looks at what a prune would delete before anything is decided: which object it is now, and what a Namespace or a CRD
// would take with it that nobody here owns.
import { APPLICATION_LABEL, PRUNE_ANNOTATION } from '@fairlead/shared/labels'
import { type KubernetesObject, objectKey } from '@fairlead/shared/object-reference'
import { isCrd, isFoundation, isNamespace } from '../applier/apply-order.ts'
import type { Kube, ResourceType } from '../kube/kube.ts'
import { isStatus } from '../kube/kube-error.ts'
import type { PruneCandidate } from '../pruner/prune-guards.ts'
import type { Application } from './application.ts'
import type { ObjectRecord } from './object-record.ts'

/** Objects of others that are looked for in one kind; more are only said to be more. */
const LOOK_LIMIT = 250
/** Kinds that every namespace gets by itself, or that say nothing that anybody wrote. */
const PASSING_KINDS = new Set(['Event', 'Endpoints', 'EndpointSlice', 'Lease', 'ControllerRevision', 'PodMetrics'])
/** Objects that controllers put into every namespace. */
const AUTOMATIC =
  /^(ServiceAccount\/(default|builder|deployer)|ConfigMap\/(kube-root-ca\.crt|openshift-service-ca\.crt|istio-ca-root-cert))$/
const NAMED_MAX = 3

/** What was found of an object; remembered until it is looked at again. */
interface Found {
  readonly uid: string
  readonly keep: boolean
  readonly takes: string | undefined
}

const remembered = new WeakMap<ObjectRecord, Found>()

/** The candidates of a prune. Those that are due are looked at anew; undefined for an object that was never made. Throws as Kube does. */
export async function inspectCandidates(
  application: Application,
  records: readonly ObjectRecord[],
  isDue: (record: ObjectRecord) => boolean,
): Promise<Map<ObjectRecord, PruneCandidate | undefined>> {
  const leaving = new Set(records.map(({ key }) => key))
  const found = new Map<ObjectRecord, PruneCandidate | undefined>()
  for (const record of records) {
    const known = remembered.get(record)
    const seen = known && !isDue(record) ? known : await look(application, record, leaving)
    if (seen) remembered.set(record, seen)
    found.set(record, seen && toCandidate(record, seen))
  }
  return found
}

function toCandidate(record: ObjectRecord, { uid, keep, takes }: Found): PruneCandidate {
  const { key, group, kind, namespace, name, wave, approvedUid } = record
  const isApproved = uid !== '' && approvedUid === uid
  return { key, uid, group, kind, namespace, name, wave, keep, isApproved, takes }
}

async function look(
  application: Application,
  record: ObjectRecord,
  leaving: ReadonlySet<string>,
): Promise<Found | undefined> {
  const { live, applied } = record
  const { localPolicy, kinds } = application.context
  // What we may not touch, we did not make.
  if (!live && !applied && localPolicy(record, 'delete')) return undefined
  const isSeen = live !== undefined || (applied !== undefined && kinds.isWatched(record.resource))
  if (isSeen || localPolicy(record, 'delete')) {
    const uid = live?.application === application.name ? live.uid : (applied?.uid ?? '')
    const takes = live?.terminating || !live ? undefined : await findTaken(application, record, leaving)
    return { uid, keep: live?.keep ?? false, takes }
  }
  // Nothing says what is there now: the intent alone was written down, or the kind may not be watched.
  const object = await read(application, record)
  if (object === undefined && !applied) return undefined
  if (!object || object === 'forbidden') return { uid: applied?.uid ?? '', keep: false, takes: undefined }
  const isOurs = object.metadata.labels?.[APPLICATION_LABEL] === application.name
  if (!applied && !isOurs) return undefined
  const keep = object.metadata.annotations?.[PRUNE_ANNOTATION] === 'disabled'
  const takes = await findTaken(application, record, leaving)
  return { uid: applied?.uid ?? object.metadata.uid ?? '', keep, takes }
}

async function read(
  { name, context }: Application,
  record: ObjectRecord,
): Promise<KubernetesObject | 'forbidden' | undefined> {
  try {
    const kube = await context.kubeFor(name)
    return await kube.get(record.resource, record, { metadataOnly: true, signal: context.signal })
  } catch (error) {
    // What we may not even look at, we were not allowed to make.
    if (isStatus(error, 403)) return record.applied ? 'forbidden' : undefined
    throw error
  }
}

/** In words what else would go; undefined when nothing would. In doubt something would. */
async function findTaken(
  application: Application,
  record: ObjectRecord,
  leaving: ReadonlySet<string>,
): Promise<string | undefined> {
  if (!isFoundation(record)) return undefined
  const { signal } = application.context
  const kube = await application.context.kubeFor(application.name)
  const others: string[] = []
  let isMore = false
  try {
    for (const resource of await resourcesInside(kube, record, signal)) {
      const namespace = isNamespace(record) ? record.name : undefined
      for await (const page of kube.listPages(resource, { namespace, limit: LOOK_LIMIT, metadataOnly: true, signal })) {
        others.push(...page.items.filter((object) => isForeign(resource, object, leaving)).map(describe))
        if (others.length > LOOK_LIMIT) isMore = true
        if (isMore) break
      }
      if (isMore) break
    }
  } catch (error) {
    if (isStatus(error, 403)) return 'what this agent may not even list'
    throw error
  }
  if (others.length === 0) return undefined
  const rest = others.length - NAMED_MAX
  const named = others.slice(0, NAMED_MAX).join(', ')
  return rest > 0 ? `${named} and ${isMore ? 'many' : rest} more` : named
}

async function resourcesInside(kube: Kube, record: ObjectRecord, signal: AbortSignal): Promise<ResourceType[]> {
  const served = await kube.resourceTypes({ signal })
  const inside = served.filter((resource) => {
    if (!resource.verbs.includes('list') || !resource.verbs.includes('delete')) return false
    if (isCrd(record)) return record.name === `${resource.plural}.${resource.group}`
    return resource.namespaced && !PASSING_KINDS.has(resource.kind)
  })
  return inside
}

function isForeign({ group, kind, namespaced }: ResourceType, object: KubernetesObject, leaving: ReadonlySet<string>) {
  const {
    name,
    namespace = '',
    ownerReferences = [],
    deletionTimestamp,
  } = object.metadata as {
    name: string
    namespace?: string
    ownerReferences?: readonly unknown[]
    deletionTimestamp?: string
  }
  // What has an owner goes or stays with it.
  if (ownerReferences.length > 0 || deletionTimestamp !== undefined) return false
  if (group === '' && AUTOMATIC.test(`${kind}/${name}`)) return false
  return !leaving.has(objectKey({ group, kind, namespace: namespaced ? namespace : '', name }))
}

function describe(object: KubernetesObject): string {
  const { name, namespace = '' } = object.metadata
  return `${object.kind} ${namespace === '' ? name : `${namespace}/${name}`}`
}

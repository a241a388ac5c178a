// What a Namespace or a CustomResourceDefinition would take with it that nobody here owns. What cannot be listed counts
// as something: in doubt it is held.
import { createHash } from 'node:crypto'
import { isAborted, toAppError } from '@fairlead/shared/errors'
import { type KubernetesObject, objectKey } from '@fairlead/shared/object-reference'
import { isCrd, isFoundation, isNamespace } from '../applier/apply-order.ts'
import type { Kube, ResourceType } from '../kube/kube.ts'
import { isStatus, KubeError } from '../kube/kube-error.ts'
import type { Application } from './application.ts'
import type { ObjectRecord } from './object-record.ts'

const PAGE = 500
/** Kinds that every namespace gets by itself, or that say nothing that anybody wrote. */
const PASSING_KINDS = new Set([
  '/Event',
  'events.k8s.io/Event',
  '/Endpoints',
  'discovery.k8s.io/EndpointSlice',
  'coordination.k8s.io/Lease',
  'apps/ControllerRevision',
])
/** Groups of measurements: nothing is lost with them, and they are often out of order. */
const MEASUREMENTS = /(^|\.)metrics\.k8s\.io$/
/** Objects that controllers put into every namespace. */
const AUTOMATIC =
  /^(ServiceAccount\/(default|builder|deployer)|ConfigMap\/(kube-root-ca\.crt|openshift-service-ca\.crt|istio-ca-root-cert))$/
const NAMED_MAX = 3
/** More objects are remembered as a whole: then any change needs another approval. */
const MARKS_MAX = 500

/** What else would go. */
export interface Taken {
  /** For people; undefined when nothing would. */
  readonly words: string | undefined
  /** Short hashes of the keys and uids of what would go, and the kinds that cannot be listed as `?plural.group`; sorted, the same while nothing changes. */
  readonly marks: readonly string[]
}

/** Nothing else would go. */
export const NOTHING_TAKEN: Taken = { words: undefined, marks: [] }

/** Looks what else would go; `leaving` are the keys of what goes by itself. Throws Aborted, ServiceAccountMissing, and ApiServerUnavailable when the API server as a whole cannot be asked. */
export async function findTaken(
  { name, context }: Application,
  record: ObjectRecord,
  leaving: ReadonlySet<string>,
  signal: AbortSignal,
): Promise<Taken> {
  if (!isFoundation(record)) return NOTHING_TAKEN
  const kube = await context.kubeFor(name)
  const { types, unlisted } = await findKinds(kube, record, signal)
  const found: Found[] = []
  let outages = 0
  for (const resource of types) {
    try {
      found.push(...(await listForeign({ kube, record, leaving, signal }, resource)))
    } catch (thrown) {
      const error = toAppError(thrown)
      // One that hangs may be a broken aggregated API; when a second one does there is nobody to ask.
      const isOutage = error.code === 'ApiServerUnavailable' && !(error instanceof KubeError)
      if (isAborted(error) || error.kind === 'bug' || (isOutage && ++outages > 1)) throw error
      // The kind is gone meanwhile, and its objects with it.
      if (isNamespace(record) && isStatus(error, 404)) continue
      unlisted.push(nameOf(resource))
    }
  }
  return describeTaken(found, unlisted)
}

interface Found {
  readonly mark: string
  readonly text: string
  readonly isData: boolean
}

interface Look {
  readonly kube: Kube
  readonly record: ObjectRecord
  readonly leaving: ReadonlySet<string>
  readonly signal: AbortSignal
}

/** What must be listed, and what is known beforehand that it cannot. */
async function findKinds(
  kube: Kube,
  record: ObjectRecord,
  signal: AbortSignal,
): Promise<{ types: ResourceType[]; unlisted: string[] }> {
  try {
    const served = await kube.servedTypes({ signal })
    const types = served.types.filter((resource) => isInside(record, resource))
    // A definition of which no version is served may have objects all the same.
    if (isCrd(record)) return { types, unlisted: types.length === 0 ? [record.name] : [] }
    return { types, unlisted: served.unread.filter((group) => !MEASUREMENTS.test(group)).map((group) => `*.${group}`) }
  } catch (error) {
    // Without an answer of the API server itself, everything else will fail too.
    if (!(error instanceof KubeError)) throw error
    return { types: [], unlisted: ['*'] }
  }
}

function isInside(record: ObjectRecord, resource: ResourceType): boolean {
  if (!resource.verbs.includes('list') || !resource.verbs.includes('delete')) return false
  if (isCrd(record)) return record.name === nameOf(resource)
  const { group, kind, namespaced } = resource
  return namespaced && !PASSING_KINDS.has(`${group}/${kind}`) && !MEASUREMENTS.test(group)
}

function nameOf({ plural, group }: ResourceType): string {
  return group === '' ? plural : `${plural}.${group}`
}

async function listForeign({ kube, record, leaving, signal }: Look, resource: ResourceType): Promise<Found[]> {
  const namespace = isNamespace(record) ? record.name : undefined
  const found: Found[] = []
  for await (const page of kube.listPages(resource, { namespace, limit: PAGE, metadataOnly: true, signal })) {
    const foreign = page.items.filter((object) => isForeign(resource, object, leaving))
    found.push(...foreign.map((object) => toFound(resource, object)))
  }
  return found
}

function isForeign(resource: ResourceType, object: KubernetesObject, leaving: ReadonlySet<string>): boolean {
  const { name, ownerReferences, deletionTimestamp } = object.metadata as {
    name: string
    ownerReferences?: readonly unknown[]
    deletionTimestamp?: string
  }
  // What has an owner goes or stays with it.
  if ((ownerReferences ?? []).length > 0 || deletionTimestamp !== undefined) return false
  if (resource.group === '' && AUTOMATIC.test(`${resource.kind}/${name}`)) return false
  return !leaving.has(keyOf(resource, object))
}

function keyOf({ group, kind, namespaced }: ResourceType, { metadata }: KubernetesObject): string {
  const namespace = namespaced ? (metadata.namespace ?? '') : ''
  return objectKey({ group, kind, namespace, name: metadata.name })
}

function toFound(resource: ResourceType, object: KubernetesObject): Found {
  const { name, namespace = '', uid = '' } = object.metadata
  const mark = createHash('sha256')
    .update(`${keyOf(resource, object)}\n${uid}`)
    .digest('base64url')
    .slice(0, 16)
  const text = `${resource.kind} ${namespace === '' ? name : `${namespace}/${name}`}`
  return { mark, text, isData: resource.group === '' && resource.kind === 'PersistentVolumeClaim' }
}

function describeTaken(found: readonly Found[], unlisted: readonly string[]): Taken {
  if (found.length === 0 && unlisted.length === 0) return NOTHING_TAKEN
  const ordered = found.toSorted(
    (a, b) => Number(b.isData) - Number(a.isData) || Number(a.text > b.text) - Number(a.text < b.text),
  )
  const named = shorten(ordered.map(({ text }) => text))
  const blind = unlisted.length > 0 ? [`what cannot be listed (${shorten(unlisted.toSorted())})`] : []
  return {
    words: [...(named === '' ? [] : [named]), ...blind].join(', and '),
    marks: [...toMarks(found), ...unlisted.map((kind) => `?${kind}`)].sort(),
  }
}

function toMarks(found: readonly Found[]): string[] {
  const marks = found.map(({ mark }) => mark).sort()
  if (marks.length <= MARKS_MAX) return marks
  return [`${marks.length}:${createHash('sha256').update(marks.join('\n')).digest('base64url')}`]
}

function shorten(names: readonly string[]): string {
  const rest = names.length - NAMED_MAX
  const named = names.slice(0, NAMED_MAX).join(', ')
  return rest > 0 ? `${named} and ${rest} more` : named
}

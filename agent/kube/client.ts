// Kube over HTTP/2: each verb as one request, each refusal as a KubeError.
import { isAborted } from '@fairlead/shared/errors'
import { FIELD_MANAGER } from '@fairlead/shared/labels'
import { formatObjectReference, joinApiVersion, type KubernetesObject } from '@fairlead/shared/object-reference'
import { call, JSON_TYPE, METADATA_ONLY, METADATA_ONLY_LIST, statusOf } from './caller.ts'
import { Discovery } from './discovery.ts'
import type {
  ApplyOptions,
  CallOptions,
  DeleteOptions,
  DeleteOutcome,
  Discretion,
  GetOptions,
  JsonBody,
  Kube,
  KubeOptions,
  KubeRequest,
  KubeResponse,
  ListOptions,
  ObjectList,
  ObjectName,
  ResourceType,
  WatchEvent,
  WatchOptions,
  WriteOptions,
} from './kube.ts'
import { isExpired, KubeError } from './kube-error.ts'
import { collectionPath, objectCollectionPath, objectPath } from './resource-path.ts'
import { Transport } from './transport.ts'
import { openWatch } from './watch-stream.ts'
import { yamlSafe } from './yaml-safe.ts'

const PAGE = 250

/** Makes a Kube. */
export function createKubeClient(options: KubeOptions): Kube {
  const { access } = options
  const transport = new Transport(options)
  const request = async (wanted: KubeRequest): Promise<KubeResponse> =>
    await seen(options, verbOf(wanted), async () => await call(transport, wanted))
  const discovery = new Discovery(request)
  const base: Kube = {
    server: access.server,
    request,
    resolve: async (kind, options) => await discovery.resolve(kind, options),
    servedTypes: async (options) => await discovery.servedTypes(options),
    servedKinds: async (options) => await discovery.servedKinds(options),
    forgetDiscovery: (group) => discovery.forget(group),
    ...objectVerbs(request),
    ...listVerbs(request),
    watch: async (resource, wanted) => await watch(options, transport, resource, wanted),
    impersonate: (account) => {
      // No groups: then the API server takes those that the account has, and asks for no right to impersonate groups.
      const headers = { 'impersonate-user': `system:serviceaccount:${account.namespace}:${account.name}` }
      const requestAs = async (wanted: KubeRequest): Promise<KubeResponse> => await request({ ...wanted, headers })
      return { ...base, request: requestAs, ...objectVerbs(requestAs), ...listVerbs(requestAs) }
    },
    close: async () => transport.close(),
  }
  return base
}

const VERBS = { GET: 'get', POST: 'create', PUT: 'update', PATCH: 'patch', DELETE: 'delete' } as const

function verbOf({ method, query }: KubeRequest): string {
  return method === 'GET' && query?.limit !== undefined ? 'list' : VERBS[method]
}

/** Tells of a request when its answer is there. */
async function seen<T extends { readonly status: number }>(
  { onRequest }: KubeOptions,
  verb: string,
  send: () => Promise<T>,
): Promise<T> {
  const startedAt = performance.now()
  const tell = (status: number): void => onRequest?.({ verb, status, durationMs: performance.now() - startedAt })
  try {
    const answer = await send()
    tell(answer.status)
    return answer
  } catch (error) {
    // What was given up says nothing of the API server.
    if (!isAborted(error)) tell(0)
    throw error
  }
}

type Send = (request: KubeRequest) => Promise<KubeResponse>

function objectVerbs(send: Send): Pick<Kube, 'apply' | 'get' | 'create' | 'replace' | 'patchJson' | 'delete'> {
  const write = async (
    resource: ResourceType,
    target: ObjectName,
    wanted: KubeRequest,
    { sensitive = false }: Discretion,
  ): Promise<KubernetesObject> => {
    const answer = await send(wanted)
    if (answer.status >= 300) throw refusal(answer, resource, target, sensitive)
    return withKind(answer.body, resource)
  }
  return {
    apply: async (resource, target, body, options = {}) =>
      await write(resource, target, applyRequest(resource, target, body, options), options),
    get: async (resource, target, options = {}) => await get(send, resource, target, options),
    create: async (resource, target, body, options = {}) =>
      await write(
        resource,
        target,
        { ...writeParts(options), method: 'POST', path: objectCollectionPath(resource, target.namespace), body },
        options,
      ),
    replace: async (resource, target, body, options = {}) =>
      await write(
        resource,
        target,
        { ...writeParts(options), method: 'PUT', path: objectPath(resource, target), body },
        options,
      ),
    patchJson: async (resource, target, operations, options = {}) =>
      await write(
        resource,
        target,
        {
          ...writeParts(options),
          method: 'PATCH',
          path: objectPath(resource, target),
          body: operations,
          contentType: 'application/json-patch+json',
        },
        options,
      ),
    delete: async (resource, target, options = {}) => await remove(send, resource, target, options),
  }
}

function applyRequest(resource: ResourceType, target: ObjectName, body: JsonBody, options: ApplyOptions): KubeRequest {
  const { force = true } = options
  const { query, ...parts } = writeParts(options)
  return {
    ...parts,
    method: 'PATCH',
    path: objectPath(resource, target),
    query: { ...query, force, fieldManager: FIELD_MANAGER },
    body: yamlSafe(body),
    // JSON is YAML; this is the one media type that every version takes.
    contentType: 'application/apply-patch+yaml',
    // The same apply again changes nothing.
    idempotent: true,
  }
}

function writeParts(options: WriteOptions): Pick<KubeRequest, 'query' | 'accept' | 'signal' | 'timeoutMs'> {
  const { fieldManager = FIELD_MANAGER, dryRun = false, metadataOnly = false, signal, timeoutMs } = options
  return {
    query: { fieldManager, dryRun: dryRun ? 'All' : undefined },
    accept: metadataOnly ? METADATA_ONLY : JSON_TYPE,
    signal,
    timeoutMs,
  }
}

async function get(
  send: Send,
  resource: ResourceType,
  target: ObjectName,
  options: GetOptions,
): Promise<KubernetesObject | undefined> {
  const { metadataOnly = false, ...rest } = options
  const accept = metadataOnly ? METADATA_ONLY : JSON_TYPE
  const answer = await send({ ...callParts(rest), method: 'GET', path: objectPath(resource, target), accept })
  if (answer.status === 404) return undefined
  if (answer.status >= 300) throw refusal(answer, resource, target)
  return withKind(answer.body, resource)
}

async function remove(
  send: Send,
  resource: ResourceType,
  target: ObjectName,
  options: DeleteOptions,
): Promise<DeleteOutcome> {
  const { uid, resourceVersion, propagationPolicy = 'Background', dryRun = false, ...rest } = options
  const answer = await send({
    ...callParts(rest),
    method: 'DELETE',
    path: objectPath(resource, target),
    body: {
      apiVersion: 'v1',
      kind: 'DeleteOptions',
      propagationPolicy,
      ...((uid ?? resourceVersion) !== undefined && { preconditions: { uid, resourceVersion } }),
      ...(dryRun && { dryRun: ['All'] }),
    },
    // Deleting by uid twice cannot delete a later object of that name.
    idempotent: uid !== undefined,
  })
  if (answer.status === 404) return 'absent'
  if (answer.status >= 300) throw refusal(answer, resource, target)
  const { kind, metadata } = answer.body as Partial<KubernetesObject>
  return kind !== 'Status' && metadata?.deletionTimestamp !== undefined ? 'terminating' : 'deleted'
}

function listVerbs(send: Send): Pick<Kube, 'list' | 'listPages'> {
  const listPages: Kube['listPages'] = async function* (resource, options = {}) {
    let next: string | undefined
    do {
      const answer = await send(listRequest(resource, options, next))
      if (answer.status >= 300) throw refusal(answer, resource, { name: '', namespace: options.namespace })
      const { metadata, items } = answer.body as ListBody
      next = metadata.continue || undefined
      // A last page may be empty, with items null.
      yield {
        items: (items ?? []).map((item) => withKind(item, resource)),
        resourceVersion: metadata.resourceVersion ?? '',
      }
    } while (next !== undefined)
  }
  const listOnce = async (resource: ResourceType, options: ListOptions): Promise<ObjectList> => {
    const items: KubernetesObject[] = []
    let resourceVersion = ''
    for await (const page of listPages(resource, options)) {
      items.push(...page.items)
      resourceVersion = page.resourceVersion
    }
    return { items, resourceVersion }
  }
  const list: Kube['list'] = async (resource, options = {}) => {
    try {
      return await listOnce(resource, options)
    } catch (error) {
      // Compacted between two pages: once more from the beginning.
      if (!isExpired(error)) throw error
      return await listOnce(resource, options)
    }
  }
  return { list, listPages }
}

interface ListBody {
  readonly metadata: { readonly resourceVersion?: string; readonly continue?: string }
  readonly items?: readonly unknown[] | null
}

function listRequest(resource: ResourceType, options: ListOptions, next: string | undefined): KubeRequest {
  const { namespace, labelSelector, fieldSelector, limit = PAGE, metadataOnly = false, ...rest } = options
  return {
    ...callParts(rest),
    method: 'GET',
    path: collectionPath(resource, namespace),
    query: { labelSelector, fieldSelector, limit, continue: next },
    accept: metadataOnly ? METADATA_ONLY_LIST : JSON_TYPE,
  }
}

async function watch(
  kube: KubeOptions,
  transport: Transport,
  resource: ResourceType,
  options: WatchOptions,
): Promise<AsyncIterable<WatchEvent>> {
  const { namespace, labelSelector, fieldSelector, metadataOnly = false, resourceVersion, timeoutSeconds } = options
  const startedAt = performance.now()
  const tell = (status: number): void =>
    kube.onRequest?.({ verb: 'watch', status, durationMs: performance.now() - startedAt })
  try {
    const events = await openWatch(transport, {
      request: {
        method: 'GET',
        path: collectionPath(resource, namespace),
        query: { watch: 1, allowWatchBookmarks: true, resourceVersion, timeoutSeconds, labelSelector, fieldSelector },
        accept: metadataOnly ? METADATA_ONLY : JSON_TYPE,
        signal: options.signal,
      },
      refuse: (status) => new KubeError(status, { object: describe(resource, { name: '', namespace }) }),
      adopt: (object) => withKind(object, resource),
    })
    tell(200)
    return events
  } catch (error) {
    if (!isAborted(error)) tell(error instanceof KubeError ? error.status : 0)
    throw error
  }
}

function callParts({ signal, timeoutMs }: CallOptions): Pick<KubeRequest, 'signal' | 'timeoutMs'> {
  return { signal, timeoutMs }
}

function refusal(answer: KubeResponse, resource: ResourceType, target: ObjectName, sensitive = false): KubeError {
  const isSecret = resource.group === '' && resource.kind === 'Secret'
  return new KubeError(statusOf(answer), { object: describe(resource, target), isSecret, sensitive })
}

function describe({ group, kind, namespaced }: ResourceType, { name, namespace }: ObjectName): string {
  return formatObjectReference({ group, kind, name, namespace: namespaced ? (namespace ?? '') : '' }).trim()
}

/** Lists leave apiVersion and kind out, and metadata-only answers name PartialObjectMetadata. */
function withKind(body: unknown, { group, version, kind }: ResourceType): KubernetesObject {
  const object = body as KubernetesObject
  object.apiVersion = joinApiVersion(group, version)
  object.kind = kind
  return object
}

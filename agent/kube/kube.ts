// The agent's access to its API server: discovery, server-side apply, reads, deletes and watches over HTTP/2.
// Objects are written exactly as they are given and never pass through typed models, which would drop fields.
import type { KubernetesObject } from '@fairlead/shared/object-reference'
import { createKubeClient } from './client.ts'
import type { TransportOptions } from './transport.ts'

/** What identifies a kind in one version. `group` is empty for the core group. */
export interface GroupVersionKind {
  readonly group: string
  readonly version: string
  readonly kind: string
}

/** A kind as the API server serves it. */
export interface ResourceType extends GroupVersionKind {
  /** As in paths: `deployments`. */
  readonly plural: string
  readonly namespaced: boolean
  readonly verbs: readonly string[]
}

/** Which object of a kind. `namespace` is ignored for cluster-scoped kinds and needed for the others. */
export interface ObjectName {
  readonly name: string
  readonly namespace?: string | undefined
}

/** A JSON document: text or UTF-8 bytes are sent as they are, anything else through JSON.stringify. */
export type JsonBody = string | Uint8Array | object

/** Options of every call. */
export interface CallOptions {
  /** Aborts the call and resets its stream; the call rejects with AppError Aborted. */
  readonly signal?: AbortSignal | undefined
  /** Limit for the call with all its retries, default 30,000 ms; past it the call rejects with AppError ApiServerUnavailable. */
  readonly timeoutMs?: number | undefined
}

/** One HTTP request. */
export interface KubeRequest extends CallOptions {
  readonly method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE'
  /** Absolute path without query. */
  readonly path: string
  readonly query?: Readonly<Record<string, string | number | boolean | undefined>>
  readonly body?: JsonBody | undefined
  /** Default `application/json`. */
  readonly contentType?: string
  /** Default `application/json`. */
  readonly accept?: string
  /** May be sent again when the connection was lost before the answer; default: GET only. */
  readonly idempotent?: boolean
  /** A write that is sent although this agent does not lead: of the Lease itself. Default false. */
  readonly unfenced?: boolean
  /** More headers. */
  readonly headers?: Readonly<Record<string, string>>
}

/** Which service account. */
export interface ServiceAccountName {
  readonly namespace: string
  readonly name: string
}

/** Its answer, of whatever status. */
export interface KubeResponse {
  readonly status: number
  /** Parsed when the answer is JSON, else text. */
  readonly body: unknown
  readonly headers: Readonly<Record<string, string | string[] | undefined>>
}

/** How much of a refusal may be told. */
export interface Discretion {
  /** The body holds what must not be told, as Secrets always do: nothing that the API server quotes from it is in the error. Default false. */
  readonly sensitive?: boolean
}

/** Options of a server-side apply by field manager `fairlead`. */
export interface ApplyOptions extends CallOptions, Discretion {
  /** Take fields over from other managers, default true. */
  readonly force?: boolean
  /** Ask what would happen without writing, default false. */
  readonly dryRun?: boolean
  /** Answer with metadata only (managedFields included), which spares parsing what nobody reads. Default false. */
  readonly metadataOnly?: boolean
}

/** Options of a read. */
export interface GetOptions extends CallOptions {
  /** Only apiVersion, kind and metadata. Default false. */
  readonly metadataOnly?: boolean
}

/** Options of a create, replace or patch. */
export interface WriteOptions extends CallOptions, Discretion {
  /** Default `fairlead`. */
  readonly fieldManager?: string
  readonly dryRun?: boolean
  readonly metadataOnly?: boolean
}

/** Options of a delete. With `uid` or `resourceVersion` the object is deleted only if it is still that one (else KubeError ApplyConflict). */
export interface DeleteOptions extends CallOptions {
  readonly uid?: string | undefined
  readonly resourceVersion?: string | undefined
  /** Default Background. */
  readonly propagationPolicy?: 'Background' | 'Foreground' | 'Orphan'
  readonly dryRun?: boolean
}

/** What the API server serves. */
export interface ServedTypes {
  /** Each kind once, in the version that its group prefers of those that serve it. */
  readonly types: readonly ResourceType[]
  /** Groups of aggregated APIs that do not answer: nobody knows what they serve. */
  readonly unread: readonly string[]
}

/** All that the API server serves. */
export interface ServedKinds {
  /** By API version, such as apps/v1, the kinds in order. */
  readonly kinds: ReadonlyMap<string, readonly string[]>
  /** Groups of aggregated APIs that do not answer: nobody knows what they serve. */
  readonly unread: readonly string[]
}

/** What a delete found: gone now, going (finalizers, grace period or foreground deletion), or not there to begin with. */
export type DeleteOutcome = 'deleted' | 'terminating' | 'absent'

/** Options of a list. */
export interface ListOptions extends GetOptions {
  /** Default: all namespaces. */
  readonly namespace?: string | undefined
  readonly labelSelector?: string | undefined
  readonly fieldSelector?: string | undefined
  /** Objects a page, default 250. */
  readonly limit?: number
}

/** A list, or one page of it. */
export interface ObjectList {
  readonly items: readonly KubernetesObject[]
  /** To watch from. */
  readonly resourceVersion: string
}

/** Options of a watch. */
export interface WatchOptions extends Omit<ListOptions, 'limit' | 'timeoutMs'> {
  /** Where to begin: of a list or of the last event. */
  readonly resourceVersion: string
  /** After which the API server ends the watch, in seconds. */
  readonly timeoutSeconds: number
}

/** One event of a watch. BOOKMARK carries nothing but a resourceVersion. */
export interface WatchEvent {
  readonly type: 'ADDED' | 'MODIFIED' | 'DELETED' | 'BOOKMARK'
  readonly object: KubernetesObject
}

/** One operation of RFC 6902. */
export interface JsonPatchOperation {
  readonly op: 'add' | 'remove' | 'replace' | 'move' | 'copy' | 'test'
  readonly path: string
  readonly from?: string
  readonly value?: unknown
}

/**
 * One API server. Every call rejects with KubeError when the API server refuses, with AppError ApiServerUnavailable when
 * it cannot be reached or stays overloaded, and with AppError Aborted when its signal aborts. 429 is waited out within
 * the call's time limit; GET and apply are sent again when the connection was lost. Objects that come back always carry
 * apiVersion and kind of their resource, also from lists and metadata-only reads.
 */
export interface Kube {
  /** `https://host:port`. */
  readonly server: string
  /** Any request; answers of any status are returned, not thrown. */
  request(request: KubeRequest): Promise<KubeResponse>
  /** The served resource of a kind. Cached; a kind not yet known is looked up anew, at most once a second a group and version. Throws AppError UnknownKind. */
  resolve(kind: GroupVersionKind, options?: CallOptions): Promise<ResourceType>
  /** Everything that is served, each kind once. Asks the API server each time. */
  servedTypes(options?: CallOptions): Promise<ServedTypes>
  /** Every version of every group with its kinds. Asks the API server each time. */
  servedKinds(options?: CallOptions): Promise<ServedKinds>
  /** Forgets what discovery said of a group, of all groups when none is given: after a CRD was changed or deleted. */
  forgetDiscovery(group?: string): void
  /** Server-side apply by field manager `fairlead`. */
  apply(resource: ResourceType, target: ObjectName, body: JsonBody, options?: ApplyOptions): Promise<KubernetesObject>
  /** The object, or undefined when it (or its kind) is not there. */
  get(resource: ResourceType, target: ObjectName, options?: GetOptions): Promise<KubernetesObject | undefined>
  /** Creates an object; `target` names its namespace. */
  create(resource: ResourceType, target: ObjectName, body: JsonBody, options?: WriteOptions): Promise<KubernetesObject>
  /** Replaces an object, guarded by the resourceVersion in the body if there is one. */
  replace(resource: ResourceType, target: ObjectName, body: JsonBody, options?: WriteOptions): Promise<KubernetesObject>
  /** JSON patch (RFC 6902). A failed `test` is KubeError ApplyInvalid. */
  patchJson(
    resource: ResourceType,
    target: ObjectName,
    operations: readonly JsonPatchOperation[],
    options?: WriteOptions,
  ): Promise<KubernetesObject>
  /** Deletes an object. */
  delete(resource: ResourceType, target: ObjectName, options?: DeleteOptions): Promise<DeleteOutcome>
  /** All objects, read in pages. */
  list(resource: ResourceType, options?: ListOptions): Promise<ObjectList>
  /** The same page by page: what is yielded need not be kept. */
  listPages(resource: ResourceType, options?: ListOptions): AsyncGenerator<ObjectList, void, undefined>
  /**
   * Opens a watch; resolves when the API server has accepted it. The iteration ends when the API server ends the watch,
   * and throws as all calls do; KubeError with reason `Expired` (410) means: list again. Leaving the loop, or aborting
   * the signal, resets the stream.
   */
  watch(resource: ResourceType, options: WatchOptions): Promise<AsyncIterable<WatchEvent>>
  /** The same API server with the rights of a service account, whether it exists or not. Discovery and watches stay the agent's own. */
  impersonate(account: ServiceAccountName): Kube
  /** Ends all calls and connections. */
  close(): Promise<void>
}

/** How to make a Kube. */
export interface KubeOptions extends TransportOptions {
  /** Called with each answer, and for each watch when it is accepted. Must not throw. */
  readonly onRequest?: ((seen: SeenRequest) => void) | undefined
}

/** One request, when its answer is there. */
export interface SeenRequest {
  /** get, list, watch, create, update, patch or delete, as the audit log names them. */
  readonly verb: string
  /** HTTP status; 0 when there was no answer. */
  readonly status: number
  readonly durationMs: number
}

/** Makes the access to an API server. Connects with the first call. */
export function createKube(options: KubeOptions): Kube {
  return createKubeClient(options)
}

// What kubectl is to a person, for tests: any request to an API server, as any user, with any field manager.
// HTTP/1.1 over kept-alive connections; nothing is cached but discovery.

import { readFileSync } from 'node:fs'
import type { IncomingMessage } from 'node:http'
import { Agent, type RequestOptions, request } from 'node:https'
import { createInterface } from 'node:readline'

/** An object as the API server gives it. */
export type KubeObject = {
  readonly apiVersion: string
  readonly kind: string
  readonly metadata: KubeMetadata
  readonly spec?: Readonly<Record<string, unknown>>
  readonly status?: Readonly<Record<string, unknown>>
  readonly data?: Readonly<Record<string, string>>
  readonly [field: string]: unknown
}

/** The part of an object's metadata that tests look at. */
export type KubeMetadata = {
  readonly name: string
  readonly namespace?: string
  readonly uid?: string
  readonly resourceVersion?: string
  readonly generation?: number
  readonly deletionTimestamp?: string
  readonly labels?: Readonly<Record<string, string>>
  readonly annotations?: Readonly<Record<string, string>>
  readonly managedFields?: readonly { readonly manager: string; readonly operation: string }[]
  readonly [field: string]: unknown
}

/** Which object, or with no name which collection; a whole object is a reference to itself. */
export type KubeReference = {
  readonly apiVersion: string
  readonly kind: string
  readonly metadata?: { readonly name?: string; readonly namespace?: string }
}

/** The body formats of PATCH. */
export type PatchType = 'merge' | 'strategic' | 'json' | 'apply'

/** How an object is written. */
export type WriteOptions = {
  /** Default: what kubectl would use, such as `kubectl-edit`. */
  readonly fieldManager?: string
  readonly subresource?: 'status' | 'scale' | 'token' | 'eviction' | 'binding'
  /** Take conflicting fields over; for `apply` only. */
  readonly force?: boolean
  readonly type?: PatchType
}

/** One event of a watch. */
export type WatchEvent = {
  readonly type: 'ADDED' | 'MODIFIED' | 'DELETED' | 'BOOKMARK' | 'ERROR'
  readonly object: KubeObject
}

/** Where and as whom. */
export type KubeClientOptions = {
  readonly server: string
  readonly caFile: string
  readonly token: string
  /** Default `kubectl/harness`. */
  readonly userAgent?: string
}

/** An answer of the API server other than success. */
export class KubeRequestError extends Error {
  override readonly name = 'KubeRequestError'
  readonly status: number
  /** The Status object's reason, such as `AlreadyExists`. */
  readonly reason: string

  constructor(what: string, status: number, body: string) {
    const parsed = parseJson(body)
    super(`${what}: ${status} ${parsed?.message ?? body.slice(0, 500)}`)
    this.status = status
    this.reason = parsed?.reason ?? ''
  }
}

const contentTypes: Readonly<Record<PatchType, string>> = {
  merge: 'application/merge-patch+json',
  strategic: 'application/strategic-merge-patch+json',
  json: 'application/json-patch+json',
  apply: 'application/apply-patch+yaml',
}

/** A request that is not answered for so long fails. */
const silenceMs = 15_000

type Discovered = { readonly name: string; readonly namespaced: boolean }

/** One user's access to one API server. */
export class KubeClient {
  readonly #options: KubeClientOptions
  #agent: Agent | undefined
  readonly #discovered = new Map<string, Discovered>()

  constructor(options: KubeClientOptions) {
    this.#options = options
  }

  /** The object. Rejects with KubeRequestError 404 when it is not there. */
  async get(reference: KubeReference): Promise<KubeObject> {
    return await this.request('GET', await this.path(reference))
  }

  /** The object, or undefined when the API server says that it (or its kind) is not there. */
  async find(reference: KubeReference): Promise<KubeObject | undefined> {
    try {
      return await this.get(reference)
    } catch (error) {
      if (error instanceof KubeRequestError && error.status === 404) return undefined
      throw error
    }
  }

  /** All objects of a kind, in one namespace or (with none given) in all. */
  async list(reference: KubeReference, selector: { labels?: string; fields?: string } = {}): Promise<KubeObject[]> {
    const query = new URLSearchParams()
    if (selector.labels) query.set('labelSelector', selector.labels)
    if (selector.fields) query.set('fieldSelector', selector.fields)
    const list = await this.request('GET', `${await this.path(reference, { collection: true })}?${query}`)
    const items = (list.items ?? []) as Omit<KubeObject, 'apiVersion' | 'kind'>[]
    return items.map((item) => ({ ...item, apiVersion: reference.apiVersion, kind: reference.kind }) as KubeObject)
  }

  /** Creates the object (or, with a subresource, posts to it). */
  async create(object: KubeReference, { fieldManager = 'kubectl-create', subresource }: WriteOptions = {}) {
    const path = await this.path(object, subresource ? { subresource } : { collection: true })
    return await this.request('POST', `${path}?fieldManager=${fieldManager}`, object)
  }

  /** Replaces the object, as `kubectl replace` does. */
  async replace(object: KubeReference, { fieldManager = 'kubectl-replace', subresource }: WriteOptions = {}) {
    const path = await this.path(object, subresource ? { subresource } : {})
    return await this.request('PUT', `${path}?fieldManager=${fieldManager}`, object)
  }

  /** Server-side apply. */
  async apply(object: KubeReference, { fieldManager = 'kubectl', force = false }: WriteOptions = {}) {
    return await this.patch(object, object, { type: 'apply', fieldManager, force })
  }

  /** Patches the object: a strategic merge patch by `kubectl-edit` unless told otherwise. */
  async patch(reference: KubeReference, body: unknown, options: WriteOptions = {}): Promise<KubeObject> {
    const { type = 'strategic', fieldManager = 'kubectl-edit', subresource, force } = options
    const query = new URLSearchParams({ fieldManager, ...(force && { force: 'true' }) })
    const path = await this.path(reference, subresource ? { subresource } : {})
    return await this.request('PATCH', `${path}?${query}`, body, contentTypes[type])
  }

  /** Deletes the object; false when it was not there. */
  async delete(reference: KubeReference, options: Readonly<Record<string, unknown>> = {}): Promise<boolean> {
    try {
      await this.request('DELETE', await this.path(reference), { propagationPolicy: 'Background', ...options })
      return true
    } catch (error) {
      if (error instanceof KubeRequestError && error.status === 404) return false
      throw error
    }
  }

  /** A token for a service account, by TokenRequest; valid for an hour by default. */
  async createToken(namespace: string, serviceAccount: string, spec: Readonly<Record<string, unknown>> = {}) {
    const reference = { apiVersion: 'v1', kind: 'ServiceAccount', metadata: { namespace, name: serviceAccount } }
    const body = { apiVersion: 'authentication.k8s.io/v1', kind: 'TokenRequest', spec }
    const path = await this.path(reference, { subresource: 'token' })
    const answer = await this.request('POST', path, body)
    return answer.status as { readonly token: string; readonly expirationTimestamp: string }
  }

  /**
   * The events of one object or collection, beginning with one ADDED for each that is there. Ends when the signal
   * aborts or the API server ends the watch; throws when the connection breaks.
   */
  async *watch(reference: KubeReference, signal: AbortSignal): AsyncGenerator<WatchEvent> {
    const { name } = reference.metadata ?? {}
    const query = new URLSearchParams({ watch: '1', ...(name && { fieldSelector: `metadata.name=${name}` }) })
    const path = `${await this.path(reference, { collection: true })}?${query}`
    const response = await this.#send('GET', path, { signal })
    if (response.statusCode !== 200) {
      throw new KubeRequestError(`GET ${path}`, response.statusCode ?? 0, await readBody(response))
    }
    try {
      for await (const line of createInterface({ input: response })) {
        if (line !== '') yield JSON.parse(line) as WatchEvent
      }
    } catch (error) {
      if (!signal.aborted) throw error
    } finally {
      response.destroy()
    }
  }

  /** Any request; the parsed JSON answer. Rejects with KubeRequestError on any answer of 400 and above. */
  async request(method: string, path: string, body?: unknown, contentType = 'application/json'): Promise<KubeObject> {
    return JSON.parse(await this.requestText(method, path, body, contentType)) as KubeObject
  }

  /** Any request; the answer as it is. Rejects as `request` does. */
  async requestText(method: string, path: string, body?: unknown, contentType = 'application/json'): Promise<string> {
    const response = await this.#send(method, path, { body, contentType })
    const text = await readBody(response)
    if ((response.statusCode ?? 0) >= 400)
      throw new KubeRequestError(`${method} ${path}`, response.statusCode ?? 0, text)
    return text
  }

  /** The request path of an object, or of its collection. Asks discovery once per group and version. */
  async path(reference: KubeReference, options: { collection?: boolean; subresource?: string } = {}): Promise<string> {
    const { apiVersion, kind, metadata = {} } = reference
    const root = apiVersion.includes('/') ? `/apis/${apiVersion}` : `/api/${apiVersion}`
    const { name, namespaced } = await this.#discover(root, kind)
    const parts = [root]
    if (namespaced && (metadata.namespace || !options.collection)) {
      parts.push('namespaces', metadata.namespace ?? 'default')
    }
    parts.push(name)
    if (!options.collection) {
      if (!metadata.name) throw new Error(`no name given for ${kind}`)
      parts.push(encodeURIComponent(metadata.name))
    }
    if (options.subresource) parts.push(options.subresource)
    return parts.join('/')
  }

  /** Closes the kept-alive connections. The next request opens new ones. */
  close(): void {
    this.#agent?.destroy()
    this.#agent = undefined
  }

  async #discover(root: string, kind: string): Promise<Discovered> {
    const key = `${root}/${kind}`
    const known = this.#discovered.get(key)
    if (known) return known
    const { resources } = await this.request('GET', root)
    for (const resource of resources as (Discovered & { kind: string })[]) {
      if (!resource.name.includes('/')) this.#discovered.set(`${root}/${resource.kind}`, resource)
    }
    const found = this.#discovered.get(key)
    if (!found) throw new KubeRequestError(`GET ${root}`, 404, `no kind ${kind}`)
    return found
  }

  #send(method: string, path: string, call: { body?: unknown; contentType?: string; signal?: AbortSignal }) {
    const { server, token, caFile, userAgent = 'kubectl/harness' } = this.#options
    this.#agent ??= new Agent({ keepAlive: true, ca: readFileSync(caFile) })
    const payload = call.body === undefined ? undefined : JSON.stringify(call.body)
    const options: RequestOptions = {
      method,
      agent: this.#agent,
      headers: {
        authorization: `Bearer ${token}`,
        'user-agent': userAgent,
        accept: 'application/json',
        ...(payload !== undefined && {
          'content-type': call.contentType,
          'content-length': Buffer.byteLength(payload),
        }),
      },
      ...(call.signal && { signal: call.signal }),
    }
    return new Promise<IncomingMessage>((resolve, reject) => {
      const sent = request(`${server}${path}`, options, resolve)
      sent.on('error', reject)
      // A connection to a server that is just starting may hang for ever; a watch may rightly be quiet.
      if (!call.signal) sent.setTimeout(silenceMs, () => sent.destroy(new Error(`no answer to ${method} ${path}`)))
      sent.end(payload)
    })
  }
}

/**
 * The value at a dotted path such as `spec.template.spec.containers.0.image`, or undefined. Keys that hold dots
 * are given as further arguments: `getField(object, 'metadata.annotations', 'a.b/c')`.
 */
export function getField(object: unknown, dotted: string, ...keys: readonly string[]): unknown {
  let value = object
  for (const key of [...dotted.split('.'), ...keys])
    value = (value as Record<string, unknown> | null | undefined)?.[key]
  return value
}

async function readBody(response: IncomingMessage): Promise<string> {
  let body = ''
  response.setEncoding('utf8')
  for await (const chunk of response) body += chunk
  return body
}

function parseJson(text: string): { message?: string; reason?: string } | undefined {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

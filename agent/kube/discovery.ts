// Which kinds the API server serves, under which path.
import { AppError } from '@fairlead/shared/errors'
import { joinApiVersion, splitApiVersion } from '@fairlead/shared/object-reference'
import { JSON_TYPE } from './caller.ts'
import type {
  CallOptions,
  GroupVersionKind,
  KubeRequest,
  KubeResponse,
  ResourceType,
  ServedKinds,
  ServedTypes,
} from './kube.ts'
import { KubeError, parseStatus } from './kube-error.ts'
import { groupVersionPath } from './resource-path.ts'

type Send = (request: KubeRequest) => Promise<KubeResponse>

/** A group and version is not asked for again sooner, however many unknown kinds are declared. */
const REFRESH_INTERVAL_MS = 1_000

interface Served {
  readonly kinds: ReadonlyMap<string, ResourceType>
  readonly readAt: number
}

/** Looks kinds up and remembers them. */
export class Discovery {
  readonly #send: Send
  readonly #served = new Map<string, Served>()
  readonly #reading = new Map<string, Promise<Served>>()

  constructor(send: Send) {
    this.#send = send
  }

  /** The served resource of a kind. Throws UnknownKind. */
  async resolve(wanted: GroupVersionKind, options: CallOptions = {}): Promise<ResourceType> {
    const apiVersion = joinApiVersion(wanted.group, wanted.version)
    const known = this.#served.get(apiVersion)
    const found = known?.kinds.get(wanted.kind)
    if (found) return found
    if (!known || performance.now() - known.readAt >= REFRESH_INTERVAL_MS) {
      const { kinds } = await this.#read(wanted, options)
      const resource = kinds.get(wanted.kind)
      if (resource) return resource
    }
    throw new AppError('UnknownKind', `the API server serves no ${wanted.kind} in ${apiVersion}`)
  }

  /** Forgets a group, or everything. */
  forget(group?: string): void {
    for (const apiVersion of [...this.#served.keys()]) {
      if (group === undefined || splitApiVersion(apiVersion)[0] === group) this.#served.delete(apiVersion)
    }
  }

  /** Everything that is served, each kind in the version that its group prefers of those that serve it, and which groups did not say. Throws as Kube does, also when the API server does not answer the question. */
  async servedTypes(options: CallOptions = {}): Promise<ServedTypes> {
    const groups = await this.#readGroups(options)
    const types = new Map<string, ResourceType>()
    const unread = new Set<string>()
    for (const { metadata, versions = [] } of groups) {
      const group = metadata?.name ?? ''
      for (const { version, resources = [], freshness } of versions) {
        if (freshness === 'Stale' && resources.length === 0) unread.add(group)
        for (const resource of resources) {
          const key = `${group}/${resource.resource}`
          if (!types.has(key)) types.set(key, toResourceType(group, version, resource))
        }
      }
    }
    return { types: [...types.values()], unread: [...unread] }
  }

  /** For each version of each group the kinds that it serves, and the groups that did not say. Throws as servedTypes does. */
  async servedKinds(options: CallOptions = {}): Promise<ServedKinds> {
    const kinds = new Map<string, string[]>()
    const unread = new Set<string>()
    for (const { metadata, versions = [] } of await this.#readGroups(options)) {
      const group = metadata?.name ?? ''
      for (const { version, resources = [], freshness } of versions) {
        if (freshness === 'Stale' && resources.length === 0) unread.add(group)
        const served = new Set(resources.flatMap(({ responseKind }) => responseKind?.kind || []))
        if (served.size > 0) kinds.set(joinApiVersion(group, version), [...served].sort())
      }
    }
    return { kinds, unread: [...unread] }
  }

  async #readGroups(options: CallOptions): Promise<readonly DiscoveredGroup[]> {
    const accept = ['v2', 'v2beta1']
      .map((version) => `${JSON_TYPE};g=apidiscovery.k8s.io;v=${version};as=APIGroupDiscoveryList`)
      .join(',')
    const answers = await Promise.all(
      ['/api', '/apis'].map(async (path) => {
        const answer = await this.#send({ ...options, method: 'GET', path, accept })
        if (answer.status !== 200) throw new KubeError(parseStatus(answer.status, answer.body))
        const { kind, items } = answer.body as AggregatedDiscovery
        // Old servers answer with something else: that is no answer, not an empty one.
        if (kind === 'APIGroupDiscoveryList') return items ?? []
        throw new AppError('ApiServerUnavailable', `the API server does not say what it serves under ${path}`)
      }),
    )
    return answers.flat()
  }

  /** Those who ask at the same time share one request, which therefore does not end with the signal of one of them. */
  async #read({ group, version }: GroupVersionKind, { signal }: CallOptions): Promise<Served> {
    const apiVersion = joinApiVersion(group, version)
    let reading = this.#reading.get(apiVersion)
    if (!reading) {
      reading = this.#readNow(group, version).finally(() => this.#reading.delete(apiVersion))
      this.#reading.set(apiVersion, reading)
    }
    const served = await reading
    if (signal?.aborted) throw new AppError('Aborted', 'the call was given up')
    return served
  }

  async #readNow(group: string, version: string): Promise<Served> {
    const answer = await this.#send({ method: 'GET', path: groupVersionPath(group, version), timeoutMs: 15_000 })
    if (answer.status !== 200 && answer.status !== 404) throw new KubeError(parseStatus(answer.status, answer.body))
    const resources = answer.status === 404 ? [] : ((answer.body as { resources?: ApiResource[] }).resources ?? [])
    const kinds = new Map<string, ResourceType>()
    for (const { name, kind, namespaced, verbs } of resources) {
      // Sub-resources such as deployments/scale bear a kind too.
      if (!name.includes('/')) kinds.set(kind, { group, version, kind, plural: name, namespaced, verbs: verbs ?? [] })
    }
    const served = { kinds, readAt: performance.now() }
    this.#served.set(joinApiVersion(group, version), served)
    return served
  }
}

function toResourceType(group: string, version: string, found: DiscoveredResource): ResourceType {
  const { resource: plural, responseKind, scope, verbs = [] } = found
  return { group, version, kind: responseKind?.kind ?? '', plural, namespaced: scope === 'Namespaced', verbs }
}

/** An entry of an APIResourceList. */
interface ApiResource {
  readonly name: string
  readonly kind: string
  readonly namespaced: boolean
  readonly verbs?: string[]
}

/** An APIGroupDiscoveryList (aggregated discovery, on by default since Kubernetes 1.27). */
interface AggregatedDiscovery {
  readonly kind?: string
  readonly items?: readonly DiscoveredGroup[]
}

interface DiscoveredGroup {
  readonly metadata?: { readonly name?: string }
  readonly versions?: readonly {
    readonly version: string
    readonly resources?: readonly DiscoveredResource[]
    /** `Stale`: of an aggregated API that does not answer now; without resources it never did. */
    readonly freshness?: string
  }[]
}

interface DiscoveredResource {
  readonly resource: string
  readonly responseKind?: { readonly kind?: string }
  readonly scope: string
  readonly verbs?: readonly string[]
}

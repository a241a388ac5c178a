// Which kinds the API server serves, under which path.
import { AppError } from '@fairlead/shared/errors'
import { joinApiVersion, splitApiVersion } from '@fairlead/shared/object-reference'
import { JSON_TYPE } from './caller.ts'
import type { CallOptions, GroupVersionKind, KubeRequest, KubeResponse, ResourceType } from './kube.ts'
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

  /** Everything that is served in its preferred version. */
  async resourceTypes(options: CallOptions = {}): Promise<readonly ResourceType[]> {
    const accept = ['v2', 'v2beta1']
      .map((version) => `${JSON_TYPE};g=apidiscovery.k8s.io;v=${version};as=APIGroupDiscoveryList`)
      .join(',')
    const answers = await Promise.all(
      ['/api', '/apis'].map(async (path) => {
        const answer = await this.#send({ ...options, method: 'GET', path, accept })
        if (answer.status !== 200) throw new KubeError(parseStatus(answer.status, answer.body))
        return (answer.body as AggregatedDiscovery).items ?? []
      }),
    )
    return answers.flat().flatMap(({ metadata, versions = [] }) => {
      const preferred = versions[0]
      if (!preferred) return []
      return (preferred.resources ?? []).map((resource) => ({
        group: metadata?.name ?? '',
        version: preferred.version,
        kind: resource.responseKind?.kind ?? '',
        plural: resource.resource,
        namespaced: resource.scope === 'Namespaced',
        verbs: resource.verbs ?? [],
      }))
    })
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

/** An entry of an APIResourceList. */
interface ApiResource {
  readonly name: string
  readonly kind: string
  readonly namespaced: boolean
  readonly verbs?: string[]
}

/** An APIGroupDiscoveryList (aggregated discovery, on by default since Kubernetes 1.27). */
interface AggregatedDiscovery {
  readonly items?: readonly {
    readonly metadata?: { readonly name?: string }
    readonly versions?: readonly {
      readonly version: string
      readonly resources?: readonly {
        readonly resource: string
        readonly responseKind?: { readonly kind?: string }
        readonly scope: string
        readonly verbs?: readonly string[]
      }[]
    }[]
  }[]
}

// The Lease in the API server: read, watched and written, each write guarded by the resourceVersion that was read.
import type { KubernetesObject } from '@fairlead/shared/object-reference'
import type { Kube, KubeResponse, ResourceType } from '../kube/kube.ts'
import { KubeError, parseStatus } from '../kube/kube-error.ts'
import type { LeaseRecord } from './election.ts'

const LEASES: ResourceType = {
  group: 'coordination.k8s.io',
  version: 'v1',
  kind: 'Lease',
  plural: 'leases',
  namespaced: true,
  verbs: ['get', 'list', 'watch', 'create', 'update'],
}

/** A watch is opened anew after this long. */
const WATCH_SECONDS = 1_800

/** What is written. */
export interface LeaseClaim {
  /** Empty gives it back. */
  readonly holder: string
  readonly leaseMs: number
}

/** One Lease. All calls reject as Kube does. */
export class Lease {
  readonly #kube: Kube
  readonly #namespace: string
  readonly #name: string
  #acquiredAt = ''

  constructor(kube: Kube, namespace: string, name: string) {
    this.#kube = kube
    this.#namespace = namespace
    this.#name = name
  }

  /** Reads it, then tells each change until the API server ends the watch; undefined for its deletion. */
  async *follow(signal: AbortSignal): AsyncGenerator<LeaseRecord | undefined, void, undefined> {
    const scope = { namespace: this.#namespace, fieldSelector: `metadata.name=${this.#name}` }
    const { items, resourceVersion } = await this.#kube.list(LEASES, { ...scope, signal })
    const [found] = items
    yield found && toRecord(found)
    const wanted = { ...scope, resourceVersion, timeoutSeconds: WATCH_SECONDS, signal }
    for await (const { type, object } of await this.#kube.watch(LEASES, wanted)) {
      if (type !== 'BOOKMARK') yield type === 'DELETED' ? undefined : toRecord(object)
    }
  }

  /** Reads it; undefined when there is none. */
  async read(timeoutMs: number): Promise<LeaseRecord | undefined> {
    const found = await this.#kube.get(LEASES, { namespace: this.#namespace, name: this.#name }, { timeoutMs })
    return found && toRecord(found)
  }

  /** Writes it in the place of what was read (undefined: makes it). Rejects with a KubeError of status 409 when somebody else was quicker. */
  async write(last: LeaseRecord | undefined, claim: LeaseClaim, timeoutMs: number): Promise<LeaseRecord> {
    // Shown to people; nobody computes with it.
    const now = new Date().toISOString().replace('Z', '000Z')
    const isNew = last?.holder !== claim.holder
    if (isNew) this.#acquiredAt = now
    const body = {
      apiVersion: 'coordination.k8s.io/v1',
      kind: 'Lease',
      metadata: {
        name: this.#name,
        namespace: this.#namespace,
        labels: { 'app.kubernetes.io/name': 'fairlead-agent' },
        ...(last && { resourceVersion: last.resourceVersion }),
      },
      spec: {
        holderIdentity: claim.holder,
        leaseDurationSeconds: Math.ceil(claim.leaseMs / 1000),
        acquireTime: this.#acquiredAt || now,
        renewTime: now,
        leaseTransitions: (last?.transitions ?? 0) + (isNew && claim.holder !== '' ? 1 : 0),
      },
    }
    const collection = `/apis/coordination.k8s.io/v1/namespaces/${this.#namespace}/leases`
    const answer = await this.#kube.request({
      method: last ? 'PUT' : 'POST',
      path: last ? `${collection}/${this.#name}` : collection,
      body,
      timeoutMs,
      unfenced: true,
    })
    return toRecord(expectObject(answer))
  }
}

function expectObject({ status, body }: KubeResponse): KubernetesObject {
  if (status >= 300) throw new KubeError(parseStatus(status, body), { object: 'Lease' })
  return body as KubernetesObject
}

function toRecord(object: KubernetesObject): LeaseRecord {
  const { holderIdentity = '', leaseTransitions = 0 } = (object.spec ?? {}) as {
    holderIdentity?: string
    leaseTransitions?: number
  }
  return {
    holder: holderIdentity,
    resourceVersion: object.metadata.resourceVersion ?? '',
    transitions: leaseTransitions,
  }
}

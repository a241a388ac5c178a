// Requests for the Secrets of the agent's own namespace in which it keeps what it was told.
import { AppError } from '@fairlead/shared/errors'
import type { Kube, KubeResponse } from '../kube/kube.ts'

/** On every kept Secret; its value says what it holds. */
export const KEPT_LABEL = 'fairlead.dev/kept'
const PAGE = 500

/** What is read of a kept Secret. */
export interface KeptSecret {
  readonly metadata: { readonly name: string; readonly annotations?: Readonly<Record<string, string>> }
  readonly data?: Readonly<Record<string, string>>
}

/** What is written. */
export interface NewSecret {
  readonly name: string
  readonly kept: 'slice' | 'chunks'
  readonly annotations?: Readonly<Record<string, string>>
  /** Base64. */
  readonly data: Readonly<Record<string, string>>
}

/** Every call rejects with ApiServerUnavailable or ApplyForbidden when the API server does not do it. */
export class KeptSecrets {
  readonly #kube: Kube
  readonly #namespace: string
  readonly #path: string

  constructor(kube: Kube, namespace: string) {
    this.#kube = kube
    this.#namespace = namespace
    this.#path = `/api/v1/namespaces/${namespace}/secrets`
  }

  /** Undefined when it is not there. */
  async read(name: string, signal?: AbortSignal): Promise<KeptSecret | undefined> {
    const answer = await this.#kube.request({ method: 'GET', path: `${this.#path}/${name}`, signal })
    return answer.status === 404 ? undefined : (expectOk(answer, `read Secret ${name}`) as KeptSecret)
  }

  /** Creates it or replaces what is there; `expected` says which is tried first. */
  async write({ name, kept, annotations, data }: NewSecret, expected: 'new' | 'there', signal: AbortSignal) {
    const labels = { 'app.kubernetes.io/name': 'fairlead-agent', [KEPT_LABEL]: kept }
    const metadata = { name, namespace: this.#namespace, labels, annotations }
    const body = { apiVersion: 'v1', kind: 'Secret', metadata, type: 'Opaque', data }
    const create = () => this.#kube.request({ method: 'POST', path: this.#path, body, signal })
    const replace = () => this.#kube.request({ method: 'PUT', path: `${this.#path}/${name}`, body, signal })
    const isThere = expected === 'there'
    let answer = await (isThere ? replace() : create())
    if (answer.status === (isThere ? 404 : 409)) answer = await (isThere ? create() : replace())
    expectOk(answer, `write Secret ${name}`)
  }

  /** Also when it is gone already. */
  async delete(name: string, signal: AbortSignal): Promise<void> {
    const answer = await this.#kube.request({ method: 'DELETE', path: `${this.#path}/${name}`, signal })
    if (answer.status !== 404) expectOk(answer, `delete Secret ${name}`)
  }

  /** Those with this label, without their data. */
  async list(labelSelector: string, signal?: AbortSignal): Promise<readonly KeptSecret[]> {
    const found: KeptSecret[] = []
    let next = ''
    do {
      const query = { labelSelector, limit: PAGE, ...(next !== '' && { continue: next }) }
      const accept = 'application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1'
      const answer = await this.#kube.request({ method: 'GET', path: this.#path, query, accept, signal })
      const list = expectOk(answer, 'list the kept Secrets') as {
        readonly items?: readonly KeptSecret[] | null
        readonly metadata?: { readonly continue?: string }
      }
      found.push(...(list.items ?? []))
      next = list.metadata?.continue ?? ''
    } while (next !== '')
    return found
  }
}

function expectOk({ status, body }: KubeResponse, what: string): unknown {
  if (status >= 200 && status < 300) return body
  const message = (body as { message?: string } | undefined)?.message ?? `status ${status}`
  throw new AppError(status === 403 ? 'ApplyForbidden' : 'ApiServerUnavailable', `cannot ${what}: ${message}`)
}

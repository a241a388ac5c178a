// Reads and writes the identity Secret. It belongs to no Helm release, so that upgrades and reinstalls keep the key.
import { AppError } from '@fairlead/shared/errors'
import type { Kube, KubeResponse } from '../kube/kube.ts'
import { decodeIdentity, encodeIdentity, type StoredIdentity } from './identity.ts'

/** Name of the Secret in the agent's namespace. */
export const IDENTITY_SECRET = 'fairlead-agent-identity'

interface SecretBody {
  readonly metadata?: { readonly resourceVersion?: string }
  readonly data?: Readonly<Record<string, string>>
}

/** The identity Secret of one namespace. */
export class IdentityStore {
  readonly #kube: Kube
  readonly #namespace: string
  #resourceVersion: string | undefined

  constructor(kube: Kube, namespace: string) {
    this.#kube = kube
    this.#namespace = namespace
  }

  /** The stored identity, or undefined when there is none. Throws ApiServerUnavailable, or InvalidArgument when it is damaged. */
  async load(signal: AbortSignal): Promise<StoredIdentity | undefined> {
    const answer = await this.#kube.request({ method: 'GET', path: this.#path(IDENTITY_SECRET), signal })
    if (answer.status === 404) return undefined
    const { metadata, data = {} } = expectOk(answer, `read Secret ${IDENTITY_SECRET}`)
    this.#resourceVersion = metadata?.resourceVersion
    try {
      return decodeIdentity(data)
    } catch (cause) {
      const message = `Secret ${this.#namespace}/${IDENTITY_SECRET} is damaged; delete it and give a new join token`
      throw new AppError('InvalidArgument', message, { cause })
    }
  }

  /**
   * Writes the identity: creates the Secret, or replaces what was loaded or saved last. Throws ApplyConflict when
   * somebody else wrote it in between; load again then.
   */
  async save(identity: StoredIdentity, signal: AbortSignal): Promise<void> {
    const resourceVersion = this.#resourceVersion
    const body = {
      apiVersion: 'v1',
      kind: 'Secret',
      metadata: {
        name: IDENTITY_SECRET,
        namespace: this.#namespace,
        labels: { 'app.kubernetes.io/name': 'fairlead-agent', 'app.kubernetes.io/component': 'identity' },
        ...(resourceVersion !== undefined && { resourceVersion }),
      },
      type: 'Opaque',
      data: encodeIdentity(identity),
    }
    const method = resourceVersion === undefined ? 'POST' : 'PUT'
    const path = this.#path(resourceVersion === undefined ? '' : IDENTITY_SECRET)
    const answer = await this.#kube.request({ method, path, body, signal })
    if (answer.status === 404 && method === 'PUT') {
      // Deleted by hand: with it the only copy of the key would be lost at the next restart.
      this.#resourceVersion = undefined
      return await this.save(identity, signal)
    }
    if (answer.status === 409) {
      throw new AppError('ApplyConflict', `Secret ${IDENTITY_SECRET} was written by somebody else`)
    }
    this.#resourceVersion = expectOk(answer, `write Secret ${IDENTITY_SECRET}`).metadata?.resourceVersion
  }

  /** The join token in a Secret under the key `token`, or undefined when there is none. */
  async readToken(secret: string, signal: AbortSignal): Promise<string | undefined> {
    const answer = await this.#kube.request({ method: 'GET', path: this.#path(secret), signal })
    if (answer.status === 404) return undefined
    const encoded = expectOk(answer, `read Secret ${secret}`).data?.token
    const token = encoded === undefined ? '' : Buffer.from(encoded, 'base64').toString('utf8').trim()
    return token === '' ? undefined : token
  }

  #path(name: string): string {
    return `/api/v1/namespaces/${this.#namespace}/secrets${name === '' ? '' : `/${name}`}`
  }
}

function expectOk({ status, body }: KubeResponse, what: string): SecretBody {
  if (status >= 200 && status < 300) return body as SecretBody
  const message = (body as { message?: string } | undefined)?.message ?? `status ${status}`
  const code = status === 403 ? 'ApplyForbidden' : 'ApiServerUnavailable'
  throw new AppError(code, `cannot ${what}: ${message}`)
}

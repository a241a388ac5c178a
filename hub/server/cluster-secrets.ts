// Secrets of the Kubernetes cluster that the hub runs in, read by its own service account, whose rights say which.
import { readFile } from 'node:fs/promises'
import { request } from 'node:https'
import path from 'node:path'
import { AppError } from '@fairlead/shared/errors'

/** Where and as whom. */
export interface ClusterSecretsOptions {
  /** https:// address of the API server; undefined outside of a cluster. */
  readonly server: string | undefined
  /** Folder of the service account's token and ca.crt; default where Kubernetes mounts it. Read again each time, as the token is renewed. */
  readonly accountDir?: string
  /** How long an answer is used again, in milliseconds, default 10,000: a rotation is seen within that. */
  readonly ttlMs?: number
  /** Longest request in milliseconds, default 10,000. */
  readonly timeoutMs?: number
}

/** One key of a Secret. */
export interface SecretKey {
  readonly namespace: string
  readonly name: string
  readonly key: string
}

interface SecretObject {
  readonly metadata?: { readonly labels?: Readonly<Record<string, string>> }
  readonly data?: SecretData
}

type SecretData = Readonly<Record<string, string>>

const ACCOUNT_DIR = '/var/run/secrets/kubernetes.io/serviceaccount'
/** So that no definition makes the hub send anything else that it may read to a Git server. */
const LABEL = 'fairlead.dev/credentials'
/** A Secret has at most 1 MiB, in base64. */
const MAX_ANSWER_BYTES = 2 * 1024 * 1024
const NAME = '[a-z0-9](?:[-a-z0-9.]{0,251}[a-z0-9])?'
const REFERENCE = new RegExp(`^secret:([a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?)/(${NAME})#([-._a-zA-Z0-9]{1,253})$`)

/** What `secret:<namespace>/<name>#<key>` names; undefined when it is not that. */
export function findSecretKey(from: string): SecretKey | undefined {
  const [, namespace, name, key] = REFERENCE.exec(from) ?? []
  return namespace !== undefined && name !== undefined && key !== undefined ? { namespace, name, key } : undefined
}

/** Reads Secrets. */
export class ClusterSecrets {
  readonly #options: Required<Omit<ClusterSecretsOptions, 'server'>> & Pick<ClusterSecretsOptions, 'server'>
  readonly #answers = new Map<string, { readonly data: Promise<SecretData>; readonly untilMs: number }>()

  constructor({ server, accountDir = ACCOUNT_DIR, ttlMs = 10_000, timeoutMs = 10_000 }: ClusterSecretsOptions) {
    this.#options = { server, accountDir, ttlMs, timeoutMs }
  }

  /** The content of one key as text. Rejects with RepositoryAuthFailed when it is not there, may not be read or is not labelled, with RepositoryUnreachable when the API server does not answer; never with anything that the Secret holds. */
  async read({ namespace, name, key }: SecretKey): Promise<string> {
    const what = `Secret ${namespace}/${name}`
    const data = await this.#readData(namespace, name, what)
    const content = Object.hasOwn(data, key) ? data[key] : undefined
    if (content === undefined) throw refused(`${what} has no key ${key}`)
    return Buffer.from(content, 'base64').toString('utf8')
  }

  #readData(namespace: string, name: string, what: string): Promise<SecretData> {
    const now = performance.now()
    for (const [known, { untilMs }] of this.#answers) if (untilMs <= now) this.#answers.delete(known)
    const kept = this.#answers.get(what)
    if (kept) return kept.data
    const data = this.#fetch(`/api/v1/namespaces/${namespace}/secrets/${name}`, what)
    this.#answers.set(what, { data, untilMs: now + this.#options.ttlMs })
    // A failure is asked for again.
    data.catch(() => this.#answers.delete(what))
    return data
  }

  async #fetch(url: string, what: string): Promise<SecretData> {
    const { server, accountDir } = this.#options
    if (server === undefined) throw refused(`${what} cannot be read: the hub does not run in a Kubernetes cluster`)
    const [token, ca] = await Promise.all(
      ['token', 'ca.crt'].map((file) => readFile(path.join(accountDir, file), 'utf8')),
    ).catch((cause: unknown) => {
      throw refused(`${what} cannot be read: the hub has no service account in ${accountDir}`, cause)
    })
    const { status, body } = await this.#get(`${server}${url}`, { token: token?.trim() ?? '', ca: ca ?? '' }, what)
    if (status === 404) throw refused(`there is no ${what}`)
    if (status === 403)
      throw refused(`${what} may not be read by the hub's service account: it needs get of that Secret`)
    if (status === 401) throw refused(`${what} cannot be read: the cluster does not know the hub's service account`)
    if (status !== 200) throw unreachable(`${what} cannot be read: the API server answers HTTP ${status}`)
    return parseData(body, what)
  }

  async #get(
    url: string,
    { token, ca }: { readonly token: string; readonly ca: string },
    what: string,
  ): Promise<{ readonly status: number; readonly body: Buffer }> {
    const { promise, resolve, reject } = Promise.withResolvers<{ status: number; body: Buffer }>()
    const headers = { authorization: `Bearer ${token}`, accept: 'application/json' }
    const signal = AbortSignal.timeout(this.#options.timeoutMs)
    const sent = request(url, { ca, headers, signal }, (response) => {
      const chunks: Buffer[] = []
      let sizeBytes = 0
      response.on('data', (chunk: Buffer) => {
        sizeBytes += chunk.length
        if (sizeBytes > MAX_ANSWER_BYTES) response.destroy(new Error(`more than ${MAX_ANSWER_BYTES} bytes`))
        else chunks.push(chunk)
      })
      response.on('error', reject)
      response.on('end', () => resolve({ status: response.statusCode ?? 0, body: Buffer.concat(chunks) }))
    })
    sent.on('error', reject)
    sent.end()
    return await promise.catch((cause: unknown) => {
      const why = cause instanceof Error && 'code' in cause ? String(cause.code) : 'no whole answer'
      throw unreachable(`${what} cannot be read: the API server cannot be reached (${why})`, cause)
    })
  }
}

function parseData(body: Buffer, what: string): SecretData {
  let secret: SecretObject
  try {
    secret = JSON.parse(body.toString('utf8')) as SecretObject
  } catch {
    // Without its cause, which may quote what it read.
    throw unreachable(`${what} cannot be read: the API server answers no JSON`)
  }
  if (secret.metadata?.labels?.[LABEL] !== 'true') {
    throw refused(`${what} is not meant for repositories: give it the label ${LABEL}: "true"`)
  }
  return secret.data ?? {}
}

function refused(message: string, cause?: unknown): AppError {
  return new AppError('RepositoryAuthFailed', message, { cause })
}

function unreachable(message: string, cause?: unknown): AppError {
  return new AppError('RepositoryUnreachable', message, { cause })
}

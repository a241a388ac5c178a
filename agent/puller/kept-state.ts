// What the agent keeps in its cluster to work without hub and NATS: the last good slice as it was signed, and the
// encrypted chunks of the artifacts that it names, in Secrets of the agent's own namespace.
import { sha256Hex } from '@fairlead/shared/digest'
import { AppError } from '@fairlead/shared/errors'
import type { Kube, KubeResponse } from '../kube/kube.ts'

/** Name of the Secret that holds the slice. */
export const SLICE_SECRET = 'fairlead-agent-slice'
/** Names of the Secrets that hold chunks begin so; the rest is the beginning of the chunk's digest. */
export const ARTIFACT_SECRET_PREFIX = 'fairlead-agent-artifact-'

const KEPT_LABEL = 'fairlead.dev/kept'
const PAGE = 500

/** The kept slice, not verified. */
export interface KeptSlice {
  readonly clusterId: string
  /** Generation of the last slice that was obeyed, also when the document itself is damaged. */
  readonly generation: bigint
  /** The signed bytes; undefined when they are damaged. */
  readonly document: Uint8Array | undefined
}

interface SecretBody {
  readonly data?: Readonly<Record<string, string>>
}

/** Reads and writes the kept Secrets. Every call rejects with ApiServerUnavailable or ApplyForbidden when the API server does not do it. */
export class KeptState {
  readonly #kube: Kube
  readonly #path: string
  readonly #namespace: string
  /** Digests (as far as names tell) of the chunks that are kept; undefined before the first listing. */
  #chunks: Set<string> | undefined
  #hasSlice = false
  /** SHA-256 of the slice that is kept; undefined when that is not known. */
  #keptDigest: string | undefined

  constructor(kube: Kube, namespace: string) {
    this.#kube = kube
    this.#namespace = namespace
    this.#path = `/api/v1/namespaces/${namespace}/secrets`
  }

  /** The kept slice, or undefined when none was ever kept. */
  async readSlice(signal: AbortSignal): Promise<KeptSlice | undefined> {
    const body = await this.#read(SLICE_SECRET, signal)
    if (!body) return undefined
    this.#hasSlice = true
    const { document = '', generation = '', 'cluster-id': clusterId = '', sha256 = '' } = body.data ?? {}
    const bytes = Buffer.from(document, 'base64')
    const isWhole = bytes.length > 0 && sha256Hex(bytes) === decodeText(sha256)
    this.#keptDigest = isWhole ? decodeText(sha256) : undefined
    return {
      clusterId: decodeText(clusterId),
      generation: parseGeneration(decodeText(generation)),
      document: isWhole ? new Uint8Array(bytes) : undefined,
    }
  }

  /** Keeps a slice in place of the last; no request when it is the last. */
  async writeSlice(slice: KeptSlice & { readonly document: Uint8Array }, signal: AbortSignal): Promise<void> {
    const digest = sha256Hex(slice.document)
    if (digest === this.#keptDigest) return
    const data = {
      document: Buffer.from(slice.document).toString('base64'),
      sha256: encodeText(digest),
      generation: encodeText(String(slice.generation)),
      'cluster-id': encodeText(slice.clusterId),
    }
    // Not known until the answer is there.
    this.#keptDigest = undefined
    await this.#write(SLICE_SECRET, 'slice', data, signal)
    this.#keptDigest = digest
  }

  /** Whether a chunk seems to be kept, without reading it. */
  async hasChunk(digest: string, signal: AbortSignal): Promise<boolean> {
    this.#chunks ??= await this.#listChunks(signal)
    return this.#chunks.has(shorten(digest))
  }

  /** A kept chunk, or undefined when it is not kept or damaged. */
  async readChunk(digest: string, signal: AbortSignal): Promise<Uint8Array | undefined> {
    if (!(await this.hasChunk(digest, signal))) return undefined
    const body = await this.#read(secretName(digest), signal)
    const bytes = Buffer.from(body?.data?.chunk ?? '', 'base64')
    if (sha256Hex(bytes) === digest) return new Uint8Array(bytes)
    this.#chunks?.delete(shorten(digest))
    return undefined
  }

  /** Keeps a chunk. */
  async writeChunk(digest: string, bytes: Uint8Array, signal: AbortSignal): Promise<void> {
    await this.#write(secretName(digest), 'chunk', { chunk: Buffer.from(bytes).toString('base64') }, signal)
    this.#chunks?.add(shorten(digest))
  }

  /** Deletes all kept chunks but these. */
  async dropOtherChunks(wanted: Iterable<string>, signal: AbortSignal): Promise<void> {
    this.#chunks ??= await this.#listChunks(signal)
    const keep = new Set([...wanted].map(shorten))
    for (const short of [...this.#chunks]) {
      if (keep.has(short)) continue
      const path = `${this.#path}/${ARTIFACT_SECRET_PREFIX}${short}`
      const answer = await this.#kube.request({ method: 'DELETE', path, signal })
      if (answer.status !== 404) expectOk(answer, 'delete a kept artifact')
      this.#chunks.delete(short)
    }
  }

  async #listChunks(signal: AbortSignal): Promise<Set<string>> {
    const found = new Set<string>()
    let next = ''
    do {
      const query = { labelSelector: `${KEPT_LABEL}=chunk`, limit: PAGE, ...(next !== '' && { continue: next }) }
      const accept = 'application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1'
      const answer = await this.#kube.request({ method: 'GET', path: this.#path, query, accept, signal })
      const list = expectOk(answer, 'list the kept artifacts') as {
        items?: { metadata: { name: string } }[] | null
        metadata?: { continue?: string }
      }
      for (const { metadata } of list.items ?? []) found.add(metadata.name.slice(ARTIFACT_SECRET_PREFIX.length))
      next = list.metadata?.continue ?? ''
    } while (next !== '')
    return found
  }

  async #read(name: string, signal: AbortSignal): Promise<SecretBody | undefined> {
    const answer = await this.#kube.request({ method: 'GET', path: `${this.#path}/${name}`, signal })
    return answer.status === 404 ? undefined : (expectOk(answer, `read Secret ${name}`) as SecretBody)
  }

  /** Replaces the Secret, or creates it when it is not there. */
  async #write(
    name: string,
    kept: 'slice' | 'chunk',
    data: Record<string, string>,
    signal: AbortSignal,
  ): Promise<void> {
    const labels = { 'app.kubernetes.io/name': 'fairlead-agent', [KEPT_LABEL]: kept }
    const metadata = { name, namespace: this.#namespace, labels }
    const body = { apiVersion: 'v1', kind: 'Secret', metadata, type: 'Opaque', data }
    const create = () => this.#kube.request({ method: 'POST', path: this.#path, body, signal })
    const replace = () => this.#kube.request({ method: 'PUT', path: `${this.#path}/${name}`, body, signal })
    // Chunks are mostly new and the slice mostly there already.
    const isThere = kept === 'slice' && this.#hasSlice
    let answer = await (isThere ? replace() : create())
    if (answer.status === (isThere ? 404 : 409)) answer = await (isThere ? create() : replace())
    expectOk(answer, `write Secret ${name}`)
    if (kept === 'slice') this.#hasSlice = true
  }
}

function expectOk({ status, body }: KubeResponse, what: string): unknown {
  if (status >= 200 && status < 300) return body
  const message = (body as { message?: string } | undefined)?.message ?? `status ${status}`
  throw new AppError(status === 403 ? 'ApplyForbidden' : 'ApiServerUnavailable', `cannot ${what}: ${message}`)
}

const shorten = (digest: string): string => digest.slice(0, 32)
const secretName = (digest: string): string => `${ARTIFACT_SECRET_PREFIX}${shorten(digest)}`
const encodeText = (text: string): string => Buffer.from(text).toString('base64')
const decodeText = (base64: string): string => Buffer.from(base64, 'base64').toString('utf8')

function parseGeneration(text: string): bigint {
  return /^\d{1,20}$/.test(text) ? BigInt(text) : 0n
}

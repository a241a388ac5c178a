// What the agent keeps in its cluster to work without hub and NATS: the last good slice as it was signed, and the
// encrypted chunks of the artifacts that it names, in Secrets of the agent's own namespace.
import { sha256Hex } from '@fairlead/shared/digest'
import type { Kube } from '../kube/kube.ts'
import { KeptChunks } from './kept-chunks.ts'
import { KeptSecrets } from './kept-secrets.ts'

/** Name of the Secret that holds the slice. */
export const SLICE_SECRET = 'fairlead-agent-slice'

/** The kept slice, not verified. */
export interface KeptSlice {
  readonly clusterId: string
  /** Generation of the last slice that was obeyed, also when the document itself is damaged. */
  readonly generation: bigint
  /** The signed bytes; undefined when they are damaged. */
  readonly document: Uint8Array | undefined
}

/** Reads and writes the kept Secrets. Every call rejects with ApiServerUnavailable or ApplyForbidden when the API server does not do it. */
export class KeptState {
  /** Of the artifacts that the slice names. */
  readonly chunks: KeptChunks
  readonly #secrets: KeptSecrets
  #hasSlice = false
  /** SHA-256 of the slice that is kept; undefined when that is not known. */
  #keptDigest: string | undefined

  constructor(kube: Kube, namespace: string) {
    this.#secrets = new KeptSecrets(kube, namespace)
    this.chunks = new KeptChunks(this.#secrets)
  }

  /** The kept slice, or undefined when none was ever kept. */
  async readSlice(signal: AbortSignal): Promise<KeptSlice | undefined> {
    const body = await this.#secrets.read(SLICE_SECRET, signal)
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
    await this.#secrets.write({ name: SLICE_SECRET, kept: 'slice', data }, this.#hasSlice ? 'there' : 'new', signal)
    this.#hasSlice = true
    this.#keptDigest = digest
  }
}

const encodeText = (text: string): string => Buffer.from(text).toString('base64')
const decodeText = (base64: string): string => Buffer.from(base64, 'base64').toString('utf8')

function parseGeneration(text: string): bigint {
  return /^\d{1,20}$/.test(text) ? BigInt(text) : 0n
}

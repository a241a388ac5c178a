// Keeps the encrypted chunks of artifacts, many in one Secret: hundreds of small applications cost one request, not hundreds.
// A pack is never changed. It goes when nothing in it is needed, and is written anew with what is left when that is little.
import { unlessAborted } from '@fairlead/shared/backoff'
import { sha256Hex } from '@fairlead/shared/digest'
import { KEPT_LABEL, type KeptSecrets } from './kept-secrets.ts'

/** Names of the Secrets that hold chunks begin so. */
export const PACK_SECRET_PREFIX = 'fairlead-agent-artifacts-'
/** Digests of the chunks in a pack, so that a listing without data tells what is kept. */
const CONTENT_ANNOTATION = 'fairlead.dev/kept-chunks'
/** Most bytes of one pack; a Secret holds at most 1 MiB. */
const PACK_MAX_BYTES = 900_000
/** Most chunks of one pack: their digests are in an annotation, of at most 256 KiB. */
const PACK_MAX_CHUNKS = 1_000
/** How long a pack that was read is held for the next chunk of it, in milliseconds. */
const HELD_MS = 2_000

/** Chunks that fit into one pack, in the order in which they are added. */
export class ChunkBatch {
  readonly chunks = new Map<string, Uint8Array>()
  #bytes = 0

  /** False when it is full: then it is not added. */
  add(digest: string, bytes: Uint8Array): boolean {
    const isFull = this.#bytes + bytes.length > PACK_MAX_BYTES || this.chunks.size >= PACK_MAX_CHUNKS
    if (isFull && this.chunks.size > 0) return false
    this.chunks.set(digest, bytes)
    this.#bytes += bytes.length
    return true
  }
}

/** The packs in the cluster. Every call rejects as KeptSecrets does. */
export class KeptChunks {
  readonly #secrets: KeptSecrets
  /** Chunks by the pack's name; undefined before the first listing. */
  #packs: Map<string, ReadonlySet<string>> | undefined
  /** Asked by many at once, as at a start, it is listed once. */
  #listing: Promise<Map<string, ReadonlySet<string>>> | undefined
  readonly #held = new Map<string, Promise<Readonly<Record<string, string>>>>()
  /** Chunks that were found damaged in a pack, as `pack/digest`. */
  readonly #damaged = new Set<string>()

  constructor(secrets: KeptSecrets) {
    this.#secrets = secrets
  }

  /** Whether a chunk seems to be kept, without reading it. */
  async has(digest: string, signal: AbortSignal): Promise<boolean> {
    return this.#packsWith(digest, await this.#list(signal)).length > 0
  }

  /** A chunk, or undefined when it is not kept or damaged. */
  async read(digest: string, signal: AbortSignal): Promise<Uint8Array | undefined> {
    for (const name of this.#packsWith(digest, await this.#list(signal))) {
      const data = await this.#readPack(name)
      const bytes = Buffer.from(data[digest] ?? '', 'base64')
      if (sha256Hex(bytes) === digest) return new Uint8Array(bytes)
      this.#damaged.add(`${name}/${digest}`)
    }
    return undefined
  }

  /** Keeps chunks together. */
  async write({ chunks }: ChunkBatch, signal: AbortSignal): Promise<void> {
    const packs = await this.#list(signal)
    const digests = [...chunks.keys()].sort()
    const content = digests.join(' ')
    const name = `${PACK_SECRET_PREFIX}${sha256Hex(content).slice(0, 32)}`
    const data = Object.fromEntries(
      digests.map((digest) => [digest, Buffer.from(chunks.get(digest) ?? []).toString('base64')]),
    )
    const annotations = { [CONTENT_ANNOTATION]: content }
    this.#held.delete(name)
    await this.#secrets.write({ name, kept: 'chunks', annotations, data }, packs.has(name) ? 'there' : 'new', signal)
    for (const digest of digests) this.#damaged.delete(`${name}/${digest}`)
    packs.set(name, new Set(digests))
  }

  /** Deletes the packs of which nothing is needed, or nothing that is not in another pack too. */
  async dropOthers(wanted: ReadonlySet<string>, signal: AbortSignal): Promise<void> {
    const packs = await this.#list(signal)
    const shareOf = (digests: ReadonlySet<string>): number =>
      [...digests].filter((digest) => wanted.has(digest)).length / Math.max(1, digests.size)
    // Of two that hold the same chunk the one that is of less use goes.
    for (const [name, digests] of [...packs].sort(([, a], [, b]) => shareOf(a) - shareOf(b))) {
      const isOnlyHere = (digest: string): boolean => {
        const [first, ...others] = this.#packsWith(digest, packs)
        return first === name && others.length === 0
      }
      if ([...digests].some((digest) => wanted.has(digest) && isOnlyHere(digest))) continue
      await this.#secrets.delete(name, signal)
      packs.delete(name)
      this.#held.delete(name)
      for (const digest of digests) this.#damaged.delete(`${name}/${digest}`)
    }
  }

  /** What is needed of packs that are mostly of no use any more: to be kept anew, so that these can go. */
  async findSparse(wanted: ReadonlySet<string>, signal: AbortSignal): Promise<readonly string[]> {
    const sparse: string[] = []
    for (const digests of (await this.#list(signal)).values()) {
      const needed = [...digests].filter((digest) => wanted.has(digest))
      if (needed.length * 2 <= digests.size) sparse.push(...needed)
    }
    return sparse
  }

  /** The packs that hold a chunk, as far as is known undamaged. */
  #packsWith(digest: string, packs: ReadonlyMap<string, ReadonlySet<string>>): string[] {
    return [...packs.keys()].filter((name) => packs.get(name)?.has(digest) && !this.#damaged.has(`${name}/${digest}`))
  }

  async #list(signal: AbortSignal): Promise<Map<string, ReadonlySet<string>>> {
    if (this.#packs) return this.#packs
    this.#listing ??= this.#listNow().finally(() => {
      this.#listing = undefined
    })
    return await unlessAborted(this.#listing, signal)
  }

  async #listNow(): Promise<Map<string, ReadonlySet<string>>> {
    // Whatever is not the slice: a Secret that names no chunks goes, as nothing in it is needed.
    const found = await this.#secrets.list(`${KEPT_LABEL},${KEPT_LABEL}!=slice`)
    this.#packs = new Map(
      found.map(({ metadata: { name, annotations } }) => {
        const content = annotations?.[CONTENT_ANNOTATION] ?? ''
        return [name, new Set(content.split(' ').filter((digest) => digest !== ''))]
      }),
    )
    return this.#packs
  }

  /** The data of a pack, read once for many chunks; empty when it is gone. */
  async #readPack(name: string): Promise<Readonly<Record<string, string>>> {
    const held = this.#held.get(name)
    if (held !== undefined) return await held
    // Not by the signal of whoever asks first: others wait for the same answer. A request that takes too long fails as such.
    const reading = this.#secrets.read(name).then((secret) => secret?.data ?? {})
    this.#held.set(name, reading)
    const forget = (): void => {
      if (this.#held.get(name) === reading) this.#held.delete(name)
    }
    try {
      const data = await reading
      setTimeout(forget, HELD_MS).unref()
      return data
    } catch (error) {
      forget()
      throw error
    }
  }
}

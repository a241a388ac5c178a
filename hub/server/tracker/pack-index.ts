// Looks objects up in pack indexes, version 2 (git-scm.com, gitformat-pack).
import { damaged, type GitObject, SHA1_BYTES } from './git-object.ts'

const MAGIC = 0xff744f63
const FANOUT_START = 8
const NAMES_START = FANOUT_START + 256 * 4

/** Finds objects of one pack by id. */
export class PackIndex {
  readonly #bytes: Buffer
  readonly #count: number
  readonly #hashBytes: number

  /** `hashBytes` are those of an id. Throws FetchFailed when the bytes are no index of version 2. */
  constructor(bytes: Buffer, hashBytes: number = SHA1_BYTES) {
    if (bytes.length < NAMES_START + 2 * hashBytes || bytes.readUInt32BE(0) !== MAGIC || bytes.readUInt32BE(4) !== 2) {
      throw damaged('a pack index')
    }
    this.#bytes = bytes
    this.#count = bytes.readUInt32BE(NAMES_START - 4)
    this.#hashBytes = hashBytes
    if (bytes.length < NAMES_START + this.#count * (hashBytes + 8) + 2 * hashBytes) throw damaged('a pack index')
  }

  /** Number of objects. */
  get count(): number {
    return this.#count
  }

  /** Offset of an object in the pack, undefined when it is not there. */
  findOffset(oid: Buffer): number | undefined {
    const first = oid[0] ?? 0
    let low = first === 0 ? 0 : this.#bytes.readUInt32BE(FANOUT_START + (first - 1) * 4)
    let high = this.#bytes.readUInt32BE(FANOUT_START + first * 4) - 1
    if (high >= this.#count) throw damaged('a pack index')
    while (low <= high) {
      const middle = (low + high) >>> 1
      const position = NAMES_START + middle * this.#hashBytes
      const order = this.#bytes.compare(oid, 0, this.#hashBytes, position, position + this.#hashBytes)
      if (order === 0) return this.#offsetAt(middle)
      if (order < 0) low = middle + 1
      else high = middle - 1
    }
    return undefined
  }

  #offsetAt(entry: number): number {
    const offset = this.#bytes.readUInt32BE(NAMES_START + this.#count * (this.#hashBytes + 4) + entry * 4)
    // Larger packs than 2 GiB are never fetched.
    if (offset & 0x80000000) throw damaged('a pack index')
    return offset
  }
}

/** Objects by offset, the least recently used go first. */
export class ObjectCache {
  readonly #objects = new Map<number, GitObject>()
  readonly #maxBytes: number
  #sizeBytes = 0

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes
  }

  find(offset: number): GitObject | undefined {
    const object = this.#objects.get(offset)
    if (object !== undefined) {
      this.#objects.delete(offset)
      this.#objects.set(offset, object)
    }
    return object
  }

  add(offset: number, object: GitObject): void {
    if (this.#objects.has(offset)) return
    this.#objects.set(offset, object)
    this.#sizeBytes += object.data.length
    for (const [oldest, { data }] of this.#objects) {
      if (this.#sizeBytes <= this.#maxBytes) break
      this.#objects.delete(oldest)
      this.#sizeBytes -= data.length
    }
  }
}

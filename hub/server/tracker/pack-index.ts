// Pack indexes, version 2 (git-scm.com, gitformat-pack): made for packs that were fetched, and looked up.
import { createHash } from 'node:crypto'
import { crc32 } from 'node:zlib'
import { AppError } from '@fairlead/shared/errors'
import { damaged, type GitObject, hashObject, OBJECT_MAX_BYTES, type ObjectSource } from './git-object.ts'
import { type BaseLookup, inflateEntry, readEntry, readPackObject } from './pack-entry.ts'

const MAGIC = 0xff744f63
const FANOUT_START = 8
const NAMES_START = FANOUT_START + 256 * 4
/** Most objects of a pack. */
const MAX_OBJECTS = 500_000

/** Finds objects of one pack by id. */
export class PackIndex {
  readonly #bytes: Buffer
  readonly #count: number

  /** Throws FetchFailed when the bytes are no index of version 2. */
  constructor(bytes: Buffer) {
    if (bytes.length < NAMES_START + 40 || bytes.readUInt32BE(0) !== MAGIC || bytes.readUInt32BE(4) !== 2) {
      throw damaged('a pack index')
    }
    this.#bytes = bytes
    this.#count = bytes.readUInt32BE(NAMES_START - 4)
    if (bytes.length < NAMES_START + this.#count * 28 + 40) throw damaged('a pack index')
  }

  /** Offset of an object in the pack, undefined when it is not there. */
  findOffset(oid: Buffer): number | undefined {
    const first = oid[0] ?? 0
    let low = first === 0 ? 0 : this.#bytes.readUInt32BE(FANOUT_START + (first - 1) * 4)
    let high = this.#bytes.readUInt32BE(FANOUT_START + first * 4) - 1
    if (high >= this.#count) throw damaged('a pack index')
    while (low <= high) {
      const middle = (low + high) >>> 1
      const position = NAMES_START + middle * 20
      const order = this.#bytes.compare(oid, 0, 20, position, position + 20)
      if (order === 0) return this.#offsetAt(middle)
      if (order < 0) low = middle + 1
      else high = middle - 1
    }
    return undefined
  }

  #offsetAt(entry: number): number {
    const offset = this.#bytes.readUInt32BE(NAMES_START + this.#count * 24 + entry * 4)
    // Larger packs than 2 GiB are never fetched.
    if (offset & 0x80000000) throw damaged('a pack index')
    return offset
  }
}

interface IndexedObject {
  readonly offset: number
  readonly crc: number
  oid: string | undefined
}

/** Checks a pack and makes its index. Bases that the pack does not hold (a thin pack) are looked up in `outside`. Throws FetchFailed for damage, LimitExceeded for objects that are too large. */
export function buildPackIndex(pack: Buffer, outside: ObjectSource | undefined): Buffer {
  const count = checkPack(pack)
  const indexer = new Indexer(pack, outside)
  indexer.scan(count)
  indexer.resolveDeltas()
  return encodeIndex(indexer.objects, pack.subarray(-20))
}

function checkPack(pack: Buffer): number {
  if (pack.length < 32 || pack.toString('latin1', 0, 4) !== 'PACK') throw damaged('it is not a pack')
  const version = pack.readUInt32BE(4)
  if (version !== 2 && version !== 3) throw damaged(`pack version ${version}`)
  const digest = createHash('sha1').update(pack.subarray(0, -20)).digest()
  if (!digest.equals(pack.subarray(-20))) throw damaged('the checksum of the pack')
  const count = pack.readUInt32BE(8)
  if (count > MAX_OBJECTS) {
    throw new AppError('LimitExceeded', `the pack has ${count} objects; the limit is ${MAX_OBJECTS}`)
  }
  return count
}

class Indexer implements BaseLookup {
  readonly objects: IndexedObject[] = []
  readonly #pack: Buffer
  readonly #outside: ObjectSource | undefined
  readonly #byOid = new Map<string, number>()
  readonly #cache = new ObjectCache(32 * 1024 * 1024)

  constructor(pack: Buffer, outside: ObjectSource | undefined) {
    this.#pack = pack
    this.#outside = outside
  }

  scan(count: number): void {
    let offset = 12
    for (let index = 0; index < count; index++) {
      const entry = readEntry(this.#pack, offset)
      const { data, end } = inflateEntry(this.#pack, entry, OBJECT_MAX_BYTES)
      const oid = entry.type && hashObject(entry.type, data)
      if (oid !== undefined) this.#byOid.set(oid, offset)
      this.objects.push({ offset, crc: crc32(this.#pack.subarray(offset, end)), oid })
      offset = end
    }
    if (offset !== this.#pack.length - 20) throw damaged('bytes behind the last object')
  }

  /** In the pack's order, which puts bases first; what hangs on an id that is not known yet waits for the next round. */
  resolveDeltas(): void {
    let pending = this.objects.filter(({ oid }) => oid === undefined)
    while (pending.length > 0) {
      const waiting: IndexedObject[] = []
      for (const object of pending) if (!this.#resolve(object)) waiting.push(object)
      if (waiting.length === pending.length) throw damaged('the base of a delta is missing')
      pending = waiting
    }
  }

  #resolve(object: IndexedObject): boolean {
    try {
      const { type, data } = readPackObject(this.#pack, object.offset, this)
      object.oid = hashObject(type, data)
      this.#byOid.set(object.oid, object.offset)
      return true
    } catch (error) {
      if (error instanceof UnknownBase) return false
      throw error
    }
  }

  findCached(offset: number): GitObject | undefined {
    return this.#cache.find(offset)
  }

  cache(offset: number, object: GitObject): void {
    this.#cache.add(offset, object)
  }

  getByOid(oid: string, depth: number): GitObject {
    const offset = this.#byOid.get(oid)
    const found = offset === undefined ? this.#outside?.find(oid) : readPackObject(this.#pack, offset, this, depth)
    if (found === undefined) throw new UnknownBase()
    return found
  }
}

class UnknownBase extends Error {}

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

function encodeIndex(objects: readonly IndexedObject[], packDigest: Buffer): Buffer {
  const named = objects.map(({ offset, crc, oid }) => ({ offset, crc, oid: Buffer.from(oid ?? '', 'hex') }))
  named.sort((a, b) => a.oid.compare(b.oid))
  const index = Buffer.alloc(NAMES_START + named.length * 28 + 40)
  index.writeUInt32BE(MAGIC, 0)
  index.writeUInt32BE(2, 4)
  const crcStart = NAMES_START + named.length * 20
  const offsetStart = crcStart + named.length * 4
  const fanout = new Uint32Array(256)
  for (const [position, { offset, crc, oid }] of named.entries()) {
    oid.copy(index, NAMES_START + position * 20)
    index.writeUInt32BE(crc, crcStart + position * 4)
    index.writeUInt32BE(offset, offsetStart + position * 4)
    const first = oid[0] ?? 0
    fanout[first] = (fanout[first] ?? 0) + 1
  }
  let sum = 0
  for (const [first, amount] of fanout.entries()) {
    sum += amount
    index.writeUInt32BE(sum, FANOUT_START + first * 4)
  }
  packDigest.copy(index, index.length - 40)
  createHash('sha1')
    .update(index.subarray(0, -20))
    .digest()
    .copy(index, index.length - 20)
  return index
}

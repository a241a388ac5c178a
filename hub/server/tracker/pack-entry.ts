// Entries of a pack file (git-scm.com, gitformat-pack): headers, zlib data and deltas. Synchronous, for worker threads.
// Every size is checked before memory is taken for it: a pack comes from a stranger.
import { inflateSync } from 'node:zlib'
import { AppError } from '@fairlead/shared/errors'
import { damaged, type GitObject, OBJECT_MAX_BYTES, type ObjectType, SHA1_BYTES } from './git-object.ts'

/** What is before the data of an entry. */
export interface PackEntry {
  /** Undefined for a delta, whose type is that of its base. */
  readonly type: ObjectType | undefined
  /** Size of the inflated data, in bytes: of the object, or of the delta. */
  readonly sizeBytes: number
  /** Of a delta: where its base is. */
  readonly base: { readonly offset: number } | { readonly oid: string } | undefined
  /** Where the zlib data begins. */
  readonly dataStart: number
}

const TYPES: Readonly<Record<number, ObjectType>> = { 1: 'commit', 2: 'tree', 3: 'blob', 4: 'tag' }
const OFFSET_DELTA = 6
const REFERENCE_DELTA = 7
/** Longest chain of deltas that git makes. */
const MAX_CHAIN = 4_095
/** Most bytes of all deltas of one chain together. */
const MAX_CHAIN_BYTES = 2 * OBJECT_MAX_BYTES

/** Reads the header of the entry at `offset`; `hashBytes` are those of an id. Throws FetchFailed when it is none. */
export function readEntry(pack: Buffer, offset: number, hashBytes: number = SHA1_BYTES): PackEntry {
  let position = offset
  let byte = byteAt(pack, position++)
  const kind = (byte >> 4) & 7
  let sizeBytes = byte & 15
  for (let scale = 16; byte & 0x80; scale *= 128) {
    byte = byteAt(pack, position++)
    sizeBytes += (byte & 0x7f) * scale
    if (sizeBytes > Number.MAX_SAFE_INTEGER) throw damaged('the size of an object')
  }
  if (kind === OFFSET_DELTA) {
    const { value, end } = readDistance(pack, position)
    if (value <= 0 || value > offset) throw damaged('the base of a delta')
    return { type: undefined, sizeBytes, base: { offset: offset - value }, dataStart: end }
  }
  if (kind === REFERENCE_DELTA) {
    const oid = pack.toString('hex', position, position + hashBytes)
    return { type: undefined, sizeBytes, base: { oid }, dataStart: position + hashBytes }
  }
  const type = TYPES[kind]
  if (type === undefined) throw damaged('the type of an object')
  return { type, sizeBytes, base: undefined, dataStart: position }
}

/** Inflates the data of an entry; `end` is the position after it. Throws LimitExceeded when it says to be larger than `maxBytes`. */
export function inflateEntry(pack: Buffer, entry: PackEntry, maxBytes: number): { data: Buffer; end: number } {
  const { sizeBytes, dataStart } = entry
  if (sizeBytes > maxBytes) throw tooLarge(sizeBytes, maxBytes)
  try {
    const { buffer, engine } = inflateWithInfo(pack.subarray(dataStart), sizeBytes)
    if (buffer.length !== sizeBytes) throw damaged('the size of an object')
    return { data: buffer, end: dataStart + engine.bytesWritten }
  } catch (error) {
    if (error instanceof AppError) throw error
    throw damaged(error instanceof Error ? error.message : String(error))
  }
}

function inflateWithInfo(bytes: Buffer, sizeBytes: number): { buffer: Buffer; engine: { bytesWritten: number } } {
  const options = { info: true, chunkSize: Math.max(64, sizeBytes + 1), maxOutputLength: Math.max(1, sizeBytes) }
  // With `info` the answer has this form, which the type declarations do not say (nodejs.org/api/zlib.html, "info").
  return inflateSync(bytes, options) as unknown as { buffer: Buffer; engine: { bytesWritten: number } }
}

/** Where an object is found: in this pack at an offset, or anywhere by its id. */
export interface BaseLookup {
  /** Bytes of an id; default those of SHA-1. */
  readonly hashBytes?: number
  /** Of an object that was read shortly before. */
  findCached(offset: number): GitObject | undefined
  cache(offset: number, object: GitObject): void
  /** The base of a reference delta. Throws FetchFailed when there is none. */
  getByOid(oid: string, depth: number): GitObject
}

/** Reads the object at `offset` with all deltas applied. Throws FetchFailed for damage and LimitExceeded for size. */
export function readPackObject(pack: Buffer, offset: number, lookup: BaseLookup, depth = 0): GitObject {
  // Not recursive along offsets: chains may be thousands long.
  const chain: Buffer[] = []
  let chainBytes = 0
  let current = offset
  let object: GitObject | undefined
  while (object === undefined) {
    object = lookup.findCached(current)
    if (object !== undefined) break
    if (depth + chain.length > MAX_CHAIN) throw damaged('a chain of deltas without end')
    const entry = readEntry(pack, current, lookup.hashBytes)
    const { data } = inflateEntry(pack, entry, OBJECT_MAX_BYTES)
    if (entry.base === undefined) {
      if (entry.type === undefined) throw damaged('the type of an object')
      object = { type: entry.type, data }
      lookup.cache(current, object)
    } else {
      chain.push(data)
      chainBytes += data.length
      if (chainBytes > MAX_CHAIN_BYTES) throw tooLarge(chainBytes, MAX_CHAIN_BYTES)
      if ('offset' in entry.base) current = entry.base.offset
      else object = lookup.getByOid(entry.base.oid, depth + chain.length)
    }
  }
  for (const delta of chain.reverse()) object = { type: object.type, data: applyDelta(delta, object.data) }
  if (chain.length > 0) lookup.cache(offset, object)
  return object
}

/** Applies a delta to its base. Throws FetchFailed when it does not fit, LimitExceeded when the result would be too large. */
export function applyDelta(delta: Buffer, base: Buffer): Buffer {
  const source = readLength(delta, 0)
  if (source.value !== base.length) throw damaged('the base of a delta')
  const target = readLength(delta, source.end)
  if (target.value > OBJECT_MAX_BYTES) throw tooLarge(target.value, OBJECT_MAX_BYTES)
  const result = Buffer.alloc(target.value)
  let written = 0
  let position = target.end
  while (position < delta.length) {
    const command = byteAt(delta, position++)
    if (command & 0x80) {
      let offset = 0
      let size = 0
      for (let bit = 0; bit < 4; bit++) if (command & (1 << bit)) offset += byteAt(delta, position++) * 2 ** (8 * bit)
      for (let bit = 0; bit < 3; bit++) if (command & (16 << bit)) size += byteAt(delta, position++) * 2 ** (8 * bit)
      size ||= 0x10000
      if (offset + size > base.length || written + size > result.length) throw damaged('a delta')
      base.copy(result, written, offset, offset + size)
      written += size
    } else {
      if (command === 0 || position + command > delta.length || written + command > result.length) {
        throw damaged('a delta')
      }
      delta.copy(result, written, position, position + command)
      position += command
      written += command
    }
  }
  if (written !== result.length) throw damaged('the size of a delta')
  return result
}

/** What the header of a delta says that it makes, and how many commands follow. Throws FetchFailed when it ends early. */
export function measureDelta(delta: Buffer): { targetBytes: number; commands: number } {
  const target = readLength(delta, readLength(delta, 0).end)
  let commands = 0
  for (let position = target.end; position < delta.length; commands++) {
    const command = byteAt(delta, position++)
    if (!(command & 0x80)) position += command
    else for (let bit = 1; bit < 0x80; bit <<= 1) if (command & bit) position++
  }
  return { targetBytes: target.value, commands }
}

function readLength(bytes: Buffer, start: number): { value: number; end: number } {
  let value = 0
  let position = start
  for (let scale = 1; ; scale *= 128) {
    const byte = byteAt(bytes, position++)
    value += (byte & 0x7f) * scale
    if (value > Number.MAX_SAFE_INTEGER) throw damaged('the size of a delta')
    if (!(byte & 0x80)) return { value, end: position }
  }
}

function readDistance(bytes: Buffer, start: number): { value: number; end: number } {
  let position = start
  let byte = byteAt(bytes, position++)
  let value = byte & 0x7f
  while (byte & 0x80) {
    byte = byteAt(bytes, position++)
    value = (value + 1) * 128 + (byte & 0x7f)
    if (value > Number.MAX_SAFE_INTEGER) throw damaged('the base of a delta')
  }
  return { value, end: position }
}

function byteAt(bytes: Buffer, position: number): number {
  const byte = bytes[position]
  if (byte === undefined) throw damaged('it ends early')
  return byte
}

function tooLarge(sizeBytes: number, maxBytes: number): AppError {
  return new AppError('LimitExceeded', `an object has ${sizeBytes} bytes; the limit is ${maxBytes}`)
}

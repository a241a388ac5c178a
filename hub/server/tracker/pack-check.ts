// Looks through a pack that came from a stranger before isomorphic-git indexes it: nothing in it may take more memory
// than the limits, for a worker thread that runs out of memory can take the whole process with it.
import { createHash } from 'node:crypto'
import { AppError } from '@fairlead/shared/errors'
import { damaged, OBJECT_MAX_BYTES } from './git-object.ts'
import { inflateEntry, measureDelta, readEntry } from './pack-entry.ts'

/** Most objects of a pack. */
export const PACK_MAX_OBJECTS = 500_000
/** Most bytes of all objects of a pack together, inflated and with deltas applied. */
export const PACK_MAX_INFLATED_BYTES = 768 * 1024 * 1024
const MAX_DELTA_COMMANDS = 1_000_000

/** Number of objects of a pack whose checksum and sizes are right. Throws FetchFailed for damage, LimitExceeded for what is too large. */
export function checkPack(pack: Buffer): number {
  const count = checkFrame(pack)
  let offset = 12
  let totalBytes = 0
  for (let index = 0; index < count; index++) {
    const entry = readEntry(pack, offset)
    const { data, end } = inflateEntry(pack, entry, OBJECT_MAX_BYTES)
    totalBytes += entry.base === undefined ? data.length : targetBytes(data)
    if (totalBytes > PACK_MAX_INFLATED_BYTES) throw tooMuch('bytes when inflated', PACK_MAX_INFLATED_BYTES)
    offset = end
  }
  if (offset !== pack.length - 20) throw damaged('bytes behind the last object')
  return count
}

function checkFrame(pack: Buffer): number {
  if (pack.length < 32 || pack.toString('latin1', 0, 4) !== 'PACK') throw damaged('it is not a pack')
  const version = pack.readUInt32BE(4)
  if (version !== 2) throw damaged(`pack version ${version}`)
  const digest = createHash('sha1').update(pack.subarray(0, -20)).digest()
  if (!digest.equals(pack.subarray(-20))) throw damaged('the checksum of the pack')
  const count = pack.readUInt32BE(8)
  if (count > PACK_MAX_OBJECTS) throw tooMuch('objects', PACK_MAX_OBJECTS)
  return count
}

/** What a delta makes; isomorphic-git takes memory for each of its commands and for the whole. */
function targetBytes(delta: Buffer): number {
  const { targetBytes, commands } = measureDelta(delta)
  if (targetBytes > OBJECT_MAX_BYTES) throw tooMuch('bytes in one object', OBJECT_MAX_BYTES)
  if (commands > MAX_DELTA_COMMANDS) throw tooMuch('commands in one delta', MAX_DELTA_COMMANDS)
  return targetBytes
}

function tooMuch(what: string, limit: number): AppError {
  return new AppError('LimitExceeded', `the pack has more than ${limit} ${what}`)
}

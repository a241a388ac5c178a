// Git objects: their types, ids, and the formats of commits, tags and trees (git-scm.com, gitformat-pack and "Git Objects").
import { createHash } from 'node:crypto'
import { AppError } from '@fairlead/shared/errors'

/** Types of objects. */
export type ObjectType = 'commit' | 'tree' | 'blob' | 'tag'

/** An object. */
export interface GitObject {
  readonly type: ObjectType
  readonly data: Buffer
}

/** One entry of a tree. */
export interface TreeEntry {
  /** Octal digits: 40000 folder, 100644 and 100755 file, 120000 symbolic link, 160000 submodule. */
  readonly mode: string
  readonly name: string
  readonly oid: string
}

/** Anything that objects can be read from. */
export interface ObjectSource {
  /** The object; undefined when there is none. Throws FetchFailed when it is damaged, LimitExceeded when it is larger than `maxBytes` (default OBJECT_MAX_BYTES). */
  find(oid: string, maxBytes?: number): GitObject | undefined
  /** Bytes of an id: 20 with SHA-1, which is the default, 32 with SHA-256. */
  readonly hashBytes?: number
}

/** Largest object that is read at all, in bytes. */
export const OBJECT_MAX_BYTES = 64 * 1024 * 1024

/** Largest tree object, in bytes: some hundred thousand entries. */
export const TREE_OBJECT_MAX_BYTES = 8 * 1024 * 1024

/** Bytes of an id with SHA-1. */
export const SHA1_BYTES = 20
/** Bytes of an id with SHA-256. */
export const SHA256_BYTES = 32

/** The id of an object; with SHA-1 unless told otherwise. */
export function hashObject(type: ObjectType, data: Uint8Array, hashBytes: number = SHA1_BYTES): string {
  return createHash(hashBytes === SHA256_BYTES ? 'sha256' : 'sha1')
    .update(`${type} ${data.length}\0`)
    .update(data)
    .digest('hex')
}

/** True for a full object id in lower-case hexadecimal, of SHA-1 or SHA-256. */
export function isObjectId(text: string): boolean {
  return /^(?:[0-9a-f]{40}|[0-9a-f]{64})$/.test(text)
}

/** What is wrong with a mirror or a pack; it is fetched again. */
export function damaged(what: string): AppError {
  return new AppError('FetchFailed', `the mirror or the pack is damaged: ${what}`)
}

/** The commit that an id names, tags followed, with the id of its root tree. Undefined when it is not there. Throws FetchFailed when the object is no commit. */
export function findCommit(source: ObjectSource, oid: string): { oid: string; tree: string } | undefined {
  let current = oid
  for (let hop = 0; hop < 10; hop++) {
    const object = source.find(current)
    if (object === undefined) return undefined
    const header = object.data.toString('latin1', 0, 80)
    if (object.type === 'commit') {
      const tree = /^tree ([0-9a-f]{40,64})\n/.exec(header)?.[1]
      if (tree === undefined) throw damaged(`commit ${current}`)
      return { oid: current, tree }
    }
    const target = object.type === 'tag' ? /^object ([0-9a-f]{40,64})\n/.exec(header)?.[1] : undefined
    if (target === undefined) throw new AppError('RefNotFound', `${oid.slice(0, 12)} is a ${object.type}, not a commit`)
    current = target
  }
  throw damaged(`tag ${oid}`)
}

/** The entries of a tree, in its order. Throws FetchFailed when it is missing or broken. */
export function readTreeEntries(source: ObjectSource, oid: string): TreeEntry[] {
  const object = source.find(oid, TREE_OBJECT_MAX_BYTES)
  if (object?.type !== 'tree') throw damaged(`tree ${oid}`)
  const { data } = object
  const { hashBytes = SHA1_BYTES } = source
  const entries: TreeEntry[] = []
  let position = 0
  while (position < data.length) {
    const space = data.indexOf(0x20, position)
    const zero = data.indexOf(0, space)
    if (space < 0 || zero < 0 || zero + 1 + hashBytes > data.length) throw damaged(`tree ${oid}`)
    entries.push({
      mode: data.toString('latin1', position, space).replace(/^0+/, ''),
      name: data.toString('utf8', space + 1, zero),
      oid: data.toString('hex', zero + 1, zero + 1 + hashBytes),
    })
    position = zero + 1 + hashBytes
  }
  return entries
}

// A working copy on disk as if it were a commit: read by the same walk as commits, with the same limits and the same care for links.
import { createHash } from 'node:crypto'
import { type Dirent, lstatSync, readdirSync, readFileSync, readlinkSync } from 'node:fs'
import path from 'node:path'
import { AppError } from '@fairlead/shared/errors'
import { type GitObject, OBJECT_MAX_BYTES, type ObjectSource } from './git-object.ts'

/** The id that stands for the working copy where a commit's is asked for. */
export const DISK_COMMIT = idOf('commit', '')

/** Reads the folder `root`, as it is when each object is asked for. Ids stand for paths, not for content; `.git` is left out. Throws as ObjectSource does. */
export class DiskSource implements ObjectSource {
  readonly #root: string
  /** Paths from the root, by the ids that were given out for them. */
  readonly #paths = new Map<string, string>()

  constructor(root: string) {
    this.#root = root
  }

  find(oid: string, maxBytes = OBJECT_MAX_BYTES): GitObject | undefined {
    if (oid === DISK_COMMIT) return { type: 'commit', data: Buffer.from(`tree ${this.#idFor('')}\n`) }
    const below = this.#paths.get(oid)
    if (below === undefined) return undefined
    const file = path.join(this.#root, below)
    try {
      const stat = lstatSync(file)
      if (stat.isDirectory()) return { type: 'tree', data: this.#tree(below) }
      if (stat.isSymbolicLink()) return { type: 'blob', data: Buffer.from(readlinkSync(file)) }
      if (stat.size > maxBytes) throw new AppError('LimitExceeded', `${stat.size} bytes; the limit is ${maxBytes}`)
      return { type: 'blob', data: readFileSync(file) }
    } catch (error) {
      if (error instanceof AppError) throw error
      const reason = error instanceof Error ? error.message : String(error)
      throw new AppError('FetchFailed', `cannot be read: ${reason}`, { context: { file: below }, cause: error })
    }
  }

  /** As Git writes a tree: `<mode> <name>\\0<20 bytes>` for each entry. */
  #tree(below: string): Buffer {
    const entries = readdirSync(path.join(this.#root, below), { withFileTypes: true })
    const parts = entries
      .filter((entry) => entry.name !== '.git' && modeOf(entry) !== undefined)
      .sort((a, b) => (a.name < b.name ? -1 : 1))
      .map((entry) => {
        const id = this.#idFor(below === '' ? entry.name : `${below}/${entry.name}`)
        return Buffer.concat([Buffer.from(`${modeOf(entry)} ${entry.name}\0`), Buffer.from(id, 'hex')])
      })
    return Buffer.concat(parts)
  }

  #idFor(below: string): string {
    const id = idOf('path', below)
    this.#paths.set(id, below)
    return id
  }
}

/** Undefined for what Git does not keep: sockets, pipes, devices. */
function modeOf(entry: Dirent): string | undefined {
  if (entry.isDirectory()) return '40000'
  if (entry.isSymbolicLink()) return '120000'
  return entry.isFile() ? '100644' : undefined
}

function idOf(what: 'commit' | 'path', below: string): string {
  return createHash('sha1').update(`fairlead ${what} ${below}`).digest('hex')
}

// The files of an unpacked package as Git objects, so that everything that reads repositories reads packages too: with the
// same limits, and the same care for links that lead out.
import { AppError } from '@fairlead/shared/errors'
import { type GitObject, hashObject, type ObjectSource } from '../git-object.ts'

/** One file or symbolic link of a package. */
export interface PackageEntry {
  /** 100644, 100755, or 120000 for a link, whose data is its target. */
  readonly mode: '100644' | '100755' | '120000'
  readonly data: Buffer
}

interface Folder {
  readonly folders: Map<string, Folder>
  readonly entries: Map<string, PackageEntry>
}

/** The objects of one package: its digest names a commit whose tree holds its files. */
export class PackageObjects implements ObjectSource {
  readonly #objects = new Map<string, GitObject>()

  /** `entries` by path, with slashes, each below the package's root. Throws UnsafePath when a path is a file and a folder. */
  constructor(digest: string, entries: ReadonlyMap<string, PackageEntry>) {
    const root = createFolder()
    for (const [path, entry] of entries) place(root, path, entry)
    const tree = this.#addFolder(root)
    this.#objects.set(digest, { type: 'commit', data: Buffer.from(`tree ${tree}\n\n`) })
  }

  find(oid: string, maxBytes = Number.POSITIVE_INFINITY): GitObject | undefined {
    const object = this.#objects.get(oid)
    if (object && object.data.length > maxBytes) {
      throw new AppError('LimitExceeded', `${object.data.length} bytes; the limit is ${maxBytes}`)
    }
    return object
  }

  #addFolder({ folders, entries }: Folder): string {
    const names = [
      ...[...folders].map(([name, folder]) => ({ name, mode: '40000', oid: this.#addFolder(folder) })),
      ...[...entries].map(([name, { mode, data }]) => ({ name, mode, oid: this.#add('blob', data) })),
    ]
    // Git sorts folders as if their names ended with a slash.
    const sorted = names
      .map((entry) => ({ ...entry, key: Buffer.from(entry.mode === '40000' ? `${entry.name}/` : entry.name) }))
      .sort((a, b) => Buffer.compare(a.key, b.key))
    const parts = sorted.flatMap(({ mode, name, oid }) => [Buffer.from(`${mode} ${name}\0`), Buffer.from(oid, 'hex')])
    return this.#add('tree', Buffer.concat(parts))
  }

  #add(type: 'blob' | 'tree', data: Buffer): string {
    const oid = hashObject(type, data)
    this.#objects.set(oid, { type, data })
    return oid
  }
}

function createFolder(): Folder {
  return { folders: new Map(), entries: new Map() }
}

function place(root: Folder, path: string, entry: PackageEntry): void {
  const parts = path.split('/')
  const name = parts.pop() ?? ''
  let folder = root
  for (const part of parts) {
    if (folder.entries.has(part)) throw bothAtOnce(path)
    const next = folder.folders.get(part) ?? createFolder()
    folder.folders.set(part, next)
    folder = next
  }
  if (folder.folders.has(name)) throw bothAtOnce(path)
  folder.entries.set(name, entry)
}

function bothAtOnce(path: string): AppError {
  return new AppError('UnsafePath', `the package holds a file and a folder of one name, at ${path}`)
}

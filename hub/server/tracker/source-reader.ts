// Reads the files of one folder at one commit, with limits, and never a byte from outside the commit.
import { AppError, type ErrorCode } from '@fairlead/shared/errors'
import { FolderCache } from './folder-cache.ts'
import { damaged, findCommit, type ObjectSource, readTreeEntries, type TreeEntry } from './git-object.ts'
import { findLfsPointer, isLfsPointer, type LfsPointer } from './lfs.ts'
import { readLfs } from './lfs-store.ts'
import type { SkippedEntry, SourceTree } from './source-tree.ts'

/** Most files below an application's path. */
export const TREE_MAX_FILES = 10_000
/** Most entries (files, folders, links) that are looked at below an application's path. */
export const TREE_MAX_ENTRIES = 50_000
/** Most bytes of all files below an application's path. */
export const TREE_MAX_BYTES = 64 * 1024 * 1024
/** Largest single file; a larger one is left out and told of. */
export const TREE_MAX_FILE_BYTES = 16 * 1024 * 1024
const MAX_LINKS = 40
const SUBMODULE = 'a submodule; spec.submodules of the Repository has it fetched'
const MAX_LINK_BYTES = 4_096
const MAX_DEPTH = 100

/** What is read besides the plain files of the commit. */
export interface ReadOptions {
  /** Folder of contents that Git LFS pointers stand for, by oid; undefined: pointers are skipped. */
  readonly lfsFolder?: string | undefined
  /** What was looked at before, which many paths of one repository share; default nothing. */
  readonly folders?: FolderCache
}

/** Reads every file below `path` (a folder, a file, or empty for the root) at a commit. Throws FetchFailed when the commit is not there or damaged, PathNotFound, UnsafePath, LimitExceeded. */
export function readSourceTree(
  source: ObjectSource,
  commit: string,
  path: string,
  options: ReadOptions = {},
): SourceTree & { readonly missingLfs: readonly LfsPointer[] } {
  const walk = new Walk(source, commit, { ...options, readsFiles: true })
  const { treeOid } = walk.run(path)
  return {
    commit,
    treeOid,
    missingLfs: walk.missingLfs,
    files: shareMemory(walk.files.sort(byPath)),
    skipped: walk.skipped.sort(byPath),
  }
}

/** The treeOid that readSourceTree would give, without reading a file. Throws the same. */
export function findTreeOid(source: ObjectSource, commit: string, path: string, options: ReadOptions = {}): string {
  return new Walk(source, commit, { ...options, readsFiles: false }).run(path).treeOid
}

/** A path as readSourceTree takes it: without leading `./` and trailing or double slashes. Throws UnsafePath for an absolute one and for `..`. */
export function normalizePath(path: string): string {
  const parts = path.split('/').filter((part) => part !== '' && part !== '.')
  if (path.startsWith('/') || parts.includes('..') || path.includes('\0')) {
    throw new AppError('UnsafePath', 'the path must be relative and without ".."', { context: { file: path } })
  }
  return parts.join('/')
}

interface Found extends TreeEntry {
  /** Where it really is, links followed. */
  readonly realPath: readonly string[]
}

interface MutableFile {
  readonly path: string
  readonly mode: string
  bytes: Uint8Array
}

class Walk {
  readonly files: MutableFile[] = []
  readonly skipped: SkippedEntry[] = []
  readonly #source: ObjectSource
  readonly #root: string
  readonly #readsFiles: boolean
  readonly #lfsFolder: string | undefined
  readonly #folders: FolderCache
  /** What is not in the folder yet. */
  readonly missingLfs: LfsPointer[] = []
  #entries = 0
  #files = 0
  #bytes = 0
  #hasLinks = false
  #hasSubmodules = false
  /** Since it was set back. */
  #meetsSubmodules = false

  constructor(
    source: ObjectSource,
    commit: string,
    { readsFiles, lfsFolder, folders = new FolderCache() }: ReadOptions & { readonly readsFiles: boolean },
  ) {
    const found = findCommit(source, commit)
    if (found === undefined) throw damaged(`commit ${commit} is missing`)
    this.#source = source
    this.#root = found.tree
    this.#readsFiles = readsFiles
    this.#lfsFolder = lfsFolder
    this.#folders = folders
  }

  run(path: string): { treeOid: string } {
    const normal = normalizePath(path)
    const found = this.#resolve(normal === '' ? [] : normal.split('/'))
    if ('code' in found) throw new AppError(found.code, found.message, { context: { file: normal } })
    if (found.mode === '160000')
      throw new AppError('PathNotFound', `${normal} is a submodule`, { context: { file: normal } })
    if (found.mode === '40000') this.#ownFolder(found, normal)
    else this.#file(found, normal)
    // What a link leads to may lie outside the folder: then any change of the repository may be one of the folder.
    const links = this.#hasLinks ? `+${this.#root}` : ''
    // The same tree reads otherwise once submodules and LFS are allowed.
    const options = `${this.#hasSubmodules ? '+submodules' : ''}${this.#lfsFolder === undefined ? '' : '+lfs'}`
    return { treeOid: `${found.oid}${links}${options}` }
  }

  #ownFolder(folder: Found, path: string): void {
    // An id says all of what is below, so that what is so once is so for ever.
    if (!this.#readsFiles && this.#folders.isPlain(folder.oid)) return
    this.#meetsSubmodules = false
    this.#folder(folder, path, [])
    if (!this.#hasLinks && !this.#meetsSubmodules) this.#folders.addPlain(folder.oid)
  }

  #folder(folder: Found, path: string, ancestors: readonly string[]): void {
    if (ancestors.length > MAX_DEPTH) throw this.#tooMuch(`is nested deeper than ${MAX_DEPTH} folders`, path)
    const inside = [...ancestors, folder.realPath.join('/')]
    for (const entry of this.#entriesOf(folder.oid)) {
      this.#entries++
      if (this.#entries > TREE_MAX_ENTRIES) throw this.#tooMuch(`has more than ${TREE_MAX_ENTRIES} entries`, path)
      const below = path === '' ? entry.name : `${path}/${entry.name}`
      if (!isSafeName(entry.name)) this.#skip('file', below, 'UnsafePath', 'the name leads out of its folder')
      else this.#entry({ ...entry, realPath: [...folder.realPath, entry.name] }, below, inside)
    }
  }

  #entry(entry: Found, path: string, ancestors: readonly string[]): void {
    if (entry.mode === '40000') this.#folder(entry, path, ancestors)
    else if (entry.mode === '160000') this.#skip('submodule', path, 'InvalidManifest', SUBMODULE)
    else if (entry.mode === '120000') this.#link(entry, path, ancestors)
    else this.#file(entry, path)
  }

  #link(link: Found, path: string, ancestors: readonly string[]): void {
    const target = this.#resolve(link.realPath)
    if ('code' in target) {
      this.#skip('symlink', path, target.code, target.message)
    } else if (target.mode === '160000') {
      this.#skip('submodule', path, 'InvalidManifest', SUBMODULE)
    } else if (target.mode !== '40000') {
      this.#file(target, path)
    } else if (ancestors.some((ancestor) => isWithin(ancestor, target.realPath.join('/')))) {
      this.#skip('symlink', path, 'UnsafePath', 'the link leads to a folder that it is in')
    } else {
      this.#folder(target, path, ancestors)
    }
  }

  #file(file: Found, path: string): void {
    this.#files++
    if (this.#files > TREE_MAX_FILES) throw this.#tooMuch(`has more than ${TREE_MAX_FILES} files`, path)
    if (!this.#readsFiles) return
    const data = this.#blob(file.oid, path)
    if (data === undefined) return
    const bytes = isLfsPointer(data) ? this.#lfsContent(findLfsPointer(data), path) : data
    if (bytes === undefined) return
    this.#count(bytes.length, path)
    this.files.push({ path, mode: file.mode === '100755' ? '100755' : '100644', bytes })
  }

  #count(sizeBytes: number, path: string): void {
    this.#bytes += sizeBytes
    if (this.#bytes > TREE_MAX_BYTES) throw this.#tooMuch(`has more than ${TREE_MAX_BYTES} bytes`, path)
  }

  #lfsContent(pointer: LfsPointer | undefined, path: string): Buffer | undefined {
    if (this.#lfsFolder === undefined) {
      this.#skip('file', path, 'InvalidManifest', 'a Git LFS pointer; spec.lfs of the Repository has it downloaded')
      return undefined
    }
    if (pointer === undefined) {
      this.#skip('file', path, 'InvalidManifest', 'a Git LFS pointer that cannot be read')
      return undefined
    }
    const { sizeBytes } = pointer
    if (sizeBytes > TREE_MAX_FILE_BYTES) {
      this.#skip(
        'file',
        path,
        'LimitExceeded',
        `the file is too large: ${sizeBytes} bytes; the limit is ${TREE_MAX_FILE_BYTES}`,
      )
      return undefined
    }
    const content = readLfs(this.#lfsFolder, pointer)
    if (content !== undefined) return content
    // Before it is downloaded, which might fill the disk.
    this.#count(sizeBytes, path)
    this.missingLfs.push(pointer)
    return undefined
  }

  /** Submodules whose commit is here are folders. */
  #entriesOf(tree: string): TreeEntry[] {
    return readTreeEntries(this.#source, tree).map((entry) => {
      if (entry.mode !== '160000') return entry
      this.#meetsSubmodules = true
      const commit = findCommit(this.#source, entry.oid)
      if (commit === undefined) return entry
      this.#hasSubmodules = true
      return { ...entry, mode: '40000', oid: commit.tree }
    })
  }

  #blob(oid: string, path: string): Buffer | undefined {
    try {
      const object = this.#source.find(oid, TREE_MAX_FILE_BYTES)
      if (object?.type !== 'blob') throw damaged(`object ${oid}`)
      return object.data
    } catch (error) {
      if (!(error instanceof AppError) || error.code !== 'LimitExceeded') throw error
      this.#skip('file', path, 'LimitExceeded', `the file is too large: ${error.message}`)
      return undefined
    }
  }

  /** Follows a path from the root, links included, also a link at its end. */
  #resolve(path: readonly string[]): Found | { code: ErrorCode; message: string } {
    const real: Found[] = []
    const rest = [...path]
    for (let links = 0; rest.length > 0; ) {
      const name = rest.shift() ?? ''
      if (name === '' || name === '.') continue
      if (name === '..') {
        if (real.length === 0) return { code: 'UnsafePath', message: 'the link leads out of the repository' }
        real.pop()
        continue
      }
      const parent = real.at(-1) ?? this.#rootFolder()
      const entry = parent.mode === '40000' ? this.#entryOf(parent.oid, name) : undefined
      if (entry === undefined)
        return { code: 'PathNotFound', message: `there is no ${[...parent.realPath, name].join('/')}` }
      if (entry.mode !== '120000') {
        real.push({ ...entry, realPath: [...parent.realPath, name] })
        continue
      }
      this.#hasLinks = true
      links++
      const target = this.#linkTarget(entry.oid)
      if (links > MAX_LINKS) return { code: 'UnsafePath', message: 'the links lead in a circle' }
      if (target === undefined || target.startsWith('/')) {
        return { code: 'UnsafePath', message: 'the link leads out of the repository' }
      }
      rest.unshift(...target.split('/'))
    }
    return real.at(-1) ?? this.#rootFolder()
  }

  #rootFolder(): Found {
    return { mode: '40000', name: '', oid: this.#root, realPath: [] }
  }

  #entryOf(tree: string, name: string): TreeEntry | undefined {
    const known = this.#folders.find(tree)
    if (known) return known.get(name)
    this.#meetsSubmodules = false
    // Of one name, which only a hostile tree holds twice, the first.
    const entries = new Map(
      this.#entriesOf(tree)
        .toReversed()
        .map((entry) => [entry.name, entry]),
    )
    // Whether a submodule is a folder depends on what was fetched.
    if (!this.#meetsSubmodules) this.#folders.add(tree, entries)
    return entries.get(name)
  }

  #linkTarget(oid: string): string | undefined {
    const object = this.#source.find(oid)
    const isLink = object?.type === 'blob' && object.data.length <= MAX_LINK_BYTES && !object.data.includes(0)
    return isLink ? object.data.toString('utf8') : undefined
  }

  #skip(kind: SkippedEntry['kind'], path: string, code: ErrorCode, message: string): void {
    this.skipped.push({ path, kind, code, message })
  }

  #tooMuch(what: string, file: string): AppError {
    return new AppError('LimitExceeded', `the application's path ${what}`, { context: { file } })
  }
}

function isWithin(path: string, folder: string): boolean {
  return folder === '' || path === folder || path.startsWith(`${folder}/`)
}

function isSafeName(name: string): boolean {
  return name !== '' && name !== '.' && name !== '..' && !name.includes('/')
}

/** Puts all files into one shared buffer, which crosses to other threads without a copy. */
function shareMemory(files: MutableFile[]): MutableFile[] {
  const memory = new SharedArrayBuffer(files.reduce((sum, { bytes }) => sum + bytes.length, 0))
  let position = 0
  for (const file of files) {
    const view = new Uint8Array(memory, position, file.bytes.length)
    view.set(file.bytes)
    position += view.length
    file.bytes = view
  }
  return files
}

function byPath(a: { readonly path: string }, b: { readonly path: string }): number {
  return a.path < b.path ? -1 : a.path > b.path ? 1 : 0
}

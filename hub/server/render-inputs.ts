// Reads what a render needs, folder by folder: the application's own, and what it turns out to refer to elsewhere in the
// repository. What was read is what the inputs are hashed over.
import { AppError, toAppError } from '@fairlead/shared/errors'
import type { ReadPath, RenderInputs, RenderOptions } from './renderer/render.ts'
import type { SkippedEntry, SourceFile, SourceTree } from './tracker/source-tree.ts'

/** Reads folders out of repositories. */
export interface TreeReader {
  readTree(repository: string, commit: string, path: string, signal: AbortSignal): Promise<SourceTree>
  /** The id of each path's tree, without reading files; undefined where readTree would reject. */
  findTreeOids(
    repository: string,
    commit: string,
    paths: readonly string[],
    signal: AbortSignal,
  ): Promise<readonly (string | undefined)[]>
}

/** Where to read. */
export interface ReadFrom extends Pick<RenderOptions, 'path'> {
  readonly repository: string
  readonly commit: string
}

/** Most bytes of all files of one render. */
export const INPUTS_MAX_BYTES = 64 * 1024 * 1024
/** Most files and folders elsewhere that one render may refer to. */
export const INPUTS_MAX_PATHS = 1_000

/** Errors that say of a path that nothing is there which could be rendered: for the render to tell, with the line that refers to it. */
const ABSENT = ['PathNotFound', 'UnsafePath']

/** What one render reads. */
export class InputsReader {
  readonly #trees: Pick<TreeReader, 'readTree'>
  readonly #from: ReadFrom
  readonly #read = new Map<string, string | null>()
  readonly #files = new Map<string, SourceFile>()
  readonly #skipped = new Map<string, SkippedEntry>()
  #sizeBytes = 0

  constructor(trees: Pick<TreeReader, 'readTree'>, from: ReadFrom) {
    this.#trees = trees
    this.#from = from
  }

  /** Reads the application's own folder. Throws as TreeReader does. */
  async readOwn(signal: AbortSignal): Promise<void> {
    const { repository, commit, path } = this.#from
    this.#add(path, await this.#trees.readTree(repository, commit, path, signal))
  }

  /** Reads files and folders elsewhere; one that is not there is noted as such. Throws LimitExceeded, or as TreeReader does. */
  async readMore(paths: readonly string[], signal: AbortSignal): Promise<void> {
    const { repository, commit } = this.#from
    for (const path of paths) {
      if (this.#read.has(path)) throw new AppError('Internal', `${path} was read before, and is asked for again`)
      if (this.#read.size > INPUTS_MAX_PATHS) throw this.#tooMuch(`more than ${INPUTS_MAX_PATHS} files and folders`)
      try {
        this.#add(path, await this.#trees.readTree(repository, commit, path, signal))
      } catch (error) {
        const { code, message } = toAppError(error)
        if (!ABSENT.includes(code)) throw error
        this.#read.set(path, null)
        if (code === 'UnsafePath') this.#skipped.set(path, { path, kind: 'symlink', code, message })
      }
    }
  }

  /** What the renderer is given. */
  get inputs(): RenderInputs {
    return {
      read: [...this.#read.keys()],
      files: [...this.#files.values()],
      skipped: [...this.#skipped.values()],
    }
  }

  /** What was read, with what Git has there. */
  get read(): readonly ReadPath[] {
    return [...this.#read]
  }

  #add(path: string, { treeOid, files, skipped }: SourceTree): void {
    this.#read.set(path, treeOid)
    for (const file of files) {
      if (!this.#files.has(file.path)) this.#sizeBytes += file.bytes.length
      this.#files.set(file.path, file)
    }
    for (const entry of skipped) this.#skipped.set(entry.path, entry)
    if (this.#sizeBytes > INPUTS_MAX_BYTES) throw this.#tooMuch(`files of more than ${INPUTS_MAX_BYTES} bytes`)
  }

  #tooMuch(what: string): AppError {
    const message = `the application refers to ${what} of its repository`
    return new AppError('LimitExceeded', message, { context: { file: this.#from.path } })
  }
}

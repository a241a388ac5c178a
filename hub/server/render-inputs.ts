// Reads what a render needs, folder by folder: the application's own, what it turns out to refer to elsewhere in the
// repository, and what it has from other repositories. What was read is what the inputs are hashed over.
import { AppError, toAppError } from '@fairlead/shared/errors'
import { type BaseMount, type ChartMount, findMount, formatReadChart, type ValuesMount } from './mounts.ts'
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
  /** Where a version of a chart is, by the address of its repository; brings it. Rejects with NotFound when no Repository has that address, or with why it cannot be had. */
  findChart(
    chart: Pick<ChartMount, 'address' | 'name' | 'version'>,
    signal: AbortSignal,
  ): Promise<{ readonly repository: string; readonly commit: string }>
  /** The repository with that address, which gives bases to the repository `user`; brings the commit. Rejects with NotFound when there is none, FailedPrecondition when it gives none, or with why it cannot be had. */
  findBase(
    base: Pick<BaseMount, 'address' | 'commit'> & { readonly user: string },
    signal: AbortSignal,
  ): Promise<string>
}

/** What is read for one render. */
export type InputsSource = Pick<TreeReader, 'readTree' | 'findChart' | 'findBase'>

/** A ref of another repository, and the commit that it stands for. */
export interface OtherCommit {
  readonly repository: string
  readonly ref: string
  readonly commit: string
}

/** Where to read. */
export interface ReadFrom extends Pick<RenderOptions, 'path'> {
  readonly repository: string
  readonly commit: string
  /** Of the repositories that value files come from; default none. */
  readonly others?: readonly OtherCommit[]
}

/** Most bytes of all files of one render. */
export const INPUTS_MAX_BYTES = 64 * 1024 * 1024
/** Most files and folders elsewhere that one render may refer to. */
export const INPUTS_MAX_PATHS = 1_000

/** Errors that say of a path that nothing is there which could be rendered: for the render to tell, with the line that refers to it. */
const ABSENT = ['PathNotFound', 'UnsafePath']

/** The commit that value files of another repository are read at. Throws RefNotFound while it is not known. */
export function findOtherCommit({ others = [] }: Pick<ReadFrom, 'others'>, { repository, ref }: ValuesMount): string {
  const found = others.find((other) => other.repository === repository && other.ref === ref)
  if (found) return found.commit
  const what = ref === '' ? 'its default branch' : ref
  throw new AppError('RefNotFound', `value files of Repository/${repository} cannot be read: ${what} is not known yet`)
}

/** What one render reads. */
export class InputsReader {
  readonly #trees: InputsSource
  readonly #from: ReadFrom
  readonly #read = new Map<string, ReadPath>()
  readonly #files = new Map<string, SourceFile>()
  readonly #skipped = new Map<string, SkippedEntry>()
  #sizeBytes = 0

  constructor(trees: InputsSource, from: ReadFrom) {
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
    for (const path of paths) {
      if (this.#read.has(path)) throw new AppError('Internal', `${path} was read before, and is asked for again`)
      if (this.#read.size > INPUTS_MAX_PATHS) throw this.#tooMuch(`more than ${INPUTS_MAX_PATHS} files and folders`)
      const mount = findMount(path)
      if (mount?.kind === 'chart') await this.#readChart(path, mount, signal)
      else if (mount?.kind === 'base') await this.#readBase(path, mount, signal)
      else await this.#readFiles(path, mount, signal)
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
    return [...this.#read.values()]
  }

  async #readFiles(path: string, mount: ValuesMount | undefined, signal: AbortSignal): Promise<void> {
    const from = mount
      ? { repository: mount.repository, commit: findOtherCommit(this.#from, mount), path: mount.path }
      : { ...this.#from, path }
    try {
      const tree = await this.#trees.readTree(from.repository, from.commit, from.path, signal)
      this.#add(path, mount ? moved(tree, path.slice(0, -mount.path.length)) : tree)
    } catch (error) {
      const { code, message } = toAppError(error)
      if (!ABSENT.includes(code)) throw error
      this.#read.set(path, [path, null])
      if (code === 'UnsafePath') this.#skipped.set(path, { path, kind: 'symlink', code, message })
    }
  }

  async #readChart(path: string, mount: ChartMount, signal: AbortSignal): Promise<void> {
    try {
      const { repository, commit } = await this.#trees.findChart(mount, signal)
      this.#add(path, moved(await this.#trees.readTree(repository, commit, '', signal), `${path}/`))
      // A package never changes: what was read is known by its digest, wherever it may be had later.
      this.#read.set(path, [formatReadChart(path, commit), commit])
    } catch (error) {
      signal.throwIfAborted()
      const { code, message } = toAppError(error)
      const file = this.#from.path === '' ? 'Chart.yaml' : `${this.#from.path}/Chart.yaml`
      const what = `the dependency ${mount.name} ${mount.version} cannot be had: ${message}`
      throw new AppError(code === 'LimitExceeded' ? code : 'DependencyUnavailable', what, {
        context: { file },
        cause: error,
      })
    }
  }

  async #readBase(path: string, mount: BaseMount, signal: AbortSignal): Promise<void> {
    const user = this.#from.repository
    try {
      const repository = await this.#trees.findBase({ ...mount, user }, signal)
      const tree = await this.#trees.readTree(repository, mount.commit, mount.path, signal)
      this.#add(path, moved(tree, mount.path === '' ? `${path}/` : path.slice(0, -mount.path.length)))
      // A commit never changes.
      this.#read.set(path, [path, mount.commit])
    } catch (error) {
      signal.throwIfAborted()
      const { code, message } = toAppError(error)
      if (ABSENT.includes(code)) {
        this.#read.set(path, [path, null])
        return
      }
      const what = `the remote base ${mount.address} at ${mount.commit.slice(0, 12)} cannot be had: ${message}`
      const context = { file: this.#from.path }
      throw new AppError(code === 'LimitExceeded' ? code : 'DependencyUnavailable', what, { context, cause: error })
    }
  }

  #add(path: string, { treeOid, files, skipped }: SourceTree): void {
    this.#read.set(path, [path, treeOid])
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

/** The same files at other paths. */
function moved(tree: SourceTree, prefix: string): SourceTree {
  const move = <T extends { readonly path: string }>(entry: T): T => ({ ...entry, path: `${prefix}${entry.path}` })
  return { ...tree, files: tree.files.map(move), skipped: tree.skipped.map(move) }
}

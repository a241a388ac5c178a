// One repository's packages on disk. Nothing here is precious: what is deleted or damaged is fetched again.
import { randomUUID } from 'node:crypto'
import { existsSync, mkdirSync, readdirSync, rmSync } from 'node:fs'
import { readdir, rename, rm, stat, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { createWorkerPool, type WorkerPool, workerUrl } from '../../worker-pool.ts'
import type { TreeStore } from '../ref-source.ts'
import type { SourceTree } from '../source-tree.ts'
import type { HelmIndexAnswer, PackageRequest } from './package-worker.ts'
import { filesOf } from './stored-package.ts'

/** The threads that read packages. */
export function createPackageWorkers(): WorkerPool {
  return createWorkerPool({ url: workerUrl('package-worker', import.meta.url), size: 2, heapMegabytes: 1_024 })
}

/** The folder of a repository's packages. */
export function packagesFolder(gitDir: string, repository: string): string {
  return path.join(gitDir, `${repository}.packages`)
}

/** A package as it came. */
export interface FetchedPackage {
  readonly digest: string
  readonly archive: Buffer
  /** Of an OCI artifact. */
  readonly manifest?: Buffer | undefined
  readonly isChart: boolean
}

/** What one repository's packages may take on disk. */
export const PACKAGES_MAX_BYTES = 1024 ** 3
const PACKAGES_MAX_COUNT = 200
const WORK_TIMEOUT_MS = 60_000
const PARTIAL = '.tmp'

/** The packages of one repository. */
export class PackageStore implements TreeStore {
  readonly folder: string
  readonly #workers: WorkerPool
  readonly #maxBytes: number

  constructor(folder: string, workers: WorkerPool, maxBytes: number = PACKAGES_MAX_BYTES) {
    this.folder = folder
    this.#workers = workers
    this.#maxBytes = maxBytes
    mkdirSync(folder, { recursive: true, mode: 0o700 })
    for (const name of readdirSync(folder)) if (name.endsWith(PARTIAL)) rmSync(path.join(folder, name), { force: true })
  }

  /** True for a package that is there; whether it is whole shows when it is read. */
  has(digest: string): boolean {
    return existsSync(filesOf({ folder: this.folder, digest }).archive)
  }

  /** Keeps a package whose bytes were checked against its digest, if it can be unpacked. Rejects as unpack does. */
  async save({ digest, archive, manifest, isChart }: FetchedPackage, signal: AbortSignal): Promise<void> {
    await this.#ask({ verb: 'check', archive, isChart }, signal)
    const files = filesOf({ folder: this.folder, digest })
    // The archive last: with it the package is there.
    if (manifest) await this.#write(files.manifest, manifest)
    else await rm(files.manifest, { force: true })
    await this.#write(files.archive, archive)
    await this.#makeRoom(digest)
  }

  async readTree(commit: string, below: string, { signal }: { readonly signal: AbortSignal }): Promise<SourceTree> {
    const request = { verb: 'read-tree', folder: this.folder, digest: commit, path: below } as const
    return (await this.#ask(request, signal)) as SourceTree
  }

  async listFolders(commit: string, pattern: string, signal: AbortSignal): Promise<readonly string[]> {
    const request = { verb: 'list-folders', folder: this.folder, digest: commit, pattern } as const
    return (await this.#ask(request, signal)) as readonly string[]
  }

  async findTreeOids(
    commit: string,
    paths: readonly string[],
    { signal }: { readonly signal: AbortSignal },
  ): Promise<readonly (string | undefined)[]> {
    const request = { verb: 'find-tree-oids', folder: this.folder, digest: commit, paths } as const
    return (await this.#ask(request, signal)) as readonly (string | undefined)[]
  }

  /** The versions of some charts in the index of a Helm repository. Rejects as parseHelmIndex throws. */
  async readIndex(index: Uint8Array, charts: readonly string[], signal: AbortSignal): Promise<HelmIndexAnswer> {
    return (await this.#ask({ verb: 'read-index', index, charts }, signal)) as HelmIndexAnswer
  }

  #ask(request: PackageRequest, signal: AbortSignal): Promise<unknown> {
    return this.#workers.run(request, { signal, timeoutMs: WORK_TIMEOUT_MS })
  }

  async #write(file: string, content: Uint8Array): Promise<void> {
    const partial = `${file}.${randomUUID()}${PARTIAL}`
    await writeFile(partial, content)
    await rename(partial, file)
  }

  /** Removes what was used longest ago, but not the newest one. */
  async #makeRoom(newest: string): Promise<void> {
    const names = (await readdir(this.folder)).filter((name) => name.endsWith('.tgz'))
    const archives = await Promise.all(
      names.map(async (name) => {
        const { size, mtimeMs } = await stat(path.join(this.folder, name))
        return { digest: name.slice(0, -'.tgz'.length), size, mtimeMs }
      }),
    )
    let sizeBytes = 0
    const byUse = archives.sort((a, b) => b.mtimeMs - a.mtimeMs)
    for (const [index, { digest, size }] of byUse.entries()) {
      sizeBytes += size
      if ((sizeBytes <= this.#maxBytes && index < PACKAGES_MAX_COUNT) || digest === newest) continue
      const files = filesOf({ folder: this.folder, digest })
      await rm(files.archive, { force: true })
      await rm(files.manifest, { force: true })
    }
  }
}

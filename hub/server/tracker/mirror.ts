// One repository's objects on disk: fetches what is missing, and everything anew when what is there cannot be used.
// Nothing here is precious: a mirror that is deleted or damaged is fetched again.
import { randomBytes } from 'node:crypto'
import { existsSync, readdirSync, rmSync } from 'node:fs'
import { readdir, rename, rm } from 'node:fs/promises'
import path from 'node:path'
import { AppError, toAppError } from '@fairlead/shared/errors'
import type { WorkerPool } from '../worker-pool.ts'
import type { ListedRef } from './git-fetch.ts'
import { type GitRemote, GitServerBusy } from './git-http.ts'
import { damaged } from './git-object.ts'
import type { BusyAnswer, CommitsAnswer, GitRequest, TreeOidsAnswer } from './git-worker.ts'
import type { LfsPointer } from './lfs.ts'
import { type LfsLimits, LfsStore } from './lfs-store.ts'
import { fetchByGit } from './native-git.ts'
import type { TreeStore } from './ref-source.ts'
import type { SignatureQuestion } from './signature-check.ts'
import type { readSourceTree } from './source-reader.ts'
import type { SourceTree } from './source-tree.ts'
import type { MissingSubmodule } from './submodules.ts'

/** Largest pack that isomorphic-git takes, in bytes; packs come without history. */
export const PACK_MAX_BYTES = 50 * 1024 * 1024
/** Largest pack that git takes, in bytes; it is read into memory to read from it. */
export const GIT_PACK_MAX_BYTES = 512 * 1024 * 1024
/** With this many packs everything is fetched anew into one. */
export const MIRROR_MAX_PACKS = 50
const WORK_TIMEOUT_MS = 60_000
/** How names of repositories begin that are not complete. */
const PARTIAL = 'tmp-'
const LFS = 'lfs'

/** What mirrors work with. */
export interface MirrorContext {
  /** Read trees. */
  readonly readers: WorkerPool
  /** Fetch; others than the readers, because a fetch waits for its server. */
  readonly fetchers: WorkerPool
  /** Longest fetch in milliseconds. */
  readonly fetchTimeoutMs: number
  /** Folder for keys and other files while git runs; nobody else may read it. */
  readonly scratchDir: string
  /** Largest pack in bytes that isomorphic-git takes. */
  readonly maxPackBytes: number
  /** Largest pack in bytes that git takes where that is not enough, or over SSH. */
  readonly maxGitPackBytes: number
  /** With this many packs everything is fetched anew into one. */
  readonly maxPacks: number
  /** What contents of Git LFS may take on disk; default LFS_LIMITS. */
  readonly lfsLimits?: LfsLimits | undefined
}

/** Downloads what Git LFS pointers stand for into a folder. */
export type LfsReader = (pointers: readonly LfsPointer[], folder: string, signal: AbortSignal) => Promise<void>

/** A commit to fetch. */
export interface Want {
  /** Id of the commit. */
  readonly oid: string
  /** The commit that the ref pointed at before; it is in the mirror. */
  readonly last?: string | undefined
}

/** The commit that came, or why it did not. */
export type FetchOutcome = string | AppError

/** One repository's objects. */
export class Mirror implements TreeStore {
  /** Holds one bare repository, whose name tells its age; a newer one takes its place when it is complete. */
  readonly folder: string
  readonly #context: MirrorContext
  readonly #reads = new Set<Promise<unknown>>()
  /** Outlives the repositories that take each other's place. */
  readonly #lfs: LfsStore
  #current: string | undefined
  #packs = 0

  constructor(folder: string, context: MirrorContext) {
    this.folder = folder
    this.#context = context
    this.#lfs = new LfsStore(path.join(folder, LFS), context.lfsLimits)
    // What a fetch left that was cut off by the end of the process.
    for (const name of existsSync(folder) ? readdirSync(folder) : []) {
      if (name.startsWith(PARTIAL)) rmSync(path.join(folder, name), { recursive: true, force: true })
    }
  }

  /** True when the next fetch should take everything anew; each of `wanted` commits takes a pack then. */
  isCrowded(wanted: number): boolean {
    return this.#packs >= this.#context.maxPacks + wanted - 1
  }

  /** For each id the commit that it names, or undefined when it is not here. */
  async findCommits(oids: readonly string[], signal: AbortSignal): Promise<readonly (string | undefined)[]> {
    if (oids.length === 0) return []
    const answer = await this.#read((gitDir) => ({ verb: 'find-commits', gitDir, oids }), signal)
    return this.#keepCount(answer as CommitsAnswer)
  }

  /** Fetches one commit into what is here: with the history since `want.last`, or without any. Rejects as fetchCommit does. */
  async fetch(remote: GitRemote, want: Want, signal: AbortSignal): Promise<string> {
    const gitDir = await this.#findCurrent()
    if (gitDir !== undefined) return await this.#fetchInto(gitDir, remote, want, signal)
    const [commit] = await this.replace(remote, [{ oid: want.oid }], signal)
    if (typeof commit !== 'string') throw commit ?? missing(want.oid)
    return commit
  }

  /** Fetches all of `wants` without their history into a new repository, which takes the place of the old one if each is there, or at least its `last`. Rejects when that is not so, and for what concerns the whole repository. */
  async replace(remote: GitRemote, wants: readonly Want[], signal: AbortSignal): Promise<readonly FetchOutcome[]> {
    // Sorts by time: the newest is the current one.
    const name = `${String(Date.now()).padStart(15, '0')}-${randomBytes(4).toString('hex')}`
    const partial = path.join(this.folder, `${PARTIAL}${name}`)
    try {
      const outcomes: FetchOutcome[] = []
      for (const want of wants) outcomes.push(await this.#fetchAnew(partial, remote, want, signal))
      if (outcomes.some((outcome) => typeof outcome === 'string')) await this.#swap(partial, name)
      return outcomes
    } finally {
      await rm(partial, { recursive: true, force: true })
    }
  }

  /** All refs in the old way. Rejects as listAllRefs does. */
  async listRefs(remote: GitRemote, timeoutMs: number, signal: AbortSignal): Promise<readonly ListedRef[]> {
    return (await this.#ask({ verb: 'list-refs', remote, timeoutMs }, timeoutMs, signal)) as readonly ListedRef[]
  }

  /** Every file below a path at a commit; with `lfs`, what Git LFS pointers stand for, which it downloads when it is missing. Rejects as readSourceTree throws. */
  async readTree(
    commit: string,
    below: string,
    { lfs, signal }: { readonly lfs: LfsReader | undefined; readonly signal: AbortSignal },
  ): Promise<SourceTree> {
    const lfsFolder = lfs && this.#lfs.folder
    const read = async () => {
      const answer = await this.#read(
        (gitDir) => ({ verb: 'read-tree', gitDir, commit, path: below, lfsFolder }),
        signal,
      )
      const { missingLfs, ...tree } = answer as ReturnType<typeof readSourceTree>
      return { missingLfs, tree }
    }
    if (lfs === undefined) return (await read()).tree
    return await this.#lfs.use(async () => {
      const first = await read()
      if (first.missingLfs.length === 0) return first.tree
      try {
        await lfs(first.missingLfs, this.#lfs.folder, signal)
      } finally {
        this.#lfs.makeRoom()
      }
      const second = await read()
      if (second.missingLfs.length === 0) return second.tree
      throw new AppError('RepositoryUnreachable', 'contents of Git LFS vanished while they were read')
    })
  }

  async listFolders(commit: string, pattern: string, signal: AbortSignal): Promise<readonly string[]> {
    return (await this.#read(
      (gitDir) => ({ verb: 'list-folders', gitDir, commit, pattern }),
      signal,
    )) as readonly string[]
  }

  /** The submodules of a commit that are not here yet. Rejects as findMissingSubmodules throws. */
  async findMissingSubmodules(commit: string, url: string, signal: AbortSignal): Promise<readonly MissingSubmodule[]> {
    const answer = await this.#read((gitDir) => ({ verb: 'find-submodules', gitDir, commit, url }), signal)
    return answer as readonly MissingSubmodule[]
  }

  /** The treeOid of each path at a commit; undefined where reading it would fail. Rejects with FetchFailed for damage. */
  async findTreeOids(
    commit: string,
    paths: readonly string[],
    { withLfs, signal }: { readonly withLfs: boolean; readonly signal: AbortSignal },
  ): Promise<TreeOidsAnswer> {
    const lfsFolder = withLfs ? this.#lfs.folder : undefined
    const answer = await this.#read((gitDir) => ({ verb: 'find-tree-oids', gitDir, commit, paths, lfsFolder }), signal)
    return answer as TreeOidsAnswer
  }

  /** Resolves when a commit that is here is signed as asked. Rejects as checkSignature does. */
  async checkSignature(question: SignatureQuestion, signal: AbortSignal): Promise<void> {
    await this.#read((gitDir) => ({ verb: 'check-signature', gitDir, ...question }), signal)
  }

  async #fetchAnew(gitDir: string, remote: GitRemote, want: Want, signal: AbortSignal): Promise<FetchOutcome> {
    try {
      return await this.#fetchInto(gitDir, remote, { oid: want.oid }, signal)
    } catch (error) {
      if (!isOfOneCommit(error)) throw error
      if (want.last !== undefined) await this.#fetchInto(gitDir, remote, { oid: want.last }, signal)
      return error
    }
  }

  async #fetchInto(gitDir: string, remote: GitRemote, { oid, last }: Want, signal: AbortSignal): Promise<string> {
    const { fetchTimeoutMs: timeoutMs, maxPackBytes, maxGitPackBytes } = this.#context
    // isomorphic-git knows neither SSH nor SHA-256.
    if (remote.ssh || oid.length === 64) return await this.#fetchByGit(gitDir, remote, oid, signal)
    try {
      const request: GitRequest = { verb: 'fetch', gitDir, remote, oid, have: last, maxPackBytes, timeoutMs }
      const [commit] = this.#keepCount((await this.#ask(request, timeoutMs, signal)) as CommitsAnswer)
      if (commit === undefined) throw missing(oid)
      return commit
    } catch (error) {
      // With history it is tried without first.
      const isLarge = error instanceof AppError && error.code === 'LimitExceeded' && last === undefined
      if (!isLarge || maxGitPackBytes <= maxPackBytes) throw error
      return await this.#fetchByGit(gitDir, remote, oid, signal).catch((other: unknown) => {
        const { code, message } = toAppError(other)
        if (code === 'LimitExceeded' || code === 'Aborted') throw other
        throw new AppError('LimitExceeded', `${error.message}; ${message}`, { cause: other })
      })
    }
  }

  async #fetchByGit(gitDir: string, remote: GitRemote, oid: string, signal: AbortSignal): Promise<string> {
    const { fetchTimeoutMs: timeoutMs, maxGitPackBytes: maxPackBytes, scratchDir } = this.#context
    await fetchByGit({ gitDir, remote, oid, maxPackBytes, scratchDir, timeoutMs, signal })
    const request: GitRequest = { verb: 'find-commits', gitDir, oids: [oid] }
    const [commit] = this.#keepCount((await this.#ask(request, WORK_TIMEOUT_MS, signal)) as CommitsAnswer)
    if (commit === undefined) throw missing(oid)
    return commit
  }

  async #swap(partial: string, name: string): Promise<void> {
    const reads = [...this.#reads]
    const names = (await readdir(this.folder)).filter((each) => each !== LFS)
    this.#current = path.join(this.folder, name)
    await rename(partial, this.#current)
    await Promise.allSettled(reads)
    for (const old of names) await rm(path.join(this.folder, old), { recursive: true, force: true })
  }

  async #findCurrent(): Promise<string | undefined> {
    if (this.#current !== undefined && existsSync(this.#current)) return this.#current
    const names = existsSync(this.folder) ? await readdir(this.folder) : []
    const newest = names
      .filter((name) => /^\d{15}-/.test(name))
      .sort()
      .at(-1)
    this.#current = newest === undefined ? undefined : path.join(this.folder, newest)
    return this.#current
  }

  async #read(request: (gitDir: string) => GitRequest, signal: AbortSignal): Promise<unknown> {
    const gitDir = (await this.#findCurrent()) ?? this.folder
    const answer = this.#context.readers.run(request(gitDir), { signal, timeoutMs: WORK_TIMEOUT_MS })
    this.#reads.add(answer)
    try {
      return await answer
    } finally {
      this.#reads.delete(answer)
    }
  }

  /** Asks a fetcher, which ends by itself within `timeoutMs` and the time to index. */
  async #ask(request: GitRequest, timeoutMs: number, signal: AbortSignal): Promise<unknown> {
    const answer = await this.#context.fetchers.run(request, { signal, timeoutMs: timeoutMs + WORK_TIMEOUT_MS })
    if (isBusy(answer)) throw new GitServerBusy(answer.busy.message, answer.busy.retryAfterMs)
    return answer
  }

  #keepCount({ commits, packs }: CommitsAnswer): readonly (string | undefined)[] {
    this.#packs = packs
    return commits
  }
}

/** The folder of a repository's mirror. */
export function mirrorFolder(gitDir: string, repository: string): string {
  return path.join(gitDir, `${repository}.git`)
}

/** Removes the folders of mirrors and packages that are none of these. */
export async function removeMirrors(gitDir: string, kept: ReadonlySet<string>): Promise<void> {
  for (const name of await readdir(gitDir)) {
    const folder = path.join(gitDir, name)
    if (/\.(?:git|packages)$/.test(name) && !kept.has(folder)) await rm(folder, { recursive: true, force: true })
  }
}

/** True for failures of a fetch that concern the commit; the others concern the whole repository. */
export function isOfOneCommit(error: unknown): error is AppError {
  return error instanceof AppError && ['FetchFailed', 'LimitExceeded', 'RefNotFound'].includes(error.code)
}

function isBusy(answer: unknown): answer is BusyAnswer {
  return typeof answer === 'object' && answer !== null && 'busy' in answer
}

function missing(oid: string): AppError {
  return damaged(`the server sends no commit ${oid}`)
}

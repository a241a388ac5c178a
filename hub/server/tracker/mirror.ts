// One repository's objects on disk: fetches what is missing, and everything anew when what is there cannot be used.
// Nothing here is precious: a mirror that is deleted or damaged is fetched again.
import { randomBytes } from 'node:crypto'
import path from 'node:path'
import type { WorkerPool } from '../worker-pool.ts'
import type { GitHttp, GitRemote } from './git-http.ts'
import { fetchPack, type GitProtocol } from './git-wire.ts'
import type { CommitsAnswer, GitRequest, TreeOidsAnswer } from './git-worker.ts'
import type { SourceTree } from './source-tree.ts'

/** Largest pack that is fetched, in bytes; packs come without history. */
export const PACK_MAX_BYTES = 50 * 1024 * 1024
/** With this many packs everything is fetched anew into one. */
export const MIRROR_MAX_PACKS = 50
const MAX_HAVES = 32
const WORK_TIMEOUT_MS = 60_000

/** What mirrors work with. */
export interface MirrorContext {
  readonly http: GitHttp
  readonly workers: WorkerPool
  /** Longest fetch in milliseconds. */
  readonly fetchTimeoutMs: number
  /** Largest pack in bytes. */
  readonly maxPackBytes: number
  /** With this many packs everything is fetched anew into one. */
  readonly maxPacks: number
}

/** How a fetch goes. */
export interface FetchOptions {
  readonly protocol: GitProtocol
  /** Commits that may be built upon, if they are here. */
  readonly haves: readonly string[]
  /** Fetch everything and drop what was there before. */
  readonly replace?: boolean
  readonly signal: AbortSignal
}

/** One repository's objects. */
export class Mirror {
  readonly gitDir: string
  readonly #context: MirrorContext
  #packs = 0

  constructor(gitDir: string, context: MirrorContext) {
    this.gitDir = gitDir
    this.#context = context
  }

  /** True when the next fetch should take everything anew. */
  get isCrowded(): boolean {
    return this.#packs >= this.#context.maxPacks
  }

  /** For each id the commit that it names, or undefined when it is not here. */
  async findCommits(oids: readonly string[], signal: AbortSignal): Promise<readonly (string | undefined)[]> {
    if (oids.length === 0) return []
    return this.#keepCount(await this.#run({ verb: 'find-commits', gitDir: this.gitDir, oids }, signal))
  }

  /** Fetches `wants` without their history; answers the commits that they name. Rejects as fetchPack does, and with FetchFailed or LimitExceeded for packs that cannot be used. */
  async fetch(remote: GitRemote, wants: readonly string[], options: FetchOptions): Promise<readonly string[]> {
    const { protocol, replace = false, signal } = options
    const { http, fetchTimeoutMs, maxPackBytes } = this.#context
    const haves = replace ? [] : options.haves.slice(0, MAX_HAVES)
    const wish = { wants, haves, protocol, maxPackBytes }
    const pack = await fetchPack(http, remote, wish, { timeoutMs: fetchTimeoutMs, signal })
    // Sorts by time, so that the newest is looked into first.
    const name = `pack-${String(Date.now()).padStart(15, '0')}-${randomBytes(6).toString('hex')}`
    const request: GitRequest = { verb: 'add-pack', gitDir: this.gitDir, pack, name, replace, wants }
    const commits = this.#keepCount(await this.#run(request, signal, [pack.buffer]))
    return commits.map((commit, index) => commit ?? wants[index] ?? '')
  }

  /** Every file below a path at a commit. Rejects as readSourceTree throws. */
  async readTree(commit: string, below: string, signal: AbortSignal): Promise<SourceTree> {
    const request: GitRequest = { verb: 'read-tree', gitDir: this.gitDir, commit, path: below }
    return (await this.#run(request, signal)) as SourceTree
  }

  /** The treeOid of each path at a commit; undefined where reading it would fail. Rejects with FetchFailed for damage. */
  async findTreeOids(commit: string, paths: readonly string[], signal: AbortSignal): Promise<TreeOidsAnswer> {
    const request: GitRequest = { verb: 'find-tree-oids', gitDir: this.gitDir, commit, paths }
    return (await this.#run(request, signal)) as TreeOidsAnswer
  }

  #keepCount(answer: unknown): readonly (string | undefined)[] {
    const { commits, packs } = answer as CommitsAnswer
    this.#packs = packs
    return commits
  }

  #run(request: GitRequest, signal: AbortSignal, transfer: readonly ArrayBuffer[] = []): Promise<unknown> {
    return this.#context.workers.run(request, { signal, timeoutMs: WORK_TIMEOUT_MS, transfer })
  }
}

/** The folder of a repository's mirror. */
export function mirrorFolder(gitDir: string, repository: string): string {
  return path.join(gitDir, `${repository}.git`)
}

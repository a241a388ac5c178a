// Follows the repositories that applications ask for, of Git and of packages, and reads their files. What it finds goes into the database;
// it never takes a commit away, so that nothing changes because something could not be read.
import { mkdirSync, rmSync } from 'node:fs'
import path from 'node:path'
import { AppError, isAborted } from '@fairlead/shared/errors'
import type { Logger } from '@fairlead/shared/logger'
import { holdsPackages } from '../package-reference.ts'
import type { SecretSources } from '../secret-source.ts'
import type { Store } from '../store/store.ts'
import { createWorkerPool, type WorkerPool, workerUrl } from '../worker-pool.ts'
import { findBaseRepository, findChartRepository } from './addressed.ts'
import { Follower } from './follower.ts'
import { createGitHttp, type ProxySettings } from './git-http.ts'
import { GitSource } from './git-source.ts'
import { InstallationTokens } from './github-app.ts'
import { createHostGate } from './host-gate.ts'
import type { LfsLimits } from './lfs-store.ts'
import { GIT_PACK_MAX_BYTES, MIRROR_MAX_PACKS, Mirror, mirrorFolder, PACK_MAX_BYTES, removeMirrors } from './mirror.ts'
import { PackageSource } from './packages/package-source.ts'
import { createPackageWorkers, PackageStore, packagesFolder } from './packages/package-store.ts'
import type { PushedRef } from './pushed-refs.ts'
import type { RefSource, TreeStore } from './ref-source.ts'
import type { SourceTree } from './source-tree.ts'
import {
  type FollowedRepository,
  forgetUnfollowed,
  isSameRepository,
  type PollOutcome,
  readCommits,
  readFollowed,
  summarizeOutcome,
  writeOutcome,
  writePolledAt,
} from './tracked-rows.ts'

/** Settings of the tracker. */
export interface TrackerOptions {
  readonly store: Store
  /** Folder of the mirrors; made when it is not there. */
  readonly gitDir: string
  /** Told after a commit or a problem in the database changed. */
  readonly onChange: () => void
  readonly logger: Logger
  /** What credentials may name; default nothing. */
  readonly credentials?: SecretSources
  /** The way out for repositories that say nothing of a proxy; default a direct one. */
  readonly proxy?: ProxySettings
  /** For repositories that say nothing of it, in milliseconds; default 30,000. */
  readonly pollIntervalDefaultMs?: number
  /** Longest listing of refs in milliseconds, default 15,000. */
  readonly listTimeoutMs?: number
  /** Longest fetch in milliseconds, default 120,000. */
  readonly fetchTimeoutMs?: number
  /** Largest pack that isomorphic-git fetches in bytes, default PACK_MAX_BYTES. */
  readonly maxPackBytes?: number
  /** Largest pack that git fetches in bytes, where that is not enough or over SSH; default GIT_PACK_MAX_BYTES. */
  readonly maxGitPackBytes?: number
  /** What one repository's contents of Git LFS may take on disk; default LFS_LIMITS. */
  readonly lfsLimits?: LfsLimits
  /** With this many packs in a mirror everything is fetched anew into one; default MIRROR_MAX_PACKS. */
  readonly maxPacks?: number
}

/** Follows repositories. */
export interface Tracker {
  /** Reads the definitions and begins to poll. */
  start(): void
  /** With a name: polls that repository at once. Without: reads the definitions again and polls at once what is new or changed there. Many calls in a short time are one. */
  refresh(repository?: string): void
  /** Polls that repository soon because somebody says that these refs were pushed. Only a hint: Git says what is so. */
  hint(repository: string, pushed: readonly PushedRef[]): void
  /** Ends all polls and fetches. */
  stop(): Promise<void>
  /** Every file below `path` (a folder, a file, or empty for the root) at a commit that is in the refs table. A mirror that lost it is fetched again first. Rejects with NotFound for a repository that is not followed, PathNotFound, UnsafePath, LimitExceeded, FetchFailed or what keeps the repository from being fetched, Aborted. */
  readTree(repository: string, commit: string, path: string, signal: AbortSignal): Promise<SourceTree>
  /** The repository with that address, which gives bases to the repository `user`; brings the commit. Rejects with NotFound when there is none, FailedPrecondition when it gives none, or with why it cannot be had. */
  findBase(
    base: { readonly address: string; readonly commit: string; readonly user: string },
    signal: AbortSignal,
  ): Promise<string>
  /** The folders of a commit that match a pattern, as listFolders has it. Rejects as readTree does. */
  listFolders(repository: string, commit: string, pattern: string, signal: AbortSignal): Promise<readonly string[]>
  /** Where a version of a chart is, by the address of its repository; brings it. Rejects with NotFound when no Repository has that address, or with why it cannot be had. */
  findChart(
    chart: { readonly address: string; readonly name: string; readonly version: string },
    signal: AbortSignal,
  ): Promise<{ readonly repository: string; readonly commit: string }>
  /** The treeOid that readTree would give for each path, in far less time; undefined where readTree would reject. */
  findTreeOids(
    repository: string,
    commit: string,
    paths: readonly string[],
    signal: AbortSignal,
  ): Promise<readonly (string | undefined)[]>
}

/** Definitions are read this often even when nobody says that they changed, in milliseconds. */
const RELOAD_MS = 30_000
/** The times of polls that found nothing new are written this often, in milliseconds. */
const POLLED_AT_MS = 10_000

/** Folder below that of the mirrors, whose names end otherwise. */
const SCRATCH = 'scratch'
/** Fetches at once; a host may hold up half of them. */
const FETCHERS = 4

/** Makes a tracker; nothing runs before start. */
export function createTracker(options: TrackerOptions): Tracker {
  return new RunningTracker(options)
}

class RunningTracker implements Tracker {
  readonly #options: TrackerOptions
  readonly #logger: Logger
  readonly #http = createGitHttp()
  readonly #tokens = new InstallationTokens(this.#http)
  readonly #gate = createHostGate()
  readonly #fetchGate = createHostGate({ perHost: FETCHERS / 2, total: FETCHERS })
  readonly #readers: WorkerPool
  readonly #fetchers: WorkerPool
  readonly #packers: WorkerPool
  readonly #scratchDir: string
  readonly #followers = new Map<string, Follower>()
  readonly #stores = new Map<string, TreeStore>()
  /** What was written last of each repository, to write only what is new. */
  readonly #written = new Map<string, string>()
  readonly #polledAt = new Map<string, number>()
  readonly #timers: NodeJS.Timeout[] = []
  #reload: Promise<void> = Promise.resolve()
  #isReloadWanted = false
  #isStopped = false

  constructor(options: TrackerOptions) {
    this.#options = options
    this.#logger = options.logger.child({ part: 'tracker' })
    this.#scratchDir = path.join(options.gitDir, SCRATCH)
    const worker = { url: workerUrl('git-worker', import.meta.url), heapMegabytes: 1_024 }
    this.#readers = createWorkerPool({ ...worker, size: 2 })
    this.#fetchers = createWorkerPool({ ...worker, size: FETCHERS })
    this.#packers = createPackageWorkers()
  }

  start(): void {
    // A hub that was killed leaves what it had written for git: the keys of repositories.
    rmSync(this.#scratchDir, { recursive: true, force: true })
    mkdirSync(this.#scratchDir, { recursive: true, mode: 0o700 })
    this.#timers.push(
      setInterval(() => this.refresh(), RELOAD_MS),
      setInterval(() => this.#flush(), POLLED_AT_MS),
    )
    for (const timer of this.#timers) timer.unref()
    this.refresh()
  }

  refresh(repository?: string): void {
    if (this.#isStopped) return
    const follower = repository === undefined ? undefined : this.#followers.get(repository)
    if (follower) {
      follower.refresh()
    } else if (!this.#isReloadWanted) {
      this.#isReloadWanted = true
      this.#reload = this.#reload.then(() => this.#load())
    }
  }

  hint(repository: string, pushed: readonly PushedRef[]): void {
    this.#followers.get(repository)?.hint(pushed)
  }

  async stop(): Promise<void> {
    this.#isStopped = true
    for (const timer of this.#timers) clearInterval(timer)
    this.#tokens.stop()
    await this.#reload
    await Promise.all([...this.#followers.values()].map((follower) => follower.stop()))
    await Promise.all([this.#readers, this.#fetchers, this.#packers].map((pool) => pool.stop()))
    this.#http.close()
    await this.#writePolledAt()
  }

  readTree(repository: string, commit: string, below: string, signal: AbortSignal): Promise<SourceTree> {
    return this.#read(repository, commit, (mirror, follower) =>
      mirror.readTree(commit, below, { lfs: follower.lfs, signal }),
    )
  }

  listFolders(repository: string, commit: string, pattern: string, signal: AbortSignal): Promise<readonly string[]> {
    return this.#read(repository, commit, (mirror) => mirror.listFolders(commit, pattern, signal))
  }

  findTreeOids(
    repository: string,
    commit: string,
    paths: readonly string[],
    signal: AbortSignal,
  ): Promise<readonly (string | undefined)[]> {
    return this.#read(repository, commit, (mirror, follower) =>
      mirror.findTreeOids(commit, paths, { withLfs: follower.lfs !== undefined, signal }),
    )
  }

  async findChart(
    { address, ...chart }: { readonly address: string; readonly name: string; readonly version: string },
    signal: AbortSignal,
  ): Promise<{ readonly repository: string; readonly commit: string }> {
    const declared = await this.#declared()
    const repository = findChartRepository(declared, address)
    const commit = await this.#followers.get(repository)?.bringChart(chart)
    signal.throwIfAborted()
    if (commit === undefined) throw new AppError('NotFound', `${address} has no charts`)
    return { repository, commit }
  }

  async findBase(
    { commit, ...wanted }: { readonly address: string; readonly commit: string; readonly user: string },
    signal: AbortSignal,
  ): Promise<string> {
    const declared = await this.#declared()
    const repository = findBaseRepository(declared, wanted)
    await this.#followers.get(repository)?.bringCommit(commit)
    signal.throwIfAborted()
    return repository
  }

  async #declared(): Promise<readonly FollowedRepository[]> {
    await this.#reload
    return [...this.#followers.values()].map(({ repository }) => repository)
  }

  /** Reads from a mirror, and once more after it was fetched anew if it turned out to be damaged. */
  async #read<T>(
    repository: string,
    commit: string,
    read: (mirror: TreeStore, follower: Follower) => Promise<T>,
  ): Promise<T> {
    // At the start somebody may ask before the definitions were read.
    if (!this.#followers.has(repository)) await this.#reload
    const follower = this.#followers.get(repository)
    const mirror = this.#stores.get(repository)
    if (follower === undefined || mirror === undefined) {
      throw new AppError('NotFound', `repository ${repository} is not followed`)
    }
    const fetches = follower.fetches
    try {
      return await read(mirror, follower)
    } catch (error) {
      if (!(error instanceof AppError) || error.code !== 'FetchFailed') throw error
      this.#logger.warn({ repository, commit, error }, 'mirror cannot be read, fetching it again')
      // Another reader may have had it fetched meanwhile.
      if (follower.fetches === fetches) await follower.repair(commit)
      return await read(mirror, follower)
    }
  }

  async #load(): Promise<void> {
    this.#isReloadWanted = false
    if (this.#isStopped) return
    try {
      const { store, gitDir, pollIntervalDefaultMs = 30_000 } = this.#options
      const followed = await readFollowed(store.db, pollIntervalDefaultMs)
      const names = new Set(followed.map(({ name }) => name))
      const gone = [...this.#followers.keys()].filter((name) => !names.has(name))
      await Promise.all(gone.map((name) => this.#unfollow(name)))
      await forgetUnfollowed(store, followed)
      for (const repository of followed) await this.#follow(repository)
      await removeMirrors(gitDir, new Set(followed.map((repository) => folderOf(gitDir, repository))))
    } catch (error) {
      if (!isAborted(error)) this.#logger.error({ error }, 'definitions could not be read')
    }
  }

  async #follow(repository: FollowedRepository): Promise<void> {
    const { name, spec } = repository
    const known = this.#followers.get(name)
    // Git and packages have nothing in common but the name.
    const isOther = known !== undefined && holdsPackages(known.repository.spec) !== holdsPackages(spec)
    if (isOther) await this.#unfollow(name)
    const follower = this.#followers.get(name)
    if (follower === undefined) {
      const [store, source] = holdsPackages(spec) ? this.#openPackages(name) : this.#openMirror(name)
      const created = new Follower(repository, {
        source,
        logger: this.#logger.child({ repository: name }),
        onOutcome: (outcome) => this.#record(name, outcome),
      })
      this.#stores.set(name, store)
      this.#followers.set(name, created)
      created.start()
    } else if (!isSameRepository(follower.repository, repository)) {
      this.#written.delete(name)
      follower.update(repository)
    }
  }

  async #unfollow(name: string): Promise<void> {
    const follower = this.#followers.get(name)
    this.#followers.delete(name)
    this.#stores.delete(name)
    this.#written.delete(name)
    this.#polledAt.delete(name)
    await follower?.stop()
  }

  #createMirror(name: string): Mirror {
    const { gitDir, fetchTimeoutMs = 120_000 } = this.#options
    const {
      maxPackBytes = PACK_MAX_BYTES,
      maxGitPackBytes = GIT_PACK_MAX_BYTES,
      maxPacks = MIRROR_MAX_PACKS,
    } = this.#options
    return new Mirror(mirrorFolder(gitDir, name), {
      readers: this.#readers,
      fetchers: this.#fetchers,
      scratchDir: this.#scratchDir,
      fetchTimeoutMs,
      maxPackBytes,
      maxGitPackBytes,
      maxPacks,
      lfsLimits: this.#options.lfsLimits,
    })
  }

  #openMirror(name: string): readonly [TreeStore, RefSource] {
    const mirror = this.#createMirror(name)
    const context = { ...this.#sourceContext(name), fetchGate: this.#fetchGate, mirror, scratchDir: this.#scratchDir }
    return [mirror, new GitSource(context)]
  }

  #openPackages(name: string): readonly [TreeStore, RefSource] {
    const store = new PackageStore(packagesFolder(this.#options.gitDir, name), this.#packers)
    return [store, new PackageSource({ ...this.#sourceContext(name), store })]
  }

  /** What both kinds of sources are asked with. */
  #sourceContext(name: string) {
    const { store, credentials: secrets = { folders: [], environment: {} }, proxy = {} } = this.#options
    const { listTimeoutMs = 15_000, fetchTimeoutMs = 120_000 } = this.#options
    return {
      http: this.#http,
      gate: this.#gate,
      secrets,
      tokens: this.#tokens,
      proxy,
      listTimeoutMs,
      fetchTimeoutMs,
      logger: this.#logger.child({ repository: name }),
      readCommits: () => readCommits(store.db, name),
    }
  }

  async #record(name: string, outcome: PollOutcome): Promise<void> {
    if (!this.#followers.has(name)) return
    const summary = summarizeOutcome(outcome)
    if (this.#written.get(name) === summary) {
      if (outcome.problem === undefined) this.#polledAt.set(name, outcome.atMs)
      return
    }
    this.#polledAt.delete(name)
    const isChanged = await writeOutcome(this.#options.store, name, outcome)
    this.#written.set(name, summary)
    if (!isChanged) return
    this.#logChange(name, outcome)
    this.#options.onChange()
  }

  #logChange(repository: string, { problem, refs }: PollOutcome): void {
    if (problem) {
      this.#logger.warn({ repository, error: problem }, 'repository cannot be read')
      return
    }
    const commits = refs.flatMap((ref) =>
      'commit' in ref ? [{ ref: ref.ref, name: ref.name, commit: ref.commit }] : [],
    )
    this.#logger.info({ repository, commits }, 'repository read')
    for (const ref of refs) {
      if ('problem' in ref) this.#logger.warn({ repository, ref: ref.ref, error: ref.problem }, 'ref cannot be read')
    }
  }

  #flush(): void {
    this.#reload = this.#reload.then(() => this.#writePolledAt())
  }

  async #writePolledAt(): Promise<void> {
    if (this.#polledAt.size === 0) return
    const polledAt = new Map(this.#polledAt)
    this.#polledAt.clear()
    try {
      await writePolledAt(this.#options.store, polledAt)
    } catch (error) {
      this.#logger.warn({ error }, 'times of polls could not be written')
    }
  }
}

/** Where what is brought of a repository is kept. */
function folderOf(gitDir: string, { name, spec }: FollowedRepository): string {
  return holdsPackages(spec) ? packagesFolder(gitDir, name) : mirrorFolder(gitDir, name)
}

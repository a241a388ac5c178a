// Follows one repository: polls it, fetches what is new, and says what was found. One poll and one fetch serve every
// application of the repository.
import { setTimeout as delay } from 'node:timers/promises'
import { jittered } from '@fairlead/shared/backoff'
import { AppError, isAborted, toAppError } from '@fairlead/shared/errors'
import type { Logger } from '@fairlead/shared/logger'
import { type CredentialSources, readAuthorization } from './credentials.ts'
import { addressOf, type GitHttp, type GitRemote, GitServerBusy } from './git-http.ts'
import { isObjectId } from './git-object.ts'
import { listRefs, type RefListing } from './git-wire.ts'
import type { HostGate } from './host-gate.ts'
import type { Mirror } from './mirror.ts'
import { prefixesFor, resolveRef } from './ref-resolution.ts'
import type { FollowedRepository, PollOutcome, RefOutcome } from './tracked-rows.ts'

/** What a follower works with. */
export interface FollowerContext {
  readonly http: GitHttp
  readonly gate: HostGate
  readonly mirror: Mirror
  readonly credentials: CredentialSources
  readonly logger: Logger
  /** Longest listing of refs in milliseconds. */
  readonly listTimeoutMs: number
  /** The last good commits by ref. */
  readCommits(): Promise<ReadonlyMap<string, string>>
  /** Told after each poll; the next waits until it resolves. */
  onOutcome(outcome: PollOutcome): Promise<void>
}

/** Longest wait after failures, in milliseconds, unless the poll interval is longer. */
const MAX_FAILURE_WAIT_MS = 120_000

/** Follows one repository from start to stop. */
export class Follower {
  readonly #context: FollowerContext
  readonly #stopping = new AbortController()
  #repository: FollowedRepository
  #wake = new AbortController()
  #loop: Promise<void> = Promise.resolve()
  #lock: Promise<unknown> = Promise.resolve()
  #protocol: RefListing['protocol'] | undefined
  #failures = 0
  #fetches = 0
  /** Commits by what the server lists for the refs, of those that are known to be in the mirror. */
  #here: ReadonlyMap<string, string> = new Map()

  constructor(repository: FollowedRepository, context: FollowerContext) {
    this.#repository = repository
    this.#context = context
  }

  /** What is followed. */
  get repository(): FollowedRepository {
    return this.#repository
  }

  /** Number of fetches so far: when it has grown, what could not be read may be there now. */
  get fetches(): number {
    return this.#fetches
  }

  /** Begins to poll, at once. */
  start(): void {
    this.#loop = this.#run()
  }

  /** Ends the poll that runs and all that would come. */
  async stop(): Promise<void> {
    this.#stopping.abort()
    this.#wake.abort()
    await this.#loop
    await this.#lock.catch(() => undefined)
  }

  /** Polls at once, or once more after the poll that runs; any number of calls in that time are one. */
  refresh(): void {
    this.#wake.abort()
  }

  /** Takes a changed definition over and polls at once. */
  update(repository: FollowedRepository): void {
    if (repository.spec.url !== this.#repository.spec.url) this.#protocol = undefined
    this.#repository = repository
    this.#failures = 0
    this.refresh()
  }

  /** Fetches everything anew, and `commit` as well, because the mirror turned out to lack or to have lost something. Rejects as a poll's fetch does. */
  async repair(commit: string): Promise<void> {
    await this.#exclusive(async (signal) => {
      const remote = this.#remote()
      const known = await this.#context.readCommits()
      const wants = [...new Set([commit, ...known.values()])]
      try {
        await this.#fetch(remote, wants, { replace: true, signal })
      } catch (error) {
        if (wants.length === 1 || isAborted(error)) throw error
        await this.#fetch(remote, [commit], { replace: false, haves: [], signal })
      }
    })
  }

  async #run(): Promise<void> {
    const { signal } = this.#stopping
    while (!signal.aborted) {
      this.#wake = new AbortController()
      const outcome = await this.#pollSafely()
      if (outcome === undefined) return
      await this.#tell(outcome)
      // Aborts at once when somebody asked while the poll ran.
      await delay(this.#waitMs(outcome), undefined, {
        signal: AbortSignal.any([signal, this.#wake.signal]),
        ref: false,
      }).catch(() => undefined)
    }
  }

  async #tell(outcome: PollOutcome): Promise<void> {
    try {
      await this.#context.onOutcome(outcome)
    } catch (error) {
      if (!this.#stopping.signal.aborted) this.#context.logger.error({ error }, 'poll could not be recorded')
    }
  }

  #waitMs({ problem }: PollOutcome): number {
    const { pollIntervalMs } = this.#repository
    if (problem === undefined) return jittered(pollIntervalMs)
    const longest = Math.max(pollIntervalMs, MAX_FAILURE_WAIT_MS)
    const grown = Math.min(longest, pollIntervalMs * 2 ** Math.min(20, this.#failures - 1))
    const asked = problem instanceof GitServerBusy ? (problem.retryAfterMs ?? 0) : 0
    return Math.max(jittered(grown), asked)
  }

  /** Undefined when the follower stops. */
  async #pollSafely(): Promise<PollOutcome | undefined> {
    try {
      const refs = await this.#exclusive((signal) => this.#poll(signal))
      this.#failures = 0
      return { refs, atMs: Date.now() }
    } catch (thrown) {
      if (this.#stopping.signal.aborted) return undefined
      this.#failures++
      return { problem: toAppError(thrown), refs: [], atMs: Date.now() }
    }
  }

  async #poll(signal: AbortSignal): Promise<RefOutcome[]> {
    const { refs } = this.#repository
    const remote = this.#remote()
    const listing = await this.#list(remote, prefixesFor(refs), signal)
    this.#protocol = listing.protocol
    if (listing.refs.size === 0) await this.#checkEmpty(remote, signal)
    const outcomes = new Map<string, RefOutcome>()
    const wanted = new Map<string, string>()
    for (const ref of refs) {
      try {
        wanted.set(ref, resolveRef(listing, ref))
      } catch (error) {
        outcomes.set(ref, { ref, problem: toAppError(error) })
      }
    }
    const commits = await this.#bring(remote, [...new Set(wanted.values())], signal)
    for (const [ref, oid] of wanted) {
      const commit = commits.get(oid) ?? new AppError('FetchFailed', 'the commit could not be fetched')
      outcomes.set(ref, typeof commit === 'string' ? { ref, commit } : { ref, problem: commit })
    }
    return refs.flatMap((ref) => outcomes.get(ref) ?? [])
  }

  #list(remote: GitRemote, prefixes: readonly string[], signal: AbortSignal): Promise<RefListing> {
    const { http, gate, listTimeoutMs } = this.#context
    const options = { timeoutMs: listTimeoutMs, signal, known: this.#protocol }
    return gate.run(addressOf(remote.url, '').host, signal, () => listRefs(http, remote, prefixes, options))
  }

  async #checkEmpty(remote: GitRemote, signal: AbortSignal): Promise<void> {
    const { refs } = await this.#list(remote, ['refs/'], signal)
    if (refs.size === 0) throw new AppError('RepositoryEmpty', 'the repository has no commits')
  }

  /** Makes sure that what the ids name is here; answers each one's commit, or why not. */
  async #bring(
    remote: GitRemote,
    oids: readonly string[],
    signal: AbortSignal,
  ): Promise<ReadonlyMap<string, string | AppError>> {
    const { mirror } = this.#context
    const commits = new Map<string, string | AppError>()
    for (const oid of oids) {
      // Looking into the mirror costs reading it: once for each commit is enough, and reading a tree finds out the rest.
      const commit = this.#here.get(oid) ?? (await mirror.findCommits([oid], signal))[0]
      if (commit !== undefined) commits.set(oid, commit)
    }
    const missing = oids.filter((oid) => !commits.has(oid))
    if (missing.length > 0) await this.#bringMissing(remote, { oids, missing, commits }, signal)
    this.#here = new Map([...commits].filter((entry): entry is [string, string] => typeof entry[1] === 'string'))
    return commits
  }

  async #bringMissing(
    remote: GitRemote,
    {
      oids,
      missing,
      commits,
    }: { oids: readonly string[]; missing: readonly string[]; commits: Map<string, string | AppError> },
    signal: AbortSignal,
  ): Promise<void> {
    const { mirror } = this.#context
    const known = [...new Set((await this.#context.readCommits()).values())]
    const isHere = await mirror.findCommits(known, signal)
    const haves = isHere.flatMap((commit) => commit ?? [])
    // When there are many packs all the others come along, and the old packs go.
    const replace = haves.length === 0 || mirror.isCrowded
    const wants = replace ? [...new Set([...missing, ...oids])] : missing
    try {
      const fetched = await this.#fetch(remote, wants, { replace, haves, signal })
      for (const [index, oid] of wants.entries()) commits.set(oid, fetched[index] ?? oid)
    } catch (error) {
      if (!isOfOneRef(error)) throw error
      for (const oid of missing) commits.set(oid, await this.#fetchAlone(remote, oid, signal))
    }
  }

  /** After a fetch failed: each ref on its own and from nothing, so that one that cannot be fetched holds up no other. */
  async #fetchAlone(remote: GitRemote, oid: string, signal: AbortSignal): Promise<string | AppError> {
    try {
      const [commit] = await this.#fetch(remote, [oid], { replace: false, haves: [], signal })
      return commit ?? oid
    } catch (error) {
      if (!isOfOneRef(error)) throw error
      const problem = toAppError(error)
      const isUnknown = problem.code === 'FetchFailed' && /not our ref|unadvertised/.test(problem.message)
      if (!isUnknown || !isObjectId(oid)) return problem
      const message = `the server has no commit ${oid}, or does not give it out by its id`
      return new AppError('RefNotFound', message, { cause: problem })
    }
  }

  async #fetch(
    remote: GitRemote,
    wants: readonly string[],
    { replace, haves = [], signal }: { replace: boolean; haves?: readonly string[]; signal: AbortSignal },
  ): Promise<readonly string[]> {
    const { gate, mirror, logger } = this.#context
    const startedAt = performance.now()
    const options = { protocol: this.#protocol ?? 'v2', haves, replace, signal } as const
    const host = addressOf(remote.url, '').host
    const commits = await gate.run(host, signal, () => mirror.fetch(remote, wants, options))
    this.#fetches++
    logger.debug({ commits, replace, durationMs: Math.round(performance.now() - startedAt) }, 'repository fetched')
    return commits
  }

  #remote(): GitRemote {
    const { url, credentials, caPem } = this.#repository.spec
    const authorization = credentials && readAuthorization(credentials.from, this.#context.credentials)
    return { url, authorization, caPem: caPem || undefined }
  }

  /** One after the other: two fetches into one mirror would do the same work twice. */
  #exclusive<T>(work: (signal: AbortSignal) => Promise<T>): Promise<T> {
    const { signal } = this.#stopping
    const run = this.#lock.then(() => {
      signal.throwIfAborted()
      return work(signal)
    })
    this.#lock = run.catch(() => undefined)
    return run
  }
}

/** True for failures that may concern one ref; the others concern the whole repository. */
function isOfOneRef(error: unknown): boolean {
  return error instanceof AppError && ['FetchFailed', 'LimitExceeded', 'RefNotFound'].includes(error.code)
}

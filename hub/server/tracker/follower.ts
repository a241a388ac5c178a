// Follows one repository: polls it, fetches what is new, and says what was found. One poll and one fetch serve every
// application of the repository.
import { setTimeout as delay } from 'node:timers/promises'
import { jittered } from '@fairlead/shared/backoff'
import { AppError, toAppError } from '@fairlead/shared/errors'
import type { Logger } from '@fairlead/shared/logger'
import { type CredentialSources, readAuthorization } from './credentials.ts'
import { addressOf, type GitHttp, type GitRemote, GitServerBusy } from './git-http.ts'
import { isObjectId } from './git-object.ts'
import type { HostGate } from './host-gate.ts'
import { type FetchOutcome, isOfOneCommit, type Mirror, type Want } from './mirror.ts'
import { fromListedRefs, listRefs, type RefListing } from './ref-listing.ts'
import { prefixesFor, type ResolvedRef, resolveRef } from './ref-resolution.ts'
import type { FollowedRepository, PollOutcome, RefOutcome } from './tracked-rows.ts'

/** What a follower works with. */
export interface FollowerContext {
  readonly http: GitHttp
  /** For listings of refs. */
  readonly gate: HostGate
  /** For fetches. */
  readonly fetchGate: HostGate
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
/** First and longest wait before a commit that could not be fetched is tried again, in milliseconds: it may be a large one. */
const REFUSED_WAIT_MS = 60_000
const MAX_REFUSED_WAIT_MS = 3_600_000

interface Refusal {
  readonly problem: AppError
  readonly waitMs: number
  readonly untilMs: number
}

/** Follows one repository from start to stop. */
export class Follower {
  readonly #context: FollowerContext
  readonly #stopping = new AbortController()
  #repository: FollowedRepository
  #wake = new AbortController()
  #loop: Promise<void> = Promise.resolve()
  #lock: Promise<unknown> = Promise.resolve()
  /** True when the server does not speak Git's protocol version 2. */
  #isOldServer = false
  #failures = 0
  #fetches = 0
  /** Commits by what the server lists for the refs, of those that are known to be in the mirror. */
  #here: ReadonlyMap<string, string> = new Map()
  /** Commits that could not be fetched. */
  #refused: ReadonlyMap<string, Refusal> = new Map()

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
    this.#refused = new Map()
    this.#wake.abort()
  }

  /** Takes a changed definition over and polls at once. */
  update(repository: FollowedRepository): void {
    if (repository.spec.url !== this.#repository.spec.url) this.#isOldServer = false
    this.#repository = repository
    this.#failures = 0
    this.refresh()
  }

  /** Fetches everything anew, and `commit` as well, because the mirror turned out to lack or to have lost something. Rejects as a poll's fetch does. */
  async repair(commit: string): Promise<void> {
    await this.#exclusive(async (signal) => {
      const known = await this.#context.readCommits()
      const others = new Set(known.values())
      others.delete(commit)
      const wants = [commit, ...others].map((oid) => ({ oid }))
      const [outcome] = await this.#replace(this.#remote(), wants, signal)
      if (typeof outcome !== 'string') throw outcome
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
    if (listing.refs.size === 0) await this.#checkEmpty(remote, signal)
    const outcomes = new Map<string, RefOutcome>()
    const resolved = new Map<string, ResolvedRef>()
    for (const ref of refs) {
      try {
        resolved.set(ref, resolveRef(listing, ref))
      } catch (error) {
        outcomes.set(ref, { ref, problem: toAppError(error) })
      }
    }
    const wanted = new Map([...resolved].map(([ref, { oid }]) => [ref, oid]))
    const commits = await this.#bring(remote, wanted, signal)
    for (const [ref, { oid, name }] of resolved) {
      const commit = commits.get(oid) ?? new AppError('FetchFailed', 'the commit could not be fetched')
      outcomes.set(
        ref,
        typeof commit === 'string' ? { ref, commit, name } : { ref, problem: describeProblem(ref, commit) },
      )
    }
    return refs.flatMap((ref) => outcomes.get(ref) ?? [])
  }

  #list(remote: GitRemote, prefixes: readonly string[], signal: AbortSignal): Promise<RefListing> {
    const { http, gate, mirror, listTimeoutMs: timeoutMs } = this.#context
    return gate.run(addressOf(remote.url, '').host, signal, async () => {
      const listing = this.#isOldServer ? undefined : await listRefs(http, remote, prefixes, { timeoutMs, signal })
      if (listing) return listing
      const old = fromListedRefs(await mirror.listRefs(remote, timeoutMs, signal))
      this.#isOldServer = true
      return old
    })
  }

  async #checkEmpty(remote: GitRemote, signal: AbortSignal): Promise<void> {
    const { refs } = await this.#list(remote, ['refs/'], signal)
    if (refs.size === 0) throw new AppError('RepositoryEmpty', 'the repository has no commits')
  }

  /** Makes sure that what the refs name is here; answers each id's commit, or why not. */
  async #bring(
    remote: GitRemote,
    wanted: ReadonlyMap<string, string>,
    signal: AbortSignal,
  ): Promise<ReadonlyMap<string, FetchOutcome>> {
    const { mirror } = this.#context
    const commits = new Map<string, FetchOutcome>()
    for (const oid of new Set(wanted.values())) {
      // Looking into the mirror costs reading it: once for each commit is enough, and reading a tree finds out the rest.
      const commit = this.#here.get(oid) ?? (await mirror.findCommits([oid], signal))[0]
      const refusal = this.#refused.get(oid)
      if (commit !== undefined) commits.set(oid, commit)
      else if (refusal !== undefined && performance.now() < refusal.untilMs) commits.set(oid, refusal.problem)
    }
    if ([...wanted.values()].some((oid) => !commits.has(oid))) {
      const wants = await this.#findWants(wanted, signal)
      for (const [oid, outcome] of await this.#bringMissing(remote, { wants, commits }, signal)) {
        commits.set(oid, outcome)
      }
    }
    this.#refuse(commits)
    this.#here = new Map([...commits].filter((entry): entry is [string, string] => typeof entry[1] === 'string'))
    return commits
  }

  #refuse(commits: ReadonlyMap<string, FetchOutcome>): void {
    const refused = new Map<string, Refusal>()
    for (const [oid, problem] of commits) {
      if (typeof problem === 'string') continue
      const before = this.#refused.get(oid)
      const isOld = before?.problem === problem
      const waitMs = Math.min(MAX_REFUSED_WAIT_MS, before === undefined ? REFUSED_WAIT_MS : before.waitMs * 2)
      refused.set(oid, isOld ? before : { problem, waitMs, untilMs: performance.now() + waitMs })
    }
    this.#refused = refused
  }

  /** What is wanted, each with the commit that its ref pointed at before, if that is in the mirror. */
  async #findWants(wanted: ReadonlyMap<string, string>, signal: AbortSignal): Promise<readonly Want[]> {
    const known = await this.#context.readCommits()
    const commits = [...new Set(known.values())]
    const here = new Set(await this.#context.mirror.findCommits(commits, signal))
    const wants = new Map<string, Want>()
    for (const [ref, oid] of wanted) {
      const last = known.get(ref)
      if (last !== undefined && here.has(last)) wants.set(oid, { oid, last })
      else if (!wants.has(oid)) wants.set(oid, { oid })
    }
    return [...wants.values()]
  }

  async #bringMissing(
    remote: GitRemote,
    { wants, commits }: { wants: readonly Want[]; commits: ReadonlyMap<string, FetchOutcome> },
    signal: AbortSignal,
  ): Promise<readonly (readonly [oid: string, outcome: FetchOutcome])[]> {
    const { mirror, logger } = this.#context
    const missing = wants.filter(({ oid }) => !commits.has(oid))
    try {
      if (wants.some(({ last }) => last !== undefined) && !mirror.isCrowded(wants.length)) {
        return await this.#fetchEach(remote, missing, signal)
      }
    } catch (error) {
      if (!isOfOneCommit(error)) throw error
      // A force-push, a merge of an old branch, or damage: with their history commits may be larger than without.
      logger.debug({ error }, 'history could not be fetched, fetching everything anew')
    }
    try {
      // What was refused a moment ago is not tried again, but what its ref had before comes along.
      const isRefused = ({ oid }: Want): boolean => commits.get(oid) instanceof AppError
      const anew = wants.flatMap((want) => {
        if (!isRefused(want)) return want
        return want.last === undefined ? [] : { oid: want.last, last: want.last }
      })
      const outcomes = await this.#replace(remote, anew, signal)
      return anew.map(({ oid }, index) => [oid, outcomes[index] ?? oid])
    } catch (error) {
      if (!isOfOneCommit(error)) throw error
      const alone = missing.map(({ oid }) => ({ oid }))
      return await this.#fetchEach(remote, alone, signal)
    }
  }

  /** Each on its own, so that one that cannot be fetched holds up no other. Rejects when the history of one cannot be fetched. */
  async #fetchEach(
    remote: GitRemote,
    wants: readonly Want[],
    signal: AbortSignal,
  ): Promise<readonly (readonly [string, FetchOutcome])[]> {
    const outcomes: [string, FetchOutcome][] = []
    for (const want of wants) {
      try {
        const fetch = (): Promise<string> => this.#context.mirror.fetch(remote, want, signal)
        outcomes.push([want.oid, await this.#gated(remote, signal, fetch)])
      } catch (error) {
        if (!isOfOneCommit(error) || want.last !== undefined) throw error
        outcomes.push([want.oid, error])
      }
    }
    return outcomes
  }

  #replace(remote: GitRemote, wants: readonly Want[], signal: AbortSignal): Promise<readonly FetchOutcome[]> {
    return this.#gated(remote, signal, () => this.#context.mirror.replace(remote, wants, signal))
  }

  async #gated<T>(remote: GitRemote, signal: AbortSignal, fetch: () => Promise<T>): Promise<T> {
    const { fetchGate, logger } = this.#context
    const startedAt = performance.now()
    const answer = await fetchGate.run(addressOf(remote.url, '').host, signal, fetch)
    this.#fetches++
    logger.debug({ answer, durationMs: Math.round(performance.now() - startedAt) }, 'repository fetched')
    return answer
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

/** A commit id comes from a person, who may have mistyped it; the ids of refs come from the server. */
function describeProblem(ref: string, problem: AppError): AppError {
  if (!isObjectId(ref) || problem.code !== 'FetchFailed') return problem
  const message = `the server has no commit ${ref}, or does not give it out by its id`
  return new AppError('RefNotFound', message, { cause: problem })
}

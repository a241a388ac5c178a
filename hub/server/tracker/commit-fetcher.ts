// Brings the commits that refs name into a repository's mirror, with as few bytes as it takes, and remembers what could
// not be brought.
import { AppError } from '@fairlead/shared/errors'
import type { Logger } from '@fairlead/shared/logger'
import { type GitRemote, hostOf } from './git-http.ts'
import type { HostGate } from './host-gate.ts'
import { type FetchOutcome, isOfOneCommit, type Mirror, type Want } from './mirror.ts'

/** What a fetcher works with. */
export interface CommitFetcherContext {
  /** For fetches. */
  readonly fetchGate: HostGate
  readonly mirror: Mirror
  readonly logger: Logger
  /** The last good commits by ref. */
  readCommits(): Promise<ReadonlyMap<string, string>>
}

/** First and longest wait before a commit that could not be fetched is tried again, in milliseconds: it may be a large one. */
const REFUSED_WAIT_MS = 60_000
const MAX_REFUSED_WAIT_MS = 3_600_000

interface Refusal {
  readonly problem: AppError
  readonly waitMs: number
  readonly untilMs: number
}

/** Fetches for one repository; its owner calls one method at a time. */
export class CommitFetcher {
  readonly #context: CommitFetcherContext
  #fetches = 0
  /** Commits by what the server lists for the refs, of those that are known to be in the mirror. */
  #here: ReadonlyMap<string, string> = new Map()
  /** Commits that could not be fetched. */
  #refused: ReadonlyMap<string, Refusal> = new Map()

  constructor(context: CommitFetcherContext) {
    this.#context = context
  }

  /** Number of fetches so far. */
  get fetches(): number {
    return this.#fetches
  }

  /** Has the next poll try again what could not be fetched. */
  forgetRefusals(): void {
    this.#refused = new Map()
  }

  /** Makes sure that what the refs name is here; answers each id's commit, or why not. */
  async bring(
    remote: GitRemote,
    wanted: ReadonlyMap<string, string>,
    signal: AbortSignal,
  ): Promise<ReadonlyMap<string, FetchOutcome>> {
    const commits = new Map<string, FetchOutcome>()
    for (const oid of new Set(wanted.values())) {
      // Looking into the mirror costs reading it: once for each commit is enough, and reading a tree finds out the rest.
      const commit = this.#here.get(oid) ?? (await this.#find(oid, signal))
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

  /** The commit, if it is in the mirror, or why what is there is none: a tag may name a file, and holds up nobody else. */
  async #find(oid: string, signal: AbortSignal): Promise<FetchOutcome | undefined> {
    try {
      return (await this.#context.mirror.findCommits([oid], signal))[0]
    } catch (error) {
      if (!isOfOneCommit(error)) throw error
      return error
    }
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
      const outcomes = await this.replace(remote, anew, signal)
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

  /** Fetches one commit into what is here, beside what the refs name. Rejects as Mirror.fetch does. */
  async bringOne(remote: GitRemote, oid: string, signal: AbortSignal): Promise<void> {
    await this.#gated(remote, signal, () => this.#context.mirror.fetch(remote, { oid }, signal))
  }

  /** Fetches all of them anew, without their history. Rejects as Mirror.replace does. */
  replace(remote: GitRemote, wants: readonly Want[], signal: AbortSignal): Promise<readonly FetchOutcome[]> {
    return this.#gated(remote, signal, () => this.#context.mirror.replace(remote, wants, signal))
  }

  async #gated<T>(remote: GitRemote, signal: AbortSignal, fetch: () => Promise<T>): Promise<T> {
    const { fetchGate, logger } = this.#context
    const startedAt = performance.now()
    const answer = await fetchGate.run(hostOf(remote.url), signal, fetch)
    this.#fetches++
    logger.debug({ answer, durationMs: Math.round(performance.now() - startedAt) }, 'repository fetched')
    return answer
  }
}

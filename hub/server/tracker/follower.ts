// Follows one repository: polls it, fetches what is new, and says what was found. One poll and one fetch serve every
// application of the repository.
import { setTimeout as delay } from 'node:timers/promises'
import { jittered } from '@fairlead/shared/backoff'
import { AppError, toAppError } from '@fairlead/shared/errors'
import { CommitFetcher, type CommitFetcherContext } from './commit-fetcher.ts'
import { type GitHttp, type GitRemote, GitServerBusy, hostOf } from './git-http.ts'
import { isObjectId } from './git-object.ts'
import type { HostGate } from './host-gate.ts'
import { downloadLfs } from './lfs.ts'
import type { LfsReader } from './mirror.ts'
import { listRefsByGit } from './native-git.ts'
import { type PushedRef, PushedRefs } from './pushed-refs.ts'
import { fromListedRefs, listRefs, type ObjectFormat, type RefListing } from './ref-listing.ts'
import { prefixesFor, type ResolvedRef, resolveRef } from './ref-resolution.ts'
import { type RemoteContext, readRemote, remoteOfSubmodule } from './remote.ts'
import type { SignatureQuestion, SigningKeys } from './signature-check.ts'
import { hashSignatureQuestion, readSigningKeys } from './signing-keys.ts'
import { MAX_SUBMODULES, type MissingSubmodule } from './submodules.ts'
import type { FollowedRepository, PollOutcome, RefOutcome } from './tracked-rows.ts'

/** What a follower works with. */
export interface FollowerContext extends CommitFetcherContext, RemoteContext {
  readonly http: GitHttp
  /** For listings of refs. */
  readonly gate: HostGate
  /** Folder for keys and other files while git runs; nobody else may read it. */
  readonly scratchDir: string
  /** Longest listing of refs in milliseconds. */
  readonly listTimeoutMs: number
  /** Longest download of one content of Git LFS in milliseconds. */
  readonly lfsTimeoutMs: number
  /** Told after each poll; the next waits until it resolves. */
  onOutcome(outcome: PollOutcome): Promise<void>
}

/** Webhooks have polls follow each other no faster than this, in milliseconds. */
const HINT_SPACING_MS = 250
const HINTED = 'hinted'
const MAX_REMEMBERED = 1_000
/** Longest wait after failures, in milliseconds, unless the poll interval is longer. */
const MAX_FAILURE_WAIT_MS = 120_000
/** A commit as a ref names it, and the keys that it must be signed by. */
type Found = Omit<SignatureQuestion, 'keys'> & { readonly keys: SigningKeys | undefined }

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
  #format: ObjectFormat = 'sha1'
  #failures = 0
  /** What webhooks announced and Git does not serve yet. */
  readonly #pushed = new PushedRefs()
  #polledAtMs = 0
  /** The server asked to be left alone until then, by performance.now; a webhook is no reason not to. */
  #busyUntilMs = 0
  readonly #fetcher: CommitFetcher
  /** What was found to be signed, by hashSignatureQuestion. */
  readonly #signed = new Set<string>()
  /** Commits whose submodules are all here, each with the number of fetches then: a fetch may have replaced the mirror. */
  readonly #complete = new Set<string>()

  constructor(repository: FollowedRepository, context: FollowerContext) {
    this.#repository = repository
    this.#context = context
    this.#fetcher = new CommitFetcher(context)
  }

  /** What is followed. */
  get repository(): FollowedRepository {
    return this.#repository
  }

  /** Number of fetches so far: when it has grown, what could not be read may be there now. */
  get fetches(): number {
    return this.#fetcher.fetches
  }

  /** Downloads what Git LFS pointers stand for; undefined when the repository does not ask for it. */
  get lfs(): LfsReader | undefined {
    const { lfs } = this.#repository.spec
    if (!lfs) return undefined
    const { http, lfsTimeoutMs: timeoutMs } = this.#context
    return async (pointers, folder, signal) =>
      await downloadLfs(http, pointers, { remote: await this.#remote(), folder, hosts: lfs.hosts, timeoutMs, signal })
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
    this.#fetcher.forgetRefusals()
    this.#wake.abort()
  }

  /** Polls soon because somebody says that these refs were pushed, and goes on looking for a while until the server serves them. */
  hint(pushed: readonly PushedRef[]): void {
    this.#pushed.add(pushed)
    if (performance.now() >= this.#busyUntilMs) this.#wake.abort(HINTED)
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
      const [outcome] = await this.#fetcher.replace(await this.#remote(), wants, signal)
      if (typeof outcome !== 'string') throw outcome
      await this.#bringSubmodules(outcome, signal)
    })
  }

  async #run(): Promise<void> {
    const { signal } = this.#stopping
    while (!signal.aborted) {
      this.#wake = new AbortController()
      this.#polledAtMs = performance.now()
      const outcome = await this.#pollSafely()
      if (outcome === undefined) return
      await this.#tell(outcome)
      await this.#pause(this.#waitMs(outcome))
    }
  }

  /** Ends at once when somebody asks, or asked while the poll ran. */
  async #pause(waitMs: number): Promise<void> {
    const [stop, wake] = [this.#stopping.signal, this.#wake.signal]
    await delay(waitMs, undefined, { signal: AbortSignal.any([stop, wake]), ref: false }).catch(() => undefined)
    if (wake.reason !== HINTED) return
    const spacingMs = this.#polledAtMs + HINT_SPACING_MS - performance.now()
    if (spacingMs > 0) await delay(spacingMs, undefined, { signal: stop, ref: false }).catch(() => undefined)
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
    if (problem === undefined) {
      const waitMs = jittered(pollIntervalMs)
      return Math.min(waitMs, this.#pushed.nextLookMs() ?? waitMs)
    }
    const longest = Math.max(pollIntervalMs, MAX_FAILURE_WAIT_MS)
    const grown = Math.min(longest, pollIntervalMs * 2 ** Math.min(20, this.#failures - 1))
    const asked = problem instanceof GitServerBusy ? (problem.retryAfterMs ?? 0) : 0
    this.#busyUntilMs = performance.now() + asked
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
      const problem = toAppError(thrown)
      const app = this.#repository.spec.credentials?.githubApp
      if (app && problem.code === 'RepositoryAuthFailed') this.#context.tokens.forget(app)
      return { problem, refs: [], atMs: Date.now() }
    }
  }

  async #poll(signal: AbortSignal): Promise<RefOutcome[]> {
    const {
      refs,
      spec: { verify },
    } = this.#repository
    const remote = await this.#remote()
    const prefixes = prefixesFor(refs)
    const listing = await this.#list(remote, prefixes, signal)
    this.#pushed.settle(listing, (name) => ['HEAD', ...prefixes].some((prefix) => name.startsWith(prefix)))
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
    const keys = verify && (await readSigningKeys(verify, this.#context.secrets))
    // Only where tags may be signed is the tag itself needed.
    const wanted = new Map([...resolved].map(([ref, { oid, commit }]) => [ref, keys ? oid : commit]))
    const commits = await this.#fetcher.bring(remote, wanted, signal)
    for (const [ref, { name }] of resolved) {
      const oid = wanted.get(ref) ?? ''
      const commit = commits.get(oid) ?? new AppError('FetchFailed', 'the commit could not be fetched')
      const taken = typeof commit === 'string' ? await this.#take(commit, { oid, name, keys }, signal) : commit
      outcomes.set(
        ref,
        typeof taken === 'string' ? { ref, commit: taken, name } : { ref, problem: describeProblem(ref, taken) },
      )
    }
    return refs.flatMap((ref) => outcomes.get(ref) ?? [])
  }

  #list(remote: GitRemote, prefixes: readonly string[], signal: AbortSignal): Promise<RefListing> {
    const { http, gate, mirror, scratchDir, listTimeoutMs: timeoutMs } = this.#context
    return gate.run(hostOf(remote.url), signal, async () => {
      if (remote.ssh) return await listRefsByGit(remote, prefixes, { scratchDir, timeoutMs, signal })
      const format = this.#format
      const listing = this.#isOldServer
        ? undefined
        : await listRefs(http, remote, prefixes, { timeoutMs, signal, format })
      if (listing) return listing
      const old = fromListedRefs(await mirror.listRefs(remote, timeoutMs, signal))
      // A server that was asked for the other kind of ids answers as one that is old.
      const found = [...old.refs.values()].some(({ oid }) => oid.length === 64) ? 'sha256' : 'sha1'
      this.#isOldServer = old.refs.size > 0 && found === format
      this.#format = found
      return old
    })
  }

  async #checkEmpty(remote: GitRemote, signal: AbortSignal): Promise<void> {
    const { refs } = await this.#list(remote, ['refs/'], signal)
    if (refs.size === 0) throw new AppError('RepositoryEmpty', 'the repository has no commits')
  }

  /** The commit, signed as it should be and with its submodules, or why it is not taken. */
  async #take(commit: string, { keys, ...found }: Found, signal: AbortSignal): Promise<string | AppError> {
    try {
      if (keys) await this.#checkSignature({ ...found, keys }, signal)
      await this.#bringSubmodules(commit, signal)
      return commit
    } catch (error) {
      if (signal.aborted) throw error
      return toAppError(error)
    }
  }

  async #checkSignature(question: SignatureQuestion, signal: AbortSignal): Promise<void> {
    const key = hashSignatureQuestion(question)
    if (this.#signed.has(key)) return
    await this.#context.mirror.checkSignature(question, signal)
    remember(this.#signed, key)
  }

  /** Fetches the submodules of a commit, and theirs, into the same mirror. */
  async #bringSubmodules(commit: string, signal: AbortSignal): Promise<void> {
    const { submodules, url } = this.#repository.spec
    if (!submodules) return
    const { mirror } = this.#context
    const key = `${commit} ${this.#fetcher.fetches}`
    if (this.#complete.has(key)) return
    const own = await this.#remote()
    for (let round = 0; round < MAX_SUBMODULES; round++) {
      const missing = await mirror.findMissingSubmodules(commit, url, signal)
      if (missing.length === 0) break
      for (const submodule of missing) await this.#bringSubmodule(own, submodule, signal)
    }
    remember(this.#complete, `${commit} ${this.#fetcher.fetches}`)
  }

  async #bringSubmodule(own: GitRemote, submodule: MissingSubmodule, signal: AbortSignal): Promise<void> {
    try {
      const remote = remoteOfSubmodule(own, submodule, this.#repository.spec.submodules?.hosts ?? [])
      await this.#fetcher.bringOne(remote, submodule.oid, signal)
    } catch (error) {
      const { code, message } = toAppError(error)
      throw new AppError(code, `submodule ${submodule.path}: ${message}`, { cause: error })
    }
  }

  #remote(): Promise<GitRemote> {
    return readRemote(this.#repository.spec, this.#context)
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

/** Keeps about as many as there are refs: what is forgotten is looked at again. */
function remember(known: Set<string>, key: string): void {
  if (known.size >= MAX_REMEMBERED) known.clear()
  known.add(key)
}

/** A commit id comes from a person, who may have mistyped it; the ids of refs come from the server. */
function describeProblem(ref: string, problem: AppError): AppError {
  if (!isObjectId(ref) || problem.code !== 'FetchFailed') return problem
  const message = `the server has no commit ${ref}, or does not give it out by its id`
  return new AppError('RefNotFound', message, { cause: problem })
}

// A repository on a Git server: lists its refs with one request, fetches only when one moved, and takes a commit only when it
// is signed as it should be and complete.
import { AppError, toAppError } from '@fairlead/shared/errors'
import { CommitFetcher, type CommitFetcherContext } from './commit-fetcher.ts'
import { type GitHttp, type GitRemote, hostOf } from './git-http.ts'
import { isObjectId } from './git-object.ts'
import type { HostGate } from './host-gate.ts'
import { downloadLfs } from './lfs.ts'
import type { LfsReader } from './mirror.ts'
import { listRefsByGit } from './native-git.ts'
import { type PushedRef, PushedRefs } from './pushed-refs.ts'
import { fromListedRefs, listRefs, type ObjectFormat, type RefListing } from './ref-listing.ts'
import { prefixesFor, type ResolvedRef, resolveRef } from './ref-resolution.ts'
import type { RefSource } from './ref-source.ts'
import { type RemoteContext, readRemote, remoteOfSubmodule } from './remote.ts'
import type { SignatureQuestion, SigningKeys } from './signature-check.ts'
import { hashSignatureQuestion, readSigningKeys } from './signing-keys.ts'
import { MAX_SUBMODULES, type MissingSubmodule } from './submodules.ts'
import type { FollowedRepository, RefOutcome } from './tracked-rows.ts'

/** What a Git repository is followed with. */
export interface GitSourceContext extends CommitFetcherContext, RemoteContext {
  readonly http: GitHttp
  /** For listings of refs. */
  readonly gate: HostGate
  /** Folder for keys and other files while git runs; nobody else may read it. */
  readonly scratchDir: string
  /** Longest listing of refs in milliseconds. */
  readonly listTimeoutMs: number
  /** Longest download of one content of Git LFS in milliseconds. */
  readonly fetchTimeoutMs: number
}

const MAX_REMEMBERED = 1_000

/** A commit as a ref names it, and the keys that it must be signed by. */
type Found = Omit<SignatureQuestion, 'keys'> & { readonly keys: SigningKeys | undefined }

/** One repository on a Git server. */
export class GitSource implements RefSource {
  readonly #context: GitSourceContext
  readonly #fetcher: CommitFetcher
  /** True when the server, which `#url` is of, does not speak Git's protocol version 2. */
  #isOldServer = false
  #url = ''
  #format: ObjectFormat = 'sha1'
  /** What webhooks announced and Git does not serve yet. */
  readonly #pushed = new PushedRefs()
  /** What was found to be signed, by hashSignatureQuestion. */
  readonly #signed = new Set<string>()
  /** Commits whose submodules are all here, each with the number of fetches then: a fetch may have replaced the mirror. */
  readonly #complete = new Set<string>()

  constructor(context: GitSourceContext) {
    this.#context = context
    this.#fetcher = new CommitFetcher(context)
  }

  get fetches(): number {
    return this.#fetcher.fetches
  }

  findLfs(repository: FollowedRepository): LfsReader | undefined {
    const { lfs } = repository.spec
    if (!lfs) return undefined
    const { http, fetchTimeoutMs: timeoutMs } = this.#context
    return async (pointers, folder, signal) => {
      const remote = await this.#remoteOf(repository)
      await downloadLfs(http, pointers, { remote, folder, hosts: lfs.hosts, timeoutMs, signal })
    }
  }

  forgetRefusals(): void {
    this.#fetcher.forgetRefusals()
  }

  expect(pushed: readonly PushedRef[]): void {
    this.#pushed.add(pushed)
  }

  nextLookMs(): number | undefined {
    return this.#pushed.nextLookMs()
  }

  bringChart(): Promise<undefined> {
    return Promise.resolve(undefined)
  }

  async bringCommit(repository: FollowedRepository, commit: string, signal: AbortSignal): Promise<void> {
    const { verify } = repository.spec
    const [known] = await this.#context.mirror.findCommits([commit], signal)
    if (known === undefined) await this.#fetcher.bringOne(await this.#remoteOf(repository), commit, signal)
    const keys = verify && (await readSigningKeys(verify, this.#context.secrets))
    const taken = await this.#take(repository, commit, { oid: commit, name: '', keys }, signal)
    if (typeof taken !== 'string') throw taken
  }

  async repair(repository: FollowedRepository, commit: string, signal: AbortSignal): Promise<void> {
    const known = await this.#context.readCommits()
    const others = new Set(known.values())
    others.delete(commit)
    const wants = [commit, ...others].map((oid) => ({ oid }))
    // Everything anew: who knows what else is lost.
    const [outcome] = await this.#fetcher.replace(await this.#remoteOf(repository), wants, signal)
    if (typeof outcome !== 'string') throw outcome
    await this.#bringSubmodules(repository, outcome, signal)
  }

  async poll(repository: FollowedRepository, signal: AbortSignal): Promise<RefOutcome[]> {
    try {
      return await this.#poll(repository, signal)
    } catch (error) {
      const app = repository.spec.credentials?.githubApp
      if (app && toAppError(error).code === 'RepositoryAuthFailed') this.#context.tokens.forget(app)
      throw error
    }
  }

  async #poll(repository: FollowedRepository, signal: AbortSignal): Promise<RefOutcome[]> {
    const {
      refs,
      spec: { url, verify },
    } = repository
    if (url !== this.#url) this.#isOldServer = false
    this.#url = url
    const remote = await this.#remoteOf(repository)
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
      const taken =
        typeof commit === 'string' ? await this.#take(repository, commit, { oid, name, keys }, signal) : commit
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
  async #take(
    repository: FollowedRepository,
    commit: string,
    { keys, ...found }: Found,
    signal: AbortSignal,
  ): Promise<string | AppError> {
    try {
      if (keys) await this.#checkSignature({ ...found, keys }, signal)
      await this.#bringSubmodules(repository, commit, signal)
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
  async #bringSubmodules(repository: FollowedRepository, commit: string, signal: AbortSignal): Promise<void> {
    const { submodules, url } = repository.spec
    if (!submodules) return
    const { mirror } = this.#context
    const key = `${commit} ${this.#fetcher.fetches}`
    if (this.#complete.has(key)) return
    const own = await this.#remoteOf(repository)
    for (let round = 0; round < MAX_SUBMODULES; round++) {
      const missing = await mirror.findMissingSubmodules(commit, url, signal)
      if (missing.length === 0) break
      for (const submodule of missing) await this.#bringSubmodule(own, submodules.hosts, submodule, signal)
    }
    remember(this.#complete, `${commit} ${this.#fetcher.fetches}`)
  }

  async #bringSubmodule(
    own: GitRemote,
    hosts: readonly string[],
    submodule: MissingSubmodule,
    signal: AbortSignal,
  ): Promise<void> {
    try {
      const remote = remoteOfSubmodule(own, submodule, hosts)
      await this.#fetcher.bringOne(remote, submodule.oid, signal)
    } catch (error) {
      const { code, message } = toAppError(error)
      throw new AppError(code, `submodule ${submodule.path}: ${message}`, { cause: error })
    }
  }

  #remoteOf({ spec }: FollowedRepository): Promise<GitRemote> {
    return readRemote(spec, this.#context)
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

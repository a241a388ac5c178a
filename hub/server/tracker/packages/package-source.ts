// A repository whose content comes packed: an OCI artifact, or the charts of a Helm repository. A package's digest is its commit.
import { createHash, type KeyObject } from 'node:crypto'
import { AppError, toAppError } from '@fairlead/shared/errors'
import { followedRef } from '@fairlead/shared/followed-ref'
import { parseCosignKeys } from '../../cosign-keys.ts'
import { isTag, type PackageRef, parsePackageRef, placeOf, tagOf } from '../../package-reference.ts'
import { readSecretText } from '../../secret-source.ts'
import { findVersionRange, isVersionRef, newestTag } from '../../version-range.ts'
import type { GitHttp, GitRemote } from '../git-http.ts'
import type { HostGate } from '../host-gate.ts'
import type { RefSource } from '../ref-source.ts'
import { type RemoteContext, readRemote } from '../remote.ts'
import type { FollowedRepository, RefOutcome } from '../tracked-rows.ts'
import { checkCosignSignature } from './cosign.ts'
import { type ChartVersion, INDEX_MAX_BYTES } from './helm-index.ts'
import { OciRegistry, type OciRepository, type OciRequestOptions } from './oci-registry.ts'
import { findPackageContent } from './package-content.ts'
import type { FetchedPackage, PackageStore } from './package-store.ts'
import { Refusals } from './refusals.ts'

/** What packages are followed with. */
export interface PackageSourceContext extends RemoteContext {
  readonly http: GitHttp
  readonly gate: HostGate
  readonly store: PackageStore
  /** Longest request that is no download, in milliseconds. */
  readonly listTimeoutMs: number
  /** Longest download in milliseconds. */
  readonly fetchTimeoutMs: number
  /** The last good digests by ref. */
  readCommits(): Promise<ReadonlyMap<string, string>>
}

/** Largest package in bytes, as it is packed. */
export const PACKAGE_MAX_BYTES = 50 * 1024 * 1024
const TAGS = 'refs/tags/'
/** Newest version that is no pre-release. */
const ANY_VERSION = 'semver:*'
const MAX_REMEMBERED = 1_000

/** A package that a ref names. */
interface Found {
  readonly digest: string
  /** Its version or tag; empty where only the digest is known. */
  readonly name: string
  bring(): Promise<void>
}

/** One poll, or one repair. */
interface Round {
  readonly repository: FollowedRepository
  readonly remote: GitRemote
  readonly keys: readonly KeyObject[] | undefined
  readonly signal: AbortSignal
  /** Answers that several refs need, by what was asked. */
  readonly answers: Map<string, Promise<unknown>>
}

/** The packages of one repository. */
export class PackageSource implements RefSource {
  readonly #context: PackageSourceContext
  readonly #registry: OciRegistry
  readonly #refusals = new Refusals()
  #fetches = 0
  /** Signed artifacts, by digest and keys. */
  readonly #signed = new Set<string>()
  /** Digests of charts whose index names none, by address. */
  readonly #digests = new Map<string, string>()
  /** Charts of the index that somebody asked for. */
  readonly #charts = new Set<string>()
  /** The index that was read last, and what the server said of it. */
  #index:
    | { readonly validators: Record<string, string>; readonly charts: string; readonly versions: ChartVersions }
    | undefined

  constructor(context: PackageSourceContext) {
    this.#context = context
    this.#registry = new OciRegistry(context.http)
  }

  get fetches(): number {
    return this.#fetches
  }

  findLfs(): undefined {
    return undefined
  }

  forgetRefusals(): void {
    this.#refusals.clear()
  }

  /** A registry serves what it announces. */
  expect(): void {}

  nextLookMs(): undefined {
    return undefined
  }

  async poll(repository: FollowedRepository, signal: AbortSignal): Promise<RefOutcome[]> {
    const round = await this.#begin(repository, signal)
    const outcomes: RefOutcome[] = []
    for (const ref of repository.refs) outcomes.push(await this.#pollRef(ref, round))
    return outcomes
  }

  async bringChart(
    repository: FollowedRepository,
    { name, version }: { readonly name: string; readonly version: string },
    signal: AbortSignal,
  ): Promise<string | undefined> {
    const ref = followedRef({ chart: name, ref: version })
    const round = await this.#begin({ ...repository, refs: [...repository.refs, ref] }, signal)
    const outcome = await this.#pollRef(ref, round)
    if ('problem' in outcome) throw outcome.problem
    return outcome.commit
  }

  bringCommit(): Promise<never> {
    return Promise.reject(new AppError('InvalidArgument', 'packages have no commits'))
  }

  async repair(repository: FollowedRepository, commit: string, signal: AbortSignal): Promise<void> {
    const round = await this.#begin(repository, signal)
    const known = await this.#context.readCommits()
    // Where a ref had that digest it is looked for first.
    const refs = repository.refs.toSorted((a, b) => Number(known.get(b) === commit) - Number(known.get(a) === commit))
    let problem = new AppError('FetchFailed', `the package ${commit.slice(0, 12)} cannot be fetched`)
    const asked = refs.flatMap((ref) => parsed(repository, ref).map((each) => ({ ...each, digest: commit })))
    for (const ref of [...asked, ...asked.map((each) => ({ ...each, version: '' }))]) {
      try {
        const found = await this.#find(ref, round)
        await found.bring()
        return
      } catch (error) {
        if (signal.aborted) throw error
        problem = toAppError(error)
      }
    }
    throw problem
  }

  async #begin(repository: FollowedRepository, signal: AbortSignal): Promise<Round> {
    const { verify } = repository.spec
    return {
      repository,
      remote: await readRemote(repository.spec, this.#context),
      keys: verify && (await this.#readKeys(verify)),
      signal,
      answers: new Map(),
    }
  }

  async #pollRef(ref: string, round: Round): Promise<RefOutcome> {
    try {
      const { digest, name, bring } = await this.#find(parsePackageRef(round.repository.spec, ref), round)
      await this.#refusals.unlessRefused(digest, async () => {
        if (round.keys) await this.#checkSignature(ref, digest, round)
        if (!this.#context.store.has(digest)) await bring()
      })
      return { ref, commit: digest, name }
    } catch (error) {
      const problem = toAppError(error)
      if (round.signal.aborted || problem.code === 'RepositoryUnreachable') throw error
      return { ref, problem }
    }
  }

  #find(ref: PackageRef, round: Round): Promise<Found> {
    const place = placeOf(round.repository.spec, ref.chart)
    return place.kind === 'oci'
      ? this.#findArtifact({ remote: { ...round.remote, url: place.registry }, name: place.name }, ref, round)
      : this.#findChart(ref, round)
  }

  async #findArtifact(repository: OciRepository, ref: PackageRef, round: Round): Promise<Found> {
    const { version, digest } = ref
    const bring = (found: string) => () => this.#bringArtifact(repository, found, round)
    if (digest !== undefined) return { digest, name: version, bring: bring(digest) }
    const tag = await this.#tagOf(repository, ref, round)
    if (!isTag(tag)) throw new AppError('InvalidArgument', `${tag} is no tag: letters, digits, "_", "." and "-"`)
    const found = await this.#send(round, (options) => this.#registry.findTag(repository, tag, options))
    if (found === undefined) throw new AppError('RefNotFound', `${repository.name} has no tag ${tag}`)
    return { digest: found, name: tag, bring: bring(found) }
  }

  async #tagOf(repository: OciRepository, { chart, version }: PackageRef, round: Round): Promise<string> {
    const wanted = version === '' && chart !== '' ? ANY_VERSION : version
    if (!isVersionRef(wanted)) return wanted === '' ? 'latest' : tagOf(wanted)
    const tags = await once(round, `tags ${repository.name}`, () =>
      this.#send(round, (options) => this.#registry.listTags(repository, options)),
    )
    // Registries write an underscore for the plus sign of a version.
    const names = new Map(tags.map((tag) => [`${TAGS}${tag.replaceAll('_', '+')}`, tag]))
    const newest = newestTag(rangeOf(wanted), names)
    return names.get(newest) ?? newest
  }

  async #bringArtifact(repository: OciRepository, digest: string, round: Round): Promise<void> {
    const manifest = await this.#send(round, (options) =>
      this.#registry.findManifest(repository, `sha256:${digest}`, options),
    )
    if (manifest === undefined) throw new AppError('RefNotFound', `${repository.name} has no artifact sha256:${digest}`)
    const { layer, isChart } = findPackageContent(manifest.content)
    const archive = await this.#download(round, (options) =>
      this.#registry.readBlob(repository, layer, PACKAGE_MAX_BYTES, options),
    )
    await this.#save({ digest, archive, manifest: manifest.bytes, isChart }, round)
  }

  async #findChart({ chart, version, digest }: PackageRef, round: Round): Promise<Found> {
    const entry = findEntry(await this.#readVersions(round), { chart, version, digest })
    const address = addressOfChart(round.remote, entry.url)
    const { archive, found } = await this.#identify(entry, address, round)
    if (digest !== undefined && found !== digest) throw otherDigest(chart, entry.version, found)
    const bring = async (): Promise<void> => {
      const content = archive ?? (await this.#downloadChart(address, round))
      const is = sha256(content)
      if (is !== found) {
        const message = `the chart's archive is sha256:${is.slice(0, 12)}, not sha256:${found.slice(0, 12)} as its index says`
        throw new AppError('FetchFailed', message)
      }
      await this.#save({ digest: found, archive: content, isChart: true }, round)
    }
    return { digest: found, name: entry.version, bring }
  }

  /** The digest of a chart's archive; where the index does not say, by downloading it once: a version is published once. */
  async #identify(
    { digest }: ChartVersion,
    address: URL,
    round: Round,
  ): Promise<{ readonly found: string; readonly archive?: Buffer }> {
    const known = digest ?? this.#digests.get(address.href)
    if (known !== undefined) return { found: known }
    const archive = await this.#downloadChart(address, round)
    const found = sha256(archive)
    if (this.#digests.size >= MAX_REMEMBERED) this.#digests.clear()
    this.#digests.set(address.href, found)
    return { found, archive }
  }

  async #downloadChart(address: URL, round: Round): Promise<Buffer> {
    const own = new URL(round.remote.url)
    const authorization = address.host === own.host ? round.remote.authorization : undefined
    const remote = { ...round.remote, url: address.origin, authorization }
    const request = { path: `${address.pathname}${address.search}`, maxBytes: PACKAGE_MAX_BYTES }
    const answer = await this.#download(round, (options) => this.#context.http.send(remote, { ...request, ...options }))
    if (answer.status === 200) return answer.body
    throw new AppError('FetchFailed', `${address.host} answers HTTP ${answer.status} for the chart`)
  }

  async #readVersions(round: Round): Promise<ChartVersions> {
    return await once(round, 'index', async () => {
      const refs = round.repository.refs.flatMap((ref) => parsed(round.repository, ref))
      // Those that were asked for once are asked for again: each other set would have the whole index read anew.
      for (const { chart } of refs) this.#charts.add(chart)
      const charts = [...this.#charts].sort()
      const key = JSON.stringify([round.remote.url, charts])
      const last = this.#index?.charts === key ? this.#index : undefined
      const answer = await this.#send(round, (options) =>
        this.#context.http.send(round.remote, {
          path: '/index.yaml',
          headers: last?.validators ?? {},
          maxBytes: INDEX_MAX_BYTES,
          ...options,
        }),
      )
      if (answer.status === 304 && last) return last.versions
      if (answer.status !== 200) {
        throw new AppError('RepositoryUnreachable', `the server answers HTTP ${answer.status} for index.yaml`)
      }
      const { etag, 'last-modified': modified } = answer.headers
      const versions = await this.#context.store.readIndex(answer.body, charts, round.signal)
      const validators = {
        ...(etag === undefined ? {} : { 'if-none-match': etag }),
        ...(modified === undefined ? {} : { 'if-modified-since': modified }),
      }
      this.#index = { validators, charts: key, versions }
      return versions
    })
  }

  async #checkSignature(ref: string, digest: string, round: Round): Promise<void> {
    const keys = round.keys ?? []
    const id = [digest, ...keys.map((key) => key.export({ type: 'spki', format: 'pem' }))].join('\n')
    if (this.#signed.has(id)) return
    const place = placeOf(round.repository.spec, parsePackageRef(round.repository.spec, ref).chart)
    if (place.kind !== 'oci') throw new AppError('InvalidArgument', 'cosign signs only what is in an OCI registry')
    const repository = { remote: { ...round.remote, url: place.registry }, name: place.name }
    await this.#send(round, (options) => checkCosignSignature(this.#registry, { repository, digest, keys }, options))
    if (this.#signed.size >= MAX_REMEMBERED) this.#signed.clear()
    this.#signed.add(id)
  }

  async #readKeys({ cosignKeys, cosignKeysFrom }: Verification): Promise<KeyObject[]> {
    try {
      const more = cosignKeysFrom === '' ? '' : await readSecretText(cosignKeysFrom, this.#context.secrets)
      return parseCosignKeys(`${cosignKeys}\n${more}`)
    } catch (error) {
      const { message } = toAppError(error)
      throw new AppError('SignatureRejected', `the keys of spec.verify cannot be read: ${message}`, { cause: error })
    }
  }

  async #save(fetched: FetchedPackage, { signal }: Round): Promise<void> {
    await this.#context.store.save(fetched, signal)
    this.#fetches++
  }

  #send<T>(round: Round, work: (options: OciRequestOptions) => Promise<T>): Promise<T> {
    return this.#run(round, this.#context.listTimeoutMs, work)
  }

  #download<T>(round: Round, work: (options: OciRequestOptions) => Promise<T>): Promise<T> {
    return this.#run(round, this.#context.fetchTimeoutMs, work)
  }

  #run<T>({ remote, signal }: Round, timeoutMs: number, work: (options: OciRequestOptions) => Promise<T>): Promise<T> {
    return this.#context.gate.run(new URL(remote.url).host, signal, () => work({ timeoutMs, signal }))
  }
}

type ChartVersions = ReadonlyMap<string, readonly ChartVersion[]>
type Verification = NonNullable<FollowedRepository['spec']['verify']>

/** Asks once in a round. */
function once<T>({ answers }: Round, key: string, ask: () => Promise<T>): Promise<T> {
  const known = answers.get(key) as Promise<T> | undefined
  const answer = known ?? ask()
  answers.set(key, answer)
  return answer
}

function findEntry(versions: ChartVersions, { chart, version, digest }: PackageRef): ChartVersion {
  const entries = versions.get(chart)
  if (entries === undefined) throw new AppError('RefNotFound', `the Helm repository has no chart ${chart}`)
  if (version === '' && digest !== undefined) {
    const entry = entries.find((each) => each.digest === digest)
    if (entry) return entry
    throw new AppError('RefNotFound', `no version of ${chart} has the digest sha256:${digest}`)
  }
  const wanted = version === '' ? ANY_VERSION : version
  const name = isVersionRef(wanted)
    ? newestTag(rangeOf(wanted), new Set(entries.map((entry) => `${TAGS}${entry.version}`))).slice(TAGS.length)
    : wanted
  const entry = entries.find((each) => each.version === name)
  if (entry) return entry
  throw new AppError('RefNotFound', `the Helm repository has no version ${name} of ${chart}`)
}

function rangeOf(ref: string): NonNullable<ReturnType<typeof findVersionRange>> {
  const range = findVersionRange(ref)
  if (range === undefined) throw new AppError('InvalidArgument', `${ref} names no range of versions`)
  return range
}

/** Below the repository, or on a host that the definition names. */
function addressOfChart({ url, redirectHosts = [] }: GitRemote, written: string): URL {
  const own = new URL(`${url.replace(/\/+$/, '')}/`)
  const address = URL.parse(written, own.href)
  const isSafe = address?.protocol === 'https:' || address?.protocol === own.protocol
  const isHttp = address?.protocol === 'https:' || address?.protocol === 'http:'
  if (address !== null && isSafe && isHttp && (address.host === own.host || redirectHosts.includes(address.host))) {
    address.username = ''
    address.password = ''
    address.hash = ''
    return address
  }
  const where = address === null ? 'at no address' : `at ${address.protocol}//${address.host}`
  throw new AppError(
    'FetchFailed',
    `the chart's archive is ${where}, which is not declared; name the host in spec.redirectHosts`,
  )
}

function otherDigest(chart: string, version: string, digest: string): AppError {
  return new AppError('RefNotFound', `${chart} ${version} is sha256:${digest} now, not the digest that is asked for`)
}

/** What a followed ref asks for; nothing for what is none. */
function parsed({ spec }: FollowedRepository, ref: string): PackageRef[] {
  try {
    return [parsePackageRef(spec, ref)]
  } catch {
    return []
  }
}

function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex')
}

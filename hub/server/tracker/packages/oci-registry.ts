// Reads from an OCI registry (github.com/opencontainers/distribution-spec): tags, manifests and blobs, each checked against
// its digest, with tokens as registries ask for them (distribution.github.io/distribution/spec/auth/token).
import { createHash } from 'node:crypto'
import { AppError } from '@fairlead/shared/errors'
import { type GitAnswer, type GitHttp, type GitRemote, GitServerBusy, LoginRefused } from '../git-http.ts'

/** One repository of a registry. */
export interface OciRepository {
  /** The registry's address, http(s)://<host>, and how to get in. */
  readonly remote: GitRemote
  readonly name: string
}

/** How a request is run. */
export interface OciRequestOptions {
  readonly timeoutMs: number
  readonly signal: AbortSignal
}

/** A manifest as it is stored. */
export interface OciManifest {
  /** SHA-256 of its bytes in hexadecimal. */
  readonly digest: string
  readonly bytes: Buffer
  readonly content: ManifestContent
}

/** What is read of manifests and indexes; whatever a registry sends in other fields, or of other types, is not there. */
export interface ManifestContent {
  readonly configMediaType: string
  readonly layers: readonly OciDescriptor[]
  /** Of an index. */
  readonly manifests: readonly OciDescriptor[]
}

/** What a manifest says of a blob or of another manifest. */
export interface OciDescriptor {
  readonly mediaType: string
  readonly artifactType: string
  /** sha256:<hexadecimal>. */
  readonly digest: string
  readonly sizeBytes: number
  readonly annotations: Readonly<Record<string, string>>
}

/** Largest manifest in bytes. */
const MANIFEST_MAX_BYTES = 4 * 1024 * 1024
const TAGS_PAGE_MAX_BYTES = 4 * 1024 * 1024
const MAX_TAGS = 50_000
const MAX_PAGES = 100
const TOKEN_MAX_BYTES = 256 * 1024
/** What a token is good for that does not say. */
const TOKEN_SECONDS = 60
/** A token is not used when it is about to end, in milliseconds. */
const TOKEN_MARGIN_MS = 5_000
const MAX_TOKENS = 1_000
const ACCEPTED = [
  'application/vnd.oci.image.manifest.v1+json',
  'application/vnd.docker.distribution.manifest.v2+json',
  'application/vnd.oci.image.index.v1+json',
  'application/vnd.docker.distribution.manifest.list.v2+json',
].join(', ')
const DIGEST = /^sha256:[0-9a-f]{64}$/

/** Reads from registries; tokens are kept while they are good. */
export class OciRegistry {
  readonly #http: GitHttp
  /** Authorization by registry, name and credentials. */
  readonly #logins = new Map<string, { readonly authorization: string; readonly untilMs: number }>()

  constructor(http: GitHttp) {
    this.#http = http
  }

  /** The digest of a tag, in hexadecimal; undefined when there is no such tag. Rejects as GitHttp.send does. */
  async findTag(repository: OciRepository, tag: string, options: OciRequestOptions): Promise<string | undefined> {
    const path = `/manifests/${tag}`
    const answer = await this.#send(repository, { path, headersOnly: true, maxBytes: 0 }, options).catch(unlessMissing)
    const digest = answer?.headers['docker-content-digest']
    if (answer?.status === 200 && typeof digest === 'string' && DIGEST.test(digest)) return digest.slice(7)
    // Registries need not answer HEAD, nor name the digest.
    return (await this.findManifest(repository, tag, options))?.digest
  }

  /** A manifest by tag or by sha256:<digest>; undefined when there is none. Rejects as GitHttp.send does, or with FetchFailed for what is none, or another one. */
  async findManifest(
    repository: OciRepository,
    reference: string,
    options: OciRequestOptions,
  ): Promise<OciManifest | undefined> {
    const request = { path: `/manifests/${reference}`, maxBytes: MANIFEST_MAX_BYTES }
    const answer = await this.#send(repository, request, options).catch(unlessMissing)
    if (answer === undefined) return undefined
    if (answer.status !== 200) throw unexpected(answer, 'a manifest')
    const digest = hash(answer.body)
    if (DIGEST.test(reference) && reference !== `sha256:${digest}`) {
      throw new AppError('FetchFailed', `the registry sends another manifest than ${reference}`)
    }
    return { digest, bytes: answer.body, content: parseManifest(answer.body) }
  }

  /** A blob, checked against its digest. Rejects as GitHttp.send does, or with LimitExceeded or FetchFailed. */
  async readBlob(
    repository: OciRepository,
    { digest, sizeBytes }: OciDescriptor,
    maxBytes: number,
    options: OciRequestOptions,
  ): Promise<Buffer> {
    if (!DIGEST.test(digest)) throw new AppError('FetchFailed', 'the manifest names a digest that is no SHA-256')
    if (sizeBytes > maxBytes) {
      throw new AppError('LimitExceeded', `the package has ${sizeBytes} bytes; the limit is ${maxBytes}`)
    }
    const answer = await this.#send(repository, { path: `/blobs/${digest}`, maxBytes }, options)
    if (answer.status !== 200) throw unexpected(answer, 'a blob')
    if (`sha256:${hash(answer.body)}` !== digest) {
      throw new AppError('FetchFailed', `the registry sends something else than ${digest}`)
    }
    return answer.body
  }

  /** All tags. Rejects as GitHttp.send does, or with LimitExceeded or FetchFailed. */
  async listTags(repository: OciRepository, options: OciRequestOptions): Promise<readonly string[]> {
    const tags: string[] = []
    let query = '?n=1000'
    for (let page = 0; page < MAX_PAGES; page++) {
      const request = { path: `/tags/list${query}`, maxBytes: TAGS_PAGE_MAX_BYTES }
      const answer = await this.#send(repository, request, options)
      if (answer.status !== 200) throw unexpected(answer, 'a list of tags')
      tags.push(...parseTags(answer))
      if (tags.length > MAX_TAGS) throw new AppError('LimitExceeded', `the registry lists more than ${MAX_TAGS} tags`)
      // Only the query counts: an address that the registry makes up is not asked.
      const next = /<[^>?]*(\?[^>]*)>\s*;\s*rel="?next"?/.exec(String(answer.headers.link ?? ''))?.[1]
      if (next === undefined || next === query) return tags
      query = next
    }
    throw new AppError('LimitExceeded', `the registry lists tags on more than ${MAX_PAGES} pages`)
  }

  /** What is attached to a manifest: by the referrers API, or by the tag that stands for it. Rejects as GitHttp.send does. */
  async listReferrers(
    repository: OciRepository,
    digest: string,
    options: OciRequestOptions,
  ): Promise<readonly OciDescriptor[]> {
    const request = { path: `/referrers/sha256:${digest}`, maxBytes: MANIFEST_MAX_BYTES }
    const answer = await this.#send(repository, request, options).catch(unlessMissing)
    const index =
      answer?.status === 200
        ? parseManifest(answer.body)
        : (await this.findManifest(repository, `sha256-${digest}`, options))?.content
    return (index?.manifests ?? []).filter((manifest) => DIGEST.test(manifest.digest))
  }

  async #send(
    { remote, name }: OciRepository,
    request: { readonly path: string; readonly maxBytes: number; readonly headersOnly?: boolean },
    options: OciRequestOptions,
  ): Promise<GitAnswer> {
    const key = JSON.stringify([remote.url, name, remote.authorization])
    const send = (authorization: string | undefined): Promise<GitAnswer> =>
      this.#http.send(
        { ...remote, authorization },
        { ...request, ...options, path: `/v2/${name}${request.path}`, headers: { accept: ACCEPTED } },
      )
    const login = this.#logins.get(key)
    try {
      // Nothing is told to a registry that does not ask.
      return await send(login !== undefined && performance.now() < login.untilMs ? login.authorization : undefined)
    } catch (error) {
      if (!(error instanceof LoginRefused) || error.challenge === '') throw error
      const fresh = await this.#logIn({ remote, name }, error, options)
      this.#logins.delete(key)
      if (this.#logins.size >= MAX_TOKENS) this.#logins.clear()
      const answer = await send(fresh.authorization)
      this.#logins.set(key, fresh)
      return answer
    }
  }

  async #logIn(
    { remote, name }: OciRepository,
    refusal: LoginRefused,
    options: OciRequestOptions,
  ): Promise<{ authorization: string; untilMs: number }> {
    const { scheme, parameters } = parseChallenge(refusal.challenge)
    if (scheme === 'basic' && remote.authorization !== undefined) {
      return { authorization: remote.authorization, untilMs: Number.POSITIVE_INFINITY }
    }
    if (scheme !== 'bearer') throw refusal
    const service = tokenService(parameters.get('realm') ?? '', remote)
    const query = new URLSearchParams(service.search)
    const asked = parameters.get('service')
    if (asked !== undefined) query.set('service', asked)
    // What the registry asks for might be more than reading.
    query.set('scope', `repository:${name}:pull`)
    const request = { path: `${service.pathname}?${query}`, maxBytes: TOKEN_MAX_BYTES, ...options }
    const answer = await this.#http.send({ ...remote, url: service.origin }, request)
    const { token, seconds } = parseToken(answer)
    return { authorization: `Bearer ${token}`, untilMs: performance.now() + seconds * 1_000 - TOKEN_MARGIN_MS }
  }
}

/** The address of a registry's token service, which learns the credentials: the registry's own host, or one that the definition names. */
function tokenService(realm: string, { url, redirectHosts = [] }: GitRemote): URL {
  const own = new URL(url)
  const service = URL.parse(realm)
  const isSafe = service?.protocol === 'https:' || service?.protocol === own.protocol
  if (service !== null && isSafe && (service.host === own.host || redirectHosts.includes(service.host))) return service
  const where = service === null ? 'nowhere' : `${service.protocol}//${service.host}`
  throw new AppError(
    'RepositoryUnreachable',
    `${own.host} sends to ${where} for tokens, which is not asked; name the host in spec.redirectHosts`,
  )
}

function parseChallenge(challenge: string): { scheme: string; parameters: ReadonlyMap<string, string> } {
  const [, scheme = '', rest = ''] = /^\s*([A-Za-z]+)\s*(.*)$/s.exec(challenge) ?? []
  const parameters = [...rest.matchAll(/([A-Za-z_]+)="([^"]*)"/g)].map(
    ([, name = '', value = '']) => [name.toLowerCase(), value] as const,
  )
  return { scheme: scheme.toLowerCase(), parameters: new Map(parameters) }
}

function parseToken(answer: GitAnswer): { token: string; seconds: number } {
  const content = answer.status === 200 ? parseObject(answer.body) : {}
  const token = [content.token, content.access_token].find(
    (each) => typeof each === 'string' && /^[\x21-\x7e]+$/.test(each),
  )
  if (typeof token !== 'string')
    throw new AppError('RepositoryAuthFailed', 'the token service of the registry gives no token')
  const { expires_in: seconds } = content
  return { token, seconds: typeof seconds === 'number' && seconds > 0 ? seconds : TOKEN_SECONDS }
}

function parseTags({ body }: GitAnswer): string[] {
  const { tags } = parseObject(body)
  return Array.isArray(tags) ? tags.filter((tag) => typeof tag === 'string') : []
}

/** What a manifest or an index says. Throws FetchFailed for what is no JSON. */
export function parseManifest(body: Buffer): ManifestContent {
  const content = parseObject(body)
  return {
    configMediaType: textOf(objectOf(content.config).mediaType),
    layers: descriptorsOf(content.layers),
    manifests: descriptorsOf(content.manifests),
  }
}

function descriptorsOf(list: unknown): OciDescriptor[] {
  if (!Array.isArray(list)) return []
  return list.map((each: unknown) => {
    const { mediaType, artifactType, digest, size, annotations } = objectOf(each)
    const texts = Object.entries(objectOf(annotations)).filter(
      (entry): entry is [string, string] => typeof entry[1] === 'string',
    )
    return {
      mediaType: textOf(mediaType),
      artifactType: textOf(artifactType),
      digest: textOf(digest),
      sizeBytes: typeof size === 'number' && size >= 0 ? size : Number.POSITIVE_INFINITY,
      annotations: Object.fromEntries(texts),
    }
  })
}

function parseObject(body: Buffer): Record<string, unknown> {
  try {
    return objectOf(JSON.parse(body.toString('utf8')))
  } catch (cause) {
    throw new AppError('FetchFailed', 'the registry answers no JSON', { cause })
  }
}

function objectOf(value: unknown): Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? { ...value } : {}
}

function textOf(value: unknown): string {
  return typeof value === 'string' ? value : ''
}

function unlessMissing(error: unknown): undefined {
  const isMissing = error instanceof AppError && error.code === 'RepositoryNotFound'
  if (!isMissing || error instanceof GitServerBusy) throw error
  return undefined
}

function unexpected({ status }: GitAnswer, what: string): AppError {
  return new AppError('RepositoryUnreachable', `the registry answers HTTP ${status} to a request for ${what}`)
}

function hash(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex')
}

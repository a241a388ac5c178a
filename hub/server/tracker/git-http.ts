// HTTP(S) requests to Git servers, registries and Helm repositories: kept-alive connections, a deadline and a size limit on every one, redirects only
// within the same host or to declared ones, credentials only where they belong, no address that only the hub can reach.
import { Agent as HttpAgent, request as httpRequest, type IncomingHttpHeaders, type IncomingMessage } from 'node:http'
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https'
import { AppError, isAborted } from '@fairlead/shared/errors'
import { VERSION } from '@fairlead/shared/version'
import { findSshAddress } from '../ssh-address.ts'
import { checkLiteralHost, guardedLookup } from './address-guard.ts'

/** Where a repository is and how to get in. */
export interface GitRemote {
  /** http://, https:// or ssh:// address of the repository, or user@host:path. */
  readonly url: string
  /** For addresses of SSH. */
  readonly ssh?: SshLogin | undefined
  /** Value of the Authorization header; undefined for none. */
  readonly authorization?: string | undefined
  /** PEM of the CA that signs the server's certificate; undefined for the system's. */
  readonly caPem?: string | undefined
  /** Other hosts that the server may redirect to, each with its port where it is not the default one. */
  readonly redirectHosts?: readonly string[] | undefined
  /** The way out; undefined for a direct one. */
  readonly proxy?: ProxySettings | undefined
}

/** How to get in by SSH. */
export interface SshLogin {
  /** Lines of a known_hosts file; no other host key is taken. */
  readonly knownHosts: string
  /** As OpenSSH keeps it, without a passphrase. */
  readonly privateKey: string
}

/** Proxies, as in the environment variables of these names; addresses may hold credentials. */
export interface ProxySettings {
  readonly HTTP_PROXY?: string | undefined
  readonly HTTPS_PROXY?: string | undefined
  readonly NO_PROXY?: string | undefined
}

/** One request. */
export interface GitRequest {
  /** Below the repository's address, for example `/git-upload-pack`. */
  readonly path: string
  /** Posted when given. */
  readonly body?: Buffer
  /** Without a body: ask for the headers alone. Default false. */
  readonly headersOnly?: boolean
  readonly headers?: Readonly<Record<string, string>>
  /** Largest answer in bytes. */
  readonly maxBytes: number
  /** Time for everything in milliseconds. */
  readonly timeoutMs: number
  readonly signal: AbortSignal
}

/** An answer. */
export interface GitAnswer {
  readonly status: number
  readonly contentType: string
  /** By lower-case name. */
  readonly headers: IncomingHttpHeaders
  readonly body: Buffer
}

/** Sends requests to Git servers. */
export interface GitHttp {
  /** Rejects with RepositoryUnreachable, RepositoryAuthFailed (401, 403; as LoginRefused), RepositoryNotFound (404, 410), LimitExceeded, or Aborted. Any other status is answered. */
  send(remote: GitRemote, request: GitRequest): Promise<GitAnswer>
  /** Closes the connections. */
  close(): void
}

/** A server that asks to be left alone for a while. */
export class GitServerBusy extends AppError {
  /** How long, in milliseconds; undefined when it does not say. */
  readonly retryAfterMs: number | undefined

  constructor(message: string, retryAfterMs: number | undefined) {
    super('RepositoryUnreachable', message)
    this.retryAfterMs = retryAfterMs
  }
}

/** A server that wants to know who asks, or something else than it was told. */
export class LoginRefused extends AppError {
  /** The WWW-Authenticate header; empty when there is none, and of hosts that were redirected to. */
  readonly challenge: string

  constructor(message: string, challenge: string) {
    super('RepositoryAuthFailed', message)
    this.challenge = challenge
  }
}

const LOGIN_HEADERS: ReadonlySet<string> = new Set(['authorization', 'cookie', 'host', 'proxy-authorization'])
const MAX_REDIRECTS = 5
/** As many connections as are kept alive to one host. */
const MAX_STALE = 8
/** A connection on which nothing comes for this long is given up, in milliseconds. */
const SILENCE_MS = 30_000

/** Makes the connections' owner. */
export function createGitHttp(): GitHttp {
  const agents = new Map<string, HttpAgent | HttpsAgent>()
  const agentOf = (url: URL, { caPem = '', proxy = {} }: GitRemote): HttpAgent => {
    const key = JSON.stringify([url.protocol, caPem, proxy])
    const settings = { keepAlive: true, maxSockets: 8, lookup: guardedLookup, proxyEnv: { ...proxy } }
    const agent =
      agents.get(key) ??
      (url.protocol === 'http:'
        ? new HttpAgent(settings)
        : new HttpsAgent({ ...settings, ...(caPem && { ca: caPem }) }))
    agents.set(key, agent)
    return agent
  }
  return {
    send: async (remote, request) => {
      const first = addressOf(remote.url, request.path)
      let url = first
      for (let redirects = 0; redirects <= MAX_REDIRECTS; redirects++) {
        checkLiteralHost(url.hostname)
        // Whoever else is asked learns nothing of what opens the repository.
        const isOwn = url.host === first.host
        const to = isOwn ? remote : { ...remote, authorization: undefined }
        const sent = isOwn ? request : { ...request, headers: withoutLogin(request.headers) }
        const answer = await sendOnce(url, to, sent, agentOf(url, to)).catch((error: unknown) => {
          throw error instanceof LoginRefused && !isOwn ? new LoginRefused(error.message, '') : error
        })
        if (!('location' in answer)) return answer
        url = redirectTarget(url, answer.location, remote.redirectHosts ?? [])
      }
      throw new AppError('RepositoryUnreachable', 'the server redirects without end')
    },
    close: () => {
      for (const agent of agents.values()) agent.destroy()
    },
  }
}

/** Which server an address is of, for limits that count by server. Throws as addressOf. */
export function hostOf(repositoryUrl: string): string {
  return findSshAddress(repositoryUrl)?.host ?? addressOf(repositoryUrl, '').host
}

/** The address of a request below a repository's address. Throws InvalidArgument for other schemes and for credentials in it. */
export function addressOf(repositoryUrl: string, path: string): URL {
  const url = URL.parse(repositoryUrl)
  if (url === null || (url.protocol !== 'http:' && url.protocol !== 'https:')) {
    throw new AppError(
      'InvalidArgument',
      'only http://, https:// and ssh:// addresses and user@host:path are supported',
    )
  }
  if (url.username !== '' || url.password !== '') {
    throw new AppError('InvalidArgument', 'the address must hold no credentials; use spec.credentials')
  }
  const [file, query] = path.split('?')
  url.pathname = `${url.pathname.replace(/\/+$/, '')}${file}`
  if (query !== undefined) url.search = query
  return url
}

async function sendOnce(
  url: URL,
  remote: GitRemote,
  { body, headersOnly = false, headers, maxBytes, timeoutMs, signal }: GitRequest,
  agent: HttpAgent,
): Promise<GitAnswer | { location: string }> {
  const deadline = AbortSignal.timeout(timeoutMs)
  try {
    const response = await open(url, {
      agent,
      body,
      method: body ? 'POST' : headersOnly ? 'HEAD' : 'GET',
      signal: AbortSignal.any([signal, deadline]),
      headers: {
        // Some servers know Git clients by the beginning of this name.
        'user-agent': `git/fairlead-${VERSION}`,
        accept: '*/*',
        ...(remote.authorization === undefined ? {} : { authorization: remote.authorization }),
        ...(body === undefined ? {} : { 'content-length': String(body.length) }),
        ...headers,
      },
    })
    const status = response.statusCode ?? 0
    const location = response.headers.location
    if ([301, 302, 303, 307, 308].includes(status) && location !== undefined) {
      response.resume()
      return { location }
    }
    const problem = refusalOf(response, url, remote.authorization !== undefined)
    if (problem) {
      response.destroy()
      throw problem
    }
    const contentType = response.headers['content-type'] ?? ''
    return { status, contentType, headers: response.headers, body: await collect(response, maxBytes) }
  } catch (error) {
    if (signal.aborted) throw new AppError('Aborted', 'the request was given up', { cause: error })
    throw describeFailure(error, url, deadline.aborted ? timeoutMs : undefined)
  }
}

interface OpenOptions {
  readonly agent: HttpAgent
  readonly method: string
  readonly body: Buffer | undefined
  readonly headers: Readonly<Record<string, string>>
  readonly signal: AbortSignal
}

/** Opens a request; again when a kept-alive connection turns out to be closed by the server, for nothing that is sent here changes anything there. */
async function open(url: URL, options: OpenOptions): Promise<IncomingMessage> {
  for (let attempt = 0; ; attempt++) {
    const outcome = await openOnce(url, options)
    if ('response' in outcome) return outcome.response
    if (!outcome.wasReused || options.signal.aborted || attempt >= MAX_STALE) throw outcome.error
  }
}

function openOnce(
  url: URL,
  { method, agent, body, headers, signal }: OpenOptions,
): Promise<{ response: IncomingMessage } | { error: unknown; wasReused: boolean }> {
  const { promise, resolve } = Promise.withResolvers<Awaited<ReturnType<typeof openOnce>>>()
  const send = url.protocol === 'https:' ? httpsRequest : httpRequest
  const request = send(url, { method, agent, headers, signal, timeout: SILENCE_MS })
  let isSilent = false
  request.on('response', (response) => resolve({ response }))
  request.on('error', (error) => resolve({ error, wasReused: request.reusedSocket && !isSilent }))
  request.on('timeout', () => {
    isSilent = true
    request.destroy(new Error(`nothing came for ${SILENCE_MS / 1000} s`))
  })
  request.end(body)
  return promise
}

async function collect(response: IncomingMessage, maxBytes: number): Promise<Buffer> {
  const chunks: Buffer[] = []
  let sizeBytes = 0
  for await (const chunk of response as AsyncIterable<Buffer>) {
    sizeBytes += chunk.length
    if (sizeBytes > maxBytes) {
      response.destroy()
      throw new AppError('LimitExceeded', `the server's answer is larger than ${maxBytes} bytes`)
    }
    chunks.push(chunk)
  }
  return Buffer.concat(chunks)
}

function refusalOf(response: IncomingMessage, url: URL, withCredentials: boolean): AppError | undefined {
  const status = response.statusCode ?? 0
  if (status === 401 || status === 403) {
    const what = withCredentials ? 'refuses the credentials' : 'asks for credentials'
    const challenge = response.headers['www-authenticate'] ?? ''
    return new LoginRefused(`${url.host} ${what} (HTTP ${status})`, challenge)
  }
  if (status === 404 || status === 410) {
    return new AppError('RepositoryNotFound', `${url.host} knows no such repository (HTTP ${status})`)
  }
  if (status === 429 || status >= 500) {
    const seconds = Number(response.headers['retry-after'])
    const retryAfterMs = Number.isFinite(seconds) && seconds > 0 ? Math.min(seconds, 3_600) * 1_000 : undefined
    return new GitServerBusy(`${url.host} answers HTTP ${status}`, retryAfterMs)
  }
  return undefined
}

/** What one server said of how to ask it is for no other. */
function withoutLogin(headers: GitRequest['headers'] = {}): NonNullable<GitRequest['headers']> {
  const kept = Object.entries(headers).filter(([name]) => !LOGIN_HEADERS.has(name.toLowerCase()))
  return Object.fromEntries(kept)
}

/** Another host might be anything, also one inside the hub's network: a redirect there is not followed unless it is declared. */
function redirectTarget(from: URL, location: string, declared: readonly string[]): URL {
  const to = URL.parse(location, from.href)
  const isSafe = to?.protocol === 'https:' || to?.protocol === from.protocol
  const isSamePort = to?.port === from.port || to?.protocol !== from.protocol
  const isSameHost = to?.hostname === from.hostname && isSamePort
  if (to !== null && isSafe && (isSameHost || declared.includes(to.host))) {
    to.username = ''
    to.password = ''
    return to
  }
  const where = to === null ? 'nowhere' : `${to.protocol}//${to.host}`
  throw new AppError(
    'RepositoryUnreachable',
    `${from.host} redirects to ${where}, which is not followed; change spec.url or name the host in spec.redirectHosts`,
  )
}

function describeFailure(error: unknown, url: URL, timeoutMs: number | undefined): AppError {
  if (error instanceof AppError && !isAborted(error)) return error
  if (timeoutMs !== undefined) {
    return new AppError('RepositoryUnreachable', `${url.host} does not answer within ${timeoutMs} ms`, { cause: error })
  }
  // With several addresses Node packs one error for each into an AggregateError without a message.
  const inner = error instanceof AggregateError ? error.errors[0] : error
  const reason = (inner instanceof Error ? inner.message : String(inner)).replace(/\/\/[^/@\s]*@/g, '//')
  return new AppError('RepositoryUnreachable', `${url.host} cannot be reached: ${reason}`, { cause: error })
}

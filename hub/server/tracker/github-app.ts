// Tokens of GitHub App installations (docs.github.com, "Authenticating as a GitHub App installation"): a JWT signed with the
// App's key is exchanged for a token that lives an hour.
import { createHash, createPrivateKey, sign } from 'node:crypto'
import type { GitHubAppCredentials } from '@fairlead/proto/definitions'
import { AppError, toAppError } from '@fairlead/shared/errors'
import { readSecretText, type SecretSources } from '../secret-source.ts'
import { basicAuthorization } from './credentials.ts'
import type { GitHttp, GitRemote } from './git-http.ts'

/** Where tokens are asked for when the definition does not say. */
export const GITHUB_API = 'https://api.github.com'

/** How the API is reached. */
export type ApiWay = Pick<GitRemote, 'caPem' | 'proxy'>

interface Token {
  readonly text: string
  readonly expiresAtMs: number
}

interface Entry {
  readonly token: Promise<Token>
  /** Infinity until the token is there. */
  expiresAtMs: number
}

/** A token with less left than this is renewed, in milliseconds. */
const RENEW_WITHIN_MS = 300_000
/** GitHub takes JWTs of at most ten minutes; its clock may be behind ours. */
const JWT_S = { before: 60, after: 480 } as const
const MAX_ANSWER_BYTES = 65_536
const TIMEOUT_MS = 15_000

/** Keeps the tokens of all installations until shortly before they expire. */
export class InstallationTokens {
  readonly #http: GitHttp
  readonly #clock: () => number
  readonly #stopping = new AbortController()
  readonly #entries = new Map<string, Entry>()

  /** `clock` is in milliseconds since the epoch, default Date.now. */
  constructor(http: GitHttp, clock: () => number = Date.now) {
    this.#http = http
    this.#clock = clock
  }

  /** The Authorization header. Repositories of one installation share its token. Rejects with RepositoryAuthFailed when there is none to be had, or as GitHttp.send does. */
  async authorize(app: GitHubAppCredentials, sources: SecretSources, way: ApiWay): Promise<string> {
    const key = await readSecretText(app.privateKeyFrom, sources)
    const id = `${prefixOf(app)}${createHash('sha256').update(key).digest('hex')}`
    const kept = this.#entries.get(id)
    const isGood = kept !== undefined && kept.expiresAtMs - this.#clock() > RENEW_WITHIN_MS
    const { text } = await (isGood ? kept : this.#renew(id, this.#ask(app, key, way))).token
    return basicAuthorization(`x-access-token:${text}`)
  }

  /** Has the next poll ask for a new token: the server refused this one, which somebody may have revoked. */
  forget(app: GitHubAppCredentials): void {
    for (const id of this.#entries.keys()) if (id.startsWith(prefixOf(app))) this.#entries.delete(id)
  }

  /** Ends the requests that run. */
  stop(): void {
    this.#stopping.abort()
  }

  #renew(id: string, token: Promise<Token>): Entry {
    const entry: Entry = { token, expiresAtMs: Infinity }
    this.#entries.set(id, entry)
    token.then(
      ({ expiresAtMs }) => {
        entry.expiresAtMs = expiresAtMs
      },
      () => {
        if (this.#entries.get(id) === entry) this.#entries.delete(id)
      },
    )
    return entry
  }

  async #ask(app: GitHubAppCredentials, key: string, way: ApiWay): Promise<Token> {
    const remote = {
      ...way,
      url: app.apiUrl || GITHUB_API,
      authorization: `Bearer ${createJwt(app.appId, key, this.#clock())}`,
    }
    const answer = await this.#http.send(remote, {
      path: `/app/installations/${app.installationId}/access_tokens`,
      headers: { accept: 'application/vnd.github+json', 'x-github-api-version': '2022-11-28' },
      body: Buffer.alloc(0),
      maxBytes: MAX_ANSWER_BYTES,
      timeoutMs: TIMEOUT_MS,
      signal: this.#stopping.signal,
    })
    const token = answer.status === 201 ? parseToken(answer.body) : undefined
    if (token === undefined) throw refused(`the API answers HTTP ${answer.status} without a token`)
    return token
  }
}

function createJwt(appId: string, key: string, nowMs: number): string {
  const nowS = Math.floor(nowMs / 1_000)
  const claims = { iat: nowS - JWT_S.before, exp: nowS + JWT_S.after, iss: appId }
  const text = [{ alg: 'RS256', typ: 'JWT' }, claims]
    .map((part) => Buffer.from(JSON.stringify(part)).toString('base64url'))
    .join('.')
  try {
    return `${text}.${sign('sha256', Buffer.from(text), createPrivateKey(key)).toString('base64url')}`
  } catch (cause) {
    throw new AppError('RepositoryAuthFailed', 'the private key of the GitHub App is no RSA key in PEM', { cause })
  }
}

function parseToken(body: Buffer): Token | undefined {
  try {
    const { token, expires_at: expiresAt } = JSON.parse(body.toString('utf8')) as Readonly<Record<string, unknown>>
    const expiresAtMs = Date.parse(String(expiresAt))
    const isToken = typeof token === 'string' && /^[\x21-\x7e]{1,1024}$/.test(token) && Number.isFinite(expiresAtMs)
    return isToken ? { text: token, expiresAtMs } : undefined
  } catch (error) {
    throw refused(`the API answers no JSON: ${toAppError(error).code}`)
  }
}

function prefixOf({ appId, installationId, apiUrl }: GitHubAppCredentials): string {
  return JSON.stringify([appId, installationId, apiUrl])
}

function refused(message: string): AppError {
  return new AppError('RepositoryAuthFailed', `GitHub App: ${message}`)
}

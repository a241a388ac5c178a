// Stands in for the part of GitHub's API that GitHub Apps use: a JWT for an installation token, which a Git host takes.
import { generateKeyPairSync, randomBytes, verify } from 'node:crypto'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { GitServer } from './git-server.ts'

/** An App with one installation. */
export class GitHubApi implements AsyncDisposable {
  readonly appId = '123456'
  readonly installationId = '42'
  /** PEM of the App's private key, as GitHub hands it out. */
  readonly privateKey: string
  /** How long tokens live, in milliseconds. Default one hour. */
  tokenLifeMs = 3_600_000
  /** Tokens that were handed out. */
  readonly tokens: string[] = []
  readonly #publicKey: string
  readonly #git: GitServer
  readonly #server: Server = createServer((request, response) => this.#answer(request, response))

  /** The Git host takes the newest token. */
  constructor(git: GitServer) {
    const { publicKey, privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 })
    this.privateKey = privateKey.export({ type: 'pkcs1', format: 'pem' }).toString()
    this.#publicKey = publicKey.export({ type: 'spki', format: 'pem' }).toString()
    this.#git = git
    this.revokeAll()
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}/api/v3`
  }

  async start(): Promise<void> {
    await new Promise<void>((resolve) => this.#server.listen(0, '127.0.0.1', resolve))
  }

  /** The Git host takes none of the tokens that were handed out. */
  revokeAll(): void {
    this.#git.credentials = { username: 'x-access-token', password: randomBytes(8).toString('hex') }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections()
    await new Promise((resolve) => this.#server.close(resolve))
  }

  #answer(request: IncomingMessage, response: ServerResponse): void {
    const answer = (status: number, body: unknown): void => {
      response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body))
    }
    const isRight =
      request.method === 'POST' && request.url === `/api/v3/app/installations/${this.installationId}/access_tokens`
    if (!isRight) answer(404, { message: 'Not Found' })
    else if (!this.#isSigned(request.headers.authorization ?? ''))
      answer(401, { message: 'A JSON web token could not be decoded' })
    else {
      const token = `ghs_${randomBytes(18).toString('hex')}`
      this.tokens.push(token)
      this.#git.credentials = { username: 'x-access-token', password: token }
      answer(201, {
        token,
        expires_at: new Date(Date.now() + this.tokenLifeMs).toISOString().replace(/\.\d+Z$/, 'Z'),
        permissions: { contents: 'read', metadata: 'read' },
        repository_selection: 'selected',
      })
    }
  }

  /** GitHub's rules: RS256, not issued in the future, for ten minutes at most, by the App. */
  #isSigned(authorization: string): boolean {
    const [head = '', claims = '', signature = ''] = authorization.replace(/^Bearer /, '').split('.')
    const parse = (part: string): Record<string, unknown> =>
      JSON.parse(Buffer.from(part, 'base64url').toString() || '{}')
    const { iat, exp, iss } = parse(claims)
    const nowS = Date.now() / 1_000
    return (
      parse(head).alg === 'RS256' &&
      iss === this.appId &&
      Number(iat) <= nowS &&
      Number(exp) > nowS &&
      Number(exp) <= nowS + 600 &&
      verify('sha256', Buffer.from(`${head}.${claims}`), this.#publicKey, Buffer.from(signature, 'base64url'))
    )
  }
}

/** Starts the API of an App whose tokens a Git host takes. */
export async function startGitHubApi(git: GitServer): Promise<GitHubApi> {
  const api = new GitHubApi(git)
  await api.start()
  return api
}

// Listens for the webhooks of Git hosts. They are only a hint to look at Git: whoever is not believed learns nothing, and a
// delivery that is lost costs one poll interval.
import { randomBytes } from 'node:crypto'
import { createServer as createHttpServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { createServer as createHttpsServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import { AppError, toAppError } from '@fairlead/shared/errors'
import type { Logger } from '@fairlead/shared/logger'
import { AttemptLimiter, type AttemptLimits } from '../attempt-limiter.ts'
import { readSecret, type SecretSources } from '../secret-source.ts'
import type { PushedRef } from '../tracker/pushed-refs.ts'
import { type HookedRepository, HookIndex } from './hook-index.ts'
import { type Delivery, readDelivery } from './payload.ts'
import { RecentDeliveries } from './recent-deliveries.ts'
import { isFromHolder, type RawDelivery } from './signature.ts'

/** What the listener needs. */
export interface WebhooksOptions {
  /** Where to listen; port 0 takes a free one. */
  readonly host: string
  readonly port: number
  /** PEM; undefined for plain HTTP, behind something that ends TLS. */
  readonly tls: { readonly key: string; readonly cert: string } | undefined
  /** Repositories that take webhooks; asked again after `invalidate`, and every half minute. */
  readonly readRepositories: () => Promise<readonly HookedRepository[]>
  readonly secrets: SecretSources
  /** Told of each push, for every repository that is meant. */
  readonly onPush: (repository: string, pushed: readonly PushedRef[]) => void
  readonly logger: Logger
  /** How many wrong signatures are let through; default WEBHOOK_LIMITS. */
  readonly limits?: AttemptLimits
}

/** The listener. */
export interface Webhooks {
  /** Listens. Rejects with FailedPrecondition when it cannot. */
  start(): Promise<{ port: number }>
  /** The definitions changed. */
  invalidate(): void
  /** Takes a renewed certificate. */
  setTls(tls: { readonly key: string; readonly cert: string }): void
  /** Deliveries without a right signature since the start. */
  refused(): number
  stop(): Promise<void>
}

/** For deliveries. Behind a proxy all of them are one peer. */
export const WEBHOOK_LIMITS: AttemptLimits = { perPeer: 60, total: 600, windowMs: 60_000 }
/** Largest delivery. Hosts send less but for pushes of thousands of commits, which the next poll sees. */
export const WEBHOOK_MAX_BYTES = 2 * 1024 * 1024
const MAX_CONNECTIONS = 100
const BODY_TIMEOUT_MS = 10_000
/** Every refusal takes this long, whatever was looked up for it. */
const REFUSAL_MS = 100
const INDEX_MS = 30_000
/** Repositories of one address that one delivery is checked against. */
const MAX_CANDIDATES = 50

interface Answer {
  readonly status: number
  readonly text: string
  readonly headers?: Readonly<Record<string, string>>
}

const ACCEPTED: Answer = { status: 202, text: 'accepted' }
const REFUSED: Answer = { status: 401, text: 'not accepted: the signature or token is missing or wrong' }

/** Makes the listener. */
export function createWebhooks(options: WebhooksOptions): Webhooks {
  return new Listener(options)
}

class Listener implements Webhooks {
  readonly #options: WebhooksOptions
  readonly #logger: Logger
  readonly #server: ReturnType<typeof createHttpServer> | ReturnType<typeof createHttpsServer>
  readonly #limiter: AttemptLimiter
  readonly #recent = new RecentDeliveries()
  readonly #stopping = new AbortController()
  /** Takes the place of secrets that are not there, so that looking takes as long. */
  readonly #nobody = randomBytes(32).toString('hex')
  #index: { readonly entries: Promise<HookIndex>; readonly readAtMs: number } | undefined
  #refused = 0

  constructor(options: WebhooksOptions) {
    this.#options = options
    this.#logger = options.logger.child({ part: 'webhooks' })
    this.#limiter = new AttemptLimiter(options.limits ?? WEBHOOK_LIMITS)
    const limits = {
      requestTimeout: BODY_TIMEOUT_MS,
      headersTimeout: 5_000,
      keepAliveTimeout: 5_000,
      maxHeaderSize: 16_384,
    }
    const listener = (request: IncomingMessage, response: ServerResponse): void => void this.#handle(request, response)
    this.#server = options.tls
      ? createHttpsServer({ ...limits, ...options.tls }, listener)
      : createHttpServer(limits, listener)
    this.#server.maxConnections = MAX_CONNECTIONS
  }

  async start(): Promise<{ port: number }> {
    const { host, port } = this.#options
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    this.#server.once('error', reject)
    this.#server.listen(port, host, resolve)
    try {
      await promise
    } catch (cause) {
      const why = cause instanceof Error ? cause.message : String(cause)
      throw new AppError('FailedPrecondition', `webhooks cannot be listened for on ${host}:${port}: ${why}`, { cause })
    }
    const listens = (this.#server.address() as AddressInfo).port
    this.#logger.info({ host, port: listens, tls: this.#options.tls !== undefined }, 'webhooks are listened for')
    return { port: listens }
  }

  invalidate(): void {
    this.#index = undefined
  }

  setTls(tls: { readonly key: string; readonly cert: string }): void {
    if ('setSecureContext' in this.#server) this.#server.setSecureContext(tls)
  }

  refused(): number {
    return this.#refused
  }

  async stop(): Promise<void> {
    this.#stopping.abort()
    const { promise, resolve } = Promise.withResolvers<void>()
    this.#server.close(() => resolve())
    this.#server.closeAllConnections()
    await promise
  }

  async #handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const answer = await this.#answer(request).catch((error: unknown): Answer => {
      const { code, cause } = toAppError(error)
      if (code === 'Aborted') return { status: 400, text: 'the request broke off' }
      this.#logger.error({ error: cause ?? error }, 'delivery failed')
      return { status: 500, text: 'failed' }
    })
    const { status, text, headers } = answer
    if (!request.complete) request.resume()
    if (!response.destroyed) {
      // What is left of a body that is too large is not waited for.
      const connection = request.complete ? {} : { connection: 'close' }
      response.writeHead(status, { 'content-type': 'text/plain', ...connection, ...headers }).end(`${text}\n`)
    }
  }

  async #answer(request: IncomingMessage): Promise<Answer> {
    const [, name] = /^\/hooks(?:\/([^/?]{1,63}))?\/?(?:\?|$)/.exec(request.url ?? '') ?? [undefined, undefined]
    if (!/^\/hooks(?:[/?]|$)/.test(request.url ?? '')) return { status: 404, text: 'not found' }
    if (request.method !== 'POST') return { status: 405, text: 'POST only', headers: { allow: 'POST' } }
    const peer = peerOf(request)
    const waitMs = this.#limiter.waitMs(peer, Date.now())
    if (waitMs > 0) {
      this.#refused++
      return { status: 429, text: 'too many', headers: { 'retry-after': String(Math.ceil(waitMs / 1_000)) } }
    }
    const body = await readBody(request)
    if (body === undefined) return { status: 413, text: `larger than ${WEBHOOK_MAX_BYTES} bytes` }
    const refusal = delay(REFUSAL_MS, undefined, { signal: this.#stopping.signal })
    refusal.catch(() => undefined)
    const accepted = await this.#accept({ headers: request.headers, body }, name)
    if (accepted) return accepted
    this.#refused++
    this.#limiter.countWrong(peer, Date.now())
    this.#logger.warn({ peer }, 'delivery refused')
    await refusal
    return REFUSED
  }

  /** Undefined when nothing proves that the sender knows the secret of a repository that is meant. */
  async #accept(raw: RawDelivery, name: string | undefined): Promise<Answer | undefined> {
    const index = await this.#readIndex()
    const early = name === undefined ? readDelivery(raw) : undefined
    const candidates = name === undefined ? (early ? index.findByDelivery(early) : []) : index.findByName(name)
    const proven = await this.#prove(candidates.slice(0, MAX_CANDIDATES), raw)
    if (proven.length === 0) return undefined
    const delivery = early ?? readDelivery(raw)
    if (!delivery) return { status: 400, text: 'the body is not JSON' }
    for (const repository of proven) this.#pass(repository, delivery, raw.body)
    return ACCEPTED
  }

  #pass(repository: string, { id, isPush, pushed }: Delivery, body: Buffer): void {
    if (!isPush || !this.#recent.isNew(repository, { id, body }, performance.now())) return
    this.#logger.debug({ repository, delivery: id, refs: pushed.map(({ name }) => name) }, 'push announced')
    this.#options.onPush(repository, pushed)
  }

  /** Names of the repositories whose secret the sender knows. */
  async #prove(candidates: readonly HookedRepository[], raw: RawDelivery): Promise<string[]> {
    const sources = Map.groupBy(candidates, ({ secretFrom }) => secretFrom)
    if (sources.size === 0) isFromHolder(this.#nobody, raw, Date.now())
    const proven: string[] = []
    for (const [from, repositories] of sources) {
      const secret = await this.#readSecret(from, repositories)
      if (isFromHolder(secret, raw, Date.now())) proven.push(...repositories.map(({ name }) => name))
    }
    return proven
  }

  async #readSecret(from: string, [first]: readonly HookedRepository[]): Promise<string> {
    try {
      return await readSecret(from, this.#options.secrets)
    } catch (error) {
      this.#logger.warn({ repository: first?.name, error }, 'the secret of a webhook cannot be read')
      return this.#nobody
    }
  }

  async #readIndex(): Promise<HookIndex> {
    if (this.#index === undefined || performance.now() - this.#index.readAtMs > INDEX_MS) {
      const entries = this.#options.readRepositories().then((repositories) => new HookIndex(repositories))
      this.#index = { entries, readAtMs: performance.now() }
      entries.catch(() => this.invalidate())
    }
    return await this.#index.entries
  }
}

/** In the form that the limiter reads. */
function peerOf({ socket: { remoteAddress = '' } }: IncomingMessage): string {
  return remoteAddress.includes(':') ? `[${remoteAddress}]:0` : `${remoteAddress}:0`
}

/** Undefined when it is too large. Rejects with Aborted when it breaks off. */
async function readBody(request: IncomingMessage): Promise<Buffer | undefined> {
  if (Number(request.headers['content-length'] ?? 0) > WEBHOOK_MAX_BYTES) return undefined
  const chunks: Buffer[] = []
  let sizeBytes = 0
  const { promise, resolve, reject } = Promise.withResolvers<Buffer | undefined>()
  request.on('data', (chunk: Buffer) => {
    sizeBytes += chunk.length
    if (sizeBytes <= WEBHOOK_MAX_BYTES) chunks.push(chunk)
    else resolve(undefined)
  })
  request.on('end', () => resolve(Buffer.concat(chunks)))
  request.on('error', (cause) => reject(new AppError('Aborted', 'the request broke off', { cause })))
  return await promise
}

// The agent's one connection to NATS: opened outbound, opened again for ever with jitter, never in anybody's way.
// Each connection is made anew instead of by the library, so that a renewed JWT, other servers or another CA take effect
// and waiting can be aborted.
import { isIP } from 'node:net'
import { checkServerIdentity, getCACertificates, type PeerCertificate, setDefaultCACertificates } from 'node:tls'
import type { Credentials } from '@fairlead/proto/enrolment'
import { backoffMs, sleep } from '@fairlead/shared/backoff'
import { AppError } from '@fairlead/shared/errors'
import type { Logger } from '@fairlead/shared/logger'
import type { Nkey } from '@fairlead/shared/nkey'
import { agentInboxPrefix } from '@fairlead/shared/subjects'
import { type ConnectionOptions, connect, type Msg, type NatsConnection, wsconnect } from '@nats-io/transport-node'

/** As whom and where to connect. */
export interface ConnectionIdentity {
  readonly clusterId: string
  readonly key: Nkey
  readonly credentials: Credentials
}

/** How the connection is made. */
export interface ConnectionHandlers {
  /** Called after each connect, before anything else uses it. */
  readonly onConnected: () => void
  readonly onDisconnected: () => void
  /** Called when NATS refuses the JWT: it has expired, or was revoked. */
  readonly onRefused: () => void
  readonly logger: Logger
}

const CONNECT_TIMEOUT_MS = 10_000
/** With two unanswered pings, a link that went dead silently is noticed within 90 s, for about 110 bytes a minute. */
const PING_INTERVAL_MS = 30_000
/** First wait after a loss: spreads the agents of a fleet when NATS restarts. */
const FIRST_WAIT_MS = 1_000
const STABLE_AFTER_MS = 10_000

/** The connection, whether it is up or not. */
export class Connection {
  readonly #handlers: ConnectionHandlers
  #identity: ConnectionIdentity | undefined
  #nats: NatsConnection | undefined
  #wake = new AbortController()
  #failure = ''

  constructor(handlers: ConnectionHandlers) {
    this.#handlers = handlers
  }

  /** Whether it is up, as far as is known. */
  get isConnected(): boolean {
    return this.#nats !== undefined
  }

  /** Gives the identity to connect with; a connection with another one is closed and made anew. */
  setIdentity(identity: ConnectionIdentity): void {
    this.#identity = identity
    this.#wake.abort()
  }

  /** A request and its answer. Rejects with NatsUnavailable when there is no connection or no answer in time. */
  async request(subject: string, payload: Uint8Array, timeoutMs: number): Promise<Msg> {
    const nats = this.#nats
    if (!nats) throw new AppError('NatsUnavailable', 'there is no connection to NATS')
    try {
      return await nats.request(subject, payload, { timeout: timeoutMs })
    } catch (cause) {
      const message = cause instanceof Error ? cause.message : String(cause)
      throw new AppError('NatsUnavailable', `NATS does not answer: ${message}`, { cause })
    }
  }

  /** Sends a message that nobody acknowledges; does nothing without a connection. */
  publish(subject: string, payload: Uint8Array): void {
    if (this.#nats && !this.#nats.isClosed()) this.#nats.publish(subject, payload)
  }

  /** Calls `handle` for each message until the connection is lost; ask again after the next connect. */
  subscribe(subject: string, handle: (subject: string) => void): void {
    this.#nats?.subscribe(subject, { callback: (error, message) => void (error ?? handle(message.subject)) })
  }

  /** Resolves when the server has seen everything sent before. Rejects with NatsUnavailable. */
  async flush(): Promise<void> {
    const nats = this.#nats
    if (!nats) throw new AppError('NatsUnavailable', 'there is no connection to NATS')
    try {
      await Promise.race([nats.flush(), nats.closed().then(() => Promise.reject(new Error('connection closed')))])
    } catch (cause) {
      throw new AppError('NatsUnavailable', 'the connection to NATS was lost', { cause })
    }
  }

  /** Keeps connected until the signal aborts, then closes. Never rejects for anything outside the process. */
  async run(signal: AbortSignal): Promise<void> {
    let attempt = 0
    for (let turn = 0; !signal.aborted; turn++) {
      this.#wake = new AbortController()
      const woken = AbortSignal.any([signal, this.#wake.signal])
      const identity = this.#identity
      if (!identity) {
        await aborted(woken)
        continue
      }
      const startedAt = Date.now()
      const error = await this.#connectOnce(identity, turn, woken)
      if (woken.aborted) continue
      this.#report(error)
      attempt = Date.now() - startedAt > STABLE_AFTER_MS ? 0 : attempt + 1
      const waitMs = attempt <= 1 ? Math.random() * FIRST_WAIT_MS : backoffMs(attempt - 2, { baseMs: 1_000 })
      await sleep(waitMs, woken).catch(() => undefined)
    }
  }

  /** Connects and stays so until the connection is lost, for the reason returned, or `until` aborts. */
  async #connectOnce(identity: ConnectionIdentity, turn: number, until: AbortSignal): Promise<unknown> {
    const { natsUrls } = identity.credentials
    const url = natsUrls[turn % natsUrls.length]
    if (url === undefined) return new AppError('NatsUnavailable', 'the hub named no NATS servers')
    const opening = openConnection(url, identity)
    // When given up while opening, what opens later is closed at once.
    const given = Promise.race([opening, aborted(until)])
    try {
      const nats = await given
      if (!nats || until.aborted) {
        void opening.then((late) => late.close()).catch(() => undefined)
        return undefined
      }
      return await this.#use(nats, url, until)
    } catch (error) {
      return error
    }
  }

  async #use(nats: NatsConnection, url: string, until: AbortSignal): Promise<unknown> {
    let lastError: unknown
    const watching = (async () => {
      for await (const status of nats.status()) if (status.type === 'error') lastError = this.#noticed(status.error)
    })()
    this.#nats = nats
    this.#failure = ''
    this.#handlers.logger.info({ server: url }, 'connected to NATS')
    this.#handlers.onConnected()
    try {
      const closed = nats.closed()
      const reason = await Promise.race([closed, aborted(until)])
      return reason ?? lastError ?? new Error('connection closed')
    } finally {
      this.#nats = undefined
      this.#handlers.onDisconnected()
      await nats.close().catch(() => undefined)
      await watching.catch(() => undefined)
    }
  }

  #noticed(error: Error): Error {
    if (error.name === 'PermissionViolationError') this.#handlers.logger.warn({ reason: error.message }, 'NATS refused')
    return error
  }

  #report(error: unknown): void {
    const message = error instanceof Error ? error.message : String(error)
    if (/authoriz|authentic/i.test(message)) this.#handlers.onRefused()
    if (message === this.#failure) return
    this.#failure = message
    this.#handlers.logger.warn({ reason: message }, 'no connection to NATS')
  }
}

/** Opens one connection. Rejects when it cannot be opened within 10 s. */
async function openConnection(url: string, identity: ConnectionIdentity): Promise<NatsConnection> {
  const { key, credentials } = identity
  const options: ConnectionOptions = {
    servers: [url],
    // node:crypto signs 300 times faster than the library's nkeys.
    authenticator: (nonce) => ({
      jwt: credentials.userJwt,
      nkey: key.publicKey,
      sig: Buffer.from(key.sign(Buffer.from(nonce ?? ''))).toString('base64url'),
    }),
    inboxPrefix: agentInboxPrefix(identity.clusterId),
    reconnect: false,
    ignoreAuthErrorAbort: true,
    ignoreClusterUpdates: true,
    timeout: CONNECT_TIMEOUT_MS,
    pingInterval: PING_INTERVAL_MS,
    maxPingOut: 2,
    noAsyncTraces: true,
    name: 'fairlead-agent',
  }
  const { protocol, hostname } = new URL(url)
  if (protocol === 'ws:' || protocol === 'wss:') {
    trustForWebSockets(credentials.natsCaPem)
    return await wsconnect(options)
  }
  if (protocol === 'tls:') Object.assign(options, { tls: tlsOptions(hostname, credentials.natsCaPem) })
  return await connect(options)
}

/** TLS that trusts the hub's CA alone, and checks the address that was asked for also when it is an IP, which the library does not. */
function tlsOptions(hostname: string, ca: string): object {
  const host = hostname.replace(/^\[|\]$/g, '')
  return {
    ca,
    ...(isIP(host) === 0 && { servername: host }),
    checkServerIdentity: (_name: string, certificate: PeerCertificate) => checkServerIdentity(host, certificate),
  }
}

let trustedForWebSockets = ''

/** Node's WebSocket takes no CA of its own; the process's defaults are used by nothing else here. */
function trustForWebSockets(ca: string): void {
  if (ca === trustedForWebSockets) return
  trustedForWebSockets = ca
  setDefaultCACertificates([...getCACertificates('bundled'), ca])
}

/** Resolves with undefined when the signal aborts. */
async function aborted(signal: AbortSignal): Promise<undefined> {
  if (signal.aborted) return
  const { promise, resolve } = Promise.withResolvers<undefined>()
  signal.addEventListener('abort', () => resolve(undefined), { once: true })
  return await promise
}

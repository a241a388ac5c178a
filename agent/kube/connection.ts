// One HTTP/2 connection to the API server: opens streams, proves by pings that the other end is there.
import {
  type ClientHttp2Session,
  type ClientHttp2Stream,
  connect,
  constants,
  type OutgoingHttpHeaders,
} from 'node:http2'
import { isIP } from 'node:net'
import type { Logger } from '@fairlead/shared/logger'
import type { TlsMaterial } from './access.ts'

/** How a connection is made and watched over. */
export interface ConnectionOptions {
  readonly server: string
  readonly tls: TlsMaterial
  readonly logger: Logger
  /** Between pings, ms. */
  readonly pingIntervalMs: number
  /** Until a ping must be answered, and until a connection must be made, ms. */
  readonly pingTimeoutMs: number
  /** Called once, when the connection has ended with all its streams. */
  readonly onClosed: (connection: Connection) => void
}

/** Streams on one connection. Beyond it a second connection is opened; API servers allow 100 to 250. */
const STREAMS_PER_CONNECTION = 90
// Enough for a page of a list per round trip, little enough for a small process with dozens of watches.
const STREAM_WINDOW_BYTES = 256 * 1024
const CONNECTION_WINDOW_BYTES = 2 * 1024 * 1024

/** An open connection. */
export class Connection {
  readonly #session: ClientHttp2Session
  readonly #options: ConnectionOptions
  #pings: NodeJS.Timeout | undefined
  #pong: NodeJS.Timeout | undefined
  #streams = 0
  #retired = false

  private constructor(session: ClientHttp2Session, options: ConnectionOptions) {
    this.#session = session
    this.#options = options
    session.setLocalWindowSize(CONNECTION_WINDOW_BYTES)
    session.setMaxListeners(0)
    session.on('error', (error) => options.logger.debug({ error: error.message }, 'API server connection failed'))
    session.on('goaway', () => this.retire())
    session.once('close', () => {
      this.retire()
      clearInterval(this.#pings)
      options.onClosed(this)
    })
    this.#pings = setInterval(() => this.ping(), options.pingIntervalMs)
    this.#pings.unref()
  }

  /** Connects and proves the server by its certificate. Rejects when that takes longer than the ping time-out. */
  static async open(options: ConnectionOptions): Promise<Connection> {
    const url = new URL(options.server)
    const host = url.hostname.replace(/^\[|\]$/g, '')
    const servername = options.tls.servername ?? (isIP(host) ? undefined : host)
    const session = connect(url, {
      ...options.tls,
      ...(servername !== undefined && { servername }),
      ALPNProtocols: ['h2'],
      settings: { initialWindowSize: STREAM_WINDOW_BYTES, enablePush: false },
    })
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    const timer = setTimeout(() => {
      reject(new Error(`no connection after ${options.pingTimeoutMs} ms`))
    }, options.pingTimeoutMs)
    session.once('connect', () => resolve())
    session.once('error', reject)
    session.once('close', () => reject(new Error('the connection was closed while it was made')))
    try {
      await promise
    } catch (error) {
      session.on('error', () => undefined)
      session.destroy()
      throw error
    } finally {
      clearTimeout(timer)
    }
    return new Connection(session, options)
  }

  /** What it was made with. */
  get tls(): TlsMaterial {
    return this.#options.tls
  }

  /** Whether a further stream may be opened. */
  get hasRoom(): boolean {
    if (this.#retired || this.#session.closed || this.#session.destroyed) return false
    const allowed = this.#session.remoteSettings?.maxConcurrentStreams ?? STREAMS_PER_CONNECTION
    return this.#streams < Math.min(STREAMS_PER_CONNECTION, allowed)
  }

  /** Opens a stream. Throws when the connection is closing. */
  openStream(headers: OutgoingHttpHeaders, body: Uint8Array | undefined): ClientHttp2Stream {
    const stream = this.#session.request(headers, { endStream: body === undefined })
    this.#streams++
    stream.once('close', () => {
      this.#streams--
      if (this.#retired && this.#streams === 0) this.#session.close()
    })
    if (body !== undefined) stream.end(body)
    return stream
  }

  /** Asks the other end for a sign of life; without one all streams fail. */
  ping(): void {
    if (this.#session.destroyed || this.#pong !== undefined) return
    this.#pong = setTimeout(() => {
      this.#options.logger.warn({ timeoutMs: this.#options.pingTimeoutMs }, 'API server does not answer pings')
      this.destroy(new Error('the API server does not answer pings'))
    }, this.#options.pingTimeoutMs)
    this.#pong.unref()
    const isSent = this.#session.ping(() => this.#clearPong())
    if (!isSent) this.#clearPong()
  }

  /** Fails all streams and closes. */
  destroy(error = new Error('closed')): void {
    this.retire()
    this.#clearPong()
    // Without an error the streams would seem to have ended in good order.
    this.#session.destroy(error, constants.NGHTTP2_CANCEL)
  }

  /** Takes no new streams; those that are open go on until the server or a failing ping ends them. Closes after the last. */
  retire(): void {
    this.#retired = true
    if (this.#streams === 0) this.#session.close()
  }

  #clearPong(): void {
    clearTimeout(this.#pong)
    this.#pong = undefined
  }
}

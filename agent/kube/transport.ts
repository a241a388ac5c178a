// Requests as HTTP/2 streams over as few connections as hold them; reconnects with jittered backoff.
import { type ClientHttp2Stream, constants, type IncomingHttpHeaders, type OutgoingHttpHeaders } from 'node:http2'
import { isDeepStrictEqual } from 'node:util'
import { backoffMs, sleep, unlessAborted } from '@fairlead/shared/backoff'
import { AppError } from '@fairlead/shared/errors'
import type { Logger } from '@fairlead/shared/logger'
import type { ApiServerAccess } from './access.ts'
import { Connection } from './connection.ts'

/** The connection failed before the answer was complete. */
export class ConnectionLost extends Error {
  override readonly name = 'ConnectionLost'
  /** False when the request certainly was not acted upon, so that any request may be sent again. */
  readonly mayHaveArrived: boolean

  constructor(message: string, mayHaveArrived: boolean, cause?: unknown) {
    super(message, cause === undefined ? {} : { cause })
    this.mayHaveArrived = mayHaveArrived
  }
}

/** One request on its way. */
export interface OutgoingRequest {
  readonly method: string
  /** With query. */
  readonly path: string
  readonly headers: OutgoingHttpHeaders
  readonly body: Uint8Array | undefined
  /** Resets the stream. */
  readonly signal: AbortSignal
  /** Sent only while `mayWrite` holds. */
  readonly isFenced: boolean
}

/** An answer whose body is still to be read. */
export interface IncomingResponse {
  readonly status: number
  readonly headers: IncomingHttpHeaders
  /** Chunks of the body; throws ConnectionLost when it is cut short and the signal's reason when that aborts. Leaving the loop resets the stream. */
  readonly chunks: AsyncGenerator<Buffer, void, undefined>
}

/** How to reach the API server. */
export interface TransportOptions {
  /** From inClusterAccess or kubeconfigAccess in access.ts. */
  readonly access: ApiServerAccess
  /** `fairlead-agent/<version>`. */
  readonly userAgent: string
  readonly logger: Logger
  /** Between pings that prove the API server is there, ms, default 30,000. */
  readonly pingIntervalMs?: number
  /** For the answer to a ping, and for making a connection, ms, default 15,000. */
  readonly pingTimeoutMs?: number
  /** Asked in the moment before each write (all but GET) is sent; false: it is refused with AppError ApiServerUnavailable. Default: always true. */
  readonly mayWrite?: (() => boolean) | undefined
}

/** The connections to one API server. */
export class Transport {
  readonly #options: TransportOptions
  readonly #connections = new Set<Connection>()
  readonly #closing = new AbortController()
  /** Kubeconfigs may lead to a proxy that serves several clusters under paths. */
  readonly #prefix: string
  #connecting: Promise<void> | undefined
  /** Connections that failed in a row. */
  #failures = 0

  constructor(options: TransportOptions) {
    this.#options = options
    this.#prefix = new URL(options.access.server).pathname.replace(/\/$/, '')
  }

  /** Sends a request; resolves with the head of the answer. `freshToken`: by whatever proves us now, for we were not recognised. */
  async open(request: OutgoingRequest, { freshToken = false } = {}): Promise<IncomingResponse> {
    const { access, userAgent } = this.#options
    const { method, path, headers, body, signal } = request
    const authorization = await access.authorization({ fresh: freshToken })
    if (freshToken) await this.#retireOutdated()
    const connection = await this.#connection(signal)
    signal.throwIfAborted()
    if (request.isFenced && this.#options.mayWrite?.() === false) {
      throw new AppError('ApiServerUnavailable', 'not sent: it is not certain that this agent is the one that leads')
    }
    let stream: ClientHttp2Stream
    try {
      stream = connection.openStream(
        {
          ':method': method,
          ':path': `${this.#prefix}${path}`,
          'user-agent': userAgent,
          ...(authorization !== undefined && { authorization }),
          ...(body !== undefined && { 'content-length': body.length }),
          ...headers,
        },
        body,
      )
    } catch (cause) {
      throw new ConnectionLost('the connection was closing', false, cause)
    }
    return await receive(stream, signal)
  }

  /** Fails everything that is under way and connects no more. */
  close(): void {
    this.#closing.abort(new ConnectionLost('closed', false))
    for (const connection of [...this.#connections]) connection.destroy()
  }

  async #connection(signal: AbortSignal): Promise<Connection> {
    this.#closing.signal.throwIfAborted()
    for (;;) {
      for (const connection of this.#connections) if (connection.hasRoom) return connection
      this.#connecting ??= this.#connect().finally(() => {
        this.#connecting = undefined
      })
      await unlessAborted(this.#connecting, signal)
    }
  }

  /** A certificate proves us for as long as a connection lives: those made with another than is there now take no new requests. */
  async #retireOutdated(): Promise<void> {
    const tls = await this.#options.access.tls()
    for (const connection of this.#connections) if (!isDeepStrictEqual(connection.tls, tls)) connection.retire()
  }

  async #connect(): Promise<void> {
    const { access, logger, pingIntervalMs = 30_000, pingTimeoutMs = 15_000 } = this.#options
    if (this.#failures > 0) {
      const delayMs = backoffMs(this.#failures - 1, { baseMs: 100, maxMs: 3_000 })
      await sleep(delayMs, this.#closing.signal).catch(() => this.#closing.signal.throwIfAborted())
    }
    try {
      const connection = await Connection.open({
        server: access.server,
        tls: await access.tls(),
        logger,
        pingIntervalMs,
        pingTimeoutMs,
        onClosed: (closed) => this.#connections.delete(closed),
      })
      this.#connections.add(connection)
      this.#failures = 0
      if (this.#closing.signal.aborted) connection.destroy()
    } catch (cause) {
      this.#failures++
      const reason = cause instanceof Error ? cause.message : String(cause)
      throw new ConnectionLost(`cannot connect to ${access.server}: ${reason}`, false, cause)
    }
  }
}

/** Waits for the head of the answer. */
async function receive(stream: ClientHttp2Stream, signal: AbortSignal): Promise<IncomingResponse> {
  const cancel = (): void => stream.close(constants.NGHTTP2_CANCEL)
  signal.addEventListener('abort', cancel, { once: true })
  stream.once('close', () => signal.removeEventListener('abort', cancel))
  const { promise, resolve, reject } = Promise.withResolvers<IncomingHttpHeaders & { ':status'?: number }>()
  let failure: Error | undefined
  stream.on('error', (error) => {
    failure = error
    reject(lost(stream, error))
  })
  stream.once('response', resolve)
  stream.once('close', () => reject(lost(stream, failure)))
  try {
    const headers = await promise
    return { status: headers[':status'] ?? 0, headers, chunks: readChunks(stream, signal) }
  } catch (error) {
    signal.throwIfAborted()
    throw error
  }
}

async function* readChunks(stream: ClientHttp2Stream, signal: AbortSignal): AsyncGenerator<Buffer, void, undefined> {
  try {
    for await (const chunk of stream) yield chunk as Buffer
    // A connection that breaks can look like an end.
    if (stream.aborted || stream.rstCode !== constants.NGHTTP2_NO_ERROR) throw new Error('reset')
  } catch (cause) {
    signal.throwIfAborted()
    throw lost(stream, cause)
  } finally {
    if (!stream.closed) stream.close(constants.NGHTTP2_CANCEL)
  }
}

function lost(stream: ClientHttp2Stream, cause: unknown): ConnectionLost {
  const wasRefused = stream.rstCode === constants.NGHTTP2_REFUSED_STREAM
  const reason = cause instanceof Error && cause.message !== 'reset' ? `: ${cause.message}` : ''
  return new ConnectionLost(`the connection to the API server was lost${reason}`, !wasRefused, cause)
}

// A proxy before an API server that looks at requests: those that a rule picks are answered in its stead, held back, cut
// in the middle of the answer, or left in silence. It bears the API server's own certificate, so clients need not know.

import { readFileSync } from 'node:fs'
import {
  type ClientHttp2Session,
  type ClientHttp2Stream,
  connect,
  constants,
  createSecureServer,
  type Http2SecureServer,
  type IncomingHttpHeaders,
  type ServerHttp2Session,
  type ServerHttp2Stream,
} from 'node:http2'
import type { Cluster } from './cluster.ts'
import { takePort } from './ports.ts'

/** A request as a rule sees it. */
export type ProxiedRequest = {
  readonly method: string
  readonly path: string
  readonly query: URLSearchParams
  readonly headers: IncomingHttpHeaders
  /** `list`, `watch` and `get` are told apart as the API server does it: by the path's last part and `watch=1`. */
  readonly isWatch: boolean
}

/** What happens to a request. */
export type Misbehaviour =
  /** Answered here; the API server hears nothing. The stream ends after the body. */
  | { readonly answer: { readonly status: number; readonly headers?: Record<string, string>; readonly body?: unknown } }
  /** Passed on after so many milliseconds. */
  | { readonly delayMs: number }
  /** Passed on; after so many bytes of the answer's body the whole connection breaks. */
  | { readonly cutAfterBytes: number }
  /** Passed on; the head of the answer comes back and nothing after it, not even its end. */
  | { readonly silent: true }

/** Decides about a request; undefined lets it through. A promise holds the request back until it resolves. */
export type ProxyRule = (request: ProxiedRequest) => Misbehaviour | undefined | Promise<Misbehaviour | undefined>

/** Starts a proxy before the cluster's API server. */
export async function startApiProxy(cluster: Pick<Cluster, 'port' | 'caFile'>): Promise<ApiProxy> {
  const proxy = new ApiProxy(await takePort(), cluster)
  await proxy.start()
  return proxy
}

/** A running proxy: in order until it has a rule. */
export class ApiProxy implements AsyncDisposable {
  /** `https://127.0.0.1:<port>`. */
  readonly server: string
  /** What has come in, in order. */
  readonly seen: ProxiedRequest[] = []
  /** Asked for each request. */
  rule: ProxyRule | undefined
  readonly #port: number
  readonly #cluster: Pick<Cluster, 'port' | 'caFile'>
  readonly #listener: Http2SecureServer
  readonly #sessions = new Map<ServerHttp2Session, ClientHttp2Session>()

  constructor(port: number, cluster: Pick<Cluster, 'port' | 'caFile'>) {
    this.#port = port
    this.#cluster = cluster
    this.server = `https://127.0.0.1:${port}`
    const cert = readFileSync(cluster.caFile)
    const key = readFileSync(cluster.caFile.replace(/\.crt$/, '.key'))
    this.#listener = createSecureServer({ cert, key })
    this.#listener.on('session', (session) => this.#accept(session))
    this.#listener.on('stream', (stream, headers) => void this.#handle(stream, headers))
    this.#listener.on('sessionError', () => undefined)
  }

  /** Called by startApiProxy. */
  async start(): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      this.#listener.once('error', reject)
      this.#listener.listen(this.#port, '127.0.0.1', resolve)
    })
  }

  /** Connections that clients hold now. */
  get connections(): number {
    return this.#sessions.size
  }

  /** Asks every client to open no more streams on its connection; those that are open go on. */
  goAway(): void {
    for (const session of this.#sessions.keys()) session.goaway(constants.NGHTTP2_NO_ERROR, 2 ** 31 - 1)
  }

  /** Breaks every connection; new ones are taken. */
  breakConnections(): void {
    for (const session of this.#sessions.keys()) session.destroy()
  }

  async stop(): Promise<void> {
    this.breakConnections()
    await new Promise((resolve) => this.#listener.close(resolve))
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop()
  }

  #accept(session: ServerHttp2Session): void {
    const ca = readFileSync(this.#cluster.caFile)
    const upstream = connect(`https://127.0.0.1:${this.#cluster.port}`, { ca })
    this.#sessions.set(session, upstream)
    session.on('error', () => undefined)
    upstream.on('error', () => undefined)
    upstream.once('close', () => session.destroy())
    session.once('close', () => {
      this.#sessions.delete(session)
      upstream.destroy()
    })
  }

  async #handle(stream: ServerHttp2Stream, headers: IncomingHttpHeaders): Promise<void> {
    stream.on('error', () => undefined)
    const { session } = stream
    const upstream = session ? this.#sessions.get(session as ServerHttp2Session) : undefined
    try {
      const body = await readBody(stream)
      const request = parseRequest(headers)
      this.seen.push(request)
      const misbehaviour = await this.rule?.(request)
      if (stream.closed || !upstream || upstream.destroyed) return
      if (misbehaviour && 'answer' in misbehaviour) answer(stream, misbehaviour.answer)
      else if (misbehaviour && 'delayMs' in misbehaviour)
        setTimeout(() => passOn(stream, upstream, headers, body), misbehaviour.delayMs)
      else passOn(stream, upstream, headers, body, misbehaviour)
    } catch {
      stream.close(constants.NGHTTP2_INTERNAL_ERROR)
    }
  }
}

function parseRequest(headers: IncomingHttpHeaders): ProxiedRequest {
  const url = new URL(headers[':path'] ?? '/', 'https://api')
  return {
    method: headers[':method'] ?? '',
    path: url.pathname,
    query: url.searchParams,
    headers,
    isWatch: url.searchParams.has('watch'),
  }
}

async function readBody(stream: ServerHttp2Stream): Promise<Buffer> {
  const chunks: Buffer[] = []
  for await (const chunk of stream) chunks.push(chunk as Buffer)
  return Buffer.concat(chunks)
}

function answer(stream: ServerHttp2Stream, { status, headers = {}, body }: AnswerParts): void {
  stream.respond({ ':status': status, 'content-type': 'application/json', ...headers })
  stream.end(typeof body === 'string' ? body : JSON.stringify(body ?? {}))
}

type AnswerParts = Extract<Misbehaviour, { answer: unknown }>['answer']

function passOn(
  stream: ServerHttp2Stream,
  upstream: ClientHttp2Session,
  headers: IncomingHttpHeaders,
  body: Buffer,
  misbehaviour?: Misbehaviour,
): void {
  if (stream.closed || upstream.destroyed) return
  const { host: _, ...rest } = headers
  const request = upstream.request(rest, { endStream: body.length === 0 })
  if (body.length > 0) request.end(body)
  request.on('error', () => undefined)
  stream.once('close', () => request.close(constants.NGHTTP2_CANCEL))
  request.once('response', (head) => {
    if (!stream.closed) stream.respond(head)
    if (misbehaviour && 'silent' in misbehaviour) request.resume()
    else copyBody(request, stream, misbehaviour && 'cutAfterBytes' in misbehaviour ? misbehaviour.cutAfterBytes : -1)
  })
  request.once('close', () => {
    if (misbehaviour && 'silent' in misbehaviour) return
    if (request.rstCode !== constants.NGHTTP2_NO_ERROR) stream.close(request.rstCode)
  })
}

/** Copies an answer; `cutAfterBytes` of -1 is never. */
function copyBody(from: ClientHttp2Stream, to: ServerHttp2Stream, cutAfterBytes: number): void {
  if (cutAfterBytes < 0) {
    from.pipe(to)
    return
  }
  let remaining = cutAfterBytes
  from.on('data', (chunk: Buffer) => {
    const part = chunk.subarray(0, remaining)
    remaining -= part.length
    if (remaining > 0) to.write(part)
    else to.write(part, () => setImmediate(() => to.session?.destroy()))
  })
  // Shorter than that: the end is what is missing.
  from.once('end', () => to.session?.destroy())
}

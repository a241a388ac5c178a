// One call: its time limit, what may be tried again, and errors as the one error type.
import { backoffMs } from '@fairlead/shared/backoff'
import { AppError } from '@fairlead/shared/errors'
import type { CallOptions, JsonBody, KubeRequest, KubeResponse } from './kube.ts'
import { parseStatus, type Status } from './kube-error.ts'
import { parseRetryAfterMs } from './retry-after.ts'
import { ConnectionLost, type IncomingResponse, type Transport } from './transport.ts'

const DEFAULT_TIMEOUT_MS = 30_000
/** Lost connections forgiven within one call: enough for one that died unnoticed, and the next. */
const MAX_RECONNECTS = 3
/** How long a write waits within its call because the API server asks for it; what takes longer is for whoever retries: something newer may have come by then. */
const WRITE_WAIT_MAX_MS = 6_000

/** Media types. */
export const JSON_TYPE = 'application/json'
const asMetadata = (kind: string): string => `application/json;as=${kind};g=meta.k8s.io;v=v1`
/** Asks for metadata only; servers that cannot (some aggregated ones) answer whole. */
export const METADATA_ONLY = `${asMetadata('PartialObjectMetadata')},${JSON_TYPE}`
/** The same of a list. */
export const METADATA_ONLY_LIST = `${asMetadata('PartialObjectMetadataList')},${JSON_TYPE}`

/** Sends a request and reads its answer, of whatever status. */
export async function call(transport: Transport, request: KubeRequest): Promise<KubeResponse> {
  using limit = new Limit(request)
  const outgoing = prepare(request, limit.signal)
  const isIdempotent = request.idempotent ?? request.method === 'GET'
  let reconnects = 0
  let freshToken = false
  let waitableMs = request.method === 'GET' ? Infinity : WRITE_WAIT_MAX_MS
  for (;;) {
    try {
      const response = await transport.open(outgoing, { freshToken })
      const answer = await readAnswer(response)
      if (answer.status === 401 && !freshToken) {
        // The token, or the certificate, may have been replaced since it was last read.
        freshToken = true
        continue
      }
      const waitMs = retryAfterMs(answer)
      if (waitMs === undefined || waitMs > waitableMs || !limit.allows(waitMs)) return answer
      waitableMs -= waitMs
      await limit.sleep(waitMs)
    } catch (error) {
      const mayRepeat = error instanceof ConnectionLost && (isIdempotent || !error.mayHaveArrived)
      const waitMs = backoffMs(reconnects, { baseMs: 50 })
      if (!mayRepeat || reconnects++ >= MAX_RECONNECTS || !limit.allows(waitMs)) throw limit.explain(error)
      await limit.sleep(waitMs)
    }
  }
}

/** Opens a stream that has no time limit but the signal; the answer of whatever status. Not repeated. */
export async function openStream(
  transport: Transport,
  request: Omit<KubeRequest, 'timeoutMs'>,
  openTimeoutMs: number = DEFAULT_TIMEOUT_MS,
): Promise<{ response: IncomingResponse; limit: Limit }> {
  const limit = new Limit({ signal: request.signal, timeoutMs: openTimeoutMs })
  try {
    let response = await transport.open(prepare(request, limit.signal))
    if (response.status === 401) {
      await readAnswer(response)
      response = await transport.open(prepare(request, limit.signal), { freshToken: true })
    }
    limit.endTimeout()
    return { response, limit }
  } catch (error) {
    const explained = limit.explain(error)
    limit[Symbol.dispose]()
    throw explained
  }
}

/** Reads a body to its end. */
export async function readAnswer({ status, headers, chunks }: IncomingResponse): Promise<KubeResponse> {
  const parts: Buffer[] = []
  for await (const chunk of chunks) parts.push(chunk)
  const text = (parts.length === 1 ? (parts[0] as Buffer) : Buffer.concat(parts)).toString('utf8')
  const isJson = String(headers['content-type'] ?? '').startsWith(JSON_TYPE)
  return { status, headers, body: isJson && text !== '' ? parseJson(text) : text }
}

/** The signal and the clock of one call. */
export class Limit implements Disposable {
  readonly #controller = new AbortController()
  readonly #caller: AbortSignal | undefined
  readonly #timeoutMs: number
  readonly #deadline: number
  readonly #abort: () => void
  #timer: NodeJS.Timeout | undefined
  #timedOut = false

  constructor({ signal, timeoutMs = DEFAULT_TIMEOUT_MS }: CallOptions) {
    this.#caller = signal
    this.#timeoutMs = timeoutMs
    this.#deadline = performance.now() + timeoutMs
    this.#abort = () =>
      this.#controller.abort(new AppError('Aborted', 'the call was given up', { cause: signal?.reason }))
    if (signal?.aborted) this.#abort()
    else signal?.addEventListener('abort', this.#abort, { once: true })
    this.#timer = setTimeout(() => {
      this.#timedOut = true
      this.#controller.abort(
        new AppError('ApiServerUnavailable', `the API server did not answer within ${timeoutMs} ms`),
      )
    }, timeoutMs)
  }

  get signal(): AbortSignal {
    return this.#controller.signal
  }

  allows(waitMs: number): boolean {
    return performance.now() + waitMs < this.#deadline
  }

  async sleep(ms: number): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    const timer = setTimeout(resolve, ms)
    const abort = (): void => reject(this.signal.reason as Error)
    this.signal.addEventListener('abort', abort, { once: true })
    try {
      this.signal.throwIfAborted()
      await promise
    } finally {
      clearTimeout(timer)
      this.signal.removeEventListener('abort', abort)
    }
  }

  /** From now on only the caller's signal counts. */
  endTimeout(): void {
    clearTimeout(this.#timer)
  }

  /** Whatever was thrown, as an AppError. */
  explain(error: unknown): AppError {
    if (error instanceof AppError) return error
    if (this.#timedOut) {
      return new AppError('ApiServerUnavailable', `the API server did not answer within ${this.#timeoutMs} ms`, {
        cause: error,
      })
    }
    if (this.#caller?.aborted) return new AppError('Aborted', 'the call was given up', { cause: error })
    const message = error instanceof Error ? error.message : String(error)
    const code = error instanceof ConnectionLost ? 'ApiServerUnavailable' : 'Internal'
    return new AppError(code, message, { cause: error })
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#timer)
    this.#caller?.removeEventListener('abort', this.#abort)
  }
}

function prepare(request: Omit<KubeRequest, 'timeoutMs'>, signal: AbortSignal): Parameters<Transport['open']>[0] {
  const { method, path, query = {}, body, contentType = JSON_TYPE, accept = JSON_TYPE } = request
  const search = new URLSearchParams()
  for (const [name, value] of Object.entries(query)) if (value !== undefined) search.set(name, String(value))
  return {
    method,
    path: search.size === 0 ? path : `${path}?${search}`,
    headers: { ...request.headers, accept, ...(body !== undefined && { 'content-type': contentType }) },
    body: body === undefined ? undefined : encodeBody(body),
    signal,
    isFenced: method !== 'GET' && request.unfenced !== true,
  }
}

function encodeBody(body: JsonBody): Uint8Array {
  if (body instanceof Uint8Array) return body
  return Buffer.from(typeof body === 'string' ? body : JSON.stringify(body), 'utf8')
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    // The parser's message quotes what it read, which may be a Secret.
    throw new ConnectionLost('the API server sent an incomplete answer', true)
  }
}

/** What a refusal says, with the time to wait that may stand in its header only. */
export function statusOf({ status, headers, body }: KubeResponse): Status {
  const retryAfterMs = parseRetryAfterMs(headers['retry-after'])
  return { ...parseStatus(status, body), ...(retryAfterMs !== undefined && { retryAfterMs }) }
}

/** How long the API server asks us to wait before the same request; undefined when it does not. */
function retryAfterMs(answer: KubeResponse): number | undefined {
  if (answer.status !== 429 && answer.status !== 503) return undefined
  const waitMs = statusOf(answer).retryAfterMs
  // A little later than asked, and not all at once.
  return waitMs === undefined ? undefined : Math.max(100, waitMs) * (1 + Math.random() / 4)
}

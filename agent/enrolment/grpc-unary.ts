// Unary gRPC calls over node:http2, which the agent has loaded anyway: grpc-js would cost 12 MiB of memory for two calls
// a day. Protocol: https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md
import { type ClientHttp2Session, connect, constants, type IncomingHttpHeaders } from 'node:http2'
import { type DescMessage, type DescMethodUnary, fromBinary, type MessageShape, toBinary } from '@bufbuild/protobuf'
import { splitAddress } from './ca-pin.ts'

/** gRPC status codes that the agent tells apart. */
export const GRPC_STATUS = {
  ok: 0,
  invalidArgument: 3,
  notFound: 5,
  permissionDenied: 7,
  resourceExhausted: 8,
  unavailable: 14,
  unauthenticated: 16,
} as const

/** A call that was answered with a status other than OK, or not at all (`unavailable`). */
export class GrpcError extends Error {
  override readonly name = 'GrpcError'
  readonly status: number

  constructor(status: number, message: string, cause?: unknown) {
    super(message, { cause })
    this.status = status
  }
}

/** The longest answer that is taken, in bytes. */
const MAX_ANSWER_BYTES = 1024 * 1024
const FRAME_HEADER_BYTES = 5

/** A connection for a few calls. */
export interface GrpcChannel {
  /** Calls a method. Rejects with GrpcError; when the signal aborts the call is reset and rejects with `unavailable`. */
  call<I extends DescMessage, O extends DescMessage>(
    method: DescMethodUnary<I, O>,
    request: MessageShape<I>,
    options: { readonly timeoutMs: number; readonly signal: AbortSignal },
  ): Promise<MessageShape<O>>
  close(): void
}

/** Connects to `host:port` with TLS that trusts the given CA alone. Connection errors show in the calls. */
export function openGrpcChannel(address: string, caPem: string): GrpcChannel {
  const { host } = splitAddress(address)
  const session = connect(`https://${address}`, { ca: caPem, ALPNProtocols: ['h2'], host })
  let failure: Error | undefined
  session.on('error', (error) => {
    failure = error
  })
  return {
    call: async (method, request, { timeoutMs, signal }) => {
      const path = `/${method.parent.typeName}/${method.name}`
      const body = frame(toBinary(method.input, request))
      const limited = AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)])
      try {
        return fromBinary(method.output, await exchange(session, { path, body, timeoutMs, signal: limited }))
      } catch (error) {
        if (error instanceof GrpcError) throw error
        const cause = failure ?? error
        throw new GrpcError(GRPC_STATUS.unavailable, cause instanceof Error ? cause.message : String(cause), cause)
      }
    },
    close: () => session.destroy(),
  }
}

interface Exchange {
  readonly path: string
  readonly body: Buffer
  readonly timeoutMs: number
  readonly signal: AbortSignal
}

/** Sends one message and returns the answer's. */
async function exchange(session: ClientHttp2Session, { path, body, timeoutMs, signal }: Exchange): Promise<Buffer> {
  const stream = session.request(
    {
      [constants.HTTP2_HEADER_METHOD]: 'POST',
      [constants.HTTP2_HEADER_PATH]: path,
      'content-type': 'application/grpc+proto',
      te: 'trailers',
      'grpc-timeout': `${Math.ceil(timeoutMs)}m`,
    },
    { signal },
  )
  let headers: IncomingHttpHeaders = {}
  const noteHeaders = (received: IncomingHttpHeaders): void => {
    headers = { ...headers, ...received }
  }
  stream.on('response', noteHeaders)
  stream.on('trailers', noteHeaders)
  stream.end(body)
  const chunks: Buffer[] = []
  let sizeBytes = 0
  for await (const chunk of stream as AsyncIterable<Buffer>) {
    sizeBytes += chunk.length
    if (sizeBytes > MAX_ANSWER_BYTES) throw new Error('the answer is too long')
    chunks.push(chunk)
  }
  expectOk(headers)
  return unframe(Buffer.concat(chunks))
}

function expectOk(headers: IncomingHttpHeaders): void {
  const status = headers['grpc-status']
  if (status === undefined) {
    throw new GrpcError(GRPC_STATUS.unavailable, `no gRPC answer, HTTP status ${headers[':status'] ?? 'unknown'}`)
  }
  if (Number(status) === GRPC_STATUS.ok) return
  throw new GrpcError(Number(status), decodeMessage(String(headers['grpc-message'] ?? '')))
}

/** grpc-message is percent-encoded; what is not is shown as it came. */
function decodeMessage(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    return text
  }
}

function frame(message: Uint8Array): Buffer {
  const header = Buffer.alloc(FRAME_HEADER_BYTES)
  header.writeUInt32BE(message.length, 1)
  return Buffer.concat([header, message])
}

function unframe(body: Buffer): Buffer {
  const message = body.subarray(FRAME_HEADER_BYTES)
  if (body.length < FRAME_HEADER_BYTES || body[0] !== 0 || body.readUInt32BE(1) !== message.length) {
    throw new Error('the answer is not one uncompressed gRPC message')
  }
  return message
}

// Typed grpc-js services and clients from protobuf-es descriptors.
import {
  type DescMessage,
  type DescMethod,
  type DescService,
  fromBinary,
  type MessageShape,
  toBinary,
} from '@bufbuild/protobuf'
import * as grpc from '@grpc/grpc-js'

type In<M> = M extends { input: infer I extends DescMessage } ? MessageShape<I> : never
type Out<M> = M extends { output: infer O extends DescMessage } ? MessageShape<O> : never
type Kind<M> = M extends { methodKind: infer K } ? K : never

/** Handlers of a service by method: unary ones return a promise, streaming ones write to the call. Both get a signal that aborts when the caller goes away. */
export type Handlers<S extends DescService> = {
  [K in keyof S['method']]: Kind<S['method'][K]> extends 'unary'
    ? (request: In<S['method'][K]>, context: CallContext) => Promise<Out<S['method'][K]>>
    : Kind<S['method'][K]> extends 'server_streaming'
      ? (request: In<S['method'][K]>, context: CallContext) => AsyncIterable<Out<S['method'][K]>>
      : never
}

/** What a handler knows of its call. */
export interface CallContext {
  readonly metadata: grpc.Metadata
  /** Address of the caller. */
  readonly peer: string
  readonly signal: AbortSignal
}

/** A client of a service by method. Unary calls reject with grpc.ServiceError. */
export type Client<S extends DescService> = {
  [K in keyof S['method']]: Kind<S['method'][K]> extends 'unary'
    ? (request: In<S['method'][K]>, options?: CallOptions) => Promise<Out<S['method'][K]>>
    : (request: In<S['method'][K]>, options?: CallOptions) => AsyncIterable<Out<S['method'][K]>>
} & { close(): void }

/** Options of one call. */
export interface CallOptions {
  readonly metadata?: grpc.Metadata
  /** Deadline in milliseconds from now; default none. */
  readonly timeoutMs?: number
  readonly signal?: AbortSignal
}

/** Runs around every handler of a server; may throw to refuse the call. */
export type Interceptor = (method: DescMethod, context: CallContext) => void | Promise<void>

/** Adds a service. `toStatus` turns a thrown value into a gRPC status. */
export function addService<S extends DescService>(
  server: grpc.Server,
  service: S,
  handlers: Handlers<S>,
  { intercept, toStatus }: { intercept: Interceptor; toStatus: (error: unknown) => Partial<grpc.StatusObject> },
): void {
  const implementation: Record<string, grpc.UntypedHandleCall> = {}
  for (const method of service.methods) {
    const handler = (handlers as Record<string, (request: unknown, context: CallContext) => unknown>)[method.localName]
    if (!handler) throw new Error(`no handler for ${service.typeName}/${method.name}`)
    implementation[method.localName] =
      method.methodKind === 'unary'
        ? unaryHandler(method, handler, intercept, toStatus)
        : streamHandler(method, handler, intercept, toStatus)
  }
  server.addService(serviceDefinition(service), implementation)
}

function unaryHandler(
  method: DescMethod,
  handler: (request: unknown, context: CallContext) => unknown,
  intercept: Interceptor,
  toStatus: (error: unknown) => Partial<grpc.StatusObject>,
): grpc.handleUnaryCall<unknown, unknown> {
  return (call, callback) => {
    const context = contextOf(call)
    void (async () => {
      await intercept(method, context)
      return await handler(call.request, context)
    })().then(
      (response) => callback(null, response),
      (error: unknown) => callback(toStatus(error)),
    )
  }
}

function streamHandler(
  method: DescMethod,
  handler: (request: unknown, context: CallContext) => unknown,
  intercept: Interceptor,
  toStatus: (error: unknown) => Partial<grpc.StatusObject>,
): grpc.handleServerStreamingCall<unknown, unknown> {
  return (call) => {
    const context = contextOf(call)
    void (async () => {
      await intercept(method, context)
      for await (const message of handler(call.request, context) as AsyncIterable<unknown>) {
        if (context.signal.aborted) break
        if (!call.write(message)) await drained(call, context.signal)
      }
      call.end()
    })().catch((error: unknown) => {
      if (!context.signal.aborted) call.emit('error', toStatus(error))
    })
  }
}

/** Waits until the caller has taken what was written; without it a slow reader would grow the buffer without end. */
async function drained(call: grpc.ServerWritableStream<unknown, unknown>, signal: AbortSignal): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>()
  call.once('drain', resolve)
  signal.addEventListener('abort', () => resolve(), { once: true })
  await promise
}

function contextOf(
  call: grpc.ServerUnaryCall<unknown, unknown> | grpc.ServerWritableStream<unknown, unknown>,
): CallContext {
  const controller = new AbortController()
  call.on('cancelled', () => controller.abort())
  return { metadata: call.metadata, peer: call.getPeer(), signal: controller.signal }
}

/** Makes a client. Close it when done. */
export function createClient<S extends DescService>(
  service: S,
  address: string,
  credentials: grpc.ChannelCredentials,
  options: grpc.ClientOptions = {},
): Client<S> {
  const raw = new grpc.Client(address, credentials, options)
  const client: Record<string, unknown> = { close: () => raw.close() }
  for (const method of service.methods) {
    const { path, requestSerialize, responseDeserialize } = methodDefinition(method)
    client[method.localName] =
      method.methodKind === 'unary'
        ? (request: unknown, callOptions: CallOptions = {}) =>
            unaryCall(
              (done) =>
                raw.makeUnaryRequest(
                  path,
                  requestSerialize,
                  responseDeserialize,
                  request,
                  metadataOf(callOptions),
                  deadlineOf(callOptions),
                  done,
                ),
              callOptions.signal,
            )
        : (request: unknown, callOptions: CallOptions = {}) =>
            streamCall(
              raw.makeServerStreamRequest(
                path,
                requestSerialize,
                responseDeserialize,
                request,
                metadataOf(callOptions),
                deadlineOf(callOptions),
              ),
              callOptions.signal,
            )
  }
  return client as Client<S>
}

async function unaryCall(
  start: (done: grpc.requestCallback<unknown>) => grpc.ClientUnaryCall,
  signal?: AbortSignal,
): Promise<unknown> {
  signal?.throwIfAborted()
  const { promise, resolve, reject } = Promise.withResolvers<unknown>()
  const call = start((error, response) => (error ? reject(error) : resolve(response)))
  const cancel = (): void => call.cancel()
  signal?.addEventListener('abort', cancel, { once: true })
  try {
    return await promise
  } finally {
    signal?.removeEventListener('abort', cancel)
  }
}

async function* streamCall(call: grpc.ClientReadableStream<unknown>, signal?: AbortSignal): AsyncIterable<unknown> {
  const cancel = (): void => call.cancel()
  signal?.addEventListener('abort', cancel, { once: true })
  try {
    yield* call
  } finally {
    signal?.removeEventListener('abort', cancel)
    call.cancel()
  }
}

const metadataOf = (options: CallOptions): grpc.Metadata => options.metadata ?? new grpc.Metadata()
const deadlineOf = (options: CallOptions): grpc.CallOptions =>
  options.timeoutMs === undefined ? {} : { deadline: Date.now() + options.timeoutMs }

function methodDefinition(method: DescMethod): grpc.MethodDefinition<unknown, unknown> {
  const serialize = (schema: DescMessage) => (message: unknown) =>
    Buffer.from(toBinary(schema, message as MessageShape<DescMessage>))
  const deserialize = (schema: DescMessage) => (bytes: Buffer) => fromBinary(schema, bytes)
  return {
    path: `/${method.parent.typeName}/${method.name}`,
    requestStream: false,
    responseStream: method.methodKind === 'server_streaming',
    requestSerialize: serialize(method.input),
    requestDeserialize: deserialize(method.input),
    responseSerialize: serialize(method.output),
    responseDeserialize: deserialize(method.output),
    originalName: method.localName,
  }
}

function serviceDefinition(service: DescService): grpc.ServiceDefinition {
  return Object.fromEntries(service.methods.map((method) => [method.localName, methodDefinition(method)]))
}

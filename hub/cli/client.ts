// The hub's API as the commands see it: typed clients with the context's CA and token; every failure is an AppError.
import { isIP } from 'node:net'
import { checkServerIdentity } from 'node:tls'
import type { DescService } from '@bufbuild/protobuf'
import { ApplicationsService } from '@fairlead/proto/applications'
import { ClustersService } from '@fairlead/proto/clusters'
import { DefinitionsService } from '@fairlead/proto/definitions'
import { FleetService } from '@fairlead/proto/fleet'
import { RepositoriesService } from '@fairlead/proto/repositories'
import { AppError } from '@fairlead/shared/errors'
import { type CallOptions, type Client, createClient } from '@fairlead/shared/grpc'
import * as grpc from '@grpc/grpc-js'
import { toHubError } from './client-errors.ts'
import type { Context } from './context-file.ts'

/** The hub's services. Close it when done: an open connection keeps the process alive. */
export interface HubClient {
  readonly applications: Client<typeof ApplicationsService>
  readonly clusters: Client<typeof ClustersService>
  readonly definitions: Client<typeof DefinitionsService>
  readonly fleet: Client<typeof FleetService>
  readonly repositories: Client<typeof RepositoriesService>
  close(): void
}

const UNARY_TIMEOUT_MS = 30_000
/** A fleet of 10,000 clusters fits. */
const MAX_MESSAGE_BYTES = 256 * 1024 * 1024

/** Options of a client. */
export interface HubClientOptions {
  /** Aborts every call. */
  readonly signal: AbortSignal
  /** Longest wait for the answer of a unary call, default 30 s. */
  readonly timeoutMs?: number
}

/** Makes a client of the context's hub. Connects with the first call; fails there with Unavailable or Unauthenticated. */
export function createHubClient(context: Context, options: HubClientOptions): HubClient {
  const credentials = createCredentials(context)
  const open = <S extends DescService>(service: S): Client<S> =>
    translated(
      createClient(service, context.address, credentials, {
        'grpc.max_receive_message_length': MAX_MESSAGE_BYTES,
        'grpc.keepalive_time_ms': 30_000,
        'grpc.keepalive_timeout_ms': 10_000,
        ...(isIpHost(context.address) && { 'grpc.ssl_target_name_override': 'localhost' }),
      }),
      { service, address: context.address, options },
    )
  const clients = {
    applications: open(ApplicationsService),
    clusters: open(ClustersService),
    definitions: open(DefinitionsService),
    fleet: open(FleetService),
    repositories: open(RepositoriesService),
  }
  return {
    ...clients,
    close: () => {
      for (const client of Object.values(clients)) client.close()
    },
  }
}

/**
 * An IP address must not be sent as TLS server name (RFC 6066), and Node warns about it on standard error. So a name is sent
 * that means nothing, and the certificate is checked against the address itself.
 */
function isIpHost(address: string): boolean {
  return isIP(hostOf(address)) !== 0
}

function hostOf(address: string): string {
  return address.slice(0, address.lastIndexOf(':')).replace(/^\[|\]$/g, '')
}

function createCredentials(context: Context): grpc.ChannelCredentials {
  const roots = context.caPem === '' ? null : Buffer.from(context.caPem)
  try {
    const channel = grpc.credentials.createSsl(roots, null, null, {
      checkServerIdentity: (_name, certificate) => checkServerIdentity(hostOf(context.address), certificate),
    })
    const call = grpc.credentials.createFromMetadataGenerator((_options, callback) => {
      const metadata = new grpc.Metadata()
      if (context.token !== '') metadata.set('authorization', `Bearer ${context.token}`)
      callback(null, metadata)
    })
    return grpc.credentials.combineChannelCredentials(channel, call)
  } catch (error) {
    const reason = (error as Error).message
    throw new AppError('InvalidArgument', `the CA of context "${context.name}" cannot be used: ${reason}`, {
      cause: error,
    })
  }
}

type UnaryCall = (request: unknown, options: CallOptions) => Promise<unknown>
type StreamCall = (request: unknown, options: CallOptions) => AsyncIterable<unknown>

/** The same client with AppErrors instead of gRPC's, the common signal and, for unary calls, a deadline. */
function translated<S extends DescService>(
  client: Client<S>,
  { service, address, options }: { service: S; address: string; options: HubClientOptions },
): Client<S> {
  const { signal, timeoutMs = UNARY_TIMEOUT_MS } = options
  const calls = client as unknown as Record<string, UnaryCall | StreamCall>
  const wrapped: Record<string, unknown> = { close: () => client.close() }
  for (const { localName, methodKind } of service.methods) {
    const call = calls[localName]
    if (call === undefined) continue
    wrapped[localName] =
      methodKind === 'unary'
        ? (request: unknown, given: CallOptions = {}) =>
            (call as UnaryCall)(request, { timeoutMs, signal, ...given }).catch((error: unknown) => {
              throw toHubError(error, address)
            })
        : (request: unknown, given: CallOptions = {}) =>
            translatedStream((call as StreamCall)(request, { signal, ...given }), address)
  }
  return wrapped as Client<S>
}

async function* translatedStream(stream: AsyncIterable<unknown>, address: string): AsyncIterable<unknown> {
  try {
    yield* stream
  } catch (error) {
    throw toHubError(error, address)
  }
}

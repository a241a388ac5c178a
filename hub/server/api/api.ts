// The hub's gRPC API: TLS, bearer token, health and reflection around the handlers.
import { ApplicationsService } from '@fairlead/proto/applications'
import { ClustersService } from '@fairlead/proto/clusters'
import { DefinitionsService } from '@fairlead/proto/definitions'
import { EnrolmentService } from '@fairlead/proto/enrolment'
import { FleetService } from '@fairlead/proto/fleet'
import { RepositoriesService } from '@fairlead/proto/repositories'
import { AppError, toAppError } from '@fairlead/shared/errors'
import { addService, type Interceptor } from '@fairlead/shared/grpc'
import { toGrpcStatus } from '@fairlead/shared/grpc-status'
import type { Logger } from '@fairlead/shared/logger'
import * as grpc from '@grpc/grpc-js'
import { HealthImplementation } from 'grpc-health-check'
import type { Approvals } from '../approvals/approvals.ts'
import type { HubConfig } from '../config.ts'
import type { Definitions } from '../definitions/definitions.ts'
import type { Previews } from '../previews.ts'
import type { Registry } from '../registry/registry.ts'
import type { RenderedApplications } from '../rendered-applications.ts'
import type { Store } from '../store/store.ts'
import type { FleetView } from '../view/view.ts'
import { type BearerGuard, createBearerGuard } from './bearer.ts'
import { clustersHandlers, enrolmentHandlers } from './clusters-service.ts'
import {
  applicationsHandlers,
  definitionsHandlers,
  type Refresher,
  repositoriesHandlers,
} from './definitions-service.ts'
import { fleetHandlers } from './fleet-service.ts'
import { addReflection } from './reflection.ts'

const MAX_REQUEST_BYTES = 4 * 1024 * 1024
const DRAIN_MS = 5_000
const SERVICES = [
  ApplicationsService,
  ClustersService,
  DefinitionsService,
  EnrolmentService,
  FleetService,
  RepositoriesService,
] as const

/** What the API needs. */
export interface ApiServerOptions {
  /** Only `listen` is read. */
  readonly config: Pick<HubConfig, 'listen'>
  readonly store: Store
  readonly registry: Registry
  readonly definitions: Definitions
  readonly approvals: Approvals
  readonly previews: Previews
  readonly rendered: RenderedApplications
  readonly view: FleetView
  readonly tracker: Refresher
  /** PEM. The certificate chain ends with the CA, so that an agent can pin it. */
  readonly tls: { readonly key: string; readonly cert: string }
  /** SHA-256 of the administrator's token in hexadecimal. */
  readonly adminTokenSha256: string
  /** Whether NATS is connected now, default never. */
  readonly isNatsConnected?: () => boolean
  /** Webhooks with a wrong signature since the start; default none. */
  readonly refusedWebhooks?: () => number
  readonly logger: Logger
}

/** The API. */
export interface ApiServer {
  /** Listens. Throws FailedPrecondition when it cannot, for example because the port is taken. */
  start(): Promise<{ port: number }>
  /** Ends watches, lets other calls end for at most 5 s, then cuts them off. */
  stop(): Promise<void>
}

/** Makes the API server; it listens only after start(). */
export function createApiServer(options: ApiServerOptions): ApiServer {
  const { config, logger, tls } = options
  const stopping = new AbortController()
  const health = new HealthImplementation({ '': 'NOT_SERVING' })
  const guard = createBearerGuard({
    tokenSha256: options.adminTokenSha256,
    openPaths: [`/${EnrolmentService.typeName}/`, '/grpc.health.v1.Health/'],
    logger,
  })
  const server = new grpc.Server({
    interceptors: [guard.interceptor],
    'grpc.max_receive_message_length': MAX_REQUEST_BYTES,
    'grpc.max_concurrent_streams': 200,
    'grpc.keepalive_time_ms': 30_000,
    'grpc.keepalive_timeout_ms': 20_000,
  })
  addHandlers(server, options, { guard, stopping: stopping.signal })
  health.addToServer(server)
  addReflection(server, SERVICES)
  return {
    start: async () => {
      const port = await listen(server, config.listen, tls)
      for (const name of ['', ...SERVICES.map((service) => service.typeName)]) health.setStatus(name, 'SERVING')
      logger.info({ listen: config.listen, port }, 'API listens')
      return { port }
    },
    stop: async () => {
      for (const name of ['', ...SERVICES.map((service) => service.typeName)]) health.setStatus(name, 'NOT_SERVING')
      stopping.abort()
      await shutDown(server, logger)
    },
  }
}

function addHandlers(
  server: grpc.Server,
  options: ApiServerOptions,
  { guard, stopping }: { guard: BearerGuard; stopping: AbortSignal },
): void {
  const { store, registry, definitions, view, tracker, tls, logger, isNatsConnected = () => false } = options
  // Who may call was decided before the message was read.
  const intercept: Interceptor = () => {}
  const toStatus = (error: unknown): Partial<grpc.StatusObject> => {
    const appError = toAppError(error)
    if (appError.kind === 'bug') logger.error({ error: appError.cause ?? appError }, 'request failed')
    else logger.debug({ code: appError.code }, 'request refused')
    return toGrpcStatus(appError)
  }
  const hooks = { intercept, toStatus }
  addService(
    server,
    ApplicationsService,
    applicationsHandlers(definitions, options.approvals, options.previews, options.rendered),
    hooks,
  )
  addService(server, ClustersService, clustersHandlers(registry, view), hooks)
  addService(server, DefinitionsService, definitionsHandlers(definitions), hooks)
  addService(server, EnrolmentService, enrolmentHandlers(registry), hooks)
  addService(server, RepositoriesService, repositoriesHandlers(definitions, tracker), hooks)
  const startedAtMs = Date.now()
  addService(
    server,
    FleetService,
    fleetHandlers({
      store,
      registry,
      view,
      isNatsConnected,
      certificate: tls.cert,
      refusedBearers: guard.refused,
      refusedWebhooks: options.refusedWebhooks ?? (() => 0),
      startedAtMs,
      stopping,
    }),
    hooks,
  )
}

async function listen(server: grpc.Server, address: string, tls: { key: string; cert: string }): Promise<number> {
  const pair = { private_key: Buffer.from(tls.key), cert_chain: Buffer.from(tls.cert) }
  const credentials = grpc.ServerCredentials.createSsl(null, [pair], false)
  const { promise, resolve, reject } = Promise.withResolvers<number>()
  server.bindAsync(address, credentials, (error, port) => (error ? reject(error) : resolve(port)))
  try {
    return await promise
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause)
    throw new AppError('FailedPrecondition', `the API cannot listen on ${address}: ${why}`, { cause })
  }
}

async function shutDown(server: grpc.Server, logger: Logger): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>()
  const timer = setTimeout(() => {
    logger.warn({}, 'calls did not end in time and are cut off')
    server.forceShutdown()
    resolve()
  }, DRAIN_MS)
  server.tryShutdown(() => resolve())
  await promise
  clearTimeout(timer)
}

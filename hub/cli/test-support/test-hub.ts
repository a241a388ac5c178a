// For tests: the other side of the contract. A gRPC server over TLS with the hub's services, each call recorded, each answer given.
import type { DescService } from '@bufbuild/protobuf'
import { ApplicationsService } from '@fairlead/proto/applications'
import { ClustersService } from '@fairlead/proto/clusters'
import { DefinitionsService } from '@fairlead/proto/definitions'
import { FleetService } from '@fairlead/proto/fleet'
import { RepositoriesService } from '@fairlead/proto/repositories'
import { AppError } from '@fairlead/shared/errors'
import { addService, type Handlers } from '@fairlead/shared/grpc'
import { toGrpcStatus } from '@fairlead/shared/grpc-status'
import * as grpc from '@grpc/grpc-js'

/** The answers of the test's hub; a method without one answers NotFound. */
export interface TestHubAnswers {
  readonly applications?: Partial<Handlers<typeof ApplicationsService>>
  readonly clusters?: Partial<Handlers<typeof ClustersService>>
  readonly definitions?: Partial<Handlers<typeof DefinitionsService>>
  readonly fleet?: Partial<Handlers<typeof FleetService>>
  readonly repositories?: Partial<Handlers<typeof RepositoriesService>>
}

/** The server's key, its certificate and the CA's, as PEM. */
export interface TestTls {
  readonly serverKeyPem: string
  readonly serverChainPem: string
  readonly caPem: string
}

/** A running server. */
export interface TestHub {
  readonly address: string
  readonly caPem: string
  readonly token: string
  stop(): void
}

/** Starts a server on a free port of a loopback address; every call needs the token. */
export async function startTestHub(tls: TestTls, answers: TestHubAnswers, host = '127.0.0.1'): Promise<TestHub> {
  const token = 'test-token'
  const server = new grpc.Server()
  const options = {
    toStatus: toGrpcStatus,
    intercept: (_method: unknown, { metadata }: { metadata: grpc.Metadata }) => {
      if (metadata.get('authorization')[0] !== `Bearer ${token}`) {
        throw new AppError('Unauthenticated', 'the bearer token is not known')
      }
    },
  }
  const add = <S extends DescService>(service: S, handlers: Partial<Handlers<S>> = {}) =>
    addService(server, service, withDefaults(service, handlers), options)
  add(ApplicationsService, answers.applications)
  add(ClustersService, answers.clusters)
  add(DefinitionsService, answers.definitions)
  add(FleetService, answers.fleet)
  add(RepositoriesService, answers.repositories)
  const credentials = grpc.ServerCredentials.createSsl(null, [
    { private_key: Buffer.from(tls.serverKeyPem), cert_chain: Buffer.from(tls.serverChainPem) },
  ])
  const bound = await new Promise<number>((resolve, reject) => {
    server.bindAsync(`${host}:0`, credentials, (error, found) => (error ? reject(error) : resolve(found)))
  })
  return { address: `${host}:${bound}`, caPem: tls.caPem, token, stop: () => server.forceShutdown() }
}

function withDefaults<S extends DescService>(service: S, handlers: Partial<Handlers<S>>): Handlers<S> {
  const missing = async () => {
    throw new AppError('NotFound', 'there is no such thing here')
  }
  const defaults = Object.fromEntries(service.methods.map((method) => [method.localName, missing]))
  return { ...defaults, ...handlers } as Handlers<S>
}

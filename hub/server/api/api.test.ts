import { execFile } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { create } from '@bufbuild/protobuf'
import { durationFromMs } from '@bufbuild/protobuf/wkt'
import { ApplicationsService } from '@fairlead/proto/applications'
import { ClustersService } from '@fairlead/proto/clusters'
import { ConnectionState, SyncState } from '@fairlead/proto/common'
import { DefinitionsService } from '@fairlead/proto/definitions'
import { CredentialsSchema, EnrolmentService } from '@fairlead/proto/enrolment'
import { FleetService } from '@fairlead/proto/fleet'
import { ReportSchema } from '@fairlead/proto/report'
import { RepositoriesService } from '@fairlead/proto/repositories'
import { sha256Hex } from '@fairlead/shared/digest'
import { joinProofBytes, renewProofBytes } from '@fairlead/shared/enrolment-proof'
import { type CallOptions, type Client, createClient } from '@fairlead/shared/grpc'
import { readGrpcError } from '@fairlead/shared/grpc-status'
import { silentLogger } from '@fairlead/shared/logger'
import { createNkey } from '@fairlead/shared/nkey'
import * as grpc from '@grpc/grpc-js'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createApprovals } from '../approvals/approvals.ts'
import { createDefinitions } from '../definitions/definitions.ts'
import { openPki, type Pki } from '../pki/pki.ts'
import { placeApplication } from '../placer/placer.ts'
import { createPreviews } from '../previews.ts'
import { createRegistry } from '../registry/registry.ts'
import { createRenderedApplications } from '../rendered-applications.ts'
import { createRenderer } from '../renderer/renderer.ts'
import { openStore, type Store } from '../store/store.ts'
import { createFleetView, type FleetView } from '../view/view.ts'
import { type ApiServer, createApiServer } from './api.ts'

const TOKEN = 'fla_correct-horse'

let directory: string
let pki: Pki
let store: Store
let view: FleetView
let server: ApiServer
let address: string
const refreshed: string[] = []
const clients: { close(): void }[] = []

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), 'fairlead-api-'))
  pki = await openPki(join(directory, 'pki'), [])
  store = await openStore(join(directory, 'fairlead.db'), { logger: silentLogger })
  view = createFleetView({
    store,
    thresholds: { staleAfterMs: 45_000, offlineAfterMs: 300_000 },
    logger: silentLogger,
  })
  await view.load()
  server = makeServer()
  address = `127.0.0.1:${(await server.start()).port}`
})

afterAll(async () => {
  for (const client of clients) client.close()
  await server.stop()
  await view.stop()
  await store.close()
  rmSync(directory, { recursive: true })
})

function makeServer(listen = '127.0.0.1:0'): ApiServer {
  const onChange = (): void => {}
  const issuer = {
    issue: async (clusterId: string) => create(CredentialsSchema, { userJwt: clusterId }),
    revoke: async () => {},
  }
  const hubAddress = 'hub:7443'
  return createApiServer({
    config: { listen },
    store,
    registry: createRegistry({ store, issuer, hubAddress, caPin: 'sha256:x', onChange, logger: silentLogger }),
    definitions: createDefinitions({ store, placeApplication, onChange, logger: silentLogger }),
    previews: createPreviews({ store, view, commander: () => undefined }),
    rendered: createRenderedApplications({
      store,
      trees: {
        readTree: () => Promise.reject(new Error('no trees')),
        findChart: () => Promise.reject(new Error('no charts')),
        findBase: () => Promise.reject(new Error('no bases')),
      },
      renderer: createRenderer({ logger: silentLogger }),
    }),
    approvals: createApprovals({
      store,
      findReport: (application, cluster) => view.findReport(application, cluster),
      onChange,
    }),
    view,
    tracker: { refresh: (repository = '') => refreshed.push(repository) },
    tls: { key: pki.serverKeyPem, cert: pki.serverChainPem },
    adminTokenSha256: sha256Hex(TOKEN),
    isNatsConnected: () => true,
    logger: silentLogger,
  })
}

type AnyService = Parameters<typeof createClient>[0]

function connect<S extends AnyService>(service: S, to = address): Client<S> {
  const credentials = grpc.credentials.createSsl(Buffer.from(pki.caPem))
  const client = createClient(service, to, credentials, { 'grpc.use_local_subchannel_pool': 1 })
  clients.push(client)
  return client
}

function bearer(token = TOKEN): CallOptions {
  const metadata = new grpc.Metadata()
  metadata.set('authorization', `Bearer ${token}`)
  return { metadata, timeoutMs: 10_000 }
}

const message = <T extends string>($typeName: T) => ({ $typeName })

async function failureOf(call: Promise<unknown>): Promise<grpc.ServiceError> {
  const error = await call.then(
    () => undefined,
    (thrown: grpc.ServiceError) => thrown,
  )
  if (!error) throw new Error('the call did not fail')
  return error
}

async function applyDocuments(...documents: unknown[]) {
  const request = documents.map((document, index) => ({
    $typeName: 'fairlead.v1.DefinitionDocument' as const,
    json: JSON.stringify(document),
    source: { $typeName: 'fairlead.v1.SourceLocation' as const, file: 'apps.yaml', line: index * 10 + 1 },
  }))
  const body = { ...message('fairlead.v1.ApplyDefinitionsRequest'), documents: request, dryRun: false }
  return await connect(DefinitionsService).applyDefinitions(body, bearer())
}

const head = { apiVersion: 'fairlead.dev/v1alpha1' }
const shop = { ...head, kind: 'Repository', metadata: { name: 'shop' }, spec: { url: 'https://h/shop.git' } }
const web = {
  ...head,
  kind: 'Application',
  metadata: { name: 'web' },
  spec: { source: { repository: 'shop' }, placement: { clusters: {} } },
}

const register = async (name: string, labels: Record<string, string> = {}) =>
  await connect(ClustersService).registerCluster(
    { ...message('fairlead.v1.RegisterClusterRequest'), name, labels, tokenTtl: durationFromMs(120_000) },
    bearer(),
  )

describe('a call', () => {
  const list = async (options: CallOptions) =>
    await connect(ClustersService).listClusters(
      { ...message('fairlead.v1.ListClustersRequest'), selector: '' },
      options,
    )

  test('without the right bearer token is refused, whatever it asks for', async () => {
    const wrong = [undefined, bearer('wrong').metadata, bearer(`${TOKEN}x`).metadata, bearer('').metadata]
    for (const metadata of wrong) {
      const error = await failureOf(list({ timeoutMs: 10_000, ...(metadata ? { metadata } : {}) }))
      expect(error.code).toBe(grpc.status.UNAUTHENTICATED)
      expect(readGrpcError(error).code).toBe('Unauthenticated')
    }
    const watch = connect(FleetService).watchFleetStatus({
      ...message('fairlead.v1.WatchFleetStatusRequest'),
      cluster: '',
      application: '',
    })
    const read = (async () => {
      for await (const _status of watch) break
    })()
    expect((await failureOf(read)).code).toBe(grpc.status.UNAUTHENTICATED)
    await expect(list(bearer())).resolves.toBeDefined()
  })

  test('with one wrong token after the other is soon refused unexamined, and counted', async () => {
    const limited = makeServer()
    const to = `127.0.0.1:${(await limited.start()).port}`
    const client = connect(FleetService, to)
    const ask = (token: string) => client.getHubStatus(message('fairlead.v1.GetHubStatusRequest'), bearer(token))
    const before = await ask(TOKEN)
    expect(before.refusedBearers).toBe(0n)
    expect(Number(before.certificateExpiresAt?.seconds) * 1_000).toBeGreaterThan(Date.now())
    await ask('wrong').catch(() => {})
    expect((await ask(TOKEN)).refusedBearers).toBe(1n)
    const codes = []
    for (let guess = 0; guess < 30; guess++) codes.push((await failureOf(ask(`guess-${guess}`))).code)
    expect(codes.slice(0, 19)).toEqual(Array(19).fill(grpc.status.UNAUTHENTICATED))
    expect(codes.slice(19)).toEqual(Array(11).fill(grpc.status.RESOURCE_EXHAUSTED))
    expect((await failureOf(ask(TOKEN))).details).toMatch(/too many wrong bearer tokens.* wait \d+ s/)
    await limited.stop()
  })

  test('that is larger than the limit is refused', async () => {
    const error = await failureOf(applyDocuments({ padding: 'x'.repeat(5 * 1024 * 1024) }))
    expect(error.code).toBe(grpc.status.RESOURCE_EXHAUSTED)
  })

  test('over a connection that does not trust the CA of the hub is never made', async () => {
    const other = await openPki(join(directory, 'other-pki'), [])
    const credentials = grpc.credentials.createSsl(Buffer.from(other.caPem))
    const client = createClient(ClustersService, address, credentials, { 'grpc.use_local_subchannel_pool': 1 })
    clients.push(client)
    const request = { ...message('fairlead.v1.ListClustersRequest'), selector: '' }
    expect((await failureOf(client.listClusters(request, bearer()))).code).toBe(grpc.status.UNAVAILABLE)
  })
})

describe('definitions', () => {
  test('that are wrong come back with file, line, object and field of each problem', async () => {
    const wrong = { ...web, spec: { ...web.spec, source: { repository: 'none', path: '../x' } } }
    const error = await failureOf(applyDocuments({ ...shop, spec: {} }, wrong))
    expect(error.code).toBe(grpc.status.INVALID_ARGUMENT)
    expect(readGrpcError(error)).toMatchObject({
      code: 'InvalidArgument',
      problems: [
        { file: 'apps.yaml', line: 1, object: 'Repository/shop', field: 'spec.url' },
        { file: 'apps.yaml', line: 11, object: 'Application/web', field: 'spec.source.repository' },
        { file: 'apps.yaml', line: 11, object: 'Application/web', field: 'spec.source.path' },
      ],
    })
    expect(error.details).toContain('apps.yaml:11: Application/web: spec.source.path: must not contain ".."')
  })

  test('are applied, read, refreshed and deleted', async () => {
    const { results } = await applyDocuments(shop, web)
    expect(results.map(({ action }) => action)).toEqual(['created', 'created'])
    const repositories = connect(RepositoriesService)
    const named = <T extends string>(typeName: T, name: string) => ({ ...message(typeName), name })
    await repositories.refreshRepository(named('fairlead.v1.RefreshRepositoryRequest', 'shop'), bearer())
    expect(refreshed).toEqual(['shop'])
    const inUse = repositories.deleteRepository(named('fairlead.v1.DeleteRepositoryRequest', 'shop'), bearer())
    expect((await failureOf(inUse)).code).toBe(grpc.status.FAILED_PRECONDITION)
    const applications = connect(ApplicationsService)
    const got = await applications.getApplication(named('fairlead.v1.GetApplicationRequest', 'web'), bearer())
    expect(got.application?.spec?.source?.repository).toBe('shop')
    const suspension = { ...named('fairlead.v1.SuspendApplicationRequest', 'web'), suspend: true }
    const { application: suspended } = await applications.suspendApplication(suspension, bearer())
    expect(suspended).toMatchObject({ spec: { suspend: true }, metadata: { generation: 2n } })
    const request = { ...named('fairlead.v1.DeleteApplicationRequest', 'web'), orphan: false }
    expect(await applications.deleteApplication(request, bearer())).toMatchObject({ clusters: [] })
    expect((await failureOf(applications.deleteApplication(request, bearer()))).code).toBe(grpc.status.NOT_FOUND)
    await repositories.deleteRepository(named('fairlead.v1.DeleteRepositoryRequest', 'shop'), bearer())
    const { repositories: left } = await repositories.listRepositories(
      message('fairlead.v1.ListRepositoriesRequest'),
      bearer(),
    )
    expect(left).toEqual([])
  })
})

describe('clusters', () => {
  test('are registered, labelled, listed and removed', async () => {
    const { cluster, join: instructions } = await register('c1', { env: 'prod' })
    expect(cluster).toMatchObject({ name: 'c1', connection: ConnectionState.PENDING, labels: { env: 'prod' } })
    expect(instructions).toMatchObject({ hubAddress: 'hub:7443', caPin: 'sha256:x' })
    expect((await failureOf(register('c1'))).code).toBe(grpc.status.ALREADY_EXISTS)
    expect((await failureOf(register('C1'))).code).toBe(grpc.status.INVALID_ARGUMENT)
    await register('c10')
    const client = connect(ClustersService)
    const update = {
      ...message('fairlead.v1.UpdateClusterLabelsRequest'),
      name: 'c10',
      set: { env: 'dev' },
      remove: [],
    }
    expect((await client.updateClusterLabels(update, bearer())).cluster?.labels).toEqual({ env: 'dev' })
    const request = { ...message('fairlead.v1.ListClustersRequest'), selector: 'env!=prod' }
    const { clusters } = await client.listClusters(request, bearer())
    expect(clusters.map(({ name }) => name)).toEqual(['c10'])
    for (const name of ['c1', 'c10']) {
      await client.removeCluster({ ...message('fairlead.v1.RemoveClusterRequest'), name }, bearer())
    }
    const gone = client.getCluster({ ...message('fairlead.v1.GetClusterRequest'), name: 'c1' }, bearer())
    expect((await failureOf(gone)).code).toBe(grpc.status.NOT_FOUND)
  })
})

describe('enrolment', () => {
  test('needs no bearer token, takes a join token once and tells wrong ones in the same words', async () => {
    const { join: instructions } = await register('joiner')
    const client = connect(EnrolmentService)
    const key = createNkey('U')
    const joinWith = async (token: string, agent = key) =>
      await client.join({
        ...message('fairlead.v1.JoinRequest'),
        token,
        publicKey: agent.publicKey,
        proof: agent.sign(joinProofBytes(token, agent.publicKey)),
      })
    const token = instructions?.token ?? ''
    const { clusterId, clusterName } = await joinWith(token)
    expect(clusterName).toBe('joiner')
    const used = await failureOf(joinWith(token, createNkey('U')))
    const unknown = await failureOf(joinWith(`flj_${'x'.repeat(43)}`))
    expect([used.code, used.details]).toEqual([unknown.code, unknown.details])
    expect(used.code).toBe(grpc.status.UNAUTHENTICATED)
    expect(used.details).toContain('fairlead cluster token')
    expect(readGrpcError(used).code).toBe('JoinTokenRefused')

    const { challenge } = await client.getChallenge(message('fairlead.v1.GetChallengeRequest'))
    const proof = key.sign(renewProofBytes(clusterId, key.publicKey, challenge))
    const renewal = { ...message('fairlead.v1.RenewRequest'), clusterId, publicKey: key.publicKey, challenge, proof }
    expect((await client.renew(renewal)).credentials?.userJwt).toBe(clusterId)
    await connect(ClustersService).removeCluster(
      { ...message('fairlead.v1.RemoveClusterRequest'), name: 'joiner' },
      bearer(),
    )
    const revoked = await failureOf(client.renew(renewal))
    expect([revoked.code, readGrpcError(revoked).code]).toEqual([grpc.status.PERMISSION_DENIED, 'IdentityRevoked'])

    const codes: number[] = []
    for (let guess = 0; guess < 20; guess++) codes.push((await failureOf(joinWith(`flj_${'y'.repeat(43)}`))).code)
    expect(codes.slice(0, 8)).toEqual(Array(8).fill(grpc.status.UNAUTHENTICATED))
    expect(codes.slice(8)).toEqual(Array(12).fill(grpc.status.RESOURCE_EXHAUSTED))
    const status = await connect(FleetService).getHubStatus(message('fairlead.v1.GetHubStatusRequest'), bearer())
    expect(status).toMatchObject({ natsConnected: true, refusedTokens: 22n })
  })
})

describe('the fleet status', () => {
  test('is watched: the whole state at once, and again when an agent reports', async () => {
    await applyDocuments(shop, web)
    await register('watched')
    const { id } = await store.db
      .selectFrom('clusters')
      .select('id')
      .where('name', '=', 'watched')
      .executeTakeFirstOrThrow()
    await store.db
      .insertInto('deployments')
      .values({ cluster_id: id, application: 'web', state: 'desired', prune: 0, since: 1 })
      .execute()
    await view.refresh()
    const request = { ...message('fairlead.v1.WatchFleetStatusRequest'), cluster: 'watched', application: '' }
    const seen: SyncState[] = []
    for await (const { status } of connect(FleetService).watchFleetStatus(request, bearer())) {
      seen.push(status?.deployments[0]?.sync ?? SyncState.UNSPECIFIED)
      if (seen.length === 2) break
      const applications = [{ application: 'web', sync: SyncState.SYNCED }]
      view.applyReport(id, create(ReportSchema, { session: 's', sequence: 1n, full: true, applications }), Date.now())
    }
    // Not Synced: the report speaks of no artifact.
    expect(seen).toEqual([SyncState.UNKNOWN, SyncState.OUT_OF_SYNC])
    const unary = { ...message('fairlead.v1.GetFleetStatusRequest'), cluster: 'none', application: '' }
    expect((await failureOf(connect(FleetService).getFleetStatus(unary, bearer()))).code).toBe(grpc.status.NOT_FOUND)
  })
})

describe('the server', () => {
  test('answers health checks without a token', async () => {
    const credentials = grpc.credentials.createSsl(Buffer.from(pki.caPem))
    const client = new grpc.Client(address, credentials, { 'grpc.use_local_subchannel_pool': 1 })
    clients.push(client)
    const { promise, resolve, reject } = Promise.withResolvers<Buffer | undefined>()
    const pass = (bytes: Buffer): Buffer => bytes
    client.makeUnaryRequest('/grpc.health.v1.Health/Check', pass, pass, Buffer.alloc(0), (error, answer) =>
      error ? reject(error) : resolve(answer),
    )
    // HealthCheckResponse{status: SERVING}
    expect(await promise).toEqual(Buffer.from([8, 1]))
  })

  test('lists its services by reflection to those who hold the token', async () => {
    const run = promisify(execFile)
    const list = async (...more: string[]) => {
      const flags = ['curl', '--protocol', 'grpc', '--cacert', pki.caFile, '--list-services', ...more]
      return await run('buf', [...flags, `https://${address}`], { cwd: directory }).catch((error: Error) => error)
    }
    const listed = await list('--reflect-header', `authorization: Bearer ${TOKEN}`)
    expect(listed).toMatchObject({ stdout: expect.stringContaining('fairlead.v1.FleetService') })
    expect(await list()).toMatchObject({ stderr: expect.stringContaining('not authenticated') })
  })

  test('that cannot listen says why', async () => {
    await expect(makeServer(address).start()).rejects.toMatchObject({
      code: 'FailedPrecondition',
      message: expect.stringContaining(`the API cannot listen on ${address}`),
    })
  })

  test('ends watches in order when it stops', async () => {
    const other = makeServer()
    const to = `127.0.0.1:${(await other.start()).port}`
    const request = { ...message('fairlead.v1.WatchFleetStatusRequest'), cluster: '', application: '' }
    let answers = 0
    let stopped: Promise<void> | undefined
    for await (const _status of connect(FleetService, to).watchFleetStatus(request, bearer())) {
      answers++
      stopped ??= other.stop()
    }
    expect(answers).toBeGreaterThan(0)
    await stopped
  })
})

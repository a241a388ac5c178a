// Enrolment against a real API server and a gRPC server over TLS with a CA of its own: the agent's side of joining.
// The hub's side is tested in the hub, and both together end to end.
import { createServer, type Server as TlsServer } from 'node:tls'
import { create } from '@bufbuild/protobuf'
import { timestampFromMs } from '@bufbuild/protobuf/wkt'
import { kubeconfigAccess } from '@fairlead/agent/kube/access'
import { createKube, type Kube } from '@fairlead/agent/kube/kube'
import { type Cluster, startCluster } from '@fairlead/e2e/harness/cluster'
import { waitFor } from '@fairlead/e2e/harness/wait'
import {
  CredentialsSchema,
  EnrolmentService,
  type JoinRequest,
  JoinResponseSchema,
  type RenewRequest,
  RenewResponseSchema,
} from '@fairlead/proto/enrolment'
import { AgentFactsSchema } from '@fairlead/proto/report'
import { caPin } from '@fairlead/shared/digest'
import { joinProofBytes, renewProofBytes } from '@fairlead/shared/enrolment-proof'
import type { AppError } from '@fairlead/shared/errors'
import { addService } from '@fairlead/shared/grpc'
import { silentLogger } from '@fairlead/shared/logger'
import { verifyNkey } from '@fairlead/shared/nkey'
import { Server, ServerCredentials, status } from '@grpc/grpc-js'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { createTestCa } from '../testbed/certificates.ts'
import { createTestClusterId, NatsTrust } from '../testbed/nats-trust.ts'
import { Enrolment, type EnrolmentConfig } from './enrolment.ts'
import type { JoinedIdentity } from './identity.ts'
import { IDENTITY_SECRET } from './identity-store.ts'

const namespace = 'default'
const identitySecret = { apiVersion: 'v1', kind: 'Secret', metadata: { namespace, name: IDENTITY_SECRET } }
const joinSecret = { apiVersion: 'v1', kind: 'Secret', metadata: { namespace, name: 'join' } }
const quick = {
  transient: { baseMs: 20, maxMs: 50 },
  refused: { baseMs: 60_000, maxMs: 60_000 },
  tokenPollMs: 30,
  refreshMs: 10,
}
const ca = createTestCa()
const trust = new NatsTrust()
let cluster: Cluster
let kube: Kube
let hub: TestHub
const running: Agent[] = []

beforeAll(async () => {
  cluster = await startCluster({ name: 'enrolment' })
  kube = createKube({ access: await kubeconfigAccess(cluster.kubeconfigPath), userAgent: 'test', logger: silentLogger })
  hub = await TestHub.start()
})

afterEach(async () => {
  for (const agent of running.splice(0)) await agent.stop()
  await cluster.admin.delete(identitySecret)
  await cluster.admin.delete(joinSecret)
  hub.reset()
})

afterAll(async () => {
  hub?.stop()
  await kube?.close()
  await cluster?.stop()
})

/** A hub that knows tokens and keys, and can be told to misbehave. */
class TestHub {
  readonly address: string
  readonly joins: JoinRequest[] = []
  readonly renewals: RenewRequest[] = []
  readonly #server: Server
  /** Tokens by what redeemed them. */
  tokens = new Map<string, string | undefined>()
  revoked = new Set<string>()
  jwtSeconds = 3600
  /** Calls that are answered with a broken connection after they were carried out. */
  lostAnswers = 0
  clusterId = createTestClusterId()

  private constructor(server: Server, port: number) {
    this.#server = server
    this.address = `127.0.0.1:${port}`
  }

  static async start(): Promise<TestHub> {
    const { certificatePem, keyPem } = ca.issue(['127.0.0.1'])
    const chain = Buffer.from(certificatePem + ca.certificatePem)
    const credentials = ServerCredentials.createSsl(null, [{ cert_chain: chain, private_key: Buffer.from(keyPem) }])
    const server = new Server()
    const { promise, resolve, reject } = Promise.withResolvers<number>()
    let self: TestHub | undefined
    const me = (): TestHub => self as TestHub
    addService(
      server,
      EnrolmentService,
      {
        join: async (request) => me().#join(request),
        getChallenge: async () => ({
          $typeName: 'fairlead.v1.GetChallengeResponse',
          challenge: Buffer.from('challenge'),
        }),
        renew: async (request) => me().#renew(request),
      },
      { intercept: () => undefined, toStatus: (error) => error as { code: number; details: string } },
    )
    server.bindAsync('127.0.0.1:0', credentials, (error, port) => (error ? reject(error) : resolve(port)))
    self = new TestHub(server, await promise)
    return self
  }

  reset(): void {
    this.joins.length = 0
    this.renewals.length = 0
    this.tokens = new Map()
    this.revoked = new Set()
    this.jwtSeconds = 3600
    this.lostAnswers = 0
    this.clusterId = createTestClusterId()
  }

  stop(): void {
    this.#server.forceShutdown()
  }

  #join(request: JoinRequest) {
    const { token, publicKey, proof } = request
    this.joins.push(request)
    if (!verifyNkey(publicKey, joinProofBytes(token, publicKey), proof)) throw refusal('the proof does not hold')
    const redeemedBy = this.tokens.get(token)
    if (!this.tokens.has(token) || (redeemedBy !== undefined && redeemedBy !== publicKey)) throw refusal('used')
    this.tokens.set(token, publicKey)
    if (this.lostAnswers-- > 0) throw { code: status.UNAVAILABLE, details: 'connection lost' }
    const { clusterId } = this
    return create(JoinResponseSchema, { clusterId, clusterName: 'c', credentials: this.#credentials(publicKey) })
  }

  #renew(request: RenewRequest) {
    const { clusterId, publicKey, challenge, proof } = request
    this.renewals.push(request)
    const isProven = verifyNkey(publicKey, renewProofBytes(clusterId, publicKey, challenge), proof)
    if (!isProven || this.revoked.has(publicKey)) throw { code: status.PERMISSION_DENIED, details: 'removed' }
    return create(RenewResponseSchema, { credentials: this.#credentials(publicKey) })
  }

  #credentials(publicKey: string) {
    return create(CredentialsSchema, {
      userJwt: trust.agentJwt(this.clusterId, publicKey, this.jwtSeconds),
      expiresAt: timestampFromMs(Date.now() + this.jwtSeconds * 1000),
      natsUrls: ['tls://127.0.0.1:4222'],
    })
  }
}

const refusal = (details: string) => ({ code: status.UNAUTHENTICATED, details })

/** One agent process's enrolment. */
class Agent {
  readonly identities: JoinedIdentity[] = []
  readonly problems: (AppError | undefined)[] = []
  readonly enrolment: Enrolment
  readonly #stopping = new AbortController()
  readonly #done: Promise<void>

  constructor(config: Partial<EnrolmentConfig> = {}) {
    this.enrolment = new Enrolment({
      config: {
        hubAddress: hub.address,
        hubCaPin: caPin(ca.certificatePem),
        joinToken: undefined,
        joinSecret: undefined,
        namespace,
        ...config,
      },
      kube,
      facts: async () => create(AgentFactsSchema, { agentVersion: 'test' }),
      onIdentity: (identity) => this.identities.push(identity),
      onProblem: (problem) => this.problems.push(problem),
      logger: silentLogger,
      timing: quick,
    })
    this.#done = this.enrolment.run(this.#stopping.signal)
    running.push(this)
  }

  async joined(): Promise<JoinedIdentity> {
    return await waitFor('an identity', (see) => {
      see(this.problems)
      return this.identities.at(-1)
    })
  }

  async problem(code: string): Promise<AppError> {
    return await waitFor(`problem ${code}`, (see) => {
      see(this.problems)
      return this.problems.find((problem) => problem?.code === code)
    })
  }

  async stop(): Promise<void> {
    this.#stopping.abort()
    await this.#done
  }
}

async function storedData(): Promise<Record<string, string>> {
  const { data = {} } = await cluster.admin.get(identitySecret)
  return Object.fromEntries(Object.entries(data).map(([key, value]) => [key, Buffer.from(value, 'base64').toString()]))
}

test('joins with the token, keeps the key in the cluster, and needs neither token nor hub after a restart', async () => {
  hub.tokens.set('token', undefined)
  const first = new Agent({ joinToken: 'token' })
  const identity = await first.joined()
  expect(identity.clusterId).toBe(hub.clusterId)
  expect(hub.joins[0]?.facts?.agentVersion).toBe('test')
  expect(await storedData()).toMatchObject({ 'cluster-id': hub.clusterId, 'public-key': identity.key.publicKey })
  expect(JSON.stringify(hub.joins.map(({ token, publicKey }) => [token, publicKey]))).not.toContain(identity.key.seed)
  await first.stop()

  const again = new Agent({ hubAddress: '127.0.0.1:1' })
  expect((await again.joined()).key.publicKey).toBe(identity.key.publicKey)
  expect(hub.joins.length).toBe(1)
  again.enrolment.refresh()
  expect((await again.problem('Unavailable')).message).toContain('127.0.0.1:1')
  expect(again.identities.length).toBe(1)
})

test('a crash after the hub has consumed the token loses nothing: the same key asks again', async () => {
  hub.tokens.set('token', undefined)
  hub.lostAnswers = 1
  const first = new Agent({ joinToken: 'token' })
  await first.problem('Unavailable')
  // As a crash would, right after the answer was lost.
  await first.stop()
  const { seed } = await storedData()
  const identity = await new Agent({ joinToken: 'token' }).joined()
  expect(identity.key.seed).toBe(seed)
  expect(new Set(hub.joins.map(({ publicKey }) => publicKey)).size).toBe(1)
})

test('a refused token is said clearly, and a new one in the Secret is taken without a restart', async () => {
  await cluster.admin.apply({ ...joinSecret, stringData: { token: 'expired' } } as never)
  const agent = new Agent({ joinSecret: 'join' })
  const problem = await agent.problem('JoinTokenRefused')
  expect(problem.message).toContain(hub.address)
  expect(problem.kind).toBe('user')
  hub.tokens.set('fresh', undefined)
  await cluster.admin.apply({ ...joinSecret, stringData: { token: 'fresh' } } as never, { force: true })
  await agent.joined()
  expect(hub.joins.map(({ token }) => token)).toEqual(['expired', 'fresh'])
  await waitFor('the problem to be settled', () => agent.problems.at(-1) === undefined)
})

test('without any token it says how to get one', async () => {
  const agent = new Agent()
  expect((await agent.problem('JoinTokenRefused')).message).toContain('fairlead cluster token')
  expect(hub.joins).toEqual([])
})

test('a hub with another CA is told nothing, and both pins are named', async () => {
  hub.tokens.set('token', undefined)
  const pin = caPin(createTestCa('Another CA').certificatePem)
  const agent = new Agent({ joinToken: 'token', hubCaPin: pin })
  const { message } = await agent.problem('CaPinMismatch')
  expect(message).toContain(pin)
  expect(message).toContain(caPin(ca.certificatePem))
  expect(hub.joins).toEqual([])
})

test('a stranger who shows the right CA without its signature, or a certificate for another host, is told nothing', async () => {
  hub.tokens.set('token', undefined)
  const strangers = [
    { ...createTestCa().issue(['127.0.0.1']), why: 'with pin' },
    { ...ca.issue(['127.0.0.2']), why: 'not for 127.0.0.1' },
  ]
  for (const { certificatePem, keyPem, why } of strangers) {
    const received: string[] = []
    const stranger = createServer({ cert: certificatePem + ca.certificatePem, key: keyPem }, (socket) => {
      socket.on('data', (data) => received.push(data.toString('latin1')))
      socket.on('error', () => undefined)
    })
    const port = await listen(stranger)
    const agent = new Agent({ joinToken: 'token', hubAddress: `127.0.0.1:${port}` })
    expect((await agent.problem('CaPinMismatch')).message).toContain(why)
    expect(received).toEqual([])
    await agent.stop()
    stranger.close()
  }
})

test('the JWT is renewed at two thirds of its life and kept', async () => {
  hub.tokens.set('token', undefined)
  hub.jwtSeconds = 3
  const agent = new Agent({ joinToken: 'token' })
  const first = await agent.joined()
  await waitFor('a renewal', () => hub.renewals.length > 0)
  await waitFor('the new JWT', () => agent.identities.at(-1)?.credentials.userJwt !== first.credentials.userJwt)
  expect(agent.identities.at(-1)?.clusterId).toBe(first.clusterId)
})

test('a revoked agent says so and keeps its identity; a new token makes a new key', async () => {
  hub.tokens.set('token', undefined)
  const agent = new Agent({ joinToken: 'token', joinSecret: 'join' })
  const first = await agent.joined()
  hub.revoked.add(first.key.publicKey)
  agent.enrolment.refresh()
  const problem = await agent.problem('IdentityRevoked')
  expect(problem.kind).toBe('user')
  expect((await storedData())['public-key']).toBe(first.key.publicKey)

  hub.clusterId = createTestClusterId()
  hub.tokens.set('second', undefined)
  await cluster.admin.apply({ ...joinSecret, stringData: { token: 'second' } } as never)
  await waitFor('the new identity', () => agent.identities.at(-1)?.clusterId === hub.clusterId)
  expect(agent.identities.at(-1)?.key.publicKey).not.toBe(first.key.publicKey)
})

test('a passing trouble on the way to a new identity costs neither its key nor that the old one is known as revoked', async () => {
  hub.tokens.set('first', undefined).set('second', undefined)
  const agent = new Agent({ joinToken: 'first', joinSecret: 'join' })
  const first = await agent.joined()
  hub.revoked.add(first.key.publicKey)
  agent.enrolment.refresh()
  await agent.problem('IdentityRevoked')

  hub.lostAnswers = 3
  await cluster.admin.apply({ ...joinSecret, stringData: { token: 'second' } } as never)
  await waitFor('the passing trouble', () => agent.problems.at(-1)?.kind === 'transient')
  expect(agent.enrolment.isRevoked).toBe(true)
  await waitFor('the new identity', () => agent.identities.at(-1)?.key.publicKey === hub.tokens.get('second'))
  await waitFor('the problem to end', () => agent.problems.at(-1) === undefined)
  expect(agent.enrolment.isRevoked).toBe(false)
})

test('a revoked agent that is started again with a new token joins with it at once', async () => {
  hub.tokens.set('first', undefined).set('second', undefined)
  const agent = new Agent({ joinToken: 'first' })
  const first = await agent.joined()
  hub.revoked.add(first.key.publicKey)
  await agent.stop()
  const again = new Agent({ joinToken: 'second' })
  expect((await again.joined()).key.publicKey).toBe(first.key.publicKey)
  again.enrolment.refresh()
  await waitFor('the new identity', () => again.identities.at(-1)?.key.publicKey === hub.tokens.get('second'))
})

test('an API server that is away is waited for', async () => {
  hub.tokens.set('token', undefined)
  cluster.pauseApiServer()
  const agent = new Agent({ joinToken: 'token' })
  cluster.resumeApiServer()
  await agent.joined()
})

async function listen(server: TlsServer): Promise<number> {
  const { promise, resolve } = Promise.withResolvers<void>()
  server.listen(0, '127.0.0.1', resolve)
  await promise
  return (server.address() as { port: number }).port
}

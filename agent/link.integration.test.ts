// The link against a real nats-server with the hub's permissions and a real API server: what the agent obeys, refuses,
// keeps and reports.
import { writeFileSync } from 'node:fs'
import path from 'node:path'
import { create, fromBinary } from '@bufbuild/protobuf'
import { timestampFromMs } from '@bufbuild/protobuf/wkt'
import { kubeconfigAccess } from '@fairlead/agent/kube/access'
import { createKube, type Kube } from '@fairlead/agent/kube/kube'
import { writeVerbs } from '@fairlead/e2e/harness/audit'
import { type Cluster, startCluster } from '@fairlead/e2e/harness/cluster'
import type { KubeObject } from '@fairlead/e2e/harness/kube-client'
import { type NatsServer, startNats } from '@fairlead/e2e/harness/nats'
import { takePort } from '@fairlead/e2e/harness/ports'
import { waitFor } from '@fairlead/e2e/harness/wait'
import { SyncState } from '@fairlead/proto/common'
import { CredentialsSchema } from '@fairlead/proto/enrolment'
import {
  AgentFactsSchema,
  type ApplicationReport,
  ApplicationReportSchema,
  type Heartbeat,
  HeartbeatSchema,
  type Report,
  ReportSchema,
} from '@fairlead/proto/report'
import { ArtifactSchema, CommandSchema, type Slice, SliceSchema } from '@fairlead/proto/slice'
import { type SealedArtifact, sealArtifact } from '@fairlead/shared/artifact'
import type { AppError } from '@fairlead/shared/errors'
import { createLogger } from '@fairlead/shared/logger'
import { createNkey, type Nkey } from '@fairlead/shared/nkey'
import { generateSigningKey, type SigningKeyPair } from '@fairlead/shared/signing'
import { encodeCommand, encodeSlice } from '@fairlead/shared/slice'
import {
  blobSubject,
  desiredSubject,
  doorbellSubject,
  HUB_INBOX_PREFIX,
  STREAM_CONFIGS,
  statusSubject,
} from '@fairlead/shared/subjects'
import { jetstream, jetstreamManager } from '@nats-io/jetstream'
import { connect, type NatsConnection } from '@nats-io/transport-node'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import type { Reconciler } from './desired-state.ts'
import { PulledArtifacts } from './puller/artifact-loader.ts'
import { Connection } from './puller/connection.ts'
import { KeptState, SLICE_SECRET } from './puller/kept-state.ts'
import { Puller } from './puller/puller.ts'
import { createReconciler } from './reconciler.ts'
import { Reporter } from './reporter/reporter.ts'
import { createTestCa, type TestCa } from './testbed/certificates.ts'
import { createTestClusterId, NatsTrust } from './testbed/nats-trust.ts'

const namespace = 'fairlead-system'
const logger = createLogger({ name: 'agent', level: process.env.DEBUG ? 'debug' : 'silent' })
const trust = new NatsTrust()
const signingKey = generateSigningKey()
let cluster: Cluster
let server: NatsServer
let websocketPort: number
let ca: TestCa
let hub: NatsConnection
let kube: Kube
const running: TestAgent[] = []

beforeAll(async () => {
  ca = createTestCa()
  const { certificatePem, keyPem } = ca.issue(['localhost', '127.0.0.1'])
  websocketPort = await takePort()
  const config = (folder: string): string => {
    const tls = writeTls(folder, certificatePem, keyPem)
    return `${tls}\nwebsocket { listen: "127.0.0.1:${websocketPort}", ${tls} }\n${trust.config()}
jetstream { store_dir: "${folder}/js" }\nmax_payload: 1MB`
  }
  ;[cluster, server] = await Promise.all([startCluster({ name: 'link' }), startNats({ config })])
  kube = createKube({
    access: await kubeconfigAccess(cluster.kubeconfigPath),
    userAgent: 'fairlead-agent/test',
    logger,
  })
  await cluster.admin.create({ apiVersion: 'v1', kind: 'Namespace', metadata: { name: namespace } })
  hub = await connectHub()
  const manager = await jetstreamManager(hub)
  for (const stream of STREAM_CONFIGS) await manager.streams.add(structuredClone(stream) as never)
})

afterEach(async () => {
  for (const agent of running.splice(0)) await agent.stop()
})

afterAll(async () => {
  await hub?.close()
  await kube?.close()
  await Promise.all([server?.stop(), cluster?.stop()])
})

/** Writes a certificate and returns what nats-server's configuration says of it. */
function writeTls(folder: string, certificatePem: string, keyPem: string): string {
  writeFileSync(path.join(folder, 'server.crt'), certificatePem)
  writeFileSync(path.join(folder, 'server.key'), keyPem)
  return `tls { cert_file: "${folder}/server.crt", key_file: "${folder}/server.key" }`
}

async function connectHub(): Promise<NatsConnection> {
  const key = createNkey('U')
  return await connect({
    servers: [`127.0.0.1:${server.port}`],
    tls: { ca: ca.certificatePem },
    inboxPrefix: HUB_INBOX_PREFIX,
    maxReconnectAttempts: -1,
    reconnectTimeWait: 50,
    authenticator: (nonce) => ({
      jwt: trust.hubJwt(key.publicKey),
      nkey: key.publicKey,
      sig: Buffer.from(key.sign(Buffer.from(nonce ?? ''))).toString('base64url'),
    }),
  })
}

/** The agent's link alone: everything but the reconciler, whose calls are noted. */
class TestAgent {
  readonly clusterId: string
  readonly slices: Slice[] = []
  readonly commands: string[] = []
  readonly states: ApplicationReport[] = []
  readonly connection: Connection
  readonly artifacts: PulledArtifacts
  readonly puller: Puller
  readonly reporter: Reporter
  refused = 0
  damage: AppError | undefined
  keepingProblem: AppError | undefined
  /** What is to be kept besides the slice's. */
  inForce: Reconciler['inForce'] = async () => await Promise.resolve([])
  /** Called with each slice first. */
  onSlice: (slice: Slice) => void = () => undefined
  /** What the connection logged. */
  log = ''
  readonly #key: Nkey
  readonly #stopping = new AbortController()
  readonly #loops: Promise<void>

  constructor(clusterId = createTestClusterId(), key = createNkey('U')) {
    this.clusterId = clusterId
    this.#key = key
    this.connection = new Connection({
      onConnected: () => {
        this.puller.connected()
        this.reporter.connected(clusterId)
      },
      onDisconnected: () => undefined,
      onRefused: () => {
        this.refused++
      },
      logger: createLogger({ name: 'agent', stream: { write: (line) => this.#note(line) } }),
    })
    const kept = new KeptState(kube, namespace)
    this.artifacts = new PulledArtifacts({
      connection: this.connection,
      kept,
      onDamage: (problem) => {
        this.damage = problem
      },
      logger,
    })
    this.puller = new Puller({
      connection: this.connection,
      kept,
      artifacts: this.artifacts,
      onSlice: (slice) => {
        this.onSlice(slice)
        this.slices.push(slice)
        this.reporter.obeying(slice)
      },
      onCommand: ({ id }) => this.commands.push(id),
      onRefused: () => this.reporter.touch(),
      onKeeping: (problem) => {
        this.keepingProblem = problem
      },
      inForce: async (signal) => await this.inForce(signal),
      logger,
    })
    this.reporter = new Reporter({
      connection: this.connection,
      reports: () => this.states,
      facts: () => create(AgentFactsSchema, { agentVersion: 'test' }),
      generation: () => this.puller.generation,
      refusals: () => this.puller.refusals,
      heartbeatMs: 100,
      logger,
    })
    const { signal } = this.#stopping
    this.#loops = Promise.all([this.connection.run(signal), this.puller.run(signal), this.reporter.run(signal)]).then(
      () => undefined,
    )
    running.push(this)
  }

  /** Gives it its identity, as enrolment would. */
  async join(urls = [`tls://127.0.0.1:${server.port}`], seconds = 3600): Promise<this> {
    const trusted = new Map([[signingKey.id, signingKey.publicKey]])
    await this.puller.setIdentity({ clusterId: this.clusterId, trusted }, this.#stopping.signal)
    const credentials = create(CredentialsSchema, {
      userJwt: trust.agentJwt(this.clusterId, this.#key.publicKey, seconds),
      natsUrls: urls,
      natsCaPem: ca.certificatePem,
    })
    this.connection.setIdentity({ clusterId: this.clusterId, key: this.#key, credentials })
    return this
  }

  async untilConnected(): Promise<this> {
    await waitFor('the agent to be connected', () => this.connection.isConnected)
    return this
  }

  #note(line: string): void {
    this.log += line
  }

  get generation(): bigint {
    return this.puller.generation
  }

  async stop(): Promise<void> {
    this.#stopping.abort()
    await Promise.all([this.puller.stop(), this.reporter.stop(), this.#loops])
  }
}

/** The link with a reconciler behind it, as the process has it. */
function reconcilingAgent(clusterId: string) {
  const agent = new TestAgent(clusterId)
  const reconciler = createReconciler({
    kube,
    ownNamespace: namespace,
    artifacts: agent.artifacts,
    reports: agent.reporter,
    onInForce: () => agent.puller.keepAgain(),
    logger,
  })
  agent.onSlice = (slice) => reconciler.update(slice)
  agent.inForce = async (signal) => await reconciler.inForce(signal)
  const stop = async (): Promise<void> => {
    await Promise.all([agent.stop(), reconciler.stop()])
  }
  return { agent, reconciler, stop }
}

/** Waits until the only application is Synced with so many objects, that is written down, and at least so many were repaired. */
async function untilApplied(reconciler: Reconciler, objects: number, repaired = 0n): Promise<ApplicationReport> {
  return await waitFor(
    'the application to be applied',
    (see) => {
      const [report] = reconciler.reports()
      see(report)
      // Synced is told before the inventory has it: an agent that stops between the two applies all again.
      const isApplied = report?.sync === SyncState.SYNCED && report.appliedAt !== undefined
      return isApplied && report.objects === objects && report.remediations >= repaired ? report : undefined
    },
    { timeoutMs: 120_000 },
  )
}

function makeSlice(clusterId: string, generation: bigint, sealed: readonly SealedArtifact[] = []): Slice {
  const entries = sealed.map(({ reference }, index) => ({
    application: `app-${index}`,
    intent: { case: 'desired' as const, value: { artifact: reference } },
  }))
  return create(SliceSchema, { clusterId, generation, clusterName: 'test', entries: entries as never })
}

function makeArtifact(text: string, sizeBytes = 10): SealedArtifact {
  // Random text cannot be compressed: the size of what is stored is the size that is asked for.
  const filler = Buffer.from(crypto.getRandomValues(new Uint8Array(Math.min(65_536, sizeBytes)))).toString('hex')
  const json = Buffer.from(JSON.stringify({ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: text }, filler }))
  const manifests = Array.from({ length: Math.ceil(sizeBytes / 65_536) }, () => ({ json }))
  return sealArtifact(create(ArtifactSchema, { manifests: manifests as never }))
}

async function store(subject: string, data: Uint8Array): Promise<void> {
  await jetstream(hub).publish(subject, data)
}

async function publishArtifact({ chunks }: SealedArtifact): Promise<void> {
  for (const [digest, bytes] of chunks) await store(blobSubject(digest), bytes)
}

async function publishSlice(slice: Slice, key: SigningKeyPair = signingKey, to = slice.clusterId): Promise<void> {
  await store(desiredSubject(to, 'main'), encodeSlice(slice, key))
}

/** The Secret that holds a chunk. */
async function findPack(digest: string): Promise<KubeObject | undefined> {
  const secrets = await cluster.admin.list({ apiVersion: 'v1', kind: 'Secret', metadata: { namespace } as never })
  return secrets.find(({ data }) => data?.[digest] !== undefined)
}

/** How many of the chunks are kept. */
async function countKept(artifacts: readonly SealedArtifact[]): Promise<number> {
  const digests = artifacts.flatMap(({ chunks }) => [...chunks.keys()])
  return (await Promise.all(digests.map(findPack))).filter((pack) => pack !== undefined).length
}

const sliceSecret = { apiVersion: 'v1', kind: 'Secret', metadata: { namespace, name: SLICE_SECRET } }

async function untilKept(generation: bigint): Promise<void> {
  await waitFor(`generation ${generation} to be kept`, async (see) => {
    const found = await cluster.admin.find(sliceSecret)
    const kept = Buffer.from(found?.data?.generation ?? '', 'base64').toString()
    see(kept)
    return kept === String(generation)
  })
}

describe('pulling', () => {
  test('a slice stored before and one stored after the connect are both obeyed, the second by its doorbell', async () => {
    const agent = new TestAgent()
    await publishSlice(makeSlice(agent.clusterId, 1n))
    await agent.join()
    await waitFor('generation 1', () => agent.generation === 1n)
    await publishSlice(makeSlice(agent.clusterId, 2n))
    // Without a bell it would be looked at again only after five minutes.
    await waitFor('generation 2', () => agent.generation === 2n, { timeoutMs: 20_000 })
  })

  test('works over WebSocket with the hub’s own CA', async () => {
    const agent = await new TestAgent().join([`wss://127.0.0.1:${websocketPort}`])
    await publishSlice(makeSlice(agent.clusterId, 5n))
    await waitFor('generation 5', () => agent.generation === 5n)
  })

  test('a server whose certificate is for another address is not used, also when the address is an IP', async () => {
    const { certificatePem, keyPem } = ca.issue(['localhost'])
    const config = (folder: string): string => `${writeTls(folder, certificatePem, keyPem)}\n${trust.config()}`
    await using other = await startNats({ name: 'nats-localhost', config })
    const agent = await new TestAgent().join([`tls://127.0.0.1:${other.port}`])
    await waitFor('the certificate to be refused', () => agent.log.includes('not in the cert'))
    expect(agent.connection.isConnected).toBe(false)
    await agent.join([`tls://localhost:${other.port}`])
    await agent.untilConnected()
  })

  test('forged, altered, replayed, older and other clusters’ slices are refused, counted once each and reported', async () => {
    const reports = listenFor(ReportSchema, 'up.*.event')
    const agent = await (await new TestAgent().join()).untilConnected()
    const { clusterId } = agent
    const refusals = () => agent.puller.refusals
    const good = makeSlice(clusterId, 10n)
    await publishSlice(good)
    await waitFor('generation 10', () => agent.generation === 10n)

    await publishSlice(makeSlice(clusterId, 11n), generateSigningKey())
    await waitFor('the forged one to be counted', () => refusals().signature === 1n)
    const altered = encodeSlice(makeSlice(clusterId, 12n), signingKey)
    altered[10] = (altered[10] ?? 0) ^ 1
    await store(desiredSubject(clusterId, 'main'), altered)
    await waitFor('the altered one to be counted', () => refusals().signature === 2n)
    const command = create(CommandSchema, { clusterId, id: 'x', verb: { case: 'report', value: {} } })
    await store(desiredSubject(clusterId, 'main'), encodeCommand(command, signingKey))
    await waitFor('the command in the place of a slice to be counted', () => refusals().signature === 3n)
    await publishSlice(makeSlice(clusterId, 9n))
    await waitFor('the older one to be counted', () => refusals().generation === 1n)
    await publishSlice(makeSlice(createTestClusterId(), 13n), signingKey, clusterId)
    await waitFor('the other cluster’s to be counted', () => refusals().cluster === 1n)
    await store(desiredSubject(clusterId, 'main'), Buffer.from('not a document'))
    await waitFor('the unreadable one to be counted', () => refusals().signature === 4n)

    // Rung again, what was refused is not counted again.
    hub.publish(doorbellSubject(clusterId, 'main'))
    // The same slice again, byte by byte, is nothing to complain about.
    await publishSlice(good)
    await publishSlice(makeSlice(clusterId, 14n))
    await waitFor('generation 14', () => agent.generation === 14n)
    expect(agent.slices.map(({ generation }) => generation)).toEqual([10n, 14n])
    expect(refusals()).toMatchObject({ signature: 4n, cluster: 1n, generation: 1n, malformed: 0n })
    await waitFor('the refusals to be reported', () =>
      reports.of(clusterId).some(({ refusals }) => refusals?.signature === 4n && refusals.cluster === 1n),
    )
  })

  test('a flood of doorbells costs a bounded number of requests', async () => {
    const agent = await (await new TestAgent().join()).untilConnected()
    await publishSlice(makeSlice(agent.clusterId, 1n))
    await waitFor('generation 1', () => agent.generation === 1n)
    let requests = 0
    const request = agent.connection.request.bind(agent.connection)
    agent.connection.request = async (...call) => {
      requests++
      return await request(...call)
    }
    for (let ring = 0; ring < 1_000; ring++) {
      hub.publish(doorbellSubject(agent.clusterId, 'main'))
      if (ring % 50 === 0) await hub.flush()
    }
    await hub.flush()
    await publishSlice(makeSlice(agent.clusterId, 2n))
    await waitFor('generation 2', () => agent.generation === 2n)
    expect(requests).toBeLessThan(25)
  })

  test('a command is done once, and only before its deadline', async () => {
    const agent = await (await new TestAgent().join()).untilConnected()
    const { clusterId } = agent
    const send = async (id: string, deadlineMs: number, key = signingKey): Promise<void> => {
      const deadline = timestampFromMs(Date.now() + deadlineMs)
      const command = create(CommandSchema, { clusterId, id, deadline, verb: { case: 'report', value: {} } })
      await store(desiredSubject(clusterId, 'cmd'), encodeCommand(command, key))
    }
    await send('late', -1)
    await send('forged', 60_000, generateSigningKey())
    await waitFor('the forged command to be refused', () => agent.puller.refusals.signature === 1n)
    await send('once', 60_000)
    await waitFor('the command to be done', () => agent.commands.includes('once'))
    await send('once', 60_000)
    await send('twice', 60_000)
    await waitFor('the next command to be done', () => agent.commands.includes('twice'))
    expect(agent.commands).toEqual(['once', 'twice'])
  })
})

describe('what is kept', () => {
  test('a slice and its artifacts are kept, serve with NATS away after a restart, and unneeded ones are dropped', async () => {
    const [first, second, large] = [makeArtifact('first'), makeArtifact('second'), makeArtifact('large', 400_000)]
    for (const artifact of [first, second, large]) await publishArtifact(artifact)
    const clusterId = createTestClusterId()
    const agent = await new TestAgent(clusterId).join()
    await publishSlice(makeSlice(clusterId, 1n, [first, second]))
    await untilKept(1n)
    await waitFor('both artifacts to be kept', async () => (await countKept([first, second])) === 2)
    await publishSlice(makeSlice(clusterId, 2n, [first, large]))
    await untilKept(2n)
    await waitFor('the dropped artifact to be deleted', async () => (await countKept([second])) === 0)
    expect(large.chunks.size).toBeGreaterThan(1)
    const kept = 1 + large.chunks.size
    await waitFor('the new artifact to be kept', async () => (await countKept([first, large])) === kept)
    await agent.stop()

    // A new process that reaches nobody.
    const restarted = new TestAgent(clusterId)
    await restarted.join(['tls://127.0.0.1:1'])
    expect(restarted.generation).toBe(2n)
    for (const { reference } of [first, large]) {
      const loaded = await restarted.artifacts.load(reference, AbortSignal.timeout(5_000))
      expect(loaded.manifests.length).toBe(reference.objects)
    }
    await expect(restarted.artifacts.load(second.reference, AbortSignal.timeout(100))).rejects.toThrow('given up')
  })

  test('an agent that starts with hub and NATS away repairs what drifted while it was down, and writes nothing else of 3,000 objects', {
    timeout: 180_000,
  }, async () => {
    const space = 'offline'
    await cluster.admin.create({ apiVersion: 'v1', kind: 'Namespace', metadata: { name: space } })
    const at = (name: string) => ({ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name, namespace: space } })
    const manifests = Array.from({ length: 3_000 }, (_, index) => ({
      json: Buffer.from(JSON.stringify({ ...at(`o${index}`), data: { a: String(index) } })),
    }))
    const artifact = sealArtifact(create(ArtifactSchema, { manifests: manifests as never }))
    await publishArtifact(artifact)
    const clusterId = createTestClusterId()
    const policy = { namespace: space, prune: true, remediate: true, adopt: 'ifEqual' }
    const intent = { case: 'desired' as const, value: { artifact: artifact.reference, policy } }
    const first = reconcilingAgent(clusterId)
    await first.agent.join()
    const slice = { clusterId, generation: 1n, clusterName: 'test', entries: [{ application: space, intent }] }
    await publishSlice(create(SliceSchema, slice as never))
    await untilApplied(first.reconciler, 3_000)
    await untilKept(1n)
    await waitFor('the artifact to be kept', async () => (await countKept([artifact])) === artifact.chunks.size)
    await first.stop()

    await cluster.admin.patch(at('o7'), { data: { a: 'edited' } }, { type: 'merge', fieldManager: 'kubectl-edit' })
    await cluster.admin.patch(at('o1500'), { data: { more: 'x' } }, { type: 'merge', fieldManager: 'kubectl-edit' })
    await cluster.admin.delete(at('o2999'))
    const since = Date.now()
    // A new process that reaches nobody.
    const second = reconcilingAgent(clusterId)
    await second.agent.join(['tls://127.0.0.1:1'])
    const report = await untilApplied(second.reconciler, 3_000, 3n)
    expect(report).toMatchObject({ problems: [], remediations: 3n })
    expect(second.agent.connection.isConnected).toBe(false)
    for (const [name, data] of [
      ['o7', { a: '7' }],
      ['o1500', { a: '1500' }],
      ['o2999', { a: '2999' }],
    ] as const) {
      expect((await cluster.admin.get(at(name))).data).toEqual(data)
    }
    const written = cluster.auditLog({ userAgent: 'fairlead-agent/test', verbs: writeVerbs, namespace: space, since })
    expect(new Set(written.map(({ name }) => name))).toEqual(new Set(['o7', 'o1500', 'o2999']))
    await second.stop()
  })

  test('what is in force is kept while a newer revision is held back, heals after a restart without NATS, and goes when that passes', async () => {
    const space = 'held'
    await cluster.admin.create({ apiVersion: 'v1', kind: 'Namespace', metadata: { name: space } })
    const at = (name: string) => ({ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name, namespace: space } })
    const make = (...objects: object[]): SealedArtifact => {
      const manifests = objects.map((object) => ({ json: Buffer.from(JSON.stringify(object)) }))
      return sealArtifact(create(ArtifactSchema, { manifests: manifests as never }))
    }
    const good = make({ ...at('a'), data: { v: '1' } })
    const bad = make({ ...at('a'), data: { v: '2' } }, { ...at('b'), data: { v: { not: 'text' } } })
    const better = make({ ...at('a'), data: { v: '3' } })
    for (const artifact of [good, bad, better]) await publishArtifact(artifact)
    const clusterId = createTestClusterId()
    const policy = { namespace: space, prune: true, remediate: true, adopt: 'ifEqual', validate: 'server' }
    const publish = async (generation: bigint, { reference }: SealedArtifact): Promise<void> => {
      const intent = { case: 'desired' as const, value: { artifact: reference, policy } }
      const slice = { clusterId, generation, clusterName: 'test', entries: [{ application: space, intent }] }
      await publishSlice(create(SliceSchema, slice as never))
    }
    const untilHeld = async (reconciler: Reconciler): Promise<void> => {
      const isRefused = (report: ApplicationReport): boolean =>
        report.problems.some(({ code }) => code === 'ValidationFailed')
      await waitFor('the revision to be refused', () => reconciler.reports().some(isRefused))
    }
    // Of what other tests left in this cluster there are reports too.
    const untilSynced = async (reconciler: Reconciler): Promise<void> => {
      const isSynced = ({ application, sync, appliedAt }: ApplicationReport): boolean =>
        application === space && sync === SyncState.SYNCED && appliedAt !== undefined
      await waitFor('the revision to be applied', () => reconciler.reports().some(isSynced))
    }
    const first = reconcilingAgent(clusterId)
    await first.agent.join()
    await publish(1n, good)
    await untilSynced(first.reconciler)
    await publish(2n, bad)
    await untilHeld(first.reconciler)
    await waitFor('the newer one to be kept', async () => (await countKept([bad])) === 1)
    expect(await countKept([good])).toBe(1)
    await first.stop()

    await cluster.admin.patch(at('a'), { data: { v: 'by hand' } }, { type: 'merge', fieldManager: 'kubectl-edit' })
    // A new process that reaches nobody.
    const second = reconcilingAgent(clusterId)
    await second.agent.join(['tls://127.0.0.1:1'])
    await untilHeld(second.reconciler)
    await waitFor('the edit to be put back', async () => (await cluster.admin.get(at('a'))).data?.v === '1')
    expect(await countKept([good, bad])).toBe(2)
    await second.stop()

    const third = reconcilingAgent(clusterId)
    await third.agent.join()
    await publish(3n, better)
    await untilSynced(third.reconciler)
    await waitFor('only the newest to be kept', async () => (await countKept([good, bad])) === 0)
    await waitFor('it to be kept', async () => (await countKept([better])) === 1)
    await third.stop()
  })

  test('a restart writes nothing, and is not fooled by an older slice', async () => {
    const artifact = makeArtifact('same')
    await publishArtifact(artifact)
    const clusterId = createTestClusterId()
    const key = createNkey('U')
    const agent = await new TestAgent(clusterId, key).join()
    await publishSlice(makeSlice(clusterId, 100n, [artifact]))
    await untilKept(100n)
    await agent.stop()
    const before = (await cluster.admin.get(sliceSecret)).metadata.resourceVersion
    const restarted = await (await new TestAgent(clusterId, key).join()).untilConnected()
    await publishSlice(makeSlice(clusterId, 99n))
    await waitFor('the older slice to be refused', () => restarted.puller.refusals.generation === 1n)
    expect(restarted.generation).toBe(100n)
    expect((await cluster.admin.get(sliceSecret)).metadata.resourceVersion).toBe(before)
  })

  test('a slice is kept before it is obeyed, and what a crash left out is kept after the restart', async () => {
    const artifact = makeArtifact('late')
    const clusterId = createTestClusterId()
    const key = createNkey('U')
    const agent = await new TestAgent(clusterId, key).join()
    const keptAtObeying: Promise<string | undefined>[] = []
    agent.onSlice = () => {
      keptAtObeying.push(cluster.admin.find(sliceSecret).then((found) => found?.data?.generation))
    }
    // Its artifact cannot be fetched yet, so that the slice alone is kept.
    await publishSlice(makeSlice(clusterId, 5n, [artifact]))
    await waitFor('the slice to be obeyed', () => keptAtObeying.length === 1)
    expect(Buffer.from((await keptAtObeying[0]) ?? '', 'base64').toString()).toBe('5')
    await agent.stop()

    const restarted = new TestAgent(clusterId, key)
    await restarted.join(['tls://127.0.0.1:1'])
    expect(restarted.generation).toBe(5n)
    await restarted.stop()
    await publishArtifact(artifact)
    const before = (await cluster.admin.get(sliceSecret)).metadata.resourceVersion
    await new TestAgent(clusterId, key).join()
    await waitFor('the artifact to be kept', async () => (await countKept([artifact])) === 1)
    expect((await cluster.admin.get(sliceSecret)).metadata.resourceVersion).toBe(before)
  })

  test('damaged kept data is noticed and fetched again', async () => {
    const artifact = makeArtifact('damaged')
    await publishArtifact(artifact)
    const clusterId = createTestClusterId()
    const agent = await new TestAgent(clusterId).join()
    await publishSlice(makeSlice(clusterId, 7n, [artifact]))
    await untilKept(7n)
    await waitFor('the artifact to be kept', async () => (await countKept([artifact])) === 1)
    await agent.stop()
    const [digest = ''] = artifact.chunks.keys()
    const pack = await findPack(digest)
    if (!pack) throw new Error('the chunk is in no pack')
    const broken = Buffer.from('broken').toString('base64')
    await cluster.admin.patch(pack, { data: { [digest]: broken } })
    await cluster.admin.patch(sliceSecret, { data: { document: Buffer.from('broken').toString('base64') } })

    const offline = new TestAgent(clusterId)
    await offline.join(['tls://127.0.0.1:1'])
    const giveUp = new AbortController()
    const loading = offline.artifacts.load(artifact.reference, giveUp.signal)
    await waitFor('the damage to be told', () => offline.damage !== undefined)
    giveUp.abort()
    await expect(loading).rejects.toThrow('given up')
    expect(offline.damage).toMatchObject({
      code: 'ArtifactCorrupt',
      message: expect.stringContaining(artifact.reference.digest.slice(0, 12)),
    })
    // What nobody needs any more is no problem.
    offline.artifacts.releaseOthers(new Set())
    expect(offline.damage).toBeUndefined()
    await offline.stop()

    const restarted = new TestAgent(clusterId)
    await restarted.join()
    // The very slice that was damaged is taken again, and nothing older.
    await waitFor('generation 7', () => restarted.generation === 7n)
    const loaded = await restarted.artifacts.load(artifact.reference, AbortSignal.timeout(5_000))
    expect(restarted.damage).toBeUndefined()
    expect(loaded.manifests.length).toBe(1)
    await waitFor('the artifact to be kept again', async () => (await findPack(digest))?.data?.[digest] !== broken)
  })

  test('an artifact that cannot be had keeps none of the others from being kept', async () => {
    const artifacts = Array.from({ length: 12 }, (_, index) => makeArtifact(`a${index}`))
    const [lost, ...others] = artifacts
    for (const artifact of others) await publishArtifact(artifact)
    const clusterId = createTestClusterId()
    const agent = await new TestAgent(clusterId).join()
    await publishSlice(makeSlice(clusterId, 1n, artifacts))
    await waitFor('the others to be kept', async () => (await countKept(others)) === 11)
    await waitFor('the problem to be told', () => agent.keepingProblem?.message.includes('is not stored'))
    if (lost) await publishArtifact(lost)
    await waitFor('all to be kept', async () => (await countKept(artifacts)) === 12)
    await waitFor('the problem to be forgotten', () => agent.keepingProblem === undefined)
  })

  test('a quota that refuses the cache is told and harms nothing, what is not needed makes room, and it is kept later', async () => {
    const [old, next] = [makeArtifact('old'), makeArtifact('next')]
    for (const artifact of [old, next]) await publishArtifact(artifact)
    const clusterId = createTestClusterId()
    const agent = await new TestAgent(clusterId).join()
    await publishSlice(makeSlice(clusterId, 1n, [old]))
    await waitFor('the artifact to be kept', async () => (await countKept([old])) === 1)
    const quota = { apiVersion: 'v1', kind: 'ResourceQuota', metadata: { name: 'secrets', namespace } }
    const status = { hard: { 'count/secrets': '1' }, used: { 'count/secrets': '1' } }
    await cluster.admin.create({ ...quota, spec: { hard: status.hard } } as never)
    await cluster.admin.patch(quota, { status }, { subresource: 'status' })
    await waitFor('the quota to be in force', async () => {
      const probe = { apiVersion: 'v1', kind: 'Secret', metadata: { name: 'probe', namespace } }
      return await cluster.admin.create(probe).then(
        async () => await cluster.admin.delete(probe).then(() => false),
        () => true,
      )
    })
    await publishSlice(makeSlice(clusterId, 2n, [next]))
    await waitFor('the problem to be told', () => agent.keepingProblem !== undefined)
    expect(agent.keepingProblem?.message).toContain('exceeded quota')
    expect(agent.generation).toBe(2n)
    expect((await agent.artifacts.load(next.reference, AbortSignal.timeout(5_000))).manifests.length).toBe(1)
    expect([await countKept([old]), await countKept([next])]).toEqual([0, 0])
    await cluster.admin.delete(quota)
    await waitFor('the new artifact to be kept', async () => (await countKept([next])) === 1)
    await waitFor('the problem to be forgotten', () => agent.keepingProblem === undefined)
  })

  test('a kept slice whose document and generation are both damaged is told, and shuts the hub out of nothing', async () => {
    const clusterId = createTestClusterId()
    const key = createNkey('U')
    const agent = await new TestAgent(clusterId, key).join()
    await publishSlice(makeSlice(clusterId, 11n))
    await untilKept(11n)
    await agent.stop()
    const broken = (text: string): string => Buffer.from(text).toString('base64')
    await cluster.admin.patch(sliceSecret, { data: { document: broken('x'), generation: broken('9'.repeat(19)) } })
    const restarted = await new TestAgent(clusterId, key).join(['tls://127.0.0.1:1'])
    expect([restarted.slices, restarted.keepingProblem?.code]).toEqual([[], 'ArtifactCorrupt'])
    await restarted.stop()
    const online = await new TestAgent(clusterId, key).join()
    await waitFor('the slice to be obeyed again', () => online.generation === 11n)
  })

  test('an artifact that is not stored is reported as unavailable, one with other bytes as corrupt', async () => {
    const agent = await (await new TestAgent().join()).untilConnected()
    const [missing, corrupt] = [makeArtifact('missing'), makeArtifact('corrupt')]
    const error = await agent.artifacts.load(missing.reference, AbortSignal.timeout(10_000)).catch((e: unknown) => e)
    expect(error).toMatchObject({ code: 'ArtifactUnavailable' })
    for (const digest of corrupt.chunks.keys()) await store(blobSubject(digest), Buffer.from('something else'))
    const other = await agent.artifacts.load(corrupt.reference, AbortSignal.timeout(10_000)).catch((e: unknown) => e)
    expect(other).toMatchObject({ code: 'ArtifactCorrupt' } satisfies Partial<AppError>)
  })
})

describe('reporting', () => {
  test('changes within a moment are one delta, and everything is told again after NATS was killed', async () => {
    const full = listenFor(ReportSchema, 'up.*.status')
    const deltas = listenFor(ReportSchema, 'up.*.event')
    const beats = listenFor(HeartbeatSchema, 'up.*.hb')
    const agent = await (await new TestAgent().join()).untilConnected()
    const { clusterId } = agent
    await waitFor('the first full report', () => full.of(clusterId).length === 1)
    put(agent, 'a', SyncState.OUT_OF_SYNC)
    put(agent, 'a', SyncState.SYNCED)
    put(agent, 'b', SyncState.SYNCED)
    await waitFor('the delta', () => deltas.of(clusterId).some(({ applications }) => applications.length > 0))
    const [delta] = deltas.of(clusterId).filter(({ applications }) => applications.length > 0)
    expect(delta?.applications.map(({ application, sync }) => [application, sync])).toEqual([
      ['a', SyncState.SYNCED],
      ['b', SyncState.SYNCED],
    ])
    await waitFor('a heartbeat that names the delta', () =>
      beats.of(clusterId).some(({ reportSequence, session }) => {
        return session === agent.reporter.session && reportSequence === delta?.sequence
      }),
    )

    await server.kill()
    await waitFor('the agent to notice', () => !agent.connection.isConnected)
    put(agent, 'c', SyncState.SYNCED)
    await server.start()
    // Read from the stream: our own listener may be back later than the report.
    const again = await waitFor(
      'the second full report to be stored',
      async () => {
        const manager = await jetstreamManager(hub, { checkAPI: false, timeout: 500 })
        const message = await manager.streams.getMessage('STATUS', { last_by_subj: statusSubject(clusterId) })
        const report = message && fromBinary(ReportSchema, message.data)
        return report?.sequence !== full.of(clusterId)[0]?.sequence && report
      },
      { timeoutMs: 20_000 },
    )
    expect(again.applications.map(({ application }) => application).toSorted()).toEqual(['a', 'b', 'c'])
    expect(again.facts?.agentVersion).toBe('test')
    expect(again.sequence).toBeGreaterThan(delta?.sequence ?? 0n)
  })

  test('a confirmed tombstone is told until the slice drops it, and a late word of the application does not undo it', async () => {
    const full = listenFor(ReportSchema, 'up.*.status')
    const deltas = listenFor(ReportSchema, 'up.*.event')
    const agent = await (await new TestAgent().join()).untilConnected()
    const { clusterId } = agent
    const tombstone = (generation: bigint): Slice => {
      const intent = { case: 'tombstone' as const, value: { prune: true } }
      return create(SliceSchema, { clusterId, generation, entries: [{ application: 'gone', intent }] as never })
    }
    await publishSlice(tombstone(1n))
    await waitFor('the tombstone', () => agent.generation === 1n)
    agent.reporter.removed('gone')
    put(agent, 'gone', SyncState.SYNCED)
    await waitFor('the confirmation', () => deltas.of(clusterId).some(({ removed }) => removed.includes('gone')))
    const told = deltas.of(clusterId).flatMap(({ applications }) => applications.map(({ application }) => application))
    expect(told).not.toContain('gone')
    agent.states.length = 0
    agent.reporter.reportFully()
    await waitFor('the confirmation in a full report', () => full.of(clusterId).at(-1)?.removed.includes('gone'))

    await publishSlice(makeSlice(clusterId, 2n))
    await waitFor('the slice without it', () => agent.generation === 2n)
    agent.reporter.reportFully()
    await waitFor('a full report that says nothing of it', () => full.of(clusterId).at(-1)?.removed.length === 0)
  })

  test('more than fits into a message is split, and nothing is lost', async () => {
    const full = listenFor(ReportSchema, 'up.*.status')
    const deltas = listenFor(ReportSchema, 'up.*.event')
    const agent = new TestAgent()
    for (let index = 0; index < 1_000; index++) put(agent, `application-${index}`, SyncState.SYNCED)
    await agent.join()
    await waitFor('all applications to be told', () => {
      const told = [...full.of(agent.clusterId), ...deltas.of(agent.clusterId)].flatMap(
        ({ applications }) => applications,
      )
      return new Set(told.map(({ application }) => application)).size === 1_000
    })
    expect(full.of(agent.clusterId)[0]?.truncated).toBe(true)
  })

  test('an expired JWT is told to enrolment, and a renewed one connects at once', async () => {
    const agent = await new TestAgent().join(undefined, 1)
    await waitFor('NATS to refuse the JWT', () => agent.refused > 0, { timeoutMs: 15_000 })
    await agent.join()
    await agent.untilConnected()
  })
})

/** Notes the messages of a subject by cluster. */
function listenFor(schema: typeof ReportSchema, subject: string): { of(clusterId: string): Report[] }
function listenFor(schema: typeof HeartbeatSchema, subject: string): { of(clusterId: string): Heartbeat[] }
function listenFor(schema: typeof ReportSchema | typeof HeartbeatSchema, subject: string) {
  const seen = new Map<string, unknown[]>()
  hub.subscribe(subject, {
    callback: (_error, { subject: from, data }) => {
      const clusterId = from.split('.')[1] ?? ''
      seen.set(clusterId, [...(seen.get(clusterId) ?? []), fromBinary(schema as typeof ReportSchema, data)])
    },
  })
  return { of: (clusterId: string) => (seen.get(clusterId) ?? []) as never }
}

function put(agent: TestAgent, application: string, sync: SyncState): void {
  const message = 'x'.repeat(100)
  const unhealthy = [{ message } as never]
  const report = create(ApplicationReportSchema, { application, sync, unhealthy })
  const index = agent.states.findIndex((state) => state.application === application)
  if (index >= 0) agent.states.splice(index, 1)
  agent.states.push(report)
  agent.reporter.put(report)
}

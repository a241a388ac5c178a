// A hostile broker: the test holds NATS's keys (and, for some, the hub's own) and stores in the place of the cluster's slice
// what the hub did not mean for it. The agent refuses, says so, and keeps its applications.
import { readFileSync } from 'node:fs'
import path from 'node:path'
import { create, fromBinary, toBinary } from '@bufbuild/protobuf'
import { timestampFromMs } from '@bufbuild/protobuf/wkt'
import type { Refusals } from '@fairlead/proto/report'
import {
  CommandSchema,
  type SignedDocument,
  SignedDocumentSchema,
  type Slice,
  SliceEntrySchema,
  SliceSchema,
} from '@fairlead/proto/slice'
import { type Connections, connectBoth } from '@fairlead/server/nats/connections'
import { openTrust } from '@fairlead/server/nats/trust'
import { generateSigningKey, parseSigningKey, type SigningKeyPair, signDocument } from '@fairlead/shared/signing'
import { encodeCommand, encodeSlice } from '@fairlead/shared/slice'
import { type DesiredDocument, desiredSubject, STREAMS } from '@fairlead/shared/subjects'
import { type JetStreamClient, jetstream } from '@nats-io/jetstream'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { writeVerbs } from '../harness/audit.ts'
import { type Fleet, startFleet } from '../harness/fleet.ts'
import { agentNamespace, type FleetCluster } from '../harness/fleet-cluster.ts'
import type { GitRepository } from '../harness/git-server.ts'
import type { KubeObject } from '../harness/kube-client.ts'
import { waitFor } from '../harness/wait.ts'
import { runs } from './fleet-status.ts'
import { applicationDefinition, configMap, configMapReference, repositoryDefinition } from './manifests.ts'

let fleet: Fleet
let eu: FleetCluster
let shop: GitRepository
let broker: Connections
let js: JetStreamClient
let hubKey: SigningKeyPair
/** The first slice that asked for the application; there has been a newer one since. */
let olderDocument: Uint8Array
const strangersKey = generateSigningKey()
const web = configMapReference('web')

beforeAll(async () => {
  fleet = await startFleet()
  shop = fleet.git.createRepository('shop')
  shop.commit({ 'web/config.yaml': configMap('web', { a: '1' }) })
  eu = await fleet.addCluster('eu', { agentValues: ['heartbeatSeconds=1'] })
  // Never joins; the hub signs its slice all the same.
  await fleet.cli('cluster', 'register', 'us')
  await fleet.apply(
    repositoryDefinition('shop', shop.url) + applicationDefinition('web', { repository: 'shop', namespace: 'default' }),
  )
  await waitUntilRunning(shop.head())
  olderDocument = documentOf('eu')
  await waitUntilRunning(shop.commit({ 'web/config.yaml': configMap('web', { a: '2' }) }))
  hubKey = parseSigningKey(readFileSync(path.join(fleet.dataDir, 'keys/signing.pem'), 'utf8'))
  broker = await connectBoth({
    trust: await openTrust(path.join(fleet.dataDir, 'keys')),
    url: `tls://127.0.0.1:${fleet.natsPort}`,
    caPem: readFileSync(path.join(fleet.dataDir, 'pki/ca.crt'), 'utf8'),
    signal: AbortSignal.timeout(10_000),
    onFailure: (error) => {
      throw error
    },
  })
  js = jetstream(broker.hub)
})

afterAll(async () => {
  await Promise.all([broker?.hub.close(), broker?.system.close()])
  await fleet?.[Symbol.asyncDispose]()
})

async function waitUntilRunning(commit: string): Promise<void> {
  await fleet.waitForStatus('web to run', (status) => runs(status, 'web', 'eu', commit))
}

const idOf = (name: string) => String(fleet.query('select id from clusters where name = ?', name)[0]?.id)

/** The newest slice of a cluster, as the hub has signed it. */
function documentOf(name: string): Uint8Array {
  return fleet.query('select document from slices where cluster_id = ?', idOf(name))[0]?.document as Uint8Array
}

function decode(document: Uint8Array): { signed: SignedDocument; slice: Slice } {
  const signed = fromBinary(SignedDocumentSchema, document)
  return { signed, slice: fromBinary(SliceSchema, signed.payload) }
}

/** What an attacker would like the cluster to obey: newer than all before, and the application must go. */
function makeWicked(): Slice {
  const { slice } = decode(documentOf('eu'))
  const intent = { case: 'tombstone', value: { $typeName: 'fairlead.v1.Tombstone', prune: true } } as const
  const entries = slice.entries.map(({ application }) => create(SliceEntrySchema, { application, intent }))
  return create(SliceSchema, { ...slice, generation: BigInt(Date.now()) + 1_000_000n, entries })
}

/** The document with a single bit of its payload flipped. */
function flipBit(document: Uint8Array): Uint8Array {
  const { signed } = decode(document)
  const payload = new Uint8Array(signed.payload)
  payload[payload.length >> 1] = (payload[payload.length >> 1] ?? 0) ^ 1
  return toBinary(SignedDocumentSchema, create(SignedDocumentSchema, { ...signed, payload }))
}

const reportCommand = () =>
  create(CommandSchema, {
    clusterId: idOf('eu'),
    id: crypto.randomUUID(),
    issuedAt: timestampFromMs(Date.now()),
    deadline: timestampFromMs(Date.now() + 60_000),
    verb: { case: 'report', value: {} },
  })

/** Stores a document in the place of the hub's, under the headers of the hub's own. */
async function store(bytes: Uint8Array, document: DesiredDocument = 'main'): Promise<void> {
  const subject = desiredSubject(idOf('eu'), document)
  const manager = await js.jetstreamManager(false)
  const held = await manager.direct.getMessage(STREAMS.desired, { last_by_subj: subject }).catch(() => null)
  await js.publish(subject, bytes, held ? { headers: held.header } : {})
}

type Count = Exclude<keyof Refusals, `$${string}`>

async function readState(): Promise<{ refusals: Record<Count, bigint>; problems: string[] }> {
  const [cluster] = (await fleet.status()).clusters
  const { signature = 0n, cluster: other = 0n, generation = 0n, malformed = 0n } = cluster?.refusals ?? {}
  return {
    refusals: { signature, cluster: other, generation, malformed },
    problems: cluster?.problems.map(({ code, message }) => `${code}: ${message}`) ?? [],
  }
}

/** Waits until the hub knows of so many refusals. */
async function waitForRefusals(wanted: Record<Count, bigint>): Promise<void> {
  await waitFor(
    'the refusal to be counted',
    async (see) => {
      const { refusals } = await readState()
      see({ refusals, wanted })
      return Object.entries(wanted).every(([reason, count]) => refusals[reason as Count] === count)
    },
    { timeoutMs: 30_000, intervalMs: 100, logs: [eu.kubelet, fleet.hub] },
  )
}

/** What the agent wrote since then; in its own namespace it may renew its credentials, to see whether the hub has a new key. */
const writesSince = (since: number) =>
  eu
    .agentRequests({ since, verbs: writeVerbs })
    .filter(({ namespace }) => namespace !== agentNamespace)
    .map(({ verb, requestURI }) => `${verb} ${requestURI}`)

async function expectUntouched(before: KubeObject, since: number): Promise<void> {
  expect(await eu.cluster.admin.get(web)).toEqual(before)
  expect(writesSince(since)).toEqual([])
  expect(runs(await fleet.status(), 'web', 'eu', shop.head())).toBe(true)
}

const wicked: readonly (readonly [what: string, reason: Count, words: RegExp, make: () => Uint8Array])[] = [
  [
    'signed with a key of somebody else',
    'signature',
    /signed with an unknown key/,
    () => encodeSlice(makeWicked(), strangersKey),
  ],
  [
    'signed with a key of somebody else under the name of the hub’s',
    'signature',
    /the signature does not hold/,
    () => encodeSlice(makeWicked(), { ...strangersKey, id: hubKey.id }),
  ],
  ['that the hub signed and one bit of it was changed', 'signature', /signature/, () => flipBit(documentOf('eu'))],
  ['that is older', 'generation', /generation \d+ is not newer than \d+/, () => olderDocument],
  ['that the hub signed for another cluster', 'cluster', /another cluster/, () => documentOf('us')],
  [
    'that is a command of the hub’s',
    'signature',
    /the signature does not hold/,
    () => encodeCommand(reportCommand(), hubKey),
  ],
  ['that is no document at all', 'signature', /not a signed document/, () => Buffer.alloc(1_000, 0xff)],
  [
    'that the hub signed and nobody can read',
    'malformed',
    /cannot be decoded/,
    () => signDocument('fairlead.slice.v1', Buffer.alloc(100, 0xff), hubKey),
  ],
]

describe('a slice is refused, reported and counted, and changes nothing', () => {
  test.each(wicked)('when it is one %s', async (_what, reason, words, make) => {
    const [before, since] = [await eu.cluster.admin.get(web), Date.now()]
    const { refusals } = await readState()
    await store(make())
    await waitForRefusals({ ...refusals, [reason]: refusals[reason] + 1n })
    const { problems } = await readState()
    expect(problems).toEqual([expect.stringMatching(/^SliceRefused: refused what NATS holds: /)])
    expect(problems[0]).toMatch(words)
    expect(await fleet.cli('status')).toMatch(/cluster eu: SliceRefused: refused what NATS holds: /)
    await expectUntouched(before, since)
  })

  test('and all of them show in the list of clusters', async () => {
    const { refusals } = await readState()
    const total = Object.values(refusals).reduce((sum, count) => sum + count)
    expect(total).toBe(BigInt(wicked.length))
    const [head = '', row = ''] = (await fleet.cli('cluster', 'get', 'eu', '-o', 'wide')).split('\n')
    expect(row.slice(head.indexOf('REFUSED')).split(' ')[0]).toBe(String(total))
  })

  test('also by an agent that was just started, from the slice that it keeps', async () => {
    const [before, since] = [await eu.cluster.admin.get(web), Date.now()]
    await store(encodeSlice(makeWicked(), strangersKey))
    await eu.kubelet.kill()
    // It counts anew.
    await waitForRefusals({ signature: 1n, cluster: 0n, generation: 0n, malformed: 0n })
    await expectUntouched(before, since)
  })
})

describe('a slice that is gone', () => {
  test('from NATS deletes nothing, and a hand that changes the application is still put back', async () => {
    const before = await eu.cluster.admin.get(web)
    const manager = await js.jetstreamManager(false)
    await manager.streams.purge(STREAMS.desired, { filter: desiredSubject(idOf('eu'), 'main') })
    await eu.kubelet.kill()
    await eu.cluster.admin.patch(web, { data: { a: 'hacked' } })
    await waitFor('the value to be back', async () => (await eu.cluster.admin.get(web)).data?.a === before.data?.a, {
      timeoutMs: 30_000,
      logs: [eu.kubelet],
    })
    expect((await eu.cluster.admin.get(web)).metadata.uid).toBe(before.metadata.uid)
    // The new process has been heard of: the next test counts from here.
    await waitForRefusals({ signature: 0n, cluster: 0n, generation: 0n, malformed: 0n })
  })
})

describe('a command', () => {
  test('that is forged is refused and counted, and forgotten after the next good one', async () => {
    const { refusals } = await readState()
    await store(encodeCommand(reportCommand(), strangersKey), 'cmd')
    await waitForRefusals({ ...refusals, signature: refusals.signature + 1n })
    await store(encodeCommand(reportCommand(), hubKey), 'cmd')
    await waitFor('the problem to be gone', async () => (await readState()).problems.length === 0, {
      logs: [eu.kubelet],
    })
  })
})

describe('what the hub meant', () => {
  test('is put back when it compares NATS with its database, whatever the headers say', async () => {
    const [before, since] = [await eu.cluster.admin.get(web), Date.now()]
    await store(flipBit(documentOf('eu')))
    await waitFor('the refusal to be told', async () => (await readState()).problems.length === 1, {
      timeoutMs: 30_000,
      logs: [eu.kubelet],
    })
    // It does so when it meets NATS again, and every few minutes.
    await fleet.killNats()
    await waitFor('the problem to be gone', async () => (await readState()).problems.length === 0, {
      timeoutMs: 60_000,
      intervalMs: 200,
      logs: [eu.kubelet, fleet.hub],
    })
    await expectUntouched(before, since)
  })

  test('is obeyed from the next commit on', async () => {
    await store(encodeSlice(makeWicked(), strangersKey))
    await waitFor('the refusal to be told', async () => (await readState()).problems.length === 1, {
      timeoutMs: 30_000,
      logs: [eu.kubelet],
    })
    await waitUntilRunning(shop.commit({ 'web/config.yaml': configMap('web', { a: '3' }) }))
    expect(await eu.cluster.admin.get(web)).toMatchObject({ data: { a: '3' } })
    expect((await readState()).problems).toEqual([])
  })
})

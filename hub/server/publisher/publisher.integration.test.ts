// What NATS holds, against the database: a real nats-server.
import { makeRunFolder } from '@fairlead/e2e/harness/guardian'
import { getNatsBinary } from '@fairlead/e2e/harness/nats'
import { waitFor } from '@fairlead/e2e/harness/wait'
import { sha256Hex } from '@fairlead/shared/digest'
import { silentLogger } from '@fairlead/shared/logger'
import { generateSigningKey } from '@fairlead/shared/signing'
import { decodeCommand } from '@fairlead/shared/slice'
import { blobSubject, desiredSubject, STREAMS } from '@fairlead/shared/subjects'
import { type JetStreamManager, jetstream, jetstreamManager } from '@nats-io/jetstream'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { newClusterId, startTestLink, type TestLink } from '../link.test-support.ts'
import { ensureStreams } from '../nats/streams.ts'
import { PUBLISH_TIMEOUT_MS } from './outbox.ts'
import { createPublisher, type Publisher } from './publisher.ts'
import { rebuild } from './rebuild.ts'
import { Sweeper } from './sweep.ts'

const key = generateSigningKey()
let link: TestLink
let manager: JetStreamManager
let publisher: Publisher

beforeEach(async () => {
  link = await startTestLink(await getNatsBinary(), { dataDir: makeRunFolder('link') })
  manager = await jetstreamManager(link.connections.hub)
  publisher = createPublisher({
    store: link.store,
    connection: link.connections.hub,
    signingKey: key,
    ensureStreams: () => ensureStreams(manager),
    pushClaims: () => link.link.pushClaims(),
    resign: async () => {},
    logger: silentLogger,
  })
})

afterEach(async () => {
  await publisher.stop()
  await link.stop()
})

async function addSlice(document: Uint8Array): Promise<string> {
  const id = newClusterId()
  const { db } = link.store
  const cluster = { id, name: id, labels: '{}', public_key: null, facts: null, created_at: 1, joined_at: 1 }
  await db.insertInto('clusters').values(cluster).execute()
  await db.insertInto('slices').values({ cluster_id: id, generation: 1, content_hash: 'h', document }).execute()
  await db.insertInto('outbox').values({ kind: 'slice', key: id, created_at: 1 }).execute()
  return id
}

async function addArtifact(content: string): Promise<string> {
  const { db } = link.store
  const digest = sha256Hex(content)
  await db.insertInto('artifacts').values({ digest, reference: new Uint8Array(), created_at: 1 }).execute()
  const chunk = { digest: sha256Hex(`sealed ${content}`), artifact_digest: digest, bytes: Buffer.from(content) }
  await db.insertInto('artifact_chunks').values(chunk).execute()
  await db.insertInto('outbox').values({ kind: 'artifact', key: digest, created_at: 1 }).execute()
  return chunk.digest
}

const held = async (stream: string, subject: string): Promise<string | undefined> =>
  (await manager.direct.getMessage(stream, { last_by_subj: subject }).catch(() => null))?.string()
const isDrained = (timeoutMs?: number) =>
  waitFor(
    'the outbox to be empty',
    async () => (await link.store.db.selectFrom('outbox').select('id').execute()).length === 0,
    timeoutMs === undefined ? {} : { timeoutMs },
  )

test('artifacts are in NATS before the slices that name them', async () => {
  const chunk = await addArtifact('a')
  const id = await addSlice(Buffer.from('slice'))
  const order: string[] = []
  const note = (_error: Error | null, message: { subject: string }) => void order.push(message.subject)
  for (const subject of ['blob.>', 'desired.>']) link.connections.hub.subscribe(subject, { callback: note })
  publisher.start()
  await isDrained()
  expect(order).toEqual([blobSubject(chunk), desiredSubject(id, 'main')])
  expect(await held(STREAMS.desired, desiredSubject(id, 'main'))).toBe('slice')
})

test('they are also when the queue is long and a slice in front of it was signed again', async () => {
  const id = await addSlice(Buffer.from('slice'))
  const row = { kind: 'slice' as const, key: id, created_at: 1 }
  await link.store.db
    .insertInto('outbox')
    .values(Array.from({ length: 600 }, () => row))
    .execute()
  const chunk = await addArtifact('a')
  const order: string[] = []
  const note = (_error: Error | null, message: { subject: string }) => void order.push(message.subject)
  for (const subject of ['blob.>', 'desired.>']) link.connections.hub.subscribe(subject, { callback: note })
  publisher.start()
  await isDrained()
  expect(order[0]).toBe(blobSubject(chunk))
})

test.for([2_000_000, 1_048_576])(
  'a slice of %i bytes is too large with its headers, and holds up no other',
  async (size) => {
    const large = await addSlice(Buffer.alloc(size))
    const id = await addSlice(Buffer.from('slice'))
    publisher.start()
    await isDrained()
    expect(await held(STREAMS.desired, desiredSubject(id, 'main'))).toBe('slice')
    expect(await held(STREAMS.desired, desiredSubject(large, 'main'))).toBeUndefined()
  },
)

test('what was published before a crash is published again without harm, and what was not is published', async () => {
  const ids = await Promise.all([addSlice(Buffer.from('one')), addSlice(Buffer.from('two'))])
  const [first = '', second = ''] = ids
  await jetstream(link.connections.hub).publish(desiredSubject(first, 'main'), 'one')
  publisher.start()
  await isDrained()
  expect(await held(STREAMS.desired, desiredSubject(first, 'main'))).toBe('one')
  expect(await held(STREAMS.desired, desiredSubject(second, 'main'))).toBe('two')
})

test('a document in NATS that is not the database’s is replaced, and one that is is not published again', async () => {
  const [good, bad] = [await addSlice(Buffer.from('good')), await addSlice(Buffer.from('bad'))]
  publisher.start()
  await isDrained()
  const subject = desiredSubject(bad, 'main')
  const { header } = (await manager.direct.getMessage(STREAMS.desired, { last_by_subj: subject })) ?? {}
  await jetstream(link.connections.hub).publish(subject, 'altered', header ? { headers: header } : {})
  const before = (await manager.streams.info(STREAMS.desired)).state.last_seq
  publisher.resync()
  await waitFor('the document', async () => (await held(STREAMS.desired, desiredSubject(bad, 'main'))) === 'bad')
  await isDrained()
  expect((await manager.streams.info(STREAMS.desired)).state.last_seq).toBe(before + 1)
  expect(await held(STREAMS.desired, desiredSubject(good, 'main'))).toBe('good')
})

test('however often NATS is compared while it takes nothing, what it lacks waits once', async () => {
  const id = await addSlice(Buffer.from('slice'))
  await link.store.db.deleteFrom('outbox').execute()
  const options = {
    store: link.store,
    js: jetstream(link.connections.hub),
    resign: async () => {},
    logger: silentLogger,
  }
  for (let time = 0; time < 3; time++) await rebuild(options)
  expect(await link.store.db.selectFrom('outbox').select(['kind', 'key']).execute()).toEqual([
    { kind: 'slice', key: id },
  ])
})

test('an agent is asked for a report by a signed command of its own', async () => {
  const id = newClusterId()
  await publisher.requestReport(id)
  const message = await manager.direct.getMessage(STREAMS.desired, { last_by_subj: desiredSubject(id, 'cmd') })
  const trusted = new Map([[key.id, key.publicKey]])
  const command = decodeCommand(message?.data ?? new Uint8Array(), { clusterId: id, trusted })
  expect(command.verb.case).toBe('report')
})

test('an artifact that nothing uses is deleted after the grace, and not one that is used', async () => {
  const { db } = link.store
  const unused = await addArtifact('unused')
  const used = await addArtifact('used')
  const row = { name: 'web', uid: 'u', generation: 1, labels: '{}', spec: '{}', created_at: 1, deleting: null }
  await db.insertInto('applications').values(row).execute()
  const render = { commit: 'c', input_hash: 'h', attempted_commit: 'c', problems: '[]', rendered_at: 1, revision: null }
  await db
    .insertInto('renders')
    .values({ ...render, application: 'web', variant: '', artifact_digest: sha256Hex('used') })
    .execute()
  publisher.start()
  await isDrained()
  const sweeper = new Sweeper({ store: link.store, js: jetstream(link.connections.hub), graceMs: 1_000 })
  expect(await sweeper.sweep(0)).toEqual({ artifacts: 0, blobs: 0 })
  expect(await sweeper.sweep(999)).toEqual({ artifacts: 0, blobs: 0 })
  expect(await sweeper.sweep(1_000)).toEqual({ artifacts: 1, blobs: 0 })
  expect(await held(STREAMS.blobs, blobSubject(unused))).toBe('unused')
  expect(await sweeper.sweep(2_000)).toEqual({ artifacts: 0, blobs: 1 })
  expect(await held(STREAMS.blobs, blobSubject(unused))).toBeUndefined()
  expect(await held(STREAMS.blobs, blobSubject(used))).toBe('used')
})

test.each(['wake', 'resync'] as const)(
  'what nats-server has not answered when it is killed is asked again as soon as it is back: after a %s',
  async (call) => {
    await addSlice(Buffer.from('first'))
    publisher.start()
    await isDrained()
    const { hub } = link.connections
    const back = new Promise<void>((resolve) => link.link.onReconnect('hub', resolve))
    link.link.onReconnect('hub', () => publisher.resync())
    const pid = await link.natsPid()
    process.kill(pid, 'SIGSTOP')
    const sent = hub.stats().outMsgs
    const id = await addSlice(Buffer.from('slice'))
    publisher[call]()
    await waitFor('something to be asked', () => hub.stats().outMsgs > sent)
    process.kill(pid, 'SIGKILL')
    await back
    // Sooner than an answer that will never come would be given up.
    await isDrained(PUBLISH_TIMEOUT_MS / 2)
    expect(await held(STREAMS.desired, desiredSubject(id, 'main'))).toBe('slice')
  },
)

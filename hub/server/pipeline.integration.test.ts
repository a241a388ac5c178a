// From a commit to the documents that an agent reads: the real store, renderer, publisher and nats-server; only Git is
// played, by folders in memory.
import { once } from 'node:events'
import { create, type MessageInitShape, toBinary, toJsonString } from '@bufbuild/protobuf'
import { makeRunFolder } from '@fairlead/e2e/harness/guardian'
import { getNatsBinary } from '@fairlead/e2e/harness/nats'
import { waitFor } from '@fairlead/e2e/harness/wait'
import { ApplicationSpecSchema } from '@fairlead/proto/definitions'
import { ReportSchema } from '@fairlead/proto/report'
import type { Slice } from '@fairlead/proto/slice'
import { openArtifact } from '@fairlead/shared/artifact'
import { sha256Hex } from '@fairlead/shared/digest'
import { AppError } from '@fairlead/shared/errors'
import { silentLogger } from '@fairlead/shared/logger'
import { generateSigningKey } from '@fairlead/shared/signing'
import { decodeSlice } from '@fairlead/shared/slice'
import { blobSubject, desiredSubject, eventSubject, STREAMS, statusSubject } from '@fairlead/shared/subjects'
import { jetstream, jetstreamManager } from '@nats-io/jetstream'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { type Collector, createCollector } from './collector/collector.ts'
import { newClusterId, startTestLink, type TestLink } from './link.test-support.ts'
import { ensureStreams } from './nats/streams.ts'
import { createPipeline, type Pipeline } from './pipeline.ts'
import { createPublisher, type Publisher } from './publisher/publisher.ts'
import { createRenderer, type Renderer } from './renderer/renderer.ts'
import { readApplications } from './store/definition-rows.ts'
import type { SourceTree } from './tracker/source-tree.ts'

const key = generateSigningKey()
const trusted = new Map([[key.id, key.publicKey]])

let link: TestLink
let renderer: Renderer
let pipeline: Pipeline
let publisher: Publisher
let collector: Collector
/** Files by commit. */
let git: Map<string, Record<string, string> | AppError>
let reads: string[]
/** Folders whose read waits. */
let slow: Map<string, Promise<void>>

beforeEach(async () => {
  link = await startTestLink(await getNatsBinary(), { dataDir: makeRunFolder('link') })
  renderer = createRenderer({ logger: silentLogger })
  git = new Map()
  reads = []
  slow = new Map()
  startStages()
})

afterEach(async () => {
  await stopStages()
  await renderer.stop()
  await link.stop()
})

function startStages(clock = Date.now): void {
  const { store, connections } = link
  pipeline = createPipeline({
    store,
    trees: { readTree, findTreeOids, findChart, findBase: findChart },
    renderer,
    signingKey: key,
    onPublish: () => publisher.wake(),
    onChange: () => {},
    logger: silentLogger,
    clock,
    slowRetry: { baseMs: 2_000, maxMs: 2_000 },
  })
  publisher = createPublisher({
    store,
    connection: connections.hub,
    signingKey: key,
    ensureStreams: async () => ensureStreams(await jetstreamManager(connections.hub)),
    pushClaims: () => link.link.pushClaims(),
    resign: (seen) => pipeline.resign(seen),
    logger: silentLogger,
  })
  collector = createCollector({
    store,
    connection: connections.hub,
    view: { applyReport: () => ({ gap: false }), heartbeat: () => ({ gap: false }) },
    isKnownCluster: async (id) => pipeline.knows(id),
    requestReport: (id) => publisher.requestReport(id),
    onRemoved: (id) => pipeline.reslice([id]),
    onNewerGeneration: (id, generation) => void pipeline.resign(new Map([[id, generation]])),
    logger: silentLogger,
  })
  publisher.start()
  pipeline.start()
  collector.start()
}

async function stopStages(): Promise<void> {
  await pipeline.stop()
  await collector.stop()
  await publisher.stop()
}

async function findChart(): Promise<never> {
  throw new AppError('NotFound', 'no charts here')
}

async function readTree(_repository: string, commit: string, path: string, signal: AbortSignal): Promise<SourceTree> {
  reads.push(`${commit} ${path}`)
  const wait = slow.get(`${commit} ${path}`)
  if (wait) await Promise.race([wait, once(signal, 'abort')])
  return getTree(commit, path)
}

async function findTreeOids(
  _repository: string,
  commit: string,
  paths: readonly string[],
): Promise<(string | undefined)[]> {
  const oids = paths.map(async (path) => getTree(commit, path).treeOid)
  return (await Promise.allSettled(oids)).map((oid) => (oid.status === 'fulfilled' ? oid.value : undefined))
}

function getTree(commit: string, path: string): SourceTree {
  const files = git.get(commit)
  if (files === undefined) throw new AppError('FetchFailed', 'no such commit')
  if (files instanceof AppError) throw files
  const below = Object.entries(files).filter(([name]) => name.startsWith(`${path}/`))
  if (below.length === 0) throw new AppError('PathNotFound', `no folder ${path}`)
  return {
    commit,
    treeOid: sha256Hex(JSON.stringify(below)),
    files: below.map(([name, text]) => ({ path: name, mode: '100644', bytes: Buffer.from(text) })),
    skipped: [],
  }
}

const configMap = (name: string, value = 'x'): string =>
  JSON.stringify({ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name }, data: { value } })

async function addCluster(name: string, labels: Record<string, string> = {}, joined = true): Promise<string> {
  const id = newClusterId()
  const now = Date.now()
  const row = { id, name, labels: JSON.stringify(labels), public_key: null, facts: null, created_at: now }
  await link.store.db
    .insertInto('clusters')
    .values({ ...row, joined_at: joined ? now : null })
    .execute()
  pipeline.wake()
  return id
}

async function addApplication(
  name: string,
  env = 'prod',
  more: MessageInitShape<typeof ApplicationSpecSchema> = {},
): Promise<void> {
  const spec = create(ApplicationSpecSchema, {
    source: { repository: 'shop', ref: 'main', path: name },
    placement: { clusters: { matchLabels: { env } } },
    namespace: name,
    ...more,
  } as MessageInitShape<typeof ApplicationSpecSchema>)
  const row = { name, uid: crypto.randomUUID(), generation: 1, labels: '{}', created_at: Date.now(), deleting: null }
  await link.store.db
    .insertInto('applications')
    .values({ ...row, spec: toJsonString(ApplicationSpecSchema, spec) })
    .execute()
  pipeline.wake()
}

async function push(commit: string, files: Record<string, string> | AppError): Promise<void> {
  git.set(commit, files)
  const now = Date.now()
  await link.store.db
    .insertInto('refs')
    .values({ repository: 'shop', ref: 'main', commit, seen_at: now, polled_at: now, problem: null })
    .onConflict((conflict) => conflict.columns(['repository', 'ref']).doUpdateSet({ commit }))
    .execute()
  pipeline.wake()
}

/** The slice as the agent finds it in NATS. */
async function readSlice(clusterId: string, lastGeneration = 0n): Promise<Slice | undefined> {
  const manager = await jetstreamManager(link.connections.hub)
  const query = { last_by_subj: desiredSubject(clusterId, 'main') }
  const message = await manager.direct.getMessage(STREAMS.desired, query).catch(() => null)
  return message ? decodeSlice(message.data, { clusterId, lastGeneration, trusted }) : undefined
}

function summarize(slice: Slice | undefined): Record<string, string> | undefined {
  return (
    slice &&
    Object.fromEntries(
      slice.entries.map(({ application, intent }) => [
        application,
        intent.case === 'desired' ? (intent.value.revision?.commit ?? '') : `tombstone ${intent.value?.prune}`,
      ]),
    )
  )
}

const sees = (clusterId: string, wanted: Record<string, string>) =>
  waitFor(`the slice ${JSON.stringify(wanted)}`, async (see) => {
    const slice = await readSlice(clusterId)
    see(summarize(slice))
    return JSON.stringify(summarize(slice)) === JSON.stringify(wanted) ? slice : undefined
  })

async function objectsOf(slice: Slice, application: string): Promise<string[]> {
  const intent = slice.entries.find((entry) => entry.application === application)?.intent
  if (intent?.case !== 'desired' || !intent.value.artifact) throw new Error(`${application} is not desired`)
  const manager = await jetstreamManager(link.connections.hub)
  const chunks: Uint8Array[] = []
  for (const digest of intent.value.artifact.chunks) {
    const message = await manager.direct.getMessage(STREAMS.blobs, { last_by_subj: blobSubject(digest) })
    if (message) chunks.push(message.data)
  }
  const { manifests } = openArtifact(intent.value.artifact, chunks)
  return manifests.map(({ json }) => JSON.parse(Buffer.from(json).toString()).metadata.name as string)
}

async function report(clusterId: string, removed: string[], generation: bigint, full = false): Promise<void> {
  const document = create(ReportSchema, { session: 's', sequence: 1n, full, removed, sliceGeneration: generation })
  const subject = full ? statusSubject(clusterId) : eventSubject(clusterId)
  await jetstream(link.connections.hub).publish(subject, toBinary(ReportSchema, document))
}

const problemsOf = async (application: string): Promise<string[]> => {
  const row = await link.store.db
    .selectFrom('renders')
    .select('problems')
    .where('application', '=', application)
    .executeTakeFirst()
  return (JSON.parse(row?.problems ?? '[]') as { code: string }[]).map(({ code }) => code)
}

test('a commit reaches every placed cluster, sealed, and no other', async () => {
  const prod = await addCluster('prod', { env: 'prod' })
  const dev = await addCluster('dev', { env: 'dev' })
  await addApplication('web')
  await push('c1', { 'web/a.yaml': configMap('a'), 'web/b.yaml': configMap('b') })
  const slice = await sees(prod, { web: 'c1' })
  expect(await objectsOf(slice, 'web')).toEqual(['a', 'b'])
  await sees(dev, {})
  await push('c2', { 'web/a.yaml': configMap('a', 'y') })
  const next = await sees(prod, { web: 'c2' })
  expect(await objectsOf(next, 'web')).toEqual(['a'])
  expect(next.generation).toBeGreaterThan(slice.generation)
})

test('a commit that changes one application renders only that one, and a slice that says the same is not signed again', async () => {
  const prod = await addCluster('prod', { env: 'prod' })
  await addApplication('web')
  await addApplication('api')
  await push('c1', { 'web/a.yaml': configMap('a'), 'api/a.yaml': configMap('a') })
  const first = await sees(prod, { api: 'c1', web: 'c1' })
  reads = []
  await push('c2', { 'web/a.yaml': configMap('a', 'y'), 'api/a.yaml': configMap('a') })
  const second = await sees(prod, { api: 'c2', web: 'c2' })
  expect(reads).toEqual(['c2 web'])
  const digests = (slice: Slice) =>
    slice.entries.map(({ intent }) => (intent.case === 'desired' ? intent.value.artifact?.digest : undefined))
  expect(digests(second)[0]).toBe(digests(first)[0])
  expect(digests(second)[1]).not.toBe(digests(first)[1])
  await stopStages()
  startStages()
  await addCluster('later', { env: 'prod' })
  await waitFor(
    'both clusters to be seen',
    async () => (await link.store.db.selectFrom('slices').selectAll().execute()).length === 2,
  )
  expect((await readSlice(prod))?.generation).toBe(second.generation)
})

test('an overlay is rendered again when its base elsewhere changes, comes or goes, and not when anything else does', async () => {
  const prod = await addCluster('prod', { env: 'prod' })
  await addApplication('web')
  const overlay = { 'web/kustomization.yaml': 'resources: [../lib/base]\nnamePrefix: p-\n' }
  const base = (name: string) => ({
    'lib/base/kustomization.yaml': 'resources: [a.yaml]\n',
    'lib/base/a.yaml': configMap(name),
  })
  await push('c1', { ...overlay, ...base('a'), 'lib/other/x.yaml': configMap('x') })
  expect(await objectsOf(await sees(prod, { web: 'c1' }), 'web')).toEqual(['p-a'])
  expect(reads).toEqual(['c1 web', 'c1 lib/base'])
  reads = []
  await push('c2', { ...overlay, ...base('a'), 'lib/other/x.yaml': configMap('y') })
  await sees(prod, { web: 'c2' })
  expect(reads).toEqual([])
  await push('c3', { ...overlay, ...base('b') })
  expect(await objectsOf(await sees(prod, { web: 'c3' }), 'web')).toEqual(['p-b'])
  expect(reads).toEqual(['c3 web', 'c3 lib/base'])
  reads = []
  await push('c4', overlay)
  await waitFor('the base to be missed', async () => (await problemsOf('web')).includes('PathNotFound'))
  await push('c5', { ...overlay, 'web2/x.yaml': configMap('x') })
  await waitFor('c5 to be looked at', async () => {
    const row = await link.store.db.selectFrom('renders').select('attempted_commit').executeTakeFirst()
    return row?.attempted_commit === 'c5'
  })
  expect(reads.filter((read) => read.startsWith('c5'))).toEqual([])
  await push('c6', { ...overlay, ...base('c') })
  expect(await objectsOf(await sees(prod, { web: 'c6' }), 'web')).toEqual(['p-c'])
})

test('a commit that changes two applications reaches a cluster as a whole, also when one takes longer, and also after a restart', async () => {
  const prod = await addCluster('prod', { env: 'prod' })
  await addApplication('from')
  await addApplication('to')
  await push('c1', { 'from/a.yaml': configMap('a'), 'from/moving.yaml': configMap('m'), 'to/b.yaml': configMap('b') })
  const first = await sees(prod, { from: 'c1', to: 'c1' })
  const read = Promise.withResolvers<void>()
  slow.set('c2 to', read.promise)
  await push('c2', { 'from/a.yaml': configMap('a'), 'to/b.yaml': configMap('b'), 'to/moving.yaml': configMap('m') })
  const isRendered = async () => {
    const row = await link.store.db.selectFrom('renders').select('commit').where('application', '=', 'from').execute()
    return row[0]?.commit === 'c2'
  }
  await waitFor('the one to be rendered', isRendered)
  await stopStages()
  startStages()
  await addCluster('later', { env: 'prod' })
  await waitFor(
    'the new cluster to be seen',
    async () => (await link.store.db.selectFrom('slices').selectAll().execute()).length === 2,
  )
  expect((await readSlice(prod))?.generation).toBe(first.generation)
  read.resolve()
  const second = await sees(prod, { from: 'c2', to: 'c2' })
  expect(await objectsOf(second, 'to')).toEqual(['b', 'm'])
})

test('a cluster that joins gets its slice at once', async () => {
  await addApplication('web')
  await push('c1', { 'web/a.yaml': configMap('a') })
  await waitFor(
    'the render',
    async () => (await link.store.db.selectFrom('renders').selectAll().execute()).length === 1,
  )
  reads = []
  await sees(await addCluster('prod', { env: 'prod' }), { web: 'c1' })
  expect(reads).toEqual([])
})

test('an application that leaves a cluster gets a tombstone, and is forgotten only when the agent confirms that very slice', async () => {
  const prod = await addCluster('prod', { env: 'prod' })
  await addApplication('web')
  await push('c1', { 'web/a.yaml': configMap('a') })
  const before = await sees(prod, { web: 'c1' })
  await link.store.db.updateTable('clusters').set({ labels: '{"env":"dev"}' }).execute()
  pipeline.wake()
  const tombstone = await sees(prod, { web: 'tombstone true' })
  await report(prod, ['web'], before.generation)
  await report(prod, ['web', 'other'], tombstone.generation, true)
  await sees(prod, {})
  expect(await link.store.db.selectFrom('deployments').selectAll().execute()).toEqual([])
})

test('a confirmation of an older slice forgets nothing', async () => {
  const prod = await addCluster('prod', { env: 'prod' })
  await addApplication('web')
  await push('c1', { 'web/a.yaml': configMap('a') })
  const before = await sees(prod, { web: 'c1' })
  await link.store.db.updateTable('applications').set({ deleting: 'orphan' }).execute()
  pipeline.wake()
  await sees(prod, { web: 'tombstone false' })
  await report(prod, ['web'], before.generation)
  // What comes after it in the stream has been read, so it has been, too.
  await jetstream(link.connections.hub).publish(eventSubject(prod), Buffer.from([0xff]))
  await waitFor('the malformed report to be counted', () => collector.counts.malformed === 1)
  await addApplication('api')
  await push('c2', { 'api/a.yaml': configMap('a') })
  await sees(prod, { api: 'c2', web: 'tombstone false' })
})

test('a deleted application leaves every cluster and is gone when the last agent has confirmed', async () => {
  const clusters = [await addCluster('p1', { env: 'prod' }), await addCluster('p2', { env: 'prod' })]
  await addCluster('never-joined', { env: 'prod' }, false)
  await addApplication('web')
  await push('c1', { 'web/a.yaml': configMap('a') })
  for (const id of clusters) await sees(id, { web: 'c1' })
  await link.store.db.updateTable('applications').set({ deleting: 'prune' }).execute()
  pipeline.wake()
  for (const id of clusters) {
    const { generation } = await sees(id, { web: 'tombstone true' })
    await report(id, ['web'], generation)
    await sees(id, {})
  }
  expect(await link.store.db.selectFrom('applications').selectAll().execute()).toEqual([])
})

test('what cannot be read changes nothing and is told; what is broken holds up nothing else and deletes nothing', async () => {
  const prod = await addCluster('prod', { env: 'prod' })
  await addApplication('web')
  await addApplication('api')
  const api = { 'api/a.yaml': configMap('a') }
  await push('c1', { ...api, 'web/a.yaml': configMap('a'), 'web/b.yaml': configMap('b') })
  await sees(prod, { api: 'c1', web: 'c1' })
  await push('c2', { ...api })
  const without = await sees(prod, { api: 'c2', web: 'c1' })
  expect(await objectsOf(without, 'web')).toEqual(['a', 'b'])
  await waitFor('the problem', async () => (await problemsOf('web')).join() === 'PathNotFound')
  await push('c3', { ...api, 'web/a.yaml': configMap('a', 'new'), 'web/b.yaml': 'a: [', 'web/c.yaml': configMap('c') })
  const broken = await sees(prod, { api: 'c3', web: 'c3' })
  expect((await objectsOf(broken, 'web')).sort()).toEqual(['a', 'b', 'c'])
  const intent = broken.entries.find((entry) => entry.application === 'web')?.intent
  expect(intent?.case === 'desired' && intent.value.policy?.prune).toBe(false)
  expect(await problemsOf('web')).toEqual(['InvalidYaml'])
  await push('c4', { ...api, 'web/a.yaml': configMap('a') })
  expect(await objectsOf(await sees(prod, { api: 'c4', web: 'c4' }), 'web')).toEqual(['a'])
  expect(await problemsOf('web')).toEqual([])
})

test('a fetch that fails for a moment is tried again', async () => {
  const prod = await addCluster('prod', { env: 'prod' })
  await addApplication('web')
  await push('c1', new AppError('FetchFailed', 'away'))
  await waitFor('the problem', async () => (await problemsOf('web')).join() === 'FetchFailed')
  git.set('c1', { 'web/a.yaml': configMap('a') })
  await sees(prod, { web: 'c1' })
  expect(await problemsOf('web')).toEqual([])
})

test('a render that took too long is tried again without a new commit, but not at the pace of other failures', async () => {
  const prod = await addCluster('prod', { env: 'prod' })
  await addApplication('web')
  await push('c1', new AppError('RenderTimeout', 'too slow'))
  await waitFor('the problem', async () => (await problemsOf('web')).join() === 'RenderTimeout')
  pipeline.wake()
  git.set('c1', { 'web/a.yaml': configMap('a') })
  await sees(prod, { web: 'c1' })
  expect(await problemsOf('web')).toEqual([])
  expect(reads.filter((read) => read === 'c1 web')).toHaveLength(2)
})

test('a read that somebody else gave up is tried again, and is no problem of the application', async () => {
  const prod = await addCluster('prod', { env: 'prod' })
  await addApplication('web')
  await push('c1', new AppError('Aborted', 'given up'))
  await waitFor('the read', () => reads.includes('c1 web'))
  git.set('c1', { 'web/a.yaml': configMap('a') })
  await sees(prod, { web: 'c1' })
  expect(await problemsOf('web')).toEqual([])
})

test('streams that are lost are made again and filled from the database', async () => {
  const prod = await addCluster('prod', { env: 'prod' })
  await addApplication('web')
  await push('c1', { 'web/a.yaml': configMap('a') })
  await sees(prod, { web: 'c1' })
  const manager = await jetstreamManager(link.connections.hub)
  for (const name of Object.values(STREAMS)) await manager.streams.delete(name)
  publisher.resync()
  expect(await objectsOf(await sees(prod, { web: 'c1' }), 'web')).toEqual(['a'])
  // Without being told, too: the next publish finds out.
  for (const name of Object.values(STREAMS)) await manager.streams.delete(name)
  await push('c2', { 'web/a.yaml': configMap('b') })
  expect(await objectsOf(await sees(prod, { web: 'c2' }), 'web')).toEqual(['b'])
  const { generation } = (await readSlice(prod)) ?? { generation: 0n }
  await link.store.db.updateTable('applications').set({ deleting: 'prune' }).execute()
  pipeline.wake()
  const tombstone = await sees(prod, { web: 'tombstone true' })
  expect(tombstone.generation).toBeGreaterThan(generation)
  await report(prod, ['web'], tombstone.generation)
  await sees(prod, {})
})

test.each([
  ['', 0],
  [' also when the clock of this machine is an hour behind,', 3_600_000],
])(
  'a database restored from an old backup is obeyed:%s its slices are signed as newer ones',
  async (_when, behindMs) => {
    const prod = await addCluster('prod', { env: 'prod' })
    await addApplication('web')
    await push('c1', { 'web/a.yaml': configMap('a') })
    await sees(prod, { web: 'c1' })
    const old = await link.store.db.selectFrom('slices').selectAll().executeTakeFirstOrThrow()
    await push('c2', { 'web/a.yaml': configMap('b') })
    const obeyed = await sees(prod, { web: 'c2' })
    await stopStages()
    await link.store.db.updateTable('slices').set(old).execute()
    startStages(() => Date.now() - behindMs)
    await waitFor('a newer slice', async () => ((await readSlice(prod))?.generation ?? 0n) > obeyed.generation)
  },
)

test('a slice that was to be signed again when the hub was killed is signed after the start', async () => {
  const prod = await addCluster('prod', { env: 'prod' })
  await addApplication('web')
  await push('c1', { 'web/a.yaml': configMap('a') })
  const { generation } = await sees(prod, { web: 'c1' })
  await stopStages()
  await link.store.db.updateTable('slices').set({ content_hash: '' }).execute()
  startStages()
  await waitFor('a newer slice', async () => ((await readSlice(prod))?.generation ?? 0n) > generation)
})

test('documents of clusters that were removed leave NATS', async () => {
  const prod = await addCluster('prod', { env: 'prod' })
  await addApplication('web')
  await push('c1', { 'web/a.yaml': configMap('a') })
  await sees(prod, { web: 'c1' })
  const foreign = newClusterId()
  await jetstream(link.connections.hub).publish(desiredSubject(foreign, 'main'), 'left behind')
  publisher.resync()
  const manager = await jetstreamManager(link.connections.hub)
  const subjects = async () =>
    Object.keys((await manager.streams.info(STREAMS.desired, { subjects_filter: '>' })).state.subjects ?? {})
  await waitFor('the foreign document to go', async () => (await subjects()).join() === desiredSubject(prod, 'main'))
})

describe('overrides', () => {
  const inRegion = (region: string, path: string) => ({ clusters: { matchLabels: { region } }, path })
  const renders = async (): Promise<number> =>
    (await link.store.db.selectFrom('renders').select('variant').execute()).length
  const label = async (id: string, labels: Record<string, string>): Promise<void> => {
    await link.store.db
      .updateTable('clusters')
      .set({ labels: JSON.stringify(labels) })
      .where('id', '=', id)
      .execute()
    pipeline.wake()
  }
  /** Waits until the cluster is to run these objects of `web`. */
  const runs = async (id: string, objects: readonly string[]): Promise<Slice> =>
    await waitFor(`the objects ${objects}`, async (see) => {
      const slice = await readSlice(id)
      const found = slice && slice.entries.length > 0 ? await objectsOf(slice, 'web') : []
      see(found)
      return JSON.stringify(found) === JSON.stringify(objects) ? slice : undefined
    })

  test('clusters with equal overrides share one render, and one that is labelled otherwise moves to its own', async () => {
    const [eu1, eu2, us] = await Promise.all([
      addCluster('eu-1', { env: 'prod', region: 'eu' }),
      addCluster('eu-2', { env: 'prod', region: 'eu' }),
      addCluster('us-1', { env: 'prod', region: 'us' }),
    ])
    await addApplication('web', 'prod', { overrides: [inRegion('eu', 'web/eu'), { names: ['ap-1'], path: 'web/ap' }] })
    await push('c1', {
      'web/base/a.yaml': configMap('base'),
      'web/eu/a.yaml': configMap('eu'),
      'web/ap/a.yaml': configMap('ap'),
    })
    await runs(us, ['base', 'eu', 'ap'].toSorted())
    for (const id of [eu1, eu2]) await runs(id, ['eu'])
    expect(reads.toSorted()).toEqual(['c1 web', 'c1 web/eu'])
    expect(await renders()).toBe(2)
    await label(eu2, { env: 'prod', region: 'us' })
    await runs(eu2, ['base', 'eu', 'ap'].toSorted())
    await label(us, { env: 'prod', region: 'eu' })
    await label(eu2, { env: 'prod', region: 'eu' })
    await runs(us, ['eu'])
    // What no cluster needs any more is forgotten.
    await waitFor('one render to be left', async () => (await renders()) === 1)
    expect(reads).toHaveLength(2)
    await stopStages()
    startStages()
    await push('c2', { 'web/eu/a.yaml': configMap('eu', 'new') })
    await waitFor(
      'the new commit',
      async () => (await readSlice(eu1))?.entries[0]?.intent.value !== undefined && reads.includes('c2 web/eu'),
    )
    expect(reads.filter((read) => read !== 'c2 web/eu')).toHaveLength(2)
  })

  test('a variant that cannot be rendered leaves its clusters as they are, is told with their names, and holds up no other', async () => {
    const eu = await addCluster('eu-1', { env: 'prod', region: 'eu' })
    const us = await addCluster('us-1', { env: 'prod', region: 'us' })
    await addApplication('web', 'prod', {
      source: { repository: 'shop', ref: 'main', path: 'us' },
      overrides: [inRegion('eu', 'eu')],
    })
    await push('c1', { 'us/a.yaml': configMap('us-1'), 'eu/a.yaml': configMap('eu-1') })
    await runs(eu, ['eu-1'])
    await runs(us, ['us-1'])
    await push('c2', { 'us/a.yaml': configMap('us-2') })
    await runs(us, ['us-2'])
    await runs(eu, ['eu-1'])
    const [application] = await readApplications(link.store.db)
    expect(application?.status?.revision?.commit).toBe('c2')
    expect(application?.status?.problems.map(({ code, message }) => `${code} ${message}`)).toEqual([
      'PathNotFound on eu-1: no folder eu',
    ])
    // A cluster that comes to it meanwhile keeps what it has, too.
    await label(us, { env: 'prod', region: 'eu' })
    await push('c3', { 'us/a.yaml': configMap('us-3'), 'eu/a.yaml': configMap('eu-3') })
    await runs(us, ['eu-3'])
    await runs(eu, ['eu-3'])
  })
})

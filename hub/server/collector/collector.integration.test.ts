// What agents say, as the collector takes it from a real nats-server.
import { create, toBinary } from '@bufbuild/protobuf'
import { makeRunFolder } from '@fairlead/e2e/harness/guardian'
import { getNatsBinary } from '@fairlead/e2e/harness/nats'
import { waitFor } from '@fairlead/e2e/harness/wait'
import { type Heartbeat, HeartbeatSchema, type Report, ReportSchema } from '@fairlead/proto/report'
import { silentLogger } from '@fairlead/shared/logger'
import { eventSubject, heartbeatSubject, STREAMS, statusSubject } from '@fairlead/shared/subjects'
import { type JetStreamClient, jetstream, jetstreamManager } from '@nats-io/jetstream'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { newClusterId, startTestLink, type TestLink } from '../link.test-support.ts'
import { ensureStreams } from '../nats/streams.ts'
import { type Collector, createCollector } from './collector.ts'

const CLUSTER = newClusterId()
let link: TestLink
let js: JetStreamClient
let collector: Collector
let seen: string[]
let asked: string[]
let newer: string[]
let gap: boolean

beforeEach(async () => {
  link = await startTestLink(await getNatsBinary(), { dataDir: makeRunFolder('link') })
  js = jetstream(link.connections.hub)
  seen = []
  asked = []
  newer = []
  gap = false
  const row = { id: CLUSTER, name: 'prod', labels: '{}', public_key: null, facts: null, created_at: 1, joined_at: 1 }
  await link.store.db.insertInto('clusters').values(row).execute()
  start()
})

afterEach(async () => {
  await collector.stop()
  await link.stop()
})

function start(): void {
  const note = (id: string, what: Report | Heartbeat): { gap: boolean } => {
    const sequence = what.$typeName === 'fairlead.v1.Report' ? what.sequence : what.reportSequence
    seen.push(`${id === CLUSTER ? 'prod' : id} ${what.$typeName.slice(12)} ${sequence}`)
    return { gap }
  }
  collector = createCollector({
    store: link.store,
    connection: link.connections.hub,
    view: { applyReport: note, heartbeat: note },
    isKnownCluster: async (id) => id === CLUSTER,
    requestReport: async (id) => void asked.push(id),
    onRemoved: () => {},
    onNewerGeneration: (id) => newer.push(id),
    logger: silentLogger,
  })
  collector.start()
}

const report = (sequence: number, sliceGeneration = 0n): Uint8Array =>
  toBinary(ReportSchema, create(ReportSchema, { session: 's', sequence: BigInt(sequence), sliceGeneration }))
const sees = (...wanted: string[]) =>
  waitFor(`the reports ${wanted}`, (see) => {
    see(seen)
    return seen.join() === wanted.join()
  })

test('reports come in order, each once, also over a restart of the hub', async () => {
  for (const sequence of [1, 2, 3]) await js.publish(eventSubject(CLUSTER), report(sequence))
  await sees('prod Report 1', 'prod Report 2', 'prod Report 3')
  await collector.stop()
  for (const sequence of [4, 5]) await js.publish(eventSubject(CLUSTER), report(sequence))
  seen = []
  start()
  await sees('prod Report 4', 'prod Report 5')
})

test('a full report and a heartbeat reach the view', async () => {
  await js.publish(statusSubject(CLUSTER), report(7))
  await sees('prod Report 7')
  const beat = create(HeartbeatSchema, { reportSequence: 8n, session: 's' })
  link.connections.hub.publish(heartbeatSubject(CLUSTER), toBinary(HeartbeatSchema, beat))
  await sees('prod Report 7', 'prod Heartbeat 8')
})

test('who speaks is told by the subject: clusters that the hub does not know are passed over and counted', async () => {
  await js.publish(eventSubject(newClusterId()), report(1))
  await js.publish('up.not-an-id.event', report(1))
  await js.publish(eventSubject(CLUSTER), report(2))
  await sees('prod Report 2')
  expect(collector.counts.unknown).toBe(2)
})

test('what cannot be decoded is counted and holds up nothing', async () => {
  await js.publish(eventSubject(CLUSTER), Buffer.from([0xff, 0xff]))
  link.connections.hub.publish(heartbeatSubject(CLUSTER), Buffer.from([0xff, 0xff]))
  await js.publish(eventSubject(CLUSTER), report(2))
  await sees('prod Report 2')
  await waitFor('both to be counted', () => collector.counts.malformed === 2)
})

test.each([
  ['a sequence', { sequence: 2n ** 60n }],
  ['a generation', { sliceGeneration: 2n ** 64n - 1n }],
  ['a time', { problems: [{ code: 'x', since: { seconds: 2n ** 60n } }] }],
  ['a time of a drift', { applications: [{ drifts: [{ detectedAt: { nanos: -1 } }] }] }],
] as const)('%s that cannot be kept is counted, and never reaches the view', async (_what, evil) => {
  await js.publish(
    eventSubject(CLUSTER),
    toBinary(ReportSchema, create(ReportSchema, { session: 's', ...evil } as never)),
  )
  const beat = create(HeartbeatSchema, { session: 's', sliceGeneration: 2n ** 60n })
  link.connections.hub.publish(heartbeatSubject(CLUSTER), toBinary(HeartbeatSchema, beat))
  await waitFor('both to be counted', () => collector.counts.malformed === 2)
  await js.publish(eventSubject(CLUSTER), report(2))
  await sees('prod Report 2')
})

test('a gap asks the agent for a full report, once for many', async () => {
  gap = true
  for (const sequence of [5, 7, 9]) await js.publish(eventSubject(CLUSTER), report(sequence))
  await sees('prod Report 5', 'prod Report 7', 'prod Report 9')
  expect(asked).toEqual([CLUSTER])
})

test('an agent that has a newer slice than the database gets its slice signed again', async () => {
  const slice = { cluster_id: CLUSTER, generation: 5, content_hash: 'h', document: new Uint8Array() }
  await link.store.db.insertInto('slices').values(slice).execute()
  await js.publish(eventSubject(CLUSTER), report(1, 5n))
  await js.publish(eventSubject(CLUSTER), report(2, 6n))
  await waitFor('the slice to be signed again', () => newer.length > 0)
  expect(newer).toEqual([CLUSTER])
})

test('streams that are lost and made again are read from their beginning', async () => {
  for (const sequence of [1, 2]) await js.publish(eventSubject(CLUSTER), report(sequence))
  await sees('prod Report 1', 'prod Report 2')
  const manager = await jetstreamManager(link.connections.hub)
  await manager.streams.delete(STREAMS.events)
  await ensureStreams(manager)
  await js.publish(eventSubject(CLUSTER), report(3))
  await sees('prod Report 1', 'prod Report 2', 'prod Report 3')
})

test('nats-server killed in between loses no report', async () => {
  await js.publish(eventSubject(CLUSTER), report(1))
  await sees('prod Report 1')
  const reconnected = new Promise<void>((resolve) => link.link.onReconnect('hub', resolve))
  const pid = await link.natsPid()
  process.kill(pid, 'SIGKILL')
  await reconnected
  collector.reopen()
  await waitFor('a publish to work', async () => await js.publish(eventSubject(CLUSTER), report(2)))
  await sees('prod Report 1', 'prod Report 2')
})

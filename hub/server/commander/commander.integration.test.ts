// Questions to agents over a real nats-server: the answer is what the asked cluster says to this question, and bounded.
import { create, type MessageInitShape, toBinary } from '@bufbuild/protobuf'
import { makeRunFolder } from '@fairlead/e2e/harness/guardian'
import { getNatsBinary } from '@fairlead/e2e/harness/nats'
import { waitFor } from '@fairlead/e2e/harness/wait'
import { CommandAnswerSchema } from '@fairlead/proto/report'
import type { Command } from '@fairlead/proto/slice'
import { silentLogger } from '@fairlead/shared/logger'
import { generateSigningKey } from '@fairlead/shared/signing'
import { decodeCommand } from '@fairlead/shared/slice'
import { answerSubject, desiredGetSubject, desiredSubject, doorbellSubject } from '@fairlead/shared/subjects'
import { jetstreamManager } from '@nats-io/jetstream'
import type { NatsConnection } from '@nats-io/transport-node'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { connectAgent, enrolAgent, startTestLink, type TestLink } from '../link.test-support.ts'
import { ensureStreams } from '../nats/streams.ts'
import { type Commander, createCommander } from './commander.ts'

let A: string
let B: string
const signingKey = generateSigningKey()
let link: TestLink
let commander: Commander
let agents: Map<string, NatsConnection>

beforeEach(async () => {
  link = await startTestLink(await getNatsBinary(), { dataDir: makeRunFolder('commander') })
  await ensureStreams(await jetstreamManager(link.connections.hub))
  agents = new Map()
  const [one, other] = [await enrolAgent(link), await enrolAgent(link)]
  ;[A, B] = [one.id, other.id]
  for (const agent of [one, other]) agents.set(agent.id, await connectAgent(agent))
  const options = { connection: link.connections.hub, signingKey, logger: silentLogger }
  commander = createCommander({ ...options, timeoutMs: 1_500, repeatMs: 200 })
  commander.start()
})
afterEach(async () => {
  commander.stop()
  for (const agent of agents.values()) await agent.close()
  await link.stop()
})

/** For tests in which another time counts, or none. */
async function restartCommander(times: { timeoutMs: number; wholeTimeoutMs?: number }): Promise<void> {
  commander.stop()
  commander = createCommander({ connection: link.connections.hub, signingKey, logger: silentLogger, ...times })
  commander.start()
  // The server has the subscription before an agent says anything.
  await link.connections.hub.flush()
}

/** The command that lies in NATS for a cluster. */
async function commandOf(clusterId: string): Promise<Command> {
  const trusted = new Map([[signingKey.id, signingKey.publicKey]])
  return await waitFor('the command', async () => {
    const message = await agents.get(clusterId)?.request(desiredGetSubject(clusterId, 'cmd'), '', { timeout: 2_000 })
    if (!message || (message.headers?.code ?? 0) !== 0) return undefined
    return decodeCommand(new Uint8Array(message.data), { clusterId, trusted })
  })
}

const say = (clusterId: string, answer: MessageInitShape<typeof CommandAnswerSchema>): void =>
  agents
    .get(clusterId)
    ?.publish(answerSubject(clusterId), toBinary(CommandAnswerSchema, create(CommandAnswerSchema, answer)))
const change = (name: string) =>
  create(CommandAnswerSchema, { changes: [{ object: { name }, action: 'create' }] }).changes

test('an answer in parts is put together in order, whatever the order in which they come', async () => {
  const asked = commander.preview(A, 'web')
  const command = await commandOf(A)
  expect(command.verb).toMatchObject({ case: 'preview', value: { application: 'web' } })
  const commandId = command.id
  say(A, { commandId, part: 2, last: true, changes: change('c') })
  say(A, { commandId, part: 0, changes: change('a') })
  say(A, { commandId, part: 0, changes: change('again') })
  say(A, { commandId, part: 1, changes: change('b') })
  expect((await asked).changes.map(({ object }) => object?.name)).toEqual(['a', 'b', 'c'])
})

test('what another cluster says, to this question or to none, is not heard', async () => {
  const asked = commander.preview(A, 'web')
  const { id: commandId } = await commandOf(A)
  say(B, { commandId, part: 0, last: true, changes: change('forged') })
  say(A, { commandId: 'made-up', part: 0, last: true, changes: change('made-up') })
  agents.get(A)?.publish(answerSubject(A), new Uint8Array([0xff, 0xff]))
  await waitFor('them to be counted', () => commander.counts.unasked === 2 && commander.counts.malformed === 1)
  say(A, { commandId, part: 0, last: true, changes: change('true') })
  expect((await asked).changes.map(({ object }) => object?.name)).toEqual(['true'])
})

test('an agent that answers without end is given up, and holds up nobody', async () => {
  const asked = commander.preview(A, 'web').catch((error: unknown) => error)
  const { id: commandId } = await commandOf(A)
  for (const part of [1, 2, 512, 4_000_000_000]) say(A, { commandId, part })
  expect(await asked).toMatchObject({ code: 'Unavailable', message: expect.stringContaining('more than 512 parts') })
  const other = commander.preview(B, 'web')
  say(B, { commandId: (await commandOf(B)).id, part: 0, last: true })
  expect(await other).toEqual({ changes: [], problems: [] })
})

test('an agent that is silent, or stops in the middle, is told of after the time', async () => {
  await expect(commander.preview(A, 'web')).rejects.toMatchObject({
    code: 'Unavailable',
    message: 'the agent did not answer within 1.5 s',
  })
  const asked = commander.preview(A, 'web').catch((error: unknown) => error)
  // What lies there at first may still be the command of before.
  await waitFor('an error', async () => {
    say(A, { commandId: (await commandOf(A)).id, part: 0 })
    return await Promise.race([asked, Promise.resolve(undefined)])
  })
  expect(await asked).toMatchObject({
    code: 'Unavailable',
    message: 'the agent sent 1 parts of its answer, and then nothing for 1.5 s',
  })
})

test('questions to one cluster follow each other, and a command that was overwritten is stored again', async () => {
  const first = commander.preview(A, 'web')
  const command = await commandOf(A)
  const second = commander.preview(A, 'shop')
  // A request for a report takes its place before the agent has read it.
  const rung: string[] = []
  agents
    .get(A)
    ?.subscribe(doorbellSubject(A, 'cmd'), { callback: (_error, message) => void rung.push(message.subject) })
  await agents.get(A)?.flush()
  link.connections.hub.publish(desiredSubject(A, 'cmd'), 'another')
  await waitFor('the command to be there again', () => rung.length >= 2)
  expect((await commandOf(A)).id).toBe(command.id)
  say(A, { commandId: command.id, part: 0, last: true, changes: change('of-web') })
  expect((await first).changes).toHaveLength(1)
  const next = await waitFor('the second', async () => {
    const found = await commandOf(A)
    return found.id === command.id ? undefined : found
  })
  expect(next.verb.value).toMatchObject({ application: 'shop' })
  say(A, { commandId: next.id, part: 0, last: true })
  expect((await second).changes).toEqual([])
})

test('a caller that goes away gives the question up', async () => {
  const controller = new AbortController()
  const asked = commander.preview(A, 'web', controller.signal).catch((error: unknown) => error)
  await commandOf(A)
  controller.abort()
  expect(await asked).toMatchObject({ code: 'Aborted' })
})

test('an answer may take longer than the time for a part, for as long as parts come', async () => {
  await restartCommander({ timeoutMs: 2_500 })
  const asked = commander.preview(A, 'web')
  const { id: commandId } = await commandOf(A)
  const startMs = performance.now()
  let part = 0
  await waitFor('more than twice the time for a part', () => {
    say(A, { commandId, part: part++, changes: change(`c${part}`) })
    return performance.now() - startMs > 5_500
  })
  say(A, { commandId, part, last: true })
  expect((await asked).changes).toHaveLength(part)
})

test('an agent that sends a part now and then is given up in the end', async () => {
  await restartCommander({ timeoutMs: 60_000, wholeTimeoutMs: 1_000 })
  const asked = commander.preview(A, 'web').catch((error: unknown) => error)
  const { id: commandId } = await commandOf(A)
  let part = 0
  const error = await waitFor('an error', async () => {
    say(A, { commandId, part: part++ })
    return await Promise.race([asked, Promise.resolve(undefined)])
  })
  expect(error).toMatchObject({ code: 'Unavailable', message: 'the agent had not answered as a whole within 1 s' })
})

test('what an agent sends unasked is counted and not read, and a flood of it while it is asked ends the question', async () => {
  await restartCommander({ timeoutMs: 60_000 })
  const garbage = new Uint8Array(60_000).fill(0xff)
  for (let index = 0; index < 100; index++) agents.get(A)?.publish(answerSubject(A), garbage)
  await waitFor('all of it to be counted', () => commander.counts.unasked === 100)
  expect(commander.counts.malformed).toBe(0)
  const asked = commander.preview(A, 'web').catch((error: unknown) => error)
  await commandOf(A)
  for (let index = 0; index < 2_000; index++) agents.get(A)?.publish(answerSubject(A), new Uint8Array([0xff]))
  expect(await asked).toMatchObject({
    code: 'Unavailable',
    message: expect.stringContaining('more than 1024 messages'),
  })
  await waitFor('the rest to be counted', () => commander.counts.unasked === 100 + 2_000 - 1_025)
})

test('questions that wait for their turn are bounded, given up at once, and hold up nobody behind them', async () => {
  await restartCommander({ timeoutMs: 60_000 })
  const first = commander.preview(A, 'web').catch((error: unknown) => error)
  const { id } = await commandOf(A)
  const controllers = Array.from({ length: 63 }, () => new AbortController())
  const queued = controllers.map(({ signal }) => commander.preview(A, 'web', signal).catch((error: unknown) => error))
  await expect(commander.preview(B, 'web')).rejects.toMatchObject({
    code: 'Unavailable',
    message: 'too many questions wait for an answer; try again',
  })
  for (const controller of controllers) controller.abort()
  for (const error of await Promise.all(queued)) expect(error).toMatchObject({ code: 'Aborted' })
  const last = commander.preview(A, 'shop')
  // The first is still being asked: nothing has taken its place.
  expect((await commandOf(A)).id).toBe(id)
  say(A, { commandId: id, part: 0, last: true })
  expect(await first).toEqual({ changes: [], problems: [] })
  const next = await waitFor('the last', async () => {
    const found = await commandOf(A)
    return found.id === id ? undefined : found
  })
  say(A, { commandId: next.id, part: 0, last: true })
  expect(await last).toEqual({ changes: [], problems: [] })
})

test('a hub that stops gives up what is asked and what waits', async () => {
  const asked = ['web', 'shop'].map((name) => commander.preview(A, name).catch((error: unknown) => error))
  await commandOf(A)
  commander.stop()
  for (const error of await Promise.all(asked)) expect(error).toMatchObject({ code: 'Aborted' })
})

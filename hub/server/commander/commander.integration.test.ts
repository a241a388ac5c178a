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
    message: 'the agent sent only 1 parts of its answer within 1.5 s',
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

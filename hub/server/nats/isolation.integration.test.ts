// What an agent may do over NATS and what it may not: our own permissions and streams on a real nats-server. Every probe
// that must be refused to the agent is also made with the hub's rights, so that a probe that could never work shows up.
import { makeRunFolder } from '@fairlead/e2e/harness/guardian'
import { getNatsBinary } from '@fairlead/e2e/harness/nats'
import { waitFor } from '@fairlead/e2e/harness/wait'
import { createNkey } from '@fairlead/shared/nkey'
import {
  agentInboxPrefix,
  answerSubject,
  blobGetSubject,
  blobSubject,
  desiredGetSubject,
  desiredSubject,
  doorbellSubject,
  eventSubject,
  heartbeatSubject,
  STREAMS,
  statusSubject,
} from '@fairlead/shared/subjects'
import { type JetStreamClient, type JetStreamManager, jetstream, jetstreamManager } from '@nats-io/jetstream'
import { createInbox, headers, type Msg, type MsgHdrs, type NatsConnection } from '@nats-io/transport-node'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import {
  connectAgent,
  enrolAgent,
  newClusterId,
  startTestLink,
  type TestAgent,
  type TestLink,
} from '../link.test-support.ts'
import { signClaims } from './claims.ts'
import { agentUserJwt } from './trust.ts'

const A = newClusterId()
const B = newClusterId()
const SECRET = 'document-of-b'
const DENIED = /permission/i

let link: TestLink
let hub: NatsConnection
let js: JetStreamClient
let jsm: JetStreamManager
let a: TestAgent
let b: TestAgent
let agent: NatsConnection
let victim: NatsConnection
let violations: string[]
let heard: string[]

beforeAll(async () => {
  link = await startTestLink(await getNatsBinary(), { dataDir: makeRunFolder('link') })
  hub = link.connections.hub
  js = jetstream(hub)
  jsm = await jetstreamManager(hub)
  const enrol = async (id: string): Promise<TestAgent> => {
    const user = createNkey('U')
    return { id, user, credentials: await link.link.issuer.issue(id, user.publicKey) }
  }
  a = await enrol(A)
  b = await enrol(B)
  await jsm.consumers.add(STREAMS.status, { durable_name: 'hub', ack_policy: 'explicit' })
})

afterAll(async () => {
  await link?.stop()
})

beforeEach(async () => {
  await js.publish(desiredSubject(A, 'main'), 'document-of-a')
  await js.publish(desiredSubject(B, 'main'), SECRET)
  await js.publish(blobSubject('b10b'), 'blob')
  await js.publish(statusSubject(B), 'status-of-b')
  await js.publish(eventSubject(B), 'event-of-b')
  violations = []
  heard = []
  agent = await connectAgent(a)
  victim = await connectAgent(b)
  followErrors(agent)
  const hear = (error: Error | null, message: Msg): void => {
    if (!error) heard.push(`${message.subject}=${message.string()}`)
  }
  victim.subscribe(doorbellSubject(B), { callback: hear })
  victim.subscribe(`${agentInboxPrefix(B)}.>`, { callback: hear })
  await victim.flush()
})

afterEach(async () => {
  await Promise.all([agent.close(), victim.close()])
})

function followErrors(connection: NatsConnection): void {
  void (async () => {
    for await (const status of connection.status()) if (status.type === 'error') violations.push(status.error.message)
  })()
}

const lastOf = async (stream: string, subject: string): Promise<string | undefined> =>
  (await jsm.streams.getMessage(stream, { last_by_subj: subject }))?.string()

/** A round trip on the connection: everything sent before was dealt with. */
async function settle(connection: NatsConnection): Promise<void> {
  const closed = connection.closed().then(() => {})
  await Promise.race([connection.flush(), closed]).catch(() => {})
  // What the server passes on within itself has been passed on once the hub gets its own request answered after it.
  await jsm.getAccountInfo()
}

async function isRefused(connection: NatsConnection, subject: string, body: string): Promise<string> {
  try {
    const reply = await connection.request(subject, body, { timeout: 2_000 })
    const code = reply.headers?.code ?? 0
    return code >= 400 || /"error"/.test(reply.string()) ? `refused ${code}` : `answered ${reply.string()}`
  } catch (error) {
    return DENIED.test(String(error)) ? 'denied' : String(error)
  }
}

describe('an agent can do its work', () => {
  test('it reads its own documents and the encrypted artifacts', async () => {
    const request = (subject: string) => agent.request(subject, '', { timeout: 2_000 })
    expect((await request(desiredGetSubject(A, 'main'))).string()).toBe('document-of-a')
    expect((await request(blobGetSubject('b10b'))).string()).toBe('blob')
    expect((await request(desiredGetSubject(A, 'cmd'))).headers?.code).toBe(404)
  })

  test('its reports are acknowledged by the streams', async () => {
    for (const [stream, subject] of [
      ['STATUS', statusSubject(A)],
      ['EVENTS', eventSubject(A)],
    ] as const) {
      const ack = (await agent.request(subject, 'report', { timeout: 2_000 })).json<{ stream: string; seq: number }>()
      expect(ack.stream).toBe(stream)
      expect(await lastOf(stream, subject)).toBe('report')
    }
  })

  test('its heartbeats reach the hub, and the hub rings its doorbell without the document', async () => {
    const got: string[] = []
    const take = (error: Error | null, message: Msg) =>
      void (error ?? got.push(`${message.subject}=${message.string()}`))
    const beats = hub.subscribe('up.*.hb', { callback: take })
    agent.subscribe(doorbellSubject(A), { callback: take })
    await Promise.all([hub.flush(), agent.flush()])
    agent.publish(heartbeatSubject(A), 'beat')
    await js.publish(desiredSubject(A, 'main'), 'new')
    await waitFor('heartbeat and doorbell', () => got.length === 2)
    expect(got.sort()).toEqual([`${doorbellSubject(A, 'main')}=`, `${heartbeatSubject(A)}=beat`])
    beats.unsubscribe()
  })
})

const GET = `$JS.API.DIRECT.GET.${STREAMS.desired}`
const json = (value: unknown): string => JSON.stringify(value)

test('an agent’s answer reaches the hub, and nobody else', async () => {
  const got: string[] = []
  const sub = hub.subscribe('up.*.answer', {
    callback: (_error, message) => void got.push(`${message.subject}=${message.string()}`),
  })
  await hub.flush()
  agent.publish(answerSubject(A), 'part')
  await waitFor('the answer', () => got.length === 1)
  expect(got).toEqual([`${answerSubject(A)}=part`])
  expect(heard.join()).not.toContain('part')
  sub.unsubscribe()
})

describe('an agent cannot read what is not its own', () => {
  const reads: readonly (readonly [string, string, string])[] = [
    ['another cluster’s document by subject', `${GET}.desired.${B}.main`, ''],
    ['a wildcard for every cluster’s document', `${GET}.desired.*.main`, ''],
    ['the whole stream by wildcard', `${GET}.desired.>`, ''],
    ['any message by sequence', GET, json({ seq: 1 })],
    ['the last message of another subject', GET, json({ last_by_subj: `desired.${B}.main` })],
    ['the next message of a foreign filter', GET, json({ next_by_subj: `desired.${B}.>`, seq: 1 })],
    ['many last messages', GET, json({ multi_last: [`desired.${B}.>`] })],
    ['a blob that is not an artifact', `$JS.API.DIRECT.GET.${STREAMS.blobs}.blob.${B}.h`, ''],
    ['a message through the stream API by sequence', '$JS.API.STREAM.MSG.GET.DESIRED', json({ seq: 1 })],
    [
      'a message through the stream API by subject',
      '$JS.API.STREAM.MSG.GET.DESIRED',
      json({ last_by_subj: `desired.${B}.main` }),
    ],
    ['the list of clusters in a stream', '$JS.API.STREAM.INFO.DESIRED', json({ subjects_filter: '>' })],
    ['the streams', '$JS.API.STREAM.LIST', ''],
    ['the names of the streams', '$JS.API.STREAM.NAMES', ''],
    ['the account', '$JS.API.INFO', ''],
    ['another cluster’s status', `$JS.API.DIRECT.GET.STATUS.up.${B}.status`, ''],
    ['the hub’s consumers', '$JS.API.CONSUMER.NAMES.STATUS', ''],
  ]
  test.each(reads)('%s', async (_name, subject, body) => {
    expect(await isRefused(agent, subject, body)).toBe('denied')
    const withHubRights = await isRefused(hub, subject, body)
    expect(withHubRights).not.toBe('denied')
    expect(violations.length).toBeGreaterThan(0)
  })

  test.each([
    json({ seq: 1 }),
    json({ last_by_subj: `desired.${B}.main` }),
    json({ next_by_subj: `desired.${B}.>`, seq: 1 }),
    json({ multi_last: ['desired.>'] }),
  ])('another document by its own subject with the body %s', async (body) => {
    const reply = await agent.request(desiredGetSubject(A, 'main'), body, { timeout: 2_000 })
    expect(reply.headers?.code).toBeGreaterThanOrEqual(400)
    expect(reply.string()).not.toContain(SECRET)
  })
})

describe('an agent cannot make or use consumers', () => {
  const config = (filter: string | undefined, more: object) =>
    json({
      stream_name: 'DESIRED',
      config: { deliver_policy: 'all', ack_policy: 'none', filter_subject: filter, ...more },
    })
  const foreign = `desired.${B}.main`
  const own = `desired.${A}.main`
  const CREATE = '$JS.API.CONSUMER.CREATE.DESIRED'
  const both = { filter_subjects: [foreign, own] }
  const probes: readonly (readonly [string, string, (inbox: string) => string])[] = [
    ['by the old API', CREATE, (inbox) => config(foreign, { deliver_subject: inbox })],
    [
      'durable',
      '$JS.API.CONSUMER.DURABLE.CREATE.DESIRED.x1',
      (inbox) => config(foreign, { durable_name: 'x1', deliver_subject: inbox }),
    ],
    ['without a filter', `${CREATE}.x2`, (inbox) => config(undefined, { name: 'x2', deliver_subject: inbox })],
    [
      'with a foreign filter',
      `${CREATE}.x3.${foreign}`,
      (inbox) => config(foreign, { name: 'x3', deliver_subject: inbox }),
    ],
    [
      'with another filter in the body',
      `${CREATE}.x4.${own}`,
      (i) => config(foreign, { name: 'x4', deliver_subject: i }),
    ],
    [
      'with many filters in the body',
      `${CREATE}.x5.${own}`,
      (i) => config(undefined, { name: 'x5', deliver_subject: i, ...both }),
    ],
    ['with no filter in the body', `${CREATE}.x6.${own}`, (i) => config(undefined, { name: 'x6', deliver_subject: i })],
    [
      'of another stream in the body',
      `${CREATE}.x7.${own}`,
      (inbox) => json({ stream_name: 'BLOBS', config: { name: 'x7', deliver_subject: inbox, filter_subject: own } }),
    ],
    ['with its own filter', `${CREATE}.x8.${own}`, (inbox) => config(own, { name: 'x8', deliver_subject: inbox })],
    [
      'that deliver to another agent',
      `${CREATE}.x9.${own}`,
      () => config(own, { name: 'x9', deliver_subject: doorbellSubject(B, 'main') }),
    ],
  ]
  test.each(probes)('%s', async (_name, subject, body) => {
    const got: string[] = []
    const inbox = createInbox(agentInboxPrefix(A))
    agent.subscribe(inbox, { callback: (_error, message) => void got.push(message.string()) })
    expect(await isRefused(agent, subject, body(inbox))).toBe('denied')
    await settle(agent)
    expect(got).toEqual([])
    expect(heard.filter((text) => text.includes('document'))).toEqual([])
  })

  test.each([
    ['steal from the hub’s', '$JS.API.CONSUMER.MSG.NEXT.STATUS.hub', json({ batch: 1, no_wait: true })],
    ['delete the hub’s', '$JS.API.CONSUMER.DELETE.STATUS.hub', ''],
  ])('%s', async (_name, subject, body) => {
    expect(await isRefused(agent, subject, body)).toBe('denied')
    expect((await jsm.consumers.info(STREAMS.status, 'hub')).name).toBe('hub')
  })
})

describe('an agent cannot administer', () => {
  test.each([
    ['$JS.API.STREAM.PURGE.DESIRED', ''],
    ['$JS.API.STREAM.DELETE.EVENTS', ''],
    ['$JS.API.STREAM.UPDATE.DESIRED', json({ name: 'DESIRED', subjects: ['desired.*.*'] })],
    ['$JS.API.STREAM.CREATE.EVIL', json({ name: 'EVIL', mirror: { name: 'DESIRED' } })],
    ['$JS.API.STREAM.MSG.DELETE.DESIRED', json({ seq: 1 })],
    ['$JS.API.STREAM.SNAPSHOT.DESIRED', json({ deliver_subject: `${agentInboxPrefix(A)}.snapshot` })],
    ['$SYS.REQ.USER.INFO', ''],
    ['$SYS.REQ.SERVER.PING', ''],
    ['$SYS.REQ.SERVER.PING.CONNZ', ''],
    ['$SYS.REQ.ACCOUNT.PING.CONNZ', ''],
    ['$SYS.REQ.CLAIMS.UPDATE', 'x'],
    ['$SYS.REQ.CLAIMS.DELETE', 'x'],
  ])('%s', async (subject, body) => {
    expect(await isRefused(agent, subject, body)).toBe('denied')
    expect(await lastOf(STREAMS.desired, desiredSubject(B, 'main'))).toBe(SECRET)
    expect((await jsm.streams.names().next()).sort()).toEqual(['BLOBS', 'DESIRED', 'EVENTS', 'STATUS'])
  })
})

describe('an agent cannot listen to', () => {
  const subjects = [
    ...['>', '*.*', '_INBOX.>', '_IA.>', `_IA.${B}.>`, '_IH.>', 'down.>', `down.${B}.>`, 'down.*.notify.*', 'up.>'],
    ...[`up.${B}.answer`, `up.${A}.answer`, 'up.*.answer'],
    ...[`up.${B}.hb`, 'desired.>', 'blob.>', '$KV.>', '$JS.>', '$JS.API.>', '$JS.EVENT.ADVISORY.>', '$SYS.>', '_R_.>'],
    ...['$JS.ACK.>', '$NRG.>', `down.${A}.>`, `up.${A}.status`],
  ]
  test.each(subjects.flatMap((subject) => [[subject, undefined] as const, [subject, 'q'] as const]))(
    '%s in queue %s',
    async (subject, queue) => {
      const got: string[] = []
      const take = (error: Error | null, message: Msg) => void (error ?? got.push(message.subject))
      agent.subscribe(subject, { callback: take, ...(queue !== undefined && { queue }) })
      await agent.flush()
      await js.publish(desiredSubject(B, 'main'), SECRET)
      await victim.request(statusSubject(B), 'status-of-b', { timeout: 2_000 })
      victim.publish(heartbeatSubject(B), 'beat')
      victim.publish(answerSubject(B), 'answer')
      await settle(victim)
      await settle(agent)
      expect(got).toEqual([])
      expect(violations.join()).toMatch(DENIED)
    },
  )
})

describe('an agent cannot write as anybody else', () => {
  test.each([
    ['another cluster’s status', statusSubject(B)],
    ['another cluster’s events', eventSubject(B)],
    ['another cluster’s heartbeat', heartbeatSubject(B)],
    ['another cluster’s answer', answerSubject(B)],
    ['an answer by wildcard', 'up.*.answer'],
    ['every status by wildcard', 'up.*.status'],
    ['another cluster’s document', desiredSubject(B, 'main')],
    ['another cluster’s command', desiredSubject(B, 'cmd')],
    ['its own document', desiredSubject(A, 'main')],
    ['an artifact', blobSubject('b10b')],
    ['another cluster’s doorbell', doorbellSubject(B, 'main')],
    ['its own doorbell', doorbellSubject(A, 'main')],
    ['another cluster’s inbox', `${agentInboxPrefix(B)}.x.1`],
    ['the hub’s inbox', '_IH.x.1'],
    ['a key-value bucket', '$KV.registry.secret'],
    ['a subject of nobody', `up.${A}.rpc.echo`],
  ])('%s', async (_name, subject) => {
    const beats: string[] = []
    const take = (_error: Error | null, message: Msg): void => void beats.push(message.subject)
    const subs = ['up.*.hb', 'up.*.answer'].map((wanted) => hub.subscribe(wanted, { callback: take }))
    agent.publish(subject, 'EVIL')
    await settle(agent)
    expect(violations.join()).toMatch(DENIED)
    expect(heard.join()).not.toContain('EVIL')
    expect(beats).toEqual([])
    await expectUntouched()
    for (const sub of subs) sub.unsubscribe()
  })
})

async function expectUntouched(): Promise<void> {
  expect(await lastOf(STREAMS.desired, desiredSubject(B, 'main'))).toBe(SECRET)
  expect(await lastOf(STREAMS.desired, desiredSubject(A, 'main'))).toBe('document-of-a')
  expect(await lastOf(STREAMS.desired, desiredSubject(B, 'cmd'))).toBeUndefined()
  expect(await lastOf(STREAMS.status, statusSubject(B))).toBe('status-of-b')
  expect(await lastOf(STREAMS.events, eventSubject(B))).toBe('event-of-b')
  expect(await lastOf(STREAMS.blobs, blobSubject('b10b'))).toBe('blob')
}

describe('an agent cannot make the server write for it by a reply subject', () => {
  const targets = [
    ...[desiredSubject(B, 'main'), desiredSubject(B, 'cmd'), doorbellSubject(B, 'main'), doorbellSubject(B, 'cmd')],
    ...[`${agentInboxPrefix(B)}.guess.1`, statusSubject(B), eventSubject(B), '_IH.guess.1', '$KV.registry.secret'],
    ...['$JS.API.STREAM.PURGE.DESIRED', '$JS.API.STREAM.DELETE.DESIRED', '$SYS.REQ.CLAIMS.UPDATE'],
  ]
  test.each(targets)('%s', async (reply) => {
    // The control: with the hub's rights the very same trick writes where it points, so it is a real one.
    if (reply === desiredSubject(B, 'cmd')) {
      hub.publish(desiredGetSubject(A, 'main'), '', { reply })
      await waitFor('the trick to work in the HUB account', () => lastOf(STREAMS.desired, reply))
      await jsm.streams.purge(STREAMS.desired, { filter: reply })
    }
    const applied: string[] = []
    const pull = async (): Promise<void> => {
      const message = await victim.request(desiredGetSubject(B, 'main'), '', { timeout: 2_000 })
      if ((message.headers?.code ?? 0) < 400) applied.push(message.string())
    }
    for (const [subject, body] of [
      [desiredGetSubject(A, 'main'), ''],
      [blobGetSubject('b10b'), ''],
      [statusSubject(A), 'EVIL'],
      [eventSubject(A), 'EVIL'],
      [heartbeatSubject(A), 'EVIL'],
      [answerSubject(A), 'EVIL'],
    ] as const) {
      agent.publish(subject, body, { reply })
    }
    await settle(agent)
    // Our own status arrived, so the requests were served; its acknowledgement went nowhere that matters.
    await waitFor('the status of A', async () => (await lastOf(STREAMS.status, statusSubject(A))) === 'EVIL')
    await settle(hub)
    await pull()
    expect(applied).toEqual([SECRET])
    await expectUntouched()
  })
})

describe('headers do no harm to others', () => {
  const withHeader = (name: string, value: string): MsgHdrs => {
    const header = headers()
    header.set(name, value)
    return header
  }

  test.each(['all', 'sub'])('a rollup of its status (%s) deletes nobody’s', async (scope) => {
    agent.publish(statusSubject(A), 'EVIL', { headers: withHeader('Nats-Rollup', scope) })
    await settle(agent)
    expect(await lastOf(STREAMS.status, statusSubject(B))).toBe('status-of-b')
  })

  test.each([
    ['Nats-Msg-Id', 'guess'],
    ['Nats-Expected-Last-Sequence', '1'],
    ['Nats-TTL', '1s'],
  ])('%s keeps no other agent from reporting', async (name, value) => {
    agent.publish(eventSubject(A), 'EVIL', { headers: withHeader(name, value) })
    await settle(agent)
    const ack = (await victim.request(eventSubject(B), 'next', { timeout: 2_000 })).json<{ duplicate?: boolean }>()
    expect(ack.duplicate).toBeUndefined()
    expect(await lastOf(STREAMS.events, eventSubject(B))).toBe('next')
  })
})

describe('limits', () => {
  test('a message of more than 64 KiB is refused', async () => {
    const { info } = agent
    expect(info?.max_payload).toBe(65_536)
    if (info) info.max_payload = 1_000_000_000
    agent.publish(statusSubject(A), new Uint8Array(70_000))
    await waitFor('the server to refuse it', () => agent.isClosed() || violations.length > 0)
    expect(await lastOf(STREAMS.status, statusSubject(A))).not.toHaveLength(70_000)
  })

  test('more than 16 subscriptions are refused', async () => {
    for (let index = 0; index < 30; index++) agent.subscribe(doorbellSubject(A), { callback: () => {} })
    await settle(agent)
    await waitFor('the server to refuse them', () => violations.some((text) => /subscriptions/i.test(text)))
  })
})

describe('identities cannot be made up', () => {
  const name26 = 'a'.repeat(26)
  test.each([
    ...['*', '>', 'a.b', 'c1', 'c10', 'c1-a', '', name26.toUpperCase(), `${name26}a`, `${'a'.repeat(25)}*`],
    ...[`${'a'.repeat(25)}é`, `${name26}\n`, ` ${name26.slice(1)}`, '{{name()}}'],
  ])('the hub issues nothing for the cluster id %j', async (id) => {
    await expect(link.link.issuer.issue(id, createNkey('U').publicKey)).rejects.toMatchObject({
      code: 'InvalidArgument',
    })
  })

  test('the hub issues nothing for what is not a user’s public key', async () => {
    for (const key of ['', 'U', '*', createNkey('A').publicKey, createNkey('U').seed]) {
      await expect(link.link.issuer.issue(A, key)).rejects.toMatchObject({ code: 'InvalidArgument' })
    }
  })

  test('another agent’s JWT is useless without its key', async () => {
    await expect(connectAgent(b, { signer: a.user })).rejects.toThrow(/authorization/i)
  })

  test('an edited JWT is refused', async () => {
    const [header, body = '', signature] = a.credentials.userJwt.split('.')
    const claims = { ...JSON.parse(Buffer.from(body, 'base64url').toString()), name: B }
    const edited = [header, Buffer.from(JSON.stringify(claims)).toString('base64url'), signature].join('.')
    await expect(connectAgent(a, { jwt: () => edited })).rejects.toThrow(/authorization/i)
  })

  test('a JWT that an agent signs for itself is refused', async () => {
    const { trust } = link.link
    const own = createNkey('A')
    for (const account of [trust.agents, trust.hub]) {
      const nats = { type: 'user' as const, issuer_account: account.publicKey, pub: {}, sub: {} }
      const forged = signClaims({ name: A, sub: a.user.publicKey, nats }, own)
      await expect(connectAgent(a, { jwt: () => forged })).rejects.toThrow(/authorization/i)
    }
  })

  test('the key that signs agents opens no other account', async () => {
    const { trust } = link.link
    for (const account of [trust.hub, trust.system]) {
      const nats = { type: 'user' as const, issuer_account: account.publicKey, subs: -1, data: -1, payload: -1 }
      const jwt = signClaims({ name: A, sub: a.user.publicKey, nats }, trust.agentRole)
      await expect(connectAgent(a, { jwt: () => jwt })).rejects.toThrow(/authorization/i)
    }
  })

  test('the key that signs agents cannot widen their permissions', async () => {
    const { trust } = link.link
    const nats = { type: 'user' as const, issuer_account: trust.agents.publicKey, pub: { allow: ['>'] }, subs: -1 }
    const jwt = signClaims({ name: A, sub: a.user.publicKey, nats }, trust.agentRole)
    await expect(connectAgent(a, { jwt: () => jwt })).rejects.toThrow(/authorization/i)
  })

  test('an expired JWT is refused', async () => {
    const jwt = agentUserJwt(link.link.trust, A, a.user.publicKey, Math.floor(Date.now() / 1000) - 1)
    await expect(connectAgent(a, { jwt: () => jwt })).rejects.toThrow(/expired|authorization/i)
  })

  test('every agent gets an identity of its own', async () => {
    const other = await enrolAgent(link)
    const connection = await connectAgent(other)
    expect(await isRefused(connection, desiredGetSubject(A, 'main'), '')).toBe('denied')
    await connection.close()
  })
})

// The embedded nats-server and the credentials of agents through revocation, expiry, restarts and crashes.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { rm, stat, writeFile } from 'node:fs/promises'
import { get } from 'node:https'
import path from 'node:path'
import { makeRunFolder } from '@fairlead/e2e/harness/guardian'
import { getNatsBinary } from '@fairlead/e2e/harness/nats'
import { takePort } from '@fairlead/e2e/harness/ports'
import { waitFor } from '@fairlead/e2e/harness/wait'
import { createLogger, silentLogger } from '@fairlead/shared/logger'
import { desiredSubject, STREAMS } from '@fairlead/shared/subjects'
import { jetstream, jetstreamManager } from '@nats-io/jetstream'
import { afterEach, expect, test } from 'vitest'
import { connectAgent, enrolAgent, startTestLink, type TestLink } from '../link.test-support.ts'
import { endOrphan } from './orphan.ts'
import { Presence } from './presence.ts'
import { checkServerBinary } from './server-binary.ts'
import { watchViolations } from './violations.ts'

const links: TestLink[] = []
const start = async (options: Partial<Parameters<typeof startTestLink>[1]> = {}): Promise<TestLink> => {
  const link = await startTestLink(await getNatsBinary(), { dataDir: makeRunFolder('link'), ...options })
  links.push(link)
  return link
}

afterEach(async () => {
  for (const link of links.splice(0)) await link.stop()
})

const pidOf = (link: TestLink): Promise<number> => link.natsPid()

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0)
  } catch {
    return false
  }
}

test('a revoked agent is disconnected, and nobody else is', async () => {
  const link = await start()
  const agents = await Promise.all(Array.from({ length: 10 }, () => enrolAgent(link)))
  const connections = await Promise.all(agents.map((agent) => connectAgent(agent)))
  const [revoked, ...others] = agents
  if (!revoked) throw new Error('no agent')
  await link.link.issuer.revoke(revoked.user.publicKey)
  await connections[0]?.closed()
  await expect(connectAgent(revoked)).rejects.toThrow(/revoked|authorization/i)
  for (const connection of connections.slice(1)) await connection.flush()
  expect(others).toHaveLength(9)
  await Promise.all(connections.map((connection) => connection.close()))
})

test('many revocations within one second all hold', async () => {
  const link = await start()
  const agents = await Promise.all(Array.from({ length: 20 }, () => enrolAgent(link)))
  for (const agent of agents) await link.link.issuer.revoke(agent.user.publicKey)
  for (const agent of agents) await expect(connectAgent(agent)).rejects.toThrow(/revoked|authorization/i)
})

test('a revocation by a clock that was set back holds for credentials that were issued before', async () => {
  const link = await start()
  const agent = await enrolAgent(link)
  const { publicKey } = agent.user
  const now = Date.now()
  await link.store.db
    .insertInto('revoked_keys')
    .values({ public_key: publicKey, revoked_at: now - 3_600_000, expires_at: now + 172_800_000 })
    .execute()
  await link.link.pushClaims()
  await expect(connectAgent(agent)).rejects.toThrow(/revoked|authorization/i)
})

test('a revocation holds after a restart of the hub, also when NATS has lost its files', async () => {
  const link = await start()
  const agent = await enrolAgent(link)
  await link.link.issuer.revoke(agent.user.publicKey)
  await link.stop()
  links.length = 0
  await rm(path.join(link.dataDir, 'nats', 'jwt'), { recursive: true })
  await start({ dataDir: link.dataDir })
  await expect(connectAgent(agent)).rejects.toThrow(/revoked|authorization/i)
})

test('a JWT ends the connection when it expires, and a renewed one opens it again', async () => {
  const link = await start({ credentialLifetimeMs: 2_000 })
  const agent = await enrolAgent(link)
  const connection = await connectAgent(agent)
  await connection.closed()
  const isRefused = async (): Promise<boolean> => {
    try {
      await (await connectAgent(agent)).close()
      return false
    } catch (error) {
      return /expired|authorization/i.test(String(error))
    }
  }
  await waitFor('the expired JWT to be refused', isRefused)
  const renewed = await link.link.issuer.issue(agent.id, agent.user.publicKey)
  await (await connectAgent({ ...agent, credentials: renewed })).close()
})

test('streams, port and agents’ credentials survive a restart of the hub', async () => {
  const link = await start()
  const agent = await enrolAgent(link)
  await jetstream(link.connections.hub).publish(desiredSubject(agent.id, 'main'), 'kept')
  await link.stop()
  links.length = 0
  const again = await start({ dataDir: link.dataDir })
  expect(again.link.publicUrls).toEqual(link.link.publicUrls)
  const manager = await jetstreamManager(again.connections.hub)
  const kept = await manager.streams.getMessage(STREAMS.desired, { last_by_subj: desiredSubject(agent.id, 'main') })
  expect(kept?.string()).toBe('kept')
  await (await connectAgent(agent)).close()
})

test('nats-server killed with SIGKILL is started again with its data, and the hub and the agents find it', async () => {
  const link = await start()
  const agent = await enrolAgent(link)
  const connection = await connectAgent(agent, { reconnect: true, reconnectTimeWait: 50, maxReconnectAttempts: -1 })
  await jetstream(link.connections.hub).publish(desiredSubject(agent.id, 'main'), 'kept')
  const pid = await pidOf(link)
  const reconnected = new Promise<void>((resolve) => link.link.onReconnect('hub', resolve))
  process.kill(pid, 'SIGKILL')
  await reconnected
  expect(await pidOf(link)).not.toBe(pid)
  const request = () => connection.request(`$JS.API.DIRECT.GET.DESIRED.${desiredSubject(agent.id, 'main')}`)
  const reply = await waitFor('the agent to be served', request)
  expect(reply.string()).toBe('kept')
  await connection.close()
})

test('the orphan of a killed hub is ended before its files are used again', async () => {
  const link = await start()
  const folder = path.join(link.dataDir, 'nats')
  const config = path.join(folder, 'nats-server.conf')
  await link.stop()
  links.length = 0
  const orphan = spawn(await getNatsBinary(), ['-c', config], { stdio: 'ignore' })
  try {
    await waitFor('the orphan to be up', async () => (await pidOf(link)) === orphan.pid)
    const again = await start({ dataDir: link.dataDir })
    expect(isAlive(orphan.pid ?? 0) && orphan.exitCode === null && orphan.signalCode === null).toBe(false)
    expect(await pidOf(again)).not.toBe(orphan.pid)
  } finally {
    orphan.kill('SIGKILL')
  }
})

test('a pid file that names another process ends nothing', async () => {
  const link = await start()
  await link.stop()
  links.length = 0
  const bystander = spawn('sleep', ['60'], { stdio: 'ignore' })
  await once(bystander, 'spawn')
  try {
    const pidFile = path.join(link.dataDir, 'nats', 'nats-server.pid')
    await writeFile(pidFile, `${bystander.pid}\n`)
    await endOrphan(pidFile, path.join(link.dataDir, 'nats', 'nats-server.conf'), silentLogger)
    expect(bystander.exitCode).toBeNull()
    expect(bystander.signalCode).toBeNull()
  } finally {
    bystander.kill('SIGKILL')
  }
})

test('a stop ends nats-server', async () => {
  const link = await start()
  const pid = await pidOf(link)
  await link.link.stop()
  expect(isAlive(pid)).toBe(false)
})

test('connects and disconnects are seen at once, by key, and after a reconnect of the hub', async () => {
  const link = await start()
  const agent = await enrolAgent(link)
  const seen: string[] = []
  const presence = new Presence({
    system: link.connections.system,
    account: link.link.trust.agents.publicKey,
    findClusterId: async (key) => (key === agent.user.publicKey ? agent.id : undefined),
    onConnected: (id) => seen.push(`+${id}`),
    onDisconnected: (id) => seen.push(`-${id}`),
    logger: silentLogger,
  })
  const early = await connectAgent(agent, { name: 'pretends-to-be-somebody' })
  await presence.resync()
  await waitFor('the connect', () => seen.length === 1)
  const second = await connectAgent(agent)
  await early.close()
  // One connection of two: still connected.
  await second.flush()
  await second.close()
  await waitFor('the disconnect', () => seen.length === 2)
  expect(seen).toEqual([`+${agent.id}`, `-${agent.id}`])
  const later = await connectAgent(agent, { reconnect: true, reconnectTimeWait: 20, maxReconnectAttempts: -1 })
  await waitFor('the connect', () => seen.length === 3)
  await later.close()
})

test('an agent that connects while the connections are being listed counts as connected', async () => {
  const link = await start()
  const [early, late] = [await enrolAgent(link), await enrolAgent(link)]
  const seen: string[] = []
  const connections = [await connectAgent(early)]
  const presence = new Presence({
    system: link.connections.system,
    account: link.link.trust.agents.publicKey,
    findClusterId: async (key) => {
      if (key !== early.user.publicKey) return late.id
      // The list has been read and does not hold this one.
      connections.push(await connectAgent(late))
      await waitFor('the connect', () => seen.includes(`+${late.id}`))
      return early.id
    },
    onConnected: (id) => seen.push(`+${id}`),
    onDisconnected: (id) => seen.push(`-${id}`),
    logger: silentLogger,
  })
  await presence.resync()
  expect(seen).toEqual([`+${late.id}`, `+${early.id}`])
  await Promise.all(connections.map((connection) => connection.close()))
})

test('an agent that tries what it may not is told of, by its cluster’s name, once for all its tries', async () => {
  const link = await start()
  const agent = await enrolAgent(link)
  const lines: string[] = []
  const stop = watchViolations({
    logFile: link.link.logFile ?? '',
    findCluster: async (key) => (key === agent.user.publicKey ? { id: agent.id, name: 'prod' } : undefined),
    logger: createLogger({ name: 'hub', stream: { write: (line) => void lines.push(line) } }),
    everyMs: 200,
  })
  const connection = await connectAgent(agent, { name: 'pretends-to-be-somebody' })
  connection.publish('up.other.status')
  connection.publish(desiredSubject(agent.id, 'main'))
  await connection.flush()
  await waitFor('the warning', () => lines.length > 0)
  await stop()
  await connection.close()
  const told = lines.map((line) => JSON.parse(line))
  expect(told[0]).toMatchObject({ level: 'warn', cluster: 'prod', clusterId: agent.id })
  expect(told.reduce((sum, { count }) => sum + count, 0)).toBe(2)
  expect(told.at(-1).subject).toBe(desiredSubject(agent.id, 'main'))
})

test('a binary that is missing or no nats-server is refused with what to do', async () => {
  await expect(checkServerBinary('/no/such/nats-server')).rejects.toThrow(/--nats-server.*--nats-url/)
  await expect(checkServerBinary(process.execPath)).rejects.toThrow(/needs nats-server 2\.14\.0 or newer/)
})

test('the hub’s keys are readable by their owner alone', async () => {
  const link = await start()
  for (const name of ['nats-operator.nk', 'nats-role-agent.nk']) {
    expect((await stat(path.join(link.dataDir, 'keys', name))).mode & 0o777).toBe(0o600)
  }
})

test('NATS is served over WebSocket too, with the same certificate, and agents are told where', async () => {
  const port = await takePort()
  const link = await start({ websocketListen: `127.0.0.1:${port}` })
  const [tcp, websocket] = (await enrolAgent(link)).credentials.natsUrls
  expect(tcp).toMatch(/^tls:\/\/127\.0\.0\.1:/)
  expect(websocket).toBe(`wss://127.0.0.1:${port}`)
  const headers = {
    Connection: 'Upgrade',
    Upgrade: 'websocket',
    'Sec-WebSocket-Version': '13',
    'Sec-WebSocket-Key': 'a2V5a2V5a2V5a2V5a2V5aw==',
  }
  const request = get({ host: '127.0.0.1', port, path: '/', ca: link.pki.caPem, headers })
  const [response] = (await once(request, 'upgrade')) as [{ statusCode: number }]
  expect(response.statusCode).toBe(101)
  request.destroy()
})

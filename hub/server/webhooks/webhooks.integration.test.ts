// Webhooks over real connections, and on to Git through a real tracker.
import { type IncomingMessage, request } from 'node:http'
import { request as tlsRequest } from 'node:https'
import { connect } from 'node:net'
import path from 'node:path'
import { create, toJsonString } from '@bufbuild/protobuf'
import { type GitServer, startGitServer } from '@fairlead/e2e/harness/git-server'
import { makeRunFolder } from '@fairlead/e2e/harness/guardian'
import { takePort } from '@fairlead/e2e/harness/ports'
import { waitFor } from '@fairlead/e2e/harness/wait'
import { ApplicationSpecSchema, RepositorySpecSchema } from '@fairlead/proto/definitions'
import { Lifecycle } from '@fairlead/shared/lifecycle'
import { silentLogger } from '@fairlead/shared/logger'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { parseHubConfig } from '../config.ts'
import { openPki, type Pki } from '../pki/pki.ts'
import { openStore, type Store } from '../store/store.ts'
import { createTracker, type Tracker } from '../tracker/tracker.ts'
import { startWebhookListener } from '../webhook-listener.ts'
import { githubPing, HOSTS, type SampleDelivery } from './deliveries.test-support.ts'
import { createWebhooks, WEBHOOK_MAX_BYTES, type Webhooks, type WebhooksOptions } from './webhooks.ts'

const secret = 'the secret of the shop'
const environment = { FAIRLEAD_GIT_SHOP: secret, FAIRLEAD_GIT_OTHER: 'another secret' }
const after = 'b'.repeat(40)
const url = 'https://git.example.com/acme/shop'

let webhooks: Webhooks | undefined
let port = 0
let pushes: { repository: string; refs: string[] }[] = []

beforeEach(() => {
  pushes = []
})
afterEach(async () => {
  await webhooks?.stop()
  webhooks = undefined
})

async function listen(options: Partial<WebhooksOptions> = {}): Promise<void> {
  webhooks = createWebhooks({
    host: '127.0.0.1',
    port: 0,
    tls: undefined,
    readRepositories: async () => [
      { name: 'shop', url: `${url}.git`, secretFrom: 'env:FAIRLEAD_GIT_SHOP' },
      { name: 'shop-too', url, secretFrom: 'env:FAIRLEAD_GIT_SHOP' },
      { name: 'other', url, secretFrom: 'env:FAIRLEAD_GIT_OTHER' },
      { name: 'broken', url: 'https://git.example.com/broken', secretFrom: 'env:MISSING' },
    ],
    secrets: { folders: [], environment },
    onPush: (repository, pushed) => void pushes.push({ repository, refs: pushed.map(({ name }) => name) }),
    logger: silentLogger,
    ...options,
  })
  port = (await webhooks.start()).port
}

interface Answer {
  readonly status: number
  readonly headers: IncomingMessage['headers']
  readonly text: string
}

async function post(
  { headers, body }: SampleDelivery,
  { to = '/hooks', method = 'POST', ca }: { to?: string; method?: string; ca?: string } = {},
): Promise<Answer> {
  const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>()
  const options = {
    host: '127.0.0.1',
    port,
    path: to,
    method,
    headers: { ...headers, 'content-length': Buffer.byteLength(body) },
  }
  const sent = ca === undefined ? request(options, resolve) : tlsRequest({ ...options, ca }, resolve)
  sent.on('error', reject)
  sent.end(body)
  const response = await promise
  const chunks: Buffer[] = []
  for await (const chunk of response) chunks.push(chunk)
  const { date: _, ...rest } = response.headers
  return { status: response.statusCode ?? 0, headers: rest, text: Buffer.concat(chunks).toString() }
}

const push = { url, secret, after }

test.each(Object.entries(HOSTS))(
  'a push of %s wakes the repositories whose address and secret it has',
  async (_, host) => {
    await listen()
    expect(await post(host(push))).toMatchObject({ status: 202 })
    expect(pushes).toEqual(['shop', 'shop-too'].map((repository) => ({ repository, refs: ['refs/heads/main'] })))
    pushes = []
    expect(await post(host(push), { to: '/hooks/shop' })).toMatchObject({ status: 202 })
    expect(pushes.map(({ repository }) => repository)).toEqual(['shop'])
  },
)

test('whoever is not believed gets the same answer, whether the repository exists or not', async () => {
  await listen({ limits: { perPeer: 100, total: 100, windowMs: 60_000 } })
  const wrong = HOSTS.github({ ...push, secret: 'wrong' })
  const answers = [
    await post(wrong),
    await post(wrong, { to: '/hooks/shop' }),
    await post(wrong, { to: '/hooks/nowhere' }),
    await post(wrong, { to: '/hooks/broken' }),
    await post(HOSTS.github({ ...push, url: 'https://git.example.com/acme/nowhere' })),
    await post(HOSTS.github({ ...push, url: 'https://git.example.com/broken' })),
    await post({ headers: {}, body: '{}' }),
    await post({ headers: {}, body: 'no json' }),
    await post({ headers: {}, body: 'no json' }, { to: '/hooks/shop' }),
    await post({ headers: { authorization: 'Bearer ' }, body: '' }, { to: '/hooks/shop' }),
  ]
  expect(new Set(answers.map((answer) => JSON.stringify(answer))).size).toBe(1)
  expect(answers[0]).toMatchObject({ status: 401 })
  expect(pushes).toEqual([])
  expect(webhooks?.refused()).toBe(answers.length)
})

test('a delivery that is sent again is acted upon once', async () => {
  await listen()
  const delivery = HOSTS.github(push)
  for (let round = 0; round < 3; round++)
    expect(await post(delivery, { to: '/hooks/shop' })).toMatchObject({ status: 202 })
  expect(pushes).toHaveLength(1)
  await post(HOSTS.github(push), { to: '/hooks/shop' })
  expect(pushes).toHaveLength(2)
})

test('pings are answered and wake nobody; an empty body with the token does', async () => {
  await listen()
  expect(await post(githubPing(push))).toMatchObject({ status: 202 })
  expect(pushes).toEqual([])
  const curl = { headers: { authorization: `Bearer ${secret}` }, body: '' }
  expect(await post(curl, { to: '/hooks/shop' })).toMatchObject({ status: 202 })
  expect(pushes).toEqual([{ repository: 'shop', refs: [] }])
  const odd = { headers: { authorization: `Bearer ${secret}` }, body: 'no json' }
  expect(await post(odd, { to: '/hooks/shop' })).toMatchObject({ status: 400 })
})

test('after many wrong signatures the door is shut for a while, for right ones too', async () => {
  await listen({ limits: { perPeer: 3, total: 100, windowMs: 60_000 } })
  for (let round = 0; round < 3; round++) {
    expect(await post(HOSTS.github({ ...push, secret: 'wrong' }))).toMatchObject({ status: 401 })
  }
  const shut = await post(HOSTS.github(push))
  expect(shut.status).toBe(429)
  expect(Number(shut.headers['retry-after'])).toBeGreaterThan(0)
  expect(pushes).toEqual([])
  expect(webhooks?.refused()).toBe(4)
})

test('only POST to /hooks is taken, and nothing larger than the limit', async () => {
  await listen()
  const delivery = HOSTS.github(push)
  expect(await post(delivery, { to: '/' })).toMatchObject({ status: 404 })
  expect(await post(delivery, { to: '/hooksx' })).toMatchObject({ status: 404 })
  expect(await post({ headers: {}, body: '' }, { method: 'GET' })).toMatchObject({ status: 405 })
  const large = { headers: { ...delivery.headers }, body: 'x'.repeat(WEBHOOK_MAX_BYTES + 1) }
  expect(await post(large)).toMatchObject({ status: 413 })
  const socket = connect(port, '127.0.0.1')
  let text = ''
  socket.on('data', (chunk) => {
    text += chunk.toString()
  })
  socket.on('error', () => undefined)
  socket.write('POST /hooks HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n')
  const chunk = `10000\r\n${'x'.repeat(65_536)}\r\n`
  for (let sent = 0; sent <= WEBHOOK_MAX_BYTES; sent += 65_536) socket.write(chunk)
  await waitFor('the refusal of a body without a length', () => text.startsWith('HTTP/1.1 413'))
  socket.destroy()
  expect(await post(delivery)).toMatchObject({ status: 202 })
})

let git: GitServer
let store: Store
let tracker: Tracker
let lifecycle: Lifecycle
let pki: Pki

async function startHub(tls: string): Promise<void> {
  git = await startGitServer()
  store = await openStore(':memory:', { logger: silentLogger })
  const dataDir = makeRunFolder('hooks')
  pki = await openPki(path.join(dataDir, 'pki'), [])
  tracker = createTracker({ store, gitDir: path.join(dataDir, 'git'), onChange: () => undefined, logger: silentLogger })
  lifecycle = new Lifecycle(silentLogger)
  port = await takePort()
  const config = parseHubConfig({ dataDir, webhookListen: `127.0.0.1:${port}`, webhookTls: tls }, environment)
  const secrets = { folders: config.allowedFileCredentialDirs, environment: config.credentialEnvironment }
  webhooks = await startWebhookListener(config, { store, pki, tracker, secrets, logger: silentLogger }, lifecycle)
}

async function stopHub(): Promise<void> {
  await lifecycle.stop()
  webhooks = undefined
  await tracker.stop()
  await store.close()
  await git.stop()
}

async function define(repositoryUrl: string): Promise<void> {
  const common = { uid: 'x', generation: 1, labels: '{}', created_at: 0 }
  const spec = create(RepositorySpecSchema, {
    url: repositoryUrl,
    pollInterval: { seconds: 3600n },
    webhook: { secretFrom: 'env:FAIRLEAD_GIT_SHOP' },
  })
  const source = { repository: 'shop', ref: 'main' }
  await store.db
    .insertInto('repositories')
    .values({ ...common, name: 'shop', spec: toJsonString(RepositorySpecSchema, spec) })
    .execute()
  await store.db
    .insertInto('applications')
    .values({
      ...common,
      name: 'web',
      spec: toJsonString(ApplicationSpecSchema, create(ApplicationSpecSchema, { source })),
      deleting: null,
    })
    .execute()
}

async function seen(commit: string): Promise<void> {
  await waitFor(`the commit ${commit}`, async () => {
    const row = await store.db.selectFrom('refs').select('commit').executeTakeFirst()
    return row?.commit === commit
  })
}

test('a push is seen by its webhook long before the next poll, over TLS by the own certificate', async () => {
  await startHub('own')
  try {
    const repository = git.createRepository('shop')
    const first = repository.commit({ a: '1' })
    await define(repository.url)
    tracker.start()
    await seen(first)
    const second = repository.commit({ a: '2' })
    const delivery = HOSTS.gitea({ ...push, url: repository.url.replace(/\.git$/, ''), after: second })
    expect(await post(delivery, { ca: pki.caPem })).toMatchObject({ status: 202 })
    await seen(second)
  } finally {
    await stopHub()
  }
})

test('a webhook that comes before Git serves the commit has it looked for until it is there', async () => {
  await startHub('off')
  try {
    const repository = git.createRepository('shop')
    const first = repository.commit({ a: '1' })
    await define(repository.url)
    tracker.start()
    await seen(first)
    repository.git('commit', '-q', '--allow-empty', '-m', 'not pushed yet')
    const second = repository.git('rev-parse', 'HEAD')
    git.resetCounts()
    expect(await post(HOSTS.github({ ...push, after: second }), { to: '/hooks/shop' })).toMatchObject({ status: 202 })
    await waitFor('three looks', () => git.counts.requests >= 3)
    repository.git('push', '-q', 'origin', 'main')
    await seen(second)
  } finally {
    await stopHub()
  }
})

// The tracker against git's own http-backend, on good and on bad days.
import { createHash, randomBytes } from 'node:crypto'
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import {
  createServer,
  request as forward,
  type IncomingHttpHeaders,
  type IncomingMessage,
  type RequestListener,
  type Server,
  type ServerResponse,
} from 'node:http'
import { createServer as createTlsServer } from 'node:https'
import type { Socket } from 'node:net'
import path from 'node:path'
import { create, fromJsonString, toJsonString } from '@bufbuild/protobuf'
import { type GitRepository, type GitServer, runGit, startGitServer } from '@fairlead/e2e/harness/git-server'
import { makeRunFolder } from '@fairlead/e2e/harness/guardian'
import { waitFor } from '@fairlead/e2e/harness/wait'
import { type Problem, ProblemSchema } from '@fairlead/proto/common'
import { ApplicationSpecSchema, RepositorySpecSchema } from '@fairlead/proto/definitions'
import { createLogger, silentLogger } from '@fairlead/shared/logger'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { openPki } from '../pki/pki.ts'
import { openStore, type Store } from '../store/store.ts'
import { createTracker, type Tracker, type TrackerOptions } from './tracker.ts'

const signal = new AbortController().signal

let git: GitServer
let store: Store
let gitDir: string
let tracker: Tracker | undefined
let changes = 0
let names = 0
let others: Server[] = []

beforeEach(async () => {
  git = await startGitServer()
  store = await openStore(':memory:', { logger: silentLogger })
  gitDir = path.join(makeRunFolder('tracker'), 'git')
  changes = 0
})
afterEach(async () => {
  await tracker?.stop()
  tracker = undefined
  for (const server of others) {
    server.closeAllConnections()
    server.close()
  }
  others = []
  await store.close()
  await git.stop()
})

function start(options: Partial<TrackerOptions> = {}): Tracker {
  tracker = createTracker({ store, gitDir, onChange: () => changes++, logger: silentLogger, ...options })
  tracker.start()
  return tracker
}

async function restart(options: Partial<TrackerOptions> = {}): Promise<Tracker> {
  await tracker?.stop()
  git.resetCounts()
  return start(options)
}

interface RepositoryOptions {
  readonly credentials?: string
  readonly caPem?: string
  readonly seconds?: number
}

async function define(
  name: string,
  url: string,
  { credentials, caPem = '', seconds = 3600 }: RepositoryOptions = {},
): Promise<void> {
  const spec = create(RepositorySpecSchema, {
    url,
    caPem,
    pollInterval: { seconds: BigInt(seconds) },
    ...(credentials && { credentials: { from: credentials } }),
  })
  const row = { spec: toJsonString(RepositorySpecSchema, spec) }
  await store.db
    .insertInto('repositories')
    .values({ name, uid: name, generation: 1, labels: '{}', created_at: 0, ...row })
    .onConflict((conflict) => conflict.column('name').doUpdateSet(row))
    .execute()
}

async function follow(repository: string, ref = '', folder = ''): Promise<void> {
  const spec = create(ApplicationSpecSchema, { source: { repository, ref, path: folder } })
  const name = `app-${names++}`
  await store.db
    .insertInto('applications')
    .values({
      name,
      uid: name,
      generation: 1,
      labels: '{}',
      created_at: 0,
      spec: toJsonString(ApplicationSpecSchema, spec),
      deleting: null,
    })
    .execute()
}

async function shop(files: Record<string, string> = { 'web/a.yaml': 'a: 1\n' }): Promise<GitRepository> {
  const repository = git.createRepository('shop')
  repository.commit(files)
  await define('shop', repository.url)
  await follow('shop', 'main', 'web')
  return repository
}

async function commitOf(repository: string, ref: string): Promise<string | undefined> {
  const table = store.db.selectFrom('refs').select('commit')
  return (await table.where('repository', '=', repository).where('ref', '=', ref).executeTakeFirst())?.commit
}

function parseProblem(json: string | null | undefined): Problem | undefined {
  return json ? fromJsonString(ProblemSchema, json) : undefined
}

async function problemOf(repository: string): Promise<Problem | undefined> {
  const table = store.db.selectFrom('repository_state').select('problem')
  return parseProblem((await table.where('repository', '=', repository).executeTakeFirst())?.problem)
}

async function refProblemOf(repository: string, ref: string): Promise<Problem | undefined> {
  const table = store.db.selectFrom('refs').select('problem')
  return parseProblem(
    (await table.where('repository', '=', repository).where('ref', '=', ref).executeTakeFirst())?.problem,
  )
}

/** The folder of the repository's packs. */
function packFolder(repository = 'shop'): string {
  const folder = path.join(gitDir, `${repository}.git`)
  const [name = 'none', ...others] = readdirSync(folder)
  expect(others).toEqual([])
  return path.join(folder, name, 'objects/pack')
}

const seen = (commit: string, ref = 'main', repository = 'shop') =>
  waitFor(`${repository} ${ref} at ${commit}`, async () => (await commitOf(repository, ref)) === commit)
const broken = (code: string, repository = 'shop') =>
  waitFor(`${repository} to be ${code}`, async () => (await problemOf(repository))?.code === code)
const healed = (repository = 'shop') =>
  waitFor(`${repository} to have no problem`, async () => (await problemOf(repository)) === undefined)

async function textOf(commit: string, file: string, repository = 'shop'): Promise<string | undefined> {
  const tree = await tracker?.readTree(repository, commit, '', signal)
  const bytes = tree?.files.find((each) => each.path === file)?.bytes
  return bytes && Buffer.from(bytes).toString()
}

async function serve(listener: RequestListener): Promise<string> {
  const server = createServer(listener)
  others.push(server)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  return `http://127.0.0.1:${address !== null && typeof address === 'object' ? address.port : 0}/shop.git`
}

/** Passes requests on to the Git host with other headers; answers itself where `answer` does. */
function proxy(
  headersFor: (headers: IncomingHttpHeaders) => IncomingHttpHeaders,
  answer: (request: IncomingMessage, response: ServerResponse) => boolean = () => false,
): RequestListener {
  return (request, response) => {
    if (answer(request, response)) return
    const { method, url = '/', headers } = request
    const target = { port: git.port, host: '127.0.0.1', method, path: url, headers: headersFor(headers) }
    const upstream = forward(target, (reply) => {
      response.writeHead(reply.statusCode ?? 502, reply.headers)
      reply.pipe(response)
    })
    upstream.on('error', () => response.destroy())
    request.pipe(upstream)
  }
}

/** True for a fetch, false for listings of refs. */
function isFetch({ method, headers }: IncomingMessage): boolean {
  return method === 'POST' && headers['git-protocol'] === undefined
}

test('a commit is seen at a poll, fetched once and read', async () => {
  const repository = await shop({ 'web/a.yaml': 'a: 1\n', 'web/sub/b.yaml': 'b: 1\n', 'c.yaml': 'c: 1\n' })
  start()
  await seen(repository.head())
  const tree = await tracker?.readTree('shop', repository.head(), 'web', signal)
  expect(tree?.files.map(({ path: file, mode, bytes }) => [file, mode, Buffer.from(bytes).toString()])).toEqual([
    ['web/a.yaml', '100644', 'a: 1\n'],
    ['web/sub/b.yaml', '100644', 'b: 1\n'],
  ])
  expect(tree?.treeOid).toBe(repository.git('rev-parse', 'HEAD:web'))
  expect(changes).toBe(1)
})

test('the poll interval is kept: a push is seen without anybody asking', async () => {
  const repository = await shop()
  await define('shop', repository.url, { seconds: 1 })
  start()
  await seen(repository.head())
  await seen(repository.commit({ 'web/a.yaml': 'a: 2\n' }))
  expect(await textOf(repository.head(), 'web/a.yaml')).toBe('a: 2\n')
})

test('20 commits come as 20 small fetches, and every file is right each time', async () => {
  const files = Object.fromEntries(
    Array.from({ length: 300 }, (_, index) => [`web/${index}.yaml`, `# ${index}\n${'x: 1\n'.repeat(20 + index)}`]),
  )
  const repository = await shop(files)
  start()
  await seen(repository.head())
  const whole = git.counts.bytesSent
  for (let round = 0; round < 20; round++) {
    const change = {
      [`web/${round}.yaml`]: `${files[`web/${round}.yaml`]}round: ${round}\n`,
      [`web/new-${round}.yaml`]: `n: ${round}\n`,
    }
    Object.assign(files, change)
    const commit = repository.commit(change)
    git.resetCounts()
    tracker?.refresh('shop')
    await seen(commit)
    // The changed trees and files, but not the others.
    expect(git.counts.bytesSent).toBeLessThan(whole / 2)
    const tree = await tracker?.readTree('shop', commit, '', signal)
    expect(
      Object.fromEntries((tree?.files ?? []).map((file) => [file.path, Buffer.from(file.bytes).toString()])),
    ).toEqual(files)
  }
})

test('many applications of one repository cost one poll and one fetch', async () => {
  const repository = await shop({ 'a/x.yaml': 'x: 1\n', 'b/x.yaml': 'x: 2\n' })
  repository.commit({ 'a/x.yaml': 'x: 3\n' }, { branch: 'next' })
  repository.tag('v1')
  for (let index = 0; index < 20; index++) await follow('shop', ['main', 'next', 'v1', ''][index % 4], 'a')
  start()
  await seen(repository.head('next'), 'next')
  await seen(repository.head(), '')
  // One listing, and a fetch of two requests for each of the two commits.
  expect(git.counts).toMatchObject({ requests: 5, fetches: 3 })
  expect(changes).toBe(1)
})

test('a hundred refreshes at once are one poll, and none is lost', async () => {
  const repository = await shop()
  start()
  await seen(repository.head())
  git.resetCounts()
  git.delayMs = 100
  const commit = repository.commit({ 'web/a.yaml': 'a: 2\n' })
  for (let index = 0; index < 100; index++) tracker?.refresh('shop')
  await seen(commit)
  expect(git.counts.requests).toBeLessThanOrEqual(6)
})

test('a branch, an annotated tag, a light tag, the default branch and a commit id are followed', async () => {
  const repository = await shop()
  const first = repository.head()
  repository.git('tag', '-a', '-m', 'release', 'v1.0.0', first)
  repository.git('push', '-q', 'origin', 'v1.0.0')
  repository.tag('light', first)
  const second = repository.commit({ 'web/a.yaml': 'a: 2\n' })
  for (const ref of ['v1.0.0', 'light', first, '', 'refs/heads/main']) await follow('shop', ref)
  start()
  await seen(second)
  for (const ref of ['v1.0.0', 'light', first]) await seen(first, ref)
  for (const ref of ['', 'refs/heads/main']) await seen(second, ref)
  expect(await textOf(first, 'web/a.yaml')).toBe('a: 1\n')
  expect(await textOf(second, 'web/a.yaml')).toBe('a: 2\n')
})

test('a range of versions follows the newest tag, also when it moves or goes', async () => {
  const repository = await shop()
  const [first, second] = [repository.head(), repository.commit({ 'web/a.yaml': 'a: 2\n' })]
  repository.tag('v1.2.0', first)
  await follow('shop', 'semver:^1.2')
  await follow('shop', 'semver:^2')
  start()
  await seen(first, 'semver:^1.2')
  expect(await refProblemOf('shop', 'semver:^2')).toMatchObject({
    code: 'RefNotFound',
    message: 'no tag is in semver:^2; the newest are v1.2.0',
  })
  repository.git('tag', '-a', '-m', 'release', 'v1.10.0', second)
  repository.git('push', '-q', 'origin', 'v1.10.0')
  tracker?.refresh('shop')
  await seen(second, 'semver:^1.2')
  const resolved = await store.db.selectFrom('refs').select('resolved').where('ref', '=', 'semver:^1.2').execute()
  expect(resolved).toEqual([{ resolved: 'refs/tags/v1.10.0' }])
  const third = repository.commit({ 'web/a.yaml': 'a: 3\n' })
  repository.tag('v1.10.0', third)
  tracker?.refresh('shop')
  await seen(third, 'semver:^1.2')
  repository.git('push', '-q', 'origin', ':refs/tags/v1.10.0')
  tracker?.refresh('shop')
  await seen(first, 'semver:^1.2')
  repository.git('push', '-q', 'origin', ':refs/tags/v1.2.0')
  tracker?.refresh('shop')
  await waitFor('no tag', async () => (await refProblemOf('shop', 'semver:^1.2'))?.code === 'RefNotFound')
  expect(await commitOf('shop', 'semver:^1.2')).toBe(first)
})

test('a force-push and a reset are followed without the history', async () => {
  const repository = await shop()
  const first = repository.head()
  start()
  await seen(first)
  const rewritten = repository.forcePush({ 'web/b.yaml': 'b: 1\n' })
  tracker?.refresh('shop')
  await seen(rewritten)
  expect(await textOf(rewritten, 'web/b.yaml')).toBe('b: 1\n')
  expect(await textOf(rewritten, 'web/a.yaml')).toBeUndefined()
  const later = repository.commit({ 'web/b.yaml': 'b: 2\n' })
  tracker?.refresh('shop')
  await seen(later)
  repository.reset(rewritten)
  tracker?.refresh('shop')
  await seen(rewritten)
  expect(await textOf(rewritten, 'web/b.yaml')).toBe('b: 1\n')
})

test('while the server is away the last commit stays, status says since when, and recovery clears it', async () => {
  const repository = await shop()
  start()
  const commit = repository.head()
  await seen(commit)
  await git.setFault('down')
  tracker?.refresh('shop')
  await broken('RepositoryUnreachable')
  const first = await problemOf('shop')
  expect(first?.since).toBeDefined()
  expect(first?.message).toContain('cannot be reached')
  await git.setFault('error')
  tracker?.refresh('shop')
  await waitFor('the reason to change', async () => (await problemOf('shop'))?.message.includes('500') === true)
  expect((await problemOf('shop'))?.since).toEqual(first?.since)
  expect(await commitOf('shop', 'main')).toBe(commit)
  expect(await textOf(commit, 'web/a.yaml')).toBe('a: 1\n')
  await git.setFault('none')
  tracker?.refresh('shop')
  await healed()
  expect(await commitOf('shop', 'main')).toBe(commit)
})

test('a repository that is missing is told apart, one that vanishes keeps its last commit', async () => {
  const repository = await shop()
  await define('nowhere', `${git.url}/nowhere.git`)
  start()
  await broken('RepositoryNotFound', 'nowhere')
  const commit = repository.head()
  await seen(commit)
  repository.delete()
  tracker?.refresh('shop')
  await broken('RepositoryNotFound')
  expect(await commitOf('shop', 'main')).toBe(commit)
  expect(await textOf(commit, 'web/a.yaml')).toBe('a: 1\n')
})

test('an empty repository is told apart from a missing branch, and both heal by a push', async () => {
  const repository = git.createRepository('shop')
  await define('shop', repository.url)
  await follow('shop', 'main')
  await follow('shop', 'later')
  start()
  await broken('RepositoryEmpty')
  const commit = repository.commit({ a: '1' })
  tracker?.refresh('shop')
  await seen(commit)
  await healed()
  expect((await refProblemOf('shop', 'later'))?.code).toBe('RefNotFound')
  const later = repository.commit({ b: '1' }, { branch: 'later' })
  tracker?.refresh('shop')
  await seen(later, 'later')
  expect(await refProblemOf('shop', 'later')).toBeUndefined()
  repository.deleteBranch('later')
  tracker?.refresh('shop')
  await waitFor('the branch to be missed', async () => (await refProblemOf('shop', 'later'))?.code === 'RefNotFound')
  expect(await commitOf('shop', 'later')).toBe(later)
})

test('a commit id that the server does not know is a problem of that ref alone', async () => {
  const repository = await shop()
  await follow('shop', '0123456789012345678901234567890123456789')
  start()
  await seen(repository.head())
  const problem = await refProblemOf('shop', '0123456789012345678901234567890123456789')
  expect(problem?.code).toBe('RefNotFound')
  expect(await problemOf('shop')).toBeUndefined()
})

test('a tag that names no commit is a problem of that ref alone, at every poll', async () => {
  const repository = await shop()
  await follow('shop', 'v1')
  repository.commit({ 'web/a.yaml': 'a: 1\n' })
  repository.tag('v1', 'HEAD:web/a.yaml')
  const running = start()
  await seen(repository.head())
  const refusal = async () => (await refProblemOf('shop', 'v1'))?.message.includes('is a blob, not a commit') === true
  await waitFor('the tag to be refused', refusal)
  // What was fetched of the tag is in the mirror now.
  const second = repository.commit({ 'web/a.yaml': 'a: 2\n' })
  running.refresh('shop')
  await seen(second)
  expect(await refusal()).toBe(true)
  repository.tag('v1')
  running.refresh('shop')
  await waitFor('the tag to be followed', async () => (await refProblemOf('shop', 'v1')) === undefined)
})

test('credentials come from a file or the environment, are read at each poll and are never logged', async () => {
  git.credentials = { username: 'bot', password: 'hunter2' }
  const folder = makeRunFolder('credentials')
  const file = path.join(folder, 'token')
  writeFileSync(file, 'bot:wrong-one\n')
  const repository = git.createRepository('shop')
  const commit = repository.commit({ 'web/a.yaml': 'a: 1\n' })
  await define('shop', repository.url, { credentials: `file:${file}` })
  await define('env', repository.url, { credentials: 'env:FAIRLEAD_GIT_SHOP' })
  await define('open', repository.url)
  await define('foreign', repository.url, { credentials: 'file:/etc/passwd' })
  for (const name of ['shop', 'env', 'open', 'foreign']) await follow(name, 'main')
  const lines: string[] = []
  const logger = createLogger({ name: 'hub', level: 'trace', stream: { write: (line) => void lines.push(line) } })
  const environment = { FAIRLEAD_GIT_SHOP: 'bot:hunter2' }
  start({ logger, credentials: { folders: [folder], environment } })
  await seen(commit, 'main', 'env')
  await broken('RepositoryAuthFailed')
  await broken('RepositoryAuthFailed', 'open')
  await broken('RepositoryAuthFailed', 'foreign')
  expect((await problemOf('foreign'))?.message).toContain('no folder that the hub may read')
  expect((await problemOf('open'))?.message).toContain('asks for credentials')
  writeFileSync(file, 'bot:hunter2\n')
  tracker?.refresh('shop')
  await seen(commit)
  rmSync(file)
  tracker?.refresh('shop')
  await broken('RepositoryAuthFailed')
  expect(await commitOf('shop', 'main')).toBe(commit)
  const everything =
    lines.join('') + JSON.stringify(await store.db.selectFrom('repository_state').selectAll().execute())
  expect(lines.length).toBeGreaterThan(3)
  for (const secret of ['hunter2', 'wrong-one', Buffer.from('bot:hunter2').toString('base64')]) {
    expect(everything).not.toContain(secret)
  }
})

test('a restart fetches nothing when nothing changed, and only the change when something did', async () => {
  const repository = await shop()
  start()
  const first = repository.head()
  await seen(first)
  await restart()
  await waitFor('a poll', () => git.counts.requests > 0)
  expect(await textOf(first, 'web/a.yaml')).toBe('a: 1\n')
  expect(git.counts).toMatchObject({ requests: 1 })
  const second = repository.commit({ 'web/a.yaml': 'a: 2\n' })
  mkdirSync(path.join(gitDir, 'shop.git/tmp-cut-off/objects'), { recursive: true })
  await restart()
  await seen(second)
  expect(git.counts.requests).toBe(3)
  expect(readdirSync(packFolder())).toHaveLength(4)
})

test('a mirror that was deleted is fetched again at the start', async () => {
  const repository = await shop()
  start()
  const commit = repository.head()
  await seen(commit)
  await tracker?.stop()
  rmSync(gitDir, { recursive: true })
  await restart()
  expect(await textOf(commit, 'web/a.yaml')).toBe('a: 1\n')
})

test.each([
  ['truncated', (bytes: Buffer) => bytes.subarray(0, bytes.length >> 1)],
  ['overwritten', (bytes: Buffer) => Buffer.alloc(bytes.length, 7)],
  [
    'changed in one byte',
    (bytes: Buffer) =>
      Buffer.concat([bytes.subarray(0, -30), Buffer.from([bytes.at(-30) ?? 0 ^ 0xff]), bytes.subarray(-29)]),
  ],
  ['emptied', () => Buffer.alloc(0)],
])('a mirror whose packs or indexes were %s is fetched again and read', async (_, damage) => {
  const repository = await shop(
    Object.fromEntries(Array.from({ length: 50 }, (_each, i) => [`web/${i}.yaml`, `i: ${i}\n`])),
  )
  start()
  const commit = repository.head()
  await seen(commit)
  for (const ending of ['.pack', '.idx']) {
    await tracker?.stop()
    const folder = packFolder()
    for (const name of readdirSync(folder)) {
      const file = path.join(folder, name)
      if (name.endsWith(ending)) writeFileSync(file, damage(readFileSync(file)))
    }
    await restart()
    const tree = await tracker?.readTree('shop', commit, 'web', signal)
    expect(tree?.files.map(({ bytes }) => Buffer.from(bytes).toString()).sort()).toEqual(
      Array.from({ length: 50 }, (_each, i) => `i: ${i}\n`).sort(),
    )
  }
})

test('a mirror that is deleted while the hub runs is fetched again when it is read', async () => {
  const repository = await shop()
  start()
  const commit = repository.head()
  await seen(commit)
  rmSync(path.join(gitDir, 'shop.git'), { recursive: true })
  const reads = await Promise.all(Array.from({ length: 10 }, () => textOf(commit, 'web/a.yaml')))
  expect(new Set(reads)).toEqual(new Set(['a: 1\n']))
})

test('an older commit can still be read after the mirror was lost, when the server gives it out', async () => {
  const repository = await shop()
  start()
  const first = repository.head()
  await seen(first)
  const second = repository.commit({ 'web/a.yaml': 'a: 2\n' })
  tracker?.refresh('shop')
  await seen(second)
  rmSync(path.join(gitDir, 'shop.git'), { recursive: true })
  expect(await textOf(first, 'web/a.yaml')).toBe('a: 1\n')
  expect(await textOf(second, 'web/a.yaml')).toBe('a: 2\n')
})

test('a server that hangs holds up no other repository, and its own poll ends by itself', async () => {
  const hanging = await serve(() => undefined)
  for (const name of ['h1', 'h2', 'h3', 'h4', 'h5', 'h6']) {
    await define(name, hanging)
    await follow(name, 'main')
  }
  const repository = await shop()
  start({ listTimeoutMs: 4_000 })
  await seen(repository.head())
  expect(await problemOf('h1')).toBeUndefined()
  await broken('RepositoryUnreachable', 'h6')
  expect((await problemOf('h1'))?.message).toContain('does not answer within 4000 ms')
})

test('a server that stops in the middle of a fetch is unreachable, not broken content', async () => {
  const repository = await shop()
  start({ fetchTimeoutMs: 500 })
  const first = repository.head()
  await seen(first)
  const second = repository.commit({ 'web/a.yaml': 'a: 2\n' })
  const breaksOff = (request: IncomingMessage, response: ServerResponse): boolean => {
    if (!isFetch(request)) return false
    response.write('0008NAK\n')
    return true
  }
  const slow = await serve(proxy((headers) => headers, breaksOff))
  await define('shop', slow)
  tracker?.refresh()
  await broken('RepositoryUnreachable')
  expect(await commitOf('shop', 'main')).toBe(first)
  await define('shop', repository.url)
  tracker?.refresh()
  await seen(second)
})

test.each([
  ['a web page', (): string => '<html>hello</html>'],
  ['nothing', (): string => ''],
  ['zeros', (): string => '0000000000000000000000'],
  ['packets that are no refs', (): string => '000ahello\n0000'],
  ['a packet that is cut short', (): string => 'ffffabc'],
  ['refs that are cut short', (): string => `003d${'a'.repeat(40)} refs/heads/main\n`],
])('a server that answers %s is reported as no Git server, and the last commit stays', async (_, body) => {
  const repository = await shop()
  start()
  const commit = repository.head()
  await seen(commit)
  await define('shop', await serve((_request, response) => response.end(body())))
  tracker?.refresh()
  await waitFor('a problem', async () => (await problemOf('shop')) !== undefined)
  expect(['RepositoryUnreachable', 'RepositoryEmpty']).toContain((await problemOf('shop'))?.code)
  expect(await commitOf('shop', 'main')).toBe(commit)
  expect(await textOf(commit, 'web/a.yaml')).toBe('a: 1\n')
})

const bomb = Buffer.from(`5041434b0000000200000001${'b0ffffffff7f'}`, 'hex')

test.each([
  ['nothing', '', 'FetchFailed'],
  ['no pack', '0008NAK\n0000', 'FetchFailed'],
  ['a pack of garbage', `0008NAK\n${packet('\x01PACK nothing of use')}0000`, 'FetchFailed'],
  ['a pack whose first object claims a terabyte', `0008NAK\n${packet(`\x01${packOf(bomb)}`)}0000`, 'LimitExceeded'],
  ['a packet that is cut short', '0008NAK\n0fff\x01PACK', 'FetchFailed'],
  ['an error', packet('ERR upload-pack: not today'), 'FetchFailed'],
  ['an error in the middle', `0008NAK\n${packet('\x01PACK')}${packet('\x03out of disk')}0000`, 'FetchFailed'],
  ['a web page', '<html>hello</html>', 'FetchFailed'],
])('a server that answers a fetch with %s is refused, and the last commit stays', async (_, answer, code) => {
  const repository = await shop()
  start()
  const commit = repository.head()
  await seen(commit)
  const listed = `${'a'.repeat(40)} refs/heads/main`
  const listing = `${packet('# service=git-upload-pack\n')}0000${packet(`${listed}\0side-band-64k shallow\n`)}0000`
  const evil = await serve((request, response) => {
    request.resume()
    const body = isFetch(request) ? answer : request.method === 'GET' ? listing : `${packet(`${listed}\n`)}0000`
    response.end(Buffer.from(body, 'latin1'))
  })
  await define('shop', evil)
  tracker?.refresh()
  await waitFor('the fetch to fail', async () => (await refProblemOf('shop', 'main'))?.code === code)
  expect(await commitOf('shop', 'main')).toBe(commit)
  expect(await textOf(commit, 'web/a.yaml')).toBe('a: 1\n')
})

function packet(text: string): string {
  return `${(text.length + 4).toString(16).padStart(4, '0')}${text}`
}

/** A pack with the checksum that it needs, as latin1. */
function packOf(bytes: Buffer): string {
  return Buffer.concat([bytes, createHash('sha1').update(bytes).digest()]).toString('latin1')
}

test('branches are followed in a repository whose default branch does not exist', async () => {
  const repository = await shop()
  runGit(repository.bare, ['symbolic-ref', 'HEAD', 'refs/heads/gone'])
  start()
  await seen(repository.head())
  const next = repository.commit({ 'web/a.yaml': 'a: 2\n' })
  tracker?.refresh('shop')
  await seen(next)
  expect(await textOf(next, 'web/a.yaml')).toBe('a: 2\n')
})

test('a merge of a branch that is older than the mirror is followed, and the pushes after it', async () => {
  const repository = await shop()
  const base = repository.head()
  for (let round = 0; round < 5; round++) repository.commit({ 'web/a.yaml': `a: ${round}\n` })
  start()
  await seen(repository.head())
  repository.git('checkout', '-q', '-b', 'topic', base)
  repository.commit({ 'web/topic.yaml': 't: 1\n' }, { branch: 'topic' })
  repository.git('checkout', '-q', 'main')
  repository.git('merge', '-q', '--no-ff', '-m', 'merge', 'topic')
  for (const text of ['b: 1\n', 'b: 2\n']) {
    const commit = repository.commit({ 'web/b.yaml': text })
    tracker?.refresh('shop')
    await seen(commit)
    expect(await textOf(commit, 'web/topic.yaml')).toBe('t: 1\n')
    expect(await textOf(commit, 'web/b.yaml')).toBe(text)
  }
})

test('a force-push on top of a long history costs no more than a few times the files', async () => {
  const repository = await shop()
  const random = (bytes: number): Buffer => randomBytes(bytes)
  const base = repository.head()
  for (let round = 0; round < 8; round++) repository.commit({ 'web/big.bin': random(1_000_000) })
  repository.commit({ 'web/big.bin': random(1_000) })
  start()
  await seen(repository.head())
  repository.git('checkout', '-q', '-B', 'main', base)
  for (let round = 0; round < 8; round++) repository.commit({ 'web/big.bin': random(1_000_000) })
  const rewritten = repository.commit({ 'web/big.bin': random(1_000) })
  git.resetCounts()
  tracker?.refresh('shop')
  await seen(rewritten)
  expect(await textOf(rewritten, 'web/a.yaml')).toBe('a: 1\n')
  expect(readdirSync(packFolder())).toHaveLength(2)
  expect(git.counts.bytesSent).toBeLessThan(6_000_000)
})

test('a pack that is too large is refused with the limit, and a smaller commit heals it', async () => {
  const repository = await shop()
  start({ maxPackBytes: 200_000, maxGitPackBytes: 0 })
  const commit = repository.head()
  await seen(commit)
  const random = Buffer.from(Array.from({ length: 300_000 }, () => Math.floor(Math.random() * 256)))
  repository.commit({ 'web/big.bin': random })
  tracker?.refresh('shop')
  await waitFor('the limit', async () => (await refProblemOf('shop', 'main'))?.code === 'LimitExceeded')
  expect((await refProblemOf('shop', 'main'))?.message).toContain('200000 bytes')
  expect(await commitOf('shop', 'main')).toBe(commit)
  const smaller = repository.remove('web/big.bin')
  tracker?.refresh('shop')
  await seen(smaller)
  expect(await refProblemOf('shop', 'main')).toBeUndefined()
})

test('a commit that is too large is not fetched again at each poll', async () => {
  const repository = await shop()
  await define('shop', repository.url, { seconds: 1 })
  start({ maxPackBytes: 200_000, maxGitPackBytes: 0 })
  await seen(repository.head())
  repository.commit({ 'web/big.bin': randomBytes(300_000) })
  tracker?.refresh('shop')
  await waitFor('the limit', async () => (await refProblemOf('shop', 'main'))?.code === 'LimitExceeded')
  git.resetCounts()
  await waitFor('three polls', () => git.counts.requests >= 3)
  expect(git.counts.refListings).toBe(0)
  expect(git.counts.bytesSent).toBeLessThan(10_000)
})

test('a redirect is followed on the same host, and nowhere else', async () => {
  const repository = await shop()
  const requests: string[] = []
  const elsewhere = await serve((request, response) => {
    requests.push(String(request.headers.authorization))
    response.end()
  })
  const moved = await serve((_request, response) => response.writeHead(301, { location: elsewhere }).end())
  await define('shop', moved, { credentials: 'env:TOKEN' })
  start({ credentials: { folders: [], environment: { TOKEN: 'hunter2' } } })
  await broken('RepositoryUnreachable')
  expect((await problemOf('shop'))?.message).toContain('redirects to')
  expect(requests).toEqual([])
  expect(repository.head()).toHaveLength(40)
})

test('a redirect on the same host is followed with the credentials', async () => {
  git.credentials = { username: 'bot', password: 'hunter2' }
  const repository = await shop()
  const isOld = (request: IncomingMessage, response: ServerResponse): boolean => {
    const url = request.url ?? ''
    if (!url.startsWith('/old/')) return false
    response.writeHead(301, { location: url.replace('/old/', '/') }).end()
    return true
  }
  const address = await serve(proxy((headers) => headers, isOld))
  await define('shop', address.replace('/shop.git', '/old/shop.git'), { credentials: 'env:TOKEN' })
  start({ credentials: { folders: [], environment: { TOKEN: 'bot:hunter2' } } })
  await seen(repository.head())
  expect(await textOf(repository.head(), 'web/a.yaml')).toBe('a: 1\n')
})

test('a server that speaks only the old protocol is followed, also through a force-push', async () => {
  const repository = await shop()
  repository.git('tag', '-a', '-m', 'release', 'v1.0.0')
  repository.git('push', '-q', 'origin', 'v1.0.0')
  const tagged = repository.head()
  await follow('shop', 'v1.0.0')
  await follow('shop', '')
  const old = proxy(({ 'git-protocol': _version, ...headers }) => headers)
  await define('shop', await serve(old))
  start()
  for (const ref of ['main', 'v1.0.0', '']) await seen(tagged, ref)
  const next = repository.commit({ 'web/a.yaml': 'a: 2\n' })
  tracker?.refresh('shop')
  await seen(next)
  expect(await textOf(next, 'web/a.yaml')).toBe('a: 2\n')
  const rewritten = repository.forcePush({ 'web/b.yaml': 'b: 1\n' })
  tracker?.refresh('shop')
  await seen(rewritten)
  expect(await textOf(rewritten, 'web/b.yaml')).toBe('b: 1\n')
  const empty = git.createRepository('empty')
  await define('empty', (await serve(old)).replace('/shop.git', `/${empty.name}.git`))
  await follow('empty')
  tracker?.refresh()
  await broken('RepositoryEmpty', 'empty')
})

test("a server with a CA of its own is read with the repository's caPem, and refused without", async () => {
  const repository = await shop()
  const pki = await openPki(makeRunFolder('pki'), [])
  const server = createTlsServer(
    { key: pki.serverKeyPem, cert: pki.serverChainPem },
    proxy((headers) => headers),
  )
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  try {
    const address = server.address()
    const url = `https://127.0.0.1:${address !== null && typeof address === 'object' ? address.port : 0}/shop.git`
    await define('shop', url)
    start()
    await broken('RepositoryUnreachable')
    expect((await problemOf('shop'))?.message).toMatch(/certificate/)
    await define('shop', url, { caPem: pki.caPem })
    tracker?.refresh()
    await seen(repository.head())
    await healed()
  } finally {
    server.closeAllConnections()
    server.close()
  }
})

test('a connection that the server closed meanwhile is not a problem', async () => {
  const repository = await shop()
  const connections = new Set<Socket>()
  const server = createServer(proxy((headers) => headers))
  others.push(server)
  server.on('connection', (socket) => connections.add(socket))
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  await define(
    'shop',
    `http://127.0.0.1:${address !== null && typeof address === 'object' ? address.port : 0}/shop.git`,
  )
  start()
  await seen(repository.head())
  for (let round = 0; round < 10; round++) {
    const commit = repository.commit({ 'web/a.yaml': `a: ${round}\n` })
    for (const socket of connections) socket.destroy()
    tracker?.refresh('shop')
    await seen(commit)
    expect(await problemOf('shop')).toBeUndefined()
  }
})

test('stopping ends polls and fetches that hang', async () => {
  await define('shop', await serve(() => undefined))
  await follow('shop', 'main')
  let asked = 0
  await define('other', await serve(() => asked++))
  await follow('other', 'main')
  // Longer than the test may take.
  const stopping = start({ listTimeoutMs: 600_000, fetchTimeoutMs: 600_000 })
  await waitFor('the poll to hang', () => asked > 0)
  await stopping.stop()
  expect(await problemOf('shop')).toBeUndefined()
})

test('a repository with SHA-256 ids is followed', async () => {
  const repository = git.createRepository('shop')
  for (const folder of [repository.bare, repository.workTree]) rmSync(folder, { recursive: true })
  const format = ['--object-format=sha256', '--initial-branch=main']
  runGit(git.folder, ['init', '-q', '--bare', ...format, repository.bare])
  runGit(repository.bare, ['config', 'http.receivepack', 'true'])
  runGit(repository.bare, ['config', 'uploadpack.allowAnySHA1InWant', 'true'])
  runGit(git.folder, ['init', '-q', ...format, repository.workTree])
  repository.git('remote', 'add', 'origin', repository.bare)
  const files = Object.fromEntries(
    Array.from({ length: 50 }, (_, index) => [`web/${index}.yaml`, `i: ${index}\n`.repeat(50)]),
  )
  const first = repository.commit(files)
  repository.git('tag', '-a', '-m', 'release', 'v1.0.0')
  repository.git('push', '-q', 'origin', 'v1.0.0')
  await define('shop', repository.url)
  for (const ref of ['main', 'semver:1', first]) await follow('shop', ref)
  start()
  for (const ref of ['main', 'semver:1', first]) await seen(first, ref)
  expect(first).toHaveLength(64)
  expect(await textOf(first, 'web/7.yaml')).toBe(files['web/7.yaml'])
  const second = repository.commit({ 'web/7.yaml': `${files['web/7.yaml']}more: 1\n` })
  tracker?.refresh('shop')
  await seen(second)
  expect(await textOf(second, 'web/7.yaml')).toBe(`${files['web/7.yaml']}more: 1\n`)
  expect(await textOf(second, 'web/8.yaml')).toBe(files['web/8.yaml'])
  git.resetCounts()
  tracker?.refresh('shop')
  await waitFor('a poll', () => git.counts.requests > 0)
  expect(git.counts).toMatchObject({ requests: 1, refListings: 0 })
})

test('other schemes and addresses with credentials are refused before anything is opened', async () => {
  for (const [index, url] of [
    'file:///etc',
    'ssh://git@host/x',
    'git@host:x.git',
    'ext::sh -c id',
    'http://user:pass@127.0.0.1/x',
  ].entries()) {
    await define(`r${index}`, url)
    await follow(`r${index}`)
  }
  start()
  for (const name of ['r0', 'r1', 'r2', 'r3', 'r4']) await broken('InvalidArgument', name)
})

test('more packs than the limit become one again, and everything can be read', async () => {
  const repository = await shop()
  start({ maxPacks: 5 })
  await seen(repository.head())
  let most = 0
  for (let round = 0; round < 8; round++) {
    const commit = repository.commit({ 'web/a.yaml': `a: ${round}\n` })
    tracker?.refresh('shop')
    await seen(commit)
    most = Math.max(most, readdirSync(packFolder()).length / 2)
  }
  expect(most).toBe(5)
  expect(readdirSync(packFolder()).length / 2).toBeLessThan(5)
  expect(await textOf(repository.head(), 'web/a.yaml')).toBe('a: 7\n')
})

test('definitions that change are followed at once; what nobody asks for any more is forgotten', async () => {
  const repository = await shop()
  const other = git.createRepository('other')
  const otherCommit = other.commit({ 'web/a.yaml': 'other: 1\n' })
  start()
  await seen(repository.head())
  await define('shop', other.url)
  tracker?.refresh()
  await seen(otherCommit)
  expect(await textOf(otherCommit, 'web/a.yaml')).toBe('other: 1\n')
  mkdirSync(path.join(gitDir, 'stale.git'))
  await store.db.deleteFrom('applications').execute()
  await store.db.deleteFrom('repositories').execute()
  tracker?.refresh()
  await waitFor('the rows to go', async () => (await commitOf('shop', 'main')) === undefined)
  await waitFor(
    'the mirrors to go',
    () => !existsSync(path.join(gitDir, 'shop.git')) && !existsSync(path.join(gitDir, 'stale.git')),
  )
  await expect(tracker?.readTree('shop', otherCommit, '', signal)).rejects.toMatchObject({ code: 'NotFound' })
})

test('a path that is missing, leads out or is a file is answered as such', async () => {
  const repository = await shop()
  const reader = start()
  const commit = repository.head()
  await seen(commit)
  await expect(reader.readTree('shop', commit, 'nowhere', signal)).rejects.toMatchObject({ code: 'PathNotFound' })
  await expect(reader.readTree('shop', commit, '../etc', signal)).rejects.toMatchObject({ code: 'UnsafePath' })
  await expect(reader.readTree('shop', commit, '/etc', signal)).rejects.toMatchObject({ code: 'UnsafePath' })
  const tree = await reader.readTree('shop', commit, './web//a.yaml', signal)
  expect(tree.files.map(({ path: file }) => file)).toEqual(['web/a.yaml'])
  await expect(reader.readTree('shop', commit, 'web', AbortSignal.abort())).rejects.toMatchObject({ code: 'Aborted' })
})

test('the tree ids of all applications come in one answer and change only where something changed', async () => {
  const repository = await shop({ 'a/x.yaml': 'x: 1\n', 'b/x.yaml': 'x: 1\n' })
  const reader = start()
  const first = repository.head()
  await seen(first)
  const before = await reader.findTreeOids('shop', first, ['a', 'b', 'c', ''], signal)
  expect(before[2]).toBeUndefined()
  const second = repository.commit({ 'a/x.yaml': 'x: 2\n' })
  reader.refresh('shop')
  await seen(second)
  const after = await reader.findTreeOids('shop', second, ['a', 'b', 'c', ''], signal)
  expect(after[0]).not.toBe(before[0])
  expect(after[1]).toBe(before[1])
  expect((await reader.readTree('shop', second, 'a', signal)).treeOid).toBe(after[0])
})

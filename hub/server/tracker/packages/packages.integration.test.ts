// Packages from a real OCI registry and a real Helm repository, published by the tools that people publish with.
import { createHash } from 'node:crypto'
import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import path from 'node:path'
import { archiveOf, type RegistryServer, startRegistry } from '@fairlead/e2e/harness/registry'
import { waitFor } from '@fairlead/e2e/harness/wait'
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest'
import { openTrackerBed, type TrackerBed } from '../tracker.test-support.ts'

let registry: RegistryServer
let bed: TrackerBed

beforeAll(async () => {
  registry = await startRegistry()
}, 300_000)
afterAll(() => registry?.stop())

beforeEach(async () => {
  bed = await openTrackerBed()
  registry.login = undefined
  registry.tokenRealm = undefined
  registry.blobsAt = undefined
  registry.tamper = undefined
  registry.requests.length = 0
})
afterEach(() => bed[Symbol.asyncDispose]())

const signal = new AbortController().signal
let names = 0
/** Repositories of the registry are shared by the tests of this file. */
const freshName = (): string => `team/app-${++names}`

const chart = (version: string, extra: Readonly<Record<string, string>> = {}) => ({
  'Chart.yaml': `apiVersion: v2\nname: web\nversion: ${version}\n`,
  'templates/a.yaml': `apiVersion: v1\nkind: ConfigMap\nmetadata: { name: a }\ndata: { version: "${version}" }\n`,
  ...extra,
})

test('an OCI artifact is followed by its tag: its digest is the commit, and what did not change is not downloaded again', async () => {
  const name = freshName()
  const first = await registry.publish(name, 'main', { 'a.yaml': 'a: 1\n', 'sub/b.yaml': 'b: 1\n' })
  await bed.define('app', { url: registry.urlOf(name) })
  await bed.follow('app')
  await bed.start()
  await bed.seen(first, 'app')
  expect(await bed.textOf('app', first, 'a.yaml')).toBe('a: 1\n')
  expect(await bed.textOf('app', first, 'sub/b.yaml')).toBe('b: 1\n')
  const second = await registry.publish(name, 'main', { 'a.yaml': 'a: 2\n', 'sub/b.yaml': 'b: 1\n' })
  registry.requests.length = 0
  bed.tracker.refresh('app')
  await bed.seen(second, 'app')
  expect(await bed.textOf('app', second, 'a.yaml')).toBe('a: 2\n')
  const [before, same] = await bed.tracker.findTreeOids('app', first, ['', 'sub'], signal)
  const [after, still] = await bed.tracker.findTreeOids('app', second, ['', 'sub'], signal)
  expect(after).not.toBe(before)
  expect(still).toBe(same)
  // The files of the second layer alone: no blob twice, and of the config none.
  expect(registry.requests.filter((request) => request.includes('/blobs/'))).toHaveLength(1)
  expect([...new Set(await requestsOfPolls('app'))]).toEqual([`HEAD /v2/${name}/manifests/main`])
})

test('refs of artifacts: latest where none is given, the newest version of a range, a digest, and a tag with a digest', async () => {
  const name = freshName()
  const digests: Record<string, string> = {}
  for (const tag of ['1.0.0', '1.2.0', '2.0.0-rc.1', 'latest', '1.2.0_build.7']) {
    digests[tag] = await registry.publish(name, tag, { 'a.yaml': `tag: ${tag}\n` })
  }
  await bed.define('app', { url: registry.urlOf(name) })
  const refs = [
    '',
    'semver:^1.0',
    `sha256:${digests['1.0.0']}`,
    `1.0.0@sha256:${digests['1.2.0']}`,
    'semver:9.x',
    'none',
    'v:1',
  ]
  for (const ref of refs) await bed.follow('app', ref)
  await bed.start()
  await bed.seen(digests.latest ?? '', 'app', '')
  await bed.seen(digests['1.2.0_build.7'] ?? '', 'app', 'semver:^1.0')
  await bed.seen(digests['1.0.0'] ?? '', 'app', `sha256:${digests['1.0.0']}`)
  await bed.seen(digests['1.2.0'] ?? '', 'app', `1.0.0@sha256:${digests['1.2.0']}`)
  await bed.broken('app', 'RefNotFound', 'no tag is in semver:9.x; the newest are 2.0.0-rc.1', 'semver:9.x')
  await bed.broken('app', 'RefNotFound', `${name} has no tag none`, 'none')
  await bed.broken('app', 'InvalidArgument', 'spec.source.chart is for Helm repositories', 'v:1')
})

test('charts of an OCI registry, pushed by Helm: one by its own address, and any below an address of charts', async () => {
  const folder = freshName()
  const old = await registry.pushChart(folder, chart('1.0.0+b1'))
  const digest = await registry.pushChart(folder, chart('1.1.0'))
  await bed.define('one', { url: registry.urlOf(`${folder}/web`) })
  await bed.follow('one', 'semver:1.x')
  await bed.define('charts', { url: registry.urlOf(folder), helm: {} })
  await bed.follow('charts', '', 'web')
  await bed.follow('charts', '1.0.0+b1', 'web')
  await bed.follow('charts', '', 'other')
  await bed.follow('charts', '')
  await bed.start()
  await bed.seen(digest, 'one', 'semver:1.x')
  await bed.seen(digest, 'charts', 'web:')
  await bed.seen(old, 'charts', 'web:1.0.0+b1')
  expect(await bed.textOf('charts', old, 'Chart.yaml')).toContain('version: 1.0.0+b1')
  expect(await bed.textOf('one', digest, 'templates/a.yaml')).toContain('version: "1.1.0"')
  await bed.broken('charts', 'RepositoryNotFound', 'knows no such repository', 'other:')
  await bed.broken('charts', 'InvalidArgument', 'name the chart in spec.source.chart', '')
})

test('charts of a Helm repository: the newest, a range, a version, a digest; its index is read again only when it changed', async () => {
  const digests: Record<string, string> = {}
  for (const version of ['1.9.0', '1.10.0', '2.0.0-beta.1']) digests[version] = await registry.addChart(chart(version))
  const newest = digests['1.10.0'] ?? ''
  await bed.define('charts', { url: registry.chartsUrl, helm: {} })
  for (const ref of ['', 'semver:~1.9', '2.0.0-beta.1', `1.10.0@sha256:${newest}`, `sha256:${newest}`, '3.0.0']) {
    await bed.follow('charts', ref, 'web')
  }
  await bed.follow('charts', `1.9.0@sha256:${newest}`, 'web')
  await bed.follow('charts', '', 'nothing')
  await bed.start()
  await bed.seen(newest, 'charts', 'web:')
  await bed.seen(digests['1.9.0'] ?? '', 'charts', 'web:semver:~1.9')
  await bed.seen(digests['2.0.0-beta.1'] ?? '', 'charts', 'web:2.0.0-beta.1')
  await bed.seen(newest, 'charts', `web:1.10.0@sha256:${newest}`)
  await bed.seen(newest, 'charts', `web:sha256:${newest}`)
  expect(await bed.textOf('charts', newest, 'Chart.yaml')).toContain('version: 1.10.0')
  await bed.broken('charts', 'RefNotFound', 'no version 3.0.0 of web', 'web:3.0.0')
  await bed.broken('charts', 'RefNotFound', 'not the digest that is asked for', `web:1.9.0@sha256:${newest}`)
  await bed.broken('charts', 'RefNotFound', 'no chart nothing', 'nothing:')
  expect([...new Set(await requestsOfPolls('charts'))]).toEqual(['GET /charts/index.yaml'])
})

test('an index without digests costs one download of each version, also of one that cannot be used', async () => {
  const good = await registry.addChart({ 'Chart.yaml': 'apiVersion: v2\nname: plain\nversion: 1.0.0\n' })
  await registry.addChart({ 'Chart.yaml': 'apiVersion: v2\nname: broken\nversion: 1.0.0\n' })
  const index = readFileSync(registry.indexFile, 'utf8').replace(/^ +digest: .*\n/gm, '')
  registry.tamper = (file) =>
    file.endsWith('/index.yaml') ? Buffer.from(index) : file.includes('broken') ? Buffer.from('no archive') : undefined
  await bed.define('charts', { url: registry.chartsUrl, helm: {}, pollInterval: { seconds: 1n } })
  for (const name of ['plain', 'broken']) await bed.follow('charts', '', name)
  await bed.start()
  await bed.seen(good, 'charts', 'plain:')
  await bed.broken('charts', 'FetchFailed', 'no tar archive', 'broken:')
  registry.requests.length = 0
  await waitFor(
    'three polls',
    () => registry.requests.filter((request) => request.endsWith('/index.yaml')).length === 3,
  )
  expect(registry.requests.filter((request) => request.endsWith('.tgz'))).toEqual([])
})

test('an archive that is not what the index says, or elsewhere than declared, is not taken, and stops no other chart', async () => {
  const good = await registry.addChart({
    ...chart('1.0.0'),
    'Chart.yaml': 'apiVersion: v2\nname: good\nversion: 1.0.0\n',
  })
  await registry.addChart({ ...chart('1.0.0'), 'Chart.yaml': 'apiVersion: v2\nname: altered\nversion: 1.0.0\n' })
  await registry.addChart({ ...chart('1.0.0'), 'Chart.yaml': 'apiVersion: v2\nname: away\nversion: 1.0.0\n' })
  const asked: string[] = []
  const elsewhere = await bed.serve((request, response) => {
    asked.push(`${request.url} ${request.headers.authorization}`)
    response.end(readFileSync(path.join(path.dirname(registry.indexFile), 'away-1.0.0.tgz')))
  })
  const index = readFileSync(registry.indexFile, 'utf8').replace('away-1.0.0.tgz', `${elsewhere}/away-1.0.0.tgz`)
  registry.tamper = (file) =>
    file.endsWith('/index.yaml') ? Buffer.from(index) : file.includes('altered') ? Buffer.from('x') : undefined
  registry.login = { kind: 'basic', username: 'bot', password: 'hunter2' }
  const spec = { url: registry.chartsUrl, helm: {}, credentials: { from: 'env:FAIRLEAD_GIT_CHARTS' } }
  await bed.define('charts', spec)
  for (const name of ['good', 'altered', 'away']) await bed.follow('charts', '', name)
  await bed.start({ credentials: { folders: [], environment: { FAIRLEAD_GIT_CHARTS: 'bot:hunter2' } } })
  await bed.seen(good, 'charts', 'good:')
  await bed.broken('charts', 'FetchFailed', 'as its index says', 'altered:')
  await bed.broken('charts', 'FetchFailed', 'name the host in spec.redirectHosts', 'away:')
  expect(asked).toEqual([])
  await bed.define('charts', { ...spec, redirectHosts: [new URL(elsewhere).host] })
  await bed.seen(await digestOf('away-1.0.0.tgz'), 'charts', 'away:')
  expect(asked).toEqual(['/away-1.0.0.tgz undefined'])
})

test.for(['basic', 'token'] as const)(
  'a registry that asks for a login gets it, by %s, and nobody else does',
  async (kind) => {
    const name = freshName()
    const digest = await registry.publish(name, 'main', { 'a.yaml': 'a: 1\n' })
    registry.login = { kind, username: 'bot', password: 'hunter2' }
    const asked: string[] = []
    const cdn = await bed.serve((request, response) => {
      asked.push(`${request.url} ${request.headers.authorization}`)
      void fetch(`http://${registry.behind}${request.url}`).then(async (answer) =>
        response.end(Buffer.from(await answer.arrayBuffer())),
      )
    })
    registry.blobsAt = cdn
    const spec = { url: registry.urlOf(name), credentials: { from: 'env:FAIRLEAD_GIT_APP' } }
    await bed.define('anonymous', { url: spec.url })
    await bed.follow('anonymous')
    await bed.define('app', spec)
    await bed.follow('app')
    const environment: Record<string, string> = { FAIRLEAD_GIT_APP: 'bot:wrong' }
    await bed.start({ credentials: { folders: [], environment } })
    await bed.broken('anonymous', 'RepositoryAuthFailed')
    await bed.broken('app', 'RepositoryAuthFailed')
    environment.FAIRLEAD_GIT_APP = 'bot:hunter2'
    bed.tracker.refresh('app')
    await bed.broken('app', 'RepositoryUnreachable', 'name the host in spec.redirectHosts')
    await bed.define('app', { ...spec, redirectHosts: [new URL(cdn).host] })
    await bed.seen(digest, 'app')
    expect(asked).toEqual([expect.stringMatching(/^\/v2\/.* undefined$/)])
    expect(await bed.everything()).not.toContain('hunter2')
  },
)

test('a token service elsewhere is not told the credentials unless the definition names it', async () => {
  const name = freshName()
  const digest = await registry.publish(name, 'main', { 'a.yaml': 'a: 1\n' })
  registry.login = { kind: 'token', username: 'bot', password: 'hunter2' }
  const asked: string[] = []
  const service = await bed.serve((request, response) => {
    asked.push(request.url ?? '')
    void fetch(`http://${registry.host}${request.url}`, {
      headers: { authorization: request.headers.authorization ?? '' },
    }).then(async (answer) => response.writeHead(answer.status).end(await answer.text()))
  })
  registry.tokenRealm = `${service}/token`
  const spec = { url: registry.urlOf(name), credentials: { from: 'env:FAIRLEAD_GIT_APP' } }
  await bed.define('app', spec)
  await bed.follow('app')
  await bed.start({ credentials: { folders: [], environment: { FAIRLEAD_GIT_APP: 'bot:hunter2' } } })
  await bed.broken('app', 'RepositoryUnreachable', 'for tokens')
  expect(asked).toEqual([])
  await bed.define('app', { ...spec, redirectHosts: [new URL(service).host] })
  await bed.seen(digest, 'app')
  // Less than the registry asked for: reading is enough.
  expect(new URL(asked[0] ?? '', service).searchParams.get('scope')).toBe(`repository:${name}:pull`)
})

test('a registry that lies about digests, hangs or fails leads to one clear message, and what was had stays', async () => {
  const name = freshName()
  const first = await registry.publish(name, 'main', { 'a.yaml': 'a: 1\n' })
  await bed.define('app', { url: registry.urlOf(name) })
  await bed.follow('app')
  await bed.start({ listTimeoutMs: 1_000, fetchTimeoutMs: 1_000 })
  await bed.seen(first, 'app')
  const second = await registry.publish(name, 'main', { 'a.yaml': 'a: 2\n' })
  const isBlob = (file: string): boolean => file.includes('/blobs/')
  const isPinned = (file: string): boolean => file.includes(`/manifests/sha256:${second}`)
  registry.tamper = (file) => (isPinned(file) ? Buffer.from('{"layers":[]}') : undefined)
  bed.tracker.refresh('app')
  await bed.broken('app', 'FetchFailed', 'another manifest')
  registry.tamper = (file) => (isBlob(file) ? Buffer.from('something else') : undefined)
  bed.tracker.refresh('app')
  await bed.broken('app', 'FetchFailed', 'something else')
  registry.tamper = (file) => (isBlob(file) ? 'hang' : undefined)
  bed.tracker.refresh('app')
  await bed.broken('app', 'RepositoryUnreachable', 'does not answer within')
  registry.tamper = () => 503
  bed.tracker.refresh('app')
  await bed.broken('app', 'RepositoryUnreachable', 'HTTP 503')
  expect(await bed.commitOf('app')).toBe(first)
  expect(await bed.textOf('app', first, 'a.yaml')).toBe('a: 1\n')
  registry.tamper = undefined
  bed.tracker.refresh('app')
  await bed.seen(second, 'app')
})

test('artifacts that cannot be what is meant, or that lead out, are told of and stop no other tag', async () => {
  const name = freshName()
  const good = await registry.publish(name, 'good', { 'a.yaml': 'a: 1\n' })
  await registry.publish(name, 'text', {}, { archive: Buffer.from('no archive at all, though it says so'.repeat(20)) })
  await registry.publish(name, 'out', { '../../etc/cron.d/x': 'x' })
  await registry.publish(name, 'blob', {}, { layerType: 'application/octet-stream' })
  await registry.publish(
    name,
    'chart',
    { 'a/Chart.yaml': '', 'b/Chart.yaml': '' },
    {
      configType: 'application/vnd.cncf.helm.config.v1+json',
      layerType: 'application/vnd.cncf.helm.chart.content.v1.tar+gzip',
    },
  )
  const index = {
    schemaVersion: 2,
    mediaType: 'application/vnd.oci.image.index.v1+json',
    manifests: [{ mediaType: 'application/vnd.oci.image.manifest.v1+json', digest: `sha256:${good}`, size: 1 }],
  }
  await registry.putManifest(name, 'index', index)
  await bed.define('app', { url: registry.urlOf(name), pollInterval: { seconds: 1n } })
  for (const ref of ['good', 'text', 'out', 'blob', 'chart', 'index']) await bed.follow('app', ref)
  await bed.start()
  await bed.seen(good, 'app', 'good')
  await bed.broken('app', 'FetchFailed', 'no tar archive', 'text')
  await bed.broken('app', 'UnsafePath', 'leads out', 'out')
  await bed.broken('app', 'FetchFailed', 'layers of application/octet-stream', 'blob')
  await bed.broken('app', 'UnsafePath', 'more than one folder', 'chart')
  await bed.broken('app', 'FetchFailed', 'index of several artifacts', 'index')
  registry.requests.length = 0
  const polls = (): number => registry.requests.filter((request) => request.endsWith('/manifests/blob')).length
  await waitFor('three polls', () => polls() === 3)
  expect(registry.requests.filter((request) => request.includes('/blobs/'))).toEqual([])
})

test('a package that was lost or damaged on disk is fetched again when it is needed', async () => {
  const name = freshName()
  const digest = await registry.publish(name, 'main', { 'a.yaml': 'a: 1\n' })
  const version = await registry.addChart(chart('7.0.0'))
  await bed.define('app', { url: registry.urlOf(name) })
  await bed.follow('app')
  await bed.define('charts', { url: registry.chartsUrl, helm: {} })
  await bed.follow('charts', '7.0.0', 'web')
  await bed.start()
  await bed.seen(digest, 'app')
  await bed.seen(version, 'charts', 'web:7.0.0')
  await bed.start()
  rmSync(path.join(bed.gitDir, 'app.packages', `${digest}.tgz`))
  expect(await bed.textOf('app', digest, 'a.yaml')).toBe('a: 1\n')
  await bed.start()
  writeFileSync(
    path.join(bed.gitDir, 'charts.packages', `${version}.tgz`),
    await archiveOf({ 'web/Chart.yaml': 'evil' }),
  )
  expect(await bed.textOf('charts', version, 'Chart.yaml')).toContain('version: 7.0.0')
})

test('a repository of Git that becomes one of packages under the same name, and back, leaves nothing behind', async () => {
  const repository = bed.git.createRepository('app')
  const commit = repository.commit({ 'a.yaml': 'git: 1\n' })
  const name = freshName()
  const digest = await registry.publish(name, 'main', { 'a.yaml': 'oci: 1\n' })
  await bed.define('app', { url: repository.url })
  await bed.follow('app')
  await bed.start()
  await bed.seen(commit, 'app')
  await bed.define('app', { url: registry.urlOf(name) })
  await bed.seen(digest, 'app')
  expect(await bed.textOf('app', digest, 'a.yaml')).toBe('oci: 1\n')
  await bed.define('app', { url: repository.url })
  await bed.seen(commit, 'app')
  expect(await bed.textOf('app', commit, 'a.yaml')).toBe('git: 1\n')
  await waitFor('nothing of the packages to be left', () => readdirSync(bed.gitDir).join() === 'app.git,scratch')
})

test('two hosts of packages: one that hangs holds up nobody else', async () => {
  const name = freshName()
  const digest = await registry.publish(name, 'main', { 'a.yaml': 'a: 1\n' })
  const port = await bed.listen(createServer(() => undefined))
  await bed.define('hangs', { url: `oci+http://127.0.0.1:${port}/app` })
  await bed.follow('hangs')
  await bed.define('app', { url: registry.urlOf(name) })
  await bed.follow('app')
  await bed.start()
  await bed.seen(digest, 'app')
})

/** What is asked when nothing has changed. */
async function requestsOfPolls(repository: string): Promise<readonly string[]> {
  registry.requests.length = 0
  for (let polls = 0; polls < 2; polls++) {
    const before = registry.requests.length
    bed.tracker.refresh(repository)
    await waitFor('a poll', () => registry.requests.length > before)
  }
  return registry.requests
}

async function digestOf(archive: string): Promise<string> {
  const content = readFileSync(path.join(path.dirname(registry.indexFile), archive))
  return createHash('sha256').update(content).digest('hex')
}

// What is between the tracker and a Git host: proxies, redirects, tokens of a GitHub App, and hosts that mean harm.
import { request as forward, type RequestListener, type Server } from 'node:http'
import { createServer as createTlsServer } from 'node:https'
import { runGit } from '@fairlead/e2e/harness/git-server'
import { startGitHubApi } from '@fairlead/e2e/harness/github-api'
import { makeRunFolder } from '@fairlead/e2e/harness/guardian'
import { startHttpProxy } from '@fairlead/e2e/harness/http-proxy'
import { waitFor } from '@fairlead/e2e/harness/wait'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { openPki } from '../pki/pki.ts'
import { openTrackerBed, type TrackerBed } from './tracker.test-support.ts'

let bed: TrackerBed

beforeEach(async () => {
  bed = await openTrackerBed()
})
afterEach(async () => {
  await bed[Symbol.asyncDispose]()
})

/** Passes requests on to the Git host, unless `answer` answers. */
function passOn(answer: (...parts: Parameters<RequestListener>) => boolean = () => false): RequestListener {
  return (request, response) => {
    if (answer(request, response)) return
    const { method, url = '/', headers } = request
    const upstream = forward({ port: bed.git.port, host: '127.0.0.1', method, path: url, headers }, (reply) => {
      response.writeHead(reply.statusCode ?? 502, reply.headers)
      reply.pipe(response)
    })
    upstream.on('error', () => response.destroy())
    request.pipe(upstream)
  }
}

const isFetch: (...parts: Parameters<RequestListener>) => boolean = ({ method, headers }) =>
  method === 'POST' && headers['git-protocol'] === undefined

test('through a proxy of the definition or of the environment, with its credentials and past NO_PROXY', async () => {
  await using proxy = await startHttpProxy()
  proxy.credentials = 'hub:proxy-secret'
  const repository = bed.git.createRepository('shop')
  const first = repository.commit({ a: '1' })
  for (const name of ['own', 'env', 'without', 'wrong']) await bed.follow(name)
  const secrets = {
    folders: [],
    environment: { FAIRLEAD_GIT_PROXY: 'hub:proxy-secret', FAIRLEAD_GIT_WRONG: 'hub:wrong-secret' },
  }
  await bed.start({ credentials: secrets, proxy: { HTTP_PROXY: proxy.url.replace('//', '//hub:proxy-secret@') } })
  await bed.define('env', { url: repository.url })
  await bed.seen(first, 'env')
  expect(new Set(proxy.asked.map((url) => url.split('/shop.git')[0]))).toEqual(new Set([bed.git.url]))
  proxy.asked.length = 0
  await bed.define('own', {
    url: repository.url,
    proxy: { url: proxy.url, credentials: { from: 'env:FAIRLEAD_GIT_PROXY' } },
  })
  await bed.seen(first, 'own')
  expect(proxy.asked.length).toBeGreaterThan(0)
  proxy.asked.length = 0
  await bed.define('without', { url: repository.url, proxy: { url: '' } })
  await bed.seen(first, 'without')
  expect(proxy.asked).toEqual([])
  await bed.define('wrong', {
    url: repository.url,
    proxy: { url: proxy.url, credentials: { from: 'env:FAIRLEAD_GIT_WRONG' } },
  })
  await bed.broken('wrong', 'RepositoryUnreachable', '407')
  const everything = await bed.everything()
  for (const secret of ['proxy-secret', 'wrong-secret', Buffer.from('hub:proxy-secret').toString('base64')]) {
    expect(everything).not.toContain(secret)
  }
})

test('through a tunnel of a proxy the certificate of the Git host is still looked at', async () => {
  await using proxy = await startHttpProxy()
  const repository = bed.git.createRepository('shop')
  const first = repository.commit({ a: '1' })
  const pki = await openPki(makeRunFolder('pki'), [])
  const port = await bed.listen(
    createTlsServer({ key: pki.serverKeyPem, cert: pki.serverChainPem }, passOn()) as unknown as Server,
  )
  const url = `https://127.0.0.1:${port}/shop.git`
  await bed.follow('shop')
  await bed.start({ proxy: { HTTPS_PROXY: proxy.url, NO_PROXY: 'example.com' } })
  await bed.define('shop', { url })
  await bed.broken('shop', 'RepositoryUnreachable', 'certificate')
  await bed.define('shop', { url, caPem: pki.caPem })
  await bed.seen(first, 'shop')
  expect(new Set(proxy.asked)).toEqual(new Set([`127.0.0.1:${port}`]))
})

test('a redirect is followed to a declared host, without the credentials, and to no other', async () => {
  const repository = bed.git.createRepository('shop')
  const first = repository.commit({ a: '1' })
  const seen: (string | undefined)[] = []
  const mirror = await bed.serve(passOn(({ headers }) => seen.push(headers.authorization) < 0))
  const moved = await bed.serve((request, response) =>
    response.writeHead(302, { location: `${mirror}${request.url}` }).end(),
  )
  await bed.follow('shop')
  const credentials = { folders: [], environment: { FAIRLEAD_GIT_SHOP: 'bot:hunter2' } }
  await bed.start({ credentials })
  const spec = { url: `${moved}/shop.git`, credentials: { from: 'env:FAIRLEAD_GIT_SHOP' } }
  await bed.define('shop', { ...spec, redirectHosts: ['other.example.com'] })
  await bed.broken('shop', 'RepositoryUnreachable', 'spec.redirectHosts')
  expect(seen).toEqual([])
  await bed.define('shop', { ...spec, redirectHosts: [mirror.replace('http://', '')] })
  await bed.seen(first, 'shop')
  expect(new Set(seen)).toEqual(new Set([undefined]))
})

test.each([
  ['http://169.254.169.254/latest/meta-data', 'no Git server may have'],
  ['http://[fe80::1]/x.git', 'no Git server may have'],
  ['http://0.0.0.0/x.git', 'no Git server may have'],
])('%s is not connected to, neither by a definition nor by a declared redirect', async (target, words) => {
  const moved = await bed.serve((_request, response) => response.writeHead(302, { location: target }).end())
  for (const name of ['direct', 'redirected']) await bed.follow(name)
  await bed.start()
  await bed.define('direct', { url: target })
  await bed.define('redirected', { url: `${moved}/x.git`, redirectHosts: [new URL(target).host] })
  for (const name of ['direct', 'redirected']) await bed.broken(name, 'RepositoryUnreachable', words)
})

test('a server that drips is given up in time, and holds up no other repository', async () => {
  const repository = bed.git.createRepository('shop')
  const first = repository.commit({ a: '1' })
  const drip = await bed.serve((_request, response) => {
    response.writeHead(200, { 'content-type': 'application/x-git-upload-pack-result' })
    const timer = setInterval(() => response.write('0'), 20)
    response.on('close', () => clearInterval(timer))
  })
  for (const name of ['drip', 'shop']) await bed.follow(name)
  await bed.start({ listTimeoutMs: 1_000 })
  await bed.define('drip', { url: `${drip}/x.git` })
  await bed.define('shop', { url: repository.url })
  await bed.seen(first, 'shop')
  await bed.broken('drip', 'RepositoryUnreachable', 'does not answer within 1000 ms')
})

test('a server that asks for credentials in the middle is told apart, and what was taken stays', async () => {
  const repository = bed.git.createRepository('shop')
  const first = repository.commit({ a: '1' })
  let isAsking = false
  const asking = await bed.serve(
    passOn((request, response) => {
      if (!isAsking || !isFetch(request, response)) return false
      request.resume()
      response.writeHead(401, { 'www-authenticate': 'Basic realm="more"' }).end('who are you, bot:hunter2?')
      return true
    }),
  )
  await bed.follow('shop')
  const credentials = { folders: [], environment: { FAIRLEAD_GIT_SHOP: 'bot:hunter2' } }
  await bed.start({ credentials })
  await bed.define('shop', { url: `${asking}/shop.git`, credentials: { from: 'env:FAIRLEAD_GIT_SHOP' } })
  await bed.seen(first, 'shop')
  isAsking = true
  const second = repository.commit({ a: '2' })
  bed.tracker.refresh('shop')
  await bed.broken('shop', 'RepositoryAuthFailed', 'refuses the credentials (HTTP 401)')
  expect(await bed.commitOf('shop')).toBe(first)
  expect(await bed.everything()).not.toContain('hunter2')
  isAsking = false
  bed.tracker.refresh('shop')
  await bed.seen(second, 'shop')
})

test('a force-push while a fetch runs ends at the new commit', async () => {
  const repository = bed.git.createRepository('shop')
  repository.commit({ a: '1' })
  let rewritten = ''
  const racing = await bed.serve(
    passOn((request, response) => {
      if (rewritten === '' && isFetch(request, response)) {
        rewritten = repository.forcePush({ b: '1' })
        runGit(repository.bare, ['config', 'uploadpack.allowAnySHA1InWant', 'false'])
        runGit(repository.bare, ['gc', '-q', '--prune=now'])
      }
      return false
    }),
  )
  await bed.follow('shop')
  await bed.start()
  await bed.define('shop', { url: `${racing}/shop.git` })
  await bed.broken('shop', 'FetchFailed')
  bed.tracker.refresh('shop')
  await bed.seen(rewritten, 'shop')
  expect(await bed.textOf('shop', rewritten, 'b')).toBe('1')
})

test('a ref that vanishes keeps its commit and is followed again when it comes back', async () => {
  const repository = bed.git.createRepository('shop')
  repository.commit({ a: '1' })
  const first = repository.commit({ a: '2' }, { branch: 'next' })
  await bed.follow('shop', 'next')
  await bed.start()
  await bed.define('shop', { url: repository.url })
  await bed.seen(first, 'shop', 'next')
  repository.deleteBranch('next')
  bed.tracker.refresh('shop')
  await waitFor('the ref to be missed', async () => (await bed.refProblemOf('shop', 'next'))?.code === 'RefNotFound')
  expect(await bed.commitOf('shop', 'next')).toBe(first)
  const second = repository.commit({ a: '3' }, { branch: 'next' })
  bed.tracker.refresh('shop')
  await bed.seen(second, 'shop', 'next')
})

test('a server that lists another id for a ref than it can send is refused, and the next repository is followed', async () => {
  const repository = bed.git.createRepository('shop')
  const first = repository.commit({ a: '1' })
  const lying = await bed.serve(
    passOn(({ headers }, response) => {
      if (headers['git-protocol'] === undefined) return false
      const line = `${'a'.repeat(40)} refs/heads/main\n`
      response.end(`${(line.length + 4).toString(16).padStart(4, '0')}${line}0000`)
      return true
    }),
  )
  for (const name of ['lying', 'shop']) await bed.follow(name)
  await bed.start()
  await bed.define('lying', { url: `${lying}/shop.git` })
  await bed.define('shop', { url: repository.url })
  await bed.seen(first, 'shop')
  await bed.broken('lying', 'FetchFailed')
})

test('by a GitHub App: one token for all of its repositories, kept until shortly before it expires, and renewed', async () => {
  await using api = await startGitHubApi(bed.git)
  const repository = bed.git.createRepository('shop')
  const first = repository.commit({ a: '1' })
  const { appId, installationId, url: apiUrl } = api
  const app = { appId, installationId, apiUrl, privateKeyFrom: 'env:FAIRLEAD_GIT_APP' }
  for (const name of ['a', 'b', 'bad']) await bed.follow(name)
  const environment: Record<string, string> = { FAIRLEAD_GIT_APP: api.privateKey, FAIRLEAD_GIT_BAD: 'no key' }
  for (const name of ['a', 'b']) await bed.define(name, { url: repository.url, credentials: { githubApp: app } })
  await bed.start({ credentials: { folders: [], environment } })
  await bed.seen(first, 'a')
  await bed.seen(first, 'b')
  expect(api.tokens).toHaveLength(1)
  api.revokeAll()
  api.tokenLifeMs = 60_000
  const second = repository.commit({ a: '2' })
  bed.tracker.refresh('a')
  await bed.broken('a', 'RepositoryAuthFailed')
  bed.tracker.refresh('a')
  await bed.seen(second, 'a')
  expect(api.tokens).toHaveLength(2)
  bed.tracker.refresh('a')
  await waitFor('a token in place of one that is about to expire', () => api.tokens.length === 3)
  await bed.define('bad', {
    url: repository.url,
    credentials: { githubApp: { ...app, privateKeyFrom: 'env:FAIRLEAD_GIT_BAD' } },
  })
  await bed.broken('bad', 'RepositoryAuthFailed', 'no RSA key')
  await bed.define('bad', { url: repository.url, credentials: { githubApp: { ...app, appId: '1' } } })
  await bed.broken('bad', 'RepositoryAuthFailed', 'refuses the credentials')
  const everything = await bed.everything()
  for (const secret of [...api.tokens, 'no key', api.privateKey.slice(40, 80)]) expect(everything).not.toContain(secret)
})

// Repositories by the git binary: over SSH, and what is too large for isomorphic-git.
import { randomBytes } from 'node:crypto'
import { chmodSync, cpSync, existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { runGit } from '@fairlead/e2e/harness/git-server'
import { makeSshKey } from '@fairlead/e2e/harness/git-signing'
import { makeRunFolder } from '@fairlead/e2e/harness/guardian'
import { startHttpProxy } from '@fairlead/e2e/harness/http-proxy'
import { type SshServer, startSshServer } from '@fairlead/e2e/harness/ssh-server'
import { waitFor } from '@fairlead/e2e/harness/wait'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { runGitCommand } from './git-command.ts'
import { openTrackerBed, type TrackerBed } from './tracker.test-support.ts'

let bed: TrackerBed
let ssh: SshServer
let secrets: { folders: string[]; environment: Record<string, string> }

beforeEach(async () => {
  bed = await openTrackerBed()
  ssh = await startSshServer(bed.git)
  const key = makeSshKey('hub')
  ssh.authorizedKeys.add(key.publicKey)
  const other = makeSshKey('other')
  const read = (file: string): string => readFileSync(file, 'utf8')
  secrets = { folders: [], environment: { FAIRLEAD_GIT_KEY: read(key.file), FAIRLEAD_GIT_OTHER: read(other.file) } }
})
afterEach(async () => {
  await bed[Symbol.asyncDispose]()
  await ssh[Symbol.asyncDispose]()
})

const login = (from = 'env:FAIRLEAD_GIT_KEY', knownHosts = ssh.knownHost) => ({
  ssh: { knownHosts, privateKeyFrom: from },
})

test('over SSH: branches, tags and ranges are followed, and every change costs little', async () => {
  const repository = bed.git.createRepository('shop')
  const random = randomBytes(200_000)
  repository.commit({ 'web/a.yaml': 'a: 1\n', 'web/big.bin': random })
  repository.git('tag', '-a', '-m', 'release', 'v1.2.0')
  repository.git('push', '-q', 'origin', 'v1.2.0')
  const first = repository.head()
  for (const ref of ['main', 'v1.2.0', 'semver:^1', '', first]) await bed.follow('shop', ref)
  await bed.start({ credentials: secrets })
  await bed.define('shop', { url: ssh.urlOf('shop'), ...login() })
  for (const ref of ['main', 'v1.2.0', 'semver:^1', '', first]) await bed.seen(first, 'shop', ref)
  expect(await bed.textOf('shop', first, 'web/a.yaml')).toBe('a: 1\n')
  const second = repository.commit({ 'web/a.yaml': 'a: 2\n' })
  bed.tracker.refresh('shop')
  await bed.seen(second, 'shop')
  expect(await bed.textOf('shop', second, 'web/a.yaml')).toBe('a: 2\n')
  const folder = path.join(bed.gitDir, 'shop.git')
  const packs = path.join(folder, readdirSync(folder)[0] ?? '', 'objects/pack')
  const sizes = readdirSync(packs)
    .filter((name) => name.endsWith('.pack'))
    .map((name) => readFileSync(path.join(packs, name)).length)
  expect(sizes.filter((size) => size > 100_000)).toHaveLength(1)
  const rewritten = repository.forcePush({ 'web/b.yaml': 'b: 1\n' })
  bed.tracker.refresh('shop')
  await bed.seen(rewritten, 'shop')
  expect(await bed.textOf('shop', rewritten, 'web/b.yaml')).toBe('b: 1\n')
}, 60_000)

test('over SSH: a key that the server does not know, another host key, a missing repository and a server that hangs are told apart', async () => {
  const repository = bed.git.createRepository('shop')
  const first = repository.commit({ a: '1' })
  for (const name of ['shop', 'key', 'host', 'missing', 'broken']) await bed.follow(name)
  await bed.start({ credentials: secrets, listTimeoutMs: 8_000 })
  await bed.define('key', { url: ssh.urlOf('shop'), ...login('env:FAIRLEAD_GIT_OTHER') })
  await bed.broken('key', 'RepositoryAuthFailed', 'refuses the credentials')
  const otherHost = ssh.knownHost.replace(/ssh-ed25519 .*/, makeSshKey('host').publicKey)
  await bed.define('host', { url: ssh.urlOf('shop'), ...login(undefined, otherHost) })
  await bed.broken('host', 'RepositoryUnreachable', 'another host key')
  await bed.define('host', {
    url: ssh.urlOf('shop'),
    ...login(undefined, ssh.knownHost.replace('127.0.0.1', '127.0.0.2')),
  })
  await bed.broken('host', 'RepositoryUnreachable', 'another host key')
  await bed.define('missing', { url: ssh.urlOf('nowhere'), ...login() })
  await bed.broken('missing', 'RepositoryNotFound', 'knows no such repository')
  await bed.define('shop', { url: ssh.urlOf('shop'), ...login() })
  await bed.seen(first, 'shop')
  ssh.hangs = true
  bed.tracker.refresh('shop')
  await bed.broken('shop', 'RepositoryUnreachable', 'does not answer within 8000 ms')
  ssh.hangs = false
  bed.tracker.refresh('shop')
  await bed.seen(first, 'shop')
  const everything = await bed.everything()
  for (const secret of Object.values(secrets.environment)) {
    expect(everything).not.toContain(secret.split('\n')[2])
  }
}, 60_000)

test('a pack that is too large for isomorphic-git is fetched by git, with the credentials, and read', async () => {
  bed.git.credentials = { username: 'bot', password: 'hunter2' }
  secrets.environment.FAIRLEAD_GIT_SHOP = 'bot:hunter2'
  const repository = bed.git.createRepository('shop')
  repository.commit({ 'web/a.yaml': 'a: 1\n', 'web/big.bin': randomBytes(400_000) })
  await bed.follow('shop')
  await bed.start({ credentials: secrets, maxPackBytes: 200_000 })
  await bed.define('shop', { url: repository.url, credentials: { from: 'env:FAIRLEAD_GIT_SHOP' } })
  await bed.seen(repository.head(), 'shop')
  expect(await bed.textOf('shop', repository.head(), 'web/a.yaml')).toBe('a: 1\n')
  const next = repository.commit({ 'web/a.yaml': 'a: 2\n' })
  bed.tracker.refresh('shop')
  await bed.seen(next, 'shop')
  expect(await bed.textOf('shop', next, 'web/a.yaml')).toBe('a: 2\n')
  expect(await bed.everything()).not.toContain('hunter2')
  await bed.start({ credentials: secrets, maxPackBytes: 200_000, maxGitPackBytes: 600_000 })
  repository.commit({ 'web/bigger.bin': randomBytes(900_000) })
  bed.tracker.refresh('shop')
  await bed.broken('shop', 'LimitExceeded', '600000 bytes')
  expect(await bed.commitOf('shop')).toBe(next)
}, 60_000)

test('through a proxy git fetches what is large as well', async () => {
  await using proxy = await startHttpProxy()
  proxy.credentials = 'hub:proxy-secret'
  secrets.environment.FAIRLEAD_GIT_PROXY = 'hub:proxy-secret'
  const repository = bed.git.createRepository('shop')
  repository.commit({ 'web/a.yaml': 'a: 1\n', 'web/big.bin': randomBytes(400_000) })
  await bed.follow('shop')
  await bed.start({ credentials: secrets, maxPackBytes: 200_000 })
  const way = { url: proxy.url, credentials: { from: 'env:FAIRLEAD_GIT_PROXY' } }
  await bed.define('shop', { url: repository.url, proxy: way })
  await bed.seen(repository.head(), 'shop')
  expect(await bed.textOf('shop', repository.head(), 'web/a.yaml')).toBe('a: 1\n')
  // The listing and the fetch that was too large, and what git asked.
  expect(proxy.asked.length).toBeGreaterThan(3)
  expect(await bed.everything()).not.toContain('proxy-secret')
})

test('git obeys no configuration, hook, helper or protocol but what it is given', async () => {
  const home = makeRunFolder('home')
  const marker = path.join(home, 'ran')
  const script = path.join(home, 'run')
  writeFileSync(script, `#!/bin/sh\ntouch ${marker}\n`)
  chmodSync(script, 0o755)
  // A mirror that somebody could write to: its own configuration is the worst case.
  const gitDir = path.join(home, 'evil.git')
  runGit(home, ['init', '-q', '--bare', gitDir])
  mkdirSync(path.join(gitDir, 'hooks'), { recursive: true })
  for (const hook of ['reference-transaction', 'post-checkout', 'pre-auto-gc']) {
    writeFileSync(path.join(gitDir, 'hooks', hook), readFileSync(script), { mode: 0o755 })
  }
  for (const [key, value] of [
    ['core.fsmonitor', script],
    ['core.sshCommand', script],
    ['credential.helper', script],
    ['core.hooksPath', path.join(gitDir, 'hooks')],
    ['protocol.ext.allow', 'always'],
    ['protocol.file.allow', 'always'],
  ] as const) {
    runGit(gitDir, ['config', key, value])
  }
  const repository = bed.git.createRepository('shop')
  const first = repository.commit({ a: '1' })
  const common = {
    protocols: ['http'],
    scratchDir: home,
    timeoutMs: 20_000,
    maxFileBytes: 1_000_000,
    signal: new AbortController().signal,
  }
  const fetch = (url: string) =>
    runGitCommand({
      ...common,
      args: [`--git-dir=${gitDir}`, 'fetch', '--quiet', '--depth=1', '--', url, `+${first}:refs/x`],
    })
  expect(await fetch(repository.url)).toMatchObject({ code: 0 })
  for (const url of [
    `ext::${script}`,
    `file://${repository.bare}`,
    repository.bare,
    `ssh://git@127.0.0.1:${ssh.port}/shop.git`,
    `--upload-pack=${script}`,
  ]) {
    expect(await fetch(url), url).not.toMatchObject({ code: 0 })
  }
  expect(existsSync(marker)).toBe(false)
  expect(ssh.commands).toEqual([])
})

test('git that hangs is ended with everything that it started, when its time is over or the hub stops', async () => {
  ssh.hangs = true
  bed.git.createRepository('shop').commit({ a: '1' })
  await bed.follow('shop')
  await bed.start({ credentials: secrets })
  await bed.define('shop', { url: ssh.urlOf('shop'), ...login() })
  await waitFor('git to hang', () => ssh.commands.length > 0)
  const isRunning = (): boolean =>
    readdirSync('/proc')
      .filter((name) => /^\d+$/.test(name))
      .some(
        (pid) =>
          readCommand(pid).includes(`git@127.0.0.1:${ssh.port}`) ||
          readCommand(pid).includes(`[127.0.0.1]:${ssh.port}`),
      )
  expect(isRunning()).toBe(true)
  await bed.start({ credentials: secrets, listTimeoutMs: 3_000 })
  await bed.broken('shop', 'RepositoryUnreachable', 'does not answer')
  await waitFor('nothing to run any more', () => !isRunning())
})

test('keys for ssh are below the folder of the mirrors only, whatever it is called, and what a killed hub left there goes at the next start', async () => {
  const first = bed.git.createRepository('shop').commit({ a: '1' })
  await bed.follow('shop')
  const gitDir = path.join(bed.gitDir, `it's "100 %h" $HOME \\ here`)
  const options = { credentials: secrets, gitDir }
  await bed.start(options)
  await bed.define('shop', { url: ssh.urlOf('shop'), ...login() })
  await bed.seen(first, 'shop')
  ssh.hangs = true
  const before = ssh.commands.length
  bed.tracker.refresh('shop')
  await waitFor('git to hang', () => ssh.commands.length > before)
  const scratch = path.join(gitDir, 'scratch')
  expect(statSync(scratch).mode & 0o777).toBe(0o700)
  const [folder = ''] = readdirSync(scratch)
  const key = path.join(scratch, folder, 'key')
  expect([readFileSync(key, 'utf8').trim(), statSync(key).mode & 0o777]).toEqual([
    secrets.environment.FAIRLEAD_GIT_KEY?.trim(),
    0o600,
  ])
  expect(readdirSync(tmpdir()).filter((name) => name.startsWith('fairlead-git-'))).toEqual([])
  const kept = makeRunFolder('kept')
  cpSync(scratch, kept, { recursive: true })
  await bed.stop()
  expect(readdirSync(scratch)).toEqual([])
  // As SIGKILL would have left it.
  cpSync(kept, scratch, { recursive: true })
  expect(existsSync(key)).toBe(true)
  await bed.start(options)
  expect(existsSync(key)).toBe(false)
  await waitFor('git to hang again', () => readdirSync(scratch).length > 0)
}, 60_000)

function readCommand(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8')
  } catch {
    return ''
  }
}

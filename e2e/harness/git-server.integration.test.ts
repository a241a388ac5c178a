// The Git host, as git itself sees it.

import { execFile } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type GitServer, startGitServer } from './git-server.ts'
import { makeRunFolder } from './guardian.ts'

let server: GitServer
beforeAll(async () => {
  server = await startGitServer()
})
afterAll(() => server?.stop())

const run = promisify(execFile)
const env = { ...process.env, GIT_TERMINAL_PROMPT: '0', GIT_CONFIG_GLOBAL: '/dev/null' }

async function clone(url: string): Promise<string> {
  const folder = path.join(makeRunFolder('clone'), 'shop')
  await run('git', ['clone', '-q', url, folder], { env, timeout: 10_000 })
  return folder
}

test('serves a clone of what was committed, and takes a push', async () => {
  const shop = server.createRepository('shop')
  const commit = shop.commit({ 'deploy/web.yaml': 'kind: Deployment\n', 'old.yaml': 'x' })
  expect(shop.head()).toBe(commit)
  const folder = await clone(shop.url)
  expect(readFileSync(path.join(folder, 'deploy/web.yaml'), 'utf8')).toBe('kind: Deployment\n')
  const identity = ['-c', 'user.name=A', '-c', 'user.email=a@example.com']
  await run('git', [...identity, 'commit', '-q', '--allow-empty', '-m', 'by HTTP'], { cwd: folder, env })
  await run('git', ['push', '-q', 'origin', 'main'], { cwd: folder, env })
  expect(shop.head()).not.toBe(commit)
  shop.git('pull', '-q', '--ff-only', 'origin', 'main')
  shop.remove('old.yaml')
  await run('git', ['pull', '-q', '--ff-only'], { cwd: folder, env })
  expect(existsSync(path.join(folder, 'old.yaml'))).toBe(false)
  expect(server.counts.fetches).toBeGreaterThan(0)
  expect(server.counts.bytesSent).toBeGreaterThan(0)
})

test('branches, tags, resets and rewrites history', async () => {
  const repository = server.createRepository('history')
  const first = repository.commit({ a: '1' })
  const second = repository.commit({ a: '2' })
  repository.tag('v1.0.0', first)
  repository.commit({ b: '1' }, { branch: 'next' })
  repository.reset(first)
  expect(repository.head()).toBe(first)
  const rewritten = repository.forcePush({ c: '1' })
  expect(repository.head()).toBe(rewritten)
  expect([first, second]).not.toContain(rewritten)
  const folder = await clone(repository.url)
  expect([existsSync(path.join(folder, 'a')), existsSync(path.join(folder, 'c'))]).toEqual([false, true])
  repository.commit({ d: '1' })
  repository.deleteBranch('next')
  expect(() => repository.head('next')).toThrow('unknown revision')
})

test('refuses, hangs, fails, asks for a password, and recovers', async () => {
  const repository = server.createRepository('moody')
  repository.commit({ a: '1' })
  const address = `${repository.url}/info/refs?service=git-upload-pack`
  await server.setFault('down')
  await expect(fetch(address)).rejects.toThrow('fetch failed')
  await server.setFault('error')
  expect((await fetch(address)).status).toBe(500)
  await server.setFault('hang')
  await expect(fetch(address, { signal: AbortSignal.timeout(200) })).rejects.toThrow('timeout')
  await server.setFault('none')
  server.credentials = { username: 'bot', password: 'secret' }
  expect((await fetch(address)).status).toBe(401)
  const authorization = `Basic ${Buffer.from('bot:secret').toString('base64')}`
  expect((await fetch(address, { headers: { authorization } })).status).toBe(200)
  server.credentials = undefined
  await clone(repository.url)
  repository.delete()
  expect((await fetch(address)).status).toBe(404)
})

// A push is seen at once by the webhook of the Git host, as a user sets it up; and a restart finds what no webhook told.
import { createHmac, randomUUID } from 'node:crypto'
import { mkdirSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { expect, test } from 'vitest'
import { startFleet } from '../harness/fleet.ts'
import { takePort } from '../harness/ports.ts'
import { waitFor } from '../harness/wait.ts'
import { applicationDefinition } from './manifests.ts'

const secret = 'a long random secret'

test('a webhook has a push seen long before the next poll, wrong ones are counted, and a restart polls anyway', async () => {
  const port = await takePort()
  await using fleet = await startFleet({ hubFlags: [`--webhook-listen=127.0.0.1:${port}`, '--webhook-tls=off'] })
  const file = path.join(fleet.dataDir, 'credentials', 'hook')
  mkdirSync(path.dirname(file), { recursive: true })
  writeFileSync(file, `${secret}\n`)
  const repository = fleet.git.createRepository('shop')
  const first = repository.commit({ 'web/a.yaml': 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n' })
  const spec = { url: repository.url, pollInterval: '24h', webhook: { secretFrom: `file:${file}` } }
  const document = { apiVersion: 'fairlead.dev/v1alpha1', kind: 'Repository', metadata: { name: 'shop' }, spec }
  await fleet.apply(`${JSON.stringify(document)}\n${applicationDefinition('web', { repository: 'shop' })}`)
  const seen = (commit: string) =>
    waitFor(`the commit ${commit}`, () => fleet.query('SELECT "commit" FROM refs')[0]?.commit === commit, {
      timeoutMs: 30_000,
      alive: [fleet.hub],
    })
  await seen(first)
  const push = (after: string, key = secret): Promise<Response> => {
    const body = JSON.stringify({ ref: 'refs/heads/main', after, repository: { clone_url: repository.url } })
    return fetch(`http://127.0.0.1:${port}/hooks`, {
      method: 'POST',
      headers: {
        'content-type': 'application/json',
        'x-github-event': 'push',
        'x-github-delivery': randomUUID(),
        'x-hub-signature-256': `sha256=${createHmac('sha256', key).update(body).digest('hex')}`,
      },
      body,
    })
  }
  const second = repository.commit({ 'web/b.yaml': 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: b}\n' })
  expect((await push(second, 'guessed')).status).toBe(401)
  expect((await push(second)).status).toBe(202)
  await seen(second)
  expect(await fleet.cli('version')).toContain('1 webhooks refused')
  const third = repository.remove('web/b.yaml')
  await fleet.stopHub()
  await fleet.startHub()
  await seen(third)
})

// The admission webhook does to an API server what webhooks do.
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type AdmissionWebhookOptions, startAdmissionWebhook } from './admission-webhook.ts'
import { type Cluster, startCluster } from './cluster.ts'
import { waitFor } from './wait.ts'

let cluster: Cluster
let count = 0

beforeAll(async () => {
  cluster = await startCluster({ name: 'webhook' })
}, 120_000)
afterAll(async () => await cluster?.stop())

const start = async (options: Partial<AdmissionWebhookOptions> = {}) => {
  const name = `hook-${++count}`
  await cluster.admin.create({ apiVersion: 'v1', kind: 'Namespace', metadata: { name } })
  return await startAdmissionWebhook({ cluster, name, namespaces: [name], ...options })
}
const create = async (name: string, namespace = `hook-${count}`) =>
  await cluster.admin.create({ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name, namespace } })

test('it refuses with its words, only in its namespaces, and sees who asks', async () => {
  await using webhook = await start({ review: () => ({ allowed: false, message: 'not on a Friday' }) })
  await expect(create('a')).rejects.toThrow(/denied the request: not on a Friday/)
  await create('elsewhere', 'default')
  expect(webhook.requests).toMatchObject([{ operation: 'CREATE', name: 'a', userInfo: { username: 'admin' } }])
  webhook.review = () => ({ allowed: true })
  await create('a')
})

test('it injects what it likes', async () => {
  await using _ = await start({
    type: 'mutating',
    review: () => ({ allowed: true, patch: [{ op: 'add', path: '/metadata/labels', value: { injected: 'yes' } }] }),
  })
  expect((await create('a')).metadata.labels).toEqual({ injected: 'yes' })
})

test('while it is down everything that it must be asked about is refused, and only until it is back', async () => {
  await using webhook = await start()
  await webhook.cut()
  await expect(create('a')).rejects.toThrow(/failed calling webhook/)
  await webhook.restore()
  await create('a')
})

test('it keeps its answer back until it is told to give it, and after its registration is gone nobody asks it', async () => {
  await using webhook = await start()
  webhook.hold()
  let isCreated = false
  const created = create('a').then(() => {
    isCreated = true
  })
  await waitFor('it to be asked', () => webhook.requests.length === 1)
  await cluster.admin.list({ apiVersion: 'v1', kind: 'ConfigMap' })
  expect(isCreated).toBe(false)
  webhook.release()
  await created
  await webhook.unregister()
  await create('b')
  expect(webhook.requests.map(({ name }) => name)).toEqual(['a'])
})

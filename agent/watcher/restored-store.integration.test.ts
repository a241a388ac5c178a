// A cluster whose etcd is restored from a backup while the agent watches on.
import { cpSync, readFileSync, rmSync } from 'node:fs'
import path from 'node:path'
import { type Cluster, startCluster } from '@fairlead/e2e/harness/cluster'
import { type ManagedProcess, startProcess } from '@fairlead/e2e/harness/process'
import { waitFor } from '@fairlead/e2e/harness/wait'
import { silentLogger } from '@fairlead/shared/logger'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { kubeconfigAccess } from '../kube/access.ts'
import { createKube, type Kube } from '../kube/kube.ts'
import { createWatcher } from './watcher.ts'

let cluster: Cluster
let kube: Kube
let commands: [name: string, command: string[]][]
const processes: ManagedProcess[] = []

beforeAll(async () => {
  cluster = await startCluster({ name: 'restored', audit: false })
  kube = createKube({
    access: await kubeconfigAccess(cluster.kubeconfigPath),
    userAgent: 'fairlead-agent/restored',
    logger: silentLogger,
  })
  commands = cluster.processes.map(({ name, pid }) => [
    name,
    readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0').slice(0, -1),
  ])
  await cluster.stop()
})
afterAll(async () => {
  await kube?.close()
  await stop()
})

const start = async (): Promise<void> => {
  for (const [name, [command = '', ...args]] of commands) {
    const logFile = path.join(cluster.folder, `${name}-again.log`)
    processes.push(startProcess({ name, command, args, cwd: cluster.folder, logFile }))
  }
  const isReady = async () => (await cluster.admin.requestText('GET', '/readyz')) === 'ok'
  await waitFor('the API server to be ready', isReady, { timeoutMs: 60_000, alive: processes })
}
const stop = async (): Promise<void> => {
  await Promise.all(processes.splice(0).map((process) => process.kill()))
}

const put = async (name: string) =>
  await cluster.admin.apply(
    { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name, namespace: 'default', labels: { t: '1' } } } as Parameters<
      typeof cluster.admin.apply
    >[0],
    { force: true },
  )

test('a store restored from a backup is listed again, and what it lacks is told as deleted', async () => {
  const store = path.join(cluster.folder, 'etcd')
  const backup = path.join(cluster.folder, 'backup')
  await start()
  await waitFor('the namespace', () => put('old'))
  await stop()
  cpSync(store, backup, { recursive: true })
  await start()
  const events: string[] = []
  const watcher = createWatcher({
    kube,
    labelSelector: 't=1',
    logger: silentLogger,
    onEvent: ({ type, object }) => events.push(`${type} ${object.metadata.name}`),
  })
  const resource = await waitFor('discovery', () => kube.resolve({ group: '', version: 'v1', kind: 'ConfigMap' }))
  await watcher.ensure(resource, { metadataOnly: true })
  for (let index = 0; index < 50; index++) await put(`new-${index}`)
  await waitFor('all to be told', () => events.length === 51)
  events.length = 0
  await stop()
  rmSync(store, { recursive: true })
  cpSync(backup, store, { recursive: true })
  await start()
  await waitFor('what the backup lacks', () => events.filter((event) => event.startsWith('deleted new-')).length === 50)
  expect(events).toContain('upsert old')
  await put('after')
  await waitFor('the event after', () => events.at(-1) === 'upsert after')
  await watcher.stop()
})

// An API server that throws connections away, turns requests away and falls silent: nothing is lost, nothing done twice.
import { type Cluster, startCluster } from '@fairlead/e2e/harness/cluster'
import { startProxy, type TcpProxy } from '@fairlead/e2e/harness/proxy'
import { waitFor } from '@fairlead/e2e/harness/wait'
import { silentLogger } from '@fairlead/shared/logger'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { kubeconfigAccess } from './access.ts'
import { createKube, type Kube, type ResourceType } from './kube.ts'

let cluster: Cluster
let kube: Kube
let proxy: TcpProxy
let token: string
let configMaps: ResourceType

beforeAll(async () => {
  cluster = await startCluster({
    name: 'rough',
    // GOAWAY to 2 % of requests, which is the most that it can be told; two writes at a time.
    apiServerArgs: [
      '--goaway-chance=0.02',
      '--enable-priority-and-fairness=false',
      '--max-mutating-requests-inflight=2',
      '--max-requests-inflight=20',
    ],
  })
  // Administrators are never turned away.
  const name = 'crowd'
  await cluster.admin.create({ apiVersion: 'v1', kind: 'ServiceAccount', metadata: { name, namespace: 'default' } })
  await cluster.admin.create({
    apiVersion: 'rbac.authorization.k8s.io/v1',
    kind: 'ClusterRoleBinding',
    metadata: { name },
    roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: 'cluster-admin' },
    subjects: [{ kind: 'ServiceAccount', name, namespace: 'default' }],
  } as Parameters<typeof cluster.admin.create>[0])
  token = (await cluster.admin.createToken('default', name)).token
  proxy = await startProxy({ port: cluster.port })
  kube = await connect(`https://${proxy.address}`)
  configMaps = await kube.resolve({ group: '', version: 'v1', kind: 'ConfigMap' })
})
afterAll(async () => {
  await kube?.close()
  await proxy?.stop()
  await cluster?.stop()
})

const connect = async (
  server: string,
  ping: { pingIntervalMs?: number; pingTimeoutMs?: number } = {},
): Promise<Kube> => {
  const access = await kubeconfigAccess(cluster.writeKubeconfig('rough', { server, token }))
  return createKube({ access, userAgent: 'fairlead-agent/rough', logger: silentLogger, ...ping })
}
const configMap = (name: string) => ({ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name, namespace: 'default' } })
const eachOf = async (count: number, inFlight: number, work: (index: number) => Promise<unknown>): Promise<void> => {
  let next = 0
  const worker = async (): Promise<void> => {
    while (next < count) await work(next++)
  }
  await Promise.all(Array.from({ length: inFlight }, worker))
}

test('connections that the API server gives up cost no request, be it a read, an apply or a create', async () => {
  await eachOf(400, 2, async (index) => {
    const name = `away-${index}`
    const target = { name, namespace: 'default' }
    if (index % 2 === 0) await kube.create(configMaps, target, configMap(name))
    else await kube.apply(configMaps, target, configMap(name))
    expect((await kube.get(configMaps, target, { metadataOnly: true }))?.metadata.name).toBe(name)
  })
  expect(proxy.counts.accepted).toBeGreaterThan(2)
  // Sent once each: none was answered with AlreadyExists, which would have failed above.
  const { items } = await kube.list(configMaps, { namespace: 'default', metadataOnly: true })
  expect(items.filter(({ metadata }) => metadata.name.startsWith('away-'))).toHaveLength(400)
})

test('watches outlive the connections that the API server gives up', async () => {
  const { resourceVersion } = await kube.list(configMaps, { limit: 1 })
  const controller = new AbortController()
  const seen = new Set<string>()
  const wanted = { resourceVersion, timeoutSeconds: 60, metadataOnly: true, signal: controller.signal }
  const events = await kube.watch(configMaps, wanted)
  const watching = (async () => {
    for await (const { type, object } of events) if (type === 'ADDED') seen.add(object.metadata.name)
  })()
  await eachOf(200, 2, async (index) => {
    const name = `watched-${index}`
    await kube.apply(configMaps, { name, namespace: 'default' }, configMap(name))
  })
  await waitFor('all events on the one watch', () => seen.size === 200)
  controller.abort()
  await expect(watching).rejects.toMatchObject({ code: 'Aborted' })
})

test('requests that are turned away for a moment are sent again when the API server asks for it', async () => {
  const startedAt = Date.now()
  await eachOf(60, 60, async (index) => {
    const name = `crowd-${index}`
    await kube.apply(configMaps, { name, namespace: 'default' }, configMap(name))
  })
  const { items } = await kube.list(configMaps, { namespace: 'default', metadataOnly: true })
  expect(items.filter(({ metadata }) => metadata.name.startsWith('crowd-'))).toHaveLength(60)
  const patches = cluster.auditLog({ userAgent: 'fairlead-agent/rough', verbs: ['patch'], since: startedAt })
  expect(patches.some(({ code }) => code === 429)).toBe(true)
})

test('a connection whose other end is silently gone is noticed, and its watches fail', async () => {
  await using link = await startProxy({ port: cluster.port })
  const other = await connect(`https://${link.address}`, { pingIntervalMs: 100, pingTimeoutMs: 1_000 })
  const events = await other.watch(configMaps, { resourceVersion: '0', timeoutSeconds: 60 })
  const watching = (async () => {
    for await (const { type } of events) if (type === 'DELETED') return
  })()
  const failed = expect(watching).rejects.toMatchObject({ code: 'ApiServerUnavailable' })
  link.freeze()
  await failed
  await link.restore()
  await waitFor('a new connection', async () => await other.get(configMaps, { name: 'away-0', namespace: 'default' }))
  await other.close()
})

test('a closed client ends what is under way and takes nothing more', async () => {
  const other = await connect(cluster.server)
  const events = await other.watch(configMaps, { resourceVersion: '0', timeoutSeconds: 60 })
  const watching = (async () => {
    for await (const { type } of events) if (type === 'DELETED') return
  })()
  await other.close()
  await expect(watching).rejects.toMatchObject({ code: 'ApiServerUnavailable' })
  await expect(other.list(configMaps)).rejects.toMatchObject({ code: 'ApiServerUnavailable' })
})

// Watches against a real API server, cut, restarted and refused.
import { type Cluster, startCluster } from '@fairlead/e2e/harness/cluster'
import { startProxy, type TcpProxy } from '@fairlead/e2e/harness/proxy'
import { waitFor } from '@fairlead/e2e/harness/wait'
import { silentLogger } from '@fairlead/shared/logger'
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest'
import { kubeconfigAccess } from '../kube/access.ts'
import { createKube, type Kube, type ResourceType } from '../kube/kube.ts'
import { createWatcher, type Watcher, type WatcherOptions, type WatchState } from './watcher.ts'

let cluster: Cluster
let proxy: TcpProxy
let kube: Kube
let userAgent: string
let tests = 0
const watchers: Watcher[] = []

beforeAll(async () => {
  cluster = await startCluster({ name: 'watcher' })
  proxy = await startProxy({ port: cluster.port })
})
beforeEach(async () => {
  await proxy.restore()
  userAgent = `fairlead-agent/test-${++tests}.`
  kube = await connect(cluster.adminToken)
})
afterEach(async () => {
  await Promise.all(watchers.splice(0).map(async (watcher) => await watcher.stop()))
  await kube.close()
})
afterAll(async () => {
  await proxy?.stop()
  await cluster?.stop()
})

const connect = async (token: string): Promise<Kube> => {
  const kubeconfig = cluster.writeKubeconfig(`watcher-${tests}`, { server: `https://${proxy.address}`, token })
  return createKube({ access: await kubeconfigAccess(kubeconfig), userAgent, logger: silentLogger })
}

interface Recording {
  readonly watcher: Watcher
  /** `upsert ConfigMap default/a` and the like, in order. */
  readonly events: string[]
  readonly states: string[]
  readonly synced: string[]
  readonly objects: unknown[]
}

const record = (options: Partial<WatcherOptions> = {}): Recording => {
  const recording = { events: [] as string[], states: [] as string[], synced: [] as string[], objects: [] as unknown[] }
  const watcher = createWatcher({
    kube,
    labelSelector: `app.kubernetes.io/managed-by=fairlead,test=t${tests}`,
    logger: silentLogger,
    onEvent: ({ type, object }) => {
      recording.events.push(`${type} ${object.kind} ${object.metadata.namespace ?? ''}/${object.metadata.name}`)
      recording.objects.push(object)
    },
    onSynced: ({ kind }) => recording.synced.push(kind),
    onState: ({ resource, state }) => recording.states.push(`${resource.kind} ${state}`),
    ...options,
  })
  watchers.push(watcher)
  return { watcher, ...recording }
}

const configMap = (name: string, value = '1', namespace = 'default') => ({
  apiVersion: 'v1',
  kind: 'ConfigMap',
  metadata: { name, namespace, labels: { 'app.kubernetes.io/managed-by': 'fairlead', test: `t${tests}` } },
  data: { value },
})
const put = async (name: string, value = '1', namespace = 'default') =>
  await cluster.admin.apply(configMap(name, value, namespace), { force: true })
const configMaps = async (): Promise<ResourceType> =>
  await kube.resolve({ group: '', version: 'v1', kind: 'ConfigMap' })
/** Lists are whole ones; after an outage there is one more request, for a single object, to learn how far the store is. */
const requests = (verb: 'list' | 'watch', limit = '250') =>
  cluster
    .auditLog({ userAgent, verbs: [verb] })
    .filter(
      ({ requestURI }) => verb === 'watch' || new URLSearchParams(requestURI.split('?')[1]).get('limit') === limit,
    ).length
const last = (events: readonly string[], event: string) =>
  waitFor(`the event ${event}`, (see) => {
    see(events)
    return events.at(-1) === event
  })
const stateOf = (watcher: Watcher): WatchState['state'] | undefined => watcher.states()[0]?.state

test('what is there is told once, what changes is told at once, and nothing else is asked', async () => {
  await put('a')
  await cluster.admin.apply({ ...configMap('foreign'), metadata: { name: 'foreign', namespace: 'default' } })
  const { watcher, events, objects, synced } = record()
  await watcher.ensure(await configMaps(), { metadataOnly: true })
  expect(events).toEqual(['upsert ConfigMap default/a'])
  expect(synced).toEqual(['ConfigMap'])
  await waitFor('the watch to be open', () => requests('watch') === 1)
  await put('b')
  await last(events, 'upsert ConfigMap default/b')
  await put('b', '2')
  await waitFor('the change', () => events.length === 3)
  await cluster.admin.delete(configMap('a'))
  await last(events, 'deleted ConfigMap default/a')
  await cluster.admin.patch(configMap('b'), { metadata: { labels: { test: null } } })
  await last(events, 'deleted ConfigMap default/b')
  for (const object of objects) expect(object).not.toHaveProperty('data')
  expect([requests('list'), requests('watch')]).toEqual([1, 1])
  expect(cluster.auditLog({ userAgent }).filter(({ resource }) => resource !== '')).toHaveLength(2)
})

test('a list of many pages is complete, and whole objects come when they are asked for', async () => {
  const names = Array.from({ length: 12 }, (_, index) => `many-${index}`)
  await Promise.all(names.map((name) => put(name)))
  const { watcher, events, objects } = record()
  const resource = await configMaps()
  await watcher.ensure(resource, { metadataOnly: true })
  expect(events).toHaveLength(12)
  await watcher.ensure(resource, { metadataOnly: true })
  expect(requests('list')).toBe(1)
  await watcher.ensure(resource, { metadataOnly: false })
  expect(events).toHaveLength(24)
  expect(objects.slice(12).every((object) => (object as { data?: object }).data)).toBe(true)
  await put('many-0', '2')
  await last(events, 'upsert ConfigMap default/many-0')
  expect(objects.at(-1)).toMatchObject({ data: { value: '2' } })
})

test('a watch that ends in good order is resumed at once without a list, and misses nothing', async () => {
  const { watcher, events } = record({ timing: { leastSeconds: 1, mostSeconds: 1 } })
  await watcher.ensure(await configMaps(), { metadataOnly: true })
  await waitFor('three watches one after the other', () => requests('watch') >= 3)
  await put('resumed')
  await last(events, 'upsert ConfigMap default/resumed')
  expect(requests('list')).toBe(1)
})

test('a cut connection is resumed without a list, and what happened meanwhile is told', async () => {
  await put('kept')
  await put('removed')
  const { watcher, events } = record()
  await watcher.ensure(await configMaps(), { metadataOnly: true })
  await proxy.cut()
  await put('added')
  await cluster.admin.delete(configMap('removed'))
  await waitFor('the API server to be missed', () => stateOf(watcher) === 'unavailable')
  await proxy.restore()
  await last(events, 'deleted ConfigMap default/removed')
  expect(events.slice(2)).toEqual(['upsert ConfigMap default/added', 'deleted ConfigMap default/removed'])
  await waitFor('the watch to be live', () => stateOf(watcher) === 'live')
  expect([requests('list'), requests('list', '1')]).toEqual([1, 1])
})

test('when the API server has forgotten where we were, it is listed again and what went is told', async () => {
  await put('kept')
  await put('removed')
  const { watcher, events, synced } = record()
  await watcher.ensure(await configMaps(), { metadataOnly: true })
  await proxy.cut()
  await cluster.admin.delete(configMap('removed'))
  await put('added')
  // A fresh watch cache knows nothing of the past.
  await cluster.restartApiServer()
  await proxy.restore()
  await waitFor('a second list', (see) => {
    see([events, watcher.states(), cluster.auditLog({ userAgent }).map((e) => [e.verb, e.requestURI, e.code])])
    return synced.length === 2
  })
  expect(events.slice(2).sort()).toEqual([
    'deleted ConfigMap default/removed',
    'upsert ConfigMap default/added',
    'upsert ConfigMap default/kept',
  ])
  await put('added', '2')
  await last(events, 'upsert ConfigMap default/added')
  expect(requests('list')).toBe(2)
})

test('a watch that had a bookmark and then falls silent is opened again from there', async () => {
  // The API server sends a bookmark 2 s before a watch is due to end, if anything of the kind has changed.
  const { watcher, events } = record({ timing: { leastSeconds: 6, mostSeconds: 6, silenceMs: 200 } })
  await watcher.ensure(await configMaps(), { metadataOnly: true })
  await waitFor('the watch to be open', () => requests('watch') === 1)
  await cluster.admin.apply({ ...configMap('other'), metadata: { name: 'other', namespace: 'default' } })
  await waitFor('a second watch', () => requests('watch') === 2)
  await put('heard')
  await last(events, 'upsert ConfigMap default/heard')
  expect(requests('list')).toBe(1)
  const [first, second] = cluster.auditLog({ userAgent, verbs: ['watch'] })
  // Before its time was over, and not from where the first began.
  expect((second?.receivedAt ?? 0) - (first?.receivedAt ?? 0)).toBeLessThan(5_900)
  const position = (uri = '') => new URLSearchParams(uri.split('?')[1]).get('resourceVersion')
  expect(position(second?.requestURI)).not.toBe(position(first?.requestURI))
})

test('an API server that is killed and started again is watched again', async () => {
  const { watcher, events, states } = record()
  await watcher.ensure(await configMaps(), { metadataOnly: true })
  await cluster.killApiServer()
  await waitFor('the API server to be missed', () => stateOf(watcher) === 'unavailable')
  await cluster.restartApiServer()
  await waitFor('the watch to be live', () => stateOf(watcher) === 'live')
  await put('after')
  await last(events, 'upsert ConfigMap default/after')
  expect(states).toContain('ConfigMap unavailable')
})

test('a kind is listed as soon as the API server can be reached, if it was away at first', async () => {
  await put('early')
  const resource = await configMaps()
  await proxy.cut()
  const { watcher, events } = record()
  const signal = AbortSignal.timeout(200)
  await expect(watcher.ensure(resource, { metadataOnly: true, signal })).rejects.toMatchObject({ code: 'Aborted' })
  await proxy.restore()
  await watcher.ensure(resource, { metadataOnly: true })
  expect(events).toEqual(['upsert ConfigMap default/early'])
})

test('missing permission is told, and the kind is watched as soon as it is granted', async () => {
  const name = `watcher-${tests}`
  const account = { apiVersion: 'v1', kind: 'ServiceAccount', metadata: { name, namespace: 'default' } }
  await cluster.admin.create(account)
  const { token } = await cluster.admin.createToken('default', name)
  await kube.close()
  kube = await connect(token)
  await put('mine')
  const { watcher, events, states } = record({ timing: { slowRetryMs: 200 } })
  const ensured = watcher.ensure(await configMaps(), { metadataOnly: true })
  await waitFor('the refusal', () => states.includes('ConfigMap forbidden'))
  expect(watcher.states()[0]?.message).toContain('cannot list resource "configmaps"')
  await cluster.admin.create({
    apiVersion: 'rbac.authorization.k8s.io/v1',
    kind: 'ClusterRoleBinding',
    metadata: { name },
    roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: 'cluster-admin' },
    subjects: [{ kind: 'ServiceAccount', name, namespace: 'default' }],
  } as Parameters<typeof cluster.admin.create>[0])
  await ensured
  expect(events).toEqual(['upsert ConfigMap default/mine'])
  expect(states.at(-1)).toBe('ConfigMap live')
})

test('with namespaces there is one watch for each, and nothing of the others is seen', async () => {
  for (const name of ['red', 'blue', 'green']) {
    await cluster.admin.create({ apiVersion: 'v1', kind: 'Namespace', metadata: { name } })
    await put('a', '1', name)
  }
  const { watcher, events } = record({ namespaces: ['red', 'blue'] })
  await watcher.ensure(await configMaps(), { metadataOnly: true })
  expect([...events].sort()).toEqual(['upsert ConfigMap blue/a', 'upsert ConfigMap red/a'])
  await put('b', '1', 'green')
  await put('b', '1', 'blue')
  await last(events, 'upsert ConfigMap blue/b')
  expect(events).toHaveLength(3)
  expect(
    cluster
      .auditLog({ userAgent, verbs: ['watch'] })
      .map(({ namespace }) => namespace)
      .sort(),
  ).toEqual(['blue', 'red'])
})

test('a CRD deleted and made again in the middle of a watch is noticed both times', async () => {
  const group = `t${tests}.example.com`
  const crd = {
    apiVersion: 'apiextensions.k8s.io/v1',
    kind: 'CustomResourceDefinition',
    metadata: { name: `widgets.${group}` },
    spec: {
      group,
      names: { plural: 'widgets', singular: 'widget', kind: 'Widget', listKind: 'WidgetList' },
      scope: 'Namespaced',
      versions: [{ name: 'v1', served: true, storage: true, schema: { openAPIV3Schema: { type: 'object' } } }],
    },
  }
  const widget = { ...configMap('w'), apiVersion: `${group}/v1`, kind: 'Widget', data: undefined }
  const serve = async () => {
    await cluster.admin.apply(crd)
    const isServed = () => kube.resolve({ group, version: 'v1', kind: 'Widget' })
    const resource = await waitFor('Widget to be served', isServed)
    await waitFor('a widget to be taken', () => cluster.admin.apply(widget))
    return resource
  }
  const resource = await serve()
  const { watcher, events } = record({ timing: { slowRetryMs: 100 } })
  await watcher.ensure(resource, { metadataOnly: false })
  expect(events).toEqual([`upsert Widget default/w`])
  await cluster.admin.delete(crd)
  await waitFor('the kind to be gone', () => stateOf(watcher) === 'gone', { timeoutMs: 20_000 })
  expect(events.filter((event) => event === 'deleted Widget default/w')).toHaveLength(1)
  await waitFor('the CRD to be gone', async () => (await cluster.admin.find(crd)) === undefined)
  await serve()
  await last(events, 'upsert Widget default/w')
  await waitFor('the watch to be live', () => stateOf(watcher) === 'live')
})

test('a released kind tells nothing any more, and a stopped watcher asks nothing', async () => {
  const { watcher, events } = record()
  const resource = await configMaps()
  await watcher.ensure(resource, { metadataOnly: true })
  watcher.release(resource)
  expect(watcher.states()).toEqual([])
  await put('unseen')
  await watcher.ensure(resource, { metadataOnly: true })
  expect(events).toEqual(['upsert ConfigMap default/unseen'])
  const waiting = watcher.ensure({ ...resource, plural: 'secrets', kind: 'Secret' }, { metadataOnly: true })
  await Promise.all([watcher.stop(), waiting.catch(() => undefined)])
  await put('unseen', '2')
  expect(events).toHaveLength(1)
})

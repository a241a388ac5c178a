// What a watch must live through, against a real API server behind a proxy that misbehaves by request: nothing that
// happened is missed, nothing is listed without need, and nothing is told twice.
import { type ApiProxy, type Misbehaviour, type ProxiedRequest, startApiProxy } from '@fairlead/e2e/harness/api-proxy'
import { type Cluster, startCluster } from '@fairlead/e2e/harness/cluster'
import { startProxy, type TcpProxy } from '@fairlead/e2e/harness/proxy'
import { waitFor } from '@fairlead/e2e/harness/wait'
import { silentLogger } from '@fairlead/shared/logger'
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest'
import { kubeconfigAccess } from '../kube/access.ts'
import { createKube, type Kube, type KubeOptions, type ResourceType } from '../kube/kube.ts'
import { createWatcher, type Watcher, type WatcherOptions } from './watcher.ts'

let cluster: Cluster
let api: ApiProxy
let line: TcpProxy
let tests = 0
let kubes: Kube[] = []
let watchers: Watcher[] = []

beforeAll(async () => {
  cluster = await startCluster({ name: 'rough-watches' })
  api = await startApiProxy(cluster)
  line = await startProxy({ port: cluster.port })
})
beforeEach(() => {
  tests++
  api.rule = undefined
  api.seen.length = 0
})
afterEach(async () => {
  await line.restore()
  await Promise.all(watchers.map(async (watcher) => await watcher.stop()))
  await Promise.all(kubes.map(async (kube) => await kube.close()))
  watchers = []
  kubes = []
})
afterAll(async () => {
  await api?.stop()
  await line?.stop()
  await cluster?.stop()
})

const connect = async (options: { server?: string; token?: string } & Partial<KubeOptions> = {}): Promise<Kube> => {
  const { server = api.server, token = cluster.adminToken, ...rest } = options
  const kubeconfig = cluster.writeKubeconfig(`rough-${tests}`, { server, token })
  const access = await kubeconfigAccess(kubeconfig)
  const kube = createKube({ access, userAgent: `fairlead-agent/rough-${tests}.`, logger: silentLogger, ...rest })
  kubes.push(kube)
  return kube
}

/** A watcher whose events are kept, such as `upsert default/a`. */
const record = (kube: Kube, options: Partial<WatcherOptions> = {}) => {
  const recording = { events: [] as string[], states: [] as string[], synced: [] as string[] }
  const watcher = createWatcher({
    kube,
    labelSelector: `test=r${tests}`,
    logger: silentLogger,
    onEvent: ({ type, object }) => recording.events.push(`${type} ${object.metadata.name}`),
    onState: ({ state }) => recording.states.push(state),
    onSynced: ({ kind }) => recording.synced.push(kind),
    ...options,
  })
  watchers.push(watcher)
  return { watcher, ...recording }
}

const configMap = (name: string, value = '1') => ({
  apiVersion: 'v1',
  kind: 'ConfigMap',
  metadata: { name, namespace: 'default', labels: { test: `r${tests}` } },
  data: { value },
})
const put = async (name: string, value?: string) => await cluster.admin.apply(configMap(name, value), { force: true })
const remove = async (name: string) => await cluster.admin.delete(configMap(name))
const resolveConfigMaps = async (kube: Kube): Promise<ResourceType> =>
  await kube.resolve({ group: '', version: 'v1', kind: 'ConfigMap' })
const isList = ({ method, isWatch, path, query }: ProxiedRequest): boolean =>
  method === 'GET' && !isWatch && path.endsWith('/configmaps') && query.get('limit') !== '1'
const lists = (): ProxiedRequest[] => api.seen.filter(isList)
const watches = (): ProxiedRequest[] => api.seen.filter(({ isWatch }) => isWatch)
/** Answers the first watches so, and lets the others through. */
const firstWatches = (count: number, misbehaviour: Misbehaviour) => (request: ProxiedRequest) =>
  request.isWatch && watches().length <= count ? misbehaviour : undefined
const last = async (events: readonly string[], event: string) =>
  await waitFor(`the event ${event}`, (see) => {
    see(events)
    return events.at(-1) === event
  })

const expired = {
  apiVersion: 'v1',
  kind: 'Status',
  metadata: {},
  status: 'Failure',
  message: 'too old resource version: 1 (2)',
  reason: 'Expired',
  code: 410,
}

test.each([
  ['inside the stream', { status: 200, body: `${JSON.stringify({ type: 'ERROR', object: expired })}\n` }],
  ['as the answer', { status: 410, body: expired }],
])('a 410 %s of a watch: it is listed again once, and what went meanwhile is told', async (_, answer) => {
  await put('kept')
  await put('removed')
  const kube = await connect()
  let isForgotten = false
  api.rule = async (request) => {
    if (!request.isWatch || isForgotten) return undefined
    isForgotten = true
    await remove('removed')
    await put('added')
    return { answer }
  }
  const { watcher, events, synced } = record(kube)
  await watcher.ensure(await resolveConfigMaps(kube), { metadataOnly: true })
  await waitFor('the second list', () => synced.length === 2)
  expect(events.slice(0, 2).sort()).toEqual(['upsert kept', 'upsert removed'])
  expect(events.slice(2).sort()).toEqual(['deleted removed', 'upsert added', 'upsert kept'])
  await put('later')
  await last(events, 'upsert later')
  expect(lists()).toHaveLength(2)
  await Promise.all(['kept', 'added', 'later'].map(remove))
})

test('a watch that goes quiet and whose end does not come is opened again without a list, and misses nothing', async () => {
  const kube = await connect()
  api.rule = firstWatches(1, { silent: true })
  const { watcher, events } = record(kube, { timing: { leastSeconds: 1, mostSeconds: 1, overdueMs: 200 } })
  await watcher.ensure(await resolveConfigMaps(kube), { metadataOnly: true })
  await waitFor('the watch', () => watches().length === 1)
  await put('unheard')
  expect(events).toEqual([])
  await last(events, 'upsert unheard')
  expect(lists()).toHaveLength(1)
  expect(watches().length).toBeGreaterThan(1)
  await remove('unheard')
})

test('a watch is resumed from its last bookmark, without a list', async () => {
  const kube = await connect()
  const { watcher, events } = record(kube, { timing: { leastSeconds: 4, mostSeconds: 4 } })
  await watcher.ensure(await resolveConfigMaps(kube), { metadataOnly: true })
  await waitFor('the watch', () => watches().length === 1)
  // Not selected: only a bookmark can tell how far the store has come.
  const other = await cluster.admin.apply({
    apiVersion: 'v1',
    kind: 'ConfigMap',
    metadata: { name: `other-${tests}`, namespace: 'default' },
  } as Parameters<typeof cluster.admin.apply>[0])
  await waitFor('the second watch', () => watches().length === 2)
  const positions = watches().map(({ query }) => Number(query.get('resourceVersion')))
  expect(positions[1]).toBeGreaterThanOrEqual(Number(other.metadata.resourceVersion))
  expect(watches()[1]?.query.get('allowWatchBookmarks')).toBe('true')
  await put('heard')
  await last(events, 'upsert heard')
  expect(lists()).toHaveLength(1)
  await remove('heard')
})

test('a connection that breaks in the middle of an event is resumed, and the event is told whole and once', async () => {
  const kube = await connect()
  api.rule = firstWatches(1, { cutAfterBytes: 150 })
  const { watcher, events } = record(kube)
  await watcher.ensure(await resolveConfigMaps(kube), { metadataOnly: true })
  await waitFor('the watch', () => watches().length === 1)
  await put('cut')
  await waitFor('the watch to be opened again', () => watches().length === 2)
  await put('after')
  await last(events, 'upsert after')
  expect(events).toEqual(['upsert cut', 'upsert after'])
  expect(lists()).toHaveLength(1)
  await Promise.all(['cut', 'after'].map(remove))
})

test('a GOAWAY in the middle of a watch ends no watch, and what is asked next goes over a new connection', async () => {
  const kube = await connect()
  const { watcher, events } = record(kube)
  const resource = await resolveConfigMaps(kube)
  await watcher.ensure(resource, { metadataOnly: true })
  await waitFor('the watch', () => watches().length === 1)
  const before = api.connections
  api.goAway()
  await waitFor('a new connection', async () => {
    await kube.get(resource, { name: 'none', namespace: 'default' })
    return api.connections > before
  })
  await put('heard')
  await last(events, 'upsert heard')
  expect([lists().length, watches().length]).toEqual([1, 1])
  await remove('heard')
  // The connection that is given up is not forgotten: it ends with the client.
  await kube.close()
  await waitFor('all connections to end', () => api.connections === 0)
})

test('a watch over a line that drops everything in silence is noticed by pings and resumed without a list', async () => {
  const server = `https://${line.address}`
  const kube = await connect({ server, pingIntervalMs: 100, pingTimeoutMs: 1_000 })
  const { watcher, events, states } = record(kube)
  await watcher.ensure(await resolveConfigMaps(kube), { metadataOnly: true })
  const audited = (verb: string, limit?: string) =>
    cluster
      .auditLog({ userAgent: `rough-${tests}.`, verbs: [verb] })
      .filter(({ requestURI }) => limit === undefined || requestURI.includes(`limit=${limit}`))
  await waitFor('the watch', () => audited('watch').length === 1)
  line.freeze()
  await put('unheard')
  await waitFor('the API server to be missed', () => states.includes('unavailable'))
  line.breakConnections()
  await line.restore()
  await last(events, 'upsert unheard')
  expect(audited('list', '250')).toHaveLength(1)
  await remove('unheard')
})

test('a watch that is turned away is not asked for again sooner than the API server says', async () => {
  const kube = await connect()
  const times: number[] = []
  api.rule = (request) => {
    if (!request.isWatch) return undefined
    times.push(performance.now())
    return times.length < 3 ? { answer: { status: 429, headers: { 'retry-after': '1' } } } : undefined
  }
  const { watcher, events } = record(kube)
  await watcher.ensure(await resolveConfigMaps(kube), { metadataOnly: true })
  await waitFor('the third watch', () => times.length === 3)
  expect((times[1] as number) - (times[0] as number)).toBeGreaterThan(990)
  expect((times[2] as number) - (times[1] as number)).toBeGreaterThan(990)
  await put('heard')
  await last(events, 'upsert heard')
  expect(lists()).toHaveLength(1)
  await remove('heard')
})

test('a list that is cut in the middle of a page is asked for again, and each object is told once', async () => {
  await Promise.all(['a', 'b', 'c'].map((name) => put(name)))
  const kube = await connect()
  api.rule = (request) => (isList(request) && lists().length === 1 ? { cutAfterBytes: 400 } : undefined)
  const { watcher, events } = record(kube)
  await watcher.ensure(await resolveConfigMaps(kube), { metadataOnly: true })
  expect(events).toEqual(['upsert a', 'upsert b', 'upsert c'])
  expect(lists()).toHaveLength(2)
  await Promise.all(['a', 'b', 'c'].map(remove))
})

test('at start each kind is listed once, in pages of 250, metadata only', async () => {
  const names = Array.from({ length: 520 }, (_, index) => `page-${index}`)
  await inParallel(names, put)
  const kube = await connect()
  const { watcher, events } = record(kube)
  await watcher.ensure(await resolveConfigMaps(kube), { metadataOnly: true })
  await waitFor('the watch', () => watches().length === 1)
  expect(new Set(events).size).toBe(520)
  expect(events).toHaveLength(520)
  expect(lists().map(({ query }) => [query.get('limit'), query.has('continue')])).toEqual([
    ['250', false],
    ['250', true],
    ['250', true],
  ])
  for (const { headers } of [...lists(), ...watches()]) expect(headers.accept).toMatch(/as=PartialObjectMetadata/)
  await inParallel(names, remove)
})

test('a list whose pages expire under way is begun anew, and is complete', async () => {
  const names = Array.from({ length: 260 }, (_, index) => `page-${index}`)
  await inParallel(names, put)
  const kube = await connect()
  let isExpired = false
  api.rule = (request) => {
    if (isExpired || !request.query.has('continue')) return undefined
    isExpired = true
    return { answer: { status: 410, body: expired } }
  }
  const { watcher, events, synced } = record(kube)
  await watcher.ensure(await resolveConfigMaps(kube), { metadataOnly: true })
  expect(new Set(events).size).toBe(260)
  expect(synced).toEqual(['ConfigMap'])
  expect(lists()).toHaveLength(4)
  await inParallel(names, remove)
})

test('a kind whose permission is taken away in the middle is told as forbidden, and watched again when it is given back', async () => {
  const name = `rough-${tests}`
  const account = { apiVersion: 'v1', kind: 'ServiceAccount', metadata: { name, namespace: 'default' } }
  await cluster.admin.create(account)
  const binding = {
    apiVersion: 'rbac.authorization.k8s.io/v1',
    kind: 'ClusterRoleBinding',
    metadata: { name },
    roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: 'cluster-admin' },
    subjects: [{ kind: 'ServiceAccount', name, namespace: 'default' }],
  } as Parameters<typeof cluster.admin.create>[0]
  await cluster.admin.create(binding)
  const { token } = await cluster.admin.createToken('default', name)
  await put('kept')
  await put('removed')
  const kube = await connect({ token })
  // API servers look at permission when a watch is opened, not while it lasts.
  const timing = { leastSeconds: 1, mostSeconds: 1, slowRetryMs: 200 }
  const { watcher, events, states } = record(kube, { timing })
  const resource = await waitFor('discovery', async () => await resolveConfigMaps(kube))
  await watcher.ensure(resource, { metadataOnly: true })
  await waitFor('the watch', () => watcher.states()[0]?.state === 'live')
  await cluster.admin.delete(binding)
  await waitFor('the refusal', () => states.includes('forbidden'))
  expect(watcher.states()[0]?.message).toMatch(/cannot (watch|list) resource "configmaps"/)
  // Nothing is gone only because it may not be seen.
  expect(events.filter((event) => event.startsWith('deleted'))).toEqual([])
  await remove('removed')
  await put('added')
  await cluster.admin.create(binding)
  await waitFor('the watch to be live', () => watcher.states()[0]?.state === 'live')
  await waitFor('what happened meanwhile', () => events.includes('deleted removed') && events.includes('upsert added'))
  expect(events).not.toContain('deleted kept')
  await Promise.all(['kept', 'added'].map(remove))
})

const crd = (group: string) => ({
  apiVersion: 'apiextensions.k8s.io/v1',
  kind: 'CustomResourceDefinition',
  metadata: { name: `widgets.${group}` },
  spec: {
    group,
    names: { plural: 'widgets', singular: 'widget', kind: 'Widget', listKind: 'WidgetList' },
    scope: 'Namespaced',
    versions: [{ name: 'v1', served: true, storage: true, schema: { openAPIV3Schema: { type: 'object' } } }],
  },
})
const widget = (group: string, name: string) => ({
  ...configMap(name),
  data: undefined,
  apiVersion: `${group}/v1`,
  kind: 'Widget',
})
const widgets = (group: string): ResourceType => ({
  group,
  version: 'v1',
  kind: 'Widget',
  plural: 'widgets',
  namespaced: true,
  verbs: [],
})

test('a kind whose CRD appears later is watched from then on', async () => {
  const group = `later${tests}.example.com`
  const kube = await connect()
  const { watcher, events, states } = record(kube, { timing: { slowRetryMs: 200 } })
  const ensured = watcher.ensure(widgets(group), { metadataOnly: true })
  await waitFor('the kind to be missed', () => states.includes('gone'))
  await cluster.admin.apply(crd(group))
  await ensured
  await waitFor('a widget', async () => await cluster.admin.apply(widget(group, 'w'), { force: true }))
  await last(events, 'upsert w')
})

test('a CRD that is replaced at once in the middle of a watch: its objects are told as deleted, and the new ones are seen', async () => {
  const group = `again${tests}.example.com`
  const kube = await connect()
  await cluster.admin.apply(crd(group))
  await waitFor('a widget', async () => await cluster.admin.apply(widget(group, 'old'), { force: true }))
  const { watcher, events } = record(kube, { timing: { slowRetryMs: 200 } })
  await watcher.ensure(widgets(group), { metadataOnly: true })
  expect(events).toEqual(['upsert old'])
  await cluster.admin.delete(crd(group))
  await waitFor('the CRD to be made again', async () => {
    await cluster.admin.create(crd(group))
    return true
  })
  await waitFor('a widget', async () => await cluster.admin.apply(widget(group, 'new'), { force: true }), {
    timeoutMs: 30_000,
  })
  await waitFor('the new widget to be seen', () => events.includes('upsert new'), { timeoutMs: 30_000 })
  expect(events.filter((event) => event === 'deleted old')).toHaveLength(1)
  await waitFor('the watch to be live', () => watcher.states()[0]?.state === 'live')
})

/** Sixteen at a time. */
async function inParallel(names: readonly string[], work: (name: string) => Promise<unknown>): Promise<void> {
  const queue = [...names]
  const worker = async (): Promise<void> => {
    for (let name = queue.shift(); name !== undefined; name = queue.shift()) await work(name)
  }
  await Promise.all(Array.from({ length: 16 }, worker))
}

// The client against a real API server, through a proxy where the connection must suffer.
import { mkdirSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { type Cluster, startCluster } from '@fairlead/e2e/harness/cluster'
import { startProxy } from '@fairlead/e2e/harness/proxy'
import { waitFor } from '@fairlead/e2e/harness/wait'
import { silentLogger } from '@fairlead/shared/logger'
import type { KubernetesObject } from '@fairlead/shared/object-reference'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { type ApiServerAccess, inClusterAccess, kubeconfigAccess } from './access.ts'
import { createKube, type Kube, type ResourceType } from './kube.ts'
import { KubeError } from './kube-error.ts'

let cluster: Cluster
const open: Kube[] = []

beforeAll(async () => {
  cluster = await startCluster({ name: 'kube' })
})
afterEach(async () => {
  await Promise.all(open.splice(0).map(async (kube) => await kube.close()))
})
afterAll(async () => await cluster?.stop())

const connect = async (access?: ApiServerAccess, userAgent = 'fairlead-agent/test'): Promise<Kube> => {
  const kube = createKube({
    access: access ?? (await kubeconfigAccess(cluster.kubeconfigPath)),
    userAgent,
    logger: silentLogger,
  })
  open.push(kube)
  return kube
}

const configMapKind = { group: '', version: 'v1', kind: 'ConfigMap' }
const configMap = (name: string, data: Record<string, string> = { a: '1' }, namespace = 'default') => ({
  apiVersion: 'v1',
  kind: 'ConfigMap',
  metadata: { name, namespace, labels: { test: name.split('-')[0] as string } },
  data,
})

/** A pod's mounted files, for a token of the caller's choice. */
const mountedAccess = (token: string): { access: ApiServerAccess; setToken: (token: string) => void } => {
  const podRoot = mkdtempSync(path.join(tmpdir(), 'fairlead-pod-'))
  const folder = path.join(podRoot, 'var/run/secrets/kubernetes.io/serviceaccount')
  mkdirSync(folder, { recursive: true })
  const setToken = (value: string) => writeFileSync(path.join(folder, 'token'), `${value}\n`)
  setToken(token)
  const { caFile, port } = cluster
  writeFileSync(path.join(folder, 'ca.crt'), readFileSync(caFile))
  return { access: inClusterAccess({ host: '127.0.0.1', port, podRoot }), setToken }
}

const makeCrd = (plural: string, kind: string, group: string) => ({
  apiVersion: 'apiextensions.k8s.io/v1',
  kind: 'CustomResourceDefinition',
  metadata: { name: `${plural}.${group}` },
  spec: {
    group,
    names: { plural, singular: kind.toLowerCase(), kind, listKind: `${kind}List` },
    scope: 'Namespaced',
    versions: [
      {
        name: 'v1',
        served: true,
        storage: true,
        schema: {
          openAPIV3Schema: {
            type: 'object',
            properties: {
              spec: {
                type: 'object',
                'x-kubernetes-preserve-unknown-fields': true,
                'x-kubernetes-validations': [{ rule: 'true' }],
                properties: { mode: { type: 'string', default: 'a', enum: ['a', 'b'] } },
              },
            },
          },
        },
      },
    ],
  },
})

const resolveSoon = async (kube: Kube, group: string, kind: string): Promise<ResourceType> =>
  await waitFor(`${kind} to be served`, async () => {
    kube.forgetDiscovery(group)
    return await kube.resolve({ group, version: 'v1', kind })
  })

test('an applied object keeps every field, and unknown ones are kept where the schema allows', async () => {
  const kube = await connect()
  const crds = await kube.resolve({ group: 'apiextensions.k8s.io', version: 'v1', kind: 'CustomResourceDefinition' })
  const crd = makeCrd('widgets', 'Widget', 'keep.example.com')
  const applied = await kube.apply(crds, crd.metadata, crd)
  expect(JSON.stringify(applied)).toContain('x-kubernetes-preserve-unknown-fields')
  expect(JSON.stringify(applied)).toContain('"default":"a"')
  expect(JSON.stringify(applied)).toContain('x-kubernetes-validations')
  const widgets = await resolveSoon(kube, 'keep.example.com', 'Widget')
  // Bytes as in an artifact: the large integer must not pass through a JavaScript number.
  const bytes = Buffer.from(
    '{"apiVersion":"keep.example.com/v1","kind":"Widget","metadata":{"name":"w","namespace":"default"},"spec":{"any":{"x":[1,null]},"big":9007199254740993}}',
  )
  const widget = await kube.apply(widgets, { name: 'w', namespace: 'default' }, bytes)
  expect(widget).toMatchObject({ kind: 'Widget', spec: { any: { x: [1, null] }, mode: 'a' } })
  expect(widget.metadata.managedFields?.[0]).toMatchObject({ manager: 'fairlead', operation: 'Apply' })
  const stored = await cluster.admin.requestText('GET', '/apis/keep.example.com/v1/namespaces/default/widgets/w')
  expect(stored).toContain('9007199254740993')
})

test('applying the same twice writes nothing, and a dry run never does', async () => {
  const kube = await connect()
  const resource = await kube.resolve(configMapKind)
  const target = { name: 'twice', namespace: 'default' }
  const first = await kube.apply(resource, target, configMap('twice'))
  const second = await kube.apply(resource, target, configMap('twice'))
  expect(second.metadata.resourceVersion).toBe(first.metadata.resourceVersion)
  const dry = await kube.apply(resource, target, configMap('twice', { a: '2' }), { dryRun: true })
  expect(dry.data).toEqual({ a: '2' })
  expect((await kube.get(resource, target))?.data).toEqual({ a: '1' })
})

test('metadata only means metadata only, with managed fields and the real kind', async () => {
  const kube = await connect()
  const resource = await kube.resolve(configMapKind)
  const target = { name: 'meta', namespace: 'default' }
  const applied = await kube.apply(resource, target, configMap('meta'), { metadataOnly: true })
  const read = await kube.get(resource, target, { metadataOnly: true })
  for (const object of [applied, read]) {
    expect(Object.keys(object as KubernetesObject).sort()).toEqual(['apiVersion', 'kind', 'metadata'])
    expect(object).toMatchObject({ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'meta' } })
    expect(object?.metadata.managedFields).toHaveLength(1)
  }
})

test('a list is read in pages and comes complete', async () => {
  const kube = await connect()
  const resource = await kube.resolve(configMapKind)
  const names = Array.from({ length: 23 }, (_, index) => `page-${String(index).padStart(2, '0')}`)
  await Promise.all(names.map((name) => kube.apply(resource, { name, namespace: 'default' }, configMap(name))))
  const sizes: number[] = []
  for await (const page of kube.listPages(resource, { labelSelector: 'test=page', limit: 10, metadataOnly: true })) {
    sizes.push(page.items.length)
  }
  expect(sizes).toEqual([10, 10, 3])
  const { items, resourceVersion } = await kube.list(resource, { labelSelector: 'test=page', limit: 10 })
  expect(items.map((item) => item.metadata.name)).toEqual(names)
  expect(items[0]).toMatchObject({ apiVersion: 'v1', kind: 'ConfigMap', data: { a: '1' } })
  expect(resourceVersion).toMatch(/^\d+$/)
})

test('create, replace, patch and delete do what they say, guarded by uid and version', async () => {
  const kube = await connect()
  const resource = await kube.resolve(configMapKind)
  const target = { name: 'verbs', namespace: 'default' }
  const created = await kube.create(resource, target, configMap('verbs'))
  await expect(kube.create(resource, target, configMap('verbs'))).rejects.toMatchObject({ code: 'AlreadyExists' })
  const replaced = await kube.replace(resource, target, { ...created, data: { a: '2' } })
  expect(replaced.data).toEqual({ a: '2' })
  await expect(kube.replace(resource, target, created)).rejects.toMatchObject({ code: 'ApplyConflict' })
  const patched = await kube.patchJson(resource, target, [{ op: 'add', path: '/data/b', value: '3' }])
  expect(patched.data).toEqual({ a: '2', b: '3' })
  const other = '00000000-0000-0000-0000-000000000000'
  await expect(kube.delete(resource, target, { uid: other })).rejects.toMatchObject({ code: 'ApplyConflict' })
  expect(await kube.delete(resource, target, { uid: created.metadata.uid })).toBe('deleted')
  expect(await kube.delete(resource, target, { uid: created.metadata.uid })).toBe('absent')
  expect(await kube.get(resource, target)).toBeUndefined()
})

test('a delete that waits for a finalizer says so', async () => {
  const kube = await connect()
  const resource = await kube.resolve(configMapKind)
  const target = { name: 'held', namespace: 'default' }
  const held = configMap('held')
  await kube.apply(resource, target, { ...held, metadata: { ...held.metadata, finalizers: ['example.com/hold'] } })
  expect(await kube.delete(resource, target)).toBe('terminating')
  await kube.patchJson(resource, target, [{ op: 'remove', path: '/metadata/finalizers' }])
  expect(await kube.get(resource, target)).toBeUndefined()
})

test('each refusal of the API server has its code and keeps its words', async () => {
  const kube = await connect()
  const configMaps = await kube.resolve(configMapKind)
  const services = await kube.resolve({ group: '', version: 'v1', kind: 'Service' })
  const refusal = async (promise: Promise<unknown>): Promise<KubeError> => {
    const error = await promise.then(
      () => undefined,
      (thrown: unknown) => thrown,
    )
    expect(error).toBeInstanceOf(KubeError)
    return error as KubeError
  }
  const lost = { name: 'x', namespace: 'nowhere' }
  const noNamespace = await refusal(kube.apply(configMaps, lost, configMap('x', {}, 'nowhere')))
  expect(noNamespace).toMatchObject({
    code: 'NamespaceNotFound',
    status: 404,
    context: { object: 'ConfigMap nowhere/x' },
  })
  expect(noNamespace.message).toContain('namespaces "nowhere" not found')

  const target = { name: 'bad', namespace: 'default' }
  const service = (spec: object) => ({ apiVersion: 'v1', kind: 'Service', metadata: target, spec })
  const invalid = await refusal(kube.apply(services, target, service({ ports: [{ port: 99999 }] })))
  expect(invalid).toMatchObject({ code: 'ApplyInvalid', status: 422, reason: 'Invalid' })
  expect(invalid.causes[0]?.field).toContain('spec.ports')

  const frozen = { ...configMap('frozen'), immutable: true }
  const frozenName = { name: 'frozen', namespace: 'default' }
  await kube.apply(configMaps, frozenName, frozen)
  const immutable = await refusal(kube.apply(configMaps, frozenName, { ...frozen, data: { a: '2' } }))
  expect(immutable.code).toBe('ImmutableField')

  const notServed = { ...configMaps, plural: 'nothings', kind: 'Nothing' }
  expect((await refusal(kube.apply(notServed, target, configMap('bad')))).code).toBe('UnknownKind')
  await expect(kube.resolve({ group: 'no.example.com', version: 'v1', kind: 'Nothing' })).rejects.toMatchObject({
    code: 'UnknownKind',
  })
})

test('what the API server quotes from a Secret is not in the error', async () => {
  const kube = await connect()
  const secrets = await kube.resolve({ group: '', version: 'v1', kind: 'Secret' })
  const target = { name: 'leaky', namespace: 'default' }
  const base = { apiVersion: 'v1', kind: 'Secret', metadata: target }
  const bodies = [
    { ...base, data: { password: 'hunter2-not-base64' } },
    { ...base, stringData: { password: 271828182845 } },
    { ...base, data: 'hunter2' },
    { ...base, type: 'kubernetes.io/dockerconfigjson', data: { '.dockerconfigjson': 'aHVudGVyMg==' } },
    `{"apiVersion":"v1","kind":"Secret","metadata":{"name":"leaky"},"stringData":{"a":"hunter2}}`,
  ]
  for (const body of bodies) {
    const error = await kube.apply(secrets, target, body).then(
      () => undefined,
      (thrown: KubeError) => thrown,
    )
    expect(error).toMatchObject({ code: 'ApplyInvalid', context: { object: 'Secret default/leaky' } })
    const shown = `${error?.message} ${JSON.stringify(error)} ${error?.stack}`
    expect(shown).not.toMatch(/hunter2|271828|aHVudGVyMg/)
  }
})

test('a name that would reach another path is refused before anything is sent', async () => {
  const kube = await connect()
  const resource = await kube.resolve(configMapKind)
  for (const name of ['..', '.', 'a/status', 'a%2Fstatus', '../secrets/x', '']) {
    await expect(kube.get(resource, { name, namespace: 'default' })).rejects.toMatchObject({ code: 'InvalidManifest' })
    await expect(kube.get(resource, { name: 'a', namespace: name })).rejects.toThrow()
  }
})

test('a kind whose CRD appears later is found', async () => {
  const kube = await connect()
  const group = 'later.example.com'
  await expect(kube.resolve({ group, version: 'v1', kind: 'Gadget' })).rejects.toMatchObject({ code: 'UnknownKind' })
  await cluster.admin.apply(makeCrd('gadgets', 'Gadget', group))
  const found = await waitFor(
    'Gadget to be served',
    async () => await kube.resolve({ group, version: 'v1', kind: 'Gadget' }),
  )
  expect(found).toMatchObject({ plural: 'gadgets', namespaced: true })
  const { types } = await kube.servedTypes()
  expect(types).toContainEqual(expect.objectContaining({ group: 'apps', kind: 'Deployment', plural: 'deployments' }))
  expect(types.filter((type) => type.kind === 'ConfigMap')).toHaveLength(1)
})

test('all requests share one connection, and a second one carries what does not fit', async () => {
  await using proxy = await startProxy({ port: cluster.port })
  const kubeconfig = cluster.writeKubeconfig('proxied', { server: `https://${proxy.address}` })
  const kube = await connect(await kubeconfigAccess(kubeconfig))
  const resource = await kube.resolve(configMapKind)
  await Promise.all(Array.from({ length: 40 }, () => kube.list(resource, { limit: 1 })))
  expect(proxy.counts.accepted).toBe(1)
  const controller = new AbortController()
  const watches = await Promise.all(
    Array.from({ length: 100 }, () =>
      kube.watch(resource, { resourceVersion: '0', timeoutSeconds: 60, signal: controller.signal }),
    ),
  )
  expect(watches).toHaveLength(100)
  expect(await kube.get(resource, { name: 'absent', namespace: 'default' })).toBeUndefined()
  expect(proxy.counts.accepted).toBeLessThanOrEqual(3)
  controller.abort()
})

test('aborting ends a call at once, and the next one works', async () => {
  const kube = await connect()
  const resource = await kube.resolve(configMapKind)
  const controller = new AbortController()
  const options = { resourceVersion: '0', timeoutSeconds: 60, signal: controller.signal }
  const events = await kube.watch(resource, options)
  const reading = (async () => {
    for await (const event of events) if (event.type === 'DELETED') return
  })()
  controller.abort()
  await expect(reading).rejects.toMatchObject({ code: 'Aborted' })
  await expect(kube.list(resource, { signal: controller.signal })).rejects.toMatchObject({ code: 'Aborted' })
  expect((await kube.list(resource)).items.length).toBeGreaterThan(0)
})

test('a connection cut under way costs a read or an apply nothing', async () => {
  await using proxy = await startProxy({ port: cluster.port })
  const kube = await connect(
    await kubeconfigAccess(cluster.writeKubeconfig('cut', { server: `https://${proxy.address}` })),
  )
  const resource = await kube.resolve(configMapKind)
  proxy.delayMs = 20
  for (let round = 0; round < 5; round++) {
    const name = `cut-${round}`
    const work = Promise.all([
      kube.list(resource),
      kube.apply(resource, { name, namespace: 'default' }, configMap(name)),
      kube.get(resource, { name: 'twice', namespace: 'default' }),
    ])
    await new Promise((resolve) => setImmediate(resolve))
    proxy.breakConnections()
    const [, applied] = await work
    expect(applied.metadata.name).toBe(name)
  }
})

test('an API server that does not answer is reported within the time limit', async () => {
  await using proxy = await startProxy({ port: cluster.port })
  const kube = await connect(
    await kubeconfigAccess(cluster.writeKubeconfig('frozen', { server: `https://${proxy.address}` })),
  )
  const resource = await kube.resolve(configMapKind)
  proxy.freeze()
  await expect(kube.list(resource, { timeoutMs: 300 })).rejects.toMatchObject({
    code: 'ApiServerUnavailable',
    message: 'the API server did not answer within 300 ms',
  })
})

test('a connection that is refused is reported at once, and the API server is found again when it is back', async () => {
  await using proxy = await startProxy({ port: cluster.port })
  const kube = await connect(
    await kubeconfigAccess(cluster.writeKubeconfig('away', { server: `https://${proxy.address}` })),
  )
  const resource = await kube.resolve(configMapKind)
  await proxy.cut()
  await expect(kube.list(resource)).rejects.toMatchObject({ code: 'ApiServerUnavailable' })
  await proxy.restore()
  await waitFor('the API server to be reached again', async () => await kube.list(resource, { limit: 1 }))
})

test('a server whose certificate the CA did not sign is not talked to', async () => {
  await using other = await startCluster({ name: 'other', audit: false })
  const { access } = mountedAccess(cluster.adminToken)
  const kube = await connect({ ...access, server: other.server })
  await expect(kube.request({ method: 'GET', path: '/api' })).rejects.toMatchObject({ code: 'ApiServerUnavailable' })
  const wrongName = await connect({
    ...access,
    tls: async () => ({ ...(await access.tls()), servername: 'elsewhere' }),
  })
  await expect(wrongName.request({ method: 'GET', path: '/api' })).rejects.toThrow(/cannot connect/)
})

test('a replaced token is used as soon as the old one is refused', async () => {
  const { access, setToken } = mountedAccess(cluster.adminToken)
  const kube = await connect(access)
  const resource = await kube.resolve(configMapKind)
  setToken('wrong')
  // Cached: still the old one.
  await kube.list(resource, { limit: 1 })
  const stale = mountedAccess('wrong')
  const late = await connect(stale.access)
  await expect(late.list(resource)).rejects.toMatchObject({ status: 401, code: 'ApiServerUnavailable' })
  stale.setToken(cluster.adminToken)
  await late.list(resource, { limit: 1 })
})

test('a service account without permission is told so', async () => {
  const account = { apiVersion: 'v1', kind: 'ServiceAccount', metadata: { name: 'nobody', namespace: 'default' } }
  await cluster.admin.create(account)
  const { token } = await cluster.admin.createToken('default', 'nobody')
  const kube = await connect(mountedAccess(token).access)
  const resource = await kube.resolve(configMapKind)
  const forbidden = kube.apply(resource, { name: 'f', namespace: 'default' }, configMap('f'))
  await expect(forbidden).rejects.toMatchObject({ code: 'ApplyForbidden', status: 403, reason: 'Forbidden' })
})

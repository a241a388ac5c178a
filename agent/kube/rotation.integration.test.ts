// What proves us, and what proves the API server, is replaced while the agent runs: nothing must be restarted.
import { mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { type Cluster, startCluster } from '@fairlead/e2e/harness/cluster'
import { waitFor } from '@fairlead/e2e/harness/wait'
import { silentLogger } from '@fairlead/shared/logger'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { createTestCa } from '../testbed/certificates.ts'
import { createWatcher, type Watcher } from '../watcher/watcher.ts'
import { type ApiServerAccess, inClusterAccess, kubeconfigAccess } from './access.ts'
import { createKube, type Kube } from './kube.ts'

const folder = mkdtempSync(path.join(tmpdir(), 'fairlead-rotation-'))
const clientCaFile = path.join(folder, 'client-ca.crt')
const firstCa = createTestCa('First client CA')
let cluster: Cluster
let kubes: Kube[] = []
let watchers: Watcher[] = []

beforeAll(async () => {
  writeFileSync(clientCaFile, firstCa.certificatePem)
  cluster = await startCluster({ name: 'rotation', apiServerArgs: [`--client-ca-file=${clientCaFile}`] })
})
afterEach(async () => {
  await Promise.all(watchers.map(async (watcher) => await watcher.stop()))
  await Promise.all(kubes.map(async (kube) => await kube.close()))
  watchers = []
  kubes = []
})
afterAll(async () => {
  await cluster?.stop()
  rmSync(folder, { recursive: true, force: true })
})

const configMapKind = { group: '', version: 'v1', kind: 'ConfigMap' }
const connect = (access: ApiServerAccess): Kube => {
  const kube = createKube({ access, userAgent: 'fairlead-agent/rotation', logger: silentLogger })
  kubes.push(kube)
  return kube
}
/** Puts a whole file in the place of another, as the kubelet does. */
const replace = (file: string, content: string | Buffer): void => {
  writeFileSync(`${file}.new`, content)
  renameSync(`${file}.new`, file)
}
const put = async (name: string) =>
  await cluster.admin.apply(
    { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name, namespace: 'default', labels: { rotation: 'yes' } } } as {
      apiVersion: string
      kind: string
    },
    { force: true },
  )
/** A watcher, which must be there after each rotation as it was before. */
const watch = async (kube: Kube) => {
  const events: string[] = []
  const watcher = createWatcher({
    kube,
    labelSelector: 'rotation=yes',
    logger: silentLogger,
    timing: { leastSeconds: 1, mostSeconds: 1 },
    onEvent: ({ object }) => events.push(object.metadata.name),
  })
  watchers.push(watcher)
  await watcher.ensure(await kube.resolve(configMapKind), { metadataOnly: true })
  const hears = async (name: string) => {
    await put(name)
    await waitFor(`the event of ${name}`, () => events.includes(name))
  }
  return { hears, isRefused: () => watcher.states()[0]?.state === 'unavailable' }
}

const mount = (token: string) => {
  const podRoot = mkdtempSync(path.join(folder, 'pod-'))
  const mounted = path.join(podRoot, 'var/run/secrets/kubernetes.io/serviceaccount')
  mkdirSync(mounted, { recursive: true })
  const [tokenFile, caFile] = [path.join(mounted, 'token'), path.join(mounted, 'ca.crt')]
  writeFileSync(tokenFile, token)
  writeFileSync(caFile, readFileSync(cluster.caFile))
  return { tokenFile, caFile, access: inClusterAccess({ host: '127.0.0.1', port: cluster.port, podRoot }) }
}

/** A token of the administrator `rotating` that is good for as long as a Secret of that name is there. */
const boundToken = async (secret: string): Promise<{ token: string; revoke: () => Promise<unknown> }> => {
  const metadata = { name: 'rotating', namespace: 'default' }
  const account = { apiVersion: 'v1', kind: 'ServiceAccount', metadata }
  const binding = {
    apiVersion: 'rbac.authorization.k8s.io/v1',
    kind: 'ClusterRoleBinding',
    metadata: { name: 'rotating' },
    roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: 'cluster-admin' },
    subjects: [{ kind: 'ServiceAccount', ...metadata }],
  } as Parameters<typeof cluster.admin.apply>[0]
  await cluster.admin.apply(account)
  await cluster.admin.apply(binding)
  const reference = { apiVersion: 'v1', kind: 'Secret', metadata: { name: secret, namespace: 'default' } }
  const { uid } = (await cluster.admin.create(reference)).metadata
  const boundObjectRef = { apiVersion: 'v1', kind: 'Secret', name: secret, uid }
  const { token } = await cluster.admin.createToken('default', 'rotating', { boundObjectRef })
  return { token, revoke: async () => await cluster.admin.delete(reference) }
}

test('a token that ends is replaced by the one in its file, without an error and without a restart', async () => {
  const [first, second] = [await boundToken('first'), await boundToken('second')]
  const { access, tokenFile } = mount(first.token)
  const kube = connect(access)
  const { hears } = await watch(kube)
  const resource = await kube.resolve(configMapKind)
  await hears('token-before')
  replace(tokenFile, second.token)
  await first.revoke()
  // API servers remember for ten seconds that a token was good.
  const refusing = createKube({
    access: { ...access, authorization: async () => `Bearer ${first.token}` },
    userAgent: 'fairlead-agent/old-token',
    logger: silentLogger,
  })
  kubes.push(refusing)
  const isRefused = async () =>
    await refusing.request({ method: 'GET', path: '/api' }).then(({ status }) => status === 401)
  await waitFor('the old token to be refused', isRefused, { timeoutMs: 30_000, intervalMs: 200 })
  expect((await kube.list(resource, { labelSelector: 'rotation=yes' })).items.length).toBeGreaterThan(0)
  await hears('token-after')
})

test('a token that ends before its file is replaced is waited for, and the watch goes on with the new one', async () => {
  const first = await boundToken('third')
  const { access, tokenFile } = mount(first.token)
  const kube = connect(access)
  const { hears, isRefused } = await watch(kube)
  await first.revoke()
  await waitFor('the token to be refused', isRefused, { timeoutMs: 30_000 })
  await expect(kube.list(await kube.resolve(configMapKind))).rejects.toMatchObject({ code: 'ApiServerUnavailable' })
  replace(tokenFile, (await boundToken('fourth')).token)
  await hears('token-late')
})

test('a client certificate that is not taken any more is replaced by the one in its file, over a new connection', async () => {
  const [certificate, key] = [path.join(folder, 'client.crt'), path.join(folder, 'client.key')]
  const issue = (ca: typeof firstCa): void => {
    const { certificatePem, keyPem } = ca.issue(['agent'], '/O=system:masters/CN=agent')
    replace(key, keyPem)
    replace(certificate, certificatePem)
  }
  issue(firstCa)
  const file = path.join(folder, 'kubeconfig')
  const config = (user: object) => ({
    apiVersion: 'v1',
    kind: 'Config',
    clusters: [{ name: 'c', cluster: { server: cluster.server, 'certificate-authority': cluster.caFile } }],
    users: [{ name: 'u', user }],
    contexts: [{ name: 'c', context: { cluster: 'c', user: 'u' } }],
    'current-context': 'c',
  })
  const byFiles = config({ 'client-certificate': certificate, 'client-key': key })
  writeFileSync(file, JSON.stringify(byFiles))
  const kube = connect(await kubeconfigAccess(file))
  const { hears, isRefused } = await watch(kube)
  await hears('certificate-before')
  const secondCa = createTestCa('Second client CA')
  replace(clientCaFile, secondCa.certificatePem)
  await waitFor('the old certificate to be refused', isRefused, { timeoutMs: 90_000 })
  issue(secondCa)
  await hears('certificate-after')
  // And by a kubeconfig that is written anew, with its content in it.
  const third = secondCa.issue(['agent'], '/O=system:masters/CN=inline')
  const inline = { 'client-certificate-data': third.certificatePem, 'client-key-data': third.keyPem }
  const encoded = Object.entries(inline).map(([name, pem]) => [name, Buffer.from(pem).toString('base64')])
  replace(file, JSON.stringify(config(Object.fromEntries(encoded))))
  const since = Date.now()
  await cluster.restartApiServer()
  await hears('certificate-inline')
  const users = cluster.auditLog({ userAgent: 'fairlead-agent/rotation', since }).map(({ user }) => user)
  expect(users).toContain('inline')
}, 150_000)

test('an API server whose certificate is signed by another CA is trusted once the CA bundle in the pod says so, and not before', async () => {
  const { access, caFile } = mount(cluster.adminToken)
  const kube = connect(access)
  const { hears, isRefused } = await watch(kube)
  await hears('ca-before')
  rmSync(path.dirname(cluster.caFile), { recursive: true })
  await cluster.restartApiServer()
  await waitFor('the new certificate to be refused', isRefused)
  await expect(kube.request({ method: 'GET', path: '/api' })).rejects.toMatchObject({ code: 'ApiServerUnavailable' })
  replace(caFile, readFileSync(cluster.caFile))
  await hears('ca-after')
})

// The kubelet stand-in, running a small pod as it will run the agent's.

import { writeFileSync } from 'node:fs'
import path from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type Cluster, startCluster } from './cluster.ts'
import { makeRunFolder } from './guardian.ts'
import { getField, type KubeClient, type KubeReference } from './kube-client.ts'
import { startKubelet } from './kubelet.ts'
import { startProxy } from './proxy.ts'
import { waitFor } from './wait.ts'

// What runs in the pod: it tells what it was given, and what the API server answers to its token.
const program = `
const { readFileSync } = require('node:fs')
const account = process.env.FAIRLEAD_POD_ROOT + '/var/run/secrets/kubernetes.io/serviceaccount/'
process.on('SIGTERM', () => process.exit(0))
require('node:http').createServer(async (request, response) => {
  if (request.url === '/healthz') return response.end('ok')
  const { POD_NAMESPACE, PASSWORD, COLOUR, GREETING, KUBERNETES_SERVICE_HOST: host, KUBERNETES_SERVICE_PORT: port } = process.env
  const token = readFileSync(account + 'token', 'utf8')
  const file = readFileSync(process.env.FAIRLEAD_POD_ROOT + '/etc/app/settings.txt', 'utf8')
  const own = { host, port, ca: readFileSync(account + 'ca.crt'), headers: { authorization: 'Bearer ' + token } }
  const ask = (path) => new Promise((resolve) => require('node:https')
    .get({ ...own, path, agent: false }, (answer) => { answer.resume(); resolve(answer.statusCode) }).on('error', (error) => resolve(error.code)))
  const codes = [await ask('/api/v1/namespaces/app/configmaps/settings'), await ask('/api/v1/secrets')]
  response.end(JSON.stringify({ POD_NAMESPACE, PASSWORD, COLOUR, GREETING, file, codes, args: process.argv.slice(2) }))
}).listen(Number(process.env.FAIRLEAD_HTTP_PORT), '127.0.0.1', () => console.log('listening'))
`
const file = path.join(makeRunFolder('program'), 'app.cjs')
writeFileSync(file, program)
const images = {
  'registry.example.com/app': ({ args }: { args: readonly string[] }) => [process.execPath, file, ...args],
}

const inApp = (kind: string, name: string, apiVersion = 'v1') => ({
  apiVersion,
  kind,
  metadata: { namespace: 'app', name },
})
const probe = { httpGet: { path: '/healthz', port: 'http' }, periodSeconds: 1, failureThreshold: 1 }

function deployment(env: object[] = []) {
  return {
    ...inApp('Deployment', 'app', 'apps/v1'),
    spec: {
      replicas: 1,
      strategy: { type: 'Recreate' },
      selector: { matchLabels: { 'app.kubernetes.io/name': 'fairlead-agent' } },
      template: {
        metadata: { labels: { 'app.kubernetes.io/name': 'fairlead-agent' } },
        spec: {
          serviceAccountName: 'app',
          terminationGracePeriodSeconds: 5,
          securityContext: { runAsNonRoot: true, seccompProfile: { type: 'RuntimeDefault' } },
          containers: [container(env)],
          volumes: [{ name: 'settings', configMap: { name: 'settings' } }],
        },
      },
    },
  }
}

function container(env: object[]) {
  return {
    name: 'app',
    image: 'registry.example.com/app:1.0.0',
    args: ['--greeting=$(GREETING)'],
    ports: [{ name: 'http', containerPort: 8080 }],
    env: [
      { name: 'POD_NAMESPACE', valueFrom: { fieldRef: { fieldPath: 'metadata.namespace' } } },
      { name: 'PASSWORD', valueFrom: { secretKeyRef: { name: 'login', key: 'password' } } },
      { name: 'COLOUR', valueFrom: { configMapKeyRef: { name: 'settings', key: 'settings.txt' } } },
      { name: 'GREETING', value: 'hello from $(POD_NAMESPACE)' },
      ...env,
    ],
    volumeMounts: [{ name: 'settings', mountPath: '/etc/app' }],
    livenessProbe: probe,
    readinessProbe: probe,
    securityContext: {
      allowPrivilegeEscalation: false,
      readOnlyRootFilesystem: true,
      capabilities: { drop: ['ALL'] },
    },
  }
}

async function prepare(admin: KubeClient): Promise<void> {
  const role = { kind: 'Role', name: 'app', apiGroup: 'rbac.authorization.k8s.io' }
  const rules = [{ apiGroups: [''], resources: ['configmaps'], verbs: ['get'] }]
  const objects: (KubeReference & Record<string, unknown>)[] = [
    { apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'app' } },
    inApp('ServiceAccount', 'app'),
    { ...inApp('Secret', 'login'), stringData: { password: 'pssst' } },
    { ...inApp('ConfigMap', 'settings'), data: { 'settings.txt': 'blue' } },
    { ...inApp('Role', 'app', 'rbac.authorization.k8s.io/v1'), rules },
    {
      ...inApp('RoleBinding', 'app', 'rbac.authorization.k8s.io/v1'),
      roleRef: role,
      subjects: [{ kind: 'ServiceAccount', name: 'app', namespace: 'app' }],
    },
  ]
  for (const object of objects) await admin.create(object)
}

let cluster: Cluster
beforeAll(async () => {
  cluster = await startCluster({ name: 'kubelet' })
  await prepare(cluster.admin)
})
afterAll(() => cluster?.stop())

type Answer = { readonly codes: readonly (number | string)[] }
const ask = async (port: number | undefined) => (await (await fetch(`http://127.0.0.1:${port}/`)).json()) as Answer

test('runs a pod with its environment, secret, files and token, and keeps it as the Deployment says', async () => {
  await using proxy = await startProxy({ port: cluster.port })
  await using kubelet = startKubelet({ cluster, namespace: 'app', deployment: 'app', images, apiServer: proxy })
  await cluster.admin.create(deployment())

  const first = await kubelet.waitUntilReady()
  expect(await ask(first.findPort('http'))).toEqual({
    POD_NAMESPACE: 'app',
    PASSWORD: 'pssst',
    COLOUR: 'blue',
    GREETING: 'hello from app',
    file: 'blue',
    codes: [200, 403],
    args: ['--greeting=hello from app'],
  })
  expect(cluster.auditLog({ user: 'system:serviceaccount:app:app' }).map(({ code }) => code)).toEqual([200, 403])
  expect(kubelet.process.usage().rssBytes).toBeGreaterThan(20_000_000)

  await proxy.cut()
  expect((await ask(first.findPort('http'))).codes).toEqual(['ECONNREFUSED', 'ECONNREFUSED'])
  await proxy.restore()

  await cluster.admin.patch(inApp('ConfigMap', 'settings'), { data: { 'settings.txt': 'red' } })
  await kubelet.refreshVolumes()
  expect(await ask(first.findPort('http'))).toMatchObject({ COLOUR: 'blue', file: 'red' })

  await kubelet.kill()
  await waitFor('a restart after the kill', () => first.restartCount === 1 && first.ready, { logs: [kubelet] })
  kubelet.pause()
  await waitFor('a restart after the liveness probe', () => first.restartCount === 2 && first.ready, {
    logs: [kubelet],
  })
  await waitFor('the Pod to say so', async () => {
    const [pod] = await cluster.admin.list(inApp('Pod', ''))
    return getField(pod, 'status.containerStatuses.0.restartCount') === 2
  })

  await cluster.admin.apply(deployment([{ name: 'MORE', value: '1' }]), { force: true })
  const second = await waitFor('the new pod', () => kubelet.pods.find((pod) => pod !== first && pod.ready), {
    logs: [kubelet],
  })
  expect(second.pod.spec.containers[0]?.env).toContainEqual({ name: 'MORE', value: '1' })
  expect(first.process?.exit).toEqual({ code: 0, signal: null })
  await waitFor('the Deployment to be available', async () => {
    const { status, metadata } = await cluster.admin.get(deployment())
    return status?.availableReplicas === 1 && status.observedGeneration === metadata.generation
  })

  await cluster.admin.delete(deployment())
  await waitFor('the pod to end', () => second.process?.running === false && kubelet.pods.length === 0, {
    logs: [kubelet],
  })
  expect(await cluster.admin.list(inApp('Pod', ''))).toEqual([])
})

test('keeps the pod running while the API server is away', async () => {
  await using kubelet = startKubelet({ cluster, namespace: 'app', deployment: 'app', images })
  await cluster.admin.create(deployment())
  const pod = await kubelet.waitUntilReady()
  await cluster.killApiServer()
  expect((await ask(pod.findPort(8080))).codes[0]).toBe('ECONNREFUSED')
  await cluster.restartApiServer()
  expect((await ask(pod.findPort(8080))).codes[0]).toBe(200)
  expect(pod.restartCount).toBe(0)
  await cluster.admin.delete(deployment())
  await waitFor('the pod to end', () => kubelet.pods.length === 0, { logs: [kubelet] })
})

test('refuses a pod that may become root, and one whose Secret is not there, and says why', async () => {
  await using kubelet = startKubelet({ cluster, namespace: 'app', deployment: 'app', images })
  const loose = deployment()
  Object.assign(loose.spec.template.spec, { securityContext: {} })
  await cluster.admin.create(loose)
  const reasonOf = () => getField(kubelet.pods[0]?.status, 'containerStatuses.0.state.waiting.message')
  await waitFor('the refusal', (see) => {
    see(reasonOf())
    return String(reasonOf()).includes('runAsNonRoot must be true; container app: seccompProfile.type must be')
  })
  await cluster.admin.delete(inApp('Secret', 'login'))
  await cluster.admin.apply(deployment(), { force: true })
  await waitFor('the missing Secret', () => reasonOf() === 'secret "login" not found', { logs: [kubelet] })
  await cluster.admin.create({ ...inApp('Secret', 'login'), stringData: { password: 'pssst' } } as never)
  await kubelet.waitUntilReady()
  await cluster.admin.delete(deployment())
  await waitFor('the pod to end', () => kubelet.pods.length === 0, { logs: [kubelet] })
})

test('on a full cluster, runs the pod that the controllers made, and kwok leaves it alone', async () => {
  await using full = await startCluster({ name: 'full', full: true })
  await prepare(full.admin)
  await full.admin.create(deployment())
  await waitFor('a pending pod on the node', async (see) => {
    const pods = await full.admin.list(inApp('Pod', ''))
    see(pods)
    return pods[0]?.spec?.nodeName === 'node-1' && pods[0].status?.phase === 'Pending'
  })
  await using kubelet = startKubelet({ cluster: full, namespace: 'app', deployment: 'app', images })
  await kubelet.waitUntilReady()
  await waitFor(
    'the Deployment to be available',
    async () => (await full.admin.get(deployment())).status?.availableReplicas === 1,
  )
  await full.admin.delete(deployment())
  await waitFor('the pod to end', () => kubelet.pods.length === 0, { logs: [kubelet] })
  await waitFor('the Pod to go', async () => (await full.admin.list(inApp('Pod', ''))).length === 0)
})

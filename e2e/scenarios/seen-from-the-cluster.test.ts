// What an agent shows to those who look into its pod: status, support bundle, metrics and Events, of one that really works.
import { execFile } from 'node:child_process'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { parseExposition, sumOf } from '../harness/exposition.ts'
import { type Fleet, startFleet } from '../harness/fleet.ts'
import { agentNamespace, type FleetCluster } from '../harness/fleet-cluster.ts'
import { getField } from '../harness/kube-client.ts'
import { waitFor } from '../harness/wait.ts'
import { findDeployment } from './fleet-status.ts'
import { applicationDefinition, configMap, configMapReference, repositoryDefinition } from './manifests.ts'

const run = promisify(execFile)
const root = path.resolve(import.meta.dirname, '../..')
const node = path.join(root, 'node_modules/.bin/node')
const secrets = ['correct-horse-battery', 'a-value-of-a-configmap']
let fleet: Fleet
let eu: FleetCluster
let folder = ''

beforeAll(async () => {
  folder = mkdtempSync(path.join(tmpdir(), 'seen-'))
  fleet = await startFleet()
  const shop = fleet.git.createRepository('shop')
  const secret = {
    apiVersion: 'v1',
    kind: 'Secret',
    metadata: { name: 'password' },
    data: { word: Buffer.from(secrets[0] ?? '').toString('base64') },
  }
  // Refused by the API server, which quotes it.
  const broken = { apiVersion: 'v1', kind: 'Service', metadata: { name: 'broken' }, spec: { type: secrets[1] } }
  const documents = [
    configMap('web', { a: '1', quiet: secrets[1] ?? '' }),
    `${JSON.stringify(secret)}\n`,
    `${JSON.stringify(broken)}\n`,
  ]
  shop.commit({ 'web/all.yaml': documents.join('---\n') })
  eu = await fleet.addCluster('eu')
  await fleet.apply(
    repositoryDefinition('shop', shop.url) + applicationDefinition('web', { repository: 'shop', namespace: 'default' }),
  )
  await fleet.waitForStatus('the broken Service to be told', (status) =>
    (findDeployment(status, 'web', 'eu')?.report?.problems ?? []).some(({ object }) => object?.name === 'broken'),
  )
})
afterAll(async () => {
  rmSync(folder, { recursive: true, force: true })
  await fleet?.[Symbol.asyncDispose]()
})

const exec = (...args: readonly string[]) => eu.exec(...args)

async function metrics() {
  const response = await eu.metrics()
  expect(response.headers.get('content-type')).toContain('version=0.0.4')
  return parseExposition(await response.text())
}

async function editAndAwaitRepair(): Promise<void> {
  const reference = configMapReference('web')
  await eu.cluster.admin.patch(reference, { data: { a: '2' } }, { type: 'merge', fieldManager: 'kubectl-edit' })
  await waitFor('it to be put back', async () => getField(await eu.cluster.admin.get(reference), 'data.a') === '1')
}

test('fairlead agent status tells applications, problems, drift, slice and connection, as text and as JSON', async () => {
  await editAndAwaitRepair()
  const json = await waitFor('the drift to be told', async (see) => {
    const found = JSON.parse((await exec('agent', 'status', '-o', 'json')).stdout.toString())
    see(found)
    return found.applications[0]?.drifts.length > 0 && found
  })
  expect(json).toMatchObject({
    role: 'alone',
    cluster: 'eu',
    joined: true,
    ready: true,
    natsConnected: true,
    apiServer: 'reachable',
    namespace: agentNamespace,
    stuck: [],
    policy: { namespaces: null },
    applications: [{ name: 'web', sync: 'OutOfSync', objects: 3, repairs: 1 }],
  })
  expect(json.applications[0].drifts[0]).toMatchObject({ manager: 'kubectl-edit', fields: ['data.a'], kind: 'changed' })
  expect(json.applications[0].problems[0]).toMatchObject({
    code: 'ApplyInvalid',
    source: expect.stringContaining('web/all.yaml'),
  })
  expect(BigInt(json.slice.generation)).toBeGreaterThan(0n)
  expect(json.kubernetesVersion).toMatch(/^v1\./)
  const { stdout } = await exec('agent', 'status')
  expect(stdout.toString()).toMatch(/^web +main@sha1:|^web +- /m)
  expect(stdout.toString()).toContain('changed by kubectl-edit: data.a (put back)')
  for (const secret of secrets.slice(0, 1)) expect(stdout.toString()).not.toContain(secret)
})

test('the socket is in the file system of the pod alone, for its own user; no port answers the same', async () => {
  const [pod] = eu.kubelet.pods
  const socket = path.join(pod?.mounts.root ?? '', 'run/fairlead/agent.sock')
  expect(existsSync(socket)).toBe(true)
  expect(statSync(socket).mode & 0o777).toBe(0o600)
  for (const url of ['/status', '/support-bundle']) {
    expect((await fetch(`http://127.0.0.1:${pod?.findPort('http')}${url}`)).status).toBe(404)
  }
})

test('a support bundle holds what helps, and none of what is secret: keys, tokens, Secrets, values of manifests', async () => {
  const own = await eu.cluster.admin.list({ apiVersion: 'v1', kind: 'Secret', metadata: { namespace: agentNamespace } })
  const kept = own.flatMap(({ data }) => Object.values(data ?? {}) as string[]).filter((value) => value.length > 24)
  const token = readFileSync(
    path.join(eu.kubelet.pods[0]?.mounts.root ?? '', 'var/run/secrets/kubernetes.io/serviceaccount/token'),
    'utf8',
  )
  expect(kept.length).toBeGreaterThan(3)
  const { stdout } = await exec('agent', 'support-bundle')
  writeFileSync(path.join(folder, 'bundle.tar.gz'), stdout)
  await run('tar', ['-xzf', 'bundle.tar.gz'], { cwd: folder })
  const [inside = ''] = readdirSync(folder).filter((name) => name.startsWith('fairlead-agent-'))
  const texts = readdirSync(path.join(folder, inside)).map((name) =>
    readFileSync(path.join(folder, inside, name), 'utf8'),
  )
  const all = texts.join('\n')
  const joinToken = /join\.token=(\S+?)['\s]/.exec(eu.installCommand)?.[1] ?? 'none'
  expect(joinToken).toMatch(/^flj_/)
  const decoded = kept
    .map((value) => Buffer.from(value, 'base64').toString('utf8'))
    .filter((text) => text.length > 12 && !/^(sha256:)?[0-9a-f-]+$|^[a-z2-7]{26}$/.test(text))
  for (const secret of [
    ...secrets,
    ...secrets.map((text) => Buffer.from(text).toString('base64')),
    joinToken,
    token,
    ...kept,
    ...decoded,
  ]) {
    expect(all.includes(secret), secret.slice(0, 12)).toBe(false)
  }
  expect(all).toContain('agent started')
  expect(all).toContain('"kind":"ConfigMap","namespace":"default","name":"web"')
  expect(all).toContain('fairlead_agent_applies_total')
  expect(all).toContain('ApplyInvalid')
})

test('the numbers are a valid exposition, and move with what is done', async () => {
  const before = await metrics()
  expect(sumOf(before, 'fairlead_agent_nats_connected')).toBe(1)
  expect(sumOf(before, 'fairlead_agent_slice_generation')).toBeGreaterThan(0)
  expect(sumOf(before, 'fairlead_agent_applications', { sync: 'OutOfSync' })).toBe(1)
  expect(sumOf(before, 'fairlead_agent_failures_total', { code: 'ApplyInvalid' })).toBeGreaterThan(0)
  await editAndAwaitRepair()
  const after = await waitFor('the repair to be counted', async () => {
    const found = await metrics()
    return (
      sumOf(found, 'fairlead_agent_drift_repairs_total') > sumOf(before, 'fairlead_agent_drift_repairs_total') && found
    )
  })
  const grown = (name: string, labels = {}) => sumOf(after, name, labels) - sumOf(before, name, labels)
  expect(grown('fairlead_agent_drift_repairs_total', { kind: 'changed' })).toBe(1)
  expect(grown('fairlead_agent_drift_repair_duration_seconds')).toBe(1)
  expect(grown('fairlead_agent_applies_total', { result: 'changed' })).toBeGreaterThanOrEqual(1)
  expect(grown('fairlead_agent_api_requests_total', { verb: 'patch', code: '200' })).toBeGreaterThanOrEqual(1)
  expect(sumOf(after, 'fairlead_agent_events_total', { result: 'sent' })).toBeGreaterThanOrEqual(1)
  expect(after.get('fairlead_agent_failures_total')?.samples.length).toBeLessThan(40)
})

test('what is not well is told by exit code and words: an agent that does not answer, and wrong usage', async () => {
  await expect(exec('agent', 'nonsense')).rejects.toMatchObject({ code: 2 })
  await expect(exec('status')).rejects.toMatchObject({ code: 2 })
  await expect(exec('agent', 'status', '-o', 'xml')).rejects.toMatchObject({ code: 2 })
  await expect(exec('agent', 'status', '--unknown')).rejects.toMatchObject({ code: 2 })
  const command = [path.join(root, 'agent/dist/fairlead.js'), 'agent', 'status']
  const elsewhere = run(node, command, { env: { PATH: process.env.PATH, FAIRLEAD_POD_ROOT: folder } })
  await expect(elsewhere).rejects.toMatchObject({ code: 1, stderr: expect.stringContaining('cannot be asked') })
})

test('an API server that goes away fails neither probe, and is told; a frozen agent answers none', async () => {
  const [pod] = eu.kubelet.pods
  const get = async (endpoint: string) => {
    const response = await fetch(`http://127.0.0.1:${pod?.findPort('http')}${endpoint}`, {
      signal: AbortSignal.timeout(1_000),
    })
    return { status: response.status, text: await response.text() }
  }
  await eu.cluster.killApiServer()
  try {
    await waitFor('it to be told', async () => (await get('/readyz')).text.includes('away since'), {
      timeoutMs: 20_000,
    })
    expect((await get('/readyz')).status).toBe(200)
    expect((await get('/healthz')).status).toBe(200)
    expect((await exec('agent', 'status')).stdout.toString()).toContain('API server away since')
  } finally {
    await eu.cluster.restartApiServer()
  }
  await waitFor('it to be back', async () => (await get('/readyz')).text.includes('reachable'), { timeoutMs: 20_000 })
  eu.kubelet.pause()
  await expect(get('/healthz')).rejects.toThrow()
  eu.kubelet.resume()
  expect((await get('/healthz')).status).toBe(200)
})

// What is in a Secret is in Git and in the cluster, and nowhere else: not in logs, status, reports, inventories or NATS.
import { execFileSync } from 'node:child_process'
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { gunzipSync } from 'node:zlib'
import type { FleetStatus } from '@fairlead/proto/fleet'
import { type Connections, connectBoth } from '@fairlead/server/nats/connections'
import { openTrust } from '@fairlead/server/nats/trust'
import { generateIdentity, identityToRecipient } from 'age-encryption'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Fleet, startFleet } from '../harness/fleet.ts'
import { agentNamespace, type FleetCluster } from '../harness/fleet-cluster.ts'
import type { GitRepository } from '../harness/git-server.ts'
import { getField } from '../harness/kube-client.ts'
import { waitFor } from '../harness/wait.ts'
import { ensureTools } from '../tools/tools.ts'
import { driftsOf, problemsOf, runs } from './fleet-status.ts'
import { applicationDefinition, configMap, configMapReference, repositoryDefinition } from './manifests.ts'

let fleet: Fleet
let eu: FleetCluster
let shop: GitRepository
let broker: Connections
/** Whatever passed through NATS where the hub hears it, subject by subject. */
const passed = new Map<string, Buffer[]>()

/** Parts of it would be found as well as the whole. */
const declared = 'correct-horse-battery-staple'
const byHand = 'tr0ub4dor-and-3'
const encrypted = 'horse-that-sops-encrypted'
const reference = { apiVersion: 'v1', kind: 'Secret', metadata: { name: 'login', namespace: 'default' } }

beforeAll(async () => {
  fleet = await startFleet({ hubFlags: ['--log-level=trace'] })
  shop = fleet.git.createRepository('shop')
  shop.commit({ 'web/login.yaml': secret('login', { stringData: { password: declared } }) })
  broker = await listen()
  eu = await fleet.addCluster('eu', { agentValues: ['logLevel=trace'] })
  await fleet.apply(
    repositoryDefinition('shop', shop.url) + applicationDefinition('web', { repository: 'shop', namespace: 'default' }),
  )
  await fleet.waitForStatus('web to run', (status) => runs(status, 'web', 'eu', shop.head()))
})

afterAll(async () => {
  await Promise.all([broker?.hub.close(), broker?.system.close()])
  await fleet?.[Symbol.asyncDispose]()
})

function secret(name: string, rest: Readonly<Record<string, unknown>>): string {
  return JSON.stringify({ apiVersion: 'v1', kind: 'Secret', metadata: { name }, ...rest })
}

/** Hears everything that passes through the hub's account, reports and slices among it. */
async function listen(): Promise<Connections> {
  const connections = await connectBoth({
    trust: await openTrust(path.join(fleet.dataDir, 'keys')),
    url: `tls://127.0.0.1:${fleet.natsPort}`,
    caPem: readFileSync(path.join(fleet.dataDir, 'pki/ca.crt'), 'utf8'),
    signal: AbortSignal.timeout(10_000),
    onFailure: () => undefined,
  })
  connections.hub.subscribe('>', {
    callback: (_error, { subject, data }) => {
      passed.set(subject, [...(passed.get(subject) ?? []), Buffer.from(data)])
    },
  })
  await connections.hub.flush()
  return connections
}

/** Where any of the values can be read, as it is or in base64; what is compressed is looked into. */
async function findLeaks(): Promise<string[]> {
  const places = new Map<string, Buffer>()
  for (const format of ['table', 'wide', 'json']) {
    places.set(`status -o ${format}`, Buffer.from(await fleet.cli('status', '-o', format)))
  }
  places.set('why', Buffer.from(await fleet.cli('why', 'web')))
  const preview = await fleet.run('adopt', 'web', '--cluster', 'eu', '--dry-run', '--all')
  places.set('adopt --dry-run', Buffer.from(preview.stdout + preview.stderr))
  places.set('the log of the hub', readFileSync(fleet.hub.logFile))
  places.set('the log of the agent', readFileSync(eu.kubelet.process.logFile))
  places.set('the metrics of the agent', Buffer.from(await (await eu.metrics()).text()))
  places.set('fairlead agent status', (await eu.exec('agent', 'status', '-o', 'json')).stdout)
  places.set('the support bundle', gunzipSync((await eu.exec('agent', 'support-bundle')).stdout))
  for (const [subject, messages] of passed) places.set(`NATS ${subject}`, Buffer.concat(messages))
  for (const file of filesBelow(fleet.dataDir)) places.set(path.relative(fleet.dataDir, file), readFileSync(file))
  const { admin } = eu.cluster
  for (const kind of ['ConfigMap', 'Secret']) {
    const kept = await admin.list({ apiVersion: 'v1', kind, metadata: { namespace: agentNamespace } })
    for (const object of kept.filter(({ metadata }) => metadata.name !== 'sops-age')) {
      places.set(`${kind} ${object.metadata.name}`, Buffer.from(JSON.stringify(object)))
      for (const [key, value] of Object.entries(object.data ?? {})) {
        places.set(`${kind} ${object.metadata.name} ${key}`, inflate(Buffer.from(value, 'base64')))
      }
    }
  }
  const events = await admin.list({ apiVersion: 'events.k8s.io/v1', kind: 'Event' })
  for (const event of events) places.set(`Event ${event.metadata.name}`, Buffer.from(JSON.stringify(event)))
  return [...places].filter(([, content]) => isLeak(content)).map(([place]) => place)
}

/** The values that must be nowhere, and what of them would still be found where they are in the middle of something. */
const needles = [declared, byHand, encrypted].flatMap((value) => [
  value,
  Buffer.from(value).toString('base64').slice(0, 20),
])
const isLeak = (content: Buffer): boolean => needles.some((needle) => content.includes(needle))

function inflate(content: Buffer): Buffer {
  return content.subarray(0, 2).equals(Buffer.from([0x1f, 0x8b])) ? gunzipSync(content) : content
}

function filesBelow(folder: string): string[] {
  return readdirSync(folder, { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile())
    .map((entry) => path.join(entry.parentPath, entry.name))
}

describe('the value of a Secret', () => {
  test('reaches the cluster, and is nowhere else', async () => {
    const live = await eu.cluster.admin.get(reference)
    expect(Buffer.from(String(getField(live, 'data.password')), 'base64').toString()).toBe(declared)
    expect(await findLeaks()).toEqual([])
  })

  test('that is changed by hand is put back, told by the names of fields only', async () => {
    await eu.cluster.admin.patch(reference, { stringData: { password: byHand, more: byHand } })
    await waitFor('the Secret to be put back', async () => {
      const data = getField(await eu.cluster.admin.get(reference), 'data') as Record<string, string>
      return Object.keys(data).length === 1 && data.password === Buffer.from(declared).toString('base64')
    })
    const status = await fleet.waitForStatus('the drift to be told', (state) => driftsOf(state, 'web', 'eu').length > 0)
    expect(driftsOf(status, 'web', 'eu')[0]?.fields.join()).toContain('password')
    expect(await findLeaks()).toEqual([])
  })

  test('that the API server refuses is told without it', async () => {
    shop.commit({
      'web/wrong-type.yaml': secret('wrong-type', { data: declared }),
      'web/wrong-value.yaml': secret('wrong-value', { data: { password: declared } }),
      'web/wrong-yaml.yaml': `apiVersion: v1\nkind: Secret\nmetadata: {name: wrong-yaml}\nstringData: {password: "${declared}\n`,
    })
    await fleet.waitForStatus('all three to be told', (status) => {
      const told = problemsOf(status, 'web').map(({ object, source }) => object?.name ?? source?.file ?? '')
      return ['wrong-type', 'wrong-value', 'web/wrong-yaml.yaml'].every((name) => told.includes(name))
    })
    expect(await findLeaks()).toEqual([])
  })
})

describe('what SOPS encrypted', () => {
  let identity: string
  const login = { apiVersion: 'v1', kind: 'Secret', metadata: { name: 'sops-login', namespace: 'default' } }
  const passwordOf = async (name: string): Promise<string> => {
    const live = await eu.cluster.admin.find({ ...login, metadata: { ...login.metadata, name } })
    return Buffer.from(String(getField(live, 'data.password') ?? ''), 'base64').toString()
  }
  const encrypt = async (documents: string): Promise<string> => {
    const file = path.join(fleet.folder, 'secret.yaml')
    writeFileSync(file, documents)
    const { sops } = await ensureTools(['sops'])
    const args = ['--age', await identityToRecipient(identity), '--encrypted-regex', '^(data|stringData)$']
    return execFileSync(sops, ['encrypt', ...args, file], { encoding: 'utf8' })
  }
  const yaml = (name: string): string =>
    `apiVersion: v1\nkind: Secret\nmetadata: {name: ${name}}\nstringData:\n  "10": b\n  "9": a\n  password: ${encrypted}\n`

  beforeAll(async () => {
    identity = await generateIdentity()
    needles.push(identity)
    shop.remove('web/wrong-type.yaml', 'web/wrong-value.yaml', 'web/wrong-yaml.yaml')
    shop.commit({ 'web/sops.yaml': await encrypt(`${yaml('sops-login')}---\n${yaml('sops-more')}`) })
  })

  test('waits for its key, told by the key that it is for, and is applied when there is one', async () => {
    const isTold = (status: FleetStatus): boolean =>
      problemsOf(status, 'web').some(({ code, object }) => code === 'DecryptionFailed' && object?.name === 'sops-login')
    const status = await fleet.waitForStatus('the missing key to be told', isTold)
    const messages = problemsOf(status, 'web').map(({ message }) => message)
    expect(messages.join()).toContain(await identityToRecipient(identity))
    const metadata = { name: 'sops-age', namespace: agentNamespace, labels: { 'fairlead.dev/sops-age': 'true' } }
    await eu.cluster.admin.create({
      apiVersion: 'v1',
      kind: 'Secret',
      metadata,
      stringData: { key: identity },
    } as never)
    await fleet.waitForStatus('web to run', (state) => runs(state, 'web', 'eu', shop.head()))
    expect([await passwordOf('sops-login'), await passwordOf('sops-more')]).toEqual([encrypted, encrypted])
    expect(await findLeaks()).toEqual([])
  })

  test('is put back when it is changed by hand, and told nowhere', async () => {
    await eu.cluster.admin.patch(login, { stringData: { password: byHand } })
    await waitFor('the Secret to be put back', async () => (await passwordOf('sops-login')) === encrypted)
    await fleet.waitForStatus('the drift to be told', (state) =>
      driftsOf(state, 'web', 'eu').some(({ object }) => object?.name === 'sops-login'),
    )
    expect(await findLeaks()).toEqual([])
    // What is looked into is what speaks of it: the report of the drift, its Event, what the agent knows.
    const reports = [...passed].filter(([, messages]) => Buffer.concat(messages).includes('sops-login'))
    expect(reports.map(([subject]) => subject).join()).toMatch(/^up\.[a-z2-7]+\.(status|event)/)
    expect((await eu.exec('agent', 'status', '-o', 'json')).stdout.toString()).toContain('sops-login')
    const events = await eu.cluster.admin.list({ apiVersion: 'events.k8s.io/v1', kind: 'Event' })
    expect(events.map(({ reason, regarding }) => `${reason} ${getField(regarding, 'name')}`)).toContain(
      'DriftRepaired sops-login',
    )
  })

  test('is refused when the file was altered, and what it made stays', async () => {
    const before = await eu.cluster.admin.get(login)
    const altered = (await encrypt(yaml('sops-login'))).replace('kind: Secret', 'kind: Secret\nimmutable: true')
    shop.commit({ 'web/sops.yaml': altered, 'web/beside.yaml': configMap('beside', { a: '1' }) })
    const isTold = (status: FleetStatus): boolean =>
      problemsOf(status, 'web').some(({ message }) => message.includes('altered after it was encrypted'))
    await fleet.waitForStatus('the altered file to be told', isTold)
    await waitFor('the rest to be applied', async () => await eu.cluster.admin.find(configMapReference('beside')))
    expect((await eu.cluster.admin.get(login)).metadata.resourceVersion).toBe(before.metadata.resourceVersion)
    expect(await findLeaks()).toEqual([])
  })

  test('is repaired by an agent that was started with hub and NATS away', async () => {
    shop.commit({ 'web/sops.yaml': await encrypt(yaml('sops-login')) })
    await fleet.waitForStatus('web to run', (state) => runs(state, 'web', 'eu', shop.head()))
    await fleet.stopHub()
    await eu.cluster.admin.delete(login)
    await eu.kubelet.kill()
    await waitFor('the Secret to come back', async () => (await passwordOf('sops-login')) === encrypted)
  })
})

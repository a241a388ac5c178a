// What is in a Secret is in Git and in the cluster, and nowhere else: not in logs, status, reports, inventories or NATS.
import { execFileSync } from 'node:child_process'
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import type { FleetStatus } from '@fairlead/proto/fleet'
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

/** Parts of it would be found as well as the whole. */
const declared = 'correct-horse-battery-staple'
const byHand = 'tr0ub4dor-and-3'
const encrypted = 'horse-that-sops-encrypted'
const reference = { apiVersion: 'v1', kind: 'Secret', metadata: { name: 'login', namespace: 'default' } }

beforeAll(async () => {
  fleet = await startFleet({ hubFlags: ['--log-level=trace'] })
  shop = fleet.git.createRepository('shop')
  shop.commit({ 'web/login.yaml': secret('login', { stringData: { password: declared } }) })
  eu = await fleet.addCluster('eu', { agentValues: ['logLevel=trace'] })
  await fleet.apply(
    repositoryDefinition('shop', shop.url) + applicationDefinition('web', { repository: 'shop', namespace: 'default' }),
  )
  await fleet.waitForStatus('web to run', (status) => runs(status, 'web', 'eu', shop.head()))
})

afterAll(async () => {
  await fleet?.[Symbol.asyncDispose]()
})

function secret(name: string, rest: Readonly<Record<string, unknown>>): string {
  return JSON.stringify({ apiVersion: 'v1', kind: 'Secret', metadata: { name }, ...rest })
}

/** Where any of the two values can be read, as it is or in base64. */
async function findLeaks(): Promise<string[]> {
  const places = new Map<string, Buffer>()
  for (const format of ['table', 'wide', 'json']) {
    places.set(`status -o ${format}`, Buffer.from(await fleet.cli('status', '-o', format)))
  }
  places.set('the log of the hub', readFileSync(fleet.hub.logFile))
  places.set('the log of the agent', readFileSync(eu.kubelet.process.logFile))
  for (const file of filesBelow(fleet.dataDir)) places.set(path.relative(fleet.dataDir, file), readFileSync(file))
  for (const kind of ['ConfigMap', 'Secret']) {
    const kept = await eu.cluster.admin.list({ apiVersion: 'v1', kind, metadata: { namespace: agentNamespace } })
    for (const object of kept) places.set(`${kind} ${object.metadata.name}`, Buffer.from(JSON.stringify(object)))
  }
  expect(places.size).toBeGreaterThan(10)
  return [...places].filter(([, content]) => needles.some((needle) => content.includes(needle))).map(([place]) => place)
}

const needles = [declared, byHand, encrypted].flatMap((value) => [
  value,
  Buffer.from(value).toString('base64').slice(0, 20),
])

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

// An application that names a service account has that account's rights and no others, under the rights that the chart gives
// the agent: reading in one namespace, and impersonating the accounts of `rbac.impersonate`.
import { setTimeout as delay } from 'node:timers/promises'
import type { FleetStatus } from '@fairlead/proto/fleet'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type AuditEvent, writeVerbs } from '../harness/audit.ts'
import { type Fleet, startFleet } from '../harness/fleet.ts'
import type { FleetCluster } from '../harness/fleet-cluster.ts'
import type { GitRepository } from '../harness/git-server.ts'
import { getField, type KubeObject } from '../harness/kube-client.ts'
import { waitFor } from '../harness/wait.ts'
import { describeProblem, findDeployment, problemsOf, runs } from './fleet-status.ts'
import { applicationDefinition, configMap, configMapReference, repositoryDefinition, service } from './manifests.ts'

let fleet: Fleet
let eu: FleetCluster
let shop: GitRepository

const group = 'rbac.authorization.k8s.io'
const agentValues = [
  // The agent itself may read; whatever is written is written by somebody whose rights it may use.
  'rbac.namespaceRules[0].apiGroups={*}',
  'rbac.namespaceRules[0].resources={*}',
  'rbac.namespaceRules[0].verbs={get,list,watch}',
]
const impersonate = (...accounts: readonly string[]) => `rbac.impersonate={${accounts.join(',')}}`
const userOf = (account: string) => `system:serviceaccount:shop:${account}`

beforeAll(async () => {
  fleet = await startFleet()
  shop = fleet.git.createRepository('shop')
  shop.commit({ 'readme.txt': 'the shop' })
  eu = await fleet.addCluster('eu', {
    namespaces: ['shop'],
    agentValues: [...agentValues, impersonate('shop/deployer', 'shop/late')],
  })
  await fleet.apply(repositoryDefinition('shop', shop.url))
  await admin().apply(serviceAccount('deployer'))
  await admin().apply(serviceAccount('stranger'))
  for (const account of ['deployer', 'stranger', 'late']) await allow(account, ['get', 'create', 'patch', 'delete'])
})
afterAll(async () => {
  await fleet?.[Symbol.asyncDispose]()
})

const admin = () => eu.cluster.admin
const serviceAccount = (name: string) => ({
  apiVersion: 'v1',
  kind: 'ServiceAccount',
  metadata: { name, namespace: 'shop' },
})

/** Lets an account do this with ConfigMaps, and nothing else. */
async function allow(account: string, verbs: readonly string[]): Promise<void> {
  const metadata = { name: account, namespace: 'shop' }
  const rules = [{ apiGroups: [''], resources: ['configmaps'], verbs }]
  const roleRef = { apiGroup: group, kind: 'Role', name: account }
  const subjects = [{ kind: 'ServiceAccount', name: account, namespace: 'shop' }]
  const objects: KubeObject[] = [
    { apiVersion: `${group}/v1`, kind: 'Role', metadata, rules },
    { apiVersion: `${group}/v1`, kind: 'RoleBinding', metadata, roleRef, subjects },
  ]
  for (const object of objects) await admin().apply(object)
}

const find = (name: string) => admin().find(configMapReference(name, 'shop'))
const readValue = async (name: string) => getField(await find(name), 'data.v')
const editByHand = (name: string) =>
  admin().patch(configMapReference(name, 'shop'), { data: { v: 'by hand' } }, { type: 'merge' })

/** Applies an application of the shop that has the rights of an account; of the agent's own when none is named. */
async function apply(name: string, serviceAccount?: string): Promise<void> {
  const sync = { prune: true, remediate: true, ...(serviceAccount && { serviceAccount }) }
  await fleet.apply(applicationDefinition(name, { repository: 'shop', namespace: 'shop', sync }))
}

async function waitUntilRunning(application: string): Promise<FleetStatus> {
  return await fleet.waitForStatus(
    `${application} to run`,
    (status) => runs(status, application, 'eu', shop.head()),
    // Rights that are missing are asked for again after half a minute, then after a minute.
    { timeoutMs: 120_000 },
  )
}

/** Waits until an application has exactly these problems, and returns their messages. */
async function waitForProblems(application: string, ...wanted: readonly string[]): Promise<string[]> {
  const status = await fleet.waitForStatus(`${application} to have the problems ${wanted.join(', ')}`, (one) => {
    return problemsOf(one, application).map(describeProblem).sort().join() === wanted.toSorted().join()
  })
  return problemsOf(status, application).map(({ message }) => message)
}

/** What the agent was allowed to write in the shop, whoever's rights it used. Events and its own state are the agent's. */
function listWrites(since = 0): AuditEvent[] {
  return eu
    .agentRequests({ verbs: writeVerbs, namespace: 'shop', since })
    .filter(({ code, resource }) => code < 300 && resource !== 'events')
}

describe('an application with a service account', () => {
  test('applies, repairs and prunes with the rights of that account', async () => {
    shop.commit({ 'own/a.yaml': configMap('a', { v: '1' }), 'own/b.yaml': configMap('b', { v: '1' }) })
    await apply('own', 'deployer')
    await waitUntilRunning('own')
    await editByHand('a')
    await waitFor('the repair', async () => (await readValue('a')) === '1')
    shop.commit({ 'own/b.yaml': undefined })
    await waitFor('the prune', async () => (await find('b')) === undefined, { timeoutMs: 30_000 })
    await waitUntilRunning('own')
    const writes = listWrites()
    expect(new Set(writes.map(({ verb }) => verb))).toEqual(new Set(['patch', 'delete']))
    expect(new Set(writes.map(({ impersonatedUser }) => impersonatedUser))).toEqual(new Set([userOf('deployer')]))
  })

  test('is told by verb and kind what the account may not do; what it may is done', async () => {
    const secret = { apiVersion: 'v1', kind: 'Secret', metadata: { name: 'password' }, stringData: { a: 'b' } }
    shop.commit({
      'own/c.yaml': configMap('c', { v: '1' }),
      'own/service.yaml': service('door', 80),
      'own/secret.yaml': JSON.stringify(secret),
    })
    const messages = await waitForProblems(
      'own',
      'ApplyForbidden Service shop/door own/service.yaml',
      'ApplyForbidden Secret shop/password own/secret.yaml',
    )
    for (const resource of ['services', 'secrets']) {
      const refusal = `User "${userOf('deployer')}" cannot patch resource "${resource}"`
      expect(messages.filter((message) => message.includes(refusal))).toHaveLength(1)
    }
    expect(await fleet.cli('status')).toMatch(
      /own on eu: Service shop\/door \(own\/service\.yaml:1\): ApplyForbidden: .*deployer" cannot patch resource "services"/,
    )
    await waitFor('what it may do', async () => (await readValue('c')) === '1')
    shop.remove('own/service.yaml', 'own/secret.yaml')
    await waitUntilRunning('own')
  })

  test('keeps what the account may not delete, and is told so, until it may', async () => {
    await allow('deployer', ['get', 'create', 'patch'])
    shop.remove('own/c.yaml')
    const [message] = await waitForProblems('own', 'PruneFailed ConfigMap shop/c')
    expect(message).toContain(`User "${userOf('deployer')}" cannot delete resource "configmaps"`)
    expect(await readValue('c')).toBe('1')
    await allow('deployer', ['get', 'create', 'patch', 'delete'])
    await waitFor('the prune', async () => (await find('c')) === undefined, { timeoutMs: 60_000 })
    await waitUntilRunning('own')
  })

  test('stops when the account is deleted, with nothing done in its place, and goes on when it is back', async () => {
    await admin().delete(serviceAccount('deployer'))
    // One that was there is trusted for a second: nothing but the time ends that.
    await delay(1_500)
    const since = Date.now()
    await editByHand('a')
    const told = await fleet.waitForStatus('the missing account to be told', (status) =>
      problemsOf(status, 'own').some(({ code }) => code === 'ServiceAccountMissing'),
    )
    const messages = problemsOf(told, 'own').map(({ message }) => message)
    expect(messages.join()).toContain('there is no service account shop/deployer')
    shop.commit({ 'own/a.yaml': configMap('a', { v: '2' }) })
    await fleet.waitForStatus('the new commit to be desired', (status) => {
      const isDesired = findDeployment(status, 'own', 'eu')?.desired?.commit === shop.head()
      return isDesired && problemsOf(status, 'own').some(({ code }) => code === 'ServiceAccountMissing')
    })
    expect(listWrites(since)).toEqual([])
    expect(await readValue('a')).toBe('by hand')
    await admin().apply(serviceAccount('deployer'))
    await waitUntilRunning('own')
    expect(await readValue('a')).toBe('2')
  })

  test('leaves with the rights of that account, and waits for them', async () => {
    await admin().delete(serviceAccount('deployer'))
    // As above.
    await delay(1_500)
    await fleet.cli('application', 'delete', 'own')
    await fleet.waitForStatus('the missing account to be told', (status) => {
      const isRemoving = findDeployment(status, 'own', 'eu')?.removing === true
      return isRemoving && problemsOf(status, 'own').some(({ code }) => code === 'ServiceAccountMissing')
    })
    expect(await readValue('a')).toBe('2')
    await admin().apply(serviceAccount('deployer'))
    await waitFor('it to leave', async () => (await find('a')) === undefined, { timeoutMs: 60_000 })
    await fleet.waitForStatus('it to be forgotten', (status) => !findDeployment(status, 'own', 'eu'))
    expect(listWrites().filter(({ impersonatedUser }) => impersonatedUser !== userOf('deployer'))).toEqual([])
  })
})

describe('an account that cannot be used', () => {
  test('because it does not exist is an error, never a fall-back, and used when it comes to be', async () => {
    shop.commit({ 'late/a.yaml': configMap('late', { v: '1' }) })
    await apply('late', 'late')
    const messages = await waitForProblems('late', 'ServiceAccountMissing ConfigMap shop/late late/a.yaml')
    expect(messages.join()).toContain('there is no service account shop/late; nothing is done in its place')
    expect(await find('late')).toBeUndefined()
    await admin().apply(serviceAccount('late'))
    await waitUntilRunning('late')
    expect(listWrites().at(-1)?.impersonatedUser).toBe(userOf('late'))
  })

  test('because the chart does not allow it to the agent is an error that says so, until an upgrade does', async () => {
    shop.commit({ 'foreign/a.yaml': configMap('foreign', { v: '1' }) })
    await apply('foreign', 'stranger')
    const messages = await waitForProblems('foreign', 'ApplyForbidden ConfigMap shop/foreign foreign/a.yaml')
    expect(messages.join()).toContain('cannot impersonate resource "serviceaccounts"')
    expect(messages.join()).toContain('"stranger"')
    expect(await find('foreign')).toBeUndefined()
    await upgrade('shop/deployer', 'shop/late', 'shop/stranger')
    await waitUntilRunning('foreign')
    expect(listWrites().at(-1)?.impersonatedUser).toBe(userOf('stranger'))
  })

  test('any more, after an upgrade that took it out, stops its application and no other', async () => {
    await upgrade('shop/late')
    const since = Date.now()
    await editByHand('foreign')
    await editByHand('late')
    await waitFor('the other to be repaired', async () => (await readValue('late')) === '1', { timeoutMs: 30_000 })
    await fleet.waitForStatus('the refusal to be told', (status) =>
      problemsOf(status, 'foreign').some(({ message }) => message.includes('cannot impersonate')),
    )
    expect(await readValue('foreign')).toBe('by hand')
    expect(new Set(listWrites(since).map(({ impersonatedUser }) => impersonatedUser))).toEqual(
      new Set([userOf('late')]),
    )
  })
})

test("an application without an account has the agent's own rights: here, to read", async () => {
  shop.commit({ 'plain/a.yaml': configMap('plain', { v: '1' }) })
  await apply('plain')
  const [message] = await waitForProblems('plain', 'ApplyForbidden ConfigMap shop/plain plain/a.yaml')
  expect(message).toContain(
    'User "system:serviceaccount:fairlead-system:fairlead-agent" cannot patch resource "configmaps"',
  )
  expect(await find('plain')).toBeUndefined()
})

/** Upgrades the release to these accounts. */
async function upgrade(...accounts: readonly string[]): Promise<void> {
  const command = eu.installCommand.replace(/^helm install/, 'helm upgrade --install')
  await eu.install([...agentValues, impersonate(...accounts)], command)
  await eu.kubelet.waitUntilReady()
}

// An agent that was given some namespaces, by Helm, lives without any right in the cluster as a whole; and whatever the
// hub says, the cluster's owner has the last word.
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { AuditEvent } from '../harness/audit.ts'
import { type Fleet, startFleet } from '../harness/fleet.ts'
import type { GitRepository } from '../harness/git-server.ts'
import { getField, type KubeObject } from '../harness/kube-client.ts'
import { waitFor } from '../harness/wait.ts'
import { describeProblem, problemsOf, runs } from './fleet-status.ts'
import {
  applicationDefinition,
  configMap,
  configMapReference,
  deployment,
  namespace,
  repositoryDefinition,
} from './manifests.ts'

let fleet: Fleet
let shop: GitRepository

beforeAll(async () => {
  fleet = await startFleet()
  shop = fleet.git.createRepository('shop')
  shop.commit({ 'readme.txt': 'the shop' })
  await fleet.addCluster('eu', { full: true, namespaces: ['shop'] })
  await fleet.apply(repositoryDefinition('shop', shop.url))
}, 300_000)
afterAll(async () => {
  await fleet?.[Symbol.asyncDispose]()
})

const admin = () => fleet.getCluster('eu').cluster.admin
const valueIn = async (name: string) => getField(await admin().find(configMapReference(name, 'shop')), 'data.a')
const edit = { type: 'merge', fieldManager: 'kubectl-edit' } as const

/** What the agent has ever asked for besides discovery and what is in its namespaces. */
function listOutside(): AuditEvent[] {
  const asked = fleet.getCluster('eu').agentRequests()
  return asked.filter(
    ({ resource, namespace: space }) => resource !== '' && !['shop', 'fairlead-system'].includes(space),
  )
}

test('applies, judges health, repairs and prunes in its namespaces, and asks for nothing outside', async () => {
  const files = { 'web/a.yaml': configMap('a', { a: '1' }), 'web/b.yaml': configMap('b', { a: '1' }) }
  shop.commit({ ...files, 'web/web.yaml': deployment('web', 'nginx:1') })
  await fleet.apply(applicationDefinition('web', { repository: 'shop', namespace: 'shop' }))
  await fleet.waitForStatus('web to be Healthy', (status) => runs(status, 'web', 'eu', shop.head()))

  await admin().patch(configMapReference('a', 'shop'), { data: { a: 'by hand' } }, edit)
  await waitFor('the repair', async () => (await valueIn('a')) === '1')
  await admin().delete(configMapReference('b', 'shop'))
  await waitFor('what was deleted to come back', async () => (await valueIn('b')) === '1')
  shop.commit({ 'web/b.yaml': undefined })
  await waitFor('the prune', async () => (await valueIn('b')) === undefined, { timeoutMs: 30_000 })

  // All since it was started: nothing of the cluster as a whole or of another namespace, and nothing that it has no right to.
  const asked = fleet.getCluster('eu').agentRequests()
  expect(listOutside().map(({ verb, requestURI }) => `${verb} ${requestURI}`)).toEqual([])
  expect(asked.filter(({ code }) => code === 401 || code === 403).map(({ requestURI }) => requestURI)).toEqual([])
  expect(asked.some(({ resource, verb }) => resource === 'deployments' && verb === 'watch')).toBe(true)
  const bindings = await admin().list({ apiVersion: 'rbac.authorization.k8s.io/v1', kind: 'ClusterRoleBinding' })
  expect(bindings.filter(({ subjects }) => JSON.stringify(subjects ?? '').includes('fairlead'))).toEqual([])
})

test('refuses what is outside, and the rest of the application runs', async () => {
  shop.commit({
    'wide/in.yaml': configMap('wide-in', { a: '1' }),
    'wide/out.yaml': configMap('wide-out', { a: '1' }, 'default'),
    'wide/namespace.yaml': namespace('made-by-hub'),
  })
  await fleet.apply(applicationDefinition('wide', { repository: 'shop', namespace: 'shop' }))
  const status = await fleet.waitForStatus('both to be refused', (one) => problemsOf(one, 'wide').length === 3)
  expect(problemsOf(status, 'wide').map(describeProblem).sort()).toEqual([
    // Namespaces cannot be watched either.
    'ApplyForbidden',
    'ApplyForbidden ConfigMap default/wide-out wide/out.yaml',
    'ApplyForbidden Namespace made-by-hub wide/namespace.yaml',
  ])
  expect(await valueIn('wide-in')).toBe('1')
  expect(await admin().find(configMapReference('wide-out'))).toBeUndefined()
  // Of the cluster as a whole it asked for what it was told to make, and was refused; other namespaces it leaves alone by itself.
  const outside = listOutside()
  expect(new Set(outside.map(({ resource, code }) => `${resource} ${code}`))).toEqual(new Set(['namespaces 403']))
  expect(outside.filter(({ name }) => name !== '' && name !== 'made-by-hub')).toEqual([])
})

test('obeys the policy of the cluster over the hub, at once, and is paused by it', async () => {
  const policy: KubeObject = {
    apiVersion: 'v1',
    kind: 'ConfigMap',
    metadata: { name: 'fairlead-agent-policy', namespace: 'fairlead-system' },
    data: { prune: 'false', kinds: 'ConfigMap, Deployment.apps' },
  }
  await admin().apply(policy)
  const account = `${JSON.stringify({ apiVersion: 'v1', kind: 'ServiceAccount', metadata: { name: 'smuggled' } })}\n`
  shop.commit({ 'web/a.yaml': undefined, 'web/c.yaml': configMap('c', { a: '1' }) })
  await fleet.waitForStatus('the prune to be refused', (one) =>
    problemsOf(one, 'web').some(({ code, object }) => code === 'PolicyForbids' && object?.name === 'a'),
  )
  shop.commit({ 'web/account.yaml': account })
  const status = await fleet.waitForStatus('both to be refused', (one) => problemsOf(one, 'web').length === 2)
  expect(
    problemsOf(status, 'web')
      .map(({ code, object }) => `${code} ${object?.name}`)
      .sort(),
  ).toEqual(['PolicyForbids a', 'PolicyForbids smuggled'])
  expect(await valueIn('a')).toBe('1')
  expect(await valueIn('c')).toBe('1')

  const paused: KubeObject = { ...policy, data: { paused: 'true' } }
  await admin().apply(paused)
  await fleet.waitForStatus('the pause to be told', (one) =>
    one.clusters.some(({ problems }) => problems.some(({ message }) => message.includes('pauses the agent'))),
  )
  await admin().patch(configMapReference('c', 'shop'), { data: { a: 'by hand' } }, edit)
  shop.commit({ 'web/d.yaml': configMap('d', { a: '1' }) })
  await fleet.waitForStatus('the new object to be refused', (one) =>
    problemsOf(one, 'web').some(({ code, object }) => code === 'PolicyForbids' && object?.name === 'd'),
  )
  expect(await valueIn('c')).toBe('by hand')
  await admin().delete(policy)
  shop.commit({ 'web/account.yaml': undefined })
  await fleet.waitForStatus('all to be as declared', (one) => runs(one, 'web', 'eu', shop.head()))
  expect([await valueIn('a'), await valueIn('c'), await valueIn('d')]).toEqual([undefined, '1', '1'])
})

test('uses the rights of the service account that an application names', async () => {
  shop.commit({ 'own/a.yaml': configMap('own', { a: '1' }) })
  await fleet.apply(
    applicationDefinition('own', { repository: 'shop', namespace: 'shop', sync: { serviceAccount: 'deployer' } }),
  )
  await fleet.waitForStatus('the missing account to be told', (one) =>
    problemsOf(one, 'own').some(({ code }) => code === 'ServiceAccountMissing'),
  )
  expect(await valueIn('own')).toBeUndefined()
  const group = 'rbac.authorization.k8s.io'
  const objects: KubeObject[] = [
    { apiVersion: 'v1', kind: 'ServiceAccount', metadata: { name: 'deployer', namespace: 'shop' } },
    {
      apiVersion: `${group}/v1`,
      kind: 'Role',
      metadata: { name: 'deployer', namespace: 'shop' },
      rules: [{ apiGroups: [''], resources: ['configmaps'], verbs: ['get', 'create', 'patch', 'delete'] }],
    },
    {
      apiVersion: `${group}/v1`,
      kind: 'RoleBinding',
      metadata: { name: 'deployer', namespace: 'shop' },
      roleRef: { apiGroup: group, kind: 'Role', name: 'deployer' },
      subjects: [{ kind: 'ServiceAccount', name: 'deployer', namespace: 'shop' }],
    },
  ]
  for (const object of objects) await admin().apply(object)
  await fleet.waitForStatus('it to run', (status) => runs(status, 'own', 'eu', shop.head()))
  const [write] = fleet
    .getCluster('eu')
    .agentRequests({ namespace: 'shop', resource: 'configmaps', name: 'own', verbs: ['patch'] })
    .filter(({ code }) => code < 300)
  expect(write?.impersonatedUser).toBe('system:serviceaccount:shop:deployer')
}, 90_000)

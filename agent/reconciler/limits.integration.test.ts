// Whose rights are used, and what the cluster's owner forbids, against a real API server with RBAC.
import { type Cluster, startCluster } from '@fairlead/e2e/harness/cluster'
import type { KubeObject } from '@fairlead/e2e/harness/kube-client'
import { waitFor } from '@fairlead/e2e/harness/wait'
import { SyncState } from '@fairlead/proto/common'
import type { ApplicationReport } from '@fairlead/proto/report'
import { silentLogger } from '@fairlead/shared/logger'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { kubeconfigAccess } from '../kube/access.ts'
import { createKube, type Kube } from '../kube/kube.ts'
import { POLICY_NAME, type PolicyState, PolicyWatch } from '../policy/policy-watch.ts'
import type { ReconcilerOptions } from '../reconciler.ts'
import { toStatusPolicy } from '../status/agent-status.ts'
import { ReconcilerBed, type TestObject } from './reconciler-bed.ts'

let cluster: Cluster
let kube: Kube
let count = 0
let namespace = ''
const ends: (() => Promise<void>)[] = []

beforeAll(async () => {
  cluster = await startCluster({ name: 'limits' })
  const access = await kubeconfigAccess(cluster.kubeconfigPath)
  kube = createKube({ access, userAgent: 'fairlead-agent/policy', logger: silentLogger })
}, 120_000)
afterEach(async () => {
  for (const end of ends.splice(0)) await end()
})
afterAll(async () => {
  await kube?.close()
  await cluster?.stop()
})

async function newNamespace(): Promise<void> {
  namespace = `limits-${++count}`
  await cluster.admin.create({ apiVersion: 'v1', kind: 'Namespace', metadata: { name: namespace } })
}

async function start(options: Partial<ReconcilerOptions> = {}): Promise<ReconcilerBed> {
  const bed = await ReconcilerBed.start(
    { cluster, namespace },
    { limits: { userBaseMs: 200, userMaxMs: 200, transientMaxMs: 500 }, ...options },
  )
  ends.push(() => bed.stop())
  return bed
}

/** As agent.ts wires it. */
async function startWithPolicy(): Promise<{ bed: ReconcilerBed; states: PolicyState[] }> {
  const states: PolicyState[] = []
  const stopping = new AbortController()
  let bed: ReconcilerBed | undefined
  const onChange = (state: PolicyState): void => {
    states.push(state)
    bed?.reconciler.policyChanged()
  }
  const watch = new PolicyWatch({ kube, namespace, logger: silentLogger, onChange })
  const running = watch.run(stopping.signal)
  ends.push(async () => {
    stopping.abort()
    await running
  })
  bed = await start({ policy: () => watch.state, policyReady: watch.ready, limits: {} })
  return { bed, states }
}

const configMap = (name: string, value = '1', metadata: object = {}): TestObject => ({
  apiVersion: 'v1',
  kind: 'ConfigMap',
  metadata: { name, ...metadata },
  data: { value },
})
const placed = (object: TestObject, space = namespace) => ({
  ...object,
  metadata: { name: object.metadata.name, namespace: space },
})
const find = async (object: TestObject, space = namespace) => await cluster.admin.find(placed(object, space))
const currentValue = async (name: string) =>
  ((await find(configMap(name)))?.data as { value?: string } | undefined)?.value
const hasCode = (code: string) => (report: ApplicationReport) =>
  report.problems.some((problem) => problem.code === code)

async function setPolicy(data: Record<string, string> | undefined): Promise<void> {
  const policy = { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: POLICY_NAME, namespace } }
  await cluster.admin.delete(policy).catch(() => undefined)
  const filled: KubeObject = { ...policy, ...(data && { data }) }
  if (data) await cluster.admin.create(filled)
}

describe('a service account', () => {
  const account = (): TestObject => ({ apiVersion: 'v1', kind: 'ServiceAccount', metadata: { name: 'deployer' } })
  const rules = [{ apiGroups: [''], resources: ['configmaps'], verbs: ['get', 'create', 'patch', 'delete'] }]

  async function grant(): Promise<void> {
    const [name, group] = ['deployer', 'rbac.authorization.k8s.io']
    const role = { apiVersion: `${group}/v1`, kind: 'Role', metadata: { name, namespace }, rules }
    await cluster.admin.apply(role)
    const binding: KubeObject = {
      apiVersion: `${group}/v1`,
      kind: 'RoleBinding',
      metadata: { name, namespace },
      roleRef: { apiGroup: group, kind: 'Role', name },
      // By its group: the API server gives it the groups that a real one has.
      subjects: [{ kind: 'Group', apiGroup: group, name: `system:serviceaccounts:${namespace}` }],
    }
    await cluster.admin.apply(binding)
  }
  const policy = { serviceAccount: 'deployer' }

  test('that an application names is used for all that it writes, and what it may not do is refused', async () => {
    await newNamespace()
    await grant()
    await cluster.admin.apply(placed(account()))
    const bed = await start()
    const secret: TestObject = { apiVersion: 'v1', kind: 'Secret', metadata: { name: 'forbidden' } }
    bed.update({ web: { objects: [configMap('a'), configMap('b'), secret], policy } })
    const refused = await bed.reported('web', 'refused', hasCode('ApplyForbidden'))
    expect(refused.problems.map(({ object }) => object?.name)).toEqual(['forbidden'])
    expect(refused.problems[0]?.message).toContain(`system:serviceaccount:${namespace}:deployer`)
    expect(await find(secret)).toBeUndefined()
    // Both are on their way at once.
    await waitFor('the other object', async () => (await currentValue('a')) === '1')

    // A repair and a prune are made with the same rights.
    bed.update({ web: { objects: [configMap('a'), configMap('b')], policy } })
    await bed.synced('web')
    const who = () => cluster.auditLog({ namespace, resource: 'configmaps', verbs: ['patch', 'delete'] })
    const before = who().length
    await cluster.admin.patch(
      placed(configMap('a')),
      { data: { value: 'evil' } },
      { type: 'merge', fieldManager: 'kubectl-edit' },
    )
    await waitFor('the repair', async () => (await currentValue('a')) === '1')
    bed.update({ web: { objects: [configMap('a')], policy } })
    await waitFor('the prune', async () => !(await find(configMap('b'))))
    const made = who().slice(before)
    const ours = made.filter(
      ({ impersonatedUser }) => impersonatedUser === `system:serviceaccount:${namespace}:deployer`,
    )
    const own = made.filter(
      ({ name, userAgent }) => ['a', 'b'].includes(name) && userAgent.startsWith('fairlead-agent'),
    )
    expect(ours.length).toBeGreaterThanOrEqual(2)
    expect(own.every(({ impersonatedUser }) => impersonatedUser !== undefined)).toBe(true)
  })

  test('that is missing is an error and never a fall-back, at first and in the middle; when it is there again, work goes on', async () => {
    await newNamespace()
    await grant()
    const bed = await start()
    bed.update({ web: { objects: [configMap('a')], policy } })
    const missing = await bed.reported('web', 'missing its account', hasCode('ServiceAccountMissing'))
    expect(missing.problems[0]?.message).toContain(`${namespace}/deployer`)
    expect(missing.sync).toBe(SyncState.OUT_OF_SYNC)
    expect(await find(configMap('a'))).toBeUndefined()

    await cluster.admin.apply(placed(account()))
    await bed.synced('web')
    expect(await currentValue('a')).toBe('1')

    await cluster.admin.delete(placed(account()))
    await waitFor('an edit to be left', async () => {
      const edit = { data: { value: 'evil' } }
      await cluster.admin.patch(placed(configMap('a')), edit, { type: 'merge', fieldManager: 'kubectl-edit' })
      return hasCode('ServiceAccountMissing')(bed.report('web') as ApplicationReport)
    })
    expect(await currentValue('a')).toBe('evil')
    bed.update({ web: { objects: [configMap('b')], policy } })
    await bed.reported('web', 'not pruning either', (report) => {
      return report.problems.filter(({ code }) => code === 'ServiceAccountMissing').length === 2
    })
    expect(await find(configMap('a'))).toBeDefined()
    // Nor does leaving fall back: the account is remembered in the cluster.
    await bed.stop()
    const second = await start()
    second.update({ web: { tombstone: 'prune' } })
    await second.reported('web', 'not leaving', hasCode('ServiceAccountMissing'))
    expect(await find(configMap('a'))).toBeDefined()
    await cluster.admin.apply(placed(account()))
    await waitFor('the confirmation', () => second.removed.includes('web'))
    expect(await find(configMap('a'))).toBeUndefined()
  })

  test('is asked for before its objects are looked at, too: adoption reads with its rights', async () => {
    await newNamespace()
    await cluster.admin.apply(placed(account()))
    await cluster.admin.apply(placed(configMap('theirs')))
    const bed = await start()
    bed.update({ web: { objects: [configMap('theirs')], adopt: 'ifEqual', policy } })
    const report = await bed.reported('web', 'refused', hasCode('ApplyForbidden'))
    expect(report.problems[0]?.message).toContain('deployer')
  })
})

describe('the policy of the cluster', () => {
  test('holds over what the hub says, takes effect at once, and is lifted at once', async () => {
    await newNamespace()
    await setPolicy({ kinds: 'ConfigMap' })
    const { bed } = await startWithPolicy()
    const secret: TestObject = { apiVersion: 'v1', kind: 'Secret', metadata: { name: 's' } }
    bed.update({ web: { objects: [configMap('a'), secret] } })
    const report = await bed.reported('web', 'refused', hasCode('PolicyForbids'))
    expect(report.problems).toMatchObject([{ code: 'PolicyForbids', object: { name: 's' } }])
    await waitFor('the other', async () => await find(configMap('a')))
    expect(await find(secret)).toBeUndefined()
    await setPolicy({ kinds: 'ConfigMap, Secret' })
    await bed.synced('web', { timeoutMs: 5_000 })
    expect(await find(secret)).toBeDefined()
  })

  test('is checked against prunes and tombstones too', async () => {
    await newNamespace()
    const { bed } = await startWithPolicy()
    bed.update({ web: { objects: [configMap('a'), configMap('b')] } })
    await bed.synced('web')
    await setPolicy({ prune: 'false' })
    await waitFor('the policy', async () => await find({ ...configMap(POLICY_NAME) }))
    bed.update({ web: { objects: [configMap('a')] } })
    await bed.reported('web', 'not pruned', hasCode('PolicyForbids'))
    expect(await find(configMap('b'))).toBeDefined()
    bed.update({ web: { tombstone: 'prune' } })
    await bed.reported(
      'web',
      'not removed',
      (report) => report.problems.length === 2 && hasCode('PolicyForbids')(report),
    )
    expect(bed.requests(['delete'])).toEqual([])
    await setPolicy(undefined)
    await waitFor('the confirmation', () => bed.removed.includes('web'), { timeoutMs: 5_000 })
  })

  test('that pauses leaves everything as it is, and says so; afterwards what drifted is put back', async () => {
    await newNamespace()
    const { bed, states } = await startWithPolicy()
    bed.update({ web: { objects: [configMap('a')] } })
    await bed.synced('web')
    await setPolicy({ paused: 'true' })
    await waitFor('the pause', () => {
      const state = states.at(-1)
      return state?.kind === 'known' && state.policy.paused
    })
    const writes = () =>
      bed.requests(['patch', 'delete', 'create', 'update']).filter(({ resource }) => resource !== 'secrets')
    const before = writes().length
    await cluster.admin.patch(
      placed(configMap('a')),
      { data: { value: 'evil' } },
      { type: 'merge', fieldManager: 'kubectl-edit' },
    )
    const report = await bed.reported('web', 'drifted', ({ drifted }) => drifted === 1)
    expect(report.drifts).toMatchObject([{ manager: 'kubectl-edit' }])
    expect(report.problems).toEqual([])
    expect(report.sync).toBe(SyncState.OUT_OF_SYNC)
    bed.update({ web: { objects: [configMap('a'), configMap('b')] } })
    // As of a suspended application: what is new and not applied differs too.
    await bed.reported('web', 'refused', (one) => hasCode('PolicyForbids')(one) && one.drifted === 2)
    bed.update({ web: { objects: [configMap('b')] } })
    await bed.reported('web', 'not pruned', ({ drifted }) => drifted === 2)
    bed.update({ web: { tombstone: 'orphan' } })
    await bed.reported('web', 'not leaving', hasCode('PolicyForbids'))
    expect(await find(configMap('b'))).toBeUndefined()
    expect(await currentValue('a')).toBe('evil')
    expect(writes().length).toBe(before)
    bed.update({ web: { objects: [configMap('a'), configMap('b')] } })
    await setPolicy({ paused: 'false' })
    await bed.synced('web', { timeoutMs: 5_000 })
    expect(await currentValue('a')).toBe('1')
  })

  test('is shown whole in the status of the agent', async () => {
    await newNamespace()
    await setPolicy({ paused: 'true', namespaces: 'shop', kinds: '*.apps', prune: 'false' })
    const { states } = await startWithPolicy()
    await waitFor('the policy to be known', () => states.length > 0)
    const open = { serviceAccounts: null, customResourceDefinitions: true, clusterScoped: true }
    const allowed = { ...open, paused: true, namespaces: ['shop'], kinds: ['*.apps'], prune: false }
    expect(toStatusPolicy(undefined, states.at(-1) as PolicyState)).toMatchObject({ state: 'known', allowed })
  })

  test('that pauses counts what drifted while the agent was down; what a person had put back by hand is taken over afterwards', async () => {
    await newNamespace()
    const first = await startWithPolicy()
    const objects = [configMap('a'), configMap('b')]
    first.bed.update({ web: { objects } })
    await first.bed.synced('web')
    await first.bed.stop()
    const byHand = { type: 'merge', fieldManager: 'kubectl-edit' } as const
    await cluster.admin.patch(placed(configMap('a')), { data: { value: 'evil' } }, byHand)
    await cluster.admin.delete(placed(configMap('b')))
    await setPolicy({ paused: 'true' })
    const { bed } = await startWithPolicy()
    bed.update({ web: { objects } })
    const report = await bed.reported('web', 'drifted', (one) => one.drifted === 2 && one.drifts.length === 2)
    expect(report.problems).toEqual([])
    await cluster.admin.patch(placed(configMap('a')), { data: { value: '1' } }, byHand)
    await bed.reported('web', 'put back by hand', ({ drifted }) => drifted === 1)
    await setPolicy({ paused: 'false' })
    await bed.synced('web')
    expect(await find(configMap('b'))).toBeDefined()
    const managers = (await find(configMap('a')))?.metadata.managedFields?.map(({ manager }) => manager)
    expect(managers).toEqual(['fairlead'])
  })

  test('that is not understood stops all writing until it is mended', async () => {
    await newNamespace()
    await setPolicy({ namespace: 'shop' })
    const { bed, states } = await startWithPolicy()
    bed.update({ web: { objects: [configMap('a')] } })
    const report = await bed.reported('web', 'refused', hasCode('PolicyForbids'))
    expect(report.problems[0]?.message).toContain('namespace is not known')
    expect(states.at(-1)).toMatchObject({ kind: 'invalid' })
    expect(await find(configMap('a'))).toBeUndefined()
    await setPolicy({ namespaces: namespace })
    await bed.synced('web', { timeoutMs: 5_000 })
  })

  test('can demand a service account of every application', async () => {
    await newNamespace()
    await setPolicy({ serviceAccounts: `${namespace}/deployer` })
    const { bed } = await startWithPolicy()
    bed.update({ web: { objects: [configMap('a')] } })
    const report = await bed.reported('web', 'refused', hasCode('PolicyForbids'))
    expect(report.problems[0]?.message).toContain('names a service account')
    bed.update({ web: { objects: [configMap('a')], policy: { serviceAccount: 'other' } } })
    const other = await bed.reported('web', 'refused again', ({ problems }) =>
      problems.some(({ message }) => message.includes(`${namespace}/other`)),
    )
    expect(other.problems.map(({ code }) => code)).toEqual(['PolicyForbids'])
    expect(await find(configMap('a'))).toBeUndefined()
  })

  test('is out of reach for every application, and so is the agent itself', async () => {
    await newNamespace()
    const { bed } = await startWithPolicy()
    const policy = { ...configMap(POLICY_NAME), data: { paused: 'false' } }
    const role: TestObject = {
      apiVersion: 'rbac.authorization.k8s.io/v1',
      kind: 'Role',
      metadata: { name: 'fairlead-agent' },
      rules: [],
    }
    const binding: TestObject = {
      apiVersion: 'rbac.authorization.k8s.io/v1',
      kind: 'ClusterRoleBinding',
      metadata: { name: `fairlead-agent-${namespace}` },
      roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: 'cluster-admin' },
    }
    bed.update({ web: { objects: [policy, role, binding, configMap('a')] } })
    const report = await bed.reported('web', 'refused', ({ problems }) => problems.length === 3)
    expect(report.problems.map(({ code }) => code)).toEqual(['ApplyForbidden', 'ApplyForbidden', 'ApplyForbidden'])
    await waitFor('the ordinary object', async () => await find(configMap('a')))
    expect(await find(policy)).toBeUndefined()
    expect(await find(role)).toBeUndefined()
  })

  test('costs no request while nothing changes', async () => {
    await newNamespace()
    const { bed } = await startWithPolicy()
    bed.update({ web: { objects: [configMap('a')] } })
    await bed.synced('web')
    const [since, begin] = [Date.now(), performance.now()]
    await waitFor('some time to pass', () => performance.now() - begin > 2_000)
    const own = cluster.auditLog({ userAgent: 'fairlead-agent/', since }).filter(({ verb }) => verb !== 'watch')
    expect(own.filter(({ namespace: space }) => space === namespace)).toEqual([])
  })
})

// What holds a revision back holds nothing else: not what was in force, not other applications, and for no longer than it
// must, across suspensions, restarts and failures in between.
import { getField } from '@fairlead/e2e/harness/kube-client'
import { waitFor } from '@fairlead/e2e/harness/wait'
import type { ApplicationReport } from '@fairlead/proto/report'
import { AppError } from '@fairlead/shared/errors'
import { afterEach, expect, test } from 'vitest'
import type { Kube } from '../kube/kube.ts'
import { OPEN_POLICY } from '../policy/cluster-policy.ts'
import { ClusterBed } from './cluster-bed.ts'
import type { ReconcilerBed, TestEntry, TestObject } from './reconciler-bed.ts'

const hour = 3_600_000

const limits = { transientBaseMs: 50, transientMaxMs: 200, userBaseMs: 100, userMaxMs: 400 }
const here = ClusterBed.forFile({ name: 'gate', full: true, options: { limits } })
afterEach(async () => {
  await here.admin.patch(node, { metadata: { labels: { nowhere: null } } }, { type: 'merge' })
})

const configMap = (name: string, value: unknown = '1', metadata: object = {}): TestObject => ({
  apiVersion: 'v1',
  kind: 'ConfigMap',
  metadata: { name, namespace: here.namespace, ...metadata },
  data: { value },
})
const job = (name: string, phase: string | undefined, spec: object = {}, pod: object = {}): TestObject => ({
  apiVersion: 'batch/v1',
  kind: 'Job',
  metadata: {
    name,
    namespace: here.namespace,
    ...(phase !== undefined && { annotations: { 'fairlead.dev/hook': phase } }),
  },
  spec: {
    ...spec,
    template: { spec: { restartPolicy: 'Never', containers: [{ name: 'c', image: 'busybox:1' }], ...pod } },
  },
})
const node = { apiVersion: 'v1', kind: 'Node', metadata: { name: 'node-1' } }
const nowhere = { nodeSelector: { nowhere: 'true' } }
/** Ends when there is such a node. */
const hanging = (name: string, phase?: string) => job(name, phase, {}, nowhere)
const letJobsEnd = async () =>
  await here.admin.patch(node, { metadata: { labels: { nowhere: 'true' } } }, { type: 'merge' })
const dataOf = async (name: string) => getField(await here.find(configMap(name)), 'data.value')
const states = ({ hooks }: ApplicationReport): string[] =>
  hooks.map(({ object, phase, state }) => `${phase} ${object?.name} ${state}`)
const reached = async (bed: ReconcilerBed, state: string) =>
  await bed.reported('web', state, (report) => states(report).includes(state), 30_000)
const problem = async (bed: ReconcilerBed, code: string) =>
  await bed.reported('web', code, ({ problems }) => problems.some((one) => one.code === code))
const validated = (...objects: TestObject[]): TestEntry => ({ objects, policy: { validate: 'server' } })
const suspended = (entry: TestEntry): TestEntry =>
  'tombstone' in entry ? entry : { ...entry, policy: { ...entry.policy, suspend: true } }
/** A revision that came while the application was suspended, and was seen. */
const suspend = async (bed: ReconcilerBed, entry: TestEntry) => {
  const { generation } = bed.update({ web: suspended(entry) })
  const isSeen = ({ suspended: is, drifted, sliceGeneration }: ApplicationReport): boolean =>
    is && drifted > 0 && sliceGeneration === generation
  await bed.reported('web', 'suspended', isSeen)
}

test('a revision that came while the application was suspended is not written before its pre-sync hooks, once it is resumed', async () => {
  const bed = await here.start()
  bed.update({ web: { objects: [configMap('a'), configMap('kept')] } })
  await bed.synced('web')
  const objects = [configMap('a', '2'), configMap('b'), configMap('kept'), hanging('migrate', 'pre-sync')]
  await suspend(bed, { objects })
  bed.update({ web: { objects } })
  await reached(bed, 'pre-sync migrate running')
  await here.admin.delete(configMap('kept'))
  await waitFor('what is in force to be healed', async () => await here.find(configMap('kept')))
  expect([await dataOf('a'), await here.find(configMap('b'))]).toEqual(['1', undefined])
  await letJobsEnd()
  await bed.synced('web')
  expect([await dataOf('a'), await dataOf('b')]).toEqual(['2', '1'])
})

test('a revision that came while the application was suspended is validated before it is written, and so is what follows it', async () => {
  const bed = await here.start()
  bed.update({ web: validated(configMap('a')) })
  await bed.synced('web')
  const bad = validated(configMap('a', '2'), configMap('b', { not: 'text' }))
  await suspend(bed, bad)
  bed.update({ web: bad })
  await problem(bed, 'ValidationFailed')
  expect(await dataOf('a')).toBe('1')
  await suspend(bed, validated(configMap('a', '3'), configMap('b')))
  // Resumed by the slice that brings the next one: what nobody let in is not in force meanwhile.
  bed.update({ web: validated(configMap('a', '4'), configMap('c', { not: 'text' })) })
  await bed.reported('web', 'c refused', ({ problems }) => problems.some(({ object }) => object?.name === 'c'))
  expect([await dataOf('a'), await here.find(configMap('b'))]).toEqual(['1', undefined])
})

test('what another value of a variable changes is validated before it is written', async () => {
  const bed = await here.start()
  const objects = [configMap('a', '${cluster.values.v}'), configMap('b', '1', { labels: { v: '${cluster.values.v}' } })]
  bed.update({ web: validated(...objects) }, { values: { v: 'good' } })
  await bed.synced('web')
  bed.update({ web: validated(...objects) }, { values: { v: 'no label!' } })
  await problem(bed, 'ValidationFailed')
  expect(await dataOf('a')).toBe('good')
  bed.update({ web: validated(...objects) }, { values: { v: 'better' } })
  await waitFor('the next value', async () => (await dataOf('a')) === 'better')
})

test('what an application declares in a revision that is held back is not taken by another after a restart', async () => {
  const bed = await here.start()
  bed.update({ web: validated(configMap('x')) })
  await bed.synced('web')
  const entries = {
    web: validated(configMap('x', '2'), configMap('bad', { not: 'text' })),
    other: { objects: [configMap('x', 'of another'), configMap('o')] },
  }
  const contested = async (one: ReconcilerBed) =>
    await one.reported('other', 'contested', ({ problems }) => problems.some(({ code }) => code === 'OwnedByAnother'))
  bed.update(entries)
  await problem(bed, 'ValidationFailed')
  await contested(bed)
  const second = await here.restart(bed)
  second.update(entries)
  await problem(second, 'ValidationFailed')
  await contested(second)
  expect((await here.find(configMap('x')))?.metadata.labels).toMatchObject({ 'fairlead.dev/application': 'web' })
  expect(await dataOf('x')).toBe('1')
})

test('a hook that cannot be one holds back its own revision: after a restart what is in force is healed, and others prune', async () => {
  const bed = await here.start()
  bed.update({
    web: { objects: [configMap('a'), configMap('b')] },
    other: { objects: [configMap('o'), configMap('gone')] },
  })
  await bed.synced('web')
  await bed.synced('other')
  const web = { objects: [configMap('a', '2'), configMap('b'), job('migrate', 'PreSync')] }
  bed.update({ web, other: { objects: [configMap('o'), configMap('gone')] } })
  await problem(bed, 'InvalidManifest')
  const second = await here.restart(bed)
  second.update({ web, other: { objects: [configMap('o')] } })
  await problem(second, 'InvalidManifest')
  await here.admin.delete(configMap('b'))
  await waitFor('what is in force to be healed', async () => await here.find(configMap('b')))
  await second.synced('other')
  expect([await here.find(configMap('gone')), await dataOf('a')]).toEqual([undefined, '1'])
  expect(second.report('web')?.problems).toMatchObject([
    { object: { kind: 'Job', name: 'migrate' }, source: { file: 'deploy/web.yaml', line: 21 } },
  ])
})

test.each<[string, (...changed: TestObject[]) => TestEntry, string]>([
  [
    'refused by the API server',
    (...changed) => validated(...changed, configMap('bad', { not: 'text' })),
    'ValidationFailed',
  ],
  [
    'waiting for a pre-sync hook',
    (...changed) => ({ objects: [...changed, job('migrate', 'pre-sync', {}, { ...nowhere })] }),
    '',
  ],
])(
  'after a restart while a revision is %s, what it changes and drops is healed to what was in force',
  async (_what, hold, code) => {
    const bed = await here.start()
    const before = [configMap('a', '${cluster.values.v}'), configMap('dropped'), configMap('same')]
    bed.update({ web: { ...hold(), objects: before } as TestEntry }, { values: { v: 'one' } })
    await bed.synced('web')
    const next = hold(configMap('a', '2'), configMap('same'), configMap('new'))
    const held = async (one: ReconcilerBed) =>
      code === '' ? await reached(one, 'pre-sync migrate running') : await problem(one, code)
    bed.update({ web: next }, { values: { v: 'two' } })
    await held(bed)
    await here.stop(bed)
    const kubectl = { type: 'merge', fieldManager: 'kubectl-edit' } as const
    await here.admin.patch(here.placed(configMap('a')), { data: { value: 'by hand', more: 'x' } }, kubectl)
    await here.admin.delete(here.placed(configMap('dropped')))
    const second = await here.start({}, bed)
    second.update({ web: next }, { values: { v: 'two' } })
    await held(second)
    await waitFor('what was edited meanwhile to be healed', async (see) => {
      const data = (await here.find(configMap('a')))?.data
      see(data)
      return data?.value === 'one' && Object.keys(data).length === 1
    })
    await waitFor('what was deleted meanwhile to be healed', async () => await here.find(configMap('dropped')))
    // And from then on by its events.
    await here.admin.patch(here.placed(configMap('a')), { data: { value: 'again' } }, kubectl)
    await waitFor('the next edit to be healed', async () => (await dataOf('a')) === 'one')
    expect(await here.find(configMap('new'))).toBeUndefined()
    if (code === '') await letJobsEnd()
    else second.update({ web: validated(configMap('a', '2'), configMap('same'), configMap('new')) })
    await second.synced('web')
    expect([await dataOf('a'), await dataOf('new'), await here.find(configMap('dropped'))]).toEqual([
      '2',
      '1',
      undefined,
    ])
  },
)

test('what a suspended application let in before is healed to that when it is resumed into a held revision', async () => {
  const bed = await here.start()
  bed.update({ web: validated(configMap('a'), configMap('b')) })
  await bed.synced('web')
  const bad = validated(configMap('a', '2'), configMap('b'), configMap('c', { not: 'text' }))
  await suspend(bed, bad)
  bed.update({ web: bad })
  await problem(bed, 'ValidationFailed')
  await here.admin.patch(
    here.placed(configMap('a')),
    { data: { value: 'by hand' } },
    { type: 'merge', fieldManager: 'kubectl-edit' },
  )
  await waitFor('what is in force to be healed', async () => (await dataOf('a')) === '1')
})

test('a hook is followed to its end though the service account cannot be looked up for a while', async () => {
  const bed = await here.start()
  const metadata = { name: 'runner', namespace: here.namespace }
  await here.admin.create({ apiVersion: 'v1', kind: 'ServiceAccount', metadata })
  await here.admin.create({
    apiVersion: 'rbac.authorization.k8s.io/v1',
    kind: 'ClusterRoleBinding',
    metadata: { name: here.namespace },
    roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: 'cluster-admin' },
    subjects: [{ kind: 'ServiceAccount', ...metadata }],
  } as Parameters<typeof here.admin.create>[0])
  const web: TestEntry = {
    objects: [configMap('a'), hanging('migrate', 'pre-sync')],
    policy: { serviceAccount: 'runner' },
  }
  bed.update({ web })
  await reached(bed, 'pre-sync migrate running')
  let failures = 0
  const flaky: Kube = {
    ...here.kube,
    get: async (...given) => {
      if (given[0].kind === 'ServiceAccount' && failures++ < 2) throw new AppError('ApiServerUnavailable', 'away')
      return await here.kube.get(...given)
    },
  }
  const second = await here.restart(bed, { kube: flaky })
  second.update({ web })
  await waitFor('the account to be looked up in vain', () => failures > 0)
  await letJobsEnd()
  await reached(second, 'pre-sync migrate succeeded')
  await second.synced('web')
})

test('where the policy of the cluster forbids deletions, the Job of an earlier run stays, and that is said', async () => {
  const policy = { ...OPEN_POLICY, prune: true }
  const bed = await here.start({ policy: () => ({ kind: 'known', policy }) })
  bed.update({ web: { objects: [configMap('a'), job('migrate', 'pre-sync')] } })
  await bed.synced('web')
  const uid = (await here.find(job('migrate', undefined)))?.metadata.uid
  policy.prune = false
  bed.update({ web: { objects: [configMap('a', '2'), job('migrate', 'pre-sync')] } })
  const { problems } = await problem(bed, 'PolicyForbids')
  expect(problems).toMatchObject([{ object: { kind: 'Job', name: 'migrate' } }])
  expect(await here.find(job('migrate', undefined))).toMatchObject({ metadata: { uid } })
  policy.prune = true
  bed.reconciler.policyChanged()
  await waitFor('the next run', async () => {
    const found = await here.find(job('migrate', undefined))
    return found && found.metadata.uid !== uid
  })
})

test('an inventory that cannot be written is tried again at the pace of errors, also when post-sync hooks have become due', async () => {
  let isBroken = false
  let tries = 0
  const broken: Kube = {
    ...here.kube,
    apply: async (...given) => {
      if (!isBroken || given[0].kind !== 'Secret') return await here.kube.apply(...given)
      tries++
      throw new AppError('ApiServerUnavailable', 'away')
    },
  }
  const bed = await here.start({ kube: broken, limits: { transientBaseMs: hour, transientMaxMs: hour } })
  bed.update({ web: { objects: [configMap('a'), hanging('slow'), job('notify', 'post-sync')] } })
  await bed.synced('web')
  await reached(bed, 'post-sync notify pending')
  isBroken = true
  await here.admin.delete(configMap('a'))
  await problem(bed, 'ApiServerUnavailable')
  await letJobsEnd()
  await waitFor('the Job to end', async () => getField(await here.find(hanging('slow')), 'status.completionTime'))
  await expect(waitFor('a loop', () => tries > 10, { timeoutMs: 1_500 })).rejects.toThrow('a loop')
  isBroken = false
  bed.reconciler.reconcile()
  await reached(bed, 'post-sync notify succeeded')
})

test('a suspended application does not go round for what failed before', async () => {
  let looks = 0
  const clock = (): number => {
    looks++
    return Date.now()
  }
  const bed = await here.start({ clock })
  await here.admin.create(hanging('notify', undefined))
  const web: TestEntry = { objects: [configMap('a'), job('notify', 'post-sync')] }
  bed.update({ web })
  await problem(bed, 'AdoptionRefused')
  bed.update({ web: suspended(web) })
  await bed.reported('web', 'suspended', (report) => report.suspended)
  const before = looks
  // A loop would look at the clock some thousand times; what the pass still has to do does it a few times.
  await expect(waitFor('a loop', () => looks > before + 100, { timeoutMs: 2_500 })).rejects.toThrow('a loop')
})

test('of an application that is validated no more stand before others than of one that is applied', async () => {
  const bed = await here.start()
  const webhook = await here.ask({ timeoutSeconds: 30 })
  webhook.hold()
  bed.update({ web: validated(...Array.from({ length: 200 }, (_, index) => configMap(`c-${index}`))) })
  // Those that are slow give their places to others, up to a limit.
  await waitFor('the places to be taken', () => webhook.requests.length >= 8)
  expect(bed.reconciler.inspect().queues.apply).toBeLessThan(64)
  webhook.release()
  await bed.synced('web', { timeoutMs: 30_000 })
})

// Hooks on a cluster whose Jobs run: once for each revision, before it, after it, or because it failed.
import { writeVerbs } from '@fairlead/e2e/harness/audit'
import { getField } from '@fairlead/e2e/harness/kube-client'
import { waitFor } from '@fairlead/e2e/harness/wait'
import { SyncState } from '@fairlead/proto/common'
import type { ApplicationReport } from '@fairlead/proto/report'
import { expect, test } from 'vitest'
import type { Kube } from '../kube/kube.ts'
import { ClusterBed } from './cluster-bed.ts'
import type { ReconcilerBed, TestObject } from './reconciler-bed.ts'

const limits = { transientBaseMs: 50, transientMaxMs: 200 }
const here = ClusterBed.forFile({ name: 'hooks', full: true, options: { limits } })

const configMap = (name: string, value = '1'): TestObject => ({
  apiVersion: 'v1',
  kind: 'ConfigMap',
  metadata: { name, namespace: here.namespace },
  data: { value },
})
const job = (name: string, phase: string | undefined, spec: object = {}, pod: object = {}): TestObject => ({
  apiVersion: 'batch/v1',
  kind: 'Job',
  metadata: { name, namespace: here.namespace, ...(phase && { annotations: { 'fairlead.dev/hook': phase } }) },
  spec: {
    ...spec,
    template: { spec: { restartPolicy: 'Never', containers: [{ name: 'c', image: 'busybox:1' }], ...pod } },
  },
})
const node = { apiVersion: 'v1', kind: 'Node', metadata: { name: 'node-1' } }
const nowhere = { nodeSelector: { nowhere: 'true' } }
/** Ends after a second, because nothing runs it. */
const failing = (name: string, phase: string) =>
  job(name, phase, { activeDeadlineSeconds: 1, backoffLimit: 0 }, nowhere)
/** Never ends. */
const hanging = (name: string, phase: string) => job(name, phase, {}, nowhere)
const uidOf = async (name: string): Promise<string | undefined> => (await here.find(job(name, undefined)))?.metadata.uid
const states = ({ hooks }: ApplicationReport): string[] =>
  hooks.map(({ object, phase, state }) => `${phase} ${object?.name} ${state}`)
const reached = async (bed: ReconcilerBed, ...wanted: string[]) =>
  await bed.reported(
    'web',
    wanted.join(', '),
    (report) => wanted.every((state) => states(report).includes(state)),
    30_000,
  )
const creations = (bed: ReconcilerBed, name: string): number =>
  bed.requests(['create']).filter((request) => request.name === name && request.code === 201).length

test('pre-sync runs before the first object of the revision, post-sync after all are healthy, sync-fail not at all', async () => {
  const bed = await here.start()
  const objects = [
    configMap('a'),
    job('notify', 'post-sync'),
    job('migrate', 'pre-sync'),
    job('alarm', 'sync-fail'),
    job('slow', undefined),
  ]
  bed.update({ web: { objects } })
  const report = await reached(bed, 'post-sync notify succeeded')
  expect(states(report).sort()).toEqual([
    'post-sync notify succeeded',
    'pre-sync migrate succeeded',
    'sync-fail alarm skipped',
  ])
  expect(report).toMatchObject({ problems: [], sync: SyncState.SYNCED, objects: 2 })
  expect(await uidOf('alarm')).toBeUndefined()
  const order = bed
    .requests(writeVerbs)
    .map(({ name, resource }) => `${resource}/${name}`)
    .filter((name) => /migrate|notify|slow|\/a$/.test(name))
  // What is of one revision is applied side by side.
  expect([order[0], order.slice(1, -1).sort(), order.at(-1)]).toEqual([
    'jobs/migrate',
    ['configmaps/a', 'jobs/slow'],
    'jobs/notify',
  ])
  const slow = await here.find(job('slow', undefined))
  const completed = Date.parse(String(getField(slow, 'status.completionTime')))
  const notified = Date.parse(String((await here.find(job('notify', undefined)))?.metadata.creationTimestamp))
  expect(notified).toBeGreaterThanOrEqual(completed)
})

test('a hook runs once for a revision: not for the same slice, a repair, a recheck, a restart or a commit that changes nothing here; again for one that does', async () => {
  const bed = await here.start()
  const objects = [configMap('a'), job('migrate', 'pre-sync'), job('notify', 'post-sync')]
  bed.update({ web: { objects, commit: 'one' } })
  await reached(bed, 'post-sync notify succeeded')
  const before = [await uidOf('migrate'), await uidOf('notify')]
  bed.update({ web: { objects, commit: 'one' } })
  await here.admin.patch(configMap('a'), { data: { value: 'by hand' } }, { type: 'merge' })
  await bed.reported('web', 'repaired', ({ remediations }) => remediations === 1n)
  bed.reconciler.reconcile()
  const second = await here.restart(bed)
  second.update({ web: { objects, commit: 'one' } })
  await second.synced('web')
  expect(states(second.report('web') as ApplicationReport)).toEqual([
    'pre-sync migrate succeeded',
    'post-sync notify succeeded',
  ])
  expect([await uidOf('migrate'), await uidOf('notify')]).toEqual(before)
  second.update({ web: { objects, commit: 'two' } })
  await second.reported('web', 'at the second commit', ({ revision }) => revision?.commit === 'two')
  expect([await uidOf('migrate'), await uidOf('notify')]).toEqual(before)
  second.update({ web: { objects: [configMap('a', '2'), ...objects.slice(1)], commit: 'three' } })
  await waitFor('new runs', async () => (await uidOf('notify')) !== before[1] && (await uidOf('notify')) !== undefined)
  await reached(second, 'post-sync notify succeeded')
  expect(await uidOf('migrate')).not.toBe(before[0])
  expect([creations(second, 'migrate'), creations(second, 'notify')]).toEqual([2, 2])
})

test('a failed pre-sync hook stops its revision, runs sync-fail once, and what was there before goes on being healed', async () => {
  const bed = await here.start()
  bed.update({ web: { objects: [configMap('a'), configMap('gone')] } })
  await bed.synced('web')
  const objects = [configMap('a', '2'), configMap('b'), failing('migrate', 'pre-sync'), job('alarm', 'sync-fail')]
  bed.update({ web: { objects } })
  const report = await reached(bed, 'pre-sync migrate failed', 'sync-fail alarm succeeded')
  expect(report.sync).toBe(SyncState.OUT_OF_SYNC)
  expect(report.problems).toMatchObject([
    { code: 'HookFailed', object: { kind: 'Job', name: 'migrate' }, source: { file: 'deploy/web.yaml', line: 21 } },
  ])
  expect(report.problems[0]?.message).toContain('DeadlineExceeded')
  expect(await here.find(configMap('b'))).toBeUndefined()
  expect(await here.find(configMap('gone'))).toBeDefined()
  await here.admin.patch(configMap('a'), { data: { value: 'by hand' } }, { type: 'merge' })
  await waitFor('the old value', async () => getField(await here.find(configMap('a')), 'data.value') === '1')
  await here.admin.delete(configMap('gone'))
  await waitFor('what was deleted by hand', async () => await here.find(configMap('gone')))
  // A restart runs neither of them again, and does not let the revision in.
  const second = await here.restart(bed)
  second.update({ web: { objects } })
  await reached(second, 'pre-sync migrate failed', 'sync-fail alarm succeeded')
  expect([creations(second, 'migrate'), creations(second, 'alarm')]).toEqual([1, 1])
  expect(getField(await here.find(configMap('a')), 'data.value')).toBe('1')
  second.update({ web: { objects: [configMap('a', '2'), configMap('b'), job('migrate', 'pre-sync')] } })
  await second.synced('web')
  expect([await here.find(configMap('gone')), await uidOf('alarm')]).toEqual([undefined, undefined])
})

test('a newer revision pre-empts a hook that does not end', async () => {
  const bed = await here.start()
  bed.update({ web: { objects: [configMap('a'), hanging('migrate', 'pre-sync')] } })
  await reached(bed, 'pre-sync migrate running')
  const stuck = await uidOf('migrate')
  bed.update({ web: { objects: [configMap('b'), job('migrate', 'pre-sync')] } })
  await bed.synced('web')
  expect(await uidOf('migrate')).not.toBe(stuck)
  bed.update({ web: { objects: [configMap('a'), hanging('migrate', 'pre-sync')] } })
  await reached(bed, 'pre-sync migrate running')
  bed.update({ web: { objects: [configMap('c')] } })
  await bed.synced('web')
  expect([await here.find(configMap('a')), await uidOf('migrate')]).toEqual([undefined, undefined])
})

test('a commit that changes nothing here does not interrupt a hook that is running', async () => {
  const bed = await here.start()
  const objects = [configMap('a'), hanging('migrate', 'pre-sync')]
  bed.update({ web: { objects, commit: 'one' } })
  await reached(bed, 'pre-sync migrate running')
  const uid = await uidOf('migrate')
  bed.update({ web: { objects, commit: 'two' } })
  const second = await here.restart(bed)
  second.update({ web: { objects, commit: 'three' } })
  await reached(second, 'pre-sync migrate running')
  await here.admin.patch(node, { metadata: { labels: { nowhere: 'true' } } }, { type: 'merge' })
  await second.reported('web', 'at the third commit', ({ revision }) => revision?.commit === 'three')
  await here.admin.patch(node, { metadata: { labels: { nowhere: null } } }, { type: 'merge' })
  expect([await uidOf('migrate'), creations(second, 'migrate')]).toEqual([uid, 1])
})

test('a hook that failed gets another try by the next commit, whatever that changes, and each failure is told by sync-fail', async () => {
  const bed = await here.start()
  const objects = [configMap('a'), failing('migrate', 'pre-sync'), job('alarm', 'sync-fail')]
  bed.update({ web: { objects, commit: 'one' } })
  await reached(bed, 'pre-sync migrate failed', 'sync-fail alarm succeeded')
  const before = await uidOf('alarm')
  bed.update({ web: { objects, commit: 'two' } })
  await waitFor('another alarm', async () => ![undefined, before].includes(await uidOf('alarm')), { timeoutMs: 30_000 })
  await reached(bed, 'pre-sync migrate failed', 'sync-fail alarm succeeded')
  expect([creations(bed, 'migrate'), creations(bed, 'alarm')]).toEqual([2, 2])
})

test('a hook that is running when the agent ends is followed by the next one, not run again', async () => {
  const bed = await here.start()
  const objects = [configMap('a'), hanging('migrate', 'pre-sync')]
  bed.update({ web: { objects } })
  await reached(bed, 'pre-sync migrate running')
  const uid = await uidOf('migrate')
  const second = await here.restart(bed)
  second.update({ web: { objects } })
  await reached(second, 'pre-sync migrate running')
  await here.admin.patch(node, { metadata: { labels: { nowhere: 'true' } } }, { type: 'merge' })
  await reached(second, 'pre-sync migrate succeeded')
  await second.synced('web')
  await here.admin.patch(node, { metadata: { labels: { nowhere: null } } }, { type: 'merge' })
  expect(await uidOf('migrate')).toBe(uid)
})

test('a process that ends between the creation of a hook and the note of it does not run it twice', async () => {
  const created = Promise.withResolvers<void>()
  const dying: Kube = {
    ...here.kube,
    create: async (...given) => {
      await here.kube.create(...given)
      created.resolve()
      return await new Promise<never>(() => undefined)
    },
  }
  const bed = await here.start({ kube: dying })
  const objects = [configMap('a'), job('migrate', 'pre-sync')]
  bed.update({ web: { objects } })
  await created.promise
  const uid = await uidOf('migrate')
  // As a process that is killed: it is never heard of again.
  here.abandon(bed)
  const second = await here.start()
  second.update({ web: { objects } })
  await second.synced('web')
  await reached(second, 'pre-sync migrate succeeded')
  expect(await uidOf('migrate')).toBe(uid)
})

test('a hook deleted by hand is not made again, is no drift, and does not count in health', async () => {
  const bed = await here.start()
  const objects = [configMap('a'), job('migrate', 'pre-sync'), failing('notify', 'post-sync')]
  bed.update({ web: { objects } })
  await reached(bed, 'post-sync notify failed')
  const report = await bed.synced('web', { healthy: true })
  expect(report).toMatchObject({ unhealthy: [], drifts: [], problems: [{ code: 'HookFailed' }] })
  await here.admin.delete(job('migrate', undefined), { propagationPolicy: 'Background' })
  await waitFor('the Job to be gone', async () => (await uidOf('migrate')) === undefined)
  bed.reconciler.reconcile()
  bed.update({ web: { objects }, other: { objects: [configMap('o')] } })
  await bed.synced('other')
  expect(await uidOf('migrate')).toBeUndefined()
  expect(bed.report('web')).toMatchObject({ drifts: [], remediations: 0n })
})

test('the Job of a hook that leaves Git is pruned, and those of an application that leaves go with it', async () => {
  const bed = await here.start()
  bed.update({ web: { objects: [configMap('a'), job('migrate', 'pre-sync'), job('notify', 'post-sync')] } })
  await reached(bed, 'post-sync notify succeeded')
  bed.update({ web: { objects: [configMap('a'), job('migrate', 'pre-sync')] } })
  await waitFor('the Job to be pruned', async () => (await uidOf('notify')) === undefined)
  await bed.synced('web')
  bed.update({ web: { tombstone: 'prune' } })
  await waitFor('the confirmation', () => bed.removed.includes('web'))
  expect([await here.find(configMap('a')), await uidOf('migrate')]).toEqual([undefined, undefined])
})

test('a Job that is not of the application is not replaced by a hook of its name', async () => {
  const bed = await here.start()
  await here.admin.create(hanging('migrate', 'pre-sync'))
  const uid = await uidOf('migrate')
  bed.update({ web: { objects: [configMap('a'), job('migrate', 'pre-sync')] } })
  const { problems } = await bed.reported('web', 'refused', (report) => report.problems.length > 0)
  expect(problems).toMatchObject([{ code: 'AdoptionRefused', object: { name: 'migrate' }, source: { line: 11 } }])
  expect(await uidOf('migrate')).toBe(uid)
  expect(await here.find(configMap('a'))).toBeUndefined()
})

test('sync-fail runs once when an object is refused for good, and post-sync when that is mended', async () => {
  const bed = await here.start({ limits: { ...limits, userBaseMs: 100, userMaxMs: 200 } })
  const broken = { ...configMap('b'), data: { a: { not: 'text' } } }
  bed.update({ web: { objects: [configMap('a'), broken, job('alarm', 'sync-fail'), job('notify', 'post-sync')] } })
  await reached(bed, 'sync-fail alarm succeeded', 'post-sync notify pending')
  const tries = () => bed.requests(['patch']).filter(({ name }) => name === 'b').length
  const before = tries()
  await waitFor('more tries', () => tries() > before + 2)
  expect(creations(bed, 'alarm')).toBe(1)
  bed.update({
    web: { objects: [configMap('a'), configMap('b'), job('alarm', 'sync-fail'), job('notify', 'post-sync')] },
  })
  await reached(bed, 'sync-fail alarm skipped', 'post-sync notify succeeded')
})

test('a pre-sync hook finds the Namespace that comes with its revision', async () => {
  const bed = await here.start()
  const space = `${here.namespace}-new`
  const migrate = job('migrate', 'pre-sync')
  migrate.metadata.namespace = space
  bed.update({
    web: { objects: [migrate, { apiVersion: 'v1', kind: 'Namespace', metadata: { name: space } }, configMap('a')] },
  })
  await reached(bed, 'pre-sync migrate succeeded')
  await bed.synced('web')
})

test('a pre-sync hook finds the account and the settings that say that they come before it', async () => {
  const bed = await here.start()
  const early = { annotations: { 'fairlead.dev/before-hooks': 'true' } }
  const account = configMap('account')
  Object.assign(account.metadata, early)
  bed.update({ web: { objects: [configMap('a'), job('migrate', 'pre-sync'), account] } })
  await reached(bed, 'pre-sync migrate succeeded')
  await bed.synced('web')
  const order = bed
    .requests(writeVerbs)
    .map(({ name, resource }) => `${resource}/${name}`)
    .filter((name) => /migrate|account|\/a$/.test(name))
  expect(order).toEqual(['configmaps/account', 'jobs/migrate', 'configmaps/a'])
})

test('anything but a Job with the annotation is refused with its file, and nothing that was there is lost', async () => {
  const bed = await here.start()
  bed.update({ web: { objects: [configMap('a'), configMap('b')] } })
  await bed.synced('web')
  const wrong = {
    ...configMap('b'),
    metadata: { ...configMap('b').metadata, annotations: { 'fairlead.dev/hook': 'pre-sync' } },
  }
  bed.update({ web: { objects: [configMap('a', '2'), wrong] } })
  const { problems } = await bed.reported('web', 'refused', (report) => report.problems.length > 0)
  expect(problems).toMatchObject([
    { code: 'InvalidManifest', message: expect.stringMatching(/ConfigMap b \(deploy\/web.yaml:11\): only a Job/) },
  ])
  expect(await here.find(configMap('b'))).toBeDefined()
})

test('a pre-sync hook that cannot be read here holds its revision back: nothing is applied without it', async () => {
  const bed = await here.start()
  bed.update({ web: { objects: [configMap('a')] } })
  await bed.synced('web')
  const migrate = job('migrate', 'pre-sync')
  migrate.metadata.labels = { size: '${cluster.values.size}' }
  bed.update({ web: { objects: [configMap('a', '2'), migrate], policy: { substitute: true } } })
  const report = await bed.reported('web', 'held', ({ problems }) => problems.length > 0)
  expect(report).toMatchObject({
    sync: SyncState.OUT_OF_SYNC,
    problems: [{ code: 'UnknownVariable', object: { kind: 'Job', name: 'migrate' }, source: { line: 11 } }],
  })
  await here.admin.patch(configMap('a'), { data: { value: 'by hand' } }, { type: 'merge' })
  await waitFor('the old value', async () => getField(await here.find(configMap('a')), 'data.value') === '1')
})

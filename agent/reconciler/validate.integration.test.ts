// `validate: server`: nothing of a revision is written before the API server has agreed to all of it.
import { getField } from '@fairlead/e2e/harness/kube-client'
import { waitFor } from '@fairlead/e2e/harness/wait'
import { SyncState } from '@fairlead/proto/common'
import type { ApplicationReport } from '@fairlead/proto/report'
import { expect, test } from 'vitest'
import { ClusterBed } from './cluster-bed.ts'
import type { ReconcilerBed, TestEntry, TestObject } from './reconciler-bed.ts'

const limits = { transientBaseMs: 50, transientMaxMs: 200, userBaseMs: 100, userMaxMs: 400 }
const here = ClusterBed.forFile({ name: 'validate', options: { limits } })

const validated = (...objects: TestObject[]): TestEntry => ({ objects, policy: { validate: 'server' } })
const configMap = (name: string, value: unknown = '1', space = here.namespace): TestObject => ({
  apiVersion: 'v1',
  kind: 'ConfigMap',
  metadata: { name, namespace: space },
  data: { value },
})
const dataOf = async (name: string) => getField(await here.find(configMap(name)), 'data.value')
const refused = async (bed: ReconcilerBed) =>
  await bed.reported('web', 'refused', ({ problems }) => problems.some(({ code }) => code === 'ValidationFailed'))
const names = ({ problems }: ApplicationReport): string[] =>
  problems.map(({ code, object }) => `${code} ${object?.kind} ${object?.name}`).sort()

test('one object that the API server refuses keeps the whole revision out, and is named with its file and the reason', async () => {
  const bed = await here.start()
  bed.update({ web: validated(configMap('a'), configMap('b'), configMap('gone')) })
  await bed.synced('web')
  bed.update({ web: validated(configMap('a', '2'), configMap('b', { not: 'text' }), configMap('c')) })
  const report = await refused(bed)
  expect(report).toMatchObject({
    sync: SyncState.OUT_OF_SYNC,
    problems: [{ source: { file: 'deploy/web.yaml', line: 11 } }],
  })
  expect(names(report)).toEqual(['ValidationFailed ConfigMap b'])
  expect(report.problems[0]?.message).toMatch(/data\.value|expected string/)
  expect(await here.find(configMap('c'))).toBeUndefined()
  expect([await dataOf('a'), await dataOf('b'), await dataOf('gone')]).toEqual(['1', '1', '1'])
})

test('what was there before goes on being healed while a revision is refused, also after a restart', async () => {
  const bed = await here.start()
  bed.update({ web: validated(configMap('a'), configMap('b')) })
  await bed.synced('web')
  const bad = validated(configMap('a', '2'), configMap('b'), configMap('c', { not: 'text' }))
  bed.update({ web: bad })
  await refused(bed)
  const edit = async (name: string) =>
    await here.admin.patch(configMap(name), { data: { value: 'by hand' } }, { type: 'merge' })
  await edit('a')
  await waitFor('the old value', async () => (await dataOf('a')) === '1')
  await here.admin.delete(configMap('b'))
  await waitFor('what was deleted', async () => await here.find(configMap('b')))
  await here.stop(bed)
  const second = await here.start()
  second.update({ web: bad })
  await refused(second)
  await edit('b')
  await waitFor('the old value', async () => (await dataOf('b')) === '1')
  expect(await here.find(configMap('c'))).toBeUndefined()
})

test('a cluster that is mended later is noticed, and the revision applied', async () => {
  const bed = await here.start()
  const webhook = await here.ask()
  webhook.review = ({ name }) => (name === 'b' ? { allowed: false, message: 'no owner label' } : { allowed: true })
  bed.update({ web: validated(configMap('a'), configMap('b')) })
  const { problems } = await refused(bed)
  expect(problems[0]?.message).toContain('no owner label')
  expect(webhook.requests.filter(({ name }) => name === 'a').every(({ dryRun }) => dryRun)).toBe(true)
  expect(await here.find(configMap('a'))).toBeUndefined()
  webhook.review = () => ({ allowed: true })
  await bed.synced('web')
})

test('a revision that mends it is let in at once, and one that is accepted is asked about once, not after a restart', async () => {
  const hour = 3_600_000
  const bed = await here.start({ limits: { userBaseMs: hour, userMaxMs: hour } })
  bed.update({ web: validated(configMap('a', { not: 'text' })) })
  await refused(bed)
  const good = validated(configMap('a'), configMap('b'))
  bed.update({ web: good })
  await bed.synced('web', { timeoutMs: 5_000 })
  await here.stop(bed)
  const before = bed.requests(['patch']).length
  const second = await here.start()
  second.update({ web: good })
  await second.synced('web')
  expect(second.requests(['patch'])).toHaveLength(before)
})

test('objects whose namespace and kind come with the application are validated as far as possible', async () => {
  const bed = await here.start()
  const space = `${here.namespace}-new`
  const group = `${here.namespace}.example.com`
  const crd: TestObject = {
    apiVersion: 'apiextensions.k8s.io/v1',
    kind: 'CustomResourceDefinition',
    metadata: { name: `gears.${group}` },
    spec: {
      group,
      scope: 'Namespaced',
      names: { plural: 'gears', singular: 'gear', kind: 'Gear', listKind: 'GearList' },
      versions: [{ name: 'v1', served: true, storage: true, schema: { openAPIV3Schema: { type: 'object' } } }],
    },
  }
  const gear: TestObject = { apiVersion: `${group}/v1`, kind: 'Gear', metadata: { name: 'g', namespace: space } }
  const brings = [{ apiVersion: 'v1', kind: 'Namespace', metadata: { name: space } }, crd, gear]
  bed.update({ web: validated(...brings, configMap('inside', { not: 'text' }, space)) })
  const report = await refused(bed)
  expect(names(report)).toEqual(['ValidationFailed ConfigMap inside'])
  expect(report.problems[0]?.message).not.toContain('fairlead-check')
  expect(await here.find({ apiVersion: 'v1', kind: 'Namespace', metadata: { name: space } })).toBeUndefined()
  bed.update({ web: validated(...brings, configMap('inside', '1', space)) })
  await bed.synced('web')
  expect(await here.find(gear)).toBeDefined()
})

test('a kind that nobody brings keeps the revision out until it is there', async () => {
  const bed = await here.start()
  const custom: TestObject = {
    apiVersion: `${here.namespace}.example.com/v1`,
    kind: 'Cog',
    metadata: { name: 'c', namespace: here.namespace },
  }
  bed.update({ web: validated(configMap('a'), custom) })
  const report = await refused(bed)
  expect(names(report)).toEqual(['ValidationFailed Cog c'])
  expect(report.problems[0]).toMatchObject({ source: { file: 'deploy/web.yaml', line: 11 } })
  expect(await here.find(configMap('a'))).toBeUndefined()
})

test('an object that a refused revision would take over is not pruned by the one that gives it up', async () => {
  const bed = await here.start()
  bed.update({ shop: { objects: [configMap('a'), configMap('moving')] }, web: validated(configMap('w')) })
  await bed.synced('shop')
  await bed.synced('web')
  const uid = (await here.find(configMap('moving')))?.metadata.uid
  const bad = configMap('bad', { not: 'text' })
  bed.update({ shop: { objects: [configMap('a', '2')] }, web: validated(configMap('w'), configMap('moving'), bad) })
  await refused(bed)
  await bed.reported('shop', 'at its new revision', () => bed.report('shop')?.appliedAt !== undefined)
  await waitFor('the other object', async () => (await dataOf('a')) === '2')
  bed.update({ shop: { objects: [configMap('a', '2')] }, web: validated(configMap('w'), configMap('moving')) })
  await bed.synced('web')
  expect((await here.find(configMap('moving')))?.metadata.uid).toBe(uid)
})

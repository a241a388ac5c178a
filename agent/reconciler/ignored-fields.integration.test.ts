// Fields and objects that are left to others, by rule or by annotation: neither applied, nor owned, nor fought for.
import { getField } from '@fairlead/e2e/harness/kube-client'
import { waitFor } from '@fairlead/e2e/harness/wait'
import { SyncState } from '@fairlead/proto/common'
import { expect, test } from 'vitest'
import { ClusterBed } from './cluster-bed.ts'
import type { ReconcilerBed, TestEntry, TestObject } from './reconciler-bed.ts'

const here = ClusterBed.forFile({ name: 'ignored' })

const deployment = (image = 'nginx:1', ignore?: string): TestObject => ({
  apiVersion: 'apps/v1',
  kind: 'Deployment',
  metadata: { name: 'd', ...(ignore === undefined ? {} : { annotations: { 'fairlead.dev/ignore': ignore } }) },
  spec: {
    replicas: 3,
    selector: { matchLabels: { app: 'd' } },
    template: { metadata: { labels: { app: 'd' } }, spec: { containers: [{ name: 'c', image }] } },
  },
})
const configMap = (data: Record<string, string> = { a: '1', b: '2' }, ignore?: string): TestObject => ({
  apiVersion: 'v1',
  kind: 'ConfigMap',
  metadata: { name: 'c', ...(ignore === undefined ? {} : { annotations: { 'fairlead.dev/ignore': ignore } }) },
  data,
})
const dataOf = async () => (await here.find(configMap()))?.data
const replicas = async () => getField(await here.find(deployment()), 'spec.replicas')
const ignoring = (objects: TestObject[], ...paths: string[]): Record<string, TestEntry> => ({
  web: { objects, policy: { ignoreFields: [{ group: '*', paths }] } },
})
/** Our entry, as text. */
const owned = async (object: TestObject): Promise<string> => {
  const entries = (await here.find(object))?.metadata.managedFields as
    | { manager: string; fieldsV1: unknown }[]
    | undefined
  return JSON.stringify(entries?.find(({ manager }) => manager === 'fairlead')?.fieldsV1)
}
/** After a drift that is repaired, everything that was written before it has been looked at. */
const repairOfAnother = async (bed: ReconcilerBed): Promise<void> => {
  const count = bed.report('web')?.remediations ?? 0n
  await here.admin.patch(here.placed(deployment()), { metadata: { annotations: { by: 'hand' } } }, { type: 'merge' })
  await bed.reported('web', 'repaired', ({ remediations }) => remediations === count + 1n)
}

test('an ignored field is not sent when the object is made, and what anybody sets there is left', async () => {
  const bed = await here.start()
  bed.update(ignoring([configMap(), deployment()], 'data.b', 'spec.replicas'))
  await bed.synced('web')
  expect(await dataOf()).toEqual({ a: '1' })
  expect(await owned(configMap())).not.toContain('f:b')
  await here.admin.patch(here.placed(configMap()), { data: { b: 'by hand' } }, { type: 'merge' })
  await here.admin.patch(
    here.placed(deployment()),
    { spec: { replicas: 7 } },
    { type: 'merge', fieldManager: 'operator' },
  )
  await repairOfAnother(bed)
  expect([await dataOf(), await replicas()]).toEqual([{ a: '1', b: 'by hand' }, 7])
  // A new revision leaves it too, and so does the repair of another field of the same object.
  bed.update(ignoring([configMap({ a: '2', b: '3' }), deployment('nginx:2')], 'data.b', 'spec.replicas'))
  await bed.reported('web', 'applied', ({ sync, appliedAt }) => sync === SyncState.SYNCED && appliedAt !== undefined)
  expect([await dataOf(), await replicas()]).toEqual([{ a: '2', b: 'by hand' }, 7])
  await here.admin.patch(here.placed(configMap()), { data: { a: '9', b: 'again', z: '1' } }, { type: 'merge' })
  await waitFor('the repair', async () => (await dataOf())?.a === '2')
  expect(await dataOf()).toEqual({ a: '2', b: 'again' })
  expect(bed.report('web')).toMatchObject({ sync: SyncState.SYNCED, problems: [] })
})

test('a rule that comes later gives the field up, and the object keeps its value', async () => {
  const bed = await here.start()
  bed.update({ web: { objects: [deployment(), configMap()] } })
  await bed.synced('web')
  expect(await owned(deployment())).toContain('f:replicas')
  const before = await here.find(deployment())
  bed.update(ignoring([deployment(), configMap()], '/spec/replicas', 'data[*]'))
  await waitFor('the field to be given up', async () => !(await owned(deployment())).includes('f:replicas'))
  await bed.synced('web')
  expect(await here.find(deployment())).toMatchObject({ spec: before?.spec, metadata: { generation: 1 } })
  expect(await dataOf()).toEqual({ a: '1', b: '2' })
  expect(await owned(configMap())).not.toContain('f:data')
  // Taken back when the rule goes.
  await here.admin.patch(here.placed(deployment()), { spec: { replicas: 5 } }, { type: 'merge' })
  bed.update({ web: { objects: [deployment(), configMap()] } })
  await waitFor('the value of Git', async () => (await replicas()) === 3)
  await bed.synced('web')
})

test('an image by the name or the place of its container is given up without a new generation', async () => {
  const bed = await here.start()
  bed.update({ web: { objects: [deployment()] } })
  await bed.synced('web')
  for (const path of ['spec.template.spec.containers[name=c].image', '/spec/template/spec/containers/0/image']) {
    bed.update(ignoring([deployment('nginx:9')], path))
    await waitFor('the image to be given up', async () => !(await owned(deployment())).includes('f:image'))
    await bed.synced('web')
    const found = await here.find(deployment())
    expect(getField(found, 'spec.template.spec.containers.0.image')).toBe('nginx:1')
    expect(found?.metadata.generation).toBe(1)
    bed.update({ web: { objects: [deployment()] } })
    await waitFor('the image to be ours', async () => (await owned(deployment())).includes('f:image'))
    await bed.synced('web')
  }
})

test('after a restart ignored fields that a person set are no drift, and nothing is written', async () => {
  const first = await here.start()
  const entries = ignoring([configMap(), deployment()], 'data.b')
  first.update(entries)
  await first.synced('web')
  await here.admin.patch(here.placed(configMap()), { data: { b: 'by hand' } }, { type: 'merge' })
  await repairOfAnother(first)
  await here.stop(first)
  const second = await here.start()
  const writes = () => second.requests(['patch', 'update', 'create', 'delete']).length
  const before = writes()
  second.update(entries)
  await second.synced('web')
  expect(writes()).toBe(before)
  expect(await dataOf()).toEqual({ a: '1', b: 'by hand' })
})

test('an object that needs an ignored field cannot be made, and the error names it', async () => {
  const bed = await here.start()
  bed.update(ignoring([deployment()], 'spec.template.spec.containers[*].image'))
  const report = await bed.reported('web', 'refused', ({ problems }) => problems.length > 0)
  expect(report.problems[0]).toMatchObject({ code: 'ApplyInvalid', object: { name: 'd' } })
  expect(report.problems[0]?.message).toContain('image')
})

test('the annotation names fields of one object', async () => {
  const bed = await here.start()
  bed.update({ web: { objects: [configMap(undefined, 'data.b'), deployment()] } })
  await bed.synced('web')
  expect(await dataOf()).toEqual({ a: '1' })
})

test('an annotation that cannot be read is told with file and place, and the object stays as it is', async () => {
  const bed = await here.start()
  bed.update({ web: { objects: [configMap(), deployment()] } })
  await bed.synced('web')
  bed.update({ web: { objects: [configMap({ a: '2' }, 'data..b'), deployment('nginx:2')] } })
  const report = await bed.reported('web', 'told', ({ problems }) => problems.length > 0)
  expect(report.problems).toMatchObject([
    { code: 'InvalidManifest', object: { name: 'c' }, source: { file: 'deploy/web.yaml', line: 1 } },
  ])
  expect(report.problems[0]?.message).toContain('"data..b", character 6')
  await waitFor('the other object', async () => JSON.stringify(await here.find(deployment())).includes('nginx:2'))
  expect(await dataOf()).toEqual({ a: '1', b: '2' })
})

test('an object that Git says to leave alone is not applied, not repaired and not pruned, and comes back under management', async () => {
  const bed = await here.start()
  bed.update({ web: { objects: [configMap(), deployment()] } })
  await bed.synced('web')
  bed.update({ web: { objects: [configMap({ a: 'new' }, 'true'), deployment()] } })
  await bed.reported('web', 'without it', ({ objects, sync }) => objects === 1 && sync === SyncState.SYNCED)
  await here.admin.patch(here.placed(configMap()), { data: { a: 'by hand' } }, { type: 'merge' })
  await repairOfAnother(bed)
  expect(await dataOf()).toEqual({ a: 'by hand', b: '2' })
  await here.admin.delete(here.placed(configMap()))
  await repairOfAnother(bed)
  expect(await here.find(configMap())).toBeUndefined()
  // It is wanted again.
  bed.update({ web: { objects: [configMap({ a: 'new' }), deployment()] } })
  await waitFor('the object', async () => (await dataOf())?.a === 'new')
  await bed.synced('web')
  // And leaves Git after it was left alone: it stays.
  bed.update({ web: { objects: [configMap({ a: 'new' }, 'true'), deployment()] } })
  await bed.reported('web', 'without it', ({ objects, sync }) => objects === 1 && sync === SyncState.SYNCED)
  bed.update({ web: { objects: [deployment()] } })
  await bed.synced('web')
  bed.update({ web: { tombstone: 'prune' } })
  await waitFor('the confirmation', () => bed.removed.includes('web'))
  expect(await dataOf()).toEqual({ a: 'new' })
  expect(await here.find(deployment())).toBeUndefined()
})

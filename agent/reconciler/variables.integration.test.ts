// ${cluster...} in manifests on a real API server: replaced in the cluster, followed at once, strict, and quiet.
import { writeVerbs } from '@fairlead/e2e/harness/audit'
import { waitFor } from '@fairlead/e2e/harness/wait'
import { SyncState } from '@fairlead/proto/common'
import { beforeEach, expect, test } from 'vitest'
import { ClusterBed } from './cluster-bed.ts'
import type { ReconcilerBed, TestObject } from './reconciler-bed.ts'

const here = ClusterBed.forFile({ name: 'variables' })
let bed: ReconcilerBed

beforeEach(async () => {
  bed = await here.start()
})

const configMap = (name: string, data: Record<string, string> = { a: '1' }): TestObject => ({
  apiVersion: 'v1',
  kind: 'ConfigMap',
  metadata: { name },
  data,
})
const find = async (name: string) =>
  await here.admin.find({ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name, namespace: here.namespace } })
const dataOf = async (name: string) => (await find(name))?.data
const named = (verbs: readonly string[]): string[] => bed.requests(verbs).map(({ verb, name }) => `${verb} ${name}`)
const region = { 'topology.kubernetes.io/region': 'eu-west-1' }

test('name, labels and values of the cluster are put in; every other ${...} stays as it is', async () => {
  const object = configMap('a', {
    cluster: '${cluster.name}',
    region: 'in ${cluster.labels.topology.kubernetes.io/region}',
    zone: '${cluster.values.zone}',
    literal: '$${cluster.name}',
    shell: 'echo ${HOME} ${cluster} $(date)',
  })
  bed.update({ web: { objects: [object] } }, { name: 'prod-1', labels: region, values: { zone: 'example.com' } })
  await bed.synced('web')
  expect(await dataOf('a')).toEqual({
    cluster: 'prod-1',
    region: 'in eu-west-1',
    zone: 'example.com',
    literal: '${cluster.name}',
    shell: 'echo ${HOME} ${cluster} $(date)',
  })
})

test('a changed value is written at once, and only where it is used', async () => {
  const entries = {
    user: { objects: [configMap('used', { zone: '${cluster.values.zone}' }), configMap('beside')] },
    other: { objects: [configMap('other', { name: '${cluster.name}' })] },
  }
  bed.update(entries, { values: { zone: 'a', more: 'b' } })
  await bed.synced('user')
  await bed.synced('other')
  const before = bed.requests().length
  bed.update(entries, { values: { zone: 'c', more: 'd' } })
  await waitFor('the new value', async () => (await dataOf('used'))?.zone === 'c')
  // Synced is told before that is written down.
  await waitFor('its inventory', () =>
    bed
      .requests()
      .slice(before)
      .some(({ name }) => name === 'fairlead-inventory-user'),
  )
  const since = bed.requests().slice(before)
  expect([...new Set(since.map(({ verb, name }) => `${verb} ${name}`))]).toEqual([
    'patch used',
    'patch fairlead-inventory-user',
  ])
})

test('a value that nothing uses causes no request at all', async () => {
  const entries = { web: { objects: [configMap('a', { zone: '${cluster.values.zone}' })] } }
  bed.update(entries, { values: { zone: 'a' } })
  await bed.synced('web')
  const before = bed.requests().length
  bed.update(entries, { values: { zone: 'a', more: 'x' }, labels: region })
  // A round trip through the same API server: whatever that had caused would be in the log by now.
  bed.update({ ...entries, last: { objects: [configMap('z')] } }, { values: { zone: 'a', more: 'x' } })
  await bed.synced('last')
  const about = bed
    .requests()
    .slice(before)
    .filter(({ name }) => name !== 'z' && name !== 'fairlead-inventory-last')
  expect(about).toEqual([])
})

test('an unknown variable is told with object, field, file and line; the other objects are applied', async () => {
  bed.update({ web: { objects: [configMap('good'), configMap('bad', { zone: '${cluster.values.zone}' })] } })
  const report = await bed.reported('web', 'with its problem', ({ problems }) => problems.length > 0)
  expect(report.problems).toMatchObject([
    {
      code: 'UnknownVariable',
      message: 'data.zone: this cluster has no ${cluster.values.zone}',
      object: { kind: 'ConfigMap', name: 'bad' },
      source: { file: 'deploy/web.yaml', line: 11 },
    },
  ])
  await waitFor('the good one', async () => (await find('good')) !== undefined)
  expect(report).toMatchObject({ sync: SyncState.OUT_OF_SYNC, objects: 2 })
  expect(await find('bad')).toBeUndefined()
})

test('a variable that is taken away leaves what it made as it is, and given back it is followed again', async () => {
  const entries = {
    web: { objects: [configMap('a', { zone: '${cluster.values.zone}' }), configMap('${cluster.values.zone}-b')] },
  }
  bed.update(entries, { values: { zone: 'eu' } })
  await bed.synced('web')
  bed.update(entries, {})
  await bed.reported('web', 'with its problems', ({ problems }) => problems.length === 2)
  bed.update({ ...entries, last: { objects: [configMap('z')] } }, {})
  await bed.synced('last')
  expect(named(['delete'])).toEqual([])
  expect((await dataOf('a'))?.zone).toBe('eu')
  bed.update(entries, { values: { zone: 'us' } })
  await bed.synced('web')
  expect([(await dataOf('a'))?.zone, await find('eu-b'), (await find('us-b'))?.metadata.name]).toEqual([
    'us',
    undefined,
    'us-b',
  ])
})

test('a name that depends on a variable moves with it, and the old object is pruned', async () => {
  const entries = { web: { objects: [configMap('settings-${cluster.labels.env}'), configMap('b')] } }
  bed.update(entries, { labels: { env: 'test' } })
  await bed.synced('web')
  bed.update(entries, { labels: { env: 'prod' } })
  await waitFor('the old object to be pruned', async () => !(await find('settings-test')))
  await bed.synced('web')
  expect((await find('settings-prod'))?.data).toEqual({ a: '1' })
})

test('a name that is none with its variables replaced is refused by itself', async () => {
  bed.update(
    { web: { objects: [configMap('a-${cluster.values.x}'), configMap('b')] } },
    { values: { x: '../../../x' } },
  )
  const report = await bed.reported('web', 'with its problem', ({ problems }) => problems.length > 0)
  expect(report.problems).toMatchObject([
    { code: 'InvalidManifest', message: expect.stringContaining('metadata.name') },
  ])
  await waitFor('the other object', async () => (await find('b')) !== undefined)
})

test('an annotation that means nothing with its variables replaced is refused, and what it is on is not deleted', async () => {
  const { metadata, ...rest } = configMap('kept')
  const kept = { ...rest, metadata: { ...metadata, annotations: { 'fairlead.dev/prune': '${cluster.values.prune}' } } }
  const entries = { web: { objects: [kept, configMap('beside')] } }
  bed.update(entries, { values: { prune: 'disabled' } })
  await bed.synced('web')
  bed.update(entries, { values: { prune: 'Disabled' } })
  const report = await bed.reported('web', 'with its problem', ({ problems }) => problems.length > 0)
  expect(report.problems).toMatchObject([
    { code: 'InvalidManifest', message: expect.stringContaining('fairlead.dev/prune must be disabled or enabled') },
  ])
  expect((await find('kept'))?.metadata.annotations).toMatchObject({ 'fairlead.dev/prune': 'disabled' })
  expect(named(['delete'])).toEqual([])
})

test('a restart with the same variables writes nothing', async () => {
  const entries = { web: { objects: [configMap('a', { zone: '${cluster.values.zone}' })] } }
  bed.update(entries, { values: { zone: 'eu' } })
  await bed.synced('web')
  const before = named(writeVerbs)
  bed = await here.restart(bed)
  bed.update(entries, { values: { zone: 'eu' } })
  await bed.synced('web')
  expect(named(writeVerbs)).toEqual(before)
})

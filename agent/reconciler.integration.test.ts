// The reconciler as a whole against a real API server: what it applies, keeps, hands over, prunes and reports.
import { writeVerbs } from '@fairlead/e2e/harness/audit'
import { getField } from '@fairlead/e2e/harness/kube-client'
import { waitFor } from '@fairlead/e2e/harness/wait'
import { HealthState, SyncState } from '@fairlead/proto/common'
import { expect, test } from 'vitest'
import { ClusterBed } from './reconciler/cluster-bed.ts'
import type { TestObject } from './reconciler/reconciler-bed.ts'

const here = ClusterBed.forFile({ name: 'reconciler' })

const configMap = (name: string, data: Record<string, string> = { a: '1' }, metadata: object = {}): TestObject => ({
  apiVersion: 'v1',
  kind: 'ConfigMap',
  metadata: { name, ...metadata },
  data,
})
const serviceAccount = (name: string): TestObject => ({ apiVersion: 'v1', kind: 'ServiceAccount', metadata: { name } })
const find = async (kind: string, name: string, apiVersion = 'v1') =>
  await here.admin.find({ apiVersion, kind, metadata: { name, namespace: here.namespace } })
const inventories = async (): Promise<string[]> => {
  const found = await here.admin.list(
    { apiVersion: 'v1', kind: 'Secret', metadata: { namespace: here.namespace } },
    { labels: 'fairlead.dev/inventory=true' },
  )
  return found.map(({ metadata }) => metadata.name)
}

test('what is declared is applied with our labels and reported Synced and Healthy at its revision', async () => {
  const bed = await here.start()
  bed.update({ web: { objects: [configMap('a'), serviceAccount('b')], commit: 'c'.repeat(40) } })
  const report = await bed.synced('web', { healthy: true })
  expect(report).toMatchObject({ objects: 2, problems: [], revision: { commit: 'c'.repeat(40) } })
  const found = await find('ConfigMap', 'a')
  expect(found?.metadata.labels).toMatchObject({
    'app.kubernetes.io/managed-by': 'fairlead',
    'fairlead.dev/application': 'web',
  })
})

test('the same slice again makes no request at all', async () => {
  const bed = await here.start()
  const entry = { web: { objects: [configMap('a'), serviceAccount('b')] } }
  bed.update(entry)
  await bed.synced('web')
  const before = bed.requests().length
  bed.update(entry)
  bed.update(entry)
  // A round trip through the same API server: whatever the slices had caused would be in the log by now.
  bed.update({ ...entry, other: { objects: [configMap('z')] } })
  await bed.synced('other')
  const about = bed
    .requests()
    .slice(before)
    .filter(({ name }) => name !== 'z' && name !== 'fairlead-inventory-other')
  expect(about).toEqual([])
})

test('a restart writes nothing', async () => {
  const first = await here.start()
  const entry = { web: { objects: [configMap('a'), serviceAccount('b'), configMap('c')] } }
  first.update(entry)
  await first.synced('web')
  const before = first.requests(writeVerbs)
  const second = await here.restart(first)
  second.update(entry)
  const report = await second.synced('web', { healthy: true })
  expect(second.requests(writeVerbs)).toEqual(before)
  expect(report).toMatchObject({ remediations: 0n, drifts: [], problems: [] })
})

test('the inventory is written before the first apply', async () => {
  const bed = await here.start()
  bed.update({ web: { objects: [configMap('a')] } })
  await bed.synced('web')
  const writes = bed.requests(writeVerbs).map(({ name }) => name)
  expect(writes[0]).toBe('fairlead-inventory-web')
  expect(writes).toContain('a')
})

test('a broken object is reported with its file and leaves the others applied', async () => {
  const bed = await here.start()
  const broken = { ...configMap('broken'), data: { a: { not: 'text' } } }
  bed.update({ web: { objects: [configMap('a'), broken, configMap('c')] }, other: { objects: [configMap('o')] } })
  await bed.synced('other')
  const report = await bed.reported('web', 'with a problem', ({ problems }) => problems.length > 0)
  expect(report.sync).toBe(SyncState.OUT_OF_SYNC)
  expect(report.problems[0]).toMatchObject({
    object: { kind: 'ConfigMap', name: 'broken' },
    source: { file: 'deploy/web.yaml', line: 11 },
  })
  await waitFor('the others', async () => (await find('ConfigMap', 'a')) && (await find('ConfigMap', 'c')))
})

test('an unknown kind is reported and applied when its CRD comes to be', async () => {
  const bed = await here.start()
  const custom = {
    apiVersion: `${here.namespace}.example.com/v1`,
    kind: 'Widget',
    metadata: { name: 'w' },
    spec: { size: 1 },
  }
  bed.update({ web: { objects: [configMap('a'), custom] } })
  const report = await bed.reported('web', 'with a problem', ({ problems }) => problems.length > 0)
  expect(report.problems[0]).toMatchObject({
    code: 'UnknownKind',
    object: { kind: 'Widget', name: 'w' },
    source: { line: 11 },
  })
  await waitFor('the other object', async () => await find('ConfigMap', 'a'))
  bed.update({ web: { objects: [configMap('a'), custom] }, crds: { objects: [crd('widgets', 'Widget')] } })
  await bed.synced('crds', { healthy: true })
  await bed.synced('web')
})

const crd = (plural: string, kind: string): TestObject => ({
  apiVersion: 'apiextensions.k8s.io/v1',
  kind: 'CustomResourceDefinition',
  metadata: { name: `${plural}.${here.namespace}.example.com` },
  spec: {
    group: `${here.namespace}.example.com`,
    scope: 'Namespaced',
    names: { plural, singular: kind.toLowerCase(), kind, listKind: `${kind}List` },
    versions: [
      {
        name: 'v1',
        served: true,
        storage: true,
        schema: { openAPIV3Schema: { type: 'object', 'x-kubernetes-preserve-unknown-fields': true } },
      },
    ],
  },
})

test('custom resources wait for the CRD of their own application', async () => {
  const bed = await here.start()
  const custom = {
    apiVersion: `${here.namespace}.example.com/v1`,
    kind: 'Gadget',
    metadata: { name: 'g' },
    spec: { size: 1 },
  }
  bed.update({ web: { objects: [custom, crd('gadgets', 'Gadget')] } })
  await bed.synced('web')
  expect(await find('Gadget', 'g', `${here.namespace}.example.com/v1`)).toBeDefined()
})

test('an object that leaves Git is pruned, the others stay', async () => {
  const bed = await here.start()
  bed.update({ web: { objects: [configMap('a'), configMap('b')] } })
  await bed.synced('web')
  bed.update({ web: { objects: [configMap('a')] } })
  await waitFor('b to be pruned', async () => !(await find('ConfigMap', 'b')))
  await bed.synced('web')
  expect(await find('ConfigMap', 'a')).toBeDefined()
})

test('a tombstone deletes what the application owns, and is confirmed again when asked again', async () => {
  const bed = await here.start()
  bed.update({ web: { objects: [configMap('a'), serviceAccount('b')] } })
  await bed.synced('web')
  bed.update({ web: { tombstone: 'prune' } })
  await waitFor('the confirmation', () => bed.removed.includes('web'))
  expect([await find('ConfigMap', 'a'), await find('ServiceAccount', 'b'), await inventories()]).toEqual([
    undefined,
    undefined,
    [],
  ])
  bed.update({ web: { tombstone: 'prune' }, unknown: { tombstone: 'prune' } })
  await waitFor(
    'both confirmations',
    () => bed.removed.filter((name) => name === 'web').length === 2 && bed.removed.includes('unknown'),
  )
})

test('an orphaning tombstone leaves the objects and gives up the ownership', async () => {
  const bed = await here.start()
  bed.update({ web: { objects: [configMap('a')] } })
  await bed.synced('web')
  const before = await find('ConfigMap', 'a')
  bed.update({ web: { tombstone: 'orphan' } })
  await waitFor('the confirmation', () => bed.removed.includes('web'))
  const after = await find('ConfigMap', 'a')
  expect(after?.metadata.uid).toBe(before?.metadata.uid)
  expect(after?.data).toEqual({ a: '1' })
  expect(after?.metadata.labels ?? {}).toEqual({})
  expect(await inventories()).toEqual([])
})

test('an application that is not in the slice any more is left alone', async () => {
  const bed = await here.start()
  bed.update({ web: { objects: [configMap('a')] }, other: { objects: [configMap('o')] } })
  await bed.synced('web')
  bed.update({ other: { objects: [configMap('o')] } })
  const report = await bed.reported('web', 'Unknown', ({ sync }) => sync === SyncState.UNKNOWN)
  expect(report).toMatchObject({ objects: 1, health: HealthState.HEALTHY })
  expect(await find('ConfigMap', 'a')).toBeDefined()
})

test('an object that moves to another application is adopted as it is', async () => {
  const bed = await here.start()
  bed.update({ web: { objects: [configMap('a'), configMap('b')] }, shop: { objects: [configMap('s')] } })
  await bed.synced('web')
  await bed.synced('shop')
  const before = await find('ConfigMap', 'b')
  bed.update({ web: { objects: [configMap('a')] }, shop: { objects: [configMap('s'), configMap('b')] } })
  await bed.synced('shop')
  await bed.synced('web')
  const after = await find('ConfigMap', 'b')
  expect(after?.metadata.uid).toBe(before?.metadata.uid)
  expect(after?.metadata.labels?.['fairlead.dev/application']).toBe('shop')
  // A third owner by renaming the application.
  bed.update({
    web: { tombstone: 'prune' },
    shop: { tombstone: 'prune' },
    store: { objects: [configMap('s'), configMap('b')] },
  })
  await waitFor('the confirmations', () => bed.removed.length === 2)
  await bed.synced('store')
  const renamed = await find('ConfigMap', 'b')
  expect(renamed?.metadata.uid).toBe(before?.metadata.uid)
  expect(await find('ConfigMap', 'a')).toBeUndefined()
})

test('nothing is pruned while it is not known whether another application takes it over', async () => {
  const bed = await here.start()
  bed.update({ web: { objects: [configMap('a'), configMap('b')] } })
  await bed.synced('web')
  const before = await find('ConfigMap', 'b')
  bed.unavailable.add('shop')
  bed.update({ web: { objects: [configMap('a')] }, shop: { objects: [configMap('b')] } })
  await bed.reported('web', 'holding', ({ problems }) => problems.some(({ code }) => code === 'PruneFailed'))
  expect(await find('ConfigMap', 'b')).toBeDefined()
  bed.unavailable.clear()
  await bed.synced('shop')
  await bed.synced('web')
  expect((await find('ConfigMap', 'b'))?.metadata.uid).toBe(before?.metadata.uid)
})

test('of two applications that declare one object the first keeps it, and both are told', async () => {
  const bed = await here.start()
  bed.update({ web: { objects: [configMap('a', { from: 'web' })] } })
  await bed.synced('web')
  const both = {
    web: { objects: [configMap('a', { from: 'web' })] },
    shop: { objects: [configMap('a', { from: 'shop' })] },
  }
  bed.update(both)
  const told = (code: string) => (report: { problems: readonly { code: string }[] }) =>
    report.problems.some((problem) => problem.code === code)
  await bed.reported('shop', 'told', told('OwnedByAnother'))
  await bed.reported('web', 'told', told('OwnedByAnother'))
  expect((await find('ConfigMap', 'a'))?.data).toEqual({ from: 'web' })
  bed.update({ web: { tombstone: 'prune' }, shop: both.shop })
  await bed.synced('shop')
  expect((await find('ConfigMap', 'a'))?.data).toEqual({ from: 'shop' })
})

test('the process ends between apply and inventory: nothing is leaked', async () => {
  const first = await here.start()
  first.update({ web: { objects: Array.from({ length: 40 }, (_, index) => configMap(`a${index}`)) } })
  await waitFor('the first objects', async () => await find('ConfigMap', 'a0'))
  const second = await here.restart(first)
  second.update({ web: { tombstone: 'prune' } })
  await waitFor('the confirmation', () => second.removed.includes('web'))
  const left = await here.admin.list(
    { apiVersion: 'v1', kind: 'ConfigMap', metadata: { namespace: here.namespace } },
    { labels: 'app.kubernetes.io/managed-by=fairlead' },
  )
  expect(left.map(({ metadata }) => metadata.name)).toEqual([])
})

test('a newer slice pre-empts the older in the middle', async () => {
  const bed = await here.start()
  const many = (value: string) => Array.from({ length: 300 }, (_, index) => configMap(`m${index}`, { value }))
  bed.update({ web: { objects: many('1') } })
  await waitFor('some of the first', async () => await find('ConfigMap', 'm5'))
  bed.update({ web: { objects: [...many('1').slice(0, 290), configMap('new')] } })
  await bed.synced('web', { timeoutMs: 30_000 })
  const found = await here.admin.list(
    { apiVersion: 'v1', kind: 'ConfigMap', metadata: { namespace: here.namespace } },
    { labels: 'fairlead.dev/application=web' },
  )
  const names = new Set(found.map(({ metadata }) => metadata.name))
  expect({ size: names.size, hasNew: names.has('new'), hasOld: names.has('m295') }).toMatchObject({ hasNew: true })
  await waitFor('what was dropped to be gone', async () => !(await find('ConfigMap', 'm295')))
})

test('an object annotated fairlead.dev/prune: disabled is kept, and that is said', async () => {
  const bed = await here.start()
  const kept = configMap('kept', { a: '1' }, { annotations: { 'fairlead.dev/prune': 'disabled' } })
  bed.update({ web: { objects: [configMap('a'), kept] } })
  await bed.synced('web')
  bed.update({ web: { objects: [configMap('a')] } })
  const report = await bed.reported('web', 'holding', ({ problems }) => problems.length > 0)
  expect(report.problems[0]).toMatchObject({ code: 'PruneHeld', object: { name: 'kept' } })
  bed.update({ web: { tombstone: 'prune' } })
  await waitFor('the confirmation', () => bed.removed.includes('web'))
  expect(getField(await find('ConfigMap', 'kept'), 'data')).toEqual({ a: '1' })
})

test('an object held by a finalizer is waited for without asking, and confirmed when it is gone', async () => {
  const bed = await here.start()
  const held = configMap('held', { a: '1' }, { finalizers: ['example.com/hold'] })
  bed.update({ web: { objects: [held] } })
  await bed.synced('web')
  bed.update({ web: { tombstone: 'prune' } })
  const waits = ({ problems }: { problems: readonly { message: string }[] }) =>
    problems[0]?.message.includes('example.com/hold') ?? false
  await bed.reported('web', 'waiting for the finalizer', waits)
  const deletes = () => bed.requests(['delete']).filter(({ name }) => name === 'held').length
  expect(deletes()).toBe(1)
  await here.admin.patch(
    { ...held, metadata: { name: 'held', namespace: here.namespace } },
    { metadata: { finalizers: null } },
    { type: 'merge' },
  )
  await waitFor('the confirmation', () => bed.removed.includes('web'), { timeoutMs: 2_000 })
  expect(deletes()).toBe(1)
})

test('a CRD deleted by hand comes back, and its custom resources with it', async () => {
  const bed = await here.start()
  const apiVersion = `${here.namespace}.example.com/v1`
  const custom = { apiVersion, kind: 'Thing', metadata: { name: 'g' }, spec: { size: 1 } }
  bed.update({ web: { objects: [custom, crd('things', 'Thing')] } })
  await bed.synced('web', { healthy: true })
  const before = await find('Thing', 'g', apiVersion)
  await here.admin.delete(crd('things', 'Thing'))
  await waitFor(
    'another custom resource',
    async () => {
      const found = await find('Thing', 'g', apiVersion)
      return found && found.metadata.uid !== before?.metadata.uid
    },
    { timeoutMs: 10_000 },
  )
  await bed.synced('web', { healthy: true })
})

test('what the agent may not do is reported, the rest is applied and repaired', async () => {
  const { admin } = here
  const account = { apiVersion: 'v1', kind: 'ServiceAccount', metadata: { name: 'narrow', namespace: here.namespace } }
  const rbac = { apiVersion: 'rbac.authorization.k8s.io/v1', metadata: { name: 'narrow', namespace: here.namespace } }
  await admin.create(account)
  await admin.create({
    ...rbac,
    kind: 'Role',
    rules: [
      { apiGroups: [''], resources: ['configmaps', 'secrets'], verbs: ['*'] },
      { apiGroups: [''], resources: ['serviceaccounts'], verbs: ['get', 'create', 'patch', 'delete'] },
    ],
  } as never)
  await admin.create({
    ...rbac,
    kind: 'RoleBinding',
    roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'Role', name: 'narrow' },
    subjects: [{ kind: 'ServiceAccount', name: 'narrow', namespace: here.namespace }],
  } as never)
  const { token } = await admin.createToken(here.namespace, 'narrow')
  const kubeconfigPath = here.cluster.writeKubeconfig(`narrow-${here.namespace}`, { token })
  const bed = await here.start({ kube: await here.connect(kubeconfigPath), namespaces: [here.namespace] })
  const objects = [configMap('a'), configMap('far', {}, { namespace: 'default' }), serviceAccount('s')]
  bed.update({ web: { objects } })
  const report = await bed.reported('web', 'with two problems', ({ problems }) => problems.length === 2)
  expect(report.problems.map(({ code }) => code)).toEqual(['ApplyForbidden', 'ApplyForbidden'])
  expect(report.problems.find(({ object }) => object)).toMatchObject({
    object: { name: 'far', namespace: 'default' },
    source: { line: 11 },
  })
  expect(report.problems.find(({ object }) => !object)?.message).toContain('serviceaccounts cannot be watched')
  await waitFor('what it may write', async () => (await find('ConfigMap', 'a')) && (await find('ServiceAccount', 's')))
  await admin.patch(
    { ...configMap('a'), metadata: { name: 'a', namespace: here.namespace } },
    { data: { a: '9' } },
    { type: 'merge' },
  )
  await bed.reported('web', 'repaired', ({ remediations }) => remediations === 1n)
})

test('an immutable field that was changed is reported, and applied again when it is put back', async () => {
  const bed = await here.start()
  const fixed = (a: string): TestObject => ({ ...configMap('fixed', { a }), immutable: true })
  bed.update({ web: { objects: [fixed('1'), configMap('b')] } })
  await bed.synced('web')
  bed.update({ web: { objects: [fixed('2'), configMap('b', { a: '2' })] } })
  const report = await bed.reported('web', 'with a problem', ({ problems }) => problems.length > 0)
  expect(report.problems[0]).toMatchObject({
    code: 'ImmutableField',
    object: { name: 'fixed' },
    source: { file: 'deploy/web.yaml' },
  })
  expect(report.revision).toBeDefined()
  await waitFor('the other', async () => (await find('ConfigMap', 'b'))?.data?.a === '2')
  bed.update({ web: { objects: [fixed('1'), configMap('b', { a: '2' })] } })
  await bed.synced('web')
})

test('most of an application at once is held, in smaller steps it is not', async () => {
  const bed = await here.start()
  const some = (count: number) =>
    Array.from({ length: count }, (_, index) => configMap(`n${String(index).padStart(2, '0')}`))
  bed.update({ web: { objects: some(30) } })
  await bed.synced('web')
  bed.update({ web: { objects: some(5) } })
  await bed.reported('web', 'holding', ({ heldPrunes }) => heldPrunes[0]?.count === 25)
  expect(await find('ConfigMap', 'n29')).toBeDefined()
  bed.update({ web: { objects: some(20) } })
  await bed.synced('web')
  expect(await find('ConfigMap', 'n29')).toBeUndefined()
})

test('existing objects are taken over only as the policy allows', async () => {
  const bed = await here.start()
  await here.admin.create({ ...configMap('x', { a: '1' }), metadata: { name: 'x', namespace: here.namespace } })
  await here.admin.create({ ...configMap('y', { a: '1' }), metadata: { name: 'y', namespace: here.namespace } })
  bed.update({
    never: { objects: [configMap('x')], adopt: 'never' },
    equal: { objects: [configMap('y', { a: '2' })], adopt: 'ifEqual' },
  })
  const refused = (report: { problems: readonly { code: string }[] }) =>
    report.problems.some(({ code }) => code === 'AdoptionRefused')
  await bed.reported('never', 'refused', refused)
  await bed.reported('equal', 'refused', refused)
  expect((await find('ConfigMap', 'y'))?.data).toEqual({ a: '1' })
  bed.update({
    never: { objects: [configMap('x')], adopt: 'always' },
    equal: { objects: [configMap('y')], adopt: 'ifEqual' },
  })
  await bed.synced('never')
  await bed.synced('equal')
})

test('a missing namespace is reported, and its objects applied when it comes to be', async () => {
  const bed = await here.start()
  const other = `${here.namespace}-later`
  bed.update({ web: { objects: [configMap('a'), configMap('b', {}, { namespace: other })] } })
  await bed.reported('web', 'with a problem', ({ problems }) => problems[0]?.code === 'NamespaceNotFound')
  const space = { apiVersion: 'v1', kind: 'Namespace', metadata: { name: other } }
  bed.update({
    web: { objects: [configMap('a'), configMap('b', {}, { namespace: other })] },
    spaces: { objects: [space] },
  })
  await bed.synced('web')
})

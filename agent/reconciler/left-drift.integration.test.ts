// Drift that is left: by policy, or because the application is suspended. It is told, and noticed when it is over.
import { getField } from '@fairlead/e2e/harness/kube-client'
import { SyncState } from '@fairlead/proto/common'
import { type ApplicationReport, DriftKind } from '@fairlead/proto/report'
import { AppError } from '@fairlead/shared/errors'
import { expect, test } from 'vitest'
import type { Kube } from '../kube/kube.ts'
import { ClusterBed } from './cluster-bed.ts'
import type { ReconcilerBed, TestEntry, TestObject } from './reconciler-bed.ts'

const here = ClusterBed.forFile({ name: 'left' })
const configMap = (name: string, data: Record<string, string> = { a: '1' }): TestObject => ({
  apiVersion: 'v1',
  kind: 'ConfigMap',
  metadata: { name, labels: { team: 'shop' } },
  data,
})
const deployment = (image = 'nginx:1'): TestObject => ({
  apiVersion: 'apps/v1',
  kind: 'Deployment',
  metadata: { name: 'd' },
  spec: {
    replicas: 1,
    selector: { matchLabels: { app: 'd' } },
    template: {
      metadata: { labels: { app: 'd' } },
      spec: {
        containers: [{ name: 'c', image, env: [{ name: 'A', value: '1' }], resources: { requests: { cpu: '1000m' } } }],
      },
    },
  },
})
const suspended = (objects: TestObject[]): Record<string, TestEntry> => ({
  web: { objects, policy: { suspend: true } },
})
const left = (objects: TestObject[]): Record<string, TestEntry> => ({ web: { objects, remediate: false } })
const writes = (bed: ReconcilerBed) => bed.requests(['patch', 'update', 'create', 'delete']).length
const isDrifted =
  (count: number) =>
  ({ drifted, sync }: ApplicationReport): boolean =>
    drifted === count && (count === 0 || sync === SyncState.OUT_OF_SYNC)

test('a suspended application reports drift and a new revision, and writes and prunes nothing until it is resumed', async () => {
  const bed = await here.start()
  bed.update({ web: { objects: [configMap('a'), configMap('b'), configMap('c')] } })
  await bed.synced('web')
  const before = writes(bed)
  bed.update(suspended([configMap('a'), configMap('b'), configMap('c')]))
  await bed.reported('web', 'suspended', ({ suspended, sync }) => suspended && sync === SyncState.SYNCED)
  await here.admin.patch(
    here.placed(configMap('a')),
    { data: { a: '9' } },
    { type: 'merge', fieldManager: 'kubectl-edit' },
  )
  await here.admin.delete(here.placed(configMap('b')))
  const report = await bed.reported('web', 'drifted', isDrifted(2))
  expect(report.drifts).toMatchObject([
    { object: { name: 'b' }, kind: DriftKind.DELETED },
    { object: { name: 'a' }, kind: DriftKind.CHANGED, manager: 'kubectl-edit', fields: ['data.a'] },
  ])
  expect(report.drifts.every(({ remediatedAt }) => remediatedAt === undefined)).toBe(true)
  // A revision that changes one, drops one and adds one.
  bed.update(suspended([configMap('a'), configMap('b', { a: '2' }), configMap('new')]))
  await bed.reported('web', 'behind', ({ drifted, revision }) => drifted === 4 && revision !== undefined)
  expect(bed.report('web')?.appliedAt).toBeUndefined()
  expect(await here.find(configMap('new'))).toBeUndefined()
  expect(await here.find(configMap('c'))).toBeDefined()
  // Only dry-runs may have been asked for.
  expect(writes(bed) - before).toBeLessThanOrEqual(1)
  bed.update({ web: { objects: [configMap('a'), configMap('b', { a: '2' }), configMap('new')] } })
  const resumed = await bed.synced('web')
  expect(resumed).toMatchObject({ suspended: false, drifted: 0 })
  expect(await here.find(configMap('c'))).toBeUndefined()
  expect((await here.find(configMap('a')))?.data).toEqual({ a: '1' })
  expect((await here.find(configMap('b')))?.data).toEqual({ a: '2' })
  expect(resumed.drifts.every(({ remediatedAt }) => remediatedAt !== undefined)).toBe(true)
})

test('an application that is suspended in the middle of a fight is not written to again', async () => {
  const bed = await here.start()
  bed.update({ web: { objects: [configMap('a')] } })
  await bed.synced('web')
  bed.update(suspended([configMap('a')]))
  await bed.reported('web', 'suspended', ({ suspended }) => suspended)
  const before = writes(bed)
  for (let round = 0; round < 10; round++)
    await here.admin.patch(
      here.placed(configMap('a')),
      { data: { a: `r${round}` } },
      { type: 'merge', fieldManager: 'rival' },
    )
  const report = await bed.reported('web', 'drifted', isDrifted(1))
  expect(report).toMatchObject({ problems: [], drifts: [{ manager: 'rival', fields: ['data.a'] }] })
  expect((await here.find(configMap('a')))?.data).toEqual({ a: 'r9' })
  expect(writes(bed) - before).toBeLessThanOrEqual(2)
})

test('the agent is restarted while an application is suspended: what drifted meanwhile is found and left', async () => {
  const first = await here.start()
  first.update({ web: { objects: [configMap('a'), configMap('b'), configMap('c')] } })
  await first.synced('web')
  await here.stop(first)
  await here.admin.patch(
    here.placed(configMap('a')),
    { data: { a: '9' } },
    { type: 'merge', fieldManager: 'kubectl-edit' },
  )
  await here.admin.delete(here.placed(configMap('b')))
  const second = await here.start()
  second.update(suspended([configMap('a'), configMap('b'), configMap('c')]))
  const report = await second.reported('web', 'drifted', (one) => isDrifted(2)(one) && one.drifts.length === 2)
  expect(report.drifts.find(({ object }) => object?.name === 'a')).toMatchObject({
    manager: 'kubectl-edit',
    fields: ['data.a'],
  })
  expect((await here.find(configMap('a')))?.data).toEqual({ a: '9' })
  expect(await here.find(configMap('b'))).toBeUndefined()
})

test('what could not be put back is not written any more once drift is left, nor when everything is looked at again', async () => {
  const bed = await here.start()
  bed.update({ web: { objects: [configMap('a')] } })
  await bed.synced('web')
  const webhook = await here.ask()
  webhook.review = ({ object }) =>
    getField(object, 'data.a') === '1' ? { allowed: false, message: 'not the old value' } : { allowed: true }
  await here.admin.patch(
    here.placed(configMap('a')),
    { data: { a: '9' } },
    { type: 'merge', fieldManager: 'kubectl-edit' },
  )
  await bed.reported('web', 'failed', ({ problems }) => problems.length === 1)
  webhook.review = () => ({ allowed: true })
  bed.update(left([configMap('a')]))
  await bed.reported('web', 'drifted', (one) => isDrifted(1)(one) && one.problems.length === 0)
  bed.reconciler.reconcile()
  bed.update(left([configMap('a'), configMap('new')]))
  await bed.reported('web', 'applied', ({ appliedAt, objects }) => appliedAt !== undefined && objects === 2)
  expect((await here.find(configMap('a')))?.data).toEqual({ a: '9' })
  bed.update({ web: { objects: [configMap('a'), configMap('new')] } })
  await bed.synced('web')
  expect((await here.find(configMap('a')))?.data).toEqual({ a: '1' })
})

type Left = {
  readonly write: () => Promise<unknown>
  readonly fields: readonly string[]
  readonly kind: DriftKind
  /** Who only takes away owns nothing, and leaves no name. */
  readonly manager?: string
}
const CONTAINER = 'spec.template.spec.containers[name=c]'
const json = async (...operations: unknown[]) =>
  await here.admin.patch(here.placed(deployment()), operations, { type: 'json' })
const lefts: Record<string, Left> = {
  'an image edited': {
    write: () => json({ op: 'replace', path: '/spec/template/spec/containers/0/image', value: 'evil:2' }),
    fields: [`${CONTAINER}.image`],
    kind: DriftKind.CHANGED,
  },
  'an env var removed': {
    write: () => json({ op: 'remove', path: '/spec/template/spec/containers/0/env/0' }),
    fields: [`${CONTAINER}.env`],
    kind: DriftKind.CHANGED,
    manager: '',
  },
  'a quantity changed': {
    write: () => json({ op: 'replace', path: '/spec/template/spec/containers/0/resources/requests/cpu', value: '2' }),
    fields: [`${CONTAINER}.resources.requests.cpu`],
    kind: DriftKind.CHANGED,
  },
  'a sidecar added': {
    write: () => json({ op: 'add', path: '/spec/template/spec/containers/-', value: { name: 'side', image: 's' } }),
    fields: [
      'spec.template.spec.containers[name=side]',
      'spec.template.spec.containers[name=side].image',
      'spec.template.spec.containers[name=side].name',
    ],
    kind: DriftKind.ADDED,
  },
}

test.for(Object.entries(lefts))(
  'of drift that is left by policy the fields are told: %s',
  async ([, { write, fields, kind, manager = 'kubectl-edit' }]) => {
    const bed = await here.start()
    bed.update(left([deployment()]))
    await bed.synced('web')
    await write()
    const report = await bed.reported('web', 'drifted', isDrifted(1))
    expect(report.drifts).toMatchObject([{ kind, manager }])
    // Defaults of what was added are told too.
    const wanted = kind === DriftKind.ADDED ? expect.arrayContaining([...fields]) : fields
    expect(report.drifts[0]?.fields).toEqual(wanted)
  },
)

test('a value that a person puts back by hand is Synced again, whoever owns it, and later status changes nothing', async () => {
  const bed = await here.start()
  bed.update(left([deployment(), configMap('a')]))
  await bed.synced('web')
  const image = async (value: string) =>
    await json({ op: 'replace', path: '/spec/template/spec/containers/0/image', value })
  await image('evil:2')
  await here.admin.patch(here.placed(configMap('a')), { data: { a: '9' } }, { type: 'merge' })
  await bed.reported('web', 'drifted', isDrifted(2))
  await image('nginx:1')
  await here.admin.patch(here.placed(configMap('a')), { data: { a: '1' } }, { type: 'merge' })
  const report = await bed.reported('web', 'Synced', ({ sync, drifted }) => sync === SyncState.SYNCED && drifted === 0)
  expect(report.drifts.every(({ remediatedAt }) => remediatedAt !== undefined)).toBe(true)
  expect(report.remediations).toBe(0n)
  const before = bed.requests().length
  await here.admin.patch(
    here.placed(deployment()),
    { status: { observedGeneration: 3 } },
    { type: 'merge', subresource: 'status', fieldManager: 'controller' },
  )
  await here.admin.patch(here.placed(configMap('a')), { data: { a: '7' } }, { type: 'merge' })
  await bed.reported('web', 'drifted', isDrifted(1))
  // What is asked for is about the ConfigMap alone.
  expect(
    bed
      .requests()
      .slice(before)
      .filter(({ name }) => name === 'd'),
  ).toEqual([])
  expect(getField(await here.find(configMap('a')), 'data.a')).toBe('7')
})

test('what is put back by hand in a list whose keys Git leaves to their defaults is Synced again', async () => {
  const service: TestObject = {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name: 's' },
    spec: { selector: { app: 'd' }, ports: [{ name: 'http', port: 80, targetPort: 8080 }] },
  }
  const bed = await here.start()
  bed.update(left([service]))
  await bed.synced('web')
  const targetPort = async (value: number) =>
    await here.admin.patch(here.placed(service), { spec: { ports: [{ port: 80, targetPort: value }] } })
  await targetPort(9090)
  await bed.reported('web', 'drifted', isDrifted(1))
  await targetPort(8080)
  await bed.reported('web', 'Synced', ({ sync, drifted }) => sync === SyncState.SYNCED && drifted === 0)
})

/** As a restore makes it, our labels among what it has, with another selector: which cannot be changed. */
async function makeAnew(): Promise<void> {
  await here.admin.delete(here.placed(deployment()))
  const labels = { 'app.kubernetes.io/managed-by': 'fairlead', 'fairlead.dev/application': 'web' }
  const { metadata, ...rest } = here.placed(deployment())
  const other = JSON.parse(
    JSON.stringify({ ...rest, metadata: { ...metadata, labels } }).replaceAll('"app":"d"', '"app":"o"'),
  )
  await here.admin.create(other, { fieldManager: 'restore' })
}

for (const [how, entry] of [
  ['by policy', left],
  ['of a suspended application', suspended],
] as const) {
  test(`drift that is left ${how} is found after a restart also where the API server refuses to compare an object`, async () => {
    const objects = [deployment(), configMap('a'), configMap('b')]
    const first = await here.start()
    first.update({ web: { objects } })
    await first.synced('web')
    await here.stop(first)
    // What comes after it differs too.
    await makeAnew()
    await here.admin.patch(
      here.placed(configMap('b')),
      { data: { a: '9' } },
      { type: 'merge', fieldManager: 'kubectl-edit' },
    )
    const second = await here.start()
    await second.updateOnceSeen('web', entry(objects).web as TestEntry, objects.length)
    const report = await second.reported('web', 'drifted', (one) => isDrifted(2)(one) && one.drifts.length === 2)
    expect(report.problems).toEqual([])
    expect(report.drifts.map(({ object }) => object?.name).sort()).toEqual(['b', 'd'])
  })
}

test('one object that differs beyond repair does not keep the others of its revision from being told as applied', async () => {
  const first = await here.start()
  first.update(left([deployment()]))
  await first.synced('web')
  await here.stop(first)
  await makeAnew()
  const second = await here.start()
  await second.updateOnceSeen('web', left([deployment(), configMap('new')]).web as TestEntry, 1)
  const report = await second.reported('web', 'applied', ({ appliedAt }) => appliedAt !== undefined)
  expect(report).toMatchObject({ problems: [], drifted: 1, sync: SyncState.OUT_OF_SYNC })
  expect(await here.find(configMap('new'))).toBeDefined()
})

test('what cannot be compared while the API server is out of order is compared when it is back', async () => {
  const first = await here.start()
  first.update(left([configMap('a')]))
  await first.synced('web')
  await here.stop(first)
  // As declared, but a person owns it: only the API server can tell that.
  await here.admin.patch(
    here.placed(configMap('a')),
    { data: { a: '9' } },
    { type: 'merge', fieldManager: 'kubectl-edit' },
  )
  await here.admin.patch(
    here.placed(configMap('a')),
    { data: { a: '1' } },
    { type: 'merge', fieldManager: 'kubectl-edit' },
  )
  let refusals = 0
  const apply: Kube['apply'] = async (resource, target, body, options) => {
    if (options?.dryRun && refusals++ < 2) throw new AppError('ApiServerUnavailable', 'out of order')
    return await here.kube.apply(resource, target, body, options)
  }
  const second = await here.start({ kube: { ...here.kube, apply } })
  second.update(left([configMap('a')]))
  await second.reported('web', 'drifted', ({ drifted }) => drifted === 1)
  await second.reported('web', 'Synced', ({ sync, drifted }) => sync === SyncState.SYNCED && drifted === 0)
  expect(refusals).toBeGreaterThan(2)
})

test('many events of an object that is left do not become as many requests', async () => {
  const bed = await here.start()
  bed.update(left([configMap('a')]))
  await bed.synced('web')
  const before = bed.requests().length
  for (let round = 0; round < 50; round++)
    await here.admin.patch(here.placed(configMap('a')), { data: { a: `x${round}` } }, { type: 'merge' })
  await here.admin.patch(here.placed(configMap('a')), { data: { a: '1' } }, { type: 'merge' })
  await bed.reported('web', 'Synced', ({ sync }) => sync === SyncState.SYNCED)
  expect(bed.requests().length - before).toBeLessThan(12)
})

test('the value of a Secret is never in a report, its keys are', async () => {
  const secret: TestObject = { apiVersion: 'v1', kind: 'Secret', metadata: { name: 's' }, stringData: { token: 'old' } }
  const bed = await here.start()
  bed.update(left([secret]))
  await bed.synced('web')
  await here.admin.patch(here.placed(secret), { stringData: { token: 'hunter2' } }, { type: 'merge' })
  const report = await bed.reported('web', 'drifted', isDrifted(1))
  expect(report.drifts[0]?.fields).toEqual(['data.token'])
  const text = JSON.stringify(report, (_key, value) => (typeof value === 'bigint' ? Number(value) : value))
  for (const value of ['hunter2', Buffer.from('hunter2').toString('base64'), Buffer.from('old').toString('base64')])
    expect(text).not.toContain(value)
})

// Fields that cannot be changed: told with object and file, and the object made anew only where its manifest says so, in
// an order in which nothing is lost.
import { getField } from '@fairlead/e2e/harness/kube-client'
import { waitFor } from '@fairlead/e2e/harness/wait'
import { expect, test } from 'vitest'
import type { Kube } from '../kube/kube.ts'
import { ClusterBed } from './cluster-bed.ts'
import type { ReconcilerBed, TestObject } from './reconciler-bed.ts'

const limits = { transientBaseMs: 50, transientMaxMs: 200, userBaseMs: 200, userMaxMs: 400 }
const here = ClusterBed.forFile({ name: 'recreate', full: true, options: { limits } })

const pod = (app: string, image = 'nginx:1') => ({
  metadata: { labels: { app } },
  spec: { containers: [{ name: 'c', image }] },
})
const of = (apiVersion: string, kind: string, rest: object): TestObject => ({
  apiVersion,
  kind,
  metadata: { name: 'x', namespace: here.namespace },
  ...rest,
})
const recreate = (object: TestObject): TestObject => ({
  ...object,
  metadata: { ...object.metadata, annotations: { 'fairlead.dev/recreate': 'true' } },
})
const cases: Record<string, (value: 'one' | 'two') => TestObject> = {
  'a Job with another template': (value) =>
    of('batch/v1', 'Job', {
      spec: { template: { spec: { restartPolicy: 'Never', containers: [{ name: 'c', image: `busybox:${value}` }] } } },
    }),
  'a Deployment with another selector': (value) =>
    of('apps/v1', 'Deployment', { spec: { selector: { matchLabels: { app: value } }, template: pod(value) } }),
  'a Service with another address': (value) =>
    of('v1', 'Service', {
      spec: {
        type: 'NodePort',
        clusterIP: value === 'one' ? '10.96.7.1' : '10.96.7.2',
        ports: [{ port: 80, nodePort: 31_080, name: 'http', protocol: 'TCP', targetPort: 80 }],
      },
    }),
  'a StatefulSet with other volume claims': (value) =>
    of('apps/v1', 'StatefulSet', {
      spec: {
        selector: { matchLabels: { app: 'x' } },
        serviceName: 'x',
        template: pod('x'),
        volumeClaimTemplates: [
          {
            metadata: { name: 'data' },
            spec: {
              accessModes: ['ReadWriteOnce'],
              resources: { requests: { storage: value === 'one' ? '1Gi' : '2Gi' } },
            },
          },
        ],
      },
    }),
  'a RoleBinding to another role': (value) =>
    of('rbac.authorization.k8s.io/v1', 'RoleBinding', {
      roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: value === 'one' ? 'view' : 'edit' },
      subjects: [{ kind: 'ServiceAccount', name: 'default', namespace: here.namespace }],
    }),
}
const immutable = async (bed: ReconcilerBed) =>
  await bed.reported('web', 'immutable', ({ problems }) => problems.some(({ code }) => code === 'ImmutableField'))
const deletions = (bed: ReconcilerBed): number => bed.requests(['delete']).length

test.each(Object.entries(cases))(
  '%s is reported and left, and made anew when its manifest says so',
  async (_name, make) => {
    const bed = await here.start()
    bed.update({ web: { objects: [make('one')] } })
    await bed.synced('web')
    const before = await here.find(make('one'))
    bed.update({ web: { objects: [make('two')] } })
    const { problems } = await immutable(bed)
    expect(problems).toMatchObject([
      {
        code: 'ImmutableField',
        object: { name: 'x', namespace: here.namespace },
        source: { file: 'deploy/web.yaml', line: 1 },
      },
    ])
    expect((await here.find(make('one')))?.metadata.uid).toBe(before?.metadata.uid)
    expect(deletions(bed)).toBe(0)
    bed.update({ web: { objects: [recreate(make('two'))] } })
    const report = await bed.synced('web', { timeoutMs: 30_000 })
    expect(report).toMatchObject({ problems: [], drifts: [], remediations: 0n })
    const after = await here.find(make('two'))
    expect(after?.metadata.uid).not.toBe(before?.metadata.uid)
    expect(after).toMatchObject({
      kind: make('two').kind,
      metadata: { annotations: { 'fairlead.dev/recreate': 'true' } },
    })
    expect(deletions(bed)).toBe(1)
  },
)

test('a change that can be made in place deletes nothing, whatever the annotation says', async () => {
  const bed = await here.start()
  const deployment = (image: string) =>
    recreate(
      of('apps/v1', 'Deployment', { spec: { selector: { matchLabels: { app: 'x' } }, template: pod('x', image) } }),
    )
  bed.update({ web: { objects: [deployment('nginx:1')] } })
  await bed.synced('web')
  const uid = (await here.find(deployment('nginx:1')))?.metadata.uid
  bed.update({ web: { objects: [deployment('nginx:2')] } })
  await bed.synced('web')
  expect((await here.find(deployment('nginx:1')))?.metadata.uid).toBe(uid)
})

test('nothing is deleted when the API server would not accept the new object', async () => {
  const bed = await here.start()
  const good = recreate(
    of('apps/v1', 'Deployment', { spec: { selector: { matchLabels: { app: 'one' } }, template: pod('one') } }),
  )
  bed.update({ web: { objects: [good] } })
  await bed.synced('web')
  const uid = (await here.find(good))?.metadata.uid
  // A selector that does not select its own pods is refused for a new object.
  const bad = { ...good, spec: { selector: { matchLabels: { app: 'two' } }, template: pod('three') } }
  bed.update({ web: { objects: [bad] } })
  const refused = await bed.reported('web', 'refused', ({ problems }) => problems.length > 0)
  expect(refused.problems[0]).toMatchObject({ object: { name: 'x' }, source: { file: 'deploy/web.yaml' } })
  expect(refused.problems[0]?.message).toMatch(/selector/)
  expect(refused.problems[0]?.message).not.toContain('fairlead-check')
  expect((await here.find(good))?.metadata.uid).toBe(uid)
  expect(deletions(bed)).toBe(0)
})

test('a volume claim is never deleted to be made anew, whatever its annotation says', async () => {
  const bed = await here.start()
  const claim = (mode: string) =>
    recreate(
      of('v1', 'PersistentVolumeClaim', {
        spec: { accessModes: [mode], resources: { requests: { storage: '1Gi' } }, storageClassName: 'none' },
      }),
    )
  bed.update({ web: { objects: [claim('ReadWriteOnce')] } })
  await bed.synced('web')
  bed.update({ web: { objects: [claim('ReadWriteMany')] } })
  const { problems } = await immutable(bed)
  expect(problems[0]?.message).toContain('a PersistentVolumeClaim is never deleted to be made anew')
  expect(deletions(bed)).toBe(0)
})

test('an object whose finalizer holds it is made anew when it is gone, and says until then that it is going', async () => {
  const bed = await here.start()
  const binding = (value: 'one' | 'two'): TestObject => {
    const object = recreate((cases['a RoleBinding to another role'] as (value: string) => TestObject)(value))
    return { ...object, metadata: { ...object.metadata, finalizers: ['example.com/hold'] } }
  }
  bed.update({ web: { objects: [binding('one'), of('v1', 'ConfigMap', { data: { a: '1' } })] } })
  await bed.synced('web')
  bed.update({ web: { objects: [binding('two'), of('v1', 'ConfigMap', { data: { a: '2' } })] } })
  await bed.reported('web', 'going', ({ problems }) =>
    problems.some(({ message }) => message.includes('being deleted')),
  )
  const value = async () => getField(await here.find(of('v1', 'ConfigMap', {})), 'data.a')
  await waitFor('the other object', async () => (await value()) === '2')
  await here.admin.patch(binding('one'), { metadata: { finalizers: null } }, { type: 'merge' })
  await bed.synced('web')
  expect(getField(await here.find(binding('two')), 'roleRef.name')).toBe('edit')
  expect(deletions(bed)).toBe(1)
})

test('a process that ends between the deletion and the new object is followed by one that makes it', async () => {
  const deleted = Promise.withResolvers<void>()
  const dying: Kube = {
    ...here.kube,
    delete: async (...given) => {
      await here.kube.delete(...given)
      deleted.resolve()
      return await new Promise<never>(() => undefined)
    },
  }
  const bed = await here.start({ kube: dying })
  const make = cases['a RoleBinding to another role'] as (value: string) => TestObject
  bed.update({ web: { objects: [make('one')] } })
  await bed.synced('web')
  bed.update({ web: { objects: [recreate(make('two'))] } })
  await deleted.promise
  // As a process that is killed: it is never heard of again.
  here.abandon(bed)
  expect(await here.find(make('two'))).toBeUndefined()
  const second = await here.start()
  second.update({ web: { objects: [recreate(make('two'))] } })
  await second.synced('web')
  expect(getField(await here.find(make('two')), 'roleRef.name')).toBe('edit')
})

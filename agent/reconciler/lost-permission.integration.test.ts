// Permission for a kind is taken away while the agent runs, and given back: told at once, nothing lost, nothing deleted.
import { type Cluster, startCluster } from '@fairlead/e2e/harness/cluster'
import { waitFor } from '@fairlead/e2e/harness/wait'
import { SyncState } from '@fairlead/proto/common'
import { silentLogger } from '@fairlead/shared/logger'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { kubeconfigAccess } from '../kube/access.ts'
import { createKube } from '../kube/kube.ts'
import { createWatcher } from '../watcher/watcher.ts'
import { ReconcilerBed, type TestObject } from './reconciler-bed.ts'

let cluster: Cluster
const closing: (() => Promise<void>)[] = []

beforeAll(async () => {
  cluster = await startCluster({ name: 'lost-permission' })
}, 120_000)
afterEach(async () => {
  for (const close of closing.splice(0)) await close()
})
afterAll(async () => await cluster?.stop())

type Applied = Parameters<typeof cluster.admin.apply>[0]
const rbac = 'rbac.authorization.k8s.io/v1'
/** The agent's account may do everything with what its bindings name. */
const bindingOf = (namespace: string, resource: string) => ({
  apiVersion: rbac,
  kind: 'ClusterRoleBinding',
  metadata: { name: `${namespace}-${resource}` },
  roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: `${namespace}-${resource}` },
  subjects: [{ kind: 'ServiceAccount', name: 'agent', namespace }],
})
const allow = async (namespace: string, resource: string): Promise<void> => {
  const rules = [{ apiGroups: [''], resources: [resource], verbs: ['*'] }]
  const metadata = { name: `${namespace}-${resource}` }
  await cluster.admin.apply({ apiVersion: rbac, kind: 'ClusterRole', metadata, rules } as Applied)
  await cluster.admin.apply(bindingOf(namespace, resource) as Applied)
}

const start = async (namespace: string): Promise<ReconcilerBed> => {
  await cluster.admin.create({ apiVersion: 'v1', kind: 'Namespace', metadata: { name: namespace } })
  await cluster.admin.create({ apiVersion: 'v1', kind: 'ServiceAccount', metadata: { name: 'agent', namespace } })
  for (const resource of ['configmaps', 'secrets']) await allow(namespace, resource)
  const { token } = await cluster.admin.createToken(namespace, 'agent')
  const access = await kubeconfigAccess(cluster.writeKubeconfig(namespace, { token }))
  const kube = createKube({ access, userAgent: `fairlead-agent/test ${namespace}`, logger: silentLogger })
  await waitFor('the permission to count', async () => {
    const secrets = await kube.resolve({ group: '', version: 'v1', kind: 'Secret' })
    return await kube.list(secrets)
  })
  const bed = await ReconcilerBed.start(
    { cluster, namespace },
    {
      kube,
      // API servers look at permission when a watch is opened, not while it lasts.
      createWatcher: (options) =>
        createWatcher({ ...options, timing: { leastSeconds: 1, mostSeconds: 1, slowRetryMs: 200 } }),
    },
  )
  closing.push(async () => {
    await bed.stop()
    await kube.close()
  })
  return bed
}
const object = (kind: string, name: string, data: Record<string, string>): TestObject => ({
  apiVersion: 'v1',
  kind,
  metadata: { name },
  data,
})

test('a kind whose permission is taken away in the middle is reported and its objects stay; what happened meanwhile is put right when it is given back', async () => {
  const namespace = 'taken'
  const bed = await start(namespace)
  const place = (one: TestObject) => ({ ...one, metadata: { ...one.metadata, namespace } })
  const find = async (one: TestObject) => await cluster.admin.find(place(one))
  const [map, edited, deleted, kept] = [
    object('ConfigMap', 'map', { value: 'declared' }),
    ...['edited', 'deleted', 'kept'].map((name) => object('Secret', name, { value: 'ZGVjbGFyZWQ=' })),
  ] as [TestObject, TestObject, TestObject, TestObject]
  bed.update({ web: { objects: [map, edited, deleted, kept] } })
  await bed.synced('web')
  const uid = (await find(kept))?.metadata.uid

  await cluster.admin.delete(bindingOf(namespace, 'secrets'))
  const { problems } = await bed.reported('web', 'with the missing permission', (report) => report.problems.length > 0)
  expect(problems).toMatchObject([{ code: 'ApplyForbidden' }])
  expect(problems[0]?.message).toMatch(/secrets cannot be watched.*cannot (list|watch) resource "secrets"/)
  await cluster.admin.patch(place(edited), { data: { value: 'ZWRpdGVk' } })
  await cluster.admin.delete(place(deleted))
  // What may still be watched is still repaired.
  await cluster.admin.patch(place(map), { data: { value: 'edited' } })
  await waitFor('the ConfigMap to be put back', async () => (await find(map))?.data?.value === 'declared')
  expect((await find(kept))?.metadata.uid).toBe(uid)
  expect(bed.requests(['delete']).filter(({ resource }) => resource === 'secrets')).toEqual([])

  await allow(namespace, 'secrets')
  await waitFor('what happened meanwhile to be put right', async () => {
    const found = await Promise.all([edited, deleted].map(find))
    return found.every((one) => one?.data?.value === 'ZGVjbGFyZWQ=')
  })
  const isClean = ({ sync, problems }: { sync: SyncState; problems: readonly unknown[] }) =>
    sync === SyncState.SYNCED && problems.length === 0
  await bed.reported('web', 'Synced without a problem', isClean)
  expect((await find(kept))?.metadata.uid).toBe(uid)
})

test('an application that leaves while a kind may not be touched keeps waiting, and leaves when it may', async () => {
  const namespace = 'leaving'
  const bed = await start(namespace)
  const secret = object('Secret', 'secret', { value: 'ZGVjbGFyZWQ=' })
  const place = { ...secret, metadata: { ...secret.metadata, namespace } }
  bed.update({ web: { objects: [secret, object('ConfigMap', 'map', { value: '1' })] } })
  await bed.synced('web')
  await cluster.admin.delete(bindingOf(namespace, 'secrets'))
  await waitFor('the refusal', () => (bed.report('web')?.problems.length ?? 0) > 0)
  bed.update({ web: { tombstone: 'prune' } })
  const isGone = async () =>
    (await cluster.admin.find({ ...place, kind: 'ConfigMap', metadata: { name: 'map', namespace } })) === undefined
  await waitFor('the rest to be pruned', isGone)
  await bed.reported('web', 'not pruned', ({ problems }) => problems.some(({ object }) => object?.kind === 'Secret'))
  expect(await cluster.admin.find(place)).toBeDefined()
  expect(bed.removed).toEqual([])
  await allow(namespace, 'secrets')
  await waitFor('the application to be gone', () => bed.removed.includes('web'))
  expect(await cluster.admin.find(place)).toBeUndefined()
})

// Autoscalers of the cluster keep what they set, found from the cluster and not configured: on real controllers.
import { type Cluster, startCluster } from '@fairlead/e2e/harness/cluster'
import { getField } from '@fairlead/e2e/harness/kube-client'
import { waitFor } from '@fairlead/e2e/harness/wait'
import { SyncState } from '@fairlead/proto/common'
import { silentLogger } from '@fairlead/shared/logger'
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest'
import { kubeconfigAccess } from '../kube/access.ts'
import { createKube, type Kube } from '../kube/kube.ts'
import { ReconcilerBed, type TestObject } from './reconciler-bed.ts'

let cluster: Cluster
let bed: ReconcilerBed
let namespace: string
let number = 0
const timeout = 90_000
const slow = { timeoutMs: 60_000 }

beforeAll(async () => {
  cluster = await startCluster({ name: 'autoscaling', full: true })
}, 180_000)
afterAll(async () => await cluster?.stop())
beforeEach(async () => {
  namespace = `h${++number}`
  await cluster.admin.create({ apiVersion: 'v1', kind: 'Namespace', metadata: { name: namespace } })
  bed = await ReconcilerBed.start({ cluster, namespace })
})
afterEach(async () => await bed.stop())

const deployment = (image = 'nginx:1', replicas = 1): TestObject => ({
  apiVersion: 'apps/v1',
  kind: 'Deployment',
  metadata: { name: 'd' },
  spec: {
    replicas,
    selector: { matchLabels: { app: 'd' } },
    template: {
      metadata: { labels: { app: 'd' } },
      spec: { containers: [{ name: 'c', image, resources: { requests: { cpu: '100m', memory: '64Mi' } } }] },
    },
  },
})
/** Below its minimum it scales without metrics. */
const autoscaler = (minReplicas: number): TestObject => ({
  apiVersion: 'autoscaling/v2',
  kind: 'HorizontalPodAutoscaler',
  metadata: { name: 'h' },
  spec: {
    scaleTargetRef: { apiVersion: 'apps/v1', kind: 'Deployment', name: 'd' },
    minReplicas,
    maxReplicas: 9,
    metrics: [{ type: 'Resource', resource: { name: 'cpu', target: { type: 'Utilization', averageUtilization: 80 } } }],
  },
})
const at = (object: TestObject) => ({ ...object, metadata: { ...object.metadata, namespace } })
const live = async () => await cluster.admin.find(at(deployment()))
const replicas = async () => getField(await live(), 'spec.replicas')
const ownsReplicas = async (): Promise<boolean> => {
  const entries = (await live())?.metadata.managedFields as { manager: string; fieldsV1: unknown }[] | undefined
  return JSON.stringify(entries?.find(({ manager }) => manager === 'fairlead')).includes('f:replicas')
}
const scaledTo = async (count: number) =>
  await waitFor(`${count} replicas`, async () => (await replicas()) === count, slow)

test.each([
  ['with kubectl', { fieldManager: 'kubectl-create' }],
  ['with another tool', { fieldManager: 'helm' }],
])(
  'a preview of a workload that an HPA targets and somebody made %s says nothing of its replicas',
  { timeout },
  async (_how, options) => {
    await cluster.admin.create(at(deployment('nginx:1', 2)), options)
    await cluster.admin.create(at(autoscaler(3)))
    await scaledTo(3)
    // What the slice asks for is not applied: only looked at.
    bed.update({ web: { objects: [deployment('nginx:2', 1)], policy: { suspend: true } } })
    const { changes } = await bed.reconciler.preview('web', AbortSignal.timeout(10_000))
    expect(changes).toMatchObject([{ action: 'adopt', object: { kind: 'Deployment' } }])
    expect(changes[0]?.fields).toContain('spec.template.spec.containers[name=c].image')
    expect(changes[0]?.fields).not.toContain('spec.replicas')
    expect(await replicas()).toBe(3)
    bed.update({ web: { objects: [deployment('nginx:2', 1)] } })
    await bed.synced('web')
    expect([await replicas(), bed.report('web')?.drifts]).toEqual([3, []])
  },
)

test('spec.replicas is left to an HPA of somebody else from the first apply on, and taken back when it goes', {
  timeout,
}, async () => {
  await cluster.admin.create(at(autoscaler(3)))
  bed.update({ web: { objects: [deployment()] } })
  await bed.synced('web')
  expect(await ownsReplicas()).toBe(false)
  await scaledTo(3)
  bed.update({ web: { objects: [deployment('nginx:2')] } })
  await waitFor('the new image', async () => JSON.stringify(await live()).includes('nginx:2'))
  await bed.synced('web')
  expect(await replicas()).toBe(3)
  // A person may not, an HPA may.
  expect(bed.report('web')).toMatchObject({ remediations: 0n, drifts: [], problems: [] })
  await cluster.admin.delete(at(autoscaler(3)))
  await scaledTo(1)
  await bed.synced('web')
  expect(await ownsReplicas()).toBe(true)
})

test('an HPA that comes later gets spec.replicas without a change of it, and one of the application itself goes with Git', {
  timeout,
}, async () => {
  bed.update({ web: { objects: [deployment('nginx:1', 2)] } })
  await bed.synced('web')
  expect(await ownsReplicas()).toBe(true)
  const generations = new Set<unknown>()
  bed.update({ web: { objects: [deployment('nginx:1', 2), autoscaler(2)] } })
  await waitFor('replicas to be given up', async () => {
    const found = await live()
    generations.add(getField(found, 'spec.replicas'))
    return !(await ownsReplicas())
  })
  expect([...generations]).toEqual([2])
  await cluster.admin.patch(at(autoscaler(2)), { spec: { minReplicas: 2, maxReplicas: 8 } }, { type: 'merge' })
  bed.update({ web: { objects: [deployment('nginx:1', 2), autoscaler(5)] } })
  await scaledTo(5)
  await bed.synced('web')
  bed.update({ web: { objects: [deployment('nginx:1', 2)] } })
  await scaledTo(2)
  await bed.synced('web')
})

test('an HPA that went while the agent was away is noticed when it is back', { timeout }, async () => {
  await cluster.admin.create(at(autoscaler(4)))
  bed.update({ web: { objects: [deployment()] } })
  await bed.synced('web')
  await scaledTo(4)
  await bed.stop()
  await cluster.admin.delete(at(autoscaler(4)))
  bed = await ReconcilerBed.start({ cluster, namespace })
  bed.update({ web: { objects: [deployment()] } })
  await scaledTo(1)
  await bed.synced('web')
})

/** Edited while the agent is away; returns the generation that one repair of it leads to. */
const editMeanwhile = async (): Promise<number> => {
  await cluster.admin.create(at(autoscaler(3)))
  bed.update({ web: { objects: [deployment()] } })
  await bed.synced('web')
  await scaledTo(3)
  await bed.stop()
  const edit = [{ op: 'replace', path: '/spec/template/spec/containers/0/image', value: 'evil:1' }]
  const edited = await cluster.admin.patch(at(deployment()), edit, { type: 'json', fieldManager: 'kubectl-edit' })
  return Number(edited.metadata.generation) + 1
}
/** Had replicas been written, they or the generation would tell. */
const isPutBackAlone = async (generation: number): Promise<void> => {
  await waitFor('the image', async () => JSON.stringify(await live()).includes('nginx:1'))
  const found = await live()
  expect([getField(found, 'spec.replicas'), found?.metadata.generation]).toEqual([3, generation])
}

test('what was edited under an HPA while the agent was away is put back by the first event, and the replicas stay', {
  timeout,
}, async () => {
  const generation = await editMeanwhile()
  const access = await kubeconfigAccess(cluster.kubeconfigPath)
  const kube = createKube({ access, userAgent: 'late', logger: silentLogger })
  // The list of Deployments comes last of all: after they were declared.
  const isLoaded = Promise.withResolvers<void>()
  async function* listPages(...[resource, options]: Parameters<Kube['listPages']>) {
    if (resource.kind === 'Deployment') await isLoaded.promise
    yield* kube.listPages(resource, options)
  }
  bed = await ReconcilerBed.start({ cluster, namespace }, { kube: { ...kube, listPages } })
  try {
    bed.update({ web: { objects: [deployment()] } })
    await bed.reported('web', 'loaded', ({ sync }) => sync !== SyncState.UNKNOWN)
    isLoaded.resolve()
    await isPutBackAlone(generation)
    await bed.synced('web')
  } finally {
    await bed.stop()
    await kube.close()
  }
})

test('what was edited under an HPA is put back without its replicas also while a newer revision is held', {
  timeout,
}, async () => {
  const generation = await editMeanwhile()
  bed = await ReconcilerBed.start({ cluster, namespace })
  const refused: TestObject = { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'c' }, data: { a: { b: '1' } } }
  bed.update({ web: { objects: [deployment(), refused], policy: { validate: 'server' } } })
  await bed.reported('web', 'held', ({ problems }) => problems.some(({ code }) => code === 'ValidationFailed'))
  await isPutBackAlone(generation)
})

test('that Git says no replicas at all means off: an HPA does not keep the workload running', { timeout }, async () => {
  await cluster.admin.create(at(autoscaler(3)))
  bed.update({ web: { objects: [deployment()] } })
  await bed.synced('web')
  await scaledTo(3)
  bed.update({ web: { objects: [deployment('nginx:1', 0)] } })
  await scaledTo(0)
  await bed.synced('web')
})

test('resources that a controller sets are left to it where a VPA targets the workload, and put back where none does', {
  timeout,
}, async () => {
  const cpu = async () => getField(await live(), 'spec.template.spec.containers.0.resources.requests.cpu')
  const resize = async (to: string) =>
    await cluster.admin.patch(
      at(deployment()),
      [{ op: 'replace', path: '/spec/template/spec/containers/0/resources/requests/cpu', value: to }],
      { type: 'json', fieldManager: 'vpa-controller' },
    )
  await cluster.admin.create({
    apiVersion: 'apiextensions.k8s.io/v1',
    kind: 'CustomResourceDefinition',
    metadata: {
      name: 'verticalpodautoscalers.autoscaling.k8s.io',
      annotations: { 'api-approved.kubernetes.io': 'unapproved, test' },
    },
    spec: {
      group: 'autoscaling.k8s.io',
      scope: 'Namespaced',
      names: { kind: 'VerticalPodAutoscaler', plural: 'verticalpodautoscalers', singular: 'verticalpodautoscaler' },
      versions: [
        {
          name: 'v1',
          served: true,
          storage: true,
          schema: { openAPIV3Schema: { type: 'object', 'x-kubernetes-preserve-unknown-fields': true } },
        },
      ],
    },
  } as never)
  const vertical: TestObject = {
    apiVersion: 'autoscaling.k8s.io/v1',
    kind: 'VerticalPodAutoscaler',
    metadata: { name: 'v' },
    spec: { targetRef: { apiVersion: 'apps/v1', kind: 'Deployment', name: 'd' }, updatePolicy: { updateMode: 'Off' } },
  }
  await waitFor('the kind to be served', async () => await cluster.admin.create(at(vertical)).catch(() => undefined))
  await bed.stop()
  bed = await ReconcilerBed.start({ cluster, namespace })
  bed.update({ web: { objects: [deployment()] } })
  await bed.synced('web')
  await resize('300m')
  await bed.reported('web', 'repaired', ({ remediations }) => remediations === 1n)
  expect(await cpu()).toBe('100m')
  await cluster.admin.patch(at(vertical), { spec: { updatePolicy: { updateMode: 'Auto' } } }, { type: 'merge' })
  // Until the agent has seen the change it puts back what is written.
  await waitFor('what is written to be left', async () => {
    const count = bed.report('web')?.remediations ?? 0n
    await resize('300m')
    await cluster.admin.patch(at(deployment()), { metadata: { annotations: { by: 'hand' } } }, { type: 'merge' })
    await bed.reported('web', 'repaired', ({ remediations }) => remediations > count)
    return (await cpu()) === '300m'
  })
  bed.update({ web: { objects: [deployment('nginx:2')] } })
  await waitFor('the image', async () => JSON.stringify(await live()).includes('nginx:2'))
  await bed.synced('web')
  expect(await cpu()).toBe('300m')
  expect(getField(await live(), 'spec.template.spec.containers.0.resources.requests.memory')).toBe('64Mi')
})

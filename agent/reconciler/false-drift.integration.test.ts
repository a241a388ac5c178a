// What must never show as drift or start a fight, and what must be put back although it looks harmless.
import { type Cluster, startCluster } from '@fairlead/e2e/harness/cluster'
import { getField, type WriteOptions } from '@fairlead/e2e/harness/kube-client'
import { waitFor } from '@fairlead/e2e/harness/wait'
import { SyncState } from '@fairlead/proto/common'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { createTestCa } from '../testbed/certificates.ts'
import { ReconcilerBed, type TestObject } from './reconciler-bed.ts'

const namespace = 'false'
let cluster: Cluster
let bed: ReconcilerBed
let owner: { uid?: string }

const workload: TestObject = {
  apiVersion: 'apps/v1',
  kind: 'Deployment',
  metadata: { name: 'd', annotations: {} },
  spec: {
    replicas: 1,
    paused: null,
    selector: { matchLabels: { app: 'd' } },
    template: {
      metadata: { labels: { app: 'd' }, annotations: {} },
      spec: {
        securityContext: {},
        volumes: [{ name: 'v', emptyDir: {} }],
        tolerations: [],
        nodeSelector: {},
        containers: [
          {
            name: 'c',
            image: 'nginx',
            command: [],
            env: [],
            resources: { requests: { cpu: '1000m', memory: '1024Mi' } },
          },
        ],
      },
    },
  },
}
const webhook: TestObject = {
  apiVersion: 'admissionregistration.k8s.io/v1',
  kind: 'ValidatingWebhookConfiguration',
  metadata: { name: 'false-drift' },
  webhooks: [
    {
      name: 'w.example.com',
      clientConfig: { url: 'https://127.0.0.1:1/' },
      sideEffects: 'None',
      admissionReviewVersions: ['v1'],
      failurePolicy: 'Ignore',
      objectSelector: { matchLabels: { nothing: 'has-this' } },
      rules: [{ apiGroups: ['example.com'], apiVersions: ['v1'], operations: ['CREATE'], resources: ['things'] }],
    },
  ],
}
const service: TestObject = {
  apiVersion: 'v1',
  kind: 'Service',
  metadata: { name: 's' },
  spec: { selector: { app: 'd' }, ports: [{ port: 80 }] },
}
const marker: TestObject = { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'marker' }, data: { a: '1' } }
const owned = (): TestObject => ({
  apiVersion: 'v1',
  kind: 'ConfigMap',
  metadata: {
    name: 'owned',
    labels: { team: 'shop' },
    annotations: { note: 'x' },
    ownerReferences: [{ apiVersion: 'v1', kind: 'ConfigMap', name: 'owner', uid: owner.uid }],
  },
  data: { a: '1' },
})

const at = (object: TestObject) => ({ ...object, metadata: { ...object.metadata, namespace } })
const live = async (object: TestObject) => await cluster.admin.find(at(object))
const json = async (object: TestObject, operations: unknown[], options: WriteOptions = {}) =>
  await cluster.admin.patch(at(object), operations, { type: 'json', ...options })
const writes = () => bed.requests(['patch', 'update', 'create', 'delete']).length

beforeAll(async () => {
  cluster = await startCluster({ name: 'false-drift' })
  await cluster.admin.create({ apiVersion: 'v1', kind: 'Namespace', metadata: { name: namespace } })
  owner = (await cluster.admin.create({ ...marker, metadata: { name: 'owner', namespace } })).metadata
  bed = await ReconcilerBed.start({ cluster, namespace })
  bed.update({ web: { objects: [workload, webhook, service, marker, owned()] } })
  await bed.synced('web')
}, 120_000)
afterAll(async () => {
  await bed?.stop()
  await cluster?.stop()
})

test('defaults, quantities, empty maps and lists, and nulls are Synced at once, and a recheck changes no object', async () => {
  expect(bed.report('web')).toMatchObject({ sync: SyncState.SYNCED, drifts: [], problems: [], remediations: 0n })
  const before = await Promise.all([workload, service, webhook].map(live))
  bed.reconciler.reconcile()
  // The marker is repaired after everything before it was looked at.
  await json(marker, [{ op: 'replace', path: '/data/a', value: '2' }])
  await waitFor('the marker', async () => getField(await live(marker), 'data.a') === '1')
  await bed.synced('web')
  const after = await Promise.all([workload, service, webhook].map(live))
  expect(after.map((object) => object?.metadata.resourceVersion)).toEqual(
    before.map((object) => object?.metadata.resourceVersion),
  )
})

const caBundle = Buffer.from(createTestCa().certificatePem).toString('base64')
const injections: Record<string, () => Promise<unknown>> = {
  'a caBundle': async () =>
    await json(webhook, [{ op: 'add', path: '/webhooks/0/clientConfig/caBundle', value: caBundle }], {
      fieldManager: 'cert-manager-cainjector',
    }),
  'a sidecar': async () =>
    await json(
      workload,
      [{ op: 'add', path: '/spec/template/spec/containers/-', value: { name: 'istio-proxy', image: 'p' } }],
      { fieldManager: 'istio-injector' },
    ),
  'a nodePort-like default': async () =>
    await json(service, [{ op: 'add', path: '/metadata/annotations', value: { 'cloud.example.com/neg': '{}' } }], {
      fieldManager: 'cloud-controller-manager',
    }),
  'the revision of a Deployment': async () =>
    await json(
      workload,
      [{ op: 'add', path: '/metadata/annotations', value: { 'deployment.kubernetes.io/revision': '1' } }],
      {
        fieldManager: 'kube-controller-manager',
      },
    ),
}

test.for(Object.entries(injections))('what a controller adds is no drift and stays: %s', async ([, inject]) => {
  const count = bed.report('web')?.remediations ?? 0n
  const before = writes()
  const objects = [workload, webhook, service]
  const untouched = await Promise.all(objects.map(live))
  await inject()
  // An injection that changes nothing would prove nothing.
  expect(await Promise.all(objects.map(live))).not.toEqual(untouched)
  const versions = await Promise.all(objects.map(async (object) => (await live(object))?.metadata.resourceVersion))
  await json(marker, [{ op: 'replace', path: '/data/a', value: '2' }])
  const report = await bed.reported('web', 'repaired', ({ remediations }) => remediations > count)
  expect(report.remediations).toBe(count + 1n)
  expect(report.problems).toEqual([])
  expect(writes() - before).toBeLessThanOrEqual(2)
  expect(await Promise.all(objects.map(async (object) => (await live(object))?.metadata.resourceVersion))).toEqual(
    versions,
  )
})

const stripped: Record<string, { readonly path: string; readonly field: string }> = {
  'a label of Git': { path: '/metadata/labels/team', field: 'metadata.labels.team' },
  'an annotation of Git': { path: '/metadata/annotations/note', field: 'metadata.annotations.note' },
  'the owner references': { path: '/metadata/ownerReferences', field: 'metadata.ownerReferences' },
}

test.for(Object.entries(stripped))('stripped by hand is repaired: %s', async ([, { path, field }]) => {
  const count = bed.report('web')?.remediations ?? 0n
  const before = await live(owned())
  await json(owned(), [{ op: 'remove', path }])
  const report = await bed.reported('web', 'repaired', ({ remediations }) => remediations > count)
  const of = (object: Awaited<ReturnType<typeof live>>) => [
    object?.metadata.labels,
    object?.metadata.annotations,
    object?.metadata.ownerReferences,
  ]
  expect(of(await live(owned()))).toEqual(of(before))
  expect(report.drifts[0]?.fields[0]).toContain(field)
})

test('a caBundle that a controller injects stays, also when Git changes the webhook and when everything is compared again', async () => {
  await injections['a caBundle']?.()
  const bundle = async () => getField(await live(webhook), 'webhooks.0.clientConfig.caBundle')
  const { remediations } = bed.report('web') ?? {}
  const [before] = webhook.webhooks as [object]
  const changed = { ...webhook, webhooks: [{ ...before, timeoutSeconds: 7 }] }
  bed.update({ web: { objects: [workload, changed, service, marker, owned()] } })
  await waitFor('the change of Git', async () => getField(await live(webhook), 'webhooks.0.timeoutSeconds') === 7)
  await bed.synced('web')
  expect(await bundle()).toBe(caBundle)
  const applies = () =>
    bed.requests(['patch']).filter(({ resource }) => resource.startsWith('validatingwebhook')).length
  const count = applies()
  bed.reconciler.reconcile('web')
  await waitFor('the webhook to be compared', () => applies() > count)
  const report = await bed.synced('web')
  expect(await bundle()).toBe(caBundle)
  expect(report).toMatchObject({ remediations, problems: [] })
})

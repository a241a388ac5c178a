// Lists and maps that a manifest declares empty, and defaults, outside of metadata: never drift by themselves, nor by what
// controllers put in; what a person puts in is found and taken away. On real controllers, across a restart.
import { type Cluster, startCluster } from '@fairlead/e2e/harness/cluster'
import { getField } from '@fairlead/e2e/harness/kube-client'
import { waitFor } from '@fairlead/e2e/harness/wait'
import { SyncState } from '@fairlead/proto/common'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { ReconcilerBed, type TestObject } from './reconciler-bed.ts'

const namespace = 'empty-fields'
const slow = { timeoutMs: 30_000 }
let cluster: Cluster
let bed: ReconcilerBed

const podSpec = {
  volumes: [],
  initContainers: [],
  imagePullSecrets: [],
  nodeSelector: {},
  tolerations: [],
  securityContext: {},
  affinity: {},
  containers: [
    {
      name: 'c',
      image: 'nginx:1',
      args: null,
      command: [],
      env: [],
      envFrom: [],
      ports: [],
      volumeMounts: [],
      resources: { limits: {}, requests: { cpu: '0.5', memory: '1024Mi' } },
      securityContext: {},
      lifecycle: {},
    },
  ],
}
const withVolume = { ...podSpec, volumes: [{ name: 'v', emptyDir: {} }] }
const deployment = (name: string, spec: object): TestObject => ({
  apiVersion: 'apps/v1',
  kind: 'Deployment',
  metadata: { name, annotations: {}, labels: {} },
  spec: {
    replicas: 1,
    strategy: {},
    selector: { matchLabels: { app: name }, matchExpressions: [] },
    template: { metadata: { labels: { app: name }, annotations: {} }, spec },
  },
})
const crd: TestObject = {
  apiVersion: 'apiextensions.k8s.io/v1',
  kind: 'CustomResourceDefinition',
  metadata: { name: 'hollows.example.com' },
  spec: {
    group: 'example.com',
    scope: 'Namespaced',
    names: { plural: 'hollows', singular: 'hollow', kind: 'Hollow' },
    versions: [
      {
        name: 'v1',
        served: true,
        storage: true,
        schema: {
          openAPIV3Schema: {
            type: 'object',
            properties: {
              spec: {
                type: 'object',
                properties: {
                  list: { type: 'array', items: { type: 'string' } },
                  map: { type: 'object', additionalProperties: { type: 'string' } },
                  mode: { type: 'string', default: 'plain' },
                  free: { type: 'object', 'x-kubernetes-preserve-unknown-fields': true },
                },
              },
            },
          },
        },
      },
    ],
  },
}
const objects = {
  deployment: deployment('d', podSpec),
  volumes: deployment('v', withVolume),
  cronJob: {
    apiVersion: 'batch/v1',
    kind: 'CronJob',
    metadata: { name: 'c' },
    spec: {
      schedule: '0 0 1 1 *',
      jobTemplate: {
        metadata: { annotations: {} },
        spec: {
          template: { metadata: { annotations: {}, labels: {} }, spec: { ...withVolume, restartPolicy: 'Never' } },
        },
      },
    },
  },
  service: {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name: 's' },
    spec: {
      selector: { app: 'd' },
      ports: [{ port: 80, targetPort: 80 }],
      externalIPs: [],
      loadBalancerSourceRanges: [],
      sessionAffinityConfig: null,
    },
  },
  bare: { apiVersion: 'v1', kind: 'Service', metadata: { name: 'bare' }, spec: { selector: {}, ports: [{ port: 1 }] } },
  ingress: {
    apiVersion: 'networking.k8s.io/v1',
    kind: 'Ingress',
    metadata: { name: 'i', annotations: {} },
    spec: { defaultBackend: { service: { name: 's', port: { number: 80 } } }, rules: [], tls: [] },
  },
  networkPolicy: {
    apiVersion: 'networking.k8s.io/v1',
    kind: 'NetworkPolicy',
    metadata: { name: 'deny' },
    spec: { podSelector: {}, ingress: [], egress: [], policyTypes: ['Ingress'] },
  },
  configMap: { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'e' }, data: {}, binaryData: {} },
  secret: { apiVersion: 'v1', kind: 'Secret', metadata: { name: 'e' }, type: 'Opaque', data: {}, stringData: {} },
  account: { apiVersion: 'v1', kind: 'ServiceAccount', metadata: { name: 'e' }, imagePullSecrets: [], secrets: [] },
  role: { apiVersion: 'rbac.authorization.k8s.io/v1', kind: 'Role', metadata: { name: 'e' }, rules: [] },
  hollow: {
    apiVersion: 'example.com/v1',
    kind: 'Hollow',
    metadata: { name: 'h' },
    spec: { list: [], map: {}, free: {} },
  },
} satisfies Record<string, TestObject>
/** One for each look: what is edited again and again is taken for a fight. */
const markers = Array.from({ length: 120 }, (_, index): TestObject => {
  return { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: `marker-${index}` }, data: { a: '1' } }
})
let looks = 0
const web = { web: { objects: [crd, ...Object.values(objects), ...markers] } }

const at = (object: TestObject) => ({ ...object, metadata: { ...object.metadata, namespace } })
const live = async (object: TestObject) => await cluster.admin.find(at(object))
const byHand = { type: 'json', fieldManager: 'kubectl-patch' } as const

beforeAll(async () => {
  cluster = await startCluster({ name: 'empty-fields', full: true })
  await cluster.admin.create({ apiVersion: 'v1', kind: 'Namespace', metadata: { name: namespace } })
  bed = await ReconcilerBed.start({ cluster, namespace })
  bed.update(web)
  await bed.synced('web', slow)
}, 180_000)
afterAll(async () => {
  await bed?.stop()
  await cluster?.stop()
})

/** A marker is repaired after all that came before it was looked at: nothing else may have been. */
async function isOnlyDrift(): Promise<void> {
  const before = bed.report('web')?.remediations ?? 0n
  const marker = markers[looks++] as TestObject
  await cluster.admin.patch(at(marker), [{ op: 'replace', path: '/data/a', value: '2' }], byHand)
  const report = await bed.reported('web', 'repaired', ({ remediations }) => remediations > before)
  expect(report.remediations).toBe(before + 1n)
  expect(report).toMatchObject({ sync: SyncState.SYNCED, problems: [] })
}

test('what is declared empty is Synced, also under real controllers, when everything is compared, and after a restart, which writes nothing', async () => {
  await waitFor('the pods', async () => getField(await live(objects.deployment), 'status.readyReplicas') === 1, slow)
  await isOnlyDrift()
  const versions = async () =>
    await Promise.all(Object.values(objects).map(async (object) => (await live(object))?.metadata.resourceVersion))
  const before = await versions()
  const patches = (): number => bed.requests(['patch']).length
  const count = patches()
  bed.reconciler.reconcile()
  await waitFor('all to be compared', () => patches() >= count + web.web.objects.length, slow)
  expect(await versions()).toEqual(before)
  await bed.stop()
  const written = bed.requests(['patch', 'create', 'update', 'delete']).length
  bed = await ReconcilerBed.start({ cluster, namespace })
  bed.update(web)
  const report = await bed.synced('web', slow)
  expect([report.remediations, report.drifts]).toEqual([0n, []])
  expect(bed.requests(['patch', 'create', 'update', 'delete']).length).toBe(written)
  await isOnlyDrift()
  expect(await versions()).toEqual(before)
})

const pod = '/spec/template/spec'
const cronPod = '/spec/jobTemplate/spec/template/spec'
type Addition = readonly [object: keyof typeof objects, path: string, value: unknown]
const additions: Addition[] = [
  ['deployment', `${pod}/volumes`, [{ name: 'x', emptyDir: {} }]],
  ['deployment', `${pod}/nodeSelector`, { 'kubernetes.io/os': 'linux' }],
  ['deployment', `${pod}/tolerations`, [{ key: 'x', operator: 'Exists' }]],
  ['deployment', `${pod}/securityContext/runAsUser`, 1000],
  ['deployment', `${pod}/imagePullSecrets`, [{ name: 'x' }]],
  ['deployment', `${pod}/containers/0/env`, [{ name: 'X', value: '1' }]],
  ['deployment', `${pod}/containers/0/args`, ['--x']],
  ['deployment', `${pod}/containers/0/command`, ['x']],
  ['deployment', `${pod}/containers/0/ports`, [{ containerPort: 80 }]],
  ['deployment', `${pod}/containers/0/securityContext`, { privileged: false }],
  ['volumes', `${pod}/volumes/0/emptyDir/sizeLimit`, '1Gi'],
  ['cronJob', `${cronPod}/tolerations`, [{ key: 'x', operator: 'Exists' }]],
  ['cronJob', `${cronPod}/containers/0/env`, [{ name: 'X', value: '1' }]],
  ['cronJob', `${cronPod}/volumes/0/emptyDir/medium`, 'Memory'],
  ['service', '/spec/externalIPs', ['192.0.2.1']],
  ['bare', '/spec/selector', { app: 'x' }],
  ['ingress', '/spec/rules', [{ host: 'x.example.com' }]],
  ['ingress', '/spec/tls', [{ hosts: ['x.example.com'] }]],
  ['networkPolicy', '/spec/ingress', [{ from: [{ podSelector: {} }] }]],
  ['networkPolicy', '/spec/egress', [{}]],
  ['configMap', '/data', { x: '1' }],
  ['secret', '/data', { x: 'MQ==' }],
  ['account', '/imagePullSecrets', [{ name: 'x' }]],
  ['role', '/rules', [{ apiGroups: [''], resources: ['pods'], verbs: ['get'] }]],
  ['hollow', '/spec/list', ['x']],
  ['hollow', '/spec/map', { x: '1' }],
  ['hollow', '/spec/free', { x: { y: 1 } }],
]
const contentOf = async (object: TestObject) => {
  const { metadata: _m, status: _s, ...content } = (await live(object)) ?? { metadata: {} }
  return content
}

test.for(additions)('what a person puts in is found and taken away: %s %s', async ([which, path, value]) => {
  const object: TestObject = objects[which]
  const before = await contentOf(object)
  const count = bed.report('web')?.remediations ?? 0n
  await cluster.admin.patch(at(object), [{ op: 'add', path, value }], byHand)
  await waitFor(
    'it to be taken away',
    async (see) => {
      const content = await contentOf(object)
      see(content)
      return JSON.stringify(content) === JSON.stringify(before)
    },
    slow,
  )
  const report = await bed.reported('web', 'repaired', (one) => one.remediations > count && one.problems.length === 0)
  expect(report.remediations).toBe(count + 1n)
  await isOnlyDrift()
})

/** What a controller leaves behind is as declared: who takes `{}` itself away changes what is declared. Null means that a field is not wanted. */
const ofControllers: Addition[] = [
  ...additions.filter(([, path]) => !/args$|containers.0.securityContext$|spec.map$|spec.free$/.test(path)),
  ['deployment', `${pod}/containers/0/securityContext/privileged`, false],
  ['hollow', '/spec/map/x', '1'],
  ['hollow', '/spec/free/x', { y: 1 }],
]

test.for(ofControllers)(
  'what a controller puts in is no drift, and starts no fight: %s %s',
  async ([which, path, value]) => {
    const object: TestObject = objects[which]
    const before = await contentOf(object)
    await cluster.admin.patch(at(object), [{ op: 'add', path, value }], {
      type: 'json',
      fieldManager: 'some-controller',
    })
    expect(await contentOf(object)).not.toEqual(before)
    await isOnlyDrift()
    // And takes out again.
    await cluster.admin.patch(at(object), [{ op: 'remove', path }], { type: 'json', fieldManager: 'some-controller' })
    await isOnlyDrift()
  },
)

// Drift by ownership, case by case: what others write into objects of ours, and what becomes of it.
import { type Cluster, startCluster } from '@fairlead/e2e/harness/cluster'
import { getField, type KubeObject, type WriteOptions } from '@fairlead/e2e/harness/kube-client'
import { waitFor } from '@fairlead/e2e/harness/wait'
import { DriftKind } from '@fairlead/proto/report'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { ReconcilerBed, type TestObject } from './reconciler-bed.ts'

const namespace = 'drift'
let cluster: Cluster
let bed: ReconcilerBed

const deployment: TestObject = {
  apiVersion: 'apps/v1',
  kind: 'Deployment',
  metadata: { name: 'd' },
  spec: {
    replicas: 2,
    selector: { matchLabels: { app: 'd' } },
    template: {
      metadata: { labels: { app: 'd' } },
      spec: {
        containers: [
          {
            name: 'c',
            image: 'nginx:1.0',
            ports: [{ containerPort: 80 }],
            resources: { requests: { cpu: '1000m', memory: '64Mi' } },
            env: [{ name: 'A', value: '1' }],
          },
        ],
      },
    },
  },
}
const configMap: TestObject = {
  apiVersion: 'v1',
  kind: 'ConfigMap',
  metadata: { name: 'c', annotations: { note: 'x' } },
  data: { a: '1', b: '2' },
}
const service: TestObject = {
  apiVersion: 'v1',
  kind: 'Service',
  metadata: { name: 's' },
  spec: { selector: { app: 'x' }, ports: [{ name: 'http', port: 80, targetPort: 8080 }] },
}
const merging: TestObject = { ...configMap, metadata: { name: 'm', annotations: { 'fairlead.dev/merge': 'true' } } }
const applied: TestObject = { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'k' }, data: { a: '1' } }
const objects = [deployment, configMap, service, merging, applied]

beforeAll(async () => {
  cluster = await startCluster({ name: 'drift' })
  await cluster.admin.create({ apiVersion: 'v1', kind: 'Namespace', metadata: { name: namespace } })
  bed = await ReconcilerBed.start({ cluster, namespace })
  bed.update({ web: { objects } })
  await bed.synced('web')
}, 120_000)
afterAll(async () => {
  await bed?.stop()
  await cluster?.stop()
})

const at = (object: TestObject) => ({ ...object, metadata: { ...object.metadata, namespace } })
const withData = (data: Record<string, string>): TestObject => ({ ...at(configMap), data })
const live = async (object: TestObject): Promise<KubeObject | undefined> => await cluster.admin.find(at(object))
const json = async (object: TestObject, op: string, path: string, value?: unknown, options: WriteOptions = {}) =>
  await cluster.admin.patch(at(object), [{ op, path, ...(value === undefined ? {} : { value }) }], {
    type: 'json',
    ...options,
  })
const merge = async (object: TestObject, body: unknown, options: WriteOptions = {}) =>
  await cluster.admin.patch(at(object), body, { type: 'merge', ...options })

/** What Git does not decide about an object. */
const essence = (object: KubeObject | undefined): unknown => {
  if (!object) return undefined
  const { labels, annotations } = object.metadata
  return { labels, annotations, spec: object.spec, data: object.data }
}

type Case = {
  readonly object: TestObject
  readonly write: () => Promise<unknown>
  readonly kind?: DriftKind
  readonly fields?: readonly string[]
  /** Where the object's essence after the repair need not be as before. */
  readonly left?: (object: KubeObject | undefined) => unknown
}
const CONTAINER = 'spec.template.spec.containers[name=c]'
const IMAGE = '/spec/template/spec/containers/0/image'

/** Each is put back: what the object was, it is again. */
const repaired: Record<string, Case> = {
  'an owned image edited': {
    object: deployment,
    write: async () => await json(deployment, 'replace', IMAGE, 'evil:2'),
    kind: DriftKind.CHANGED,
    fields: [`${CONTAINER}.image`],
  },
  'replicas changed through the scale subresource by kubectl': {
    object: deployment,
    write: async () =>
      await merge(deployment, { spec: { replicas: 5 } }, { subresource: 'scale', fieldManager: 'kubectl' }),
    kind: DriftKind.CHANGED,
    fields: ['spec.replicas'],
  },
  'an env var added': {
    object: deployment,
    write: async () =>
      await json(deployment, 'add', '/spec/template/spec/containers/0/env/-', { name: 'B', value: '2' }),
    kind: DriftKind.ADDED,
    fields: [`${CONTAINER}.env[name=B]`, `${CONTAINER}.env[name=B].name`, `${CONTAINER}.env[name=B].value`],
  },
  'our env var removed': {
    object: deployment,
    write: async () => await json(deployment, 'remove', '/spec/template/spec/containers/0/env/0'),
    kind: DriftKind.CHANGED,
  },
  'a sidecar added': {
    object: deployment,
    write: async () => await json(deployment, 'add', '/spec/template/spec/containers/-', { name: 'side', image: 's' }),
    kind: DriftKind.ADDED,
  },
  'a value of a ConfigMap edited': {
    object: configMap,
    write: async () => await merge(configMap, { data: { a: '9' } }),
    kind: DriftKind.CHANGED,
    fields: ['data.a'],
  },
  'a key of a ConfigMap removed': {
    object: configMap,
    write: async () => await merge(configMap, { data: { b: null } }),
    kind: DriftKind.CHANGED,
    fields: ['data.b'],
  },
  'a key of a ConfigMap added': {
    object: configMap,
    write: async () => await merge(configMap, { data: { z: '1' } }),
    kind: DriftKind.ADDED,
    fields: ['data.z'],
  },
  'a ConfigMap replaced by PUT with other data': {
    object: configMap,
    write: async () =>
      await cluster.admin.replace({ ...(await live(configMap)), ...at(configMap), data: { q: '1' } } as KubeObject),
  },
  'our label stripped': {
    object: configMap,
    write: async () => await merge(configMap, { metadata: { labels: { 'app.kubernetes.io/managed-by': null } } }),
    kind: DriftKind.DELETED,
  },
  'an annotation stripped': {
    object: configMap,
    write: async () => await merge(configMap, { metadata: { annotations: { note: null } } }),
    kind: DriftKind.CHANGED,
    fields: ['metadata.annotations.note'],
  },
  'managedFields wiped': {
    object: configMap,
    write: async () => await merge(configMap, { metadata: { managedFields: [{}] } }),
    kind: DriftKind.CHANGED,
  },
  'another annotation added': {
    object: configMap,
    write: async () => await merge(configMap, { metadata: { annotations: { foo: 'bar' } } }),
    kind: DriftKind.ADDED,
    fields: ['metadata.annotations.foo'],
  },
  'an object deleted': {
    object: configMap,
    write: async () => await cluster.admin.delete(at(configMap)),
    kind: DriftKind.DELETED,
  },
  'a forced server-side apply by another manager with another value': {
    object: configMap,
    write: async () => await cluster.admin.apply(withData({ a: '7' }), { fieldManager: 'rival', force: true }),
    kind: DriftKind.CHANGED,
    fields: ['data.a'],
  },
  'a port of a Service edited': {
    object: service,
    write: async () => await json(service, 'replace', '/spec/ports/0/targetPort', 9090),
    kind: DriftKind.CHANGED,
  },
  'the key of a Service port edited, where a plain apply is refused': {
    object: service,
    write: async () => await json(service, 'replace', '/spec/ports/0/port', 81),
    kind: DriftKind.CHANGED,
  },
  'a key added to an atomic map': {
    object: service,
    write: async () => await merge(service, { spec: { selector: { bad: 'x' } } }),
    kind: DriftKind.CHANGED,
    fields: ['spec.selector'],
  },
  'a client-side apply of something else, and its last-applied annotation with it': {
    object: configMap,
    write: async () =>
      await merge(
        configMap,
        { metadata: { annotations: { 'kubectl.kubernetes.io/last-applied-configuration': '{}' } }, data: { c: '1' } },
        { fieldManager: 'kubectl-client-side-apply' },
      ),
    kind: DriftKind.ADDED,
    fields: ['data.c'],
  },
  'sidecar, env var and annotation added in one write': {
    object: deployment,
    write: async () =>
      await cluster.admin.patch(
        at(deployment),
        [
          { op: 'add', path: '/spec/template/spec/containers/-', value: { name: 'side', image: 's' } },
          { op: 'add', path: '/spec/template/spec/containers/0/env/-', value: { name: 'B', value: '2' } },
          { op: 'add', path: '/metadata/annotations', value: { foo: 'bar' } },
        ],
        { type: 'json' },
      ),
    kind: DriftKind.ADDED,
  },
}

/** None of these is drift: nothing is written. */
const ignored: Record<string, Case> = {
  'the same value written': {
    object: deployment,
    write: async () => await json(deployment, 'replace', IMAGE, 'nginx:1.0'),
  },
  'a quantity respelt': {
    object: deployment,
    write: async () =>
      await json(deployment, 'replace', '/spec/template/spec/containers/0/resources/requests/cpu', '1'),
  },
  'a status written': {
    object: deployment,
    write: async () =>
      await merge(
        deployment,
        { status: { observedGeneration: 1 } },
        { subresource: 'status', fieldManager: 'controller' },
      ),
  },
  'a server-side apply by another manager with the same value': {
    object: configMap,
    write: async () => await cluster.admin.apply(withData({ a: '1' }), { fieldManager: 'rival2', force: true }),
  },
  'a client-side apply of what Git has, which leaves its last-applied annotation': {
    object: applied,
    write: async () =>
      await merge(
        applied,
        { metadata: { annotations: { 'kubectl.kubernetes.io/last-applied-configuration': '{}' } }, data: { a: '1' } },
        { fieldManager: 'kubectl-client-side-apply' },
      ),
  },
  'a restart asked for with kubectl': {
    object: deployment,
    write: async () =>
      await merge(
        deployment,
        {
          spec: {
            template: { metadata: { annotations: { 'kubectl.kubernetes.io/restartedAt': '2026-11-23T00:00:00Z' } } },
          },
        },
        { fieldManager: 'kubectl-rollout' },
      ),
  },
  'a key added to an object that opted out': {
    object: merging,
    write: async () => await merge(merging, { data: { mine: '1' } }),
  },
  'a field added by a controller': {
    object: configMap,
    write: async () =>
      await merge(configMap, { metadata: { annotations: { injected: 'x' } } }, { fieldManager: 'injector' }),
  },
}

test.for(Object.entries(repaired))('put back: %s', async ([, { object, write, kind, fields }]) => {
  const before = await live(object)
  const count = bed.report('web')?.remediations ?? 0n
  await write()
  const report = await bed.reported('web', 'repaired', ({ remediations }) => remediations > count)
  expect(essence(await live(object))).toEqual(essence(before))
  const [drift] = report.drifts
  expect(drift?.object).toMatchObject({ kind: object.kind, name: object.metadata.name })
  expect(drift?.remediatedAt).toBeDefined()
  if (kind !== undefined) expect(DriftKind[drift?.kind ?? 0]).toBe(DriftKind[kind])
  if (fields) expect(drift?.fields).toEqual(expect.arrayContaining([fields[0]]))
})

test.for(Object.entries(ignored))('left alone: %s', async ([, { object, write }]) => {
  const writes = () => bed.requests(['patch', 'update', 'create', 'delete']).length
  const before = writes()
  const count = bed.report('web')?.remediations ?? 0n
  await write()
  const after = await live(object)
  // A drift of another object, seen by a later event: had the write above been repaired, it would have been before.
  await cluster.admin.delete(at(service))
  await bed.reported('web', 'repaired', ({ remediations }) => remediations > count)
  await waitFor('the service', async () => await live(service))
  expect(bed.report('web')?.remediations).toBe(count + 1n)
  expect(getField(await live(object), 'metadata.resourceVersion')).toBe(after?.metadata.resourceVersion)
  expect(writes() - before).toBeLessThanOrEqual(3)
})

test('a last-applied annotation is rewritten by each client-side apply, and no fight comes of it', async () => {
  const { remediations } = bed.report('web') ?? {}
  for (let round = 0; round < 20; round++) {
    const annotations = { 'kubectl.kubernetes.io/last-applied-configuration': `{"round":${round}}` }
    await merge(applied, { metadata: { annotations } }, { fieldManager: 'kubectl-client-side-apply' })
  }
  // Whatever had been put back of the above, this is seen after it.
  await merge(configMap, { data: { a: '9' } })
  await bed.reported('web', 'repaired', (report) => report.remediations > (remediations ?? 0n))
  expect(bed.report('web')).toMatchObject({ remediations: (remediations ?? 0n) + 1n, problems: [] })
  const { annotations } = (await live(applied))?.metadata ?? {}
  expect(annotations).toEqual({ 'kubectl.kubernetes.io/last-applied-configuration': '{"round":19}' })
})

test('the writer is named, and the fields without their values', async () => {
  const count = bed.report('web')?.remediations ?? 0n
  await merge(configMap, { data: { a: 'secret-value' } }, { fieldManager: 'kubectl-edit' })
  const report = await bed.reported('web', 'repaired', ({ remediations }) => remediations > count)
  expect(report.drifts[0]).toMatchObject({ manager: 'kubectl-edit', fields: ['data.a'] })
  expect(
    JSON.stringify(report.drifts, (_key, value) => (typeof value === 'bigint' ? Number(value) : value)),
  ).not.toContain('secret-value')
})

test('a person who edits again and again is reverted each time, at once', async () => {
  for (let round = 0; round < 20; round++) {
    const count = bed.report('web')?.remediations ?? 0n
    await merge(configMap, { data: { a: `person-${round}` } })
    await bed.reported('web', 'repaired', ({ remediations }) => remediations > count, 2_000)
  }
  expect(bed.report('web')?.problems).toEqual([])
})

// Taking over what others made: objects as kubectl, Helm, Flux and Argo CD leave them become ours as they are, nothing
// restarts, and the tool of before has no claim on them any more. What would change is told first.
import { fromBinary } from '@bufbuild/protobuf'
import { type Cluster, startCluster } from '@fairlead/e2e/harness/cluster'
import type { KubeObject } from '@fairlead/e2e/harness/kube-client'
import { type CommandAnswer, CommandAnswerSchema, type ObjectChange } from '@fairlead/proto/report'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { sendAnswer } from '../reporter/answers.ts'
import { ReconcilerBed, type TestObject } from './reconciler-bed.ts'

let cluster: Cluster
let bed: ReconcilerBed
let count = 0
let namespace = ''

beforeAll(async () => {
  cluster = await startCluster({ name: 'adopt' })
}, 120_000)
afterEach(() => bed?.stop())
afterAll(() => cluster?.stop())

async function start(): Promise<void> {
  namespace = `adopt-${++count}`
  await cluster.admin.create({ apiVersion: 'v1', kind: 'Namespace', metadata: { name: namespace } })
  bed = await ReconcilerBed.start({ cluster, namespace }, { limits: { userBaseMs: 200, userMaxMs: 200 } })
}

const deployment = (image = 'nginx:1', metadata: object = {}): TestObject => ({
  apiVersion: 'apps/v1',
  kind: 'Deployment',
  metadata: { name: 'web', labels: { 'app.kubernetes.io/instance': 'web' }, ...metadata },
  spec: {
    replicas: 2,
    selector: { matchLabels: { app: 'web' } },
    template: { metadata: { labels: { app: 'web' } }, spec: { containers: [{ name: 'main', image }] } },
  },
})
const service = (metadata: object = {}): TestObject => ({
  apiVersion: 'v1',
  kind: 'Service',
  metadata: { name: 'web', ...metadata },
  spec: { selector: { app: 'web' }, ports: [{ name: 'http', port: 80 }] },
})
const placed = (object: TestObject): KubeObject =>
  ({ ...object, metadata: { ...object.metadata, namespace } }) as KubeObject
const live = async (object: TestObject) => await cluster.admin.get(placed(object))
const applied = (object: TestObject) => ({
  'kubectl.kubernetes.io/last-applied-configuration': JSON.stringify(object),
})

interface Tool {
  readonly metadata: (object: TestObject) => { labels?: Record<string, string>; annotations?: Record<string, string> }
  readonly manager: string
  readonly how: 'apply' | 'create'
}

const tools: Record<string, Tool> = {
  'kubectl apply': {
    metadata: (object) => ({ annotations: applied(object) }),
    manager: 'kubectl-client-side-apply',
    how: 'create',
  },
  'kubectl apply --server-side': { metadata: () => ({}), manager: 'kubectl', how: 'apply' },
  'Helm 3': {
    metadata: () => ({
      labels: { 'app.kubernetes.io/managed-by': 'Helm' },
      annotations: { 'meta.helm.sh/release-name': 'web', 'meta.helm.sh/release-namespace': namespace },
    }),
    manager: 'helm',
    how: 'create',
  },
  'Helm 4': {
    metadata: () => ({
      labels: { 'app.kubernetes.io/managed-by': 'Helm' },
      annotations: { 'meta.helm.sh/release-name': 'web', 'meta.helm.sh/release-namespace': namespace },
    }),
    manager: 'helm',
    how: 'apply',
  },
  Flux: {
    metadata: () => ({
      labels: { 'kustomize.toolkit.fluxcd.io/name': 'web', 'kustomize.toolkit.fluxcd.io/namespace': 'flux-system' },
    }),
    manager: 'kustomize-controller',
    how: 'apply',
  },
  'Argo CD': {
    metadata: (object) => ({
      annotations: { ...applied(object), 'argocd.argoproj.io/tracking-id': `web:apps/Deployment:${namespace}/web` },
    }),
    manager: 'argocd-controller',
    how: 'create',
  },
  'Argo CD by its own label': {
    metadata: () => ({ labels: { 'argocd.argoproj.io/instance': 'web' } }),
    manager: 'argocd-controller',
    how: 'apply',
  },
}

/** Makes an object as the tool does, and a controller writes its status. */
async function makeBy({ metadata, manager, how }: Tool, object: TestObject): Promise<void> {
  const { labels, annotations } = metadata(object)
  const given = object.metadata as { labels?: object }
  const marked = placed({
    ...object,
    metadata: { ...object.metadata, labels: { ...given.labels, ...labels }, ...(annotations && { annotations }) },
  })
  if (how === 'apply') await cluster.admin.apply(marked, { fieldManager: manager })
  else await cluster.admin.create(marked, { fieldManager: manager })
}

const preview = async (): Promise<readonly ObjectChange[]> =>
  (await bed.reconciler.preview('web', AbortSignal.timeout(10_000))).changes

test('a preview of 2,600 objects is told in parts that each fit, whole and in order, and ends at once when it is given up', {
  timeout: 240_000,
}, async () => {
  await start()
  const objects = Array.from({ length: 2_600 }, (_, index) => ({
    apiVersion: 'v1',
    kind: 'ConfigMap',
    metadata: { name: `c-${String(index).padStart(4, '0')}` },
    data: { a: '1' },
  }))
  // Only looked at, never applied.
  bed.update({ web: { objects, policy: { suspend: true } } })
  await bed.reported('web', 'loaded', (report) => report.objects === objects.length, 60_000)
  const limitBytes = 64_000
  const parts: CommandAnswer[] = []
  const send = (part: Uint8Array): void => {
    expect(part.length).toBeLessThanOrEqual(limitBytes)
    parts.push(fromBinary(CommandAnswerSchema, part))
  }
  const signal = AbortSignal.timeout(200_000)
  await sendAnswer(
    { commandId: 'one', limitBytes, send },
    async (take) => await bed.reconciler.preview('web', signal, take),
  )
  expect(parts.map(({ part }) => part)).toEqual(parts.map((_part, index) => index))
  expect(parts.map(({ last }) => last)).toEqual(parts.map((_part, index) => index === parts.length - 1))
  // How many depends on how long the names of fields are that this version of Kubernetes tells.
  expect(parts.length).toBeGreaterThan(2)
  const changes = parts.flatMap((part) => part.changes)
  expect(changes.map(({ object, action }) => `${action} ${object?.name}`)).toEqual(
    objects.map(({ metadata }) => `create ${metadata.name}`),
  )

  const given = new AbortController()
  const before = bed.requests().length
  let told = 0
  const preview = bed.reconciler.preview('web', given.signal, () => {
    if (++told === 100) given.abort()
  })
  await expect(preview).rejects.toMatchObject({ code: 'Aborted' })
  // Eight are looked at together, by two requests each.
  expect(told).toBeLessThanOrEqual(100 + 8)
  expect(bed.requests().length - before).toBeLessThan(2 * (100 + 2 * 8) + 10)
})

test('what a preview finds is told in order while the rest is still looked at', async () => {
  await start()
  const objects = Array.from({ length: 200 }, (_, index) => ({
    apiVersion: 'v1',
    kind: 'ConfigMap',
    metadata: { name: `c-${index}` },
    data: { a: '1' },
  }))
  bed.update({ web: { objects } })
  await bed.synced('web')
  const told: ObjectChange[] = []
  let toldAtFirst = 0
  const { changes } = await bed.reconciler.preview('web', AbortSignal.timeout(60_000), (change) => {
    told.push(change)
    setImmediate(() => {
      toldAtFirst ||= told.length
    })
  })
  expect(changes).toHaveLength(200)
  expect(told).toEqual(changes)
  expect(toldAtFirst).toBeLessThan(200)
})

describe.each(Object.entries(tools))('what %s made', (_name, tool) => {
  test.each(['ifEqual', 'always'])(
    'is taken over as it is with adopt: %s, and not claimed by it any more',
    async (adopt) => {
      await start()
      for (const object of [deployment(), service()]) await makeBy(tool, object)
      const before = [await live(deployment()), await live(service())]
      bed.update({ web: { objects: [deployment(), service()], adopt } })
      await bed.synced('web')
      const after = [await live(deployment()), await live(service())]
      for (const [index, object] of after.entries()) {
        const old = before[index] as KubeObject
        expect(object.metadata.uid).toBe(old.metadata.uid)
        // The API server counts a change of a Deployment's annotations as a generation; that restarts nothing.
        const isCounted = object.kind === 'Deployment' && old.metadata.annotations !== undefined
        const generation = (old.metadata.generation ?? 0) + (isCounted ? 1 : 0)
        expect(object.metadata.generation ?? 0).toBe(generation)
        expect(object.spec).toEqual(old.spec)
        const labels = object.metadata.labels ?? {}
        expect(labels).toMatchObject({ 'app.kubernetes.io/managed-by': 'fairlead', 'fairlead.dev/application': 'web' })
        const marks = [...Object.keys(labels), ...Object.keys(object.metadata.annotations ?? {})]
        expect(marks.filter((mark) => /helm\.sh|fluxcd|argoproj|last-applied/.test(mark))).toEqual([])
      }
      expect(after[0]?.metadata.labels).toMatchObject({ 'app.kubernetes.io/instance': 'web' })
      // Once: afterwards nothing is written any more.
      const writes = bed.requests(['patch']).length
      bed.reconciler.reconcile('web')
      await bed.synced('web')
      const versions = await Promise.all([live(deployment()), live(service())])
      expect(versions.map(({ metadata }) => metadata.resourceVersion)).toEqual(
        after.map(({ metadata }) => metadata.resourceVersion),
      )
      expect(bed.requests(['patch']).length).toBeGreaterThanOrEqual(writes)
    },
  )

  test('is told of before it is taken over, and left where it differs or the policy says never', async () => {
    await start()
    await makeBy(tool, deployment('nginx:old'))
    await makeBy(tool, service())
    const before = [await live(deployment()), await live(service())]
    bed.update({ web: { objects: [deployment(), service()], adopt: 'never' } })
    await bed.reported(
      'web',
      'refused',
      ({ problems }) => problems.filter(({ code }) => code === 'AdoptionRefused').length === 2,
    )
    const never = await preview()
    expect(never.map(({ action, manager }) => [action, manager])).toEqual([
      ['refused', tool.manager],
      ['refused', tool.manager],
    ])
    bed.update({ web: { objects: [deployment(), { ...service(), metadata: { name: 'new' } }], adopt: 'ifEqual' } })
    await bed.reported('web', 'refused', ({ problems }) => problems.some(({ code }) => code === 'AdoptionRefused'))
    const differing = (await preview()).find(({ object }) => object?.kind === 'Deployment')
    expect(differing).toMatchObject({ action: 'refused', message: expect.stringContaining('differs') })
    expect(differing?.fields).toContain('spec.template.spec.containers[name=main].image')
    const after = [await live(deployment()), await live(service())]
    expect(after.map(({ metadata }) => metadata.resourceVersion)).toEqual(
      before.map(({ metadata }) => metadata.resourceVersion),
    )
  })
})

test('a preview writes nothing, and says in order what would be made, changed, taken over, deleted and refused', async () => {
  await start()
  const configMap = (name: string, value = '1'): TestObject => ({
    apiVersion: 'v1',
    kind: 'ConfigMap',
    metadata: { name },
    data: { value },
  })
  const claim: TestObject = {
    apiVersion: 'v1',
    kind: 'PersistentVolumeClaim',
    metadata: { name: 'data' },
    spec: { accessModes: ['ReadWriteOnce'], resources: { requests: { storage: '1Gi' } } },
  }
  const secret = (value: string): TestObject => ({
    apiVersion: 'v1',
    kind: 'Secret',
    metadata: { name: 's' },
    stringData: { password: value },
  })
  bed.update({
    web: { objects: [configMap('same'), configMap('changes'), configMap('goes'), claim, secret('hunter2')] },
  })
  await bed.synced('web')
  await cluster.admin.create(placed(configMap('theirs')), { fieldManager: 'helm' })
  // The policy keeps the agent from doing what is asked, so that it stays to be told.
  const next = [
    configMap('same'),
    configMap('changes', '2'),
    configMap('new'),
    configMap('theirs'),
    secret('hunter3'),
    { apiVersion: 'v1', kind: 'Namespace', metadata: { name: `${namespace}-x` } },
    { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'inside', namespace: `${namespace}-x` } },
    { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'elsewhere', namespace: 'no-such-namespace' } },
  ]
  await bed.stop()
  let isOpen = false
  bed = await ReconcilerBed.start(
    { cluster, namespace },
    {
      policy: () => ({
        kind: 'known',
        policy: {
          paused: false,
          namespaces: undefined,
          kinds: isOpen ? undefined : [],
          serviceAccounts: undefined,
          prune: true,
          customResourceDefinitions: true,
          clusterScoped: true,
        },
      }),
    },
  )
  bed.update({ web: { objects: next, adopt: 'always' } })
  await bed.reported('web', 'refused', ({ problems }) => problems.some(({ code }) => code === 'PolicyForbids'))
  const refused = await preview()
  expect(new Set(refused.map(({ action }) => action))).toEqual(new Set(['refused']))
  isOpen = true
  const writes = () => bed.requests(['create', 'patch', 'update', 'delete']).length
  const changes = await preview()
  const told = Object.fromEntries(changes.map(({ object, action }) => [object?.name, action]))
  expect(told).toEqual({
    [`${namespace}-x`]: 'create',
    same: 'none',
    changes: 'update',
    new: 'create',
    theirs: 'adopt',
    s: 'update',
    inside: 'create',
    elsewhere: 'create',
    goes: 'delete',
    data: 'held',
  })
  expect(changes[0]?.object?.kind).toBe('Namespace')
  expect(changes.at(-1)?.action).toMatch(/delete|held/)
  expect(changes.find(({ object }) => object?.name === 'changes')?.fields).toEqual(['data.value'])
  expect(changes.find(({ object }) => object?.name === 's')?.fields).toEqual(['data.password'])
  expect(changes.find(({ object }) => object?.name === 'theirs')?.manager).toBe('helm')
  expect(JSON.stringify(changes, (_key, value) => (typeof value === 'bigint' ? String(value) : value))).not.toMatch(
    /hunter|aHVudGVy/,
  )
  expect(writes()).toBeGreaterThan(0)
  for (const name of ['new', 'inside']) expect(await cluster.admin.find(placed(configMap(name)))).toBeUndefined()
  expect((await live(configMap('changes'))).data).toEqual({ value: '1' })
  await expect(bed.reconciler.preview('nobody', AbortSignal.timeout(1_000))).rejects.toMatchObject({ code: 'NotFound' })
})

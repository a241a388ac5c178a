// The rules against what real controllers write.
import { type Cluster, startCluster } from '@fairlead/e2e/harness/cluster'
import { waitFor } from '@fairlead/e2e/harness/wait'
import { HealthState } from '@fairlead/proto/common'
import { silentLogger } from '@fairlead/shared/logger'
import { type KubernetesObject, splitApiVersion } from '@fairlead/shared/object-reference'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { kubeconfigAccess } from '../kube/access.ts'
import { createKube, type Kube } from '../kube/kube.ts'
import { readCause } from './cause.ts'
import { assessHealth, hasOwnRule } from './health.ts'

let cluster: Cluster
let kube: Kube

beforeAll(async () => {
  cluster = await startCluster({
    name: 'health',
    full: true,
    audit: false,
    apiServerArgs: ['--runtime-config=api/all=true'],
  })
  const access = await kubeconfigAccess(cluster.kubeconfigPath)
  kube = createKube({ access, userAgent: 'fairlead-agent/health', logger: silentLogger })
})
afterAll(async () => {
  await kube?.close()
  await cluster?.stop()
})

const template = (app: string, behaviour?: string) => ({
  metadata: {
    labels: { app },
    annotations: behaviour === undefined ? {} : { 'harness.fairlead.dev/behaviour': behaviour },
  },
  spec: { containers: [{ name: 'app', image: 'example.com/app:1' }] },
})
const selects = (app: string, behaviour?: string) => ({
  selector: { matchLabels: { app } },
  template: template(app, behaviour),
})
const metadata = (name: string) => ({ name, namespace: 'default' })

const apply = async (object: object): Promise<() => Promise<KubernetesObject | undefined>> => {
  const { apiVersion, kind, metadata: target } = object as KubernetesObject
  const [group, version] = splitApiVersion(apiVersion)
  const resource = await kube.resolve({ group, version, kind })
  await kube.apply(resource, target, object)
  return async () => await kube.get(resource, target)
}
const reaches = async (object: object, health: HealthState): Promise<KubernetesObject> => {
  const read = await apply(object)
  return await waitFor(
    `${(object as KubernetesObject).kind} to be ${HealthState[health]}`,
    async (see) => {
      const found = await read()
      const assessed = assessHealth(found, { now: new Date() })
      see({ ...assessed, status: found?.status })
      return assessed.health === health && found
    },
    { timeoutMs: 30_000, alive: cluster.processes },
  )
}

const job = { ...template('job').spec, restartPolicy: 'Never' }
test.each([
  { apiVersion: 'apps/v1', kind: 'Deployment', metadata: metadata('web'), spec: { replicas: 2, ...selects('web') } },
  {
    apiVersion: 'apps/v1',
    kind: 'StatefulSet',
    metadata: metadata('db'),
    spec: { replicas: 2, serviceName: 'db', ...selects('db') },
  },
  { apiVersion: 'apps/v1', kind: 'DaemonSet', metadata: metadata('node'), spec: selects('node') },
  { apiVersion: 'apps/v1', kind: 'ReplicaSet', metadata: metadata('rs'), spec: { replicas: 1, ...selects('rs') } },
  { apiVersion: 'v1', kind: 'Pod', metadata: metadata('alone'), spec: template('alone').spec },
  {
    apiVersion: 'batch/v1',
    kind: 'Job',
    metadata: { ...metadata('once') },
    spec: { template: { ...template('job'), spec: job } },
  },
  {
    apiVersion: 'batch/v1',
    kind: 'CronJob',
    metadata: metadata('often'),
    spec: { schedule: '0 0 1 1 *', jobTemplate: { spec: { template: { spec: job } } } },
  },
  {
    apiVersion: 'policy/v1',
    kind: 'PodDisruptionBudget',
    metadata: metadata('web'),
    spec: { minAvailable: 1, selector: { matchLabels: { app: 'web' } } },
  },
  {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: metadata('web'),
    spec: { selector: { app: 'web' }, ports: [{ port: 80 }] },
  },
  { apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'fresh' } },
])('a $kind that works is Healthy by what its controller writes', async (object) => {
  await reaches(object, HealthState.HEALTHY)
})

test.each([
  [
    'PersistentVolumeClaim without a class',
    {
      apiVersion: 'v1',
      kind: 'PersistentVolumeClaim',
      metadata: metadata('data'),
      spec: { accessModes: ['ReadWriteOnce'], resources: { requests: { storage: '1Gi' } } },
    },
  ],
  [
    'load balancer without a cloud',
    {
      apiVersion: 'v1',
      kind: 'Service',
      metadata: metadata('lb'),
      spec: { type: 'LoadBalancer', ports: [{ port: 80 }] },
    },
  ],
] as const)('a %s is Progressing, not Healthy', async (_, object) => {
  await reaches(object, HealthState.PROGRESSING)
})

test('a paused Deployment and suspended Jobs are Suspended', async () => {
  const paused = {
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: metadata('paused'),
    spec: { replicas: 1, paused: true, ...selects('paused') },
  }
  const suspended = {
    apiVersion: 'batch/v1',
    kind: 'Job',
    metadata: metadata('later'),
    spec: { suspend: true, template: { spec: job } },
  }
  await reaches(paused, HealthState.SUSPENDED)
  await reaches(suspended, HealthState.SUSPENDED)
})

test('a Deployment whose pods crash is Degraded past its deadline, and the cause names pod, container and reason', async () => {
  const spec = { replicas: 1, progressDeadlineSeconds: 1, ...selects('crash', 'crash') }
  const deployment = await reaches(
    { apiVersion: 'apps/v1', kind: 'Deployment', metadata: metadata('crash'), spec },
    HealthState.DEGRADED,
  )
  expect(assessHealth(deployment, { now: new Date() }).message).toContain('ProgressDeadlineExceeded')
  const options = { now: new Date(), podLogs: false, signal: AbortSignal.timeout(10_000) }
  const cause = await waitFor('the pod to crash', async () => {
    const { text } = await readCause(kube, deployment, options)
    return text.includes('CrashLoop') && text
  })
  expect(cause).toMatch(/^pod crash-[a-z0-9]+-[a-z0-9]+: app: CrashLoopBackOff/)
})

const causeOf = async (workload: KubernetesObject): Promise<string> => {
  const { text } = await readCause(kube, workload, {
    now: new Date(),
    podLogs: false,
    signal: AbortSignal.timeout(10_000),
  })
  return text
}
const podsOf = async (app: string): Promise<readonly KubernetesObject[]> => {
  const { items } = await kube.list(await kube.resolve({ group: '', version: 'v1', kind: 'Pod' }), {
    namespace: 'default',
    labelSelector: `app=${app}`,
  })
  return items
}
/** What a kubelet or controller would say of an object. */
const warn = async (about: KubernetesObject, reason: string, message: string): Promise<void> => {
  const { kind, apiVersion, metadata: target } = about
  const involvedObject = { apiVersion, kind, name: target.name, namespace: 'default', uid: target.uid }
  const lastTimestamp = new Date().toISOString().replace(/\.\d+Z/, 'Z')
  await cluster.admin.create({
    apiVersion: 'v1',
    kind: 'Event',
    metadata: metadata(`${target.name}.${reason.toLowerCase()}`),
    ...{ involvedObject, reason, message, type: 'Warning', count: 3, lastTimestamp, source: { component: 'test' } },
  })
}

test('a failing probe, which only an event tells of, is part of the cause', async () => {
  const spec = { replicas: 1, progressDeadlineSeconds: 1, ...selects('probe', 'unready') }
  const object = { apiVersion: 'apps/v1', kind: 'Deployment', metadata: metadata('probe'), spec }
  const deployment = await reaches(object, HealthState.DEGRADED)
  const pod = await waitFor('the pod to run', async () =>
    (await podsOf('probe')).find(({ status }) => (status as { phase?: string } | undefined)?.phase === 'Running'),
  )
  expect(await causeOf(deployment)).not.toContain('probe failed')
  await warn(pod, 'Unhealthy', 'Readiness probe failed: HTTP probe failed with statuscode: 503')
  expect(await causeOf(deployment)).toMatch(
    /^pod probe-[a-z0-9-]+: .*; Unhealthy: Readiness probe failed: HTTP probe failed with statuscode: 503 \(3 times\)$/,
  )
})

test("of a Deployment the newest ReplicaSet's pods are told, though an old one fares worse", async () => {
  const behaving = (behaviour: string) => ({ replicas: 1, progressDeadlineSeconds: 1, ...selects('turn', behaviour) })
  const object = { apiVersion: 'apps/v1', kind: 'Deployment', metadata: metadata('turn') }
  const before = await reaches({ ...object, spec: behaving('crash') }, HealthState.DEGRADED)
  await waitFor('the pod to crash', async () => (await causeOf(before)).includes('CrashLoopBackOff'))
  // The old pod stays until the new one is ready, which it never is.
  await apply({ ...object, spec: behaving('unready') })
  const pods = await waitFor('both pods', async () => {
    const found = await podsOf('turn')
    return found.length === 2 && found
  })
  const cause = await causeOf(before)
  expect(cause).not.toContain('CrashLoopBackOff')
  const annotation = ({ metadata: { annotations } }: KubernetesObject) =>
    annotations?.['harness.fairlead.dev/behaviour']
  expect(cause).toContain(`pod ${pods.find((pod) => annotation(pod) === 'unready')?.metadata.name}: `)
})

test('a pod that fits on no node says which resource is short, and a workload without pods why it has none', async () => {
  const containers = [{ name: 'app', image: 'x', resources: { requests: { cpu: '10k' } } }]
  const big = { metadata: { labels: { app: 'big' } }, spec: { containers } }
  const spec = { replicas: 1, progressDeadlineSeconds: 1, selector: { matchLabels: { app: 'big' } }, template: big }
  const object = { apiVersion: 'apps/v1', kind: 'Deployment', metadata: metadata('big'), spec }
  const deployment = await reaches(object, HealthState.DEGRADED)
  const unschedulable = async (): Promise<string | false> => {
    const text = await causeOf(deployment)
    return text.includes('Unschedulable') && text
  }
  expect(await waitFor('the scheduler', unschedulable)).toMatch(/Unschedulable: .*Insufficient cpu/)

  const quota = {
    apiVersion: 'v1',
    kind: 'ResourceQuota',
    metadata: { name: 'none', namespace: 'full' },
    spec: { hard: { pods: '0' } },
  }
  await apply({ apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'full' } })
  await apply(quota)
  const target = { name: 'db', namespace: 'full' }
  const set = {
    apiVersion: 'apps/v1',
    kind: 'StatefulSet',
    metadata: target,
    spec: { replicas: 1, serviceName: 'db', ...selects('db') },
  }
  const read = await apply(set)
  const refused = async (): Promise<string | false> => {
    const found = await read()
    const text = found ? await causeOf(found) : ''
    return text !== '' && text
  }
  expect(await waitFor('the refusal', refused, { timeoutMs: 30_000 })).toMatch(
    /^it has no pods; FailedCreate: .*exceeded quota: none/,
  )
})

test('every kind that the API server serves of its own, in every version, has a rule that somebody decided on', async () => {
  const { types } = await kube.servedTypes()
  // What cannot be read back (reviews, bindings, scale) is no object.
  const objects = types.filter(({ verbs, plural }) => verbs.includes('get') && !plural.includes('/'))
  expect(objects.length).toBeGreaterThan(60)
  expect(objects.filter((type) => !hasOwnRule(type)).map(({ group, kind }) => `${group}/${kind}`)).toEqual([])
})

test.each(['autoscaling/v2', 'autoscaling/v1'])(
  'an HPA of %s that cannot find its target is told as such',
  async (apiVersion) => {
    const scaleTargetRef = { apiVersion: 'apps/v1', kind: 'Deployment', name: 'nothing' }
    const hpa = {
      apiVersion,
      kind: 'HorizontalPodAutoscaler',
      metadata: metadata(apiVersion.replace('/', '-')),
      spec: { maxReplicas: 2, scaleTargetRef },
    }
    const read = await apply(hpa)
    const later = new Date(Date.now() + 3_600_000)
    const fails = async (see: (value: unknown) => void) => {
      const found = await read()
      const { health, message } = assessHealth(found, { now: later })
      see({ status: found?.status, message })
      return health === HealthState.DEGRADED && message
    }
    // Its controller looks every 15 s.
    const degraded = await waitFor('the HPA to fail', fails, { timeoutMs: 45_000 })
    expect(degraded).toContain('FailedGetScale')
  },
)

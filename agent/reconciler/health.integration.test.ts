// Health in reports, on a cluster with controllers: causes, logs, deadlines and an application's own rules.
import { createServer, type Server } from 'node:https'
import type { AddressInfo } from 'node:net'
import { type Cluster, startCluster } from '@fairlead/e2e/harness/cluster'
import { waitFor } from '@fairlead/e2e/harness/wait'
import { HealthState } from '@fairlead/proto/common'
import type { ApplicationReport } from '@fairlead/proto/report'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { createTestCa } from '../testbed/certificates.ts'
import { ReconcilerBed, type TestObject } from './reconciler-bed.ts'

let cluster: Cluster
/** Reads logs. */
let bed: ReconcilerBed
/** As installed: reads none. */
let plain: ReconcilerBed
let kubelet: Server
const asked: string[] = []
const BY_HAND = 'by-hand'

beforeAll(async () => {
  cluster = await startCluster({ name: 'health', full: true, ourApps: [BY_HAND] })
  for (const name of ['with-logs', 'plain']) {
    await cluster.admin.create({ apiVersion: 'v1', kind: 'Namespace', metadata: { name } })
  }
  bed = await ReconcilerBed.start({ cluster, namespace: 'with-logs' }, { podLogs: true })
  plain = await ReconcilerBed.start({ cluster, namespace: 'plain' })
}, 180_000)
afterAll(async () => {
  await bed?.stop()
  await plain?.stop()
  await cluster?.stop()
  kubelet?.close()
})

const deployment = (
  name: string,
  behaviour: string | undefined,
  spec: object = {},
  podSpec: object = {},
): TestObject => ({
  apiVersion: 'apps/v1',
  kind: 'Deployment',
  metadata: { name },
  spec: {
    replicas: 1,
    ...spec,
    selector: { matchLabels: { app: name } },
    template: {
      metadata: {
        labels: { app: name, ...(behaviour === BY_HAND ? { 'app.kubernetes.io/name': BY_HAND } : {}) },
        annotations: behaviour === undefined ? {} : { 'harness.fairlead.dev/behaviour': behaviour },
      },
      spec: { ...podSpec, containers: [{ name: 'app', image: 'example.com/app:1' }] },
    },
  },
})
const statusOf = (report: ApplicationReport, kind: string) =>
  report.unhealthy.find(({ object }) => object?.kind === kind)
const degraded =
  (words: RegExp, kind = 'Deployment') =>
  (report: ApplicationReport) => {
    const status = statusOf(report, kind)
    return status?.health === HealthState.DEGRADED && words.test(status.message)
  }

test('a crash-looping Deployment is reported with its pod, container and reason', { timeout: 60_000 }, async () => {
  plain.update({ crash: { objects: [deployment('crash', 'crash', { progressDeadlineSeconds: 1 })] } })
  const words = /ProgressDeadlineExceeded.*; pod crash-[a-z0-9]+-[a-z0-9]+: app: CrashLoopBackOff: back-off 40s/
  const report = await plain.reported('crash', 'with its cause', degraded(words), 45_000)
  expect(report.health).toBe(HealthState.DEGRADED)
  expect(statusOf(report, 'Deployment')?.logLines).toEqual([])
  // Nobody asked for logs.
  expect(plain.requests().filter(({ subresource }) => subresource === 'log')).toEqual([])
  plain.update({ crash: { objects: [deployment('crash', undefined, { progressDeadlineSeconds: 60 })] } })
  const healthy = await plain.synced('crash', { healthy: true, timeoutMs: 45_000 })
  expect(healthy.unhealthy).toEqual([])
})

test('a Deployment that has made no step for a while says which pod it waits for, long before its deadline', {
  timeout: 60_000,
}, async () => {
  plain.update({ stuck: { objects: [deployment('stuck', 'crash')] } })
  const waits = (report: ApplicationReport): boolean => {
    const status = statusOf(report, 'Deployment')
    return (
      status?.health === HealthState.PROGRESSING && /pod stuck-[a-z0-9-]+: app: CrashLoopBackOff/.test(status.message)
    )
  }
  await plain.reported('stuck', 'with its cause', waits, 45_000)
  plain.update({ stuck: { tombstone: 'prune' } })
  await waitFor('the confirmation', () => plain.removed.includes('stuck'))
})

test('where a log cannot be had, the cause is reported without', { timeout: 60_000 }, async () => {
  bed.update({ nolog: { objects: [deployment('nolog', 'crash', { progressDeadlineSeconds: 1 })] } })
  const report = await bed.reported('nolog', 'with its cause', degraded(/pod nolog-.*CrashLoopBackOff/), 45_000)
  expect(statusOf(report, 'Deployment')?.logLines).toEqual([])
  // kwok's node answers no logs: the API server said so.
  const logs = bed.requests().filter(({ name, subresource }) => subresource === 'log' && name.startsWith('nolog-'))
  expect(logs.length).toBeGreaterThan(0)
})

/** A node whose kubelet answers one thing: the logs that the API server asks it for. */
const startLogNode = async (lines: string): Promise<void> => {
  const { certificatePem: cert, keyPem: key } = createTestCa().issue(['127.0.0.1'])
  kubelet = createServer({ cert, key }, (request, response) => {
    asked.push(request.url ?? '')
    response.setHeader('content-type', 'text/plain')
    response.end(lines)
  })
  await new Promise<void>((resolve) => kubelet.listen(0, '127.0.0.1', resolve))
  const { port } = kubelet.address() as AddressInfo
  const node = { apiVersion: 'v1', kind: 'Node', metadata: { name: 'logs' } }
  await cluster.admin.create(node)
  // kwok takes every node on, and writes its own address once.
  await waitFor('the node to be ready', async () =>
    JSON.stringify((await cluster.admin.get(node)).status ?? {}).includes('"KubeletReady"'),
  )
  const status = {
    addresses: [{ type: 'InternalIP', address: '127.0.0.1' }],
    daemonEndpoints: { kubeletEndpoint: { Port: port } },
  }
  await cluster.admin.patch(node, { status }, { type: 'merge', subresource: 'status' })
}

test('with the permission, the last lines of the crashed run are reported, ten of them and clean', {
  timeout: 90_000,
}, async () => {
  const lines = Array.from({ length: 30 }, (_, index) => `line ${index}`)
  await startLogNode(`${lines.join('\n')}\n\x1b[31mfatal:\x1b[0m no configuration at /etc/app.yaml\n`)
  const objects = [deployment('logs', BY_HAND, { progressDeadlineSeconds: 1 }, { nodeName: 'logs' })]
  bed.update({ logs: { objects } })
  const list = async () =>
    await cluster.admin.list(
      { apiVersion: 'v1', kind: 'Pod', metadata: { name: '', namespace: 'with-logs' } },
      { labels: 'app=logs' },
    )
  const pod = await waitFor('the pod', async () => (await list())[0])
  const terminated = {
    exitCode: 1,
    reason: 'Error',
    startedAt: '2026-01-01T00:00:00Z',
    finishedAt: '2026-01-01T00:00:01Z',
  }
  const container = {
    ...{ name: 'app', image: 'x', imageID: 'x', ready: false, restartCount: 4 },
    state: { waiting: { reason: 'CrashLoopBackOff', message: 'back-off 40s' } },
    lastState: { terminated },
  }
  const status = { phase: 'Running', containerStatuses: [container] }
  await cluster.admin.patch(
    { ...pod, apiVersion: 'v1', kind: 'Pod' },
    { status },
    { type: 'merge', subresource: 'status' },
  )
  const holds = (report: ApplicationReport) => (statusOf(report, 'Deployment')?.logLines.length ?? 0) > 0
  const report = await bed.reported('logs', 'with log lines', holds, 60_000)
  const { logLines = [], message } = statusOf(report, 'Deployment') ?? {}
  expect(message).toMatch(/pod logs-.*: app: CrashLoopBackOff/)
  expect(logLines).toHaveLength(10)
  expect(logLines.at(-1)).toBe('fatal: no configuration at /etc/app.yaml')
  expect(logLines[0]).toBe('line 21')
  expect(asked[0]).toMatch(/^\/containerLogs\/with-logs\/logs-[a-z0-9-]+\/app\?/)
  expect(asked[0]).toContain('tailLines=10')
  expect(asked[0]).toContain('previous=true')
})

test('an object that is Progressing past the deadline is Degraded with the time and the reason, until a new revision', {
  timeout: 90_000,
}, async () => {
  const policy = { progressDeadline: { seconds: 3n } }
  const before = Date.now()
  plain.update({ slow: { objects: [deployment('slow', 'unready')], policy } })
  await plain.reported('slow', 'Progressing', ({ health }) => health === HealthState.PROGRESSING)
  const requests = plain.requests().length
  const report = await plain.reported('slow', 'Degraded', degraded(/longer than the progress deadline of 3s/), 20_000)
  expect(Date.now() - before).toBeGreaterThan(2_900)
  expect(statusOf(report, 'Deployment')?.message).toMatch(
    /^Progressing since 20\d\d-.*Z, longer than the progress deadline of 3s: 0 of 1 pods are available/,
  )
  // Nothing was asked while it waited, and now what is wrong with the pods.
  await plain.reported('slow', 'with its cause', degraded(/; pod slow-[a-z0-9-]+: /))
  const after = plain.requests().slice(requests)
  const seen = new Set(after.map(({ verb, resource }) => `${verb} ${resource}`))
  const allowed = ['get deployments', 'list pods', 'list replicasets', 'list events', 'create secrets', 'patch secrets']
  expect([...seen].filter((request) => !allowed.includes(request))).toEqual([])
  expect(after.filter(({ verb, resource }) => verb === 'get' && resource === 'deployments')).toHaveLength(1)

  // An agent that starts now knows it at once, from the object's own times.
  await plain.stop()
  plain = await ReconcilerBed.start({ cluster, namespace: 'plain' })
  const restarted = Date.now()
  plain.update({ slow: { objects: [deployment('slow', 'unready')], policy } })
  const again = await plain.reported('slow', 'Degraded again', degraded(/longer than the progress deadline/), 20_000)
  const [, since = ''] = /^Progressing since (\S+),/.exec(statusOf(again, 'Deployment')?.message ?? '') ?? []
  expect(Date.parse(since)).toBeLessThan(restarted)

  // A new revision has its own time; without a deadline it may take for ever.
  const config = { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'more' }, data: { a: '1' } }
  plain.update({ slow: { objects: [deployment('slow', 'unready'), config], policy } })
  expect(plain.report('slow')?.health).not.toBe(HealthState.DEGRADED)
  await plain.reported('slow', 'Degraded once more', degraded(/longer than the progress deadline/), 20_000)
  plain.update({ slow: { objects: [deployment('slow', 'unready'), config] } })
  await plain.reported('slow', 'Progressing again', ({ health }) => health === HealthState.PROGRESSING)
})

const crd = {
  apiVersion: 'apiextensions.k8s.io/v1',
  kind: 'CustomResourceDefinition',
  metadata: { name: 'widgets.example.com' },
  spec: {
    group: 'example.com',
    scope: 'Namespaced',
    names: { plural: 'widgets', kind: 'Widget' },
    versions: [
      {
        name: 'v1',
        served: true,
        storage: true,
        subresources: { status: {} },
        schema: { openAPIV3Schema: { type: 'object', 'x-kubernetes-preserve-unknown-fields': true } },
      },
    ],
  },
}

test("an application's rule decides, also over objects that are there already, and what it fails at is a problem", {
  timeout: 60_000,
}, async () => {
  const widget = { apiVersion: 'example.com/v1', kind: 'Widget', metadata: { name: 'w' }, spec: { size: 1 } }
  const entry = (healthRules: object[]) => ({ widgets: { objects: [crd, widget], policy: { healthRules } } })
  plain.update(entry([]))
  // Without status and rule, being there is all that can be told.
  await plain.synced('widgets', { healthy: true, timeoutMs: 30_000 })

  const rule = {
    group: 'example.com',
    kind: 'Widget',
    healthy: 'self.status.state == "up" && self.status.copies >= self.spec.size * 2',
    degraded: 'self.status.state == "broken"',
    message: '"state is " + self.status.state',
  }
  const setStatus = async (status: object): Promise<void> => {
    const target = { ...widget, metadata: { ...widget.metadata, namespace: 'plain' } }
    await cluster.admin.patch(target, { status }, { type: 'merge', subresource: 'status' })
  }
  const says = (health: HealthState, words: string) => (report: ApplicationReport) => {
    const status = statusOf(report, 'Widget')
    return status?.health === health && status.message.includes(words)
  }
  const before = plain.requests().length
  plain.update(entry([rule]))
  await plain.reported('widgets', 'Progressing', says(HealthState.PROGRESSING, 'not seen it yet'))
  expect(
    plain
      .requests()
      .slice(before)
      .filter(({ verb }) => verb !== 'get'),
  ).toEqual([])
  await setStatus({ state: 'broken' })
  await plain.reported('widgets', 'Degraded', says(HealthState.DEGRADED, 'state is broken'))
  await setStatus({ state: 'up', copies: 2 })
  await plain.synced('widgets', { healthy: true })

  plain.update(entry([{ ...rule, healthy: 'self.status.state > 1' }]))
  const failed = await plain.reported('widgets', 'with a problem', ({ problems }) => problems.length > 0)
  expect(failed.problems).toMatchObject([{ code: 'InvalidHealthRule', object: { kind: 'Widget', name: 'w' } }])
  expect(failed.problems[0]?.message).toMatch(
    /health rule for Widget.example.com cannot be used, healthy: no such overload/,
  )
  // It is judged by its conditions, of which it has none.
  expect(failed.health).toBe(HealthState.HEALTHY)
  plain.update(entry([]))
  await plain.reported('widgets', 'without a problem', ({ problems }) => problems.length === 0)
})

// Two agents side by side, installed by the chart: one works, the other takes over, and what is managed notices nothing.
import { ELECTION_TIMING } from '@fairlead/agent/leader/election'
import { ConnectionState } from '@fairlead/proto/common'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { writeVerbs } from '../harness/audit.ts'
import { parseExposition, sumOf } from '../harness/exposition.ts'
import { type Fleet, startFleet } from '../harness/fleet.ts'
import { agentNamespace, type FleetCluster } from '../harness/fleet-cluster.ts'
import { getField } from '../harness/kube-client.ts'
import type { PodProcess } from '../harness/pod-process.ts'
import { waitFor } from '../harness/wait.ts'
import { findDeployment } from './fleet-status.ts'
import { applicationDefinition, configMap, configMapReference, repositoryDefinition } from './manifests.ts'

let fleet: Fleet
let eu: FleetCluster
const lease = {
  apiVersion: 'coordination.k8s.io/v1',
  kind: 'Lease',
  metadata: { namespace: agentNamespace, name: 'fairlead-agent' },
}
const objects = 50
const names = Array.from({ length: objects }, (_, index) => `web-${index}`)

beforeAll(async () => {
  fleet = await startFleet()
  const shop = fleet.git.createRepository('shop')
  shop.commit({ 'web/all.yaml': names.map((name) => `---\n${configMap(name, { a: '1' })}`).join('') })
  eu = await fleet.addCluster('eu', { full: true, agentValues: ['replicas=2'], agentPods: 2 })
  await fleet.apply(
    repositoryDefinition('shop', shop.url) + applicationDefinition('web', { repository: 'shop', namespace: 'default' }),
  )
  const commit = shop.head()
  await fleet.waitForStatus('web', (status) => findDeployment(status, 'web', 'eu')?.live?.commit === commit)
})
afterAll(async () => {
  await fleet?.[Symbol.asyncDispose]()
})

async function holder(): Promise<string> {
  return String(getField(await eu.cluster.admin.get(lease), 'spec.holderIdentity') ?? '')
}

/** The pod that leads and the one that stands by. */
async function roles(): Promise<{ leader: PodProcess; standby: PodProcess }> {
  const name = (await holder()).split('_')[0]
  const leader = eu.kubelet.pods.find(({ pod }) => pod.metadata.name === name)
  const standby = eu.kubelet.pods.find(({ pod }) => pod.metadata.name !== name)
  if (!leader || !standby) throw new Error(`nobody or everybody leads: ${name}`)
  return { leader, standby }
}

async function ask(pod: PodProcess, endpoint: string): Promise<string> {
  const response = await fetch(`http://127.0.0.1:${pod.findPort('http')}${endpoint}`)
  return await response.text()
}

async function readiness(pod: PodProcess): Promise<Record<string, unknown>> {
  return JSON.parse(await ask(pod, '/readyz')) as Record<string, unknown>
}

async function leads(pod: PodProcess, timeoutMs: number): Promise<void> {
  await waitFor(
    `${pod.pod.metadata.name} to lead and to know what it owns`,
    async (see) => {
      const said = await readiness(pod)
      see(said)
      return said.role === 'leader' && said.ready === true
    },
    { timeoutMs, intervalMs: 5, logs: [eu.kubelet] },
  )
}

/** Writes of either agent, but for its own Lease and for Events about what it did before. */
const writes = (since: number) =>
  eu.agentRequests({ verbs: writeVerbs, since }).filter(({ resource }) => !['leases', 'events'].includes(resource))

/** Edits an object as kubectl does, and waits until it is put back. */
async function editAndAwaitRepair(name: string): Promise<void> {
  const reference = configMapReference(name)
  await eu.cluster.admin.patch(reference, { data: { a: 'edited' } }, { type: 'merge', fieldManager: 'kubectl-edit' })
  await waitFor(
    `${name} to be put back`,
    async () => getField(await eu.cluster.admin.get(reference), 'data.a') === '1',
    {
      timeoutMs: 30_000,
      intervalMs: 5,
      logs: [eu.kubelet],
    },
  )
}

test('both are ready, one works, and the other has no connection to NATS', async () => {
  const { leader, standby } = await roles()
  expect(await readiness(leader)).toMatchObject({ ready: true, role: 'leader', connected: true })
  expect(await readiness(standby)).toMatchObject({ ready: true, role: 'standby', leader: await holder() })
  const [works, waits] = [await ask(leader, '/metrics'), await ask(standby, '/metrics')].map(parseExposition)
  if (!works || !waits) throw new Error('no metrics')
  expect(sumOf(works, 'fairlead_agent_leader')).toBe(1)
  expect(sumOf(works, 'fairlead_agent_nats_connected')).toBe(1)
  expect(sumOf(works, 'fairlead_agent_objects')).toBe(objects)
  expect(sumOf(waits, 'fairlead_agent_leader')).toBe(0)
  expect(sumOf(waits, 'fairlead_agent_nats_connected')).toBe(0)
  expect(sumOf(waits, 'fairlead_agent_api_requests_total', { verb: 'patch' })).toBe(0)
})

test('told to end, the leader hands over before its lease is over, without a write to anything that is managed', async () => {
  const { leader, standby } = await roles()
  const since = Date.now()
  leader.process?.signal('SIGTERM')
  await leads(standby, ELECTION_TIMING.leaseMs - ELECTION_TIMING.renewMs)
  // What the new leader watches it also repairs.
  await editAndAwaitRepair('web-0')
  const written = writes(since).filter(({ namespace }) => namespace !== agentNamespace)
  expect(new Set(written.map(({ name }) => name))).toEqual(new Set(['web-0']))
  await eu.kubelet.waitUntilReady({ pods: 2 })
  expect((await roles()).leader).toBe(standby)
  await fleet.waitForStatus('the cluster to be online', ({ clusters }) =>
    clusters.every(({ connection }) => connection === ConnectionState.ONLINE),
  )
})

test('a leader that is frozen is replaced, and when it goes on it writes nothing and stands by', async () => {
  const { leader, standby } = await roles()
  leader.process?.pause()
  try {
    await editAndAwaitRepair('web-1')
    await leads(standby, 10_000)
    // What it would repair, had it not been replaced: the event is in its socket when it goes on.
    await editAndAwaitRepair('web-2')
  } finally {
    leader.process?.resume()
  }
  const since = Date.now()
  await waitFor('the old leader to stand by', async () => (await readiness(leader)).role === 'standby', {
    logs: [eu.kubelet],
  })
  expect(writes(since)).toEqual([])
  expect(await holder()).toContain(standby.pod.metadata.name)
  expect(leader.process?.tail(1_000)).toContain('no longer leading')
  expect(leader.restartCount + standby.restartCount).toBeLessThanOrEqual(1)
  await editAndAwaitRepair('web-3')
})

test('an upgrade replaces both without a write to anything that is managed', async () => {
  const before = new Set(eu.kubelet.pods.map(({ pod }) => pod.metadata.name))
  const since = Date.now()
  await eu.install(
    ['replicas=2', 'podAnnotations.upgraded=yes'],
    eu.installCommand.replace('helm install', 'helm upgrade'),
  )
  await waitFor(
    'two new pods',
    () =>
      eu.kubelet.pods.length === 2 &&
      eu.kubelet.pods.every(({ pod, ready }) => ready && !before.has(pod.metadata.name)),
    { timeoutMs: 60_000, logs: [eu.kubelet] },
  )
  const { leader } = await roles()
  await leads(leader, 20_000)
  expect(writes(since).filter(({ namespace }) => namespace !== agentNamespace)).toEqual([])
  await editAndAwaitRepair('web-4')
})

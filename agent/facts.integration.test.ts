// What is told of a real API server, and when it is told anew.
import { type Cluster, startCluster } from '@fairlead/e2e/harness/cluster'
import { waitFor } from '@fairlead/e2e/harness/wait'
import { silentLogger } from '@fairlead/shared/logger'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { ClusterFacts } from './facts.ts'
import { kubeconfigAccess } from './kube/access.ts'
import { createKube, type Kube } from './kube/kube.ts'

let cluster: Cluster
let kube: Kube

beforeAll(async () => {
  cluster = await startCluster({ name: 'facts' })
  const access = await kubeconfigAccess(cluster.kubeconfigPath)
  kube = createKube({ access, userAgent: 'fairlead-agent/test', logger: silentLogger })
})
afterAll(async () => {
  await kube?.close()
  await cluster?.stop()
})

const crd = (plural: string, kind: string) => ({
  apiVersion: 'apiextensions.k8s.io/v1',
  kind: 'CustomResourceDefinition',
  metadata: { name: `${plural}.facts.example.com` },
  spec: {
    group: 'facts.example.com',
    names: { plural, kind },
    scope: 'Namespaced',
    versions: [{ name: 'v1', served: true, storage: true, schema: { openAPIV3Schema: { type: 'object' } } }],
  },
})

/** Facts that are kept true meanwhile; `told` grows with each change. */
async function follow(intervalMs: number, use: (facts: ClusterFacts, told: () => number) => Promise<void>) {
  const ended = new AbortController()
  let told = 0
  const onChange = (): void => void told++
  const facts = new ClusterFacts({ kube, isLimited: false, logger: silentLogger, onChange, intervalMs })
  const running = facts.run(ended.signal)
  try {
    await waitFor('the first facts', () => told === 1)
    await use(facts, () => told)
  } finally {
    ended.abort()
    await running
  }
}
const kindsOf = (facts: ClusterFacts, apiVersion: string) =>
  facts.current.served.find((each) => each.apiVersion === apiVersion)?.kinds

test('versions, the uid and all kinds in all versions are read', async () => {
  await follow(600_000, async (facts) => {
    const { kubernetesVersion, clusterUid, served } = await Promise.resolve(facts.current)
    expect(kubernetesVersion).toMatch(/^v1\.\d+\.\d+/)
    expect(clusterUid).toMatch(/^[0-9a-f-]{36}$/)
    expect(kindsOf(facts, 'v1')).toEqual(expect.arrayContaining(['ConfigMap', 'Pod', 'Secret']))
    expect(kindsOf(facts, 'autoscaling/v2')).toEqual(['HorizontalPodAutoscaler'])
    expect(kindsOf(facts, 'autoscaling/v1')).toContain('HorizontalPodAutoscaler')
    const versions = served.map(({ apiVersion }) => apiVersion)
    expect(versions).toEqual([...versions].sort())
  })
})

test('kinds that come are told as soon as somebody says that they may have, and once', async () => {
  await follow(600_000, async (facts, told) => {
    await cluster.admin.apply(crd('gadgets', 'Gadget'))
    facts.kindsChanged()
    await waitFor('the kind', () => kindsOf(facts, 'facts.example.com/v1')?.includes('Gadget') ?? false)
    facts.kindsChanged()
    await facts.read(AbortSignal.timeout(10_000))
    expect(told()).toBe(2)
  })
})

test('a kind that comes while another one is being looked at is told too', async () => {
  await follow(600_000, async (facts) => {
    const isServed = (kind: string): boolean => kindsOf(facts, 'facts.example.com/v1')?.includes(kind) ?? false
    await cluster.admin.apply(crd('cogs', 'Cog'))
    facts.kindsChanged()
    await waitFor('the first', () => isServed('Cog'), { intervalMs: 1 })
    facts.kindsChanged()
    await cluster.admin.apply(crd('wheels', 'Wheel'))
    facts.kindsChanged()
    await waitFor('the second', () => isServed('Wheel'))
  })
})

test('kinds that others bring and take are found by themselves, now and then', async () => {
  await follow(200, async (facts, told) => {
    await cluster.admin.apply(crd('widgets', 'Widget'))
    await waitFor('the kind', () => kindsOf(facts, 'facts.example.com/v1')?.includes('Widget') ?? false)
    await cluster.admin.delete(crd('widgets', 'Widget'))
    await waitFor('it to go', () => !kindsOf(facts, 'facts.example.com/v1')?.includes('Widget'))
    expect(told()).toBeGreaterThanOrEqual(3)
  })
})

test('what cannot be read stays as it was', async () => {
  const facts = new ClusterFacts({ kube, isLimited: true, logger: silentLogger, onChange: () => undefined })
  const read = await facts.read(AbortSignal.timeout(10_000))
  expect(read.clusterUid).toBe('')
  expect(await facts.read(AbortSignal.abort())).toEqual(read)
})

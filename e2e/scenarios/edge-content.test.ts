// Content at the edges of YAML, JSON and Kubernetes, from a commit to the cluster: what kubectl would have made of it.

import { SyncState } from '@fairlead/proto/common'
import type { FleetStatus } from '@fairlead/proto/fleet'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { makeEdgeFiles } from '../generators/edge-content.ts'
import { type Fleet, startFleet } from '../harness/fleet.ts'
import type { FleetCluster } from '../harness/fleet-cluster.ts'
import type { GitRepository } from '../harness/git-server.ts'
import type { KubeReference } from '../harness/kube-client.ts'
import { waitFor } from '../harness/wait.ts'
import { driftsOf, findDeployment, problemsOf } from './fleet-status.ts'
import { applicationDefinition, configMapReference, repositoryDefinition } from './manifests.ts'

let fleet: Fleet
let eu: FleetCluster
let shop: GitRepository
const files = makeEdgeFiles()
const objects = files.flatMap((file) => file.objects)

beforeAll(async () => {
  fleet = await startFleet()
  shop = fleet.git.createRepository('shop')
  shop.commit(Object.fromEntries(files.map(({ name, yaml }) => [`web/${name}`, yaml])))
  eu = await fleet.addCluster('eu')
  await fleet.apply(
    repositoryDefinition('shop', shop.url) + applicationDefinition('web', { repository: 'shop', namespace: 'default' }),
  )
  await fleet.waitForStatus('web to be applied', isApplied)
})

afterAll(async () => {
  await fleet?.[Symbol.asyncDispose]()
})

/** No controllers run here: nothing rolls out. */
function isApplied(status: FleetStatus): boolean {
  const deployment = findDeployment(status, 'web', 'eu')
  return deployment?.live?.commit === shop.head() && deployment.sync === SyncState.SYNCED
}

const referenceOf = ({ apiVersion, kind, name }: (typeof objects)[number]): KubeReference => ({
  apiVersion,
  kind,
  metadata: { name, ...(kind === 'CustomResourceDefinition' ? {} : { namespace: 'default' }) },
})

function at(value: unknown, path: readonly (string | number)[]): unknown {
  return path.reduce<unknown>(
    (inner, key) =>
      typeof inner === 'object' && inner !== null && Object.hasOwn(inner, key)
        ? (inner as Record<string | number, unknown>)[key]
        : undefined,
    value,
  )
}

test.each(objects.map((object) => [`${object.kind} ${object.name}`, object] as const))(
  '%s is in the cluster as Git has it',
  async (_name, object) => {
    const live = await eu.cluster.admin.get(referenceOf(object))
    for (const [path, value] of object.fields) expect([path.join('.'), at(live, path)]).toEqual([path.join('.'), value])
  },
)

test('integers beyond 2^53 have all their digits', async () => {
  const path = await eu.cluster.admin.path({
    apiVersion: 'edges.example.com/v1',
    kind: 'Edge',
    metadata: { name: 'numbers', namespace: 'default' },
  })
  const text = await eu.cluster.admin.requestText('GET', path)
  expect(text).toContain('"beyond":9007199254740993')
  expect(text).toContain('"largest":9223372036854775807')
  expect(text).toContain('"smallest":-9223372036854775808')
})

test('none of it is taken for drift, also by an agent that is started again', async () => {
  const versions = async (): Promise<unknown[]> =>
    await Promise.all(
      objects
        .filter(({ kind }) => kind === 'ConfigMap' || kind === 'Edge')
        .map(async (object) => (await eu.cluster.admin.get(referenceOf(object))).metadata.resourceVersion),
    )
  const before = await versions()
  await eu.kubelet.kill()
  await eu.kubelet.waitUntilReady()
  const status = await fleet.waitForStatus('web to be applied', isApplied)
  expect([problemsOf(status, 'web'), driftsOf(status, 'web', 'eu')]).toEqual([[], []])
  expect(findDeployment(status, 'web', 'eu')?.report?.objects).toBe(objects.length)
  expect(await versions()).toEqual(before)
})

test('all of it is healed from what is kept, with hub and NATS away', async () => {
  await fleet.stopHub()
  for (const object of objects.filter(({ kind }) => kind === 'ConfigMap'))
    await eu.cluster.admin.delete(referenceOf(object))
  await eu.kubelet.kill()
  for (const object of objects.filter(({ kind }) => kind === 'ConfigMap')) {
    await waitFor(
      `${object.name} to be back`,
      async () => await eu.cluster.admin.find(configMapReference(object.name)),
      {
        timeoutMs: 30_000,
      },
    )
    const live = await eu.cluster.admin.get(referenceOf(object))
    for (const [path, value] of object.fields) expect(at(live, path)).toEqual(value)
  }
})

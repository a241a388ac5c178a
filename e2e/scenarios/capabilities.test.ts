// Charts that look at the cluster they are for: what each cluster's agent reports, where the application asks for it.
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type Fleet, startFleet } from '../harness/fleet.ts'
import type { GitRepository } from '../harness/git-server.ts'
import { getField } from '../harness/kube-client.ts'
import { waitFor } from '../harness/wait.ts'
import { runs } from './fleet-status.ts'
import { applicationDefinition, configMapReference, namespace, repositoryDefinition } from './manifests.ts'

let fleet: Fleet
let shop: GitRepository

const chart = {
  'web/Chart.yaml': 'apiVersion: v2\nname: web\nversion: 1.0.0\n',
  'web/templates/namespace.yaml': namespace('web'),
  'web/templates/a.yaml': `apiVersion: v1
kind: ConfigMap
metadata: {name: web}
data:
  kubernetes: "{{ .Capabilities.KubeVersion }}"
  monitored: "{{ .Capabilities.APIVersions.Has "monitoring.example.com/v1/ServiceMonitor" }}"
  builtIn: "{{ .Capabilities.APIVersions.Has "apps/v1/Deployment" }}"
`,
}
const crd = JSON.stringify({
  apiVersion: 'apiextensions.k8s.io/v1',
  kind: 'CustomResourceDefinition',
  metadata: { name: 'servicemonitors.monitoring.example.com' },
  spec: {
    group: 'monitoring.example.com',
    names: { plural: 'servicemonitors', kind: 'ServiceMonitor' },
    scope: 'Namespaced',
    versions: [{ name: 'v1', served: true, storage: true, schema: { openAPIV3Schema: { type: 'object' } } }],
  },
})
const web = (helm: object) => applicationDefinition('web', { repository: 'shop', render: { helm } })

async function dataOn(name: string): Promise<Record<string, string>> {
  const found = await fleet.getCluster(name).cluster.admin.get(configMapReference('web', 'web'))
  return getField(found, 'data') as Record<string, string>
}
/** The version that a cluster's agent reports. */
async function versionOf(name: string): Promise<string> {
  const { clusters } = await fleet.status()
  return clusters.find((cluster) => cluster.name === name)?.facts?.kubernetesVersion ?? ''
}

beforeAll(async () => {
  fleet = await startFleet()
  shop = fleet.git.createRepository('shop')
  shop.commit({ ...chart, 'monitoring/crd.yaml': crd })
  await Promise.all(['one', 'two'].map((name) => fleet.addCluster(name)))
}, 300_000)
afterAll(async () => {
  await fleet?.[Symbol.asyncDispose]()
})

test('a chart sees the Kubernetes version and the kinds of the cluster that it is for', async () => {
  await fleet.apply(repositoryDefinition('shop', shop.url) + web({ capabilities: 'cluster', kubeVersion: 'v1.2.3' }))
  await fleet.waitForStatus('web to run', (status) =>
    ['one', 'two'].every((name) => runs(status, 'web', name, shop.head())),
  )
  const expected = { kubernetes: await versionOf('one'), monitored: 'false', builtIn: 'true' }
  expect(expected.kubernetes).toMatch(/^v1\.\d+\.\d+/)
  expect(await dataOn('one')).toEqual(expected)
  expect(await dataOn('two')).toEqual(expected)
})

test('a kind that comes to one cluster has the chart rendered anew for that one, and no commit is needed', async () => {
  await fleet.apply(applicationDefinition('monitoring', { repository: 'shop', names: ['one'] }))
  await waitFor('the chart to see the kind', async () => (await dataOn('one')).monitored === 'true')
  expect((await dataOn('two')).monitored).toBe('false')
  const explained = await fleet.cli('render', 'web', '--cluster', 'one', '--explain')
  expect(explained).toMatch(/^cluster: +Kubernetes v1\.\S+ with \d+ API versions and kinds, as it reports$/m)
  const seen = JSON.parse(await fleet.cli('render', 'web', '--cluster', 'two', '-o', 'json'))
  expect(seen.capabilities.apiVersions).toContain('apps/v1/Deployment')
  expect(seen.capabilities.apiVersions).not.toContain('monitoring.example.com/v1')
})

test('clusters that differ only so can be compared, and a working copy is rendered for what the cluster reports', async () => {
  const clusters = await fleet.run('diff', 'web', '-c', 'one', '-c', 'two')
  expect(clusters.code).toBe(9)
  expect(clusters.stdout).toMatch(/^- {2}monitored: 'true'\n\+ {2}monitored: 'false'$/m)
  for (const name of ['one', 'two']) {
    const copy = await fleet.run('diff', 'web', '-c', name, '--local', shop.workTree)
    expect(copy).toMatchObject({ code: 0, stdout: '', stderr: '' })
  }
})

test('without asking for it, every cluster gets the same', async () => {
  await fleet.apply(web({ kubeVersion: 'v1.2.3' }))
  const expected = { kubernetes: 'v1.2.3', monitored: 'false', builtIn: 'true' }
  await waitFor('the same everywhere', async () => {
    const seen = [await dataOn('one'), await dataOn('two')]
    return seen.every((data) => JSON.stringify(data) === JSON.stringify({ ...data, ...expected }))
  })
  const seen = JSON.parse(await fleet.cli('render', 'web', '--cluster', 'one', '-o', 'json'))
  expect(seen).not.toHaveProperty('capabilities')
})

// What charts are told that Kubernetes serves is what a real API server of that version serves.
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type Cluster, startCluster } from '../../../e2e/harness/cluster.ts'
import { getField } from '../../../e2e/harness/kube-client.ts'
import { DEFAULT_KUBE_VERSION, SERVED_KINDS } from './kubernetes-apis.ts'

let cluster: Cluster
beforeAll(async () => {
  cluster = await startCluster({ name: 'apis' })
})
afterAll(() => cluster?.stop())

async function readVersion(): Promise<string> {
  const { gitVersion } = JSON.parse(await cluster.admin.requestText('GET', '/version')) as { gitVersion: string }
  return gitVersion.split('.').slice(0, 2).join('.')
}

/** For each group version its kinds, by the discovery of the API server. */
async function readServedKinds(): Promise<Record<string, string>> {
  const groups = JSON.parse(await cluster.admin.requestText('GET', '/apis')) as {
    groups: { versions: { groupVersion: string }[] }[]
  }
  const versions = ['v1', ...groups.groups.flatMap((group) => group.versions.map((version) => version.groupVersion))]
  const served: Record<string, string> = {}
  for (const version of versions.sort()) {
    const list = await cluster.admin.request('GET', version === 'v1' ? '/api/v1' : `/apis/${version}`)
    const resources = getField(list, 'resources') as { name: string; kind: string }[]
    const kinds = resources.filter(({ name }) => !name.includes('/')).map(({ kind }) => kind)
    served[version] = [...new Set(kinds)].sort().join(' ')
  }
  return served
}

test('the default Kubernetes version has exactly the kinds that its API server serves', async () => {
  const version = await readVersion()
  const served = await readServedKinds()
  // On an older Kubernetes (npm run test:versions) there is nothing to compare with.
  if (version !== DEFAULT_KUBE_VERSION.split('.').slice(0, 2).join('.')) return
  expect(SERVED_KINDS).toEqual(served)
})

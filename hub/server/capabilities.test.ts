import { create, type MessageInitShape } from '@bufbuild/protobuf'
import { AgentFactsSchema } from '@fairlead/proto/report'
import { expect, test } from 'vitest'
import { readCapabilities } from './capabilities.ts'

type Served = MessageInitShape<typeof AgentFactsSchema>['served']
const read = (served: Served, kubernetesVersion = 'v1.36.3') =>
  readCapabilities(create(AgentFactsSchema, { kubernetesVersion, ...(served && { served }) }))

test('what is served is listed as charts ask for it, and equal whatever its order', () => {
  const apps = { apiVersion: 'apps/v1', kinds: ['Deployment', 'DaemonSet'] }
  const core = { apiVersion: 'v1', kinds: ['Pod'] }
  const found = read([apps, core])
  expect(JSON.parse(found?.content ?? '')).toEqual({
    kubeVersion: 'v1.36.3',
    apiVersions: ['apps/v1', 'apps/v1/DaemonSet', 'apps/v1/Deployment', 'v1', 'v1/Pod'],
  })
  expect(read([core, { ...apps, kinds: ['DaemonSet', 'Deployment', 'Deployment'] }])).toEqual(found)
  expect(read([apps, core], 'v1.36.4')?.digest).not.toBe(found?.digest)
  expect(read([apps])?.digest).not.toBe(found?.digest)
})

test('what has not the form of an API version or a kind is left out, and the rest counts', () => {
  const odd = ['a b', 'a/b', '{{ fail }}', '1Pod', '']
  const found = read([
    { apiVersion: 'v1', kinds: ['Pod', ...odd] },
    { apiVersion: '{{ fail }}/v1', kinds: ['Pod'] },
    { apiVersion: 'x.io/v1', kinds: ['My-Kind'] },
  ])
  expect(JSON.parse(found?.content ?? '').apiVersions).toEqual(['v1', 'v1/Pod', 'x.io/v1', 'x.io/v1/My-Kind'])
})

test.each(['v1.35.2+k3s1', 'v1.34.4-gke.100', 'v1.33.0-eks-5ca49cb'])('the version %s is believed', (version) => {
  expect(read([{ apiVersion: 'v1', kinds: ['Pod'] }], version)).toBeDefined()
})

test.each<[string, Served, string?]>([
  ['nothing, as agents do that could not read it', []],
  ['no version', [{ apiVersion: 'v1', kinds: [] }], ''],
  ['no version of Kubernetes', [{ apiVersion: 'v1', kinds: [] }], 'latest'],
  ['a version without end', [{ apiVersion: 'v1', kinds: [] }], `v1.36.3-${'x'.repeat(200)}`],
  ['only an API version with a template in it', [{ apiVersion: '{{ fail }}/v1', kinds: ['Kind'] }]],
  [
    'more than any API server serves',
    Array.from({ length: 2_000 }, (_, index) => ({ apiVersion: `${'g'.repeat(100)}${index}.io/v1`, kinds: ['Kind'] })),
  ],
])('an agent that says %s is not believed', (_what, served, version) => {
  expect(read(served, version)).toBeUndefined()
})

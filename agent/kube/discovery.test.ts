// What is made of the API server's answers about what it serves.
import { expect, test } from 'vitest'
import { Discovery } from './discovery.ts'
import type { KubeResponse } from './kube.ts'

const verbs = ['delete', 'list']
const found = (kind: string, resource: string) => ({ resource, responseKind: { kind }, scope: 'Namespaced', verbs })
const discovering = (items: unknown, kind = 'APIGroupDiscoveryList') => {
  const answer = (body: unknown): KubeResponse => ({ status: 200, body, headers: {} })
  const core = { kind: 'APIGroupDiscoveryList', items: null }
  return new Discovery(async ({ path }) => await Promise.resolve(answer(path === '/api' ? core : { kind, items })))
}
const discover = async (...answer: Parameters<typeof discovering>) => await discovering(...answer).servedTypes()
const discoverKinds = async (items: unknown) => await discovering(items).servedKinds()

test('a kind is found in whatever version it is served, once, in the one that its group prefers', async () => {
  const versions = [
    { version: 'v1', resources: [found('Gateway', 'gateways')], freshness: 'Current' },
    { version: 'v1beta1', resources: [found('Gateway', 'gateways'), found('Grant', 'grants')] },
    { version: 'v1alpha2', resources: [found('Grant', 'grants'), found('TCPRoute', 'tcproutes')] },
  ]
  const { types, unread } = await discover([{ metadata: { name: 'gateway.example.com' }, versions }])
  expect(types.map(({ group, version, kind }) => `${group}/${version} ${kind}`)).toEqual([
    'gateway.example.com/v1 Gateway',
    'gateway.example.com/v1beta1 Grant',
    'gateway.example.com/v1alpha2 TCPRoute',
  ])
  expect(types[2]).toMatchObject({ plural: 'tcproutes', namespaced: true, verbs })
  expect(unread).toEqual([])
})

test('all kinds in all versions are listed, without those of sub-resources that bear no kind', async () => {
  const versions = [
    { version: 'v1', resources: [found('Gateway', 'gateways'), { resource: 'odd', scope: 'Cluster' }] },
    { version: 'v1beta1', resources: [found('Grant', 'grants'), found('Gateway', 'gateways')] },
    { version: 'v2', freshness: 'Stale' },
  ]
  const { kinds, unread } = await discoverKinds([{ metadata: { name: 'x.io' }, versions }])
  expect([...kinds]).toEqual([
    ['x.io/v1', ['Gateway']],
    ['x.io/v1beta1', ['Gateway', 'Grant']],
  ])
  expect(unread).toEqual(['x.io'])
})

test('a group that does not say what it serves is named', async () => {
  const { types, unread } = await discover([
    { metadata: { name: 'broken.example.com' }, versions: [{ version: 'v1', freshness: 'Stale' }] },
    {
      metadata: { name: 'slow.example.com' },
      versions: [{ version: 'v1', resources: [found('Slow', 'slows')], freshness: 'Stale' }],
    },
  ])
  expect(unread).toEqual(['broken.example.com'])
  expect(types.map(({ kind }) => kind)).toEqual(['Slow'])
})

test('an answer that is no list of what is served is an error, not an empty list', async () => {
  await expect(discover(undefined, 'APIGroupList')).rejects.toMatchObject({ code: 'ApiServerUnavailable' })
})

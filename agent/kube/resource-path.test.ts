// Paths, and what must not become one.
import { expect, test } from 'vitest'
import { collectionPath, groupVersionPath, objectPath } from './resource-path.ts'

const verbs = ['get']
const deployments = { group: 'apps', version: 'v1', kind: 'Deployment', plural: 'deployments', namespaced: true, verbs }
const namespaces = { group: '', version: 'v1', kind: 'Namespace', plural: 'namespaces', namespaced: false, verbs }

test('objects and collections have the paths that the API server serves', () => {
  expect(groupVersionPath('', 'v1')).toBe('/api/v1')
  expect(groupVersionPath('apps', 'v1')).toBe('/apis/apps/v1')
  expect(collectionPath(deployments)).toBe('/apis/apps/v1/deployments')
  expect(collectionPath(deployments, 'shop')).toBe('/apis/apps/v1/namespaces/shop/deployments')
  expect(objectPath(deployments, { name: 'web', namespace: 'shop' })).toBe(
    '/apis/apps/v1/namespaces/shop/deployments/web',
  )
  expect(objectPath(namespaces, { name: 'shop', namespace: 'ignored' })).toBe('/api/v1/namespaces/shop')
  expect(objectPath(namespaces, { name: 'system:a b?c#d' })).toBe('/api/v1/namespaces/system%3Aa%20b%3Fc%23d')
})

test.each(['', '.', '..', 'a/b', '../x', 'a%2fb', '%2e%2e'])('the name %j is refused', (name) => {
  expect(() => objectPath(namespaces, { name })).toThrow(expect.objectContaining({ code: 'InvalidManifest' }))
  expect(() => objectPath(deployments, { name: 'a', namespace: name })).toThrow()
  expect(() => groupVersionPath('g', name)).toThrow()
})

test('a namespaced kind without a namespace is refused, not written to all', () => {
  const noNamespace = expect.objectContaining({ code: 'InvalidNamespace' })
  expect(() => objectPath(deployments, { name: 'web' })).toThrow(noNamespace)
})

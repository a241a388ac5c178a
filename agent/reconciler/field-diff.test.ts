import type { KubernetesObject } from '@fairlead/shared/object-reference'
import { expect, test } from 'vitest'
import { diffFields } from './field-diff.ts'

const object = (more: object, metadata: object = {}): KubernetesObject =>
  ({ apiVersion: 'v1', kind: 'X', metadata: { name: 'x', ...metadata }, ...more }) as KubernetesObject

test.each<[string, KubernetesObject, KubernetesObject, string[]]>([
  ['equal ones', object({ spec: { a: 1 } }), object({ spec: { a: 1 } }), []],
  ['a value', object({ spec: { a: 1, b: 2 } }), object({ spec: { a: 2, b: 2 } }), ['spec.a']],
  ['a field that is only in one', object({ spec: { a: { b: 1 } } }), object({ spec: {} }), ['spec.a']],
  [
    'lists of named items, whatever their order',
    object({ spec: { containers: [{ name: 'a', image: '1' }, { name: 'b' }] } }),
    object({ spec: { containers: [{ name: 'b' }, { name: 'a', image: '2' }] } }),
    ['spec.containers[name=a].image'],
  ],
  ['other lists as a whole', object({ spec: { args: ['a'] } }), object({ spec: { args: ['a', 'b'] } }), ['spec.args']],
  ['keys that are no words', object({ data: { 'a.b/c': 'x' } }), object({ data: {} }), ['data[a.b/c]']],
  [
    'nothing that is written in any case',
    object({}, { resourceVersion: '1', generation: 1, labels: { 'app.kubernetes.io/managed-by': 'Helm' } }),
    object(
      {},
      { resourceVersion: '2', labels: { 'app.kubernetes.io/managed-by': 'fairlead', 'fairlead.dev/application': 'w' } },
    ),
    [],
  ],
  [
    'labels of others',
    object({}, { labels: { team: 'a' } }),
    object({}, { labels: { team: 'b' } }),
    ['metadata.labels.team'],
  ],
])('of %s', (_what, a, b, paths) => {
  expect(diffFields(a, b)).toEqual(paths)
  expect(diffFields(b, a)).toEqual(paths)
})

test('never holds a value', () => {
  const secret = (value: string) => object({ data: { password: value } })
  expect(diffFields(secret('aHVudGVyMg=='), secret('b3RoZXI='))).toEqual(['data.password'])
})

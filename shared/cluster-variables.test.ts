import { create } from '@bufbuild/protobuf'
import { SliceSchema } from '@fairlead/proto/slice'
import type { KubernetesObject } from '@fairlead/shared/object-reference'
import { expect, test } from 'vitest'
import { differIn, substitute, variablesOf } from './cluster-variables.ts'

const variables = variablesOf(
  create(SliceSchema, {
    clusterName: 'prod-eu-1',
    clusterLabels: { env: 'prod', 'topology.kubernetes.io/region': 'eu-west-1', empty: '' },
    clusterValues: { zone: 'example.com', loop: '${cluster.name}' },
  }),
)
const config = (data: Record<string, unknown>): KubernetesObject => ({
  apiVersion: 'v1',
  kind: 'ConfigMap',
  metadata: { name: 'c' },
  data,
})

test('texts get the values of the cluster, keys and everything else stay', () => {
  const { object, used, faults } = substitute(
    {
      ...config({ host: 'a.${cluster.values.zone}', '${cluster.name}': '${cluster.labels.empty}', n: 1, no: null }),
      spec: { list: ['x', '${cluster.labels.topology.kubernetes.io/region}', { deep: '${cluster.name}' }] },
    },
    { variables },
  )
  expect(object.data).toEqual({ host: 'a.example.com', '${cluster.name}': '', n: 1, no: null })
  expect(object.spec).toEqual({ list: ['x', 'eu-west-1', { deep: 'prod-eu-1' }] })
  expect([...used].sort()).toEqual([
    'cluster.labels.empty',
    'cluster.labels.topology.kubernetes.io/region',
    'cluster.name',
    'cluster.values.zone',
  ])
  expect(faults).toEqual([])
})

test('an object without variables is the same object', () => {
  const object = config({ script: 'echo ${HOME}', list: [1, { a: null }] })
  expect(substitute(object, { variables }).object).toBe(object)
})

test('a value that looks like a variable stays as it is', () => {
  expect(substitute(config({ a: '${cluster.values.loop}' }), { variables }).object.data).toEqual({
    a: '${cluster.name}',
  })
})

test('each unknown variable is named with its field, and never taken for an empty text', () => {
  const { faults, used } = substitute(
    config({ 'a.b': '${cluster.values.none}', list: ['', '${cluster.labels.none}'], bad: '${cluster.}' }),
    { variables },
  )
  expect(faults.map(({ field, message }) => `${field}: ${message.split(':')[0]}`)).toEqual([
    'data[a.b]: this cluster has no ${cluster.values.none}',
    'data.list[1]: this cluster has no ${cluster.labels.none}',
    'data.bad: ${cluster.} is no variable',
  ])
  expect([...used]).toEqual(['cluster.values.none', 'cluster.labels.none'])
})

test('numbers with more digits than a double has keep them', () => {
  const { rawJSON } = JSON as unknown as { rawJSON(text: string): unknown }
  const { object } = substitute(config({ big: rawJSON('9007199254740993'), name: '${cluster.name}' }), { variables })
  expect(JSON.stringify(object.data)).toBe('{"big":9007199254740993,"name":"prod-eu-1"}')
})

test('what is exempt is left alone', () => {
  const { object } = substitute(config({ secret: '${cluster.name}', plain: '${cluster.name}' }), {
    variables,
    isExempt: (path) => path.join('.') === 'data.secret',
  })
  expect(object.data).toEqual({ secret: '${cluster.name}', plain: 'prod-eu-1' })
})

test('what grows beyond the limit is refused', () => {
  const { faults } = substitute(config({ a: '${cluster.name}${cluster.name}' }), { variables, limit: 10 })
  expect(faults.map(({ field }) => field)).toEqual(['data.a'])
})

test('only variables that are used count as changed', () => {
  const other = new Map(variables).set('cluster.labels.env', 'test')
  expect(differIn(['cluster.name'], variables, other)).toBe(false)
  expect(differIn(['cluster.labels.env'], variables, other)).toBe(true)
  other.delete('cluster.values.zone')
  expect(differIn(['cluster.values.zone'], variables, other)).toBe(true)
  expect(differIn(['cluster.values.unknown'], variables, other)).toBe(false)
})

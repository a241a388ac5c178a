import { parseFieldPath } from '@fairlead/shared/field-path'
import { describe, expect, test } from 'vitest'
import { splitFields, splitOthersFields } from './field-selection.ts'
import { type FieldSet, listLeaves, unionFields } from './field-set.ts'
import { giveUpPatch } from './give-up.ts'
import { findPersonEntries } from './managed-fields.ts'

const web = 'k:{"name":"web"}'
const container = (item: FieldSet): FieldSet => ({
  'f:spec': { 'f:template': { 'f:spec': { 'f:containers': { [web]: item } } } },
})
const IMAGE = 'spec.template.spec.containers[name=web].image'

test.for<[string, FieldSet, FieldSet]>([
  ['spec.replicas', { 'f:spec': { 'f:replicas': {}, 'f:paused': {} } }, { 'f:spec': { 'f:replicas': {} } }],
  [IMAGE, container({ '.': {}, 'f:name': {}, 'f:image': {} }), container({ 'f:image': {} })],
  ['spec.template.spec.containers[*].image', container({ 'f:image': {}, 'f:args': {} }), container({ 'f:image': {} })],
  ['spec.template.spec.containers[name=api].image', container({ 'f:image': {} }), {}],
  ['data[*]', { 'f:data': { '.': {}, 'f:a': {}, 'f:b': {} } }, { 'f:data': { 'f:a': {}, 'f:b': {} } }],
  ['data', { 'f:data': { '.': {}, 'f:a': {} } }, { 'f:data': { '.': {}, 'f:a': {} } }],
  [
    'metadata.finalizers[a/b]',
    { 'f:metadata': { 'f:finalizers': { 'v:"a/b"': {}, 'v:"c"': {} } } },
    { 'f:metadata': { 'f:finalizers': { 'v:"a/b"': {} } } },
  ],
  [
    'spec.ports[port=80].nodePort',
    { 'f:spec': { 'f:ports': { 'k:{"port":80,"protocol":"TCP"}': { 'f:nodePort': {}, 'f:port': {} } } } },
    { 'f:spec': { 'f:ports': { 'k:{"port":80,"protocol":"TCP"}': { 'f:nodePort': {} } } } },
  ],
  ['data.0', { 'f:data': { 'f:0': {}, 'f:1': {} } }, { 'f:data': { 'f:0': {} } }],
  ['spec.replicas.deeper', { 'f:spec': { 'f:replicas': {} } }, {}],
])('%s selects exactly that', ([path, fields, selected]) => {
  const split = splitFields(fields, [parseFieldPath(path)])
  expect(split.selected).toEqual(selected)
  expect(unionFields(split.selected, split.rest)).toEqual(fields)
})

test('whatever is split, both halves together are the whole, and they share no field', () => {
  let seed = 3
  const random = (below: number): number => {
    seed = (seed * 1_103_515_245 + 12_345) % 2 ** 31
    return seed % below
  }
  const names = ['.', 'f:a', 'f:b', 'k:{"name":"x"}', 'v:"s"', 'i:1']
  const make = (depth: number): FieldSet =>
    depth === 0
      ? {}
      : Object.fromEntries(
          names.filter(() => random(2) === 0).map((name) => [name, name === '.' ? {} : make(depth - 1)]),
        )
  const steps = ['.a', '.b', '[*]', '[name=x]', '[1]', '[s]']
  for (let round = 0; round < 300; round++) {
    const fields: FieldSet = { 'f:spec': make(4) }
    const paths = Array.from({ length: 1 + random(3) }, () =>
      parseFieldPath(`spec${Array.from({ length: random(4) }, () => steps[random(steps.length)]).join('')}`),
    )
    for (const split of [splitFields, splitOthersFields]) {
      const { selected, rest } = split(fields, paths)
      expect(unionFields(selected, rest)).toEqual(fields)
      const leaves = [...listLeaves(selected), ...listLeaves(rest)].map((leaf) => leaf.join(' '))
      expect(new Set(leaves).size).toBe(leaves.length)
    }
  }
})

describe('of what a person owns', () => {
  const object = (fieldsV1: FieldSet) => ({
    apiVersion: 'v1',
    kind: 'X',
    metadata: { name: 'x', managedFields: [{ manager: 'kubectl-edit', operation: 'Update', fieldsV1 }] },
  })
  const takenOf = (fields: FieldSet, ...paths: string[]) =>
    findPersonEntries(object(fields) as never, undefined, paths.map(parseFieldPath))[0]?.taken

  test('only fields that are left to others is nothing to act upon, with the map that was made for them', () => {
    expect(takenOf({ 'f:data': { '.': {}, 'f:a': {} } }, 'data[*]')).toBeUndefined()
    expect(takenOf(container({ 'f:image': {} }), IMAGE)).toBeUndefined()
  })

  test('the rest is taken', () => {
    expect(takenOf({ 'f:data': { 'f:a': {} }, 'f:spec': { 'f:x': {} } }, 'data[*]')).toEqual({
      'f:spec': { 'f:x': {} },
    })
  })

  test('a container that was added is taken whole, although its image is left to others', () => {
    const added = container({ '.': {}, 'f:name': {}, 'f:image': {} })
    expect(takenOf(added, 'spec.template.spec.containers[*].image')).toEqual(added)
  })

  test('a container that may be added is not taken', () => {
    expect(takenOf(container({ '.': {}, 'f:name': {} }), 'spec.template.spec.containers[name=web]')).toBeUndefined()
  })
})

test('giving up takes the fields out of our entry alone, guarded by the version that was seen', () => {
  const ours = { manager: 'fairlead', operation: 'Apply', fieldsV1: { 'f:spec': { 'f:replicas': {}, 'f:paused': {} } } }
  const theirs = { manager: 'kubectl', operation: 'Update', fieldsV1: { 'f:spec': { 'f:replicas': {} } } }
  const object = {
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: { name: 'd', resourceVersion: '7', managedFields: [theirs, ours] },
  } as never
  expect(giveUpPatch(object, [parseFieldPath('spec.replicas')])).toEqual([
    { op: 'replace', path: '/metadata/resourceVersion', value: '7' },
    {
      op: 'replace',
      path: '/metadata/managedFields',
      value: [theirs, { ...ours, fieldsV1: { 'f:spec': { 'f:paused': {} } } }],
    },
  ])
  expect(giveUpPatch(object, [parseFieldPath('spec.template')])).toBeUndefined()
})

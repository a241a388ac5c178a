import { create, type MessageInitShape } from '@bufbuild/protobuf'
import { ApplicationSpecSchema } from '@fairlead/proto/definitions'
import { expect, test } from 'vitest'
import type { PlaceableCluster } from './placer/placer.ts'
import { BASE_VARIANT, findOverrides, VariantIndex, variantWith } from './variants.ts'

const define = (overrides: MessageInitShape<typeof ApplicationSpecSchema>['overrides'], placed: object = {}) =>
  create(ApplicationSpecSchema, {
    source: { repository: 'shop', path: 'web' },
    placement: { clusters: {}, ...placed },
    ...(overrides ? { overrides } : {}),
  })
const cluster = (name: string, labels: Record<string, string> = {}): PlaceableCluster => ({
  id: `id-${name}`,
  name,
  labels,
})
const fleet = (...clusters: PlaceableCluster[]) => new Map(clusters.map((each) => [each.id, each]))
const inRegion = (region: string) => ({ clusters: { matchLabels: { region } } })
const values = (json: Record<string, never> | object) => ({ helm: { values: json as Record<string, never> } })

const spec = define([
  { ...inRegion('eu'), ...values({ replicas: 3 }) },
  { names: ['eu-2'], path: 'web-big' },
  { clusters: {}, ...values({ size: 1 }) },
])

test('overrides count by labels and by name, in their order', () => {
  expect(findOverrides(spec, cluster('eu-1', { region: 'eu' }))).toEqual([0, 2])
  expect(findOverrides(spec, cluster('eu-2', { region: 'eu' }))).toEqual([0, 1, 2])
  expect(findOverrides(spec, cluster('us-1', { region: 'us' }))).toEqual([2])
})

test('a variant is what counts, without the choice of clusters: equal ones have one id, in another order another', () => {
  expect(variantWith(spec, [])).toBe(BASE_VARIANT)
  expect(variantWith(spec, [0, 1]).overrides).toEqual([{ helm: { values: { replicas: 3 } } }, { path: 'web-big' }])
  const other = define([
    { names: ['x'], path: 'web-big' },
    { names: ['y'], ...values({ replicas: 3 }) },
  ])
  expect(variantWith(other, [0]).id).toBe(variantWith(spec, [1]).id)
  expect(variantWith(other, [0, 1]).id).not.toBe(variantWith(spec, [0, 1]).id)
})

test('clusters with equal overrides need one variant; those that are not placed need none', () => {
  const index = new VariantIndex()
  const placed = define(spec.overrides, { clusters: { matchLabels: { region: 'eu' } } })
  const many = Array.from({ length: 1_000 }, (_, number) => cluster(`eu-${number + 10}`, { region: 'eu' }))
  const clusters = fleet(...many, cluster('eu-2', { region: 'eu' }), cluster('us-1', { region: 'us' }))
  expect(
    index
      .neededOf(placed, clusters)
      .map(({ indexes }) => indexes.join())
      .sort(),
  ).toEqual(['0,1,2', '0,2'])
  expect(index.neededOf(placed, fleet(cluster('us-1', { region: 'us' })))).toEqual([BASE_VARIANT])
  expect(index.neededOf(placed, fleet())).toEqual([BASE_VARIANT])
})

test('a cluster that is labelled otherwise is of another variant', () => {
  const index = new VariantIndex()
  const before = index.of(spec, cluster('a', { region: 'eu' }))
  expect(index.of(spec, cluster('a', { region: 'eu' }))).toBe(before)
  expect(index.of(spec, cluster('a', { region: 'us' })).id).not.toBe(before.id)
})

import { create, type MessageInitShape } from '@bufbuild/protobuf'
import { ApplicationSpecSchema, type HelmOptions } from '@fairlead/proto/definitions'
import { expect, test } from 'vitest'
import { BASE_VARIANT, findOverrides, type VariableCluster, VariantIndex, variantOf, variantWith } from './variants.ts'

const define = (
  overrides: MessageInitShape<typeof ApplicationSpecSchema>['overrides'],
  placed: object = {},
  capabilities = '',
) =>
  create(ApplicationSpecSchema, {
    source: { repository: 'shop', path: 'web' },
    placement: { clusters: {}, ...placed },
    ...(overrides ? { overrides } : {}),
    ...(capabilities ? { render: { helm: { capabilities } as HelmOptions } } : {}),
  })
const cluster = (name: string, labels: Record<string, string> = {}, capabilities = ''): VariableCluster => ({
  id: `id-${name}`,
  name,
  labels,
  capabilities,
})
const fleet = (...clusters: VariableCluster[]) => new Map(clusters.map((each) => [each.id, each]))
const inRegion = (region: string) => ({ clusters: { matchLabels: { region } } })
const values = (json: Record<string, never> | object) => ({ helm: { values: json as Record<string, never> } })

const overrides: Parameters<typeof define>[0] = [
  { ...inRegion('eu'), ...values({ replicas: 3 }) },
  { names: ['eu-2'], path: 'web-big' },
  { clusters: {}, ...values({ size: 1 }) },
]
const spec = define(overrides)

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

test('clusters that report the same share a variant, where the application asks for that, and nowhere else', () => {
  const aware = define(overrides, {}, 'cluster')
  const index = new VariantIndex()
  const [one, same, other] = [cluster('a', {}, 'x'), cluster('b', {}, 'x'), cluster('c', {}, 'y')]
  expect(index.of(aware, one)).toBe(index.of(aware, same))
  expect(index.of(aware, one)).toMatchObject({ indexes: [2], capabilities: 'x' })
  expect(index.of(aware, other).id).not.toBe(index.of(aware, one).id)
  expect(index.neededOf(aware, fleet(one, same, other))).toHaveLength(2)
  expect(variantOf(aware, one)).toEqual(index.of(aware, one))
  // What its agent has not said yet is not waited for.
  expect(index.of(aware, cluster('d')).id).toBe(index.of(spec, one).id)
  expect(index.neededOf(spec, fleet(one, same, other))).toHaveLength(1)
  expect(index.of(spec, one)).not.toHaveProperty('capabilities')
})

test('an application without overrides has a variant for each report, and its plain one for those that have not said', () => {
  const aware = define([], {}, 'cluster')
  const index = new VariantIndex()
  const needed = index.neededOf(aware, fleet(cluster('a', {}, 'x'), cluster('b', {}, 'y'), cluster('c')))
  expect(needed.map(({ capabilities }) => capabilities).sort()).toEqual(['x', 'y', undefined])
  expect(needed[0]).toBe(BASE_VARIANT)
})

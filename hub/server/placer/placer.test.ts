import { create, type MessageInitShape } from '@bufbuild/protobuf'
import { PlacementSchema } from '@fairlead/proto/definitions'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { parseSelector } from '../label-selector.ts'
import { placeApplication } from './placer.ts'

const clusters = [
  { id: 'id-c1', name: 'c1', labels: { env: 'prod', region: 'eu' } },
  { id: 'id-c10', name: 'c10', labels: { env: 'prod', region: 'us' } },
  { id: 'id-c1-a', name: 'c1-a', labels: { env: 'dev' } },
]

const place = (placement: MessageInitShape<typeof PlacementSchema>): string[] =>
  placeApplication(create(PlacementSchema, placement), clusters)

describe('an application is placed', () => {
  test('by labels', () => {
    expect(place({ clusters: parseSelector('env=prod') })).toEqual(['id-c1', 'id-c10'])
    expect(place({ clusters: parseSelector('env=prod,region!=eu') })).toEqual(['id-c10'])
    expect(place({ clusters: { matchLabels: { env: 'dev' } } })).toEqual(['id-c1-a'])
    expect(place({ clusters: { matchLabels: { env: 'test' } } })).toEqual([])
  })

  test('everywhere by an empty selector', () => {
    expect(place({ clusters: {} })).toEqual(['id-c1', 'id-c10', 'id-c1-a'])
  })

  test('by exact name: c1 is neither c10 nor c1-a, and no pattern means anything', () => {
    expect(place({ names: ['c1'] })).toEqual(['id-c1'])
    expect(place({ names: ['c10', 'c1-a', 'unknown'] })).toEqual(['id-c10', 'id-c1-a'])
    for (const name of ['*', '>', 'c*', 'C1', 'id-c1', 'c']) expect(place({ names: [name] })).toEqual([])
  })

  test('never when it cannot be told where', () => {
    expect(() => placeApplication(undefined, clusters)).toThrow('exactly one')
    expect(() => place({})).toThrow('exactly one')
    expect(() => place({ clusters: {}, names: ['c1'] })).toThrow('exactly one')
    const unknown = { clusters: { matchExpressions: [{ key: 'env', operator: 'Gt', values: ['1'] }] } }
    expect(() => place(unknown)).toThrow('not a selector operator')
  })

  test('on each cluster by its own labels alone: others that join or leave change nothing', () => {
    const labels = fc.dictionary(fc.constantFrom('env', 'region'), fc.constantFrom('a', 'b'))
    const fleet = fc.uniqueArray(fc.record({ id: fc.uuid(), name: fc.uuid(), labels }), { selector: ({ id }) => id })
    fc.assert(
      fc.property(fleet, fc.constantFrom('env=a', 'env!=a', 'region,env in (a,b)', '!region'), (some, text) => {
        const placement = create(PlacementSchema, { clusters: parseSelector(text) })
        const together = placeApplication(placement, some)
        expect(together).toEqual(some.flatMap((cluster) => placeApplication(placement, [cluster])))
      }),
    )
  })
})

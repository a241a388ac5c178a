import { expect, test } from 'vitest'
import { formatValuePath, traceValues } from './value-origins.ts'

const told = (...layers: readonly Record<string, unknown>[]): string[] =>
  traceValues(layers.map((values, index) => ({ origin: `l${index}`, values }))).map(
    (each) => `${formatValuePath(each)}=${JSON.stringify(each.value)} ${each.origin}`,
  )

test('the last one wins, mappings are merged by key, lists are replaced', () => {
  expect(told({ a: 1, b: { c: 2, d: [1] } }, { b: { d: [2, 3], 'e.f/g': 'x' } })).toEqual([
    'a=1 l0',
    'b.c=2 l0',
    'b.d=[2,3] l1',
    'b[e.f/g]="x" l1',
  ])
})

test('null takes a key away, and what comes later may bring it back', () => {
  expect(told({ a: 1, b: { c: 1 } }, { a: null, b: null })).toEqual([])
  expect(told({ a: 1 }, { a: null }, { a: 2 })).toEqual(['a=2 l2'])
})

test('an empty mapping says nothing of what is there, and is a value where nothing is', () => {
  expect(told({ a: { b: 1 } }, { a: {}, c: {} })).toEqual(['a.b=1 l0', 'c={} l1'])
  expect(told({ a: 1 }, { a: { b: 1 } }, { a: 'text' })).toEqual(['a="text" l2'])
})

import { expect, test } from 'vitest'
import { prefixesFor, resolveRef } from './ref-resolution.ts'

const [a, b, c, d] = ['a', 'b', 'c', 'd'].map((letter) => letter.repeat(40)) as [string, string, string, string]
const listing = {
  refs: new Map([
    ['HEAD', a],
    ['refs/heads/main', a],
    ['refs/heads/main2', b],
    ['refs/tags/main', c],
    ['refs/tags/v1', c],
    ['refs/pull/1/head', d],
  ]),
  headTarget: 'refs/heads/main',
  protocol: 'v2' as const,
}

test.each([
  ['', a],
  ['main', a],
  ['main2', b],
  ['v1', c],
  ['refs/tags/main', c],
  ['refs/pull/1/head', d],
  [d, d],
])('%j names %s', (ref, commit) => {
  expect(resolveRef(listing, ref)).toBe(commit)
})

test.each(['mai', 'MAIN', 'v', 'heads/main', 'd'.repeat(39), 'D'.repeat(40)])('%j names nothing', (ref) => {
  expect(() => resolveRef(listing, ref)).toThrow(expect.objectContaining({ code: 'RefNotFound' }))
})

test('a default branch that does not exist is named', () => {
  const empty = { ...listing, refs: new Map<string, string>(), headTarget: 'refs/heads/trunk' }
  expect(() => resolveRef(empty, '')).toThrow('trunk')
  expect(() => resolveRef({ ...empty, headTarget: undefined }, '')).toThrow('no default branch')
})

test('only what is needed is listed', () => {
  expect(prefixesFor(['main', '', d, 'refs/pull/1/head', 'main'])).toEqual([
    'refs/heads/main',
    'refs/pull/1/head',
    'refs/tags/main',
  ])
})

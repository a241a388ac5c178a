import { expect, test } from 'vitest'
import type { ListedTarget } from './ref-listing.ts'
import { prefixesFor, resolveRef } from './ref-resolution.ts'

const [a, b, c, d] = ['a', 'b', 'c', 'd'].map((letter) => letter.repeat(40)) as [string, string, string, string]
const target = (commit: string) => ({ oid: commit, commit })
const listing = {
  refs: new Map([
    ['HEAD', target(a)],
    ['refs/heads/main', target(a)],
    ['refs/heads/main2', target(b)],
    ['refs/tags/main', target(c)],
    ['refs/tags/v1', { oid: d, commit: c }],
    ['refs/pull/1/head', target(d)],
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
  expect(resolveRef(listing, ref).commit).toBe(commit)
})

test('the name on the server is told, of a default branch too', () => {
  expect(['', 'main', 'v1', d].map((ref) => resolveRef(listing, ref).name)).toEqual([
    'refs/heads/main',
    'refs/heads/main',
    'refs/tags/v1',
    '',
  ])
})

test('a range of versions names the newest tag in it', () => {
  const tags = ['v1.1.0', 'v1.2.0', 'v1.10.0', 'v1.11.0-rc.1', 'v2.0.0', 'v1.99', 'web-1.50.0']
  const refs = new Map([
    ...tags.map((tag) => [`refs/tags/${tag}`, target(a)] as const),
    ['refs/heads/v1.60.0', target(b)] as const,
  ])
  expect(resolveRef({ refs, headTarget: undefined }, 'semver:^1.1')).toEqual({
    ...target(a),
    name: 'refs/tags/v1.10.0',
  })
})

test.each(['mai', 'MAIN', 'v', 'heads/main', 'd'.repeat(39), 'D'.repeat(40)])('%j names nothing', (ref) => {
  expect(() => resolveRef(listing, ref)).toThrow(expect.objectContaining({ code: 'RefNotFound' }))
})

test('a default branch that does not exist is named', () => {
  const empty = { ...listing, refs: new Map<string, ListedTarget>(), headTarget: 'refs/heads/trunk' }
  expect(() => resolveRef(empty, '')).toThrow('trunk')
  expect(() => resolveRef({ ...empty, headTarget: undefined }, '')).toThrow('no default branch')
})

test('only what is needed is listed', () => {
  expect(prefixesFor(['main', '', d, 'refs/pull/1/head', 'main'])).toEqual([
    'refs/heads/main',
    'refs/pull/1/head',
    'refs/tags/main',
  ])
  expect(prefixesFor(['semver:^1.2', 'semver:2'])).toEqual(['refs/tags/'])
})

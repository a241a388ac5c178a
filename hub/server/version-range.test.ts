import { expect, test } from 'vitest'
import { findVersionRange, isVersionRef, newestTag, type VersionRange } from './version-range.ts'

const TAGS = [
  '0.9.0',
  'v1.0.0',
  'v1.2.0',
  'v1.2.9',
  'v1.2.10',
  'v1.3.0-rc.1',
  'v1.3.0-rc.2',
  '2.0.0-beta.1',
  'nightly',
  'v3',
]

function rangeOf(ref: string): VersionRange {
  const range = findVersionRange(ref)
  if (!range) throw new Error(`${ref} is no range`)
  return range
}

function newest(ref: string, tags: readonly string[] = TAGS): string {
  const refs = new Set(tags.map((tag) => `refs/tags/${tag}`))
  return newestTag(rangeOf(ref), refs).slice('refs/tags/'.length)
}

test.each([
  ['semver:^1.2', 'v1.2.10'],
  ['semver:v1.2.x', 'v1.2.10'],
  ['semver:~1.2.0 <1.2.10', 'v1.2.9'],
  ['semver:*', 'v1.2.10'],
  ['semver: < 1', '0.9.0'],
  ['semver:1.0 - 1.1', 'v1.0.0'],
  ['semver:0.9 || 1.0', 'v1.0.0'],
  ['semver:1.0.0', 'v1.0.0'],
])('%s is %s: numbers count as numbers, pre-releases do not count', (ref, tag) => {
  expect(newest(ref)).toBe(tag)
})

test.each([
  ['semver:^1.2.0-0', 'v1.3.0-rc.2'],
  ['semver:~1.3.0-rc.1', 'v1.3.0-rc.2'],
  ['semver:1.3.0-rc.1', 'v1.3.0-rc.1'],
  ['semver:>=1.0.0-0', '2.0.0-beta.1'],
])('%s is %s: pre-releases count when the range names one', (ref, tag) => {
  expect(newest(ref)).toBe(tag)
})

test('neither the order of the tags nor builds and equal versions make it ambiguous', () => {
  const tags = ['1.0.0', 'v1.0.0', 'v1.0.0+b', 'v1.0.0+a']
  expect(newest('semver:1', tags)).toBe('v1.0.0+b')
  expect(newest('semver:1', [...tags].reverse())).toBe('v1.0.0+b')
  expect(newest('semver:1.0.0+a-b', ['v1.0.0', '1.0.0', 'v1.0.0-rc.1'])).toBe('1.0.0')
})

test('many ranges of one listing are each looked up in all of its tags', () => {
  const refs = new Map(TAGS.map((tag) => [`refs/tags/${tag}`, tag]))
  refs.set('refs/heads/v9.0.0', 'a branch')
  expect(['semver:^1.2', 'semver:0.x', 'semver:*'].map((ref) => newestTag(rangeOf(ref), refs))).toEqual([
    'refs/tags/v1.2.10',
    'refs/tags/0.9.0',
    'refs/tags/v1.2.10',
  ])
})

test('when no tag fits, the range and the newest tags are named', () => {
  expect(() => newest('semver:^4')).toThrow(
    'no tag is in semver:^4; the newest are 2.0.0-beta.1, v1.3.0-rc.2, v1.3.0-rc.1, v1.2.10, v1.2.9',
  )
  expect(() => newest('semver:^4', ['nightly'])).toThrow(
    'no tag is in semver:^4; no tag of the repository is a version',
  )
  expect(() => newest('semver:^4', [])).toThrow(expect.objectContaining({ code: 'RefNotFound' }))
})

test('only refs that name a range are ranges', () => {
  for (const ref of ['semver:', 'semver: ', 'semver:latest', 'semver:^1.2 and more', '^1.2', 'Semver:1']) {
    expect(findVersionRange(ref), ref).toBeUndefined()
  }
  expect(['semver:x', 'semver', 'v1'].map(isVersionRef)).toEqual([true, false, false])
})

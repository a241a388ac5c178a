import { expect, test } from 'vitest'
import { listFolders } from './folder-listing.ts'
import { type PackageEntry, PackageObjects } from './packages/package-objects.ts'

const file: PackageEntry = { mode: '100644', data: Buffer.from('') }
const link: PackageEntry = { mode: '120000', data: Buffer.from('../../etc') }
const commit = 'd'.repeat(64)
const listed = (pattern: string, paths: readonly string[], more: readonly (readonly [string, PackageEntry])[] = []) =>
  listFolders(
    new PackageObjects(commit, new Map([...paths.map((path) => [path, file] as const), ...more])),
    commit,
    pattern,
  )

const paths = [
  'apps/web/a',
  'apps/api/a',
  'apps/.hidden/a',
  'apps/README',
  'apps/web-old/x/y',
  'tenants/a/apps/web/z',
  'tenants/b/apps/web/z',
]

test('stars stand for names of folders, or parts of them, at one level', () => {
  expect(listed('apps/*', paths)).toEqual(['apps/api', 'apps/web', 'apps/web-old'])
  expect(listed('./apps/web*/', paths)).toEqual(['apps/web', 'apps/web-old'])
  expect(listed('apps/*e*b', paths)).toEqual(['apps/web'])
  expect(listed('tenants/*/apps/*', paths)).toEqual(['tenants/a/apps/web', 'tenants/b/apps/web'])
  expect(listed('apps/.h*', paths)).toEqual(['apps/.hidden'])
  expect(listed('apps/web', paths)).toEqual(['apps/web'])
  expect(listed('none/*', paths)).toEqual([])
  expect(listed('apps/README/*', paths)).toEqual([])
})

test('a pattern is no expression, and a part is not matched twice', () => {
  expect(listed('ap+s/*', [...paths, 'ap+s/x/a'])).toEqual(['ap+s/x'])
  expect(listed('aba*ba', ['aba/x', 'ababa/x'])).toEqual(['ababa'])
})

test('links are no folders', () => {
  expect(listed('apps/*', paths, [['apps/out', link]])).toEqual(['apps/api', 'apps/web', 'apps/web-old'])
})

test('a repository with too many folders is refused instead of listed', () => {
  const many = Array.from({ length: 10_001 }, (_, index) => `apps/a${index}/x`)
  expect(() => listed('apps/*', many)).toThrow('more than 10000 folders')
})

test('a commit that is not there is fetched again rather than empty', () => {
  expect(() => listFolders(new PackageObjects(commit, new Map()), 'e'.repeat(64), '*')).toThrow(
    expect.objectContaining({ code: 'FetchFailed' }),
  )
})

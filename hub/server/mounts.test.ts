import { expect, test } from 'vitest'
import { findMount, formatReadChart, formatValuesMount } from './mounts.ts'

test.for([
  { repository: 'config', ref: 'main', path: 'apps/web/values.yaml' },
  { repository: 'config', ref: '', path: 'values.yaml' },
  { repository: 'config', ref: 'semver:>=1 <3 || 4.x', path: 'a@b/c#d.yaml' },
  { repository: 'config', ref: 'feature/x@y', path: 'ü.yaml' },
])('a value file elsewhere is known by its path: %j', (file) => {
  expect(findMount(formatValuesMount(file))).toEqual({ kind: 'values', ...file })
})

test('a chart elsewhere is known by its path, before and after it was read', () => {
  const asked = '/charts/oci:%2F%2Fghcr.io%2Facme/redis/20.1.0+b1'
  const chart = { kind: 'chart', address: 'oci://ghcr.io/acme', name: 'redis', version: '20.1.0+b1' }
  expect(findMount(asked)).toEqual({ ...chart, digest: '' })
  expect(findMount(formatReadChart(asked, 'abc'))).toEqual({ ...chart, digest: 'abc' })
})

test('a remote base is known by its path', () => {
  const commit = 'a'.repeat(40)
  const base = { kind: 'base', address: 'https://h/o/r.git', commit }
  expect(findMount(`/git/https:%2F%2Fh%2Fo%2Fr.git/${commit}`)).toEqual({ ...base, path: '' })
  expect(findMount(`/git/https:%2F%2Fh%2Fo%2Fr.git/${commit}/a/b`)).toEqual({ ...base, path: 'a/b' })
  expect(findMount('/git/x/main/a')).toBeUndefined()
})

test.for(['', 'charts/a/b/c', 'values/config@main/a', '@scope/a', '/etc/passwd', '/charts/a/b', '/values/config/a'])(
  '%j is nothing elsewhere',
  (path) => {
    expect(findMount(path)).toBeUndefined()
  },
)

test('what was encoded by nobody names nothing instead of failing', () => {
  expect(findMount('/charts/%E0%A4%A/a/1')).toMatchObject({ address: '%E0%A4%A' })
})

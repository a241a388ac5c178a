import { followedRef } from '@fairlead/shared/followed-ref'
import { expect, test } from 'vitest'
import { findOciAddressProblem, holdsPackages, isDigestRef, parsePackageRef, placeOf } from './package-reference.ts'

const hex = 'a'.repeat(64)
const helm = { $typeName: 'fairlead.v1.HelmRepository' as const }

test('addresses of registries: what they name, for one artifact and for charts below', () => {
  expect(placeOf({ url: 'oci://ghcr.io/org/app' }, '')).toEqual({
    kind: 'oci',
    registry: 'https://ghcr.io',
    name: 'org/app',
  })
  expect(placeOf({ url: 'oci+http://localhost:5000/charts/', helm }, 'web')).toEqual({
    kind: 'oci',
    registry: 'http://localhost:5000',
    name: 'charts/web',
  })
  expect(placeOf({ url: 'https://charts.example.com/stable/', helm }, 'web')).toEqual({
    kind: 'helm',
    url: 'https://charts.example.com/stable',
  })
  expect(() => placeOf({ url: 'oci://ghcr.io/charts', helm }, 'Web')).toThrow('no name in an OCI registry')
  expect([{ url: 'oci://x/y' }, { url: 'https://x/y', helm }, { url: 'https://x/y' }].map(holdsPackages)).toEqual([
    true,
    true,
    false,
  ])
})

test.for([
  'oci://ghcr.io',
  'oci://ghcr.io/',
  'oci://ghcr.io/Org/app',
  'oci://user:pw@ghcr.io/app',
  'oci://ghcr.io/app:1.0',
  'oci://ghcr.io/a?b',
  'oci://ghcr.io/../app',
  'oci://ghcr.io:99999/app',
])('%s is no address of an artifact', (url) => {
  expect(findOciAddressProblem(url)).toContain('oci://<host>/<name>')
})

test('refs of packages: versions, ranges, digests, and both together', () => {
  const parse = (ref: string) => parsePackageRef({}, ref)
  expect(parse('')).toEqual({ chart: '', version: '', digest: undefined })
  expect(parse('v1.0')).toEqual({ chart: '', version: 'v1.0', digest: undefined })
  expect(parse('semver:>=1 <3')).toEqual({ chart: '', version: 'semver:>=1 <3', digest: undefined })
  for (const ref of [hex, `sha256:${hex}`]) expect(parse(ref)).toEqual({ chart: '', version: '', digest: hex })
  expect(parse(`v1@sha256:${hex}`)).toEqual({ chart: '', version: 'v1', digest: hex })
  expect(() => parse('v1@sha256:abc')).toThrow('no digest')
  expect(() => parse('web:1.0')).toThrow('spec.source.chart')
})

test('refs of charts name the chart first', () => {
  const parse = (ref: string) => parsePackageRef({ helm }, ref)
  expect(parse(followedRef({ chart: 'web', ref: '' }))).toEqual({ chart: 'web', version: '', digest: undefined })
  expect(parse(followedRef({ chart: 'semver', ref: 'semver:^1' }))).toEqual({
    chart: 'semver',
    version: 'semver:^1',
    digest: undefined,
  })
  expect(parse(followedRef({ chart: 'web', ref: `1.0.0@sha256:${hex}` }))).toEqual({
    chart: 'web',
    version: '1.0.0',
    digest: hex,
  })
  for (const ref of ['', '1.0.0', `sha256-${hex}`]) expect(() => parse(ref)).toThrow('name the chart')
})

test('which refs hold a digest', () => {
  for (const ref of [`sha256:${hex}`, `v1.0@sha256:${hex}`, `1.0.0+b@sha256:${hex}`])
    expect(isDigestRef(ref)).toBe(true)
  for (const ref of [hex, 'v1', 'sha256:abc', `a b@sha256:${hex}`, `@sha256:${hex}`])
    expect(isDigestRef(ref)).toBe(false)
})

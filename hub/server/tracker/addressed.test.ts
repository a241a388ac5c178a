import { create } from '@bufbuild/protobuf'
import { RepositorySpecSchema } from '@fairlead/proto/definitions'
import { expect, test } from 'vitest'
import { findBaseRepository, findChartRepository } from './addressed.ts'

const declare = (name: string, spec: object) => ({ name, spec: create(RepositorySpecSchema, spec) })
const declared = [
  declare('stable', { url: 'https://charts.example.com/stable/', helm: {} }),
  declare('registry', { url: 'oci://ghcr.io/acme/charts', helm: {} }),
  declare('artifact', { url: 'oci://ghcr.io/acme/app' }),
  declare('open', { url: 'https://git.example.com/open.git', bases: {} }),
  declare('some', { url: 'git@git.example.com:some', bases: { repositories: ['shop'] } }),
  declare('closed', { url: 'https://git.example.com/closed' }),
]

test('charts come from the repository of charts with that address, and from nothing else', () => {
  expect(findChartRepository(declared, 'https://charts.example.com/stable')).toBe('stable')
  expect(findChartRepository(declared, 'oci://ghcr.io/acme/charts/')).toBe('registry')
  for (const address of [
    'https://ghcr.io/acme/charts',
    'oci://charts.example.com/stable',
    'oci://ghcr.io/acme/app',
    'https://git.example.com/open',
    'https://evil.example.com/stable',
    'http://169.254.169.254/latest',
    '',
  ]) {
    expect(() => findChartRepository(declared, address)).toThrow('no Repository with helm')
  }
})

test('bases come from the repository with that address, however it is reached, if it gives them', () => {
  const find = (address: string, user = 'shop') => findBaseRepository(declared, { address, user })
  expect(find('ssh://git@git.example.com/open')).toBe('open')
  expect(find('https://git.example.com/some.git')).toBe('some')
  expect(() => find('https://git.example.com/some', 'other')).toThrow('Repository/some gives Repository/other no bases')
  expect(() => find('https://git.example.com/closed')).toThrow('gives Repository/shop no bases')
  expect(find('https://git.example.com/closed', 'closed')).toBe('closed')
  expect(() => find('oci://ghcr.io/acme/app')).toThrow('no Repository has the address')
  expect(() => find('-oProxyCommand=evil@h:x')).toThrow('no Repository has the address')
})

import { expect, test } from 'vitest'
import { findKnownHostsProblem, findSshAddress, knownHostName } from './ssh-address.ts'

test.each([
  ['git@github.com:acme/shop.git', 'git', 'github.com', 22],
  ['ssh://git@git.example.com:7999/acme/shop.git', 'git', 'git.example.com', 7999],
  ['ssh://git.example.com/~acme/shop', 'git', 'git.example.com', 22],
  ['ssh://deploy@[::1]:22/srv/x.git', 'deploy', '::1', 22],
])('%s is an address', (address, user, host, port) => {
  expect(findSshAddress(address)).toEqual({ user, host, port })
})

test.each([
  'ssh://-oProxyCommand=touch%20x/y',
  'ssh://git@-oProxyCommand=x/y',
  'ssh://-l@host/y',
  '-oProxyCommand=x:y',
  'git@-host:y',
  'git@host:-y',
  'git@host:',
  'git@host://y',
  'ssh://git@host:0/y',
  'ssh://git@host:99999/y',
  'ssh://git:secret@host/y',
  'ssh://git@host/a b',
  'ssh://git@host/`id`',
  "ssh://git@host/';id;'",
  'ssh://git@host/$(id)',
  'ssh://git@host/x\n',
  'ext::sh -c id',
  'file:///etc',
  '/etc',
  'https://host/x',
  'git://host/x',
  '',
])('%j is none: it could be read as something else', (address) => {
  expect(findSshAddress(address)).toBeUndefined()
})

test('known hosts are named with a port that is not the usual one, and each line is looked at', () => {
  expect(knownHostName({ user: 'git', host: 'h', port: 22 })).toBe('h')
  expect(knownHostName({ user: 'git', host: 'h', port: 2222 })).toBe('[h]:2222')
  expect(
    findKnownHostsProblem('# comment\n\n[h]:2222,h2 ssh-ed25519 AAAA= comment\n@revoked * ssh-rsa AAAA'),
  ).toBeUndefined()
  expect(findKnownHostsProblem('')).toBe(0)
  expect(findKnownHostsProblem('# nothing')).toBe(0)
  expect(findKnownHostsProblem('h ssh-ed25519 AAAA\nnonsense')).toBe(2)
  expect(findKnownHostsProblem('h ssh-ed25519')).toBe(1)
})

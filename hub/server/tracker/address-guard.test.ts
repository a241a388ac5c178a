import { expect, test } from 'vitest'
import { checkLiteralHost, findAddressProblem, guardedLookup } from './address-guard.ts'

test.each([
  '169.254.169.254',
  '::ffff:169.254.169.254',
  '::ffff:a9fe:a9fe',
  '::169.254.169.254',
  '::ffff:0:169.254.169.254',
  '64:ff9b::169.254.169.254',
  '64:ff9b::a9fe:a9fe',
  '64:ff9b::6464:64c8',
  '64:ff9b:1::169.254.169.254',
  '64:ff9b:1:a9fe:a9:fe00::',
  '64:ff9b:1:7:a9:fea9:fe00:0',
  '64:ff9b:1:ffff:a9:fea9:fe00:0',
  '64:ff9b:1:55a9:fe:a9fe::',
  '64:ff9b:1::',
  '2002:a9fe:a9fe::1',
  '2002:a9fe:a9fe:5:6:7:8:9',
  '2001:0:a9fe:a9fe::1',
  '2001:0:4136:e378:8000:63bf:5601:5601',
  'fe80::1',
  'fe80::1%eth0',
  'fd00:ec2::254',
  'fd20:ce::254',
  '100.100.100.200',
  '168.63.129.16',
  '192.0.0.192',
  '0.0.0.0',
  '::',
  '224.0.0.1',
  'ff02::1',
])('%s is never connected to, however it is named', (address) => {
  expect(findAddressProblem('git.example.com', address)).toContain('no Git server may have')
  expect(findAddressProblem(address, address)).toContain('no Git server may have')
})

test.each(['127.0.0.1', '127.8.8.8', '::1', '::ffff:127.0.0.1', '::127.0.0.1', '64:ff9b::127.0.0.1', '2002:7f00:1::'])(
  '%s is connected to only where the definition says so',
  (address) => {
    expect(findAddressProblem('git.example.com', address)).toContain('loopback')
    expect(findAddressProblem('localhost.example.com', address)).toContain('loopback')
    for (const host of ['localhost', 'git.localhost', '127.0.0.1', '[::1]', address]) {
      expect(findAddressProblem(host, address), host).toBeUndefined()
    }
  },
)

test.each([
  '10.0.0.1',
  '192.168.1.1',
  '172.16.0.1',
  '140.82.121.3',
  'fd12::1',
  '2606:50c0:8000::1',
  '64:ff9b::140.82.121.3',
  '64:ff9b:1::10.0.0.1',
  '64:ff9b:1:a00:0:100::',
  '64:ff9b:1:7:a:0:100:0',
  '2002:8c52:7903::1',
  '2001:db8::a9fe:a9fe',
])('%s is an address like any other', (address) => {
  expect(findAddressProblem('git.example.com', address)).toBeUndefined()
})

test('addresses in place of names are looked at before anything is opened', () => {
  for (const host of ['169.254.169.254', '[fe80::1]', '[::ffff:169.254.169.254]']) {
    expect(() => checkLiteralHost(host)).toThrow(expect.objectContaining({ code: 'RepositoryUnreachable' }))
  }
  for (const host of ['127.0.0.1', '[::1]', 'git.example.com', 'localhost'])
    expect(() => checkLiteralHost(host)).not.toThrow()
})

test('names are resolved for the connection that is made', async () => {
  const { promise, resolve, reject } = Promise.withResolvers<unknown>()
  guardedLookup('localhost', { all: true }, (error, addresses) => (error ? reject(error) : resolve(addresses)))
  expect(await promise).toEqual(expect.arrayContaining([expect.objectContaining({ address: '127.0.0.1' })]))
})

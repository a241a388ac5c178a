// What counts as the pinned CA.
import { X509Certificate } from 'node:crypto'
import { caPin } from '@fairlead/shared/digest'
import { expect, test } from 'vitest'
import { createTestCa } from '../testbed/certificates.ts'
import { selectPinnedCa, splitAddress } from './ca-pin.ts'

const ca = createTestCa()
const other = createTestCa()
const caCertificate = new X509Certificate(ca.certificatePem)
const pin = caPin(ca.certificatePem)
const leafOf = (issuer: typeof ca, names: string[]) => new X509Certificate(issuer.issue(names).certificatePem)
const expected = (host: string) => ({ host, address: `${host}:7443`, pin })

test('the CA that signed the certificate for this host or address', () => {
  const chain = [leafOf(ca, ['hub.example.com', '10.0.0.5']), caCertificate]
  expect(selectPinnedCa(chain, expected('hub.example.com'))).toBe(caCertificate.toString())
  expect(selectPinnedCa(chain, expected('10.0.0.5'))).toBe(caCertificate.toString())
})

test('not one that is merely shown', () => {
  const chain = [leafOf(other, ['hub.example.com']), caCertificate]
  expect(() => selectPinnedCa(chain, expected('hub.example.com'))).toThrow('did not sign')
})

test('not for another host', () => {
  const chain = [leafOf(ca, ['hub.example.com']), caCertificate]
  expect(() => selectPinnedCa(chain, expected('evil.example.com'))).toThrow('not for evil.example.com')
  expect(() => selectPinnedCa(chain, expected('10.0.0.6'))).toThrow('not for 10.0.0.6')
})

test('not a server certificate, even where the pin names it', () => {
  const leaf = leafOf(ca, ['hub.example.com'])
  const itsPin = caPin(leaf.toString())
  expect(() => selectPinnedCa([leaf, caCertificate], { ...expected('hub.example.com'), pin: itsPin })).toThrow(
    'not a CA',
  )
})

test('another CA is refused with both pins', () => {
  const chain = [leafOf(other, ['hub.example.com']), new X509Certificate(other.certificatePem)]
  expect(() => selectPinnedCa(chain, expected('hub.example.com'))).toThrow(pin)
  expect(() => selectPinnedCa(chain, expected('hub.example.com'))).toThrow(caPin(other.certificatePem))
  expect(() => selectPinnedCa([], expected('hub.example.com'))).toThrow('no certificate')
})

test('addresses', () => {
  expect(splitAddress('hub:7443')).toEqual({ host: 'hub', port: 7443 })
  expect(splitAddress('[::1]:7443')).toEqual({ host: '::1', port: 7443 })
})

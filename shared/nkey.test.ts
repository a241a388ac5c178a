import { expect, test } from 'vitest'
import { createNkey, isPublicNkey, parseNkeySeed, verifyNkey } from './nkey.ts'

test.each(['O', 'A', 'U'] as const)(
  'a key of kind %s signs, is read again from its seed, and is told from the other kinds',
  (kind) => {
    const key = createNkey(kind)
    const data = Buffer.from('data')
    const again = parseNkeySeed(key.seed)
    expect(again.publicKey).toBe(key.publicKey)
    expect(key.publicKey.startsWith(kind)).toBe(true)
    expect(key.seed.startsWith(`S${kind}`)).toBe(true)
    expect(verifyNkey(key.publicKey, data, again.sign(data))).toBe(true)
    expect(verifyNkey(key.publicKey, Buffer.from('other'), again.sign(data))).toBe(false)
    for (const other of ['O', 'A', 'U'] as const) expect(isPublicNkey(other, key.publicKey)).toBe(other === kind)
  },
)

test('the keys are those of the nkeys specification', () => {
  // Example pair of github.com/nats-io/nkeys.
  const seed = 'SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY'
  expect(parseNkeySeed(seed).publicKey).toBe('UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4')
})

test.each(['', 'U', 'not base32!', 'UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF5'])(
  '%j is no public key',
  (text) => {
    expect(isPublicNkey('U', text)).toBe(false)
    expect(verifyNkey(text, Buffer.from('x'), new Uint8Array(64))).toBe(false)
    expect(() => parseNkeySeed(text)).toThrow('nkey')
  },
)

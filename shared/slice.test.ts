import { create, toBinary } from '@bufbuild/protobuf'
import { CommandSchema, SliceSchema } from '@fairlead/proto/slice'
import { describe, expect, test } from 'vitest'
import { formatSigningKey, generateSigningKey, parseSigningKey, signDocument } from './signing.ts'
import { decodeCommand, decodeSlice, encodeCommand, encodeSlice, nextGeneration, RefusedError } from './slice.ts'

const key = generateSigningKey()
const trusted = new Map([[key.id, key.publicKey]])
const expected = { clusterId: 'a', lastGeneration: 5n, trusted }
const slice = (clusterId: string, generation: bigint) =>
  create(SliceSchema, { clusterId, generation, clusterName: 'one' })

function refusal(action: () => unknown): string {
  try {
    action()
  } catch (error) {
    if (error instanceof RefusedError) return error.reason
    throw error
  }
  return 'accepted'
}

describe('an agent obeys a slice', () => {
  test('that its hub signed for it and that is newer', () => {
    expect(decodeSlice(encodeSlice(slice('a', 6n), key), expected).clusterName).toBe('one')
  })

  test('signed with a key that was stored and read again', () => {
    const again = parseSigningKey(formatSigningKey(key))
    expect(again.id).toBe(key.id)
    expect(decodeSlice(encodeSlice(slice('a', 6n), again), expected).generation).toBe(6n)
  })
})

describe('an agent refuses a slice', () => {
  const foreign = generateSigningKey()
  test.each([
    ['for another cluster', () => decodeSlice(encodeSlice(slice('b', 6n), key), expected), 'cluster'],
    [
      'for a cluster whose id only begins alike',
      () => decodeSlice(encodeSlice(slice('a1', 6n), key), expected),
      'cluster',
    ],
    ['that it has obeyed already', () => decodeSlice(encodeSlice(slice('a', 5n), key), expected), 'generation'],
    ['that is older', () => decodeSlice(encodeSlice(slice('a', 4n), key), expected), 'generation'],
    ['signed by somebody else', () => decodeSlice(encodeSlice(slice('a', 6n), foreign), expected), 'signature'],
    ['that is no document at all', () => decodeSlice(Buffer.from('not a document'), expected), 'signature'],
    ['that is empty', () => decodeSlice(new Uint8Array(), expected), 'signature'],
    [
      'that claims a trusted key but was signed with another',
      () => decodeSlice(encodeSlice(slice('a', 6n), { ...foreign, id: key.id }), expected),
      'signature',
    ],
    [
      'that was signed as a command',
      () => decodeSlice(signDocument('fairlead.command.v1', toBinary(SliceSchema, slice('a', 6n)), key), expected),
      'signature',
    ],
    [
      'whose payload is signed rubbish',
      () => decodeSlice(signDocument('fairlead.slice.v1', Buffer.from([255]), key), expected),
      'malformed',
    ],
  ])('%s', (_name, action, reason) => {
    expect(refusal(action)).toBe(reason)
  })

  test('in which any byte of the payload or the signature was changed', () => {
    const encoded = encodeSlice(slice('a', 6n), key)
    const accepted: unknown[] = []
    for (let index = 0; index < encoded.length; index++) {
      const altered = Uint8Array.from(encoded)
      altered[index] = (altered[index] ?? 0) ^ 1
      try {
        accepted.push(decodeSlice(altered, expected))
      } catch (error) {
        expect(error, `byte ${index}`).toBeInstanceOf(RefusedError)
      }
    }
    // A change of the envelope's own framing may go unnoticed; what is signed is then still what is obeyed.
    for (const obeyed of accepted) expect(obeyed).toEqual(slice('a', 6n))
    expect(accepted.length).toBeLessThan(4)
  })
})

test('a command signed for one cluster is refused by another, and a slice never passes as a command', () => {
  const command = create(CommandSchema, { clusterId: 'a', id: 'x', verb: { case: 'report', value: {} } })
  expect(decodeCommand(encodeCommand(command, key), expected).id).toBe('x')
  expect(refusal(() => decodeCommand(encodeCommand(command, key), { clusterId: 'b', trusted }))).toBe('cluster')
  expect(refusal(() => decodeCommand(encodeSlice(slice('a', 6n), key), expected))).toBe('signature')
})

test('generations never run back, whatever the clock does', () => {
  expect(nextGeneration(0n, 1000)).toBe(1000n)
  expect(nextGeneration(1000n, 1000)).toBe(1001n)
  expect(nextGeneration(5000n, 1000)).toBe(5001n)
  expect(nextGeneration(5001n, 9000)).toBe(9000n)
})

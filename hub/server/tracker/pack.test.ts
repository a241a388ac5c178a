// Packs that git would never make: nothing of them may take memory, time or the process.
import { createHash } from 'node:crypto'
import { deflateSync } from 'node:zlib'
import { expect, test } from 'vitest'
import { hashObject, OBJECT_MAX_BYTES } from './git-object.ts'
import { checkPack, PACK_MAX_INFLATED_BYTES } from './pack-check.ts'
import { applyDelta } from './pack-entry.ts'

const BLOB = 3
const OFFSET_DELTA = 6
const REFERENCE_DELTA = 7

function entry(kind: number, sizeBytes: number, data: Buffer, base = Buffer.alloc(0)): Buffer {
  const head = [(kind << 4) | (sizeBytes & 15)]
  let rest = Math.floor(sizeBytes / 16)
  while (rest > 0) {
    head[head.length - 1] = (head.at(-1) ?? 0) | 0x80
    head.push(rest % 128)
    rest = Math.floor(rest / 128)
  }
  return Buffer.concat([Buffer.from(head), base, data])
}

function blob(text: string): Buffer {
  return entry(BLOB, text.length, deflateSync(text))
}

function pack(entries: readonly Buffer[], count = entries.length): Buffer {
  const head = Buffer.from('PACK\0\0\0\x02\0\0\0\0', 'latin1')
  head.writeUInt32BE(count, 8)
  const body = Buffer.concat([head, ...entries])
  return Buffer.concat([body, createHash('sha1').update(body).digest()])
}

/** A delta that copies all of the base and adds text. */
function delta(baseBytes: number, added: string): Buffer {
  const copy = [0x90, baseBytes]
  return Buffer.from([baseBytes, baseBytes + added.length, ...copy, added.length, ...Buffer.from(added)])
}

test('a good pack is counted, deltas on what is inside or outside of it included', () => {
  const made = delta(6, 'world')
  const oid = Buffer.from(hashObject('blob', Buffer.from('hello ')), 'hex')
  expect(checkPack(pack([entry(REFERENCE_DELTA, made.length, deflateSync(made), oid), blob('hello ')]))).toBe(2)
  expect(checkPack(pack([]))).toBe(0)
})

const anywhere = Buffer.alloc(20, 7)
const copyNothing = Buffer.from([0, 0])

test.each([
  ['no pack', Buffer.from('PACK nothing of use at all, just text........'), 'FetchFailed'],
  ['nothing', Buffer.alloc(0), 'FetchFailed'],
  ['a wrong checksum', Buffer.concat([pack([blob('a')]).subarray(0, -1), Buffer.from([0])]), 'FetchFailed'],
  ['more objects than there are', pack([blob('a')], 3), 'FetchFailed'],
  ['fewer objects than there are', pack([blob('a'), blob('b')], 1), 'FetchFailed'],
  ['four thousand million objects', pack([blob('a')], 0xffffffff), 'LimitExceeded'],
  ['an object of a terabyte', pack([entry(BLOB, 2 ** 40, deflateSync('a'))]), 'LimitExceeded'],
  ['an object of more bytes than can be counted', pack([entry(BLOB, 2 ** 52, deflateSync('a'))]), 'LimitExceeded'],
  [
    'an object that grows when inflated',
    pack([entry(BLOB, 10, deflateSync(Buffer.alloc(100_000_000)))]),
    'FetchFailed',
  ],
  ['an object that is shorter than it says', pack([entry(BLOB, 10, deflateSync('a'))]), 'FetchFailed'],
  ['zlib data that is none', pack([entry(BLOB, 4, Buffer.from('abcdefgh'))]), 'FetchFailed'],
  ['an unknown type', pack([entry(5, 1, deflateSync('a'))]), 'FetchFailed'],
  ['a delta on itself', pack([entry(OFFSET_DELTA, 2, deflateSync(copyNothing), Buffer.from([0]))]), 'FetchFailed'],
  [
    'a delta before the beginning',
    pack([entry(OFFSET_DELTA, 2, deflateSync(copyNothing), Buffer.from([99]))]),
    'FetchFailed',
  ],
  [
    'a delta that makes a terabyte',
    pack([entry(REFERENCE_DELTA, 8, deflateSync(Buffer.from([6, 0x80, 0x80, 0x80, 0x80, 0x80, 0x20, 0])), anywhere)]),
    'LimitExceeded',
  ],
  [
    'a delta of two million commands',
    pack([entry(REFERENCE_DELTA, 4e6 + 2, deflateSync(Buffer.alloc(4e6 + 2, Buffer.from([1, 0x61]))), anywhere)]),
    'LimitExceeded',
  ],
])('a pack with %s is refused', (_, bytes, code) => {
  expect(() => checkPack(bytes)).toThrow(expect.objectContaining({ name: 'AppError', code }))
})

test.each([
  ['for another base', Buffer.from([9, 1, 0x01, 0x61]), 'FetchFailed'],
  ['that copies past the base', Buffer.from([3, 9, 0x90, 9]), 'FetchFailed'],
  ['that writes past the end', Buffer.from([3, 1, 0x02, 0x61, 0x61]), 'FetchFailed'],
  ['that ends early', Buffer.from([3, 5, 0x05, 0x61]), 'FetchFailed'],
  ['that makes too little', Buffer.from([3, 5, 0x01, 0x61]), 'FetchFailed'],
  ['with a reserved command', Buffer.from([3, 1, 0x00]), 'FetchFailed'],
  ['without sizes', Buffer.alloc(0), 'FetchFailed'],
  ['with a size without end', Buffer.alloc(40, 0xff), 'FetchFailed'],
  ['that makes more than the limit', Buffer.from([3, 0xff, 0xff, 0xff, 0xff, 0x7f]), 'LimitExceeded'],
])('a delta %s is refused', (_, bytes, code) => {
  expect(OBJECT_MAX_BYTES).toBeLessThan(2 ** 35)
  expect(() => applyDelta(bytes, Buffer.from('abc'))).toThrow(expect.objectContaining({ code }))
})

test('many objects that are small in the pack and large together are refused', () => {
  const large = entry(BLOB, OBJECT_MAX_BYTES, deflateSync(Buffer.alloc(OBJECT_MAX_BYTES)))
  const count = PACK_MAX_INFLATED_BYTES / OBJECT_MAX_BYTES + 1
  const bytes = pack(Array.from({ length: count }, () => large))
  expect(() => checkPack(bytes)).toThrow(expect.objectContaining({ code: 'LimitExceeded' }))
})

test('any change of any byte of a pack is refused or changes nothing in its size', () => {
  const bytes = pack([blob('hello'), blob('world')])
  for (let position = 0; position < bytes.length; position++) {
    const changed = Buffer.from(bytes)
    changed[position] = (changed[position] ?? 0) ^ 0x55
    // With a checksum that fits, as a hostile server would send it.
    const sum = createHash('sha1').update(changed.subarray(0, -20)).digest()
    sum.copy(changed, changed.length - 20)
    try {
      expect(checkPack(changed)).toBe(2)
    } catch (error) {
      expect(error).toMatchObject({ name: 'AppError' })
    }
  }
})

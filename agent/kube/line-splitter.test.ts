// Lines come out whole however the bytes come in.
import { expect, test } from 'vitest'
import { LineSplitter } from './line-splitter.ts'

const lines = ['{"a":1}', '{"b":"ünïcödé ✓"}', '{"c":""}', 'x'.repeat(5000)]
const bytes = Buffer.from(`${lines[0]}\n${lines[1]}\n\n${lines[2]}\n${lines[3]}\nrest`)

test.each([1, 2, 3, 7, 64, 100_000])('chunks of %i bytes give the same lines', (size) => {
  const splitter = new LineSplitter()
  const seen: string[] = []
  for (let at = 0; at < bytes.length; at += size) seen.push(...splitter.push(bytes.subarray(at, at + size)))
  expect(seen).toEqual(lines)
  expect([...splitter.push(Buffer.from('\n'))]).toEqual(['rest'])
})

test('a line without end is refused, not collected', () => {
  const splitter = new LineSplitter(10)
  expect([...splitter.push(Buffer.from('12345\n1234567'))]).toEqual(['12345'])
  expect(() => [...splitter.push(Buffer.from('890123'))]).toThrow(RangeError)
})

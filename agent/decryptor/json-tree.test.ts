import fc from 'fast-check'
import { expect, test } from 'vitest'
import { type JsonTree, parseJsonTree, toPlain } from './json-tree.ts'

const keysOf = (tree: JsonTree): string[] => (tree instanceof Map ? [...tree.keys()] : [])

test('any JSON is read as JSON.parse reads it', () => {
  fc.assert(
    fc.property(fc.json(), fc.constantFrom(undefined, 2, '\t'), (text, space) => {
      const pretty = JSON.stringify(JSON.parse(text), null, space)
      expect(JSON.stringify(toPlain(parseJsonTree(pretty)))).toBe(JSON.stringify(JSON.parse(pretty)))
    }),
  )
})

test('keys keep their order, numbers and such among them', () => {
  expect(keysOf(parseJsonTree('{"b":1,"10":2,"2":3,"__proto__":4,"a":5}'))).toEqual(['b', '10', '2', '__proto__', 'a'])
})

test('numbers keep their digits', () => {
  const text = '[9007199254740993,-0.1,1e+21,1.50,0]'
  expect(JSON.stringify(toPlain(parseJsonTree(text)))).toBe('[9007199254740993,-0.1,1e+21,1.50,0]')
})

test.each(['', '{', '{"a"}', '[1,]', '[1 2]', '{"a":1,}', '"a', '"\\x"', 'tru', '01x', '[] []', '['.repeat(300)])(
  '%j is refused without being quoted',
  (text) => {
    expect(() => parseJsonTree(text)).toThrow(/^not JSON at character \d+$/)
  },
)

import { expect, test } from 'vitest'
import { readYaml, YamlError } from './yaml-reader.ts'

// Taken from `kubectl annotate --local -o json` of kubectl 1.32.4: the value of `v: <text>`.
const KUBECTL: readonly (readonly [text: string, value: unknown])[] = [
  ['0644', 420],
  ['0o644', 420],
  ['0O7', 7],
  ['-0644', -420],
  ['+0644', 420],
  ['0x1F', 31],
  ['0X1f', 31],
  ['-0x1F', -31],
  ['0x1_F', 31],
  ['0b101', 5],
  ['0B1', 1],
  ['-0b1', -1],
  ['+12', 12],
  ['1_000', 1000],
  ['1__0', 10],
  ['1_', 1],
  ['0_7', 7],
  ['08', 8],
  ['09.5', 9.5],
  ['00', 0],
  ['-0', 0],
  ['+0', 0],
  ['yes', true],
  ['on', true],
  ['y', true],
  ['Y', true],
  ['True', true],
  ['NO', false],
  ['Off', false],
  ['n', false],
  ['tRue', 'tRue'],
  ['~', null],
  ['null', null],
  ['Null', null],
  ['NULL', null],
  ['', null],
  ['12:30:45', '12:30:45'],
  ['2001-01-01', '2001-01-01'],
  ['2001-12-14t21:59:43.10-05:00', '2001-12-14t21:59:43.10-05:00'],
  ['1e3', 1000],
  ['1E3', 1000],
  ['1e+3', 1000],
  ['1e1_0', 10000000000],
  ['12e03', 12000],
  ['0e0', 0],
  ['1.5', 1.5],
  ['.5', 0.5],
  ['+.5', 0.5],
  ['-.5', -0.5],
  ['5.', 5],
  ['1_000.5', 1000.5],
  ['0._5', 0.5],
  ['.5_', '.5_'],
  ['._5', '._5'],
  ['100000000000000000000.5', 100000000000000000000],
  ['1e21', 1e21],
  ['1e-7', 1e-7],
  ['1e400', '1e400'],
  ['0x', '0x'],
  ['0b', '0b'],
  ['0b2', '0b2'],
  ['0o', '0o'],
  ['0o8', '0o8'],
  ['0x1G', '0x1G'],
  ['0x10000000000000000', '0x10000000000000000'],
  ['_1', '_1'],
  ['+', '+'],
  ['.', '.'],
  ['-.', '-.'],
  ['1e', '1e'],
  ['e3', 'e3'],
  ['.e3', '.e3'],
  ['1,000', '1,000'],
  ['1.2.3', '1.2.3'],
  ['1e3.5', '1e3.5'],
  ['inf', 'inf'],
  ['NaN', 'NaN'],
  ['=', '='],
  ['<<', '<<'],
  ['"<<"', '<<'],
  ['"yes"', 'yes'],
  ["'0644'", '0644'],
  ['!!str 123', '123'],
  ['!!str ~', '~'],
  ['!!str', ''],
  ['!!int "12"', 12],
  ['!!int 0644', 420],
  ['!!float 1', 1],
  ['!!float "1.5"', 1.5],
  ['!!bool yes', true],
  ['!!null ""', null],
  ['!!binary aGVsbG8=', 'hello'],
  ['!!timestamp 2001-01-01', '2001-01-01'],
  ['!custom x', 'x'],
  ['! 12', '12'],
  ['!!set {a}', { a: null }],
  ['!!omap [a: 1]', [{ a: 1 }]],
  ['!!seq [1]', [1]],
  ['!!map {a: 1}', { a: 1 }],
  ['[1, 2,]', [1, 2]],
  ['{a: 1, b}', { a: 1, b: null }],
  ['{yes: 1}', { true: 1 }],
  ['{1: a, 0644: b, 1.5: c}', { 1: 'a', 420: 'b', 1.5: 'c' }],
  ['"a\\u0041\\x41\\n"', 'aAA\n'],
  ['"\\ud83d\\ude00"', '😀'],
  ['"\\0"', '\0'],
  ['|\n    a\n    b', 'a\nb\n'],
  ['>-\n    a\n    b', 'a b'],
]

test.each(KUBECTL)('reads %j as kubectl does', (text, value) => {
  const { documents } = readYaml(`v: ${text}\n`)
  expect(JSON.parse(JSON.stringify(documents[0]?.value))).toEqual({ v: value })
})

// kubectl refuses these too, or would silently change them on the way through JSON.
const REFUSED: readonly (readonly [text: string, message: string])[] = [
  ['.inf', 'infinity and NaN'],
  ['-.Inf', 'infinity and NaN'],
  ['+.inf', 'infinity and NaN'],
  ['.nan', 'infinity and NaN'],
  ['!!int abc', 'does not fit its tag'],
  ['!!bool maybe', 'does not fit its tag'],
  ['!!float x', 'does not fit its tag'],
  ['!!binary "a b!"', 'does not fit its tag'],
  ['9223372036854775808', 'beyond 64 bits'],
  ['-9223372036854775809', 'beyond 64 bits'],
  ['18446744073709551616', 'beyond 64 bits'],
  ['0xffffffffffffffff', 'beyond 64 bits'],
]

test.each(REFUSED)('refuses %j and names field and line, but not the value', (text, message) => {
  const read = () => readYaml(`a: 1\nspec:\n  items:\n  - v: ${text}\n`)
  expect(read).toThrow(YamlError)
  expect(read).toThrow(message)
  expect(read).toThrow(expect.objectContaining({ line: 4, field: 'spec.items[0].v' }))
  expect(read).not.toThrow(text)
})

test.each([
  ['9007199254740993', '9007199254740993'],
  ['-9007199254740993', '-9007199254740993'],
  ['9_223_372_036_854_775_807', '9223372036854775807'],
  ['-9223372036854775808', '-9223372036854775808'],
  ['0x7fffffffffffffff', '9223372036854775807'],
  ['0777777777777777777777', '9223372036854775807'],
])('%s keeps its digits, although no number of JavaScript has them', (text, digits) => {
  const { documents, stringify } = readYaml(`v: [${text}]\n${text}: k\n`)
  const value = documents[0]?.value ?? null
  expect(JSON.stringify(value)).toBe(`{"v":[${digits}],"${digits}":"k"}`)
  expect(stringify(value)).toBe(JSON.stringify(value))
})

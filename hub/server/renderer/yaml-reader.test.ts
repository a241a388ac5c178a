import { expect, test } from 'vitest'
import { readYaml, YAML_MAX_DEPTH } from './yaml-reader.ts'

function values(source: string): unknown {
  return JSON.parse(JSON.stringify(readYaml(source).documents.map(({ value }) => value)))
}

test('splits documents and says at which line each begins', () => {
  const source = '# head\n\na: 1\n---\n# only a comment\n---\n\n# c\nb: 2\n...\n---\n~\n--- {c: 3}\n'
  expect(readYaml(source).documents.map(({ value, line }) => ({ value, line }))).toEqual([
    { value: { a: 1 }, line: 3 },
    { value: { b: 2 }, line: 9 },
    { value: { c: 3 }, line: 13 },
  ])
})

test.each([
  ['nothing', '', []],
  ['a byte order mark', '\uFEFFa: 1\n', [{ a: 1 }]],
  ['carriage returns', 'a: |\r\n  x\r\n  y\r\nb: 1\r\n', [{ a: 'x\ny\n', b: 1 }]],
  ['a directive', '%YAML 1.1\n---\na: 1\n', [{ a: 1 }]],
  ['a separator within a block', 'a: |\n  x\n  ---\n  y\n', [{ a: 'x\n---\ny\n' }]],
  ['JSON with tabs', '{\n\t"a": "x\\/y",\n\t"b": [\n\t\t1.0, true\n\t]\n}\n', [{ a: 'x/y', b: [1, true] }]],
  ['a key that is special in JavaScript', 'a: {__proto__: {b: 1}, constructor: 2}\n', undefined],
  ['anchors', 'x: &a [1]\nz: *a\n', [{ x: [1], z: [1] }]],
  ['a merge', 'x: &a {p: 1, q: 2}\ny: {<<: *a, q: 3}\n', [{ x: { p: 1, q: 2 }, true: { q: 3, p: 1 } }]],
  ['a merge that comes last', 'x: &a {p: 1}\nz: {p: 5, <<: *a}\n', [{ x: { p: 1 }, z: { p: 5 } }]],
  ['a merge of several', 'z: {<<: [{p: 1}, {p: 2, r: 1}], s: 3}\n', [{ z: { s: 3, p: 1, r: 1 } }]],
  ['two merges', 'z:\n  <<: {a: 1}\n  <<: {b: 2}\n', [{ z: { a: 1, b: 2 } }]],
  ['a merge key in quotes', 'z: {"<<": {p: 1}}\n', [{ z: { '<<': { p: 1 } } }]],
])('reads %s', (_, source, expected) => {
  if (expected === undefined) {
    expect(JSON.stringify(readYaml(source).documents[0]?.value)).toBe('{"a":{"__proto__":{"b":1},"constructor":2}}')
  } else {
    expect(values(source)).toEqual(expected)
  }
})

test.each([
  ['a tab as indentation', 'spec:\n\ta: 1\n', 2],
  ['a wrong indentation', 'spec:\n  a: 1\n b: 2\n', 3],
  ['two mappings on one line', 'a: 1\nspec: a: b\n', 2],
  ['an open quote', 'a: 1\nb: "x\n---\nc: 1\n', 3],
  ['a key given twice', 'a: 1\nspec:\n  b: 1\n  c: 2\n  b: 3\n', 5],
  ['one key written in two ways', '{1: a,\n "1": b}\n', 2],
  ['an empty key', 'a: 1\nb: {~: 1}\n', 2],
  ['a key that is a sequence', 'a: 1\n? [x]\n: 1\n', 2],
  ['an anchor that is not there', 'a: 1\nb: *nope\n', 2],
  ['an anchor that contains itself', 'a: 1\nb: &x {c: *x}\n', 2],
  ['a merge of a number', 'a: 1\nb: {<<: 1}\n', 2],
  ['two JSON documents without a separator', '{"a": 1}\n{"b": 2}\n', 2],
  ['a control character', 'a: 1\nb: "\u0007"\n', 2],
])('refuses %s and says at which line', (_, source, line) => {
  expect(() => readYaml(source)).toThrow(expect.objectContaining({ name: 'YamlError', code: 'InvalidYaml', line }))
})

test('the names of anchors are found even where their text is the value', () => {
  expect(values('a: &b c\nd: *b\n')).toEqual([{ a: 'c', d: 'c' }])
})

test('the line of each item of a list is known', () => {
  const file = readYaml('kind: List\nitems:\n- a: 1\n-\n  b: 2\n')
  const list = file.documents[0]?.value
  const items = list !== null && typeof list === 'object' && 'items' in list ? list.items : undefined
  expect(Array.isArray(items) && items.map((item) => file.lineOf(item))).toEqual([3, 5])
})

test('an alias bomb is refused before it grows', () => {
  const lines = ['a0: &a0 [x,x,x,x,x,x,x,x,x]']
  for (let level = 1; level < 12; level++) {
    lines.push(
      `a${level}: &a${level} [${Array(9)
        .fill(`*a${level - 1}`)
        .join(',')}]`,
    )
  }
  const before = process.memoryUsage().heapUsed
  expect(() => readYaml(lines.join('\n'))).toThrow(expect.objectContaining({ code: 'LimitExceeded' }))
  expect(process.memoryUsage().heapUsed - before).toBeLessThan(50_000_000)
})

test('a bomb of merge keys is refused', () => {
  const keys = Array.from({ length: 2000 }, (_, index) => `k${index}: ${'v'.repeat(20)}`).join(', ')
  const source = `a: &a {${keys}}\nb:\n${'- <<: *a\n'.repeat(5000)}`
  expect(() => readYaml(source)).toThrow(expect.objectContaining({ code: 'LimitExceeded' }))
})

test('nesting is limited, through aliases too', () => {
  expect(() => readYaml(`${'['.repeat(YAML_MAX_DEPTH + 1)}${']'.repeat(YAML_MAX_DEPTH + 1)}`)).toThrow(
    expect.objectContaining({ code: 'LimitExceeded' }),
  )
  const lines = ['a0: &a0 [x]']
  for (let level = 1; level <= YAML_MAX_DEPTH; level++) lines.push(`a${level}: &a${level} [*a${level - 1}]`)
  expect(() => readYaml(lines.join('\n'))).toThrow(expect.objectContaining({ code: 'LimitExceeded' }))
})

test('what is wrong is said without the text of the file', () => {
  const secret = 'hunter2-very-secret'
  for (const source of [
    `data: {password: *${secret}}`,
    `data: {password: "${secret}\n---\n`,
    `data: {password: !<${secret} x}`,
    `data: {password: !foo!${secret} x}`,
    `data: {password: @${secret}}`,
    `data:\n  password: ${secret}: ${secret}`,
    `data: {password: !!int ${secret}}`,
    `%${secret}\n---\na: 1`,
  ]) {
    let message = 'nothing was refused'
    try {
      readYaml(source)
    } catch (error) {
      message = error instanceof Error ? `${error.message} ${JSON.stringify(error)}` : ''
    }
    expect(message).not.toContain(secret)
  }
})

// CEL as health rules use it, hostile expressions included.
import { expect, test } from 'vitest'
import { compileCel, findCelProblem, toCelValue } from './cel.ts'

const object = {
  apiVersion: 'example.com/v1',
  kind: 'Widget',
  metadata: { name: 'w', generation: 2, managedFields: [{ manager: 'x' }] },
  spec: { replicas: 3 },
  status: {
    phase: 'Ready',
    observedGeneration: 2,
    ratio: 1.5,
    empty: {},
    nothing: null,
    conditions: [
      { type: 'Ready', status: 'True', reason: 'AllGood' },
      { type: 'Synced', status: 'False', reason: 'Late', message: 'not yet' },
    ],
  },
}
const self = toCelValue(object)

test.each([
  ['self.status.phase == "Ready"', true],
  ['self.status.phase in ["Running", "Ready"]', true],
  ['has(self.status.foo)', false],
  ['has(self.status) && has(self.status.phase)', true],
  ['self.status.conditions.exists(c, c.type == "Ready" && c.status == "True")', true],
  ['self.status.conditions.all(c, c.status == "True")', false],
  ['self.status.conditions.exists_one(c, c.type == "Ready")', true],
  ['self.status.conditions.filter(c, c.type == "Synced")[0].status == "False"', true],
  ['self.status.observedGeneration == self.metadata.generation', true],
  ['self.spec.replicas * 2 == 6', true],
  ['self.spec.replicas > 2.5 && self.status.ratio > 1', true],
  ['self.?status.?missing.orValue("none") == "none"', true],
  ['size(self.status.conditions) == 2', true],
  ['self.status.phase.startsWith("Re") && self.status.phase.matches("^R.*y$")', true],
  ['self.status.nothing == null', true],
  ['has(self.metadata.managedFields)', false],
  ['timestamp("2026-01-01T00:00:00Z") < timestamp("2026-01-02T00:00:00Z")', true],
  // What is true decides, whatever the other side fails at.
  ['self.missing.field == 1 || true', true],
])('%s is %s', (text, value) => {
  expect(compileCel(text, 'bool').evaluate(self)).toEqual({ kind: 'value', value })
})

test('a message is put together from fields', () => {
  const text = 'self.status.conditions.filter(c, c.status == "False").map(c, c.reason + ": " + c.message).join("; ")'
  expect(compileCel(text, 'string').evaluate(self)).toEqual({ kind: 'value', value: 'Late: not yet' })
})

test.each([
  'self.status.missing == 1',
  'self.missing.field',
  'self.status.conditions[7].type == "x"',
  'self.constructor',
])('%s reads what is not there, and says so', (text) => {
  expect(compileCel(text, 'bool').evaluate(self)).toEqual({
    kind: 'absent',
    message: expect.stringMatching(/^No such key: .* \(at character \d+\)$/),
  })
})

test.each([
  ['self.status.phase > 1', /no such overload/],
  ['int(self.status.phase) == 1', /cannot convert to int/],
  ['self.spec.replicas / 0 == 1', /division by zero/],
  ['self.status.phase', /did not give bool/],
  ['self.status.phase.matches(self.status.phase + "(")', /regular expression|no_such|[Ii]nvalid/],
])('%s fails in words that hold no value of the object', (text, message) => {
  const outcome = compileCel(text, 'bool').evaluate(self)
  expect(outcome).toEqual({ kind: 'error', message: expect.stringMatching(message) })
  if (!text.includes('matches')) expect(JSON.stringify(outcome)).not.toContain('Ready')
})

test.each([
  ['self.status.phase ==', 'bool', /^is not CEL: .* \(at character 21\)$/],
  ['', 'bool', /^is not CEL/],
  ['other.field == 1', 'bool', /Unknown variable: other \(at character 1\)/],
  ['self.status.replicas + 1', 'string', /gives int, not string/],
  ['"text"', 'bool', /gives string, not bool/],
  ['"a" + 1 == "b"', 'bool', /no such overload/],
  ['self.items.foo()', 'bool', /no matching overload/],
  [`self.x == "${'a'.repeat(1_000)}"`, 'bool', /is longer than 1000 characters/],
  [`${'('.repeat(300)}true${')'.repeat(300)}`, 'bool', /is not CEL/],
  ['self.a.all(a, self.a.all(b, self.a.all(c, self.a.all(d, self.a.all(e, true)))))', 'bool', /5 macros/],
  [`self.a.map(x, x${' + x'.repeat(9)}).size() > 0`, 'bool', /9 of \+, join and literals inside macros/],
] as const)('%s as %s is refused before it is used', (text, type, message) => {
  expect(findCelProblem(text, type)).toMatch(message)
})

const hostile = toCelValue({
  list: Array.from({ length: 5_000 }, (_, index) => index),
  words: Array.from({ length: 5_000 }, () => 'x'.repeat(40)),
  text: `${'a'.repeat(60)}!`,
  long: 'y'.repeat(20_000),
})

test.each([
  'self.list.all(a, self.list.all(b, self.list.all(c, a + b + c >= 0)))',
  'self.text.matches("^(a+)+$")',
  'self.words.map(a, self.words.join("")).size() == 0',
  '[self.long].map(x, [x, x, x].join("")).map(x, [x, x, x].join("")).map(x, self.words.map(w, x + w)).size() == 0',
  'self.words.map(a, self.words.map(b, a + b)).size() == 0',
])('%s cannot hold the process up, and is not tried twice', (text) => {
  const expression = compileCel(text, 'bool')
  const cpuBefore = process.threadCpuUsage()
  const first = expression.evaluate(hostile)
  const used = process.threadCpuUsage(cpuBefore)
  expect((used.user + used.system) / 1_000).toBeLessThan(500)
  if (first.kind === 'value') return
  expect(first).toEqual({
    kind: 'error',
    message: expect.stringMatching(/took longer than 50 ms|Invalid string length/),
  })
  const cpuAgain = process.threadCpuUsage()
  expect(expression.evaluate(hostile).kind).toBe('error')
  const usedAgain = process.threadCpuUsage(cpuAgain)
  expect((usedAgain.user + usedAgain.system) / 1_000).toBeLessThan(20)
})

test('an object that is too large or too deep is not judged at all', () => {
  expect(toCelValue({ data: 'x'.repeat(300_000) })).toBeUndefined()
  let deep: unknown = 1
  for (let depth = 0; depth < 100_000; depth++) deep = [deep]
  expect(toCelValue({ deep })).toBeUndefined()
  expect(toCelValue(JSON.parse('{"__proto__": {"polluted": true}, "a": 1}'))).toEqual({ a: 1n })
})

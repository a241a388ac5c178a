// What is refused of spec.health, by table.
import { create } from '@bufbuild/protobuf'
import { HealthOptionsSchema } from '@fairlead/proto/definitions'
import { expect, test } from 'vitest'
import { findHealthProblems } from './health-rules.ts'

const problems = (options: Parameters<typeof create<typeof HealthOptionsSchema>>[1]) =>
  findHealthProblems(create(HealthOptionsSchema, options)).map(({ field, message }) => `${field} ${message}`)
const rule = (fields: object = {}) => ({
  group: 'example.com',
  kind: 'Widget',
  healthy: 'self.status.phase == "Ready"',
  ...fields,
})
const deadline = (seconds: bigint, nanos = 0) => ({ progressDeadline: { seconds, nanos } })

test('rules and deadlines as they should be are accepted', () => {
  expect(findHealthProblems(undefined)).toEqual([])
  const full = rule({
    degraded: 'self.status.conditions.exists(c, c.type == "Failed" && c.status == "True")',
    progressing: 'has(self.status.phase) && self.status.phase == "Pending"',
    suspended: 'self.spec.paused',
    message: 'self.status.message',
  })
  expect(problems({ rules: [full, rule({ group: '', kind: 'Service' })], ...deadline(300n) })).toEqual([])
  expect(problems(deadline(86_400n))).toEqual([])
})

test.each([
  ['spec.health.rules[0].healthy is missing', { rules: [rule({ healthy: '' })] }],
  ['spec.health.rules[1] there is a rule for this kind before it: example.com/Widget', { rules: [rule(), rule()] }],
  ['spec.health.rules[0].kind is missing', { rules: [rule({ kind: '' })] }],
  ['spec.health.rules[0].kind is not a kind', { rules: [rule({ kind: 'a/b' })] }],
  ['spec.health.rules[0].group "Example_com" is not an API group', { rules: [rule({ group: 'Example_com' })] }],
  ['spec.health.rules[0].kind Secret has no health of its own', { rules: [rule({ group: '', kind: 'Secret' })] }],
  ...['Deployment', 'Certificate'].map((kind): [string, object] => [
    `spec.health.rules[0].group is missing: the core group has no ${kind}; name its group`,
    { rules: [rule({ group: '', kind })] },
  ]),
  [
    'spec.health.rules[0].degraded is not CEL: Unexpected character',
    { rules: [rule({ degraded: 'self.status.phase = "x"' })] },
  ],
  ['spec.health.rules[0].suspended Unknown variable: this', { rules: [rule({ suspended: 'this.spec.paused' })] }],
  ['spec.health.rules[0].message gives int, not string', { rules: [rule({ message: '1 + 1' })] }],
  ['spec.health.rules[0].progressing gives string, not bool', { rules: [rule({ progressing: '"yes"' })] }],
  [
    'spec.health.rules are more than 100',
    { rules: Array.from({ length: 101 }, (_, index) => rule({ kind: `K${index}` })) },
  ],
  ['spec.health.progressDeadline must be between 1s and 24h', deadline(0n, 500_000_000)],
  ['spec.health.progressDeadline must be between 1s and 24h', deadline(86_400n, 1)],
  ['spec.health.progressDeadline must be between 1s and 24h', deadline(-5n)],
])('%s', (start, options) => {
  const found = problems(options as Parameters<typeof problems>[0])
  expect(found).toHaveLength(1)
  expect(found[0]?.slice(0, start.length)).toBe(start)
})

// Rules that an Application brings.
import { create } from '@bufbuild/protobuf'
import { HealthRuleSchema, HealthState } from '@fairlead/proto/common'
import type { KubernetesObject } from '@fairlead/shared/object-reference'
import { expect, test } from 'vitest'
import { ApplicationRules } from './application-rules.ts'

const { HEALTHY, PROGRESSING, DEGRADED, SUSPENDED } = HealthState

const load = async (fields: object) => {
  const rule = create(HealthRuleSchema, { group: 'example.com', kind: 'Widget', ...fields })
  const rules = await ApplicationRules.load([rule])
  return (status?: object, more: object = {}) => {
    const object = { apiVersion: 'example.com/v1', kind: 'Widget', metadata: { name: 'w' }, ...more, status }
    return rules?.assess(object as KubernetesObject)
  }
}
const full = {
  degraded: 'self.status.state == "broken"',
  progressing: 'self.status.state == "starting"',
  suspended: 'has(self.spec) && has(self.spec.paused) && self.spec.paused',
  healthy: 'self.status.state in ["up", "broken"]',
  message: '"state is " + self.status.state',
}

test('the first expression that is true decides: degraded, progressing, suspended, healthy; and none is progressing', async () => {
  const assess = await load(full)
  expect(assess({ state: 'up' })?.health).toEqual({ health: HEALTHY, message: '' })
  expect(assess({ state: 'broken' })?.health).toEqual({ health: DEGRADED, message: 'state is broken' })
  expect(assess({ state: 'starting' })?.health).toEqual({ health: PROGRESSING, message: 'state is starting' })
  expect(assess({ state: 'up' }, { spec: { paused: true } })?.health?.health).toBe(SUSPENDED)
  expect(assess({ state: 'other' })?.health).toEqual({ health: PROGRESSING, message: 'state is other' })
})

test('fields that are not there yet make an expression not true, and the message names them', async () => {
  const assess = await load({ healthy: 'self.status.phase == "Up"' })
  expect(assess()).toEqual({
    health: { health: PROGRESSING, message: 'its controller has not seen it yet' },
    problem: undefined,
  })
  expect(assess({})?.health?.message).toMatch(/no health rule is true yet \(healthy: No such key: phase/)
  const conditions = [{ type: 'Ready', status: 'False', reason: 'Waiting', message: 'for a disk' }]
  expect(assess({ conditions })?.health).toEqual({ health: PROGRESSING, message: 'Waiting: for a disk' })
})

test.each([
  [{ healthy: 'self.status.count > "a"' }, { count: 1 }, 'healthy: no such overload'],
  [{ healthy: 'self.status.' }, {}, 'healthy: is not CEL'],
  [{ healthy: 'true', degraded: 'self.status.count' }, { count: 1 }, 'degraded: did not give bool'],
  [{ healthy: 'false', message: 'self.status.count' }, { count: 1 }, 'message: did not give string'],
  [
    { healthy: 'self.status.text.matches("^(a+)+$")' },
    { text: `${'a'.repeat(60)}!` },
    'healthy: took longer than 50 ms',
  ],
  [{ healthy: 'true' }, { text: 'x'.repeat(300_000) }, 'too large'],
])('%j fails as InvalidHealthRule, and leaves the object to its conditions', async (fields, status, words) => {
  const verdict = (await load(fields))(status)
  expect(verdict?.health).toBeUndefined()
  expect(verdict?.problem).toMatchObject({ code: 'InvalidHealthRule' })
  expect(verdict?.problem?.message).toContain('the health rule for Widget.example.com cannot be used')
  expect(verdict?.problem?.message).toContain(words)
})

test('rules are for their kind alone, never for Secrets, and no more than a hundred', async () => {
  expect(await ApplicationRules.load([])).toBeUndefined()
  const rule = (group: string, kind: string) =>
    create(HealthRuleSchema, { group, kind, healthy: 'false', message: 'string(self)' })
  const rules = await ApplicationRules.load([
    rule('', 'Secret'),
    ...Array.from({ length: 200 }, (_, index) => rule('example.com', `K${index}`)),
  ])
  const assess = (apiVersion: string, kind: string) => rules?.assess({ apiVersion, kind, metadata: { name: 'x' } })
  expect(assess('v1', 'Secret')).toBeUndefined()
  expect(assess('example.org/v1', 'K1')).toBeUndefined()
  expect(assess('example.com/v1', 'K1')).toBeDefined()
  expect(assess('example.com/v1', 'K150')).toBeUndefined()
})

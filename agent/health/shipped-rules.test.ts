// Every shipped rule against samples of what controllers write; fixtures/README.md says where they come from.
import { globSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { HealthState } from '@fairlead/proto/common'
import { type KubernetesObject, splitApiVersion } from '@fairlead/shared/object-reference'
import { load } from 'js-yaml'
import { describe, expect, test } from 'vitest'
import { parseTest, RULE_STATES, type RuleState, STATES } from './condition-rule.ts'
import { assessHealth } from './health.ts'
import { findShippedRule } from './shipped-kinds.ts'
import { SHIPPED_RULES } from './shipped-rules.ts'

const NOW = new Date('2026-06-01T12:00:00Z')
const folder = path.join(import.meta.dirname, 'fixtures')

interface Sample {
  readonly health: string
  /** Where it comes from, or what it shows. */
  readonly of: string
  /** Must be in the message. */
  readonly says?: string
  readonly object: KubernetesObject
}

const samples: readonly Sample[] = globSync('*.yaml', { cwd: folder }).flatMap(
  (file) => load(readFileSync(path.join(folder, file), 'utf8')) as Sample[],
)
const nameOf = ({ object, of, health }: Sample): string => `${object.apiVersion} ${object.kind}: ${of} is ${health}`
const stateOf = ({ health }: Sample): HealthState => HealthState[health.toUpperCase() as keyof typeof HealthState]
const ruleOf = ({ object }: Sample) => findShippedRule(splitApiVersion(object.apiVersion)[0], object.kind)

test.each(samples.map((sample) => [nameOf(sample), sample] as const))('%s', (_, sample) => {
  const { health, message } = assessHealth(sample.object, { now: NOW })
  expect(`${HealthState[health]} ${message}`).toBe(`${HealthState[stateOf(sample)]} ${message}`)
  expect(message === '').toBe(health === HealthState.HEALTHY)
  if (sample.says !== undefined) expect(message).toContain(sample.says)
})

/** Every state that a rule can give. */
const statesOf = (rule: (typeof SHIPPED_RULES)[number]): Set<RuleState> =>
  new Set(RULE_STATES.filter((state) => rule[state] !== undefined || state === (rule.otherwise ?? 'progressing')))

describe('no shipped rule is without samples', () => {
  test.each(SHIPPED_RULES.map((rule) => [rule.kinds.join(', '), rule] as const))('%s', (_, rule) => {
    const seen = new Set(samples.filter((sample) => ruleOf(sample) === rule).map(stateOf))
    const missing = [...statesOf(rule)].filter((state) => !seen.has(STATES[state]))
    expect(missing).toEqual([])
  })
})

test('every sample is of a kind that has a shipped rule', () => {
  expect(samples.filter((sample) => ruleOf(sample) === undefined).map(nameOf)).toEqual([])
})

test('every test of every rule can be read', () => {
  for (const rule of SHIPPED_RULES) {
    for (const state of RULE_STATES) for (const text of rule[state] ?? []) expect(() => parseTest(text)).not.toThrow()
  }
  for (const text of ['', 'Ready', '.a b', 'Ready=True & ']) expect(() => parseTest(text)).toThrow(SyntaxError)
})

test('a kind of the same name in another group has another rule, or none', () => {
  expect(findShippedRule('example.com', 'Certificate')).toBeUndefined()
  expect(findShippedRule('', 'Service')).toBeUndefined()
  expect(findShippedRule('serving.knative.dev', 'Service')).toBeDefined()
  expect(findShippedRule('s3.aws.upbound.io', 'Bucket')).toBe(findShippedRule('nop.crossplane.io', 'NopResource'))
  expect(findShippedRule('crossplane.io', 'Bucket')).toBeUndefined()
})

// What an Application's health options must be: rules that compile, for kinds that can be judged.
import type { HealthRule } from '@fairlead/proto/common'
import type { HealthOptions } from '@fairlead/proto/definitions'
import { type CelType, findCelProblem } from '@fairlead/shared/cel'
import { isStatelessKind } from '@fairlead/shared/stateless-kinds'
import { findMissingGroupProblem } from './core-kinds.ts'
import type { FieldProblem } from './document-shape.ts'

/** More than this is a mistake; agents obey no more. */
const MAX_RULES = 100
const MIN_DEADLINE_S = 1n
const MAX_DEADLINE_S = 86_400n
const EXPRESSIONS = ['degraded', 'progressing', 'suspended', 'healthy', 'message'] as const

/** Everything that is wrong with `spec.health`. */
export function findHealthProblems(options: HealthOptions | undefined): FieldProblem[] {
  if (!options) return []
  const { rules, progressDeadline } = options
  const problems = rules.flatMap((rule, index) => findRuleProblems(rule, `spec.health.rules[${index}]`))
  const names = rules.map(({ group, kind }) => `${group}/${kind}`)
  for (const [index, name] of names.entries()) {
    if (names.indexOf(name) === index) continue
    problems.push({ field: `spec.health.rules[${index}]`, message: `there is a rule for this kind before it: ${name}` })
  }
  if (rules.length > MAX_RULES) problems.push({ field: 'spec.health.rules', message: `are more than ${MAX_RULES}` })
  const { seconds, nanos } = progressDeadline ?? { seconds: MIN_DEADLINE_S, nanos: 0 }
  if (seconds < MIN_DEADLINE_S || seconds > MAX_DEADLINE_S || (seconds === MAX_DEADLINE_S && nanos > 0)) {
    problems.push({ field: 'spec.health.progressDeadline', message: 'must be between 1s and 24h' })
  }
  return problems
}

function findRuleProblems(rule: HealthRule, field: string): FieldProblem[] {
  const { group, kind } = rule
  const problems: FieldProblem[] = []
  if (group !== '' && !/^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$/.test(group)) {
    problems.push({ field: `${field}.group`, message: `${JSON.stringify(group.slice(0, 80))} is not an API group` })
  }
  if (!/^[A-Za-z][A-Za-z0-9]{0,62}$/.test(kind)) {
    const message = kind === '' ? 'is missing: the kind that the rule is for' : 'is not a kind'
    problems.push({ field: `${field}.kind`, message })
  } else if (group === '' && findMissingGroupProblem(kind) !== undefined) {
    problems.push({ field: `${field}.group`, message: findMissingGroupProblem(kind) ?? '' })
  } else if (isStatelessKind(group, kind)) {
    problems.push({
      field: `${field}.kind`,
      message: `${kind} has no health of its own: it is Healthy when it is there`,
    })
  }
  if (rule.healthy === '') {
    problems.push({ field: `${field}.healthy`, message: 'is missing: without it an object would never be Healthy' })
  }
  for (const name of EXPRESSIONS) {
    const type: CelType = name === 'message' ? 'string' : 'bool'
    const problem = rule[name] === '' ? undefined : findCelProblem(rule[name], type)
    if (problem !== undefined) problems.push({ field: `${field}.${name}`, message: problem })
  }
  return problems
}

// The small language of the shipped rules: what a status must say for a kind to be in a state. Pure; every field may be missing
// or of another type.
//
//   Ready=True                        a condition of status.conditions; several statuses: Ready=False|Unknown
//   Ready=False:Failed|Invalid*       with one of these reasons; Ready=False:!Pending|Waiting* with none of them
//   Ready=False@Error                 of this severity
//   Ready=stale                       a condition that speaks of an older generation; it says nothing else
//   .status.listeners[].conditions/Accepted=False:!Pending   a condition of another list, any of several
//   .status.phase=Running|Succeeded   a field, as text; !=; a star matches anything; [] is any item; [a.b/c] a key with dots
//   .status.replicas=.spec.replicas   two fields; also <
//   .status.error, !.status.error     a field is there and not empty; is not
//   A & B                             both
import { HealthState } from '@fairlead/proto/common'
import type { KubernetesObject } from '@fairlead/shared/object-reference'
import { type Condition, describeCondition, fieldsOf, numberOf, toConditions } from './conditions.ts'
import { HEALTHY, type Health } from './verdict.ts'

/** What a rule can say, in the order in which it is asked. */
export const RULE_STATES = ['degraded', 'progressing', 'suspended', 'unknown', 'healthy'] as const

/** One of them. */
export type RuleState = (typeof RULE_STATES)[number]

/** How to tell the health of some kinds: for each state tests of which one must hold. */
export interface ConditionRule extends Readonly<Partial<Record<RuleState, readonly string[]>>> {
  /** `group/Kind`, several kinds of a group: `group/Kind Kind`; `*` for all kinds, `*.group` for all groups that end so. */
  readonly kinds: readonly string[]
  /** When no test holds, default progressing. */
  readonly otherwise?: RuleState
  /** Fields that say why, the first that is there, when no condition does. */
  readonly message?: readonly string[]
}

/** States of HealthState by their names in rules. */
export const STATES: Readonly<Record<RuleState, HealthState>> = {
  degraded: HealthState.DEGRADED,
  progressing: HealthState.PROGRESSING,
  suspended: HealthState.SUSPENDED,
  unknown: HealthState.UNKNOWN,
  healthy: HealthState.HEALTHY,
}

/** Controllers of any kind may say so. */
const CONVENTIONS: Readonly<Partial<Record<RuleState, readonly string[]>>> = {
  degraded: ['Stalled=True'],
  progressing: ['Reconciling=True'],
}

/** Health of an object by a rule. */
export function assessByRule(rule: ConditionRule, object: KubernetesObject): Health {
  for (const state of RULE_STATES) {
    for (const test of [...(rule[state] ?? []), ...(CONVENTIONS[state] ?? [])]) {
      const reason = parseTest(test)(object)
      if (reason !== undefined) return verdict(state, rule, object, reason)
    }
  }
  return verdict(rule.otherwise ?? 'progressing', rule, object, '')
}

function verdict(state: RuleState, rule: ConditionRule, object: KubernetesObject, reason: Condition | string): Health {
  if (state === 'healthy') return HEALTHY
  return { health: STATES[state], message: explain(rule, object, reason) }
}

function explain(rule: ConditionRule, object: KubernetesObject, reason: Condition | string): string {
  if (typeof reason !== 'string') return describeCondition(reason)
  for (const path of rule.message ?? []) {
    const text = readAll(object, parsePath(path))
      .map(scalar)
      .find((found) => found !== undefined && found !== '')
    if (text !== undefined) return reason === '' ? text : `${reason}: ${text}`
  }
  if (reason !== '') return reason
  const ready = toConditions(fieldsOf(object.status).conditions).find(({ type }) => type === 'Ready')
  if (ready && ready.status !== 'True') return describeCondition(ready)
  return object.status === undefined ? 'its controller has not seen it yet' : 'its status does not say that it works'
}

/** What holds: the condition, or words; undefined when it does not. */
type Test = (object: KubernetesObject) => Condition | string | undefined

const parsed = new Map<string, Test>()

/** The test that a text stands for. Throws SyntaxError; shipped rules are all parsed by a test. */
export function parseTest(text: string): Test {
  const known = parsed.get(text)
  if (known) return known
  const test = compileTest(text)
  parsed.set(text, test)
  return test
}

function compileTest(text: string): Test {
  const terms = text.split(' & ').map(compileTerm)
  return (object) => {
    let first: Condition | string | undefined
    for (const term of terms) {
      const found = term(object)
      if (found === undefined) return undefined
      if (first === undefined || (typeof first === 'string' && typeof found !== 'string')) first = found
    }
    return first
  }
}

const CONDITION = /^(?:(\.[^=]+)\/)?([\w.-]+(?:\/[\w.-]+)?)=([\w|]+)(?:@(\w+))?(?::(!?)(.+))?$/
const COMPARISON = /^(\.[^=!<]+)(=|!=|<)(.*)$/
const PRESENCE = /^(!?)(\.\S+)$/

function compileTerm(term: string): Test {
  if (/^\.[^=]*conditions\//.test(term) || !/^!?\./.test(term)) return compileCondition(term)
  const [, left, operator, right] = COMPARISON.exec(term) ?? []
  if (left !== undefined && operator !== undefined && right !== undefined)
    return compileComparison(left, operator, right)
  const [, not, path] = PRESENCE.exec(term) ?? []
  if (path === undefined) throw new SyntaxError(`not a test: ${term}`)
  const steps = parsePath(path)
  return (object) => {
    const isThere = readAll(object, steps).some((value) => !isEmpty(value))
    if (isThere !== (not === '')) return undefined
    return `${path.slice(1)} ${isThere ? 'is set' : 'is not set'}`
  }
}

function compileCondition(term: string): Test {
  const [, path = '.status.conditions', type, statuses, severity, not, reasons] = CONDITION.exec(term) ?? []
  if (type === undefined || statuses === undefined) throw new SyntaxError(`not a test: ${term}`)
  const steps = parsePath(path)
  const hasStatus = globs(statuses)
  const hasReason = reasons === undefined ? () => true : globs(reasons)
  const holds = (condition: Condition, generation: number | undefined): boolean =>
    condition.type === type &&
    (isStale(condition, generation) ? statuses === 'stale' : hasStatus(condition.status)) &&
    hasReason(condition.reason) === (not !== '!') &&
    (severity === undefined || condition.severity === severity)
  return (object) => {
    const generation = numberOf(object.metadata.generation)
    return readAll(object, steps)
      .flatMap(toConditions)
      .find((condition) => holds(condition, generation))
  }
}

function isStale({ observedGeneration }: Condition, generation: number | undefined): boolean {
  return observedGeneration !== undefined && generation !== undefined && observedGeneration < generation
}

function compileComparison(left: string, operator: string, right: string): Test {
  const steps = parsePath(left)
  const name = left.slice(1)
  if (/^\.[a-z]/.test(right)) {
    const other = parsePath(right)
    return (object) => {
      const [a, b] = [readAll(object, steps)[0], readAll(object, other)[0]].map(scalar)
      if (operator === '<') return Number(a ?? 0) < Number(b) ? `${name} is ${a ?? 0} of ${b}` : undefined
      if (a === undefined || b === undefined) return undefined
      return (a === b) === (operator === '=') ? `${name} is ${a}` : undefined
    }
  }
  const matches = globs(right)
  return (object) => {
    const values = readAll(object, steps)
      .map(scalar)
      .filter((value) => value !== undefined)
    const found =
      operator === '<'
        ? values.find((value) => Number(value) < Number(right))
        : values.find((value) => matches(value) === (operator === '='))
    return found === undefined ? undefined : `${name} is ${found}`
  }
}

/** `a|b*` as a predicate. */
function globs(text: string): (value: string) => boolean {
  const patterns = text.split('|').map((part) => part.replaceAll(/[.+?^${}()|[\]\\/-]/g, '\\$&').replaceAll('*', '.*'))
  const expression = new RegExp(`^(?:${patterns.join('|')})$`, 's')
  return (value) => expression.test(value)
}

/** `.a.b[].c[d.e/f]` as steps; an empty one is any item of a list. */
function parsePath(path: string): string[] {
  return [...path.matchAll(/\.([^.[\]]+)|\[([^\]]*)\]/g)].map(([, name, key]) => name ?? key ?? '')
}

function readAll(value: unknown, [step, ...rest]: readonly string[]): unknown[] {
  if (step === undefined) return value === undefined || value === null ? [] : [value]
  if (step === '') return Array.isArray(value) ? value.flatMap((item) => readAll(item, rest)) : []
  const fields = fieldsOf(value)
  return Object.hasOwn(fields, step) ? readAll(fields[step], rest) : []
}

function scalar(value: unknown): string | undefined {
  return typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean'
    ? String(value)
    : undefined
}

function isEmpty(value: unknown): boolean {
  return value === '' || (typeof value === 'object' && value !== null && Object.keys(value).length === 0)
}

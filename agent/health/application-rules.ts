// Health rules that an Application brings for its own objects, in CEL. They go before every rule of ours. What they fail at is
// told as InvalidHealthRule, and the object is then judged as if there were none.
import { type HealthRule, HealthState } from '@fairlead/proto/common'
import type { CelExpression, CelOutcome } from '@fairlead/shared/cel'
import { AppError } from '@fairlead/shared/errors'
import { type KubernetesObject, splitApiVersion } from '@fairlead/shared/object-reference'
import { isStatelessKind } from '@fairlead/shared/stateless-kinds'
import { describeCondition, findCondition } from './conditions.ts'
import { HEALTHY, type Health } from './verdict.ts'

type Cel = typeof import('@fairlead/shared/cel')

/** What a rule says of an object. */
export type RuleVerdict =
  | { readonly health: Health; readonly problem: undefined }
  | { readonly health: undefined; readonly problem: AppError }

/** The hub allows no more; a hub that does is not obeyed. */
const MAX_RULES = 100
/** Longest message, in characters. */
const MAX_MESSAGE_LENGTH = 500

const STATES = [
  ['degraded', HealthState.DEGRADED],
  ['progressing', HealthState.PROGRESSING],
  ['suspended', HealthState.SUSPENDED],
  ['healthy', HealthState.HEALTHY],
] as const

/** The rules of one application. */
export class ApplicationRules {
  readonly #cel: Cel
  readonly #rules: ReadonlyMap<string, HealthRule>
  readonly #compiled = new Map<string, CelExpression<boolean> | CelExpression<string> | AppError>()

  private constructor(cel: Cel, rules: readonly HealthRule[]) {
    this.#cel = cel
    // Of two for one kind the first; never for Secrets and what else is watched as metadata only.
    const usable = rules.slice(0, MAX_RULES).filter(({ group, kind }) => !isStatelessKind(group, kind))
    this.#rules = new Map(usable.map((rule) => [`${rule.group}/${rule.kind}`, rule] as const).reverse())
  }

  /** Takes rules as the slice has them; undefined when there are none. CEL is loaded with the first: others do not pay for it. Expressions are compiled when they are needed. */
  static async load(rules: readonly HealthRule[]): Promise<ApplicationRules | undefined> {
    if (rules.length === 0) return undefined
    return new ApplicationRules(await import('@fairlead/shared/cel'), rules)
  }

  /** What the rule for its kind says of an object; undefined when there is none. Never throws. */
  assess(object: KubernetesObject): RuleVerdict | undefined {
    const [group] = splitApiVersion(object.apiVersion)
    const rule = this.#rules.get(`${group}/${object.kind}`)
    if (!rule) return undefined
    const self = this.#cel.toCelValue(object)
    if (self === undefined) return failed(rule, 'the object is too large to be judged by a rule')
    const absent: string[] = []
    for (const [name, health] of STATES) {
      if (rule[name] === '') continue
      const outcome = this.#evaluate(rule[name], 'bool', self)
      if (outcome.kind === 'error') return failed(rule, `${name}: ${outcome.message}`)
      if (outcome.kind === 'absent') absent.push(`${name}: ${outcome.message}`)
      else if (outcome.value === true) return this.#decided(rule, health, self, object)
    }
    return this.#decided(rule, HealthState.PROGRESSING, self, object, absent)
  }

  #decided(
    rule: HealthRule,
    health: HealthState,
    self: unknown,
    object: KubernetesObject,
    absent: readonly string[] = [],
  ): RuleVerdict {
    if (health === HealthState.HEALTHY) return { health: HEALTHY, problem: undefined }
    const said = rule.message === '' ? undefined : this.#evaluate(rule.message, 'string', self)
    if (said?.kind === 'error') return failed(rule, `message: ${said.message}`)
    const own = said?.kind === 'value' ? String(said.value).slice(0, MAX_MESSAGE_LENGTH) : ''
    const message = own || describe(object, absent)
    return { health: { health, message }, problem: undefined }
  }

  #evaluate(text: string, type: 'bool' | 'string', self: unknown): CelOutcome<boolean | string> {
    const key = `${type} ${text}`
    let expression = this.#compiled.get(key)
    if (!expression) {
      expression = this.#compile(text, type)
      this.#compiled.set(key, expression)
    }
    return expression instanceof AppError ? { kind: 'error', message: expression.message } : expression.evaluate(self)
  }

  #compile(text: string, type: 'bool' | 'string'): CelExpression<boolean> | CelExpression<string> | AppError {
    try {
      return type === 'bool' ? this.#cel.compileCel(text, type) : this.#cel.compileCel(text, type)
    } catch (error) {
      if (error instanceof AppError) return error
      throw error
    }
  }
}

function failed({ group, kind }: HealthRule, why: string): RuleVerdict {
  const name = group === '' ? kind : `${kind}.${group}`
  const message = `the health rule for ${name} cannot be used, ${why}; the object is judged by its conditions`
  return { health: undefined, problem: new AppError('InvalidHealthRule', message) }
}

function describe(object: KubernetesObject, absent: readonly string[]): string {
  const ready = findCondition(object, 'Ready')
  if (ready && ready.status !== 'True') return describeCondition(ready)
  if (object.status === undefined) return 'its controller has not seen it yet'
  return absent.length === 0 ? 'by the health rule of its kind' : `no health rule is true yet (${absent.join('; ')})`
}

// Labels and selectors as in Kubernetes (kubernetes.io/docs/concepts/overview/working-with-objects/labels), and the form of names.
import { create } from '@bufbuild/protobuf'
import {
  type LabelRequirement,
  LabelRequirementSchema,
  type LabelSelector,
  LabelSelectorSchema,
} from '@fairlead/proto/definitions'
import { AppError } from '@fairlead/shared/errors'

/** Labels by key. */
export type Labels = Readonly<Record<string, string>>

const DNS_LABEL = /^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/
const QUALIFIED_NAME = /^[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$/
const OPERATORS = ['In', 'NotIn', 'Exists', 'DoesNotExist'] as const

/** Why `name` is not a DNS label (RFC 1123) of at most 63 characters; undefined when it is one. */
export function findNameProblem(name: string): string | undefined {
  if (DNS_LABEL.test(name)) return undefined
  if (name === '') return 'is missing'
  const rule =
    'use lower-case letters, digits and "-", beginning and ending with a letter or digit, at most 63 characters'
  return `${JSON.stringify(name.slice(0, 80))} is not a valid name: ${rule}`
}

/** Why a label key is not valid: an optional DNS subdomain and "/", then a name of at most 63 characters. */
export function findLabelKeyProblem(key: string): string | undefined {
  const slash = key.indexOf('/')
  const prefix = slash < 0 ? undefined : key.slice(0, slash)
  if (prefix !== undefined && !isDnsSubdomain(prefix))
    return `${JSON.stringify(key)} is not a valid label key: the part before "/" must be a DNS name`
  if (QUALIFIED_NAME.test(key.slice(slash + 1))) return undefined
  return `${JSON.stringify(key)} is not a valid label key: use letters, digits, "-", "_" and ".", beginning and ending with a letter or digit, at most 63 characters`
}

/** Why a label value is not valid; the empty value is. */
export function findLabelValueProblem(value: string): string | undefined {
  if (value === '' || QUALIFIED_NAME.test(value)) return undefined
  return `${JSON.stringify(value)} is not a valid label value: use letters, digits, "-", "_" and ".", beginning and ending with a letter or digit, at most 63 characters`
}

/** Every problem of labels, each with the key. */
export function findLabelsProblems(labels: Labels): string[] {
  return Object.entries(labels).flatMap(([key, value]) => {
    const problems = [findLabelKeyProblem(key), findLabelValueProblem(value)]
    return problems.filter((problem) => problem !== undefined)
  })
}

/** A part of a selector that is not valid. */
export interface SelectorProblem {
  /** Path below the selector, for example matchExpressions[0].operator. */
  readonly field: string
  readonly message: string
}

/** Everything that is wrong with a selector. */
export function findSelectorProblems(selector: LabelSelector): SelectorProblem[] {
  const labels = findLabelsProblems(selector.matchLabels).map((message) => ({ field: 'matchLabels', message }))
  const expressions = selector.matchExpressions.flatMap((requirement, index) =>
    findRequirementProblems(requirement).map(({ field, message }) => ({
      field: `matchExpressions[${index}].${field}`,
      message,
    })),
  )
  return [...labels, ...expressions]
}

function findRequirementProblems({ key, operator, values }: LabelRequirement): SelectorProblem[] {
  const problems: SelectorProblem[] = []
  const keyProblem = key === '' ? 'is missing' : findLabelKeyProblem(key)
  if (keyProblem !== undefined) problems.push({ field: 'key', message: keyProblem })
  if (!OPERATORS.some((known) => known === operator)) {
    const given = operator === '' ? 'is missing' : `${JSON.stringify(operator)} is not an operator`
    return [...problems, { field: 'operator', message: `${given}: use ${OPERATORS.join(', ')}` }]
  }
  const wantsValues = operator === 'In' || operator === 'NotIn'
  if (wantsValues && values.length === 0)
    problems.push({ field: 'values', message: `${operator} needs at least one value` })
  if (!wantsValues && values.length > 0) problems.push({ field: 'values', message: `${operator} takes no values` })
  for (const value of values) {
    const message = findLabelValueProblem(value)
    if (message !== undefined) problems.push({ field: 'values', message })
  }
  return problems
}

/** True when all requirements hold. An empty selector holds for everything; NotIn also holds when there is no such label. Throws InvalidArgument for an unknown operator. */
export function matchesSelector(selector: LabelSelector, labels: Labels): boolean {
  const has = (key: string): boolean => Object.hasOwn(labels, key)
  const equal = Object.entries(selector.matchLabels).every(([key, value]) => has(key) && labels[key] === value)
  return (
    equal &&
    selector.matchExpressions.every((requirement) => holds(requirement, labels[requirement.key], has(requirement.key)))
  )
}

function holds({ operator, values }: LabelRequirement, value: string | undefined, present: boolean): boolean {
  const isListed = present && value !== undefined && values.includes(value)
  switch (operator) {
    case 'In':
      return isListed
    case 'NotIn':
      return !isListed
    case 'Exists':
      return present
    case 'DoesNotExist':
      return !present
    default:
      throw new AppError('InvalidArgument', `${JSON.stringify(operator)} is not a selector operator`)
  }
}

/** A selector as kubectl reads it: `env=prod,region!=eu`, `env in (a,b)`, `env notin (a,b)`, `env`, `!env`; empty for everything. Throws InvalidArgument. */
export function parseSelector(text: string): LabelSelector {
  const selector = create(LabelSelectorSchema, { matchExpressions: splitRequirements(text).map(parseRequirement) })
  const [problem] = findSelectorProblems(selector)
  if (problem) throw new AppError('InvalidArgument', `the selector ${JSON.stringify(text)}: ${problem.message}`)
  return selector
}

/** Splits at commas outside of parentheses. */
function splitRequirements(text: string): string[] {
  if (text.trim() === '') return []
  return text.split(/,(?![^(]*\))/).map((part) => part.trim())
}

function parseRequirement(text: string): LabelRequirement {
  const set = /^(\S+)\s+(in|notin)\s*\(([^()]*)\)$/.exec(text)
  if (set) {
    const values = (set[3] ?? '').split(',').map((value) => value.trim())
    return requirement(set[1], set[2] === 'in' ? 'In' : 'NotIn', values)
  }
  const equality = /^([^\s=!]+)\s*(==|=|!=)\s*([^\s=!]*)$/.exec(text)
  if (equality) return requirement(equality[1], equality[2] === '!=' ? 'NotIn' : 'In', [equality[3] ?? ''])
  const existence = /^(!?)\s*([^\s=!()]+)$/.exec(text)
  if (existence) return requirement(existence[2], existence[1] === '!' ? 'DoesNotExist' : 'Exists', [])
  throw new AppError(
    'InvalidArgument',
    `${JSON.stringify(text)} is not a selector: write env=prod, env!=prod, env in (a,b), env or !env, separated by commas`,
  )
}

function requirement(key: string | undefined, operator: string, values: string[]): LabelRequirement {
  return create(LabelRequirementSchema, { key: key ?? '', operator, values })
}

function isDnsSubdomain(text: string): boolean {
  return text.length <= 253 && text.split('.').every((label) => DNS_LABEL.test(label))
}

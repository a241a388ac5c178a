// What the rules of spec.sync.ignoreFields must be.
import type { IgnoreRule } from '@fairlead/proto/common'
import { toAppError } from '@fairlead/shared/errors'
import { parseFieldPath } from '@fairlead/shared/field-path'
import { findNameProblem } from '../label-selector.ts'
import { findMissingGroupProblem } from './core-kinds.ts'
import type { FieldProblem } from './document-shape.ts'

const FIELD = 'spec.sync.ignoreFields'
const MAX_RULES = 100
const MAX_PATHS = 100
const MAX_NAME_LENGTH = 253
const GROUP = /^(\*|[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*)$/
const KIND = /^[A-Za-z][A-Za-z0-9]{0,62}$/

/** Everything that is wrong with the rules. */
export function findIgnoreProblems(rules: readonly IgnoreRule[]): FieldProblem[] {
  if (rules.length > MAX_RULES) return [{ field: FIELD, message: `has more than ${MAX_RULES} rules` }]
  return rules.flatMap((rule, index) => findRuleProblems(rule, `${FIELD}[${index}]`))
}

function findRuleProblems({ group, kind, namespace, name, paths }: IgnoreRule, at: string): FieldProblem[] {
  const wholeProblem =
    paths.length === 0
      ? 'is empty: name the fields, such as spec.replicas'
      : paths.length > MAX_PATHS
        ? `has more than ${MAX_PATHS} paths`
        : undefined
  return [
    ...problemAt(`${at}.group`, findGroupProblem(group, kind)),
    ...problemAt(
      `${at}.kind`,
      kind === '' || KIND.test(kind) ? undefined : `${shown(kind)} is no kind; leave it out for every kind`,
    ),
    ...problemAt(`${at}.namespace`, namespace === '' ? undefined : findNameProblem(namespace)),
    ...problemAt(`${at}.name`, findObjectNameProblem(name)),
    ...problemAt(`${at}.paths`, wholeProblem),
    ...(wholeProblem === undefined
      ? paths.flatMap((path, index) => problemAt(`${at}.paths[${index}]`, findPathProblem(path)))
      : []),
  ]
}

function findGroupProblem(group: string, kind: string): string | undefined {
  if (group !== '' && !GROUP.test(group)) return `${shown(group)} is no API group, such as apps, and not "*"`
  const problem = group === '' && KIND.test(kind) ? findMissingGroupProblem(kind) : undefined
  return problem === undefined ? undefined : `${problem}, or "*" for any`
}

function findObjectNameProblem(name: string): string | undefined {
  if (name.length > MAX_NAME_LENGTH) return `is longer than ${MAX_NAME_LENGTH} characters`
  if (/[\s*/]/.test(name)) return `${shown(name)} is no name; leave it out for every object`
  return undefined
}

function findPathProblem(path: string): string | undefined {
  try {
    parseFieldPath(path)
    return undefined
  } catch (error) {
    return toAppError(error).message
  }
}

function problemAt(field: string, message: string | undefined): FieldProblem[] {
  return message === undefined ? [] : [{ field, message }]
}

function shown(text: string): string {
  return JSON.stringify(text.slice(0, 80))
}

// Which shipped rule a kind has.
import type { ConditionRule } from './condition-rule.ts'
import { SHIPPED_RULES } from './shipped-rules.ts'

interface Pattern {
  readonly group: string
  readonly kinds: ReadonlySet<string>
  readonly rule: ConditionRule
}

const PATTERNS: readonly Pattern[] = SHIPPED_RULES.flatMap((rule) =>
  rule.kinds.map((text) => {
    const [group = '', kinds = ''] = text.split('/')
    return { group, kinds: new Set(kinds.split(' ')), rule }
  }),
)

const found = new Map<string, ConditionRule | undefined>()

/** The shipped rule for a kind, undefined when there is none. */
export function findShippedRule(group: string, kind: string): ConditionRule | undefined {
  if (group === '') return undefined
  const key = `${group}/${kind}`
  if (!found.has(key)) found.set(key, PATTERNS.find((pattern) => fits(pattern, group, kind))?.rule)
  return found.get(key)
}

function fits(pattern: Pattern, group: string, kind: string): boolean {
  const isGroup = pattern.group.startsWith('*.') ? group.endsWith(pattern.group.slice(1)) : group === pattern.group
  return isGroup && (pattern.kinds.has('*') || pattern.kinds.has(kind))
}

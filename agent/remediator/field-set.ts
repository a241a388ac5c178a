// Sets of fields as metadata.managedFields holds them (Kubernetes, "Server-Side Apply", fieldsV1). Pure, and never looks
// at values: a set holds names only.
import { canonicalJson } from '@fairlead/shared/digest'

/** A fieldsV1 set: keys are `f:<field>`, `k:<list keys>`, `v:<value>`, `i:<index>`, or `.` for the node itself. */
export type FieldSet = { readonly [step: string]: FieldSet }

/** Both sets together. */
export function unionFields(a: FieldSet, b: FieldSet): FieldSet {
  const union: Record<string, FieldSet> = { ...a }
  for (const [step, inner] of Object.entries(b)) {
    const known = union[step]
    union[step] = known ? unionFields(known, inner) : inner
  }
  return union
}

/** What is in `a` and not in `b`. */
export function subtractFields(a: FieldSet, b: FieldSet): FieldSet {
  const rest: Record<string, FieldSet> = {}
  for (const [step, inner] of Object.entries(a)) {
    const other = b[step]
    if (!other) {
      rest[step] = inner
      continue
    }
    const remaining = subtractFields(inner, other)
    if (Object.keys(remaining).length > 0) rest[step] = remaining
  }
  return rest
}

/** The path of every leaf, as steps from the top. */
export function listLeaves(fields: FieldSet, path: readonly string[] = []): string[][] {
  const steps = Object.entries(fields)
  if (steps.length === 0) return path.length === 0 ? [] : [[...path]]
  return steps.flatMap(([step, inner]) => listLeaves(inner, [...path, step]))
}

/** True when the set has this path, as a leaf or with more below it. */
export function hasPath(fields: FieldSet, path: readonly string[]): boolean {
  let node: FieldSet | undefined = fields
  for (const step of path) node = node?.[step]
  return node !== undefined
}

/** Paths for people, such as `spec.template.spec.containers[name=web].image`; sorted, at most `limit` (default 20). Never values of fields. */
export function formatFieldPaths(fields: FieldSet, limit = 20): string[] {
  const leaves = listLeaves(fields)
  // Of a map that came with fields, which some API servers list and others do not, the fields say enough.
  const isSaid = (leaf: readonly string[]): boolean =>
    leaf.at(-1) === '.' && leaf.at(-2)?.startsWith('f:') === true && countBelow(leaves, leaf.slice(0, -1)) > 1
  const paths = new Set(leaves.filter((leaf) => !isSaid(leaf)).map(formatPath))
  paths.delete('')
  return [...paths].sort().slice(0, limit)
}

function countBelow(leaves: readonly (readonly string[])[], path: readonly string[]): number {
  return leaves.filter((leaf) => path.every((step, index) => leaf[index] === step)).length
}

function formatPath(steps: readonly string[]): string {
  let path = ''
  for (const step of steps) {
    const [kind, rest] = [step.slice(0, 2), step.slice(2)]
    if (kind === 'f:') path += /^[\w-]+$/.test(rest) ? `${path === '' ? '' : '.'}${rest}` : `[${rest}]`
    else if (kind === 'k:') path += `[${formatKeys(rest)}]`
    else if (kind === 'i:') path += `[${rest}]`
    // v: is a member of a set, whose name is its value: say only that one was there.
    else if (kind === 'v:') path += '[]'
  }
  return path
}

function formatKeys(json: string): string {
  try {
    const keys = Object.entries(JSON.parse(json) as Record<string, unknown>)
    return keys.map(([key, value]) => `${key}=${String(value)}`).join(',')
  } catch {
    return ''
  }
}

/** True when everything in `fields` is declared too, so that one forced apply takes it all over. */
export function isDeclared(fields: FieldSet, declared: unknown): boolean {
  return Object.entries(fields).every(([step, inner]) => {
    if (step === '.') return declared !== undefined
    const value = stepInto(declared, step)
    return value !== undefined && isDeclared(inner, value)
  })
}

function stepInto(value: unknown, step: string): unknown {
  const [kind, rest] = [step.slice(0, 2), step.slice(2)]
  if (kind === 'f:') return isRecord(value) ? value[rest] : undefined
  if (!Array.isArray(value)) return undefined
  if (kind === 'i:') return value[Number(rest)]
  const wanted: unknown = JSON.parse(rest)
  if (kind === 'v:') return value.find((item) => canonicalJson(item) === canonicalJson(wanted))
  return value.find((item) => isRecord(item) && isRecord(wanted) && hasKeys(item, wanted))
}

/** What API servers fill in where a manifest leaves out a key of a list: of the built-in kinds only ports have such a one. */
const KEY_DEFAULTS: Readonly<Record<string, unknown>> = { protocol: 'TCP' }

function hasKeys(item: Record<string, unknown>, wanted: Record<string, unknown>): boolean {
  return Object.entries(wanted).every(([key, part]) => (item[key] ?? KEY_DEFAULTS[key]) === part)
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

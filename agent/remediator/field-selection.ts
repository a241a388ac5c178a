// Which part of a set of owned fields some paths speak of. Pure, and never looks at values of fields: the members of
// sets, which are their own names, are compared only with what a path spells out.
import type { FieldPath, PathStep } from '@fairlead/shared/field-path'
import type { FieldSet } from './field-set.ts'

/** A set of fields in two. */
export interface Selection {
  /** What the paths name, with everything below. */
  readonly selected: FieldSet
  /** Everything else. */
  readonly rest: FieldSet
}

/** Splits `fields` by paths: what we may own ourselves and what not. Where nothing is selected, `rest` is all there is. */
export function splitFields(fields: FieldSet, paths: readonly FieldPath[]): Selection {
  return paths.length === 0 ? { selected: {}, rest: fields } : split(fields, paths, (_step, parts) => parts)
}

/**
 * Splits what another writer owns by what may stay. A container that holds nothing but what stays, stays. An item of a
 * list that the writer added is one whole: unless all of it may stay, none of it does.
 */
export function splitOthersFields(fields: FieldSet, paths: readonly FieldPath[]): Selection {
  return settleContainer('', split(fields, paths, settleContainer))
}

type Settle = (step: string, parts: Selection) => Selection

function split(fields: FieldSet, paths: readonly FieldPath[], settle: Settle): Selection {
  const selected: Record<string, FieldSet> = {}
  const rest: Record<string, FieldSet> = {}
  for (const [step, inner] of Object.entries(fields)) {
    const tails = paths.filter(([first]) => first && matches(step, first)).map((path) => path.slice(1))
    if (tails.some((tail) => tail.length === 0)) {
      selected[step] = inner
      continue
    }
    if (tails.length === 0) {
      rest[step] = inner
      continue
    }
    const parts = settle(step, split(inner, tails, settle))
    if (isNotEmpty(parts.selected)) selected[step] = parts.selected
    // A node without anything below it is itself a field.
    if (isNotEmpty(parts.rest) || !isNotEmpty(parts.selected)) rest[step] = parts.rest
  }
  return { selected, rest }
}

function settleContainer(step: string, { selected, rest }: Selection): Selection {
  const { '.': container, ...others } = rest
  if (!container || !isNotEmpty(selected)) return { selected, rest }
  if (!isNotEmpty(others)) return { selected: { ...selected, '.': container }, rest: others }
  return step.startsWith('k:') ? { selected: {}, rest: merge(selected, rest) } : { selected, rest }
}

function merge(a: FieldSet, b: FieldSet): FieldSet {
  const merged: Record<string, FieldSet> = { ...a }
  for (const [step, inner] of Object.entries(b)) merged[step] = merge(merged[step] ?? {}, inner)
  return merged
}

/** True when a step of fieldsV1 is one that a path's step means. */
function matches(step: string, wanted: PathStep): boolean {
  if (step === '.') return false
  const [kind, name] = [step.slice(0, 2), step.slice(2)]
  switch (wanted.kind) {
    case 'any':
      return true
    case 'field':
      return kind === 'f:' ? name === wanted.name : kind === 'v:' && String(parse(name)) === wanted.name
    case 'index':
      return kind === 'i:' || kind === 'f:' ? name === String(wanted.index) : false
    case 'item':
      return kind === 'k:' && matchesKeys(parse(name), wanted.keys)
  }
}

/** Of an item only the keys are known; those that the path gives must be the same. */
function matchesKeys(item: unknown, keys: Readonly<Record<string, string>>): boolean {
  if (typeof item !== 'object' || item === null) return false
  const common = Object.entries(item).filter(([key]) => keys[key] !== undefined)
  return common.length > 0 && common.every(([key, value]) => String(value) === keys[key])
}

function parse(json: string): unknown {
  try {
    return JSON.parse(json)
  } catch {
    return undefined
  }
}

function isNotEmpty(fields: FieldSet): boolean {
  return Object.keys(fields).length > 0
}

// Taking fields out of a declared object, so that they are neither sent nor owned. Pure; what is not on the way to a
// field that goes stays the same value.
import type { FieldPath, PathStep } from '@fairlead/shared/field-path'

const GONE = Symbol('gone')

/** The object without the fields that the paths name. Maps and lists that only held such fields go with them. */
export function removeFields<T extends object>(object: T, paths: readonly FieldPath[]): T {
  let rest: unknown = object
  for (const path of paths) {
    const removed = removeAt(rest, path)
    if (removed !== GONE) rest = removed
  }
  return rest as T
}

function removeAt(value: unknown, [step, ...tail]: FieldPath): unknown {
  if (step === undefined) return GONE
  if (Array.isArray(value)) return removeFromList(value, step, tail)
  return isMap(value) ? removeFromMap(value, step, tail) : value
}

function removeFromList(list: readonly unknown[], step: PathStep, tail: FieldPath): unknown {
  let isChanged = false
  const rest = list.flatMap((item, index) => {
    if (!matchesItem(item, index, step)) return [item]
    const removed = removeAt(item, tail)
    isChanged ||= removed !== item
    return removed === GONE ? [] : [removed]
  })
  if (!isChanged) return list
  return rest.length === 0 ? GONE : rest
}

function removeFromMap(map: Readonly<Record<string, unknown>>, step: PathStep, tail: FieldPath): unknown {
  let isChanged = false
  const rest = Object.entries(map).flatMap(([key, inner]) => {
    if (!matchesKey(key, step)) return [[key, inner] as const]
    const removed = removeAt(inner, tail)
    isChanged ||= removed !== inner
    return removed === GONE ? [] : [[key, removed] as const]
  })
  if (!isChanged) return map
  return rest.length === 0 ? GONE : Object.fromEntries(rest)
}

function matchesKey(key: string, step: PathStep): boolean {
  return (
    step.kind === 'any' ||
    (step.kind === 'field' && step.name === key) ||
    (step.kind === 'index' && String(step.index) === key)
  )
}

function matchesItem(item: unknown, index: number, step: PathStep): boolean {
  switch (step.kind) {
    case 'any':
      return true
    case 'index':
      return step.index === index
    case 'field':
      return isPlain(item) && String(item) === step.name
    case 'item':
      return isMap(item) && Object.entries(step.keys).every(([key, value]) => textOf(item[key]) === value)
  }
}

/**
 * The same paths with positions in lists replaced by what the declared item there says of itself: the API server names
 * items by their keys, and their order may change.
 */
export function resolvePositions(object: object, paths: readonly FieldPath[]): readonly FieldPath[] {
  return paths.map((path) => {
    let values: readonly unknown[] = [object]
    return path.map((step) => {
      const resolved = resolveStep(values, step)
      values = values.flatMap((value) => childrenOf(value, step))
      return resolved
    })
  })
}

function resolveStep(values: readonly unknown[], step: PathStep): PathStep {
  if (step.kind !== 'index') return step
  const list = values.find((value) => Array.isArray(value)) as readonly unknown[] | undefined
  const item = list?.[step.index]
  if (isMap(item)) {
    const keys = Object.entries(item).flatMap(([key, value]) => (isPlain(value) ? [[key, String(value)] as const] : []))
    return keys.length > 0 ? { kind: 'item', keys: Object.fromEntries(keys) } : step
  }
  if (isPlain(item)) return { kind: 'field', name: String(item) }
  return step
}

function childrenOf(value: unknown, step: PathStep): readonly unknown[] {
  if (Array.isArray(value)) return value.filter((item, index) => matchesItem(item, index, step))
  if (!isMap(value)) return []
  return Object.entries(value).flatMap(([key, inner]) => (matchesKey(key, step) ? [inner] : []))
}

function textOf(value: unknown): string | undefined {
  return isPlain(value) ? String(value) : undefined
}

function isPlain(value: unknown): value is string | number | boolean {
  return typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean'
}

function isMap(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value) && !isRawNumber(value)
}

/** A number that kept its digits (JSON.rawJSON). */
function isRawNumber(value: object): boolean {
  return (JSON as unknown as { isRawJSON(value: unknown): boolean }).isRawJSON(value)
}

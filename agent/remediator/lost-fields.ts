// What of a declared object we do not own any more: what others changed or removed. Told without the recorded set of
// fields, of which only a hash is kept: the declared object says what we should own. Pure.
import { canonicalJson } from '@fairlead/shared/digest'
import { type FieldSet, isDeclared } from './field-set.ts'

/**
 * The declared fields that are not in `owned`, our own entry. `known` are the fields of every writer, ours among them:
 * they tell how lists are keyed, and how deep a field goes that others own now.
 */
export function findLostFields(declared: object, owned: FieldSet, known: FieldSet): FieldSet {
  const { apiVersion: _v, kind: _k, metadata, ...rest } = declared as Record<string, unknown>
  const { name: _n, namespace: _s, ...meta } = (metadata ?? {}) as Record<string, unknown>
  return lostOfMap({ ...rest, metadata: meta }, owned, known)
}

function lostOf(value: unknown, owned: FieldSet | undefined, known: FieldSet | undefined): FieldSet {
  if (owned && isLeaf(owned)) return {}
  if (Array.isArray(value)) return lostOfList(value, owned ?? {}, known ?? {})
  return isMap(value) ? lostOfMap(value, owned, known) : {}
}

function lostOfMap(value: object, owned: FieldSet | undefined, known: FieldSet | undefined): FieldSet {
  const lost: Record<string, FieldSet> = {}
  for (const [key, inner] of Object.entries(value)) {
    // Null means that the field is not wanted: it is never owned.
    if (inner === null || inner === undefined) continue
    note(lost, `f:${key}`, { value: inner, owned, known })
  }
  return lost
}

function lostOfList(list: readonly unknown[], owned: FieldSet, known: FieldSet): FieldSet {
  const lost: Record<string, FieldSet> = {}
  const steps = new Set([...Object.keys(owned), ...Object.keys(known)])
  for (const item of list) {
    const step = [...steps].find((one) => names(one, item)) ?? guessStep(item)
    if (step !== undefined) note(lost, step, { value: item, owned, known })
  }
  return lost
}

interface Place {
  readonly value: unknown
  readonly owned: FieldSet | undefined
  readonly known: FieldSet | undefined
}

function note(lost: Record<string, FieldSet>, step: string, { value, owned, known }: Place): void {
  const [ours, theirs] = [owned?.[step], known?.[step]]
  if (ours === undefined && isWhole(value, theirs)) {
    lost[step] = {}
    return
  }
  const inner = lostOf(value, ours, theirs)
  if (Object.keys(inner).length > 0) lost[step] = inner
}

/** True for a field that is owned as one: a plain or an empty value, what others own as one, and a list of which nobody owns an item. */
function isWhole(value: unknown, theirs: FieldSet | undefined): boolean {
  if (!isContainer(value) || Object.keys(value as object).length === 0) return true
  return theirs === undefined ? Array.isArray(value) : isLeaf(theirs)
}

/** True when a step of a list means this item. Keys that the item leaves out have their default. */
function names(step: string, item: unknown): boolean {
  const [kind, rest] = [step.slice(0, 2), step.slice(2)]
  if (kind === 'v:') return parse(rest) === canonicalJson(item)
  if (kind !== 'k:' || !isMap(item)) return false
  const keys = Object.entries(JSON.parse(rest) as Record<string, unknown>)
  return (
    keys.some(([key]) => item[key] !== undefined) &&
    keys.every(([key, part]) => item[key] === undefined || item[key] === part)
  )
}

function parse(json: string): string | undefined {
  try {
    return canonicalJson(JSON.parse(json))
  } catch {
    return undefined
  }
}

/** Most lists are keyed by name; of others it is only said that they lost something, by their own path. */
function guessStep(item: unknown): string | undefined {
  return isMap(item) && typeof item.name === 'string' ? `k:${JSON.stringify({ name: item.name })}` : undefined
}

function isLeaf(fields: FieldSet): boolean {
  return Object.keys(fields).length === 0
}

function isContainer(value: unknown): boolean {
  return typeof value === 'object' && value !== null
}

function isMap(value: unknown): value is Record<string, unknown> {
  return isContainer(value) && !Array.isArray(value)
}

/** What of `fields` a declared object has too. */
export function declaredPart(fields: FieldSet, declared: object): FieldSet {
  const leaves: Record<string, FieldSet> = {}
  for (const [step, inner] of Object.entries(fields)) {
    if (step === '.') continue
    if (isLeaf(inner)) {
      if (isDeclared({ [step]: inner }, declared)) leaves[step] = inner
      continue
    }
    const child = childOf(declared, step)
    const part = child === undefined ? {} : declaredPart(inner, child)
    if (!isLeaf(part)) leaves[step] = part
  }
  return leaves
}

/** The map or list at a step of a set, out of a declared object or list; undefined for anything else. */
export function childOf(declared: unknown, step: string): object | undefined {
  const child = step.startsWith('f:')
    ? isMap(declared)
      ? declared[step.slice(2)]
      : undefined
    : Array.isArray(declared)
      ? declared.find((item) => names(step, item))
      : undefined
  return isContainer(child) ? (child as object) : undefined
}

/**
 * Of fields that were lost, the maps and lists that are declared empty and in which others own something by now: who puts
 * something in owns them, and takes nothing from us.
 */
export function emptyPart(lost: FieldSet, declared: object, known: FieldSet): FieldSet {
  const empty: Record<string, FieldSet> = {}
  for (const [step, inner] of Object.entries(lost)) {
    const child = childOf(declared, step)
    const theirs = known[step]
    if (child === undefined || theirs === undefined) continue
    const part = isLeaf(inner) ? {} : emptyPart(inner, child, theirs)
    if (isLeaf(inner) ? Object.keys(child).length === 0 : !isLeaf(part)) empty[step] = part
  }
  return empty
}

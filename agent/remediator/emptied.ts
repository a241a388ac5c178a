// What a person puts into a map or list that is declared empty. An apply that takes the last item out of one leaves null
// behind, which a CRD may refuse and which is not what is declared (seen on 1.36), so it is emptied in the patch that takes
// the item over. Pure.
import type { KubernetesObject } from '@fairlead/shared/object-reference'
import type { JsonPatchOperation } from '../kube/kube.ts'
import { type FieldSet, hasPath, listLeaves, subtractFields } from './field-set.ts'
import { childOf } from './lost-fields.ts'

/** Emptied containers. */
export interface Emptied {
  /** What does not have to be taken over, because it goes at once. */
  readonly gone: FieldSet
  readonly operations: readonly JsonPatchOperation[]
}

/**
 * Empties what is declared empty and where `taken` has something, unless `others` have something in it too. `object` is as
 * seen, its metadata alone or whole: what is inside of lists is only found in the whole.
 */
export function emptyAgain(taken: FieldSet, declared: object, object: KubernetesObject, others: FieldSet): Emptied {
  let rest = taken
  const operations: JsonPatchOperation[] = []
  for (const { steps, value } of findFilled(taken, declared, [])) {
    const path = pointerTo(steps, object)
    if (path === undefined || (hasPath(others, steps) && listLeaves(at(others, steps)).length > 0)) continue
    operations.push({ op: 'add', path, value })
    rest = subtractFields(rest, nest(steps, at(taken, steps)))
  }
  return { gone: subtractFields(taken, rest), operations }
}

interface Filled {
  readonly steps: readonly string[]
  readonly value: object
}

/** The containers that are declared empty and in which the fields have something. */
function findFilled(fields: FieldSet, declared: object, path: readonly string[]): Filled[] {
  return Object.entries(fields).flatMap(([step, inner]) => {
    const child = step === '.' || Object.keys(inner).length === 0 ? undefined : childOf(declared, step)
    if (child === undefined) return []
    const steps = [...path, step]
    if (Object.keys(child).length > 0) return findFilled(inner, child, steps)
    return [{ steps, value: Array.isArray(child) ? [] : {} }]
  })
}

/** JSON pointer (RFC 6901) to a field; undefined where it cannot be told. */
function pointerTo(steps: readonly string[], object: object): string | undefined {
  let pointer = ''
  let node: unknown = object
  for (const step of steps) {
    if (step.startsWith('f:')) {
      const field = step.slice(2)
      pointer += `/${field.replaceAll('~', '~0').replaceAll('/', '~1')}`
      node = (node as Record<string, unknown> | undefined)?.[field]
      continue
    }
    const item = Array.isArray(node) ? childOf(node, step) : undefined
    const index = Array.isArray(node) ? node.indexOf(item) : -1
    if (item === undefined || index < 0) return undefined
    pointer += `/${index}`
    node = item
  }
  return pointer
}

function at(fields: FieldSet, steps: readonly string[]): FieldSet {
  return steps.reduce<FieldSet>((node, step) => node[step] ?? {}, fields)
}

function nest(steps: readonly string[], fields: FieldSet): FieldSet {
  return steps.reduceRight<FieldSet>((inner, step) => ({ [step]: inner }), fields)
}

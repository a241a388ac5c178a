// Deciding drift by ownership: an object has drifted exactly when our managedFields entry is not the one recorded at
// the apply, or a person owns anything, or it is gone. One comparison an event; no dry-run, no copy of the object.
import type { FieldPath } from '@fairlead/shared/field-path'
import type { KubernetesObject } from '@fairlead/shared/object-reference'
import { type FieldSet, listLeaves, unionFields } from './field-set.ts'
import {
  findPersonEntries,
  findScaler,
  hashOurEntry,
  hashWithFields,
  PERSON_MANAGERS,
  type PersonEntry,
  REPLICAS,
} from './managed-fields.ts'

/** What an object looks like against what was recorded. */
export type DriftDecision =
  | { readonly drift: 'none'; readonly entryHash: string }
  /** What was taken is left: to an autoscaler, or because it holds nothing. `entryHash` is what to record from now on. */
  | { readonly drift: 'left'; readonly entryHash: string }
  /** A field that we own was changed or removed. */
  | { readonly drift: 'changed'; readonly entryHash: string; readonly persons: readonly PersonEntry[] }
  /** A person owns something that is not ours. */
  | { readonly drift: 'added'; readonly entryHash: string; readonly persons: readonly PersonEntry[] }

/** What was recorded, and how the object wants to be treated. */
export interface DriftExpectation {
  /** hashOurEntry of the answer to our last apply. */
  readonly entryHash: string
  /** The object opted out: what people add stays. */
  readonly merge: boolean
  /** Managers through which people write. */
  readonly persons?: RegExp
  /** Fields that are left to others, people among them. */
  readonly left?: readonly FieldPath[]
  /** What others may have taken of what we declare, besides replicas; asked only when something was taken. */
  readonly findLeft?: () => FieldSet
}

/** Decides on metadata alone. */
export function decideDrift(object: KubernetesObject, expected: DriftExpectation): DriftDecision {
  const entryHash = hashOurEntry(object)
  const manners = expected.persons ?? PERSON_MANAGERS
  const persons = expected.merge ? [] : findPersonEntries(object, manners, expected.left)
  if (entryHash !== expected.entryHash) {
    if (!isLeft(object, expected, manners)) return { drift: 'changed', entryHash, persons }
    if (persons.length === 0) return { drift: 'left', entryHash }
  }
  return persons.length > 0 ? { drift: 'added', entryHash, persons } : { drift: 'none', entryHash }
}

/** True when all that was taken from us is what is left to others. */
function isLeft(object: KubernetesObject, expected: DriftExpectation, persons: RegExp): boolean {
  const replicas = findScaler(object, persons) === '' ? undefined : REPLICAS
  const candidates = partsOf(expected.findLeft?.() ?? {}).flatMap((part) => [
    part,
    replicas ? unionFields(replicas, part) : part,
  ])
  return candidates.some((fields) => hashWithFields(object, fields) === expected.entryHash)
}

/** More are only looked at together. */
const PARTED_MAX = 6

/** The whole, and each part of it: what was left before is not in what was recorded. */
function partsOf(fields: FieldSet): FieldSet[] {
  const leaves = listLeaves(fields)
  if (leaves.length > PARTED_MAX) return [fields, {}]
  let parts: FieldSet[] = [{}]
  for (const leaf of leaves) {
    const alone = leaf.reduceRight<FieldSet>((inner, step) => ({ [step]: inner }), {})
    parts = parts.flatMap((part) => [unionFields(part, alone), part])
  }
  return parts
}

// Deciding drift by ownership: an object has drifted exactly when our managedFields entry is not the one recorded at
// the apply, or a person owns anything, or it is gone. One comparison an event; no dry-run, no copy of the object.
import type { KubernetesObject } from '@fairlead/shared/object-reference'
import {
  findPersonEntries,
  hashOurEntry,
  hashWithReplicas,
  isScaledByController,
  PERSON_MANAGERS,
  type PersonEntry,
} from './managed-fields.ts'

/** What an object looks like against what was recorded. */
export type DriftDecision =
  | { readonly drift: 'none'; readonly entryHash: string }
  /** An autoscaler took spec.replicas: left to it. `entryHash` is what to record from now on. */
  | { readonly drift: 'scaled'; readonly entryHash: string }
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
}

/** Decides on metadata alone. */
export function decideDrift(object: KubernetesObject, expected: DriftExpectation): DriftDecision {
  const entryHash = hashOurEntry(object)
  const manners = expected.persons ?? PERSON_MANAGERS
  const persons = expected.merge ? [] : findPersonEntries(object, manners)
  if (entryHash !== expected.entryHash) {
    const scaled = isScaledByController(object, manners) && hashWithReplicas(object) === expected.entryHash
    if (!scaled) return { drift: 'changed', entryHash, persons }
    if (persons.length === 0) return { drift: 'scaled', entryHash }
  }
  return persons.length > 0 ? { drift: 'added', entryHash, persons } : { drift: 'none', entryHash }
}

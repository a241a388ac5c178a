// What an application owns on this cluster. Recorded before the first apply, so that a crash leaks nothing; an object
// is deleted only if it is in here.
import { objectKey } from '@fairlead/shared/object-reference'

/** One object that an application owns. */
export interface InventoryRecord {
  readonly group: string
  readonly version: string
  readonly kind: string
  /** As in paths: an object can be deleted although discovery has forgotten its kind. */
  readonly plural: string
  readonly namespaced: boolean
  readonly namespace: string
  readonly name: string
  readonly wave: number
  /** Empty until the first apply was answered. */
  readonly uid: string
  /** Hash of what was applied last; empty until the first apply was answered. */
  readonly declaredHash: string
  /** hashOurEntry of the answer to it. */
  readonly entryHash: string
  /** An administrator approved the deletion of this object. */
  readonly isPruneApproved?: boolean
  /** What else may go with it by that approval, sorted; absent when nothing may. */
  readonly approvedTakes?: readonly string[]
}

/** How far the run of a hook has come: `starting` is written down before the Job is created. */
export type HookState = 'starting' | 'running' | 'succeeded' | 'failed'

/** The last run of one hook: a Job that is ours, so that what has run does not run again. */
export interface HookRecord {
  readonly namespace: string
  readonly name: string
  /** Of batch. */
  readonly version: string
  /** Empty until the Job was created. */
  readonly uid: string
  /** Which revision it ran for. */
  readonly run: string
  readonly state: HookState
  /** Why it failed; empty when it has not. */
  readonly message: string
}

/** An application's inventory. */
export interface Inventory {
  readonly application: string
  /** Digest of the artifact that was completely applied last; empty while there is none. */
  readonly artifactDigest: string
  /** When that was, in milliseconds since the epoch; 0 while there is none. */
  readonly appliedAtMs: number
  /** What besides the artifact decided which objects it declares, as a hash; empty when it is not known. */
  readonly inputs?: string
  /** `namespace/name` of the service account whose rights are used; empty for the agent's own. */
  readonly account?: string
  readonly records: readonly InventoryRecord[]
  /** Digest of the artifact that was validated last, where the application asks for that; empty while there is none. */
  readonly validatedDigest?: string
  /** From what the revision in force was declared, in the words of whoever writes it: it holds a key. Empty while nothing is known. */
  readonly inForce?: string
  /** The last runs of its hooks; absent when it has none. */
  readonly hooks?: readonly HookRecord[]
}

/** objectKey of a record. */
export function recordKey(record: InventoryRecord): string {
  return objectKey(record)
}

/** What a newly declared set means for an application's objects. */
export interface InventoryDiff {
  /** Declared and owned by nobody. */
  readonly added: readonly string[]
  /** Declared and owned already. */
  readonly kept: readonly string[]
  /** Declared, and let go by another application: taken over as they are. */
  readonly moved: readonly string[]
  /** Declared by another application too, which has it and keeps it. */
  readonly contested: readonly string[]
  /** Owned and no longer declared. */
  readonly dropped: readonly string[]
}

/** Who owns and declares what; keys are objectKey. */
export interface OwnershipFacts {
  readonly application: string
  /** All that the application declares now: always a complete set, never what could not be read. */
  readonly declared: Iterable<string>
  /** All that it owns. */
  readonly owned: Iterable<string>
  /** Who owns an object; undefined when nobody does. */
  readonly ownerOf: (key: string) => string | undefined
  /** True when the owner still declares the object, or has not yet said whether it does. */
  readonly isClaimedByOwner: (key: string) => boolean
}

/** Decides what happens to each object. */
export function diffInventory(facts: OwnershipFacts): InventoryDiff {
  const { application, declared, owned, ownerOf, isClaimedByOwner } = facts
  const diff = { added: [], kept: [], moved: [], contested: [], dropped: [] } as Record<keyof InventoryDiff, string[]>
  const wanted = new Set(declared)
  for (const key of wanted) {
    const owner = ownerOf(key)
    if (owner === undefined) diff.added.push(key)
    else if (owner === application) diff.kept.push(key)
    else if (isClaimedByOwner(key)) diff.contested.push(key)
    else diff.moved.push(key)
  }
  for (const key of owned) if (!wanted.has(key)) diff.dropped.push(key)
  return diff
}

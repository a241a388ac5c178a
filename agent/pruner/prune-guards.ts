// Which objects that are no longer declared may be deleted. Pure; when in doubt an object is held, never deleted.
import type { Orderable } from '../applier/apply-order.ts'

/** An object that is no longer declared. */
export interface PruneCandidate extends Orderable {
  readonly key: string
  /** The object or its last manifest says that it must never be deleted. */
  readonly keep: boolean
  /** For a CustomResourceDefinition: the kind it defines. */
  readonly definedKind?: string | undefined
}

/** Everything else that is owned on this cluster, by whatever application. */
export interface OwnedObject {
  readonly key: string
  readonly group: string
  readonly kind: string
  readonly namespace: string
  readonly application: string
}

/** What the guards look at. */
export interface PruneFacts {
  readonly candidates: readonly PruneCandidate[]
  /** Number of objects that the application owns: the candidates, and all that stay or are new. */
  readonly ownedCount: number
  /** All objects that stay: the candidates are not among them. */
  readonly staying: readonly OwnedObject[]
  /** The application leaves as a whole. */
  readonly isTombstone: boolean
  /** The agent's own namespace. */
  readonly ownNamespace: string
}

/** Why an object is not deleted. */
export interface HeldObject {
  readonly candidate: PruneCandidate
  /** One sentence for people. */
  readonly reason: string
}

/** What may be deleted and what is held. */
export interface PruneDecision {
  readonly prune: readonly PruneCandidate[]
  readonly held: readonly HeldObject[]
}

/** So many objects at once, and more than half of what there is, are held: an accident is more likely than an intent. Taking them away in smaller steps is not held. */
export const MASS_PRUNE_COUNT = 10

const SYSTEM_NAMESPACES = new Set(['default', 'kube-system', 'kube-public', 'kube-node-lease'])

/** Decides for each object that is no longer declared. */
export function decidePrune(facts: PruneFacts): PruneDecision {
  const prune: PruneCandidate[] = []
  const held: HeldObject[] = []
  for (const candidate of facts.candidates) {
    const reason = findHoldReason(candidate, facts)
    if (reason === undefined) prune.push(candidate)
    else held.push({ candidate, reason })
  }
  if (!facts.isTombstone && prune.length >= MASS_PRUNE_COUNT && prune.length * 2 > facts.ownedCount) {
    const reason = `${prune.length} of ${facts.ownedCount} objects would be deleted at once`
    return { prune: [], held: [...held, ...prune.map((candidate) => ({ candidate, reason }))] }
  }
  return { prune, held }
}

function findHoldReason(candidate: PruneCandidate, facts: PruneFacts): string | undefined {
  if (candidate.keep) return 'it is annotated fairlead.dev/prune: disabled'
  if (candidate.group === '' && candidate.kind === 'Namespace') return findNamespaceReason(candidate, facts)
  if (candidate.group === 'apiextensions.k8s.io' && candidate.kind === 'CustomResourceDefinition') {
    return findCrdReason(candidate, facts)
  }
  return undefined
}

function findNamespaceReason({ name }: PruneCandidate, facts: PruneFacts): string | undefined {
  if (name === facts.ownNamespace) return 'the agent runs in this namespace'
  if (SYSTEM_NAMESPACES.has(name)) return 'it is a namespace of the system'
  const inside = facts.staying.find(({ namespace }) => namespace === name)
  return inside && `application ${inside.application} still has objects in this namespace`
}

function findCrdReason(candidate: PruneCandidate, facts: PruneFacts): string | undefined {
  // The name of a CRD is <plural>.<group>: enough where its kind is not known.
  const group = candidate.name.slice(candidate.name.indexOf('.') + 1)
  const { definedKind } = candidate
  const user = facts.staying.find(
    (object) => object.group === group && (definedKind === undefined || object.kind === definedKind),
  )
  return user && `application ${user.application} still has objects of this kind`
}

// Which objects that are no longer declared may be deleted. Pure; when in doubt an object is held, never deleted.
import { createHash } from 'node:crypto'
import type { AppError } from '@fairlead/shared/errors'
import type { Orderable } from '../applier/apply-order.ts'

/** An object that is no longer declared. */
export interface PruneCandidate extends Orderable {
  readonly key: string
  /** Of the object that would be deleted: an approval is for this one, not for a later one of the same name. */
  readonly uid: string
  /** The object says that it must never be deleted. */
  readonly keep: boolean
  /** Its deletion was approved. */
  readonly isApproved: boolean
  /** Of a Namespace or a CustomResourceDefinition: what else would go with it, in words; undefined when nothing would. */
  readonly takes?: string | undefined
  /** Names exactly what would go with it, sorted; empty when nothing would. */
  readonly takenMarks?: readonly string[] | undefined
  /** Why it could not be looked at: it is not deleted now, and what is known of it from before holds or keeps it. */
  readonly undecided?: AppError | undefined
  /** The namespace that it moves to and has not arrived in: until then it stays. Empty for none. */
  readonly movesTo?: string
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
export interface GuardedObject {
  readonly candidate: PruneCandidate
  /** One sentence for people. */
  readonly reason: string
}

/** What may be deleted, what an approval would let go, and what is never deleted. */
export interface PruneDecision {
  readonly prune: readonly PruneCandidate[]
  /** Deleted when an administrator approves. */
  readonly held: readonly GuardedObject[]
  /** No approval deletes these. */
  readonly kept: readonly GuardedObject[]
  /** Not deleted now, for not enough is known of them. They count like all others. */
  readonly undecided: readonly GuardedObject[]
}

/** So many objects at once, and more than half of what there is, are held: an accident is more likely than an intent. Taking them away in smaller steps is not held. */
export const MASS_PRUNE_COUNT = 10
/** So many objects at once are held whatever their share. */
export const MASS_PRUNE_COUNT_ANY_SHARE = 100

const SYSTEM_NAMESPACES = new Set(['default', 'kube-system', 'kube-public', 'kube-node-lease'])

/** Decides for each object that is no longer declared. */
export function decidePrune(facts: PruneFacts): PruneDecision {
  const guarded = { kept: [] as GuardedObject[], held: [] as GuardedObject[], undecided: [] as GuardedObject[] }
  const free: PruneCandidate[] = []
  // What a Namespace or a CRD would take with it must be known before it is decided on.
  const ordered = [...facts.candidates.filter((one) => !isContainer(one)), ...facts.candidates.filter(isContainer)]
  for (const candidate of ordered) {
    const found = findKeepReason(candidate, facts) ?? findReasonInside(candidate, guarded.kept)
    if (found !== undefined) guarded.kept.push({ candidate, reason: found })
    else {
      const reason = candidate.isApproved ? undefined : findHoldReason(candidate, guarded.held)
      const doubt = reason ?? findDoubt(candidate, guarded.undecided)
      if (doubt === undefined) free.push(candidate)
      else if (reason === undefined) guarded.undecided.push({ candidate, reason: doubt })
      else guarded.held.push({ candidate, reason })
    }
  }
  const { kept, held, undecided } = guarded
  const mass = findMassReason([...free, ...[...held, ...undecided].map(({ candidate }) => candidate)], facts)
  if (mass === undefined) return { prune: free, ...guarded }
  const prune = free.filter(({ isApproved }) => isApproved)
  // What is approved must not change because one of many could not be looked at for a moment.
  const isSwept = ({ isApproved, uid, undecided }: PruneCandidate): boolean => !isApproved && (!undecided || uid !== '')
  const swept = [...free, ...undecided.map(({ candidate }) => candidate)].filter(isSwept)
  return {
    prune,
    kept,
    held: [...held, ...swept.map((candidate) => ({ candidate, reason: mass }))],
    undecided: undecided.filter(({ candidate }) => !isSwept(candidate)),
  }
}

/** True when an approval that covered `approved` covers what would go now: nothing more, less is fine. */
export function isCovered(taken: readonly string[], approved: readonly string[]): boolean {
  const known = new Set(approved)
  return taken.every((mark) => known.has(mark))
}

/** Names what would be deleted, in lower-case hexadecimal: equal exactly for the same objects of the same application on the same cluster that take the same with them. */
export function pruneDigest(
  where: { readonly application: string; readonly clusterId: string },
  objects: readonly Pick<PruneCandidate, 'key' | 'uid' | 'takenMarks'>[],
): string {
  const sorted = objects
    .map(({ key, uid, takenMarks = [] }) => [key, uid, ...takenMarks])
    .sort(([a = ''], [b = '']) => (a < b ? -1 : 1))
  const text = JSON.stringify(['fairlead.prune.v1', where.clusterId, where.application, sorted])
  return createHash('sha256').update(text).digest('hex')
}

/** The reasons of all, each once, as one sentence. */
export function joinReasons(held: readonly GuardedObject[], limit = 5): string {
  const reasons = [...new Set(held.map(({ reason }) => reason))]
  const more = reasons.length > limit ? [`${reasons.length - limit} more reasons`] : []
  return [...reasons.slice(0, limit), ...more].join('; ')
}

function findMassReason(candidates: readonly PruneCandidate[], facts: PruneFacts): string | undefined {
  const count = candidates.filter(({ isApproved }) => !isApproved).length
  if (facts.isTombstone || count === 0) return undefined
  // An emptied folder or a broken generator; who means it removes the application.
  if (facts.candidates.length === facts.ownedCount) return 'nothing is declared any more: all objects would be deleted'
  const isMost = count >= MASS_PRUNE_COUNT && count * 2 > facts.ownedCount
  if (!isMost && count < MASS_PRUNE_COUNT_ANY_SHARE) return undefined
  return `${count} of ${facts.ownedCount} objects would be deleted at once`
}

function findKeepReason(candidate: PruneCandidate, facts: PruneFacts): string | undefined {
  if (candidate.keep) return 'it is annotated fairlead.dev/prune: disabled'
  if (isNamespace(candidate)) return findNamespaceReason(candidate, facts)
  return isCrd(candidate) ? findCrdReason(candidate, facts) : undefined
}

function findHoldReason(candidate: PruneCandidate, held: readonly GuardedObject[]): string | undefined {
  const { group, kind, name, namespace, takes } = candidate
  if (group === '' && (kind === 'PersistentVolumeClaim' || kind === 'PersistentVolume')) {
    return `${kind} ${namespace === '' ? name : `${namespace}/${name}`} holds data`
  }
  if (takes !== undefined) return `${kind} ${name} would take ${takes} with it`
  return findReasonInside(candidate, held)
}

/** Why not enough is known to delete it. */
function findDoubt(candidate: PruneCandidate, undecided: readonly GuardedObject[]): string | undefined {
  const { movesTo, undecided: error } = candidate
  if (movesTo) return `it moves to namespace ${movesTo}, where it was not applied yet`
  const unseen = undecided.filter((guarded) => !guarded.candidate.movesTo)
  return (
    error?.message ??
    findReasonInside(candidate, unseen, 'which could not be looked at') ??
    findReasonInside(candidate, undecided, 'which has not moved yet')
  )
}

/** What is guarded must not go with its namespace or its kind. */
function findReasonInside(
  candidate: PruneCandidate,
  guarded: readonly GuardedObject[],
  state = 'which is held',
): string | undefined {
  const inside = guarded.find(({ candidate: { group, kind, namespace } }) => {
    if (isNamespace(candidate)) return namespace === candidate.name
    return isCrd(candidate) && isDefinedBy(candidate, { group, kind })
  })
  if (!inside) return undefined
  const { kind, name } = inside.candidate
  return `${candidate.kind} ${candidate.name} would take ${kind} ${name} with it, ${state}`
}

function findNamespaceReason({ name }: PruneCandidate, facts: PruneFacts): string | undefined {
  if (name === facts.ownNamespace) return 'the agent runs in this namespace'
  if (SYSTEM_NAMESPACES.has(name)) return 'it is a namespace of the system'
  const inside = facts.staying.find(({ namespace }) => namespace === name)
  return inside && `application ${inside.application} still has objects in this namespace`
}

function findCrdReason(candidate: PruneCandidate, facts: PruneFacts): string | undefined {
  const user = facts.staying.find((object) => isDefinedBy(candidate, object))
  return user && `application ${user.application} still has objects of this kind`
}

function isDefinedBy({ name, definedKind }: PruneCandidate, object: { group: string; kind: string }): boolean {
  // The name of a CRD is <plural>.<group>: enough where its kind is not known.
  const group = name.slice(name.indexOf('.') + 1)
  return object.group === group && (definedKind === undefined || object.kind === definedKind)
}

/** True for what takes other objects with it. */
function isContainer(candidate: PruneCandidate): boolean {
  return isNamespace(candidate) || isCrd(candidate)
}

function isNamespace({ group, kind }: PruneCandidate): boolean {
  return group === '' && kind === 'Namespace'
}

function isCrd({ group, kind }: PruneCandidate): boolean {
  return group === 'apiextensions.k8s.io' && kind === 'CustomResourceDefinition'
}

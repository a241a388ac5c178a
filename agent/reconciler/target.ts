// What the slice wants of an application, and whether that is news.
import { equals, toJson } from '@bufbuild/protobuf'
import { IgnoreRuleSchema, type Revision, RevisionSchema } from '@fairlead/proto/common'
import { type ArtifactReference, type SliceEntry, type SyncPolicy, SyncPolicySchema } from '@fairlead/proto/slice'
import type { ClusterVariables } from '@fairlead/shared/cluster-variables'
import { canonicalJson, sha256Hex } from '@fairlead/shared/digest'

/** An application that must run. */
export interface DesiredTarget {
  readonly kind: 'desired'
  readonly revision: Revision | undefined
  readonly artifact: ArtifactReference
  readonly policy: SyncPolicy
  /** Of the cluster, as the newest slice has them. */
  readonly variables: ClusterVariables
  /** Of the slice that asked for it first. */
  readonly generation: bigint
  /** Digests of held prunes that were approved. */
  readonly approvedPrunes: readonly string[]
}

/** An application that must leave. */
export interface TombstoneTarget {
  readonly kind: 'tombstone'
  /** False: its objects stay and only the ownership is given up. */
  readonly prune: boolean
  readonly generation: bigint
  /** Digests of held prunes that were approved. */
  readonly approvedPrunes: readonly string[]
}

/** What the slice says of an application. */
export type Target = DesiredTarget | TombstoneTarget

/** The target that a slice of this generation sets by an entry; undefined when the entry says nothing that this agent knows. */
export function toTarget(
  { intent, approvedPrunes }: SliceEntry,
  generation: bigint,
  variables: ClusterVariables,
): Target | undefined {
  if (intent.case === 'tombstone') return { kind: 'tombstone', prune: intent.value.prune, generation, approvedPrunes }
  if (intent.case !== 'desired') return undefined
  const { revision, artifact, policy } = intent.value
  return artifact && policy
    ? { kind: 'desired', revision, artifact, policy, variables, generation, approvedPrunes }
    : undefined
}

/** Whether a target asks for nothing else than one that is followed already. Variables are not compared. */
export function isSameTarget(a: Target | undefined, b: Target): boolean {
  if (a?.approvedPrunes.join() !== b.approvedPrunes.join()) return false
  if (a?.kind === 'tombstone' && b.kind === 'tombstone') return a.prune === b.prune
  if (a?.kind !== 'desired' || b.kind !== 'desired') return false
  const isSameRevision =
    a.revision && b.revision ? equals(RevisionSchema, a.revision, b.revision) : a.revision === b.revision
  return isSameRevision && a.artifact.digest === b.artifact.digest && equals(SyncPolicySchema, a.policy, b.policy)
}

/** `namespace/name` of the service account whose rights it has; empty for the agent's own. */
export function accountOf({ policy }: DesiredTarget): string {
  return policy.serviceAccount === '' ? '' : `${policy.namespace || 'default'}/${policy.serviceAccount}`
}

/** Whether two targets declare the same objects. False when either declares none. */
export function isSameContent(a: Target | undefined, b: Target | undefined): boolean {
  if (a?.kind !== 'desired' || b?.kind !== 'desired') return false
  return a.artifact.digest === b.artifact.digest && isSameDeclaration(a.policy, b.policy)
}

/** Whether the same artifact declares the same objects under both policies. */
function isSameDeclaration(a: SyncPolicy, b: SyncPolicy): boolean {
  const rules = ({ ignoreFields }: SyncPolicy): string =>
    canonicalJson(ignoreFields.map((rule) => toJson(IgnoreRuleSchema, rule)))
  return a.namespace === b.namespace && a.substitute === b.substitute && rules(a) === rules(b)
}

/** Equal for targets that the API server need not validate twice: the artifact with all that decides how it is written. */
export function validationKey({ artifact, policy, variables }: DesiredTarget): string {
  const { namespace, serviceAccount, substitute, ignoreFields } = policy
  const rules = ignoreFields.map((rule) => toJson(IgnoreRuleSchema, rule))
  const values = substitute ? Object.fromEntries(variables) : null
  const inputs = [artifact.digest, namespace, serviceAccount, values, rules]
  return sha256Hex(canonicalJson(inputs)).slice(0, 32)
}

// The kinds of the core group, whose name is empty: a rule for another kind without its group would match nothing. Pure.

/** The core group is frozen: a kind that is not among these is of another group. */
const CORE_KINDS =
  /^(Binding|ComponentStatus|ConfigMap|Endpoints|Event|LimitRange|Namespace|Node|PersistentVolume|PersistentVolumeClaim|Pod|PodTemplate|ReplicationController|ResourceQuota|Secret|Service|ServiceAccount)$/

/** What is wrong when a kind, well formed, is named with an empty group; undefined when it is of the core group. */
export function findMissingGroupProblem(kind: string): string | undefined {
  return CORE_KINDS.test(kind) ? undefined : `is missing: the core group has no ${kind}; name its group, such as apps`
}

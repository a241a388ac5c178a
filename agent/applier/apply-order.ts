// The order in which objects are applied; pruning goes the other way. An object depends on its Namespace and its CRD
// (applied before everything else) and on earlier waves, on nothing else.

/** What the order looks at. */
export interface Orderable {
  readonly group: string
  readonly kind: string
  readonly namespace: string
  readonly name: string
  /** From the wave annotation; 0 when there is none. */
  readonly wave: number
}

/** Helm's InstallOrder (helm.sh/helm/v4/pkg/release/v1/util, kind_sorter.go). Kinds not listed come last. */
const KIND_ORDER = [
  'PriorityClass',
  'Namespace',
  'NetworkPolicy',
  'ResourceQuota',
  'LimitRange',
  'PodDisruptionBudget',
  'ServiceAccount',
  'Secret',
  'ConfigMap',
  'StorageClass',
  'PersistentVolume',
  'PersistentVolumeClaim',
  'CustomResourceDefinition',
  'ClusterRole',
  'ClusterRoleBinding',
  'Role',
  'RoleBinding',
  'Service',
  'DaemonSet',
  'Pod',
  'ReplicationController',
  'ReplicaSet',
  'Deployment',
  'HorizontalPodAutoscaler',
  'StatefulSet',
  'Job',
  'CronJob',
  'IngressClass',
  'Ingress',
  'APIService',
  'MutatingWebhookConfiguration',
  'ValidatingWebhookConfiguration',
]
const KIND_RANK: ReadonlyMap<string, number> = new Map(KIND_ORDER.map((kind, index) => [kind, index]))

/** A CustomResourceDefinition. */
export function isCrd(object: Pick<Orderable, 'group' | 'kind'>): boolean {
  return object.group === 'apiextensions.k8s.io' && object.kind === 'CustomResourceDefinition'
}

/** A Namespace. */
export function isNamespace(object: Pick<Orderable, 'group' | 'kind'>): boolean {
  return object.group === '' && object.kind === 'Namespace'
}

/** Negative when `a` is applied before `b`: CRDs and Namespaces, then by wave, then by kind, then by name. */
export function compareApplyOrder(a: Orderable, b: Orderable): number {
  return (
    foundationRank(a) - foundationRank(b) ||
    a.wave - b.wave ||
    kindRank(a) - kindRank(b) ||
    compareText(a.group, b.group) ||
    compareText(a.kind, b.kind) ||
    compareText(a.namespace, b.namespace) ||
    compareText(a.name, b.name)
  )
}

/** Objects in phases: those of one phase may be applied at the same time, in the order given. First CRDs and Namespaces, then one phase a wave. Empty phases are left out. */
export function groupPhases<T extends Orderable>(objects: readonly T[]): T[][] {
  const phases: T[][] = []
  for (const object of objects.toSorted(compareApplyOrder)) {
    const last = phases.at(-1)?.[0]
    if (
      last &&
      foundationRank(last) === foundationRank(object) &&
      (isFoundation(object) || last.wave === object.wave)
    ) {
      phases.at(-1)?.push(object)
    } else phases.push([object])
  }
  return phases
}

/** True for what is applied before everything else. */
export function isFoundation(object: Pick<Orderable, 'group' | 'kind'>): boolean {
  return isCrd(object) || isNamespace(object)
}

function foundationRank(object: Orderable): number {
  return isFoundation(object) ? 0 : 1
}

function kindRank(object: Orderable): number {
  return KIND_RANK.get(object.kind) ?? KIND_ORDER.length
}

function compareText(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0
}

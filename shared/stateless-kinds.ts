// Kinds that work as soon as they are there: their status, if they have one, says nothing of it. Agents watch them as
// metadata only, and so the hub refuses health rules for them.

const KINDS: ReadonlySet<string> = new Set(
  [
    ['', 'ConfigMap Secret ServiceAccount Endpoints Event LimitRange PodTemplate'],
    ['admissionregistration.k8s.io', 'MutatingWebhookConfiguration ValidatingWebhookConfiguration'],
    ['admissionregistration.k8s.io', 'MutatingAdmissionPolicy MutatingAdmissionPolicyBinding'],
    ['admissionregistration.k8s.io', 'ValidatingAdmissionPolicyBinding'],
    ['apps', 'ControllerRevision'],
    ['coordination.k8s.io', 'Lease LeaseCandidate'],
    ['discovery.k8s.io', 'EndpointSlice'],
    ['events.k8s.io', 'Event'],
    ['networking.k8s.io', 'IngressClass NetworkPolicy IPAddress'],
    ['node.k8s.io', 'RuntimeClass'],
    ['rbac.authorization.k8s.io', 'Role RoleBinding ClusterRole ClusterRoleBinding'],
    ['resource.k8s.io', 'DeviceClass DeviceTaintRule ResourceClaimTemplate ResourceSlice'],
    ['scheduling.k8s.io', 'PriorityClass'],
    ['storage.k8s.io', 'StorageClass CSIDriver CSINode CSIStorageCapacity VolumeAttributesClass'],
  ].flatMap(([group, kinds = '']) => kinds.split(' ').map((kind) => `${group}/${kind}`)),
)

/** Whether being there is all that can be told of a kind's health. `group` is empty for the core group. */
export function isStatelessKind(group: string, kind: string): boolean {
  return KINDS.has(`${group}/${kind}`)
}

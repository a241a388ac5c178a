// What the restricted Pod Security Standard asks of a pod, said field by field, and a read-only root file system besides.
// https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted

import type { Container, Pod, SecurityContext } from './pod.ts'

/** Every field that the standard refuses; empty when the pod may run. */
export function findSecurityViolations(pod: Pod): string[] {
  const { spec } = pod
  const violations = (['hostNetwork', 'hostPID', 'hostIPC'] as const)
    .filter((field) => spec[field])
    .map((field) => `spec.${field} must not be set`)
  for (const container of [...(spec.initContainers ?? []), ...spec.containers]) {
    violations.push(...findContainerViolations(container, spec.securityContext ?? {}))
  }
  return violations
}

function findContainerViolations(container: Container, pod: SecurityContext): string[] {
  const own = container.securityContext ?? {}
  const checks: readonly [boolean, string][] = [
    [own.privileged === true, 'privileged must not be true'],
    [own.allowPrivilegeEscalation !== false, 'allowPrivilegeEscalation must be false'],
    [own.capabilities?.drop?.includes('ALL') !== true, 'capabilities.drop must hold ALL'],
    [own.capabilities?.add?.some((name) => name !== 'NET_BIND_SERVICE') === true, 'capabilities.add must be empty'],
    [(own.runAsNonRoot ?? pod.runAsNonRoot) !== true, 'runAsNonRoot must be true'],
    [(own.runAsUser ?? pod.runAsUser) === 0, 'runAsUser must not be 0'],
    [!isConfined(own.seccompProfile ?? pod.seccompProfile), 'seccompProfile.type must be RuntimeDefault or Localhost'],
    [own.readOnlyRootFilesystem !== true, 'readOnlyRootFilesystem must be true'],
  ]
  return checks.filter(([wrong]) => wrong).map(([, text]) => `container ${container.name}: ${text}`)
}

function isConfined(profile: SecurityContext['seccompProfile']): boolean {
  return profile?.type === 'RuntimeDefault' || profile?.type === 'Localhost'
}

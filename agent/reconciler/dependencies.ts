// Applications that wait for others of the same cluster: a new revision begins when what it depends on is healthy at its own.
import { HealthState } from '@fairlead/proto/common'
import { formatObjectReference } from '@fairlead/shared/object-reference'
import type { Application } from './application.ts'
import { isWorking } from './object-record.ts'
import { referenceOf } from './references.ts'

/** Who waits for whom. */
export class Dependencies {
  readonly #find: (name: string) => Application | undefined
  /** Those that wait, by the name of what they wait for. */
  readonly #waiting = new Map<string, Set<Application>>()

  constructor(find: (name: string) => Application | undefined) {
    this.#find = find
  }

  /** Why it must wait, in one sentence; empty when all that it depends on is ready. Until then it is woken when one of them becomes so. */
  await(application: Application, dependsOn: readonly string[]): string {
    for (const [name, waiting] of this.#waiting) {
      waiting.delete(application)
      if (waiting.size === 0) this.#waiting.delete(name)
    }
    const reasons: string[] = []
    for (const name of dependsOn) {
      const reason = findUnready(this.#find(name))
      if (reason === '') continue
      reasons.push(`${name} (${reason})`)
      const waiting = this.#waiting.get(name) ?? new Set()
      this.#waiting.set(name, waiting.add(application))
    }
    return reasons.length === 0 ? '' : `waits for ${reasons.join(', ')}`
  }

  /** Something of an application changed: those that wait for it look again when it is ready, or when it says another reason. */
  noteChange(name: string): void {
    const waiting = this.#waiting.get(name)
    if (waiting === undefined || waiting.size === 0) return
    const reason = findUnready(this.#find(name))
    for (const application of waiting) {
      if (!application.gate.waitReason.includes(`${name} (${reason})`)) application.wake()
    }
  }
}

/** Why those that depend on an application must wait; empty when it is healthy at the revision that the slice asks for. */
function findUnready(application: Application | undefined): string {
  const target = application?.target
  if (application === undefined || target === undefined) return 'this cluster is not asked to run it'
  if (target.kind === 'tombstone') return 'it is leaving this cluster'
  const { digest } = target.artifact
  if (application.gate.isHeld || application.appliedDigest !== digest || !application.isComplete()) {
    return 'its own revision is not applied yet'
  }
  const unhealthy = application.records().find((record) => record.declared && !isWorking(record))
  if (!unhealthy) return ''
  const health = HealthState[unhealthy.health.health].toLowerCase()
  return `${formatObjectReference(referenceOf(unhealthy))} is ${health}`
}

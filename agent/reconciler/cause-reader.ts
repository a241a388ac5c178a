// Reads why a workload is Degraded, once when it gets so: the only time that pods are looked at.
import { HealthState } from '@fairlead/proto/common'
import type { KubernetesObject } from '@fairlead/shared/object-reference'
import { Limiter } from '../applier/limiter.ts'
import { readCause } from '../health/cause.ts'
import { isWorkload } from '../health/workloads.ts'
import type { Kube } from '../kube/kube.ts'
import type { ObjectRecord } from './object-record.ts'

/** With what causes are read. */
export interface CauseReaderOptions {
  readonly kube: Kube
  /** Milliseconds since the epoch. */
  readonly clock: () => number
  readonly signal: AbortSignal
  /** A record's cause is known. */
  readonly onChange: (record: ObjectRecord) => void
}

/** Fills the `cause` of records. */
export class CauseReader {
  readonly #options: CauseReaderOptions
  readonly #limiter = new Limiter({ places: 2 })
  /** The message for which each Degraded record was read last. */
  readonly #readFor = new WeakMap<ObjectRecord, string>()

  constructor(options: CauseReaderOptions) {
    this.#options = options
  }

  /** Takes an object as it was just observed; reads when it is Degraded with other words than before. Never throws. */
  note(record: ObjectRecord, object: KubernetesObject): void {
    const { health, message } = record.health
    if (health !== HealthState.DEGRADED || !isWorkload(`${record.group}/${record.kind}`)) {
      this.#readFor.delete(record)
      return
    }
    if (this.#readFor.get(record) === message) return
    this.#readFor.set(record, message)
    // The only rejection is that the agent stops.
    this.#read(record, object).catch(() => undefined)
  }

  async #read(record: ObjectRecord, object: KubernetesObject): Promise<void> {
    const { kube, clock, signal, onChange } = this.#options
    const cause = await this.#limiter.run(async () => {
      signal.throwIfAborted()
      return await readCause(kube, object, { now: new Date(clock()), signal })
    })
    if (record.health.health !== HealthState.DEGRADED || record.cause === (cause ?? '')) return
    record.cause = cause ?? ''
    onChange(record)
  }
}

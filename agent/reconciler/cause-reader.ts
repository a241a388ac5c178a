// Reads why a workload does not work: when it gets Degraded and a little later, and when it has been Progressing for a
// while without a step. Pods are looked at at no other time.
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
  /** Read the log of the container at fault as well. */
  readonly podLogs: boolean
  /** A record's cause is known. */
  readonly onChange: (record: ObjectRecord) => void
  /** After how many milliseconds to look again, default 15 s and 2 min: what is wrong at first is not always what stays. */
  readonly againAfterMs?: readonly number[]
}

const AGAIN_AFTER_MS: readonly number[] = [15_000, 120_000]

/** What is known of a workload that does not work. */
interface Reading {
  /** The words of its health for which it was read. */
  readonly message: string
  readonly uid: string | undefined
  readonly timers: NodeJS.Timeout[]
}

/** Fills `cause` and `logLines` of records. */
export class CauseReader {
  readonly #options: CauseReaderOptions
  readonly #limiter = new Limiter({ places: 2 })
  readonly #readings = new WeakMap<ObjectRecord, Reading>()

  constructor(options: CauseReaderOptions) {
    this.#options = options
  }

  /** Takes an object as it was just observed; reads when it is Degraded with other words than before, or Progressing with the same for long. Never throws. */
  note(record: ObjectRecord, object: KubernetesObject): void {
    const { health, message } = record.health
    const known = this.#readings.get(record)
    if (!isSick(health) || !isWorkload(`${record.group}/${record.kind}`)) {
      record.cause = ''
      record.logLines = []
      if (known) this.#forget(record, known)
      return
    }
    const { metadata, spec, status } = object
    const { name, namespace, uid } = metadata
    if (known?.message === message && known.uid === uid) return
    if (known) this.#forget(record, known)
    // Of the object only what is needed stays until then.
    const workload = {
      apiVersion: object.apiVersion,
      kind: object.kind,
      metadata: { name, namespace, uid },
      spec: selectorOf(spec),
    }
    const subject = (record.kind === 'Pod' ? { ...workload, metadata, status } : workload) as KubernetesObject
    const reading: Reading = { message, uid, timers: [] }
    this.#readings.set(record, reading)
    // A rollout that goes on as it should has nothing to explain.
    if (health === HealthState.DEGRADED) this.#start(record, subject, reading)
    for (const delayMs of this.#options.againAfterMs ?? AGAIN_AFTER_MS) {
      const timer = setTimeout(() => this.#start(record, subject, reading), delayMs)
      timer.unref()
      reading.timers.push(timer)
    }
  }

  #start(record: ObjectRecord, workload: KubernetesObject, reading: Reading): void {
    if (!record.live) {
      this.#forget(record, reading)
      return
    }
    // The only rejection is that the agent stops.
    this.#read(record, workload, reading).catch(() => undefined)
  }

  async #read(record: ObjectRecord, workload: KubernetesObject, reading: Reading): Promise<void> {
    const { kube, clock, signal, podLogs, onChange } = this.#options
    const cause = await this.#limiter.run(async () => {
      signal.throwIfAborted()
      return await readCause(kube, workload, { now: new Date(clock()), podLogs, signal })
    })
    if (this.#readings.get(record) !== reading || !isSick(record.health.health)) return
    const isSame = record.cause === cause.text && record.logLines.join('\n') === cause.logLines.join('\n')
    if (isSame) return
    record.cause = cause.text
    record.logLines = cause.logLines
    onChange(record)
  }

  #forget(record: ObjectRecord, { timers }: Reading): void {
    this.#readings.delete(record)
    for (const timer of timers) clearTimeout(timer)
  }
}

function isSick(health: HealthState): boolean {
  return health === HealthState.DEGRADED || health === HealthState.PROGRESSING
}

function selectorOf(spec: unknown): object {
  return typeof spec === 'object' && spec !== null && 'selector' in spec ? { selector: spec.selector } : {}
}

// The fast lane: an event of the watch is compared with what was recorded, and a difference is put back at once. It
// never waits behind applies.
import { backoffMs } from '@fairlead/shared/backoff'
import { AppError, isAborted, toAppError } from '@fairlead/shared/errors'
import { type KubernetesObject, objectKey } from '@fairlead/shared/object-reference'
import { Limiter } from '../applier/limiter.ts'
import { retryDelayMs } from '../applier/retry.ts'
import type { Recorder } from '../recorder.ts'
import { type DriftDecision, decideDrift } from '../remediator/drift.ts'
import type { FightLedger } from '../remediator/fight-ledger.ts'
import { findRival } from '../remediator/managed-fields.ts'
import type { ObjectEvent } from '../watcher/watcher.ts'
import { describeRepair } from './describe-drift.ts'
import type { LeftDrift } from './left-drift.ts'
import { findLeft, leftFields } from './left-fields.ts'
import { isOlder, isPending, type ObjectRecord, observe, observeGone, retryAtOnce } from './object-record.ts'
import type { ObjectTable } from './object-table.ts'
import type { ObjectWriter } from './object-writer.ts'

/** A difference that was seen, and put back or not. */
export interface SeenDrift {
  readonly record: ObjectRecord
  readonly kind: 'changed' | 'added' | 'deleted'
  /** Empty when it cannot be told. */
  readonly manager: string
  readonly detectedAtMs: number
  /** Undefined while it is not put back. */
  readonly remediatedAtMs: number | undefined
  readonly fields: readonly string[]
}

/** What the repair needs to know of, and tells to, the applications. */
export interface DriftRepairOptions {
  readonly table: ObjectTable
  readonly writer: ObjectWriter
  readonly fights: FightLedger
  readonly persons: RegExp
  /** Takes drift that is not put back. */
  readonly left: LeftDrift
  readonly clock: () => number
  /** Whether an application's drift is put back, and how; undefined when it is not managed at present. */
  readonly policyOf: (application: string) => { readonly remediate: boolean; readonly adopt: string } | undefined
  readonly onDrift: (drift: SeenDrift) => void
  /** The object was seen. */
  readonly onObserved: (record: ObjectRecord, object: KubernetesObject) => void
  /** Told what is done. */
  readonly recorder: Recorder
  /** Something of this object changed: health, presence, failure. */
  readonly onChange: (record: ObjectRecord) => void
  /** The object must be seen to by its application: a repair failed, or what was dropped is gone. */
  readonly onAttention: (record: ObjectRecord) => void
  /** What the inventory says of the object is to be written anew, in a moment. */
  readonly onInventoryChange: (record: ObjectRecord) => void
}

/** Compares events and repairs. */
export class DriftRepair {
  readonly #options: DriftRepairOptions
  readonly #lane = new Limiter({ places: 8 })
  /** Repairs that wait, and whether it is a person who is waited for. */
  readonly #yielding = new Map<ObjectRecord, { readonly timer: NodeJS.Timeout; readonly person: boolean }>()

  constructor(options: DriftRepairOptions) {
    this.#options = options
  }

  /** Takes an event of the watcher. Never throws. */
  handle(event: ObjectEvent): void {
    const { group, kind, namespaced } = event.resource
    const { name, namespace = '' } = event.object.metadata
    const record = this.#options.table.find(objectKey({ group, kind, namespace: namespaced ? namespace : '', name }))
    if (!record) return
    // An event during a write of ours may show it half done; looked at when the answer is there.
    if (record.writing !== undefined) record.held = event
    else this.#look(record, event)
  }

  /** Looks at the event that came during a write. */
  flush(record: ObjectRecord): void {
    const { held } = record
    record.held = undefined
    if (held && !record.writing) this.#look(record, held)
  }

  /** Repairs that wait for a place, and for how long the oldest of those under way has been so, in ms. */
  get load(): { readonly waiting: number; readonly oldestMs: number } {
    return { waiting: this.#lane.waiting, oldestMs: this.#lane.oldestMs }
  }

  /** Gives up waiting repairs. */
  stop(): void {
    for (const { timer } of this.#yielding.values()) clearTimeout(timer)
    this.#yielding.clear()
  }

  #look(record: ObjectRecord, { type, object }: ObjectEvent): void {
    if (type === 'deleted') this.#lookAtDeletion(record, object)
    else this.#lookAtObject(record, object)
  }

  #lookAtDeletion(record: ObjectRecord, object: KubernetesObject): void {
    const { applied } = record
    const { uid, resourceVersion = '' } = object.metadata
    // Of an object that was there before ours, or from before our answer.
    if (applied && uid !== undefined && uid !== applied.uid && uid !== record.live?.uid) return
    if (applied && isOlder(resourceVersion, applied.resourceVersion)) return
    observeGone(record)
    this.#options.onChange(record)
    // What is not applied as declared is its application's; it may have waited for the old object to go.
    if (!record.declared || record.deleting || !applied || isPending(record)) {
      const isAwaited = !record.declared || record.deleting !== ''
      if (isAwaited) retryAtOnce(record)
      this.#options.onAttention(record)
      return
    }
    if (record.declared.expires) return
    this.#seeTo(record, { kind: 'deleted', person: false, evidence: object })
  }

  #lookAtObject(record: ObjectRecord, object: KubernetesObject): void {
    const { applied, declared } = record
    const { resourceVersion = '', uid } = object.metadata
    if (applied && uid === applied.uid && resourceVersion === applied.resourceVersion) return
    if (applied && isOlder(resourceVersion, applied.resourceVersion)) return
    observe(record, object, this.#options.persons, this.#options.clock())
    this.#options.onObserved(record, object)
    this.#options.onChange(record)
    if (!declared || !applied || isPending(record) || record.live?.terminating) return
    const { persons } = this.#options
    const decision = decideDrift(object, {
      entryHash: applied.entryHash,
      merge: declared.merge,
      persons,
      left: leftFields(record),
      findLeft: () => findLeft(record, object, persons),
    })
    if (decision.drift === 'left') {
      // A scaler that came after the one that went.
      if (record.isScaled === false) record.isScaled = undefined
      record.applied = { ...applied, entryHash: decision.entryHash }
      this.#options.onAttention(record)
    } else if (decision.drift === 'none') {
      if (record.driftLeft) {
        record.driftLeft = false
        this.#options.onChange(record)
      }
    } else {
      this.#seeTo(record, { kind: decision.drift, person: this.#isPersons(decision, object), evidence: object })
    }
  }

  #isPersons(decision: DriftDecision, object: KubernetesObject): boolean {
    if ('persons' in decision && decision.persons.length > 0) return true
    return this.#options.persons.test(findRival(object))
  }

  #seeTo(record: ObjectRecord, found: Found): void {
    const policy = this.#options.policyOf(record.application)
    if (!policy) return
    const detectedAtMs = this.#options.clock()
    if (!policy.remediate) {
      this.#options.left.note(record, found.kind, found.evidence)
      return
    }
    if (record.failure && record.failure.retryAtMs > detectedAtMs && record.failure.error.code !== 'FieldFight') return
    // A person is put back at once, also while we yield to a controller: but not one who writes as only machines do.
    const yielding = this.#yielding.get(record)
    if (yielding && (!found.person || yielding.person)) return
    this.#cancel(record)
    const rival = findRival(found.evidence)
    // A deletion has no author: whose it was is not told by who wrote last.
    const key = found.kind === 'deleted' ? 'deleted' : `${found.kind}:${rival}`
    const patient = found.person || found.kind === 'deleted'
    const delayMs = this.#options.fights.note(record.key, key, detectedAtMs, { patient })
    if (delayMs === 0) void this.#repair(record, found, policy.adopt, detectedAtMs)
    else this.#yieldTo(record, found, rival, delayMs)
  }

  #cancel(record: ObjectRecord): void {
    clearTimeout(this.#yielding.get(record)?.timer)
    this.#yielding.delete(record)
    record.yieldUntilMs = 0
  }

  #yieldTo(record: ObjectRecord, found: Found, rival: string, delayMs: number): void {
    const nowMs = this.#options.clock()
    record.yieldUntilMs = nowMs + delayMs
    const who = rival === '' || found.kind === 'deleted' ? 'another writer' : rival
    const what = found.kind === 'deleted' ? 'deleting the object' : 'changing what is declared'
    const error = new AppError('FieldFight', `${who} keeps ${what}; next repair in ${Math.ceil(delayMs / 1000)} s`)
    record.failure = { error, sinceMs: record.failure?.sinceMs ?? nowMs, attempts: 0, retryAtMs: Infinity }
    this.#options.recorder.failed(record, error)
    const timer = setTimeout(() => {
      this.#yielding.delete(record)
      record.yieldUntilMs = 0
      const policy = this.#options.policyOf(record.application)
      if (policy?.remediate && record.declared) void this.#repair(record, found, policy.adopt, nowMs)
    }, delayMs)
    timer.unref()
    this.#yielding.set(record, { timer, person: found.person })
    this.#options.onChange(record)
  }

  async #repair(record: ObjectRecord, found: Found, adopt: string, detectedAtMs: number): Promise<void> {
    const before = record.applied
    const fight = record.failure?.error.code === 'FieldFight' ? record.failure : undefined
    try {
      const evidence = found.kind === 'deleted' || fight ? undefined : found.evidence
      const { answer, changed } = await this.#lane.run(async () => {
        // It may have been suspended while this waited for its turn.
        if (!this.#options.policyOf(record.application)?.remediate) throw new AppError('Aborted', 'not to be repaired')
        return await this.#options.writer.write(record, { adopt, evidence })
      })
      if (fight) this.#keepUntilQuiet(record, fight)
      // The event was of something older, or another repair was quicker.
      if (!changed) return
      const remediatedAtMs = this.#options.clock()
      const drift = { record, kind: found.kind, detectedAtMs, remediatedAtMs }
      const { persons } = this.#options
      const description = describeRepair(record, found.kind, { evidence: found.evidence, repaired: answer, persons })
      this.#tell({ ...drift, ...description })
    } catch (thrown) {
      if (!isAborted(thrown)) this.#fail(record, toAppError(thrown))
    } finally {
      this.#options.onChange(record)
      if (changesInventory(before, record)) this.#options.onInventoryChange(record)
    }
  }

  #tell(drift: SeenDrift): void {
    this.#options.recorder.drifted(drift)
    this.#options.onDrift(drift)
  }

  /** A fight is reported until it has been quiet for a while. */
  #keepUntilQuiet(record: ObjectRecord, fight: NonNullable<ObjectRecord['failure']>): void {
    const { fights, clock, onChange } = this.#options
    record.failure = fight
    const check = (): void => {
      if (record.failure !== fight) return
      record.failure = undefined
      onChange(record)
    }
    const timer = setTimeout(check, Math.max(1, fights.remainingMs(record.key, clock())))
    timer.unref()
  }

  #fail(record: ObjectRecord, error: AppError): void {
    const nowMs = this.#options.clock()
    const attempts = (record.failure?.attempts ?? -1) + 1
    // It was applied before, so its kind was served, and is likely to be again in a moment.
    const isKindAway = error.code === 'UnknownKind' || error.code === 'NotFound'
    const retryAtMs = nowMs + (isKindAway ? backoffMs(attempts) : retryDelayMs(error, attempts))
    record.dirty = true
    record.failure = { error, sinceMs: record.failure?.sinceMs ?? nowMs, attempts, retryAtMs }
    this.#options.recorder.failed(record, error)
    this.#options.onAttention(record)
  }
}

interface Found {
  readonly kind: SeenDrift['kind']
  readonly person: boolean
  readonly evidence: KubernetesObject
}

function changesInventory(before: ObjectRecord['applied'], { applied }: ObjectRecord): boolean {
  return before?.uid !== applied?.uid || before?.entryHash !== applied?.entryHash
}

// Drift that is left, by policy or because the application is suspended: it is reported, and noticed when it is over.
// Ownership alone cannot tell that: a value that a person put back by hand is still that person's. So the API server is
// asked by a dry-run, only for an object whose drift is left, only when something changed, and less often the longer it lasts.
import { canonicalJson } from '@fairlead/shared/digest'
import { isAborted, toAppError } from '@fairlead/shared/errors'
import type { KubernetesObject } from '@fairlead/shared/object-reference'
import { readDeclared } from '../applier/declared.ts'
import { Limiter } from '../applier/limiter.ts'
import type { Kube } from '../kube/kube.ts'
import { isDeclared } from '../remediator/field-set.ts'
import { findPersonEntries } from '../remediator/managed-fields.ts'
import { type DriftedHow, describeLeft } from './describe-drift.ts'
import type { SeenDrift } from './drift-repair.ts'
import { bodyOf, leftFields } from './left-fields.ts'
import type { ObjectRecord } from './object-record.ts'

/** What it needs, and tells. */
export interface LeftDriftOptions {
  /** The access of an application, with the rights that it has. */
  readonly kubeFor: (application: string) => Promise<Kube>
  readonly persons: RegExp
  readonly clock: () => number
  readonly signal: AbortSignal
  /** Whether drift of this application is left. */
  readonly isLeft: (application: string) => boolean
  readonly onDrift: (drift: SeenDrift) => void
  /** Whether the object differs was found out anew. */
  readonly onChange: (record: ObjectRecord) => void
}

/** Between two dry-runs for one object, in milliseconds: doubles while there is one after the other. */
const FIRST_INTERVAL_MS = 500
const LONGEST_INTERVAL_MS = 60_000
/** After the event, so that several writes in a row are looked at once. */
const SETTLE_MS = 50

interface Watch {
  timer: NodeJS.Timeout | undefined
  intervalMs: number
  checkedAtMs: number
  /** What was seen at the last dry-run, but for status. */
  seen: string
}

/** Drifts that are left. */
export class LeftDrift {
  readonly #options: LeftDriftOptions
  readonly #watches = new WeakMap<ObjectRecord, Watch>()
  /** Those of which the timer runs. */
  readonly #armed = new Set<Watch>()
  /** What objects looked like, but for status, that were as declared although others own some of it. */
  readonly #equal = new WeakMap<ObjectRecord, string>()
  readonly #lane = new Limiter({ places: 2 })

  constructor(options: LeftDriftOptions) {
    this.#options = options
  }

  /** An event shows that the object differs. */
  note(record: ObjectRecord, kind: DriftedHow, evidence: KubernetesObject): void {
    const seen = signatureOf(evidence)
    if (kind !== 'deleted' && seen !== '' && seen === this.#equal.get(record)) {
      this.#setEqual(record, evidence)
      return
    }
    this.#tell(record, kind, evidence)
    if (kind !== 'deleted') this.#schedule(record, evidence)
  }

  /**
   * The object was found to differ when nobody could tell how: after a restart, or when it was suspended. Where the API
   * server refuses to say more (a field that cannot be changed), it differs. Throws Aborted.
   */
  async inspect(record: ObjectRecord, kind: DriftedHow): Promise<void> {
    const { kubeFor, signal } = this.#options
    if (kind === 'deleted') return this.#tell(record, kind, undefined)
    let live: KubernetesObject | undefined
    try {
      const kube = await kubeFor(record.application)
      live = await kube.get(record.resource, record, { signal })
      if (live && !(await this.#findEqual(record, live))) this.#tell(record, kind, live)
    } catch (thrown) {
      const error = toAppError(thrown)
      if (isAborted(error)) throw error
      this.#tell(record, kind, live)
      if (error.kind === 'transient') this.#arm(record, this.#watchOf(record))
    }
  }

  /** Gives up what was going to be looked at. */
  stop(): void {
    for (const { timer } of this.#armed) clearTimeout(timer)
    this.#armed.clear()
  }

  /** Without evidence it is told that it differs, and not how. */
  #tell(record: ObjectRecord, kind: DriftedHow, evidence: KubernetesObject | undefined): void {
    const { persons, clock, onDrift, onChange } = this.#options
    record.driftLeft = true
    const drift = { record, kind, detectedAtMs: clock(), remediatedAtMs: undefined }
    const how = evidence ? describeLeft(record, kind, { evidence, persons }) : { manager: '', fields: [] }
    onDrift({ ...drift, ...how })
    onChange(record)
  }

  #schedule(record: ObjectRecord, evidence: KubernetesObject): void {
    const seen = signatureOf(evidence)
    const watch = this.#watchOf(record)
    if (watch.timer === undefined && (seen === '' || seen !== watch.seen)) this.#arm(record, watch)
  }

  #watchOf(record: ObjectRecord): Watch {
    const watch = this.#watches.get(record) ?? { timer: undefined, intervalMs: 0, checkedAtMs: 0, seen: '' }
    this.#watches.set(record, watch)
    return watch
  }

  #arm(record: ObjectRecord, watch: Watch): void {
    clearTimeout(watch.timer)
    const nowMs = this.#options.clock()
    const sinceMs = nowMs - watch.checkedAtMs
    watch.intervalMs =
      sinceMs > 2 * watch.intervalMs + LONGEST_INTERVAL_MS
        ? FIRST_INTERVAL_MS
        : Math.min(LONGEST_INTERVAL_MS, Math.max(FIRST_INTERVAL_MS, watch.intervalMs * 2))
    const delayMs = Math.max(SETTLE_MS, watch.checkedAtMs === 0 ? 0 : watch.intervalMs - sinceMs)
    watch.timer = setTimeout(() => void this.#check(record, watch), delayMs).unref()
    this.#armed.add(watch)
  }

  async #check(record: ObjectRecord, watch: Watch): Promise<void> {
    const { kubeFor, signal, clock } = this.#options
    watch.timer = undefined
    this.#armed.delete(watch)
    watch.checkedAtMs = clock()
    try {
      await this.#lane.run(async () => {
        if (signal.aborted || !record.driftLeft || !this.#options.isLeft(record.application)) return
        const kube = await kubeFor(record.application)
        const live = await kube.get(record.resource, record, { signal })
        if (!live) return
        watch.seen = signatureOf(live)
        if (await this.#findEqual(record, live)) this.#watches.delete(record)
      })
    } catch (error) {
      if (signal.aborted || isAborted(error)) return
      // What is refused stays as it is told until the next event.
      watch.seen = ''
      if (toAppError(error).kind === 'transient') this.#arm(record, watch)
    }
  }

  /** Asks whether an apply would change anything, and remembers at which version it would not. */
  async #findEqual(record: ObjectRecord, live: KubernetesObject): Promise<boolean> {
    const { kubeFor, persons, signal } = this.#options
    const { declared } = record
    if (!declared) return false
    const body = bodyOf(record, declared)
    const added = declared.merge ? [] : findPersonEntries(live, persons, leftFields(record))
    if (!added.every(({ taken }) => isDeclared(taken, readDeclared({ body })))) return false
    const kube = await kubeFor(record.application)
    const { sensitive } = declared
    const applied = await kube.apply(declared.resource, declared, body, { dryRun: true, sensitive, signal })
    if (contentOf(applied) !== contentOf(live) || record.declared !== declared) return false
    this.#setEqual(record, live)
    return true
  }

  #setEqual(record: ObjectRecord, object: KubernetesObject): void {
    record.equalAt = object.metadata.resourceVersion ?? ''
    record.driftLeft = false
    this.#equal.set(record, signatureOf(object))
    this.#options.onChange(record)
  }
}

/** An object without what an apply changes of any object. */
function contentOf(object: KubernetesObject): string {
  const { managedFields: _f, resourceVersion: _r, generation: _g, ...metadata } = object.metadata
  return canonicalJson({ ...object, metadata })
}

/** Equal while nothing but the status changes; empty for kinds of which that cannot be told. */
function signatureOf({ metadata }: KubernetesObject): string {
  const { generation, labels, annotations, ownerReferences, finalizers } = metadata
  if (generation === undefined) return ''
  return canonicalJson([generation, labels ?? {}, annotations ?? {}, ownerReferences ?? [], finalizers ?? []])
}

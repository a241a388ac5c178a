// The last word on an object's health: the rules and the deadline of its application over what its kind says, and what is wrong
// with a Degraded workload.
import { equals } from '@bufbuild/protobuf'
import { type HealthRule, HealthRuleSchema, HealthState } from '@fairlead/proto/common'
import { isAborted } from '@fairlead/shared/errors'
import type { KubernetesObject } from '@fairlead/shared/object-reference'
import { Limiter } from '../applier/limiter.ts'
import { ApplicationRules } from '../health/application-rules.ts'
import { isBehind, needsWholeObject } from '../health/health.ts'
import { isWorkload } from '../health/workloads.ts'
import type { Kube } from '../kube/kube.ts'
import type { CauseReader } from './cause-reader.ts'
import { isOlder, type ObjectRecord, observe } from './object-record.ts'
import type { ObjectTable } from './object-table.ts'
import { ProgressDeadlines } from './progress-deadlines.ts'

/** With what health is judged. */
export interface HealthJudgeOptions {
  readonly kube: Kube
  readonly table: ObjectTable
  readonly causes: CauseReader
  /** Managers through which people write. */
  readonly persons: RegExp
  /** Milliseconds since the epoch. */
  readonly clock: () => number
  readonly signal: AbortSignal
  /** A record's health changed without the object. */
  readonly onChange: (record: ObjectRecord) => void
}

/** What an application says of health. */
export interface HealthPolicy {
  readonly rules: readonly HealthRule[]
  /** In milliseconds; undefined: none. */
  readonly progressDeadlineMs: number | undefined
  /** Digest of what is declared: with another the time of all objects begins again. */
  readonly digest: string
}

const NO_RULES: readonly HealthRule[] = []

/** Judges the health of records. */
export class HealthJudge {
  readonly #options: HealthJudgeOptions
  readonly #deadlines: ProgressDeadlines
  readonly #rules = new Map<string, ApplicationRules>()
  readonly #policies = new Map<string, HealthPolicy>()
  /** The rules that are being loaded, or were. */
  readonly #wanted = new Map<string, readonly HealthRule[]>()
  readonly #reads = new Limiter({ places: 4 })

  constructor(options: HealthJudgeOptions) {
    this.#options = options
    this.#deadlines = new ProgressDeadlines({
      clock: options.clock,
      onExpired: (record) => this.#noteExpired(record),
      onRestarted: (record) => options.onChange(record),
    })
  }

  /** Sets what an application says of health, or that it says nothing any more. Objects whose rule changed are read once more. */
  setPolicy(application: string, policy: HealthPolicy | undefined): void {
    const before = this.#policies.get(application)
    if (policy) this.#policies.set(application, policy)
    else this.#policies.delete(application)
    const deadlineMs = policy?.progressDeadlineMs
    const isNew = before !== undefined && before.digest !== policy?.digest
    const startMs = isNew ? this.#options.clock() : (this.#deadlines.startMs(application) ?? 0)
    this.#deadlines.set(application, deadlineMs === undefined ? undefined : { deadlineMs, startMs })
    const [old, now] = [before?.rules ?? NO_RULES, policy?.rules ?? NO_RULES]
    if (isSame(old, now)) return
    // The only rejection is that the agent stops.
    this.#loadRules(application, now, [...old, ...now]).catch(() => undefined)
  }

  /** Takes a record as it was just observed. Never throws. */
  note(record: ObjectRecord, object: KubernetesObject): void {
    this.#applyRule(record, object)
    this.#deadlines.note(record, object)
    this.#options.causes.note(record, object)
  }

  /** Ends the timers. */
  stop(): void {
    this.#deadlines.stop()
  }

  #applyRule(record: ObjectRecord, object: KubernetesObject): void {
    const rules = this.#rules.get(record.application)
    const isGoing = object.metadata.deletionTimestamp !== undefined
    const verdict = !rules || isGoing || isBehind(object) ? undefined : rules.assess(object)
    if (verdict?.health) record.health = verdict.health
    record.healthProblem = verdict?.problem
  }

  async #loadRules(application: string, rules: readonly HealthRule[], touched: readonly HealthRule[]): Promise<void> {
    this.#wanted.set(application, rules)
    const loaded = await ApplicationRules.load(rules)
    if (this.#wanted.get(application) !== rules) return
    if (rules.length === 0) this.#wanted.delete(application)
    if (loaded) this.#rules.set(application, loaded)
    else this.#rules.delete(application)
    const kinds = new Set(touched.map(({ group, kind }) => `${group}/${kind}`))
    const records = this.#options.table
      .of(application)
      .filter((record) => record.live && kinds.has(`${record.group}/${record.kind}`) && needsWholeObject(record))
    await Promise.all(records.map(async (record) => await this.#readAgain(record)))
  }

  /** Judges an object by what is there now; while it cannot be read it keeps its health. */
  async #readAgain(record: ObjectRecord): Promise<void> {
    const { kube, persons, clock, signal, onChange } = this.#options
    try {
      const object = await this.#reads.run(async () => await kube.get(record.resource, record, { signal }))
      const { resourceVersion = '', uid } = object?.metadata ?? {}
      // An event or a write was quicker.
      if (!object || !record.live || record.writing || uid !== record.live.uid) return
      if (isOlder(resourceVersion, record.live.resourceVersion)) return
      observe(record, object, persons, clock())
      this.note(record, object)
      onChange(record)
    } catch (error) {
      if (isAborted(error)) throw error
    }
  }

  #noteExpired(record: ObjectRecord): void {
    this.#options.onChange(record)
    if (record.health.health !== HealthState.DEGRADED || !isWorkload(`${record.group}/${record.kind}`)) return
    // To say which pod. The only rejection is that the agent stops.
    this.#readAgain(record).catch(() => undefined)
  }
}

function isSame(a: readonly HealthRule[], b: readonly HealthRule[]): boolean {
  return a.length === b.length && a.every((rule, index) => b[index] && equals(HealthRuleSchema, rule, b[index]))
}

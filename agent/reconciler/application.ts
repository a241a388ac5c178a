// One application on this cluster: a loop that brings it to its newest target, wakes when something needs it, and
// otherwise waits. A newer target pre-empts the work on the older at once.
import type { ApplicationReport, Drift } from '@fairlead/proto/report'
import { type ClusterVariables, differIn } from '@fairlead/shared/cluster-variables'
import { canonicalJson, sha256Hex } from '@fairlead/shared/digest'
import { type AppError, isAborted, toAppError } from '@fairlead/shared/errors'
import { retryDelayMs } from '../applier/retry.ts'
import type { Inventory } from '../inventory/inventory.ts'
import { toDrift } from './application-report.ts'
import { applyDeclared } from './apply-run.ts'
import { claimDeclared } from './claim.ts'
import type { Neighbour, ReconcilerContext } from './context.ts'
import { Declaration } from './declaration.ts'
import { addDrift, closeDrifts } from './drift-list.ts'
import type { SeenDrift } from './drift-repair.ts'
import { leave } from './leave-run.ts'
import type { LoadedManifests } from './load-declared.ts'
import { type ObjectRecord, retryAtOnce, toInventoryRecord } from './object-record.ts'
import { PassClock } from './pass-clock.ts'
import { type HeldPruneState, pruneDropped } from './prune-run.ts'
import { RevisionGate } from './revision-gate.ts'
import { awaitAutoscalers, noteAutoscalers } from './scaled-objects.ts'
import { inspectLeft, isDriftLeft } from './suspension.ts'
import { accountOf, type DesiredTarget, isSameContent, type Target } from './target.ts'
import { WakeSignal } from './wake-signal.ts'

/** What applications tell the reconciler. */
export interface ApplicationEvents {
  /** Its state changed: report it. */
  readonly onChange: (application: Application) => void
  /** Its tombstone was carried out. */
  readonly onRemoved: (application: Application) => void
}

/** A failure of the application as a whole, or of one of its manifests. */
export interface NotedFailure {
  readonly error: AppError
  readonly sinceMs: number
}

/** How many drifts are kept for reports. */
const DRIFTS_KEPT = 10
/** Never sooner than this after a pass, unless woken, in milliseconds. */
const RETRY_MIN_MS = 200

/** One application. */
export class Application implements Neighbour {
  readonly name: string
  readonly context: ReconcilerContext
  target: Target | undefined
  /** Objects that it declares and another application owns. */
  contested: readonly string[] = []
  /** Why the application as a whole cannot be brought to its target. */
  failure: NotedFailure | undefined
  /** Digest of the artifact that was completely applied last, and when. */
  completed: { digest: string; atMs: number; inputs: string } = { digest: '', atMs: 0, inputs: '' }
  /** Digest of the artifact that this process has seen completely applied. */
  appliedDigest = ''
  /** The revision that the cluster was last brought to. */
  revision: ApplicationReport['revision']
  /** `namespace/name` of the service account whose rights it has; empty for the agent's own. Kept for when it leaves. */
  account = ''
  drifts: readonly Drift[] = []
  remediations = 0n
  /** What a guard keeps from being deleted until it is approved. */
  heldPrune: HeldPruneState | undefined
  /** Since when a prune waits for what replaces the old objects; 0 when it does not. */
  pruneWaitSinceMs = 0
  /** What reports said last, and since when. */
  report: ApplicationReport | undefined
  /** What its newest revision must pass, and its hooks. */
  readonly gate: RevisionGate
  /** Whether its pass gets on. */
  readonly pass = new PassClock()
  readonly #events: ApplicationEvents
  readonly #declaration: Declaration
  readonly #waking = new WakeSignal()
  #controller = new AbortController()
  #loop: Promise<void> | undefined
  #attempts = 0
  #saving: Promise<void> = Promise.resolve()

  constructor(name: string, context: ReconcilerContext, events: ApplicationEvents) {
    this.name = name
    this.context = context
    this.#events = events
    this.gate = new RevisionGate(this)
    this.#declaration = new Declaration(name, context, this.pass)
  }

  /** What it declares in force; undefined while that is not known. */
  get loaded(): LoadedManifests | undefined {
    return this.#declaration.inForce
  }

  /** Whether it is known what it declares. */
  get isLoaded(): boolean {
    return this.target?.kind === 'tombstone' || this.#declaration.known !== undefined
  }

  declares(key: string): boolean {
    return this.#declaration.known?.declared.has(key) === true
  }

  /** What was completely applied before this process began is all that it declares, also while its artifact cannot be had. */
  get wantsNothingNew(): boolean {
    const { target, completed } = this
    if (this.isLoaded || target?.kind !== 'desired') return this.isLoaded
    return target.artifact.digest === completed.digest && this.#inputsOf(target) === completed.inputs
  }

  /** Takes what its inventory in the cluster says. */
  adoptInventory(inventory: Inventory): void {
    const { artifactDigest, appliedAtMs, inputs = '', account = '' } = inventory
    this.gate.adopt(inventory)
    if (this.target?.kind !== 'desired') this.account = account
    this.completed = { digest: artifactDigest, atMs: appliedAtMs, inputs }
  }

  /** What besides the artifact decides which objects are declared. */
  #inputsOf({ policy }: DesiredTarget): string {
    const variables = policy.substitute ? this.context.variables() : ''
    return sha256Hex(canonicalJson([policy.namespace, variables])).slice(0, 16)
  }

  /** Gives it a new target, or none: then it is left as it is. What is under way is given up at the next safe point. */
  setTarget(target: Target | undefined): void {
    const isSame = isSameContent(this.target, target)
    const keepsVariables = target?.kind !== 'desired' || this.hasSameVariables(target.variables)
    this.target = target
    if (target?.kind === 'desired') this.account = accountOf(target)
    if (!isSame || !keepsVariables) {
      this.#declaration.forget()
      this.context.table.contest(this.name, [])
      this.contested = []
      this.pruneWaitSinceMs = 0
      this.heldPrune = undefined
    }
    for (const record of this.records()) {
      if (!target) record.declared = undefined
      // What others own by then is taken back, though it may have the value of Git.
      if (target?.kind === 'desired' && !isDriftLeft(target, this.context)) record.equalAt = ''
      retryAtOnce(record)
    }
    this.failure = undefined
    this.gate.reset()
    this.#attempts = 0
    this.#declaration.hurry()
    this.#controller.abort()
    this.wake()
    this.#start()
    this.noteChange()
  }

  /** True when the variables that it uses have the same values; while it is not known which it uses, when all have. */
  hasSameVariables(variables: ClusterVariables): boolean {
    const { target, loaded } = this
    if (target?.kind !== 'desired') return false
    const names = loaded?.variables ?? [...target.variables.keys(), ...variables.keys()]
    return !target.policy.substitute || !differIn(names, target.variables, variables)
  }

  #start(): void {
    if (!this.target || this.#loop || this.context.signal.aborted) return
    this.#loop = this.#run().finally(() => {
      this.#loop = undefined
      // A target that came while the loop was ending.
      this.#start()
    })
  }

  /** Everything is compared and applied again. */
  recheck(): void {
    for (const record of this.records()) {
      record.dirty = true
      retryAtOnce(record)
    }
    this.gate.hurry()
    this.wake()
  }

  /** Looks after itself again, soon. */
  wake(): void {
    this.#waking.wake()
  }

  /** Looks after itself again in a moment: what repairs change of the inventory is written together. A crash before that leaves an older uid there, which the first list puts right. */
  wakeSoon(): void {
    this.#waking.wakeSoon()
  }

  /** Looks again at what it waits for. */
  nudge(): void {
    this.#waking.nudge()
  }

  /** Kinds came to be: manifests that wait for theirs are looked at again, soon. */
  retryUnresolved(): void {
    this.#declaration.hurryUnresolved()
    this.gate.hurry()
    this.wake()
  }

  /** Resolves when its loop has ended: the target is gone, or the agent stops. */
  async stopped(): Promise<void> {
    await this.#loop
  }

  /** Its state changed. */
  noteChange(): void {
    const isOpen = (key: string): boolean => this.context.table.find(key)?.driftLeft === true
    this.drifts = closeDrifts(this.drifts, isOpen, this.context.clock())
    this.#events.onChange(this)
    this.context.dependencies.noteChange(this.name)
    if (this.gate.becomesDue()) this.wake()
    else this.nudge()
  }

  /** Keeps a drift for the reports. */
  noteDrift(drift: Drift): void {
    if (drift.remediatedAt) this.remediations++
    this.drifts = addDrift(this.drifts, drift).slice(0, DRIFTS_KEPT)
    this.noteChange()
  }

  /** Keeps a repair that was made in the course of an apply: what happened while nobody watched. */
  noteRepair(record: ObjectRecord, seen: { kind: SeenDrift['kind']; manager: string; detectedAtMs: number }): void {
    const drift = { record, ...seen, remediatedAtMs: this.context.clock(), fields: [] }
    this.context.recorder.drifted(drift)
    this.noteDrift(toDrift(drift))
  }

  /** The objects that it owns. */
  records(): ObjectRecord[] {
    return this.context.table.of(this.name)
  }

  /** Writes its inventory as it is now; no request when nothing changed. */
  async save(): Promise<void> {
    this.pass.progressed()
    const write = async (): Promise<void> => {
      const records = this.records().map(toInventoryRecord)
      const { digest, atMs, inputs } = this.completed
      const progress = {
        artifactDigest: digest,
        appliedAtMs: atMs,
        inputs,
        account: this.account,
        ...this.gate.toInventory(),
      }
      const inventory = { application: this.name, ...progress, records }
      await this.context.store.save(inventory, this.context.signal)
    }
    this.#saving = this.#saving.then(write, write)
    await this.#saving
  }

  /** Forgets its inventory in the cluster. */
  async forget(): Promise<void> {
    const remove = async (): Promise<void> => await this.context.store.remove(this.name, this.context.signal)
    this.#saving = this.#saving.then(remove, remove)
    await this.#saving
  }

  /** Waits until the condition holds; false after the time limit. Throws Aborted, also when the application was woken for something else: then it begins anew. */
  async waitUntil(condition: () => boolean, timeoutMs: number, signal: AbortSignal): Promise<boolean> {
    this.pass.progressed()
    return await this.#waking.until(condition, timeoutMs, signal)
  }

  async #run(): Promise<void> {
    const { signal: stop } = this.context
    while (!stop.aborted && this.target) {
      this.#controller = new AbortController()
      const signal = AbortSignal.any([stop, this.#controller.signal])
      this.#waking.begin()
      const nextMs = await this.#attempt(signal)
      this.noteChange()
      await this.#waking.sleep(nextMs, signal)
    }
  }

  /** One pass; returns after how many milliseconds to make another. */
  async #attempt(signal: AbortSignal): Promise<number> {
    this.pass.begin()
    try {
      await this.pass.patiently(this.context.ready)
      signal.throwIfAborted()
      const startedAtMs = this.context.clock()
      await this.#converge(signal)
      this.failure = undefined
      this.#attempts = 0
      return this.#nextRetryMs(startedAtMs)
    } catch (thrown) {
      if (signal.aborted || isAborted(thrown)) return 0
      const error = toAppError(thrown)
      if (error.kind === 'bug') this.context.logger.error({ application: this.name, error }, 'application failed')
      this.failure = { error, sinceMs: this.failure?.sinceMs ?? this.context.clock() }
      return retryDelayMs(error, this.#attempts++, this.context.limits)
    } finally {
      this.pass.end()
    }
  }

  async #converge(signal: AbortSignal): Promise<void> {
    const { target } = this
    if (target?.kind === 'tombstone') {
      this.gate.hooks.dropOthers({ hooks: new Map() }, new Map())
      if (await leave(this, target, signal)) this.#finishLeaving(target)
      return
    }
    if (target?.kind !== 'desired') return
    const candidate = await this.#declaration.load(target, signal)
    if (!(await this.gate.passes(target, candidate, signal))) return
    await awaitAutoscalers(this.context, candidate.declared.values())
    signal.throwIfAborted()
    this.#declaration.bringIntoForce(candidate)
    claimDeclared(this, candidate)
    this.gate.hooks.dropOthers(candidate, candidate.declared)
    await this.watchKinds(signal)
    await noteAutoscalers(this, target)
    if (target.policy.suspend) return await this.#leaveAsItIs(target, signal)
    await applyDeclared(this, target, signal)
    await pruneDropped(this, target, signal)
    await inspectLeft(this, target, signal)
    await this.#settle(target)
    await this.gate.finish(target, candidate, signal)
  }

  /** Suspended: what differs is found and told, and nothing is written. */
  async #leaveAsItIs(target: DesiredTarget, signal: AbortSignal): Promise<void> {
    for (const record of this.records()) record.failure = undefined
    await inspectLeft(this, target, signal)
    if (this.completed.digest === target.artifact.digest) await this.#settle(target)
  }

  #finishLeaving(target: Target): void {
    if (this.target !== target) return
    this.target = undefined
    this.#events.onRemoved(this)
  }

  /** Watches the kinds of which it owns something, and waits until they were listed. Throws Aborted. */
  async watchKinds(signal: AbortSignal): Promise<void> {
    // Kinds of its own CRDs that are not served yet are watched once they are established.
    const kinds = new Map(
      this.records().map(({ resource }) => [`${resource.group}/${resource.version}/${resource.kind}`, resource]),
    )
    const served = [...kinds.values()].filter(
      ({ verbs, group, kind }) => verbs.length > 0 || !this.loaded?.definedKinds.has(`${group}/${kind}`),
    )
    await Promise.all(served.map((resource) => this.context.kinds.ensure(resource, signal)))
  }

  /** Writes down what was done, and only then says that it is. */
  async #settle(target: DesiredTarget): Promise<void> {
    const { digest } = target.artifact
    const isNew = this.isComplete() && this.completed.digest !== digest
    if (isNew) this.completed = { digest, atMs: this.context.clock(), inputs: this.#inputsOf(target) }
    else if (this.isComplete()) this.completed = { ...this.completed, inputs: this.#inputsOf(target) }
    this.gate.settle()
    await this.save()
    if (!this.isComplete() || this.target !== target) return
    this.revision = target.revision
    this.appliedDigest = digest
    if (isNew) this.context.logger.info({ application: this.name, artifact: digest }, 'application applied')
  }

  /** True when every declared object is applied as declared. */
  isComplete(): boolean {
    const { loaded } = this
    if (!loaded || loaded.unresolved.length > 0 || loaded.refused.length > 0 || this.contested.length > 0) return false
    return this.records().every(({ declared, applied }) => !declared || declared.hash === applied?.declaredHash)
  }

  #nextRetryMs(startedAtMs: number): number {
    const failures = this.records().map(({ failure }) => failure?.retryAtMs ?? Infinity)
    const times = [...this.gate.retryTimes(), this.#declaration.keyRetryAtMs, ...failures]
    // What the pass found due and did not try waits for something else, which wakes the application.
    const nextAtMs = times.reduce((next, time) => (time < startedAtMs ? next : Math.min(next, time)), Infinity)
    return Math.max(RETRY_MIN_MS, Math.min(nextAtMs - this.context.clock(), this.#declaration.nextUnresolvedMs()))
  }
}

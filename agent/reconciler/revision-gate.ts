// What a revision must pass before its first object is written: validation by the API server where it is asked for, and
// its pre-sync hooks. Until then the state before it stays in force and goes on being healed.
import type { HookStatus } from '@fairlead/proto/report'
import type { ArtifactReference } from '@fairlead/proto/slice'
import type { AppError } from '@fairlead/shared/errors'
import { HOOK_ANNOTATION } from '@fairlead/shared/labels'
import { isFoundation } from '../applier/apply-order.ts'
import type { Declared } from '../applier/declared.ts'
import { hookRunId } from '../applier/hook.ts'
import { retryDelayMs } from '../applier/retry.ts'
import type { Inventory } from '../inventory/inventory.ts'
import type { Application } from './application.ts'
import { applyDeclared } from './apply-run.ts'
import { claimDeclared } from './claim.ts'
import { type HookedRevision, HookRuns, type ObjectProblem } from './hook-runs.ts'
import { InForce, inForceOf } from './in-force.ts'
import type { LoadedManifests, Unresolved } from './load-declared.ts'
import { isPending, isWorking, type ObjectRecord } from './object-record.ts'
import { referenceOf, referenceOfManifest } from './references.ts'
import { awaitAutoscalers, noteAutoscalers } from './scaled-objects.ts'
import { type DesiredTarget, validationKey } from './target.ts'
import { type Refused, refuseUnresolved, validateDeclared } from './validate-run.ts'

/** A revision that waits for a kind or a namespace of another application is not called failed before this, in ms. */
const FOUNDATION_GRACE_MS = 60_000
const FOUNDATION_CODES: ReadonlySet<string> = new Set(['UnknownKind', 'NamespaceNotFound'])

/** Holds revisions back, and runs their hooks. */
export class RevisionGate {
  readonly hooks: HookRuns
  readonly #application: Application
  #refusals: readonly ObjectProblem[] = []
  #attempts = 0
  #retryAtMs = 0
  #validated = ''
  /** The revision that was looked at last. */
  #revision: HookedRevision | undefined
  #awaitsHealth = false
  #isHeld = false
  /** Artifact that need not wait for what the application depends on: it did. */
  #admitted = ''
  #waitReason = ''
  /** What is declared was not let in: the application was suspended when it came. */
  #isUnproven = false
  /** The newest revision has passed, and is in force. */
  #hasPassed = false
  #inForce = new InForce()
  /** What the inventory says of it: where nothing holds revisions back it is written with what the revision's end writes anyway. */
  #recorded = this.#inForce
  /** What is in force as far as it could be declared again; undefined while that was not needed. */
  #redeclared: LoadedManifests['declared'] | undefined
  /** Since when nothing but a kind or a namespace is missing; 0 when that is not so. */
  #missingSinceMs = 0

  constructor(application: Application) {
    this.#application = application
    this.hooks = new HookRuns(application)
  }

  /** Takes what the inventory in the cluster says. */
  adopt({ validatedDigest = '', inForce, hooks = [] }: Inventory): void {
    this.#validated = validatedDigest
    this.#inForce = new InForce(inForce)
    this.#recorded = this.#inForce
    this.hooks.adopt(hooks)
  }

  /** What the inventory must say. */
  toInventory(): Pick<Inventory, 'validatedDigest' | 'inForce' | 'hooks'> {
    return { validatedDigest: this.#validated, inForce: this.#recorded.toString(), hooks: this.hooks.records() }
  }

  /** The artifact that is in force while a newer revision has not passed: it must not be lost. */
  get artifactInForce(): ArtifactReference | undefined {
    return this.#hasPassed ? undefined : this.#inForce.artifact
  }

  /** A new target: what was held back is looked at again at once. */
  reset(): void {
    this.#refusals = []
    this.#revision = undefined
    this.#awaitsHealth = false
    this.#isHeld = false
    this.#hasPassed = false
    this.#redeclared = undefined
    this.#missingSinceMs = 0
    this.#stopWaiting()
    this.hurry()
  }

  /** Looks again at once at what is held back. */
  hurry(): void {
    this.#attempts = 0
    this.#retryAtMs = 0
    this.hooks.hurry()
  }

  /** True while the newest revision is held back: what is in force is an older one. */
  get isHeld(): boolean {
    return this.#isHeld
  }

  /** Which applications the newest revision waits for, in one sentence; empty when it waits for none. */
  get waitReason(): string {
    return this.#waitReason
  }

  /** When it must be looked at again, in milliseconds since the epoch; none for never. */
  retryTimes(): number[] {
    const validation = this.#refusals.length > 0 ? [this.#retryAtMs] : []
    return [...validation, ...(this.#revision ? this.hooks.retryTimes(this.#revision) : [])]
  }

  /** What is wrong with the revision itself or with its hooks. */
  problems(): ObjectProblem[] {
    return [...this.#refusals, ...(this.#revision ? this.hooks.problems(this.#revision) : [])]
  }

  /** The hooks of the present revision. */
  statuses(): HookStatus[] {
    return this.#revision ? this.hooks.statuses(this.#revision, this.#application.isComplete()) : []
  }

  /** True, once, when all objects have become healthy and the post-sync hooks wait for nothing else. A pass that fails then is tried again like any other. */
  becomesDue(): boolean {
    if (!this.#awaitsHealth || !areWorking(this.#application)) return false
    this.#awaitsHealth = false
    return true
  }

  /** Whether the revision may be brought into force. If not, the state before it is healed. Throws Aborted, or as Kube does. */
  async passes(target: DesiredTarget, candidate: LoadedManifests, signal: AbortSignal): Promise<boolean> {
    const revision = this.#take(target, candidate)
    if (target.policy.suspend) {
      this.#isUnproven = true
      this.#isHeld = false
      this.#stopWaiting()
      return true
    }
    this.#isHeld = !(await this.#check(target, candidate, revision, signal))
    if (!this.#isHeld) this.#letIn(target, candidate)
    return !this.#isHeld
  }

  #letIn(target: DesiredTarget, candidate: LoadedManifests): void {
    const isFirst = !this.#hasPassed
    this.#isUnproven = false
    this.#hasPassed = true
    this.#redeclared = undefined
    this.#inForce = inForceOf(target, candidate)
    const isGated = target.policy.validate !== '' || candidate.hooks.size > 0 || target.policy.dependsOn.length > 0
    if (isGated) this.#recorded = this.#inForce
    if (isFirst) this.#application.context.noteInForce()
  }

  async #check(
    target: DesiredTarget,
    candidate: LoadedManifests,
    revision: HookedRevision,
    signal: AbortSignal,
  ): Promise<boolean> {
    if (this.#mustWait(target)) {
      await this.#heal(target, candidate, [], signal)
      return false
    }
    const unread = findUnreadHooks(candidate)
    if (unread.length > 0) {
      // Without a hook that must run before it, the revision must not run either.
      await this.#heal(target, candidate, [], signal)
      this.#refuse(unread.map(toManifestProblem), Infinity)
      return false
    }
    const mustValidate = target.policy.validate === 'server' && this.#isNew(target, candidate)
    const preSync = [...revision.hooks.values()].filter(({ phase }) => phase === 'pre-sync')
    if (!mustValidate && preSync.every((hook) => this.hooks.hasSucceeded(hook, revision))) {
      this.#refusals = []
      return true
    }
    if (mustValidate) {
      await this.#heal(target, candidate, [], signal)
      if (!(await this.#validate(target, candidate, signal))) {
        await this.#runFailHooks(revision, signal)
        return false
      }
    }
    this.#refusals = []
    return await this.#runPreSync(target, candidate, revision, signal)
  }

  /** At the end of a pass, before the inventory is written. */
  settle(): void {
    if (this.#hasPassed) this.#recorded = this.#inForce
  }

  /** After a pass: the hooks that follow success or failure. Throws Aborted, or as Kube does. */
  async finish(target: DesiredTarget, loaded: LoadedManifests, signal: AbortSignal): Promise<void> {
    const revision = this.#take(target, loaded)
    if (target.policy.suspend || revision.hooks.size === 0) return
    const application = this.#application
    if (application.isComplete()) {
      const hasMore = [...revision.hooks.values()].some(({ phase }) => phase === 'post-sync')
      this.#awaitsHealth = hasMore && !areWorking(application)
      if (hasMore && !this.#awaitsHealth) await this.hooks.advance('post-sync', revision, signal)
    } else if (this.#hasFailed(loaded)) await this.hooks.advance('sync-fail', revision, signal)
    await application.save()
  }

  #take({ artifact, revision }: DesiredTarget, { hooks }: LoadedManifests): HookedRevision {
    this.#revision = { run: hookRunId(artifact.digest, revision?.commit ?? ''), hooks }
    return this.#revision
  }

  #stopWaiting(): void {
    this.#waitReason = ''
    this.#application.context.dependencies.await(this.#application, [])
  }

  /** Whether what the application depends on is not ready. Once it was, the revision goes on whatever becomes of that. */
  #mustWait({ policy, artifact: { digest } }: DesiredTarget): boolean {
    const { context, completed } = this.#application
    const isBegun = this.#admitted === digest || completed.digest === digest
    const reason = isBegun ? '' : context.dependencies.await(this.#application, policy.dependsOn)
    if (reason === '') this.#admitted = digest
    if (reason !== this.#waitReason) {
      this.#waitReason = reason
      this.#application.noteChange()
    }
    return reason !== ''
  }

  /** True when it was not validated yet and something of it would be written. */
  #isNew(target: DesiredTarget, { declared, unresolved }: LoadedManifests): boolean {
    if (this.#validated === validationKey(target)) return false
    if (unresolved.length > 0) return true
    const { table } = this.#application.context
    return [...declared.values()].some(({ key, hash }) => table.find(key)?.applied?.declaredHash !== hash)
  }

  async #validate(target: DesiredTarget, candidate: LoadedManifests, signal: AbortSignal): Promise<boolean> {
    const { context } = this.#application
    if (this.#refusals.length > 0 && this.#retryAtMs > context.clock()) return false
    const refused = await validateDeclared(this.#application, candidate, signal)
    const unread = refuseUnresolved(candidate)
    if (refused.length + unread.length === 0) {
      this.#validated = validationKey(target)
      this.#refusals = []
      return true
    }
    const nowMs = context.clock()
    const errors = [...refused, ...unread].map(({ error }) => error)
    const delays = errors.map((error) => retryDelayMs(error.cause as AppError, this.#attempts, context.limits))
    this.#attempts++
    this.#refuse([...refused.map(toProblem), ...unread.map(toManifestProblem)], nowMs + Math.min(...delays))
    return false
  }

  #refuse(found: readonly Omit<ObjectProblem, 'sinceMs'>[], retryAtMs: number): void {
    const nowMs = this.#application.context.clock()
    this.#retryAtMs = retryAtMs
    this.#refusals = found.map((problem) => ({ ...problem, sinceMs: this.#sinceMs(problem) ?? nowMs }))
    this.#application.noteChange()
  }

  #sinceMs({ object }: Omit<ObjectProblem, 'sinceMs'>): number | undefined {
    const isSame = ({ object: other }: ObjectProblem): boolean =>
      other.kind === object.kind && other.namespace === object.namespace && other.name === object.name
    return this.#refusals.find(isSame)?.sinceMs
  }

  async #runPreSync(
    target: DesiredTarget,
    candidate: LoadedManifests,
    revision: HookedRevision,
    signal: AbortSignal,
  ): Promise<boolean> {
    // Hooks may need the Namespaces and CRDs that come with the revision, and what says so of itself.
    const foundation = [...candidate.declared.values()].filter((each) => isFoundation(each) || each.beforeHooks)
    await this.#heal(target, candidate, foundation, signal)
    const { table } = this.#application.context
    const missing = foundation.map(({ key }) => table.find(key)).find((record) => record && isPending(record))
    if (missing) {
      if (missing.failure?.error.kind === 'user') await this.#runFailHooks(revision, signal)
      return false
    }
    const outcome = await this.hooks.advance('pre-sync', revision, signal)
    if (outcome === 'failed') await this.#runFailHooks(revision, signal)
    return outcome === 'succeeded'
  }

  async #runFailHooks(revision: HookedRevision, signal: AbortSignal): Promise<void> {
    if (revision.hooks.size === 0) return
    await this.hooks.advance('sync-fail', revision, signal)
    await this.#application.save()
  }

  /** Brings the objects that are in force, and those given, to what is declared; nothing is dropped. */
  async #heal(
    target: DesiredTarget,
    candidate: LoadedManifests,
    more: readonly Declared[],
    signal: AbortSignal,
  ): Promise<void> {
    const application = this.#application
    const { table } = application.context
    const inForce = await this.#findInForce(candidate, signal)
    await awaitAutoscalers(application.context, [...inForce.values(), ...candidate.declared.values()])
    signal.throwIfAborted()
    const declared = new Map<string, Declared>()
    for (const { key } of application.records()) {
      const kept = inForce.get(key)
      if (kept) declared.set(key, kept)
    }
    for (const object of more) declared.set(object.key, object)
    claimDeclared(application, { ...candidate, declared, leftAlone: new Set(), unresolved: [], refused: [] })
    this.#isUnproven = false
    // What it would like to have of others is not pruned by them meanwhile.
    const wanted = [...candidate.declared.keys()].filter((key) => {
      const owner = table.find(key)?.application
      return owner !== undefined && owner !== application.name
    })
    table.contest(application.name, wanted)
    if (declared.size === 0) return
    await application.watchKinds(signal)
    await noteAutoscalers(application, target)
    await applyDeclared(application, target, signal)
    await application.save()
  }

  /** What the application's objects are to be until the newest revision passes, as far as that is known. */
  async #findInForce(candidate: LoadedManifests, signal: AbortSignal): Promise<Map<string, Declared>> {
    const { context, name } = this.#application
    const records = this.#application.records()
    const found = new Map<string, Declared>()
    for (const record of records) {
      // What came while nothing was written is not in force before it passes.
      const letIn = this.#isUnproven && isPending(record) ? undefined : record.declared
      const known = letIn ?? unchanged(record, candidate)
      if (known) found.set(record.key, known)
    }
    if (found.size === records.length) return found
    this.#redeclared ??= (await this.#inForce.declare(context, name, signal)) ?? new Map()
    for (const { key } of records) {
      const again = found.get(key) ?? this.#redeclared.get(key)
      if (again) found.set(key, again)
    }
    return found
  }

  /** True when somebody must mend something before the revision can be applied. */
  #hasFailed({ unresolved, refused }: LoadedManifests): boolean {
    const application = this.#application
    const failures = application.records().filter((record) => record.failure && isPending(record))
    const errors = [...failures.map(({ failure }) => failure?.error), ...unresolved.map(({ error }) => error)]
    const faults = errors.filter((error) => error?.kind === 'user')
    const isMissing = faults.length > 0 && faults.every((error) => FOUNDATION_CODES.has(error?.code ?? ''))
    if (!isMissing) {
      this.#missingSinceMs = 0
      return faults.length + refused.length + application.contested.length > 0
    }
    const nowMs = application.context.clock()
    this.#missingSinceMs ||= nowMs
    return nowMs - this.#missingSinceMs >= FOUNDATION_GRACE_MS
  }
}

/** What an object would be written as anew is what it is already: known without what is kept of the state before. */
function unchanged({ key, applied }: ObjectRecord, { declared }: LoadedManifests): Declared | undefined {
  const object = declared.get(key)
  return object && object.hash === applied?.declaredHash ? object : undefined
}

/** Manifests that cannot be read here and may be hooks that run before the revision. */
function findUnreadHooks({ refused }: LoadedManifests): Unresolved[] {
  return refused.filter(({ parsed, error }) => {
    const phase = parsed.object.metadata.annotations?.[HOOK_ANNOTATION]
    // One that is declared twice runs once, as the first of the two says.
    return phase !== undefined && phase !== 'post-sync' && phase !== 'sync-fail' && error.code !== 'DuplicateObject'
  })
}

function areWorking(application: Application): boolean {
  return application.records().every((record) => !record.declared || isWorking(record))
}

function toProblem({ declared, error }: Refused): Omit<ObjectProblem, 'sinceMs'> {
  return { error, source: declared.source, object: referenceOf(declared) }
}

function toManifestProblem({ parsed, error }: Unresolved): Omit<ObjectProblem, 'sinceMs'> {
  return { error, source: parsed.source, object: referenceOfManifest(parsed) }
}

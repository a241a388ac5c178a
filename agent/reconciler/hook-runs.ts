// The hooks of one application: Jobs that are created once for each revision, followed to their end and remembered in
// the inventory, so that neither a repair nor a restart runs them again.
import { create } from '@bufbuild/protobuf'
import type { ObjectReference, SourceLocation } from '@fairlead/proto/common'
import { ObjectReferenceSchema } from '@fairlead/proto/common'
import { type HookStatus, HookStatusSchema } from '@fairlead/proto/report'
import { AppError, isAborted, toAppError } from '@fairlead/shared/errors'
import { APPLICATION_LABEL, HOOK_RUN_ANNOTATION } from '@fairlead/shared/labels'
import { formatObjectReference, type KubernetesObject, objectKey } from '@fairlead/shared/object-reference'
import { groupPhases } from '../applier/apply-order.ts'
import type { Declared } from '../applier/declared.ts'
import { countsFor, type DeclaredHook, type HookPhase, hookBody } from '../applier/hook.ts'
import { retryDelayMs } from '../applier/retry.ts'
import type { HookRecord } from '../inventory/inventory.ts'
import type { Kube, ResourceType } from '../kube/kube.ts'
import type { ReconcilerContext } from './context.ts'
import { awaitJobGone, findJobEnd, followJob, type JobEnd } from './job-follower.ts'
import { type ObjectRecord, recordFromInventory } from './object-record.ts'

/** The hooks of a revision, and which run of them it is. */
export interface HookedRevision {
  readonly run: string
  readonly hooks: ReadonlyMap<string, DeclaredHook>
}

/** How far the hooks of a phase have come. */
export type PhaseOutcome = 'succeeded' | 'failed' | 'waiting'

/** What the runs need of their application. */
export interface HookOwner {
  readonly name: string
  readonly context: ReconcilerContext
  /** Writes the inventory. */
  save(): Promise<void>
  /** Something went on: look again. */
  wake(): void
  /** Something that reports speak of changed. */
  noteChange(): void
}

/** Something that is wrong with one object as declared. */
export interface ObjectProblem {
  readonly error: AppError
  readonly sinceMs: number
  readonly object: ObjectReference
  readonly source: SourceLocation | undefined
}

interface Run {
  record: HookRecord
  phase: HookPhase | undefined
  source: SourceLocation | undefined
  /** Why it could not be started, and when that is tried again. */
  error: AppError | undefined
  sinceMs: number
  attempts: number
  retryAtMs: number
  /** Ends the following of its Job. */
  following: AbortController | undefined
}

/** Runs hooks. */
export class HookRuns {
  readonly #owner: HookOwner
  readonly #runs = new Map<string, Run>()

  constructor(owner: HookOwner) {
    this.#owner = owner
  }

  /** Takes what the inventory in the cluster says. */
  adopt(records: readonly HookRecord[]): void {
    for (const record of records) this.#runs.set(keyOf(record), newRun(record, this.#owner.context.clock()))
  }

  /** What the inventory must say. */
  records(): HookRecord[] {
    return [...this.#runs.values()].map(({ record }) => record)
  }

  /** When something that could not be started is to be tried again, in milliseconds since the epoch. */
  retryTimes({ run, hooks }: HookedRevision): number[] {
    const runs = [...hooks.values()].map(({ phase, declared }) => this.#findRun(phase, declared.key, run))
    return runs.flatMap((one) => (one?.error ? [one.retryAtMs] : []))
  }

  /** A new target: what failed to start may be tried at once. */
  hurry(): void {
    for (const run of this.#runs.values()) run.retryAtMs = 0
  }

  /**
   * Brings the hooks of a phase further, wave by wave: creates the Jobs that are due and says how far they are. Returns
   * without waiting for their end, which wakes the application. Throws Aborted, or as Kube does when the inventory
   * cannot be written.
   */
  async advance(phase: HookPhase, revision: HookedRevision, signal: AbortSignal): Promise<PhaseOutcome> {
    const wanted = [...revision.hooks.values()].filter((hook) => hook.phase === phase).map(({ declared }) => declared)
    for (const wave of groupPhases(wanted)) {
      const outcomes: PhaseOutcome[] = []
      for (const declared of wave) outcomes.push(await this.#advanceOne(phase, declared, revision.run, signal))
      if (outcomes.includes('failed')) return 'failed'
      if (outcomes.includes('waiting')) return 'waiting'
    }
    return 'succeeded'
  }

  /** Whether a hook has succeeded for this revision. */
  hasSucceeded({ phase, declared }: DeclaredHook, { run }: HookedRevision): boolean {
    return this.#findRun(phase, declared.key, run)?.record.state === 'succeeded'
  }

  /** The revision is in force: Jobs of hooks that it has no more become objects like others, to be pruned. */
  dropOthers({ hooks }: Pick<HookedRevision, 'hooks'>, declared: ReadonlyMap<string, Declared>): void {
    const { table } = this.#owner.context
    for (const [key, run] of this.#runs) {
      if (hooks.has(key)) continue
      run.following?.abort()
      this.#runs.delete(key)
      if (!declared.has(key) && !table.find(key)) table.add(toObjectRecord(run.record, this.#owner.name))
    }
  }

  /** What reports say of the hooks of a revision. */
  statuses(revision: HookedRevision, isDone: boolean): HookStatus[] {
    return [...revision.hooks.values()].map(({ phase, declared }) => {
      const run = this.#findRun(phase, declared.key, revision.run)
      // What runs after a failure is left out when there was none.
      const state = run ? run.record.state : isDone && phase === 'sync-fail' ? 'skipped' : 'pending'
      const message = run ? run.error?.message || run.record.message : ''
      const shown = state === 'starting' ? 'pending' : state
      return create(HookStatusSchema, { object: referenceOf(declared), phase, state: shown, message })
    })
  }

  /** What is wrong with the hooks of a revision. */
  problems(revision: HookedRevision): ObjectProblem[] {
    const problems: ObjectProblem[] = []
    for (const { phase, declared } of revision.hooks.values()) {
      const run = this.#findRun(phase, declared.key, revision.run)
      if (!run) continue
      const where = { object: referenceOf(declared), source: declared.source, sinceMs: run.sinceMs }
      if (run.error) problems.push({ ...where, error: run.error })
      else if (run.record.state === 'failed') {
        const message = `the ${phase} hook ${formatObjectReference(declared)} failed: ${run.record.message}`
        problems.push({ ...where, error: new AppError('HookFailed', message) })
      }
    }
    return problems
  }

  /** The run of a hook that counts for a revision. */
  #findRun(phase: HookPhase, key: string, id: string): Run | undefined {
    const found = this.#runs.get(key)
    return found && countsFor(phase, found.record, id) ? found : undefined
  }

  async #advanceOne(phase: HookPhase, declared: Declared, id: string, signal: AbortSignal): Promise<PhaseOutcome> {
    const { context } = this.#owner
    const run = this.#beginOrFind(phase, declared, id)
    const { state } = run.record
    if (state === 'succeeded' || state === 'failed') {
      // What went wrong meanwhile, the note of its end for one, is done by this pass.
      run.error = undefined
      return state
    }
    const isDue = !run.following && run.retryAtMs <= context.clock()
    if (isDue && state === 'running') this.#follow(run, declared)
    else if (isDue) await this.#tryStart(run, declared, signal)
    if (run.record.state === 'succeeded' || run.record.state === 'failed') return run.record.state
    return run.error?.kind === 'user' ? 'failed' : 'waiting'
  }

  /** The run of this revision: what ran for another one counts no more. */
  #beginOrFind(phase: HookPhase, declared: Declared, id: string): Run {
    const known = this.#findRun(phase, declared.key, id)
    if (known) return Object.assign(known, { phase, source: declared.source })
    this.#runs.get(declared.key)?.following?.abort()
    const { namespace, name, resource } = declared
    const record = {
      namespace,
      name,
      version: resource.version,
      uid: '',
      run: id,
      state: 'starting',
      message: '',
    } as const
    const run = { ...newRun(record, this.#owner.context.clock()), phase, source: declared.source }
    this.#runs.set(declared.key, run)
    return run
  }

  async #tryStart(run: Run, declared: Declared, signal: AbortSignal): Promise<void> {
    try {
      await this.#start(run, declared, signal)
      run.error = undefined
      run.attempts = 0
    } catch (thrown) {
      if (isAborted(thrown)) throw thrown
      const error = toAppError(thrown)
      if (error.kind === 'bug') throw error
      this.#noteError(run, error)
    }
    this.#owner.noteChange()
  }

  #noteError(run: Run, error: AppError): void {
    const { clock, limits } = this.#owner.context
    const nowMs = clock()
    if (run.error?.code !== error.code) Object.assign(run, { attempts: 0, sinceMs: nowMs })
    run.error = error
    run.retryAtMs = nowMs + retryDelayMs(error, run.attempts++, limits)
  }

  async #start(run: Run, declared: Declared, signal: AbortSignal): Promise<void> {
    const { context, name } = this.#owner
    const refusal = context.localPolicy(declared)
    if (refusal) throw refusal
    // A Job that was an object like others is a hook from now on.
    const object = context.table.find(declared.key)
    if (object?.application === name) context.table.remove(object)
    // That it is about to be made is written down first: a crash leaks nothing, and runs nothing twice.
    await this.#owner.save()
    signal.throwIfAborted()
    const kube = await this.#kube()
    const found = await kube.get(declared.resource, declared, { signal: context.signal })
    if (found && !this.#isSameRun(found, run, declared)) return await this.#makeWay(run, declared, found)
    signal.throwIfAborted()
    const target = { name: declared.name, namespace: declared.namespace }
    const body = hookBody(declared, run.record.run)
    const job =
      found ??
      (await kube.create(declared.resource, target, body, {
        sensitive: declared.sensitive,
        signal: context.signal,
      }))
    run.record = { ...run.record, uid: job.metadata.uid ?? '', state: 'running' }
    const end = findJobEnd(job)
    if (end) this.#finish(run, end)
    await this.#owner.save()
    if (!end) this.#follow(run, declared)
    context.logger.info({ application: name, hook: declared.name, phase: run.phase }, 'hook started')
  }

  /** True when it was created for this very run, just before a crash. Throws when it is not ours at all. */
  #isSameRun({ metadata }: KubernetesObject, run: Run, declared: Declared): boolean {
    if (metadata.labels?.[APPLICATION_LABEL] !== this.#owner.name) {
      const why = 'exists and is not of this application, so it is not replaced'
      throw new AppError('AdoptionRefused', `the hook ${formatObjectReference(declared)} ${why}`)
    }
    return metadata.annotations?.[HOOK_RUN_ANNOTATION] === run.record.run && metadata.deletionTimestamp === undefined
  }

  /** Deletes the Job of an earlier run, its pods first: two runs never overlap. When it is gone, the application is woken. */
  async #makeWay(run: Run, declared: Declared, old: KubernetesObject): Promise<void> {
    const { signal } = this.#owner.context
    const uid = old.metadata.uid ?? ''
    if (old.metadata.deletionTimestamp === undefined) {
      const refusal = this.#owner.context.localPolicy(declared, 'delete')
      if (refusal) throw refusal
      const kube = await this.#kube()
      await kube.delete(declared.resource, declared, { uid, propagationPolicy: 'Foreground', signal })
    }
    const job = { resource: declared.resource, namespace: declared.namespace, name: declared.name, uid }
    this.#inBackground(run, async (ending) => await awaitJobGone(() => this.#kube(), job, ending))
  }

  #follow(run: Run, declared: Declared): void {
    if (run.following) return
    const { namespace, name, uid } = run.record
    const job = { resource: declared.resource, namespace, name, uid }
    run.error = undefined
    this.#inBackground(run, async (ending) => {
      this.#finish(run, await followJob(() => this.#kube(), job, ending))
      // When that fails now, the next pass writes it.
      await this.#owner.save().catch(() => undefined)
    })
  }

  #inBackground(run: Run, work: (signal: AbortSignal) => Promise<void>): void {
    const { context } = this.#owner
    const controller = new AbortController()
    run.following = controller
    const done = (): void => {
      if (run.following !== controller) return
      run.following = undefined
      this.#owner.noteChange()
      this.#owner.wake()
    }
    work(AbortSignal.any([context.signal, controller.signal])).then(done, (error: unknown) => {
      if (run.following !== controller) return
      run.following = undefined
      if (isAborted(error)) return
      context.logger.error({ application: this.#owner.name, error }, 'hook cannot be followed')
      this.#noteError(run, toAppError(error))
      this.#owner.noteChange()
      this.#owner.wake()
    })
  }

  #finish(run: Run, { state, message }: JobEnd): void {
    const { context, name } = this.#owner
    run.record = { ...run.record, state: state === 'succeeded' ? 'succeeded' : 'failed', message }
    run.sinceMs = context.clock()
    const fields = { application: name, hook: run.record.name, phase: run.phase, state: run.record.state }
    context.logger.info(fields, 'hook ended')
  }

  /** With the rights of the application. */
  async #kube(): Promise<Kube> {
    return await this.#owner.context.kubeFor(this.#owner.name)
  }
}

function newRun(record: HookRecord, nowMs: number): Run {
  const nothing = { phase: undefined, source: undefined, error: undefined, following: undefined }
  return { record, ...nothing, sinceMs: nowMs, attempts: 0, retryAtMs: 0 }
}

function keyOf({ namespace, name }: HookRecord): string {
  return objectKey({ group: 'batch', kind: 'Job', namespace, name })
}

function referenceOf({ group, kind, namespace, name, resource }: Declared): ObjectReference {
  return create(ObjectReferenceSchema, { group, version: resource.version, kind, namespace, name })
}

function toObjectRecord({ namespace, name, version, uid }: HookRecord, application: string): ObjectRecord {
  const resource: Omit<ResourceType, 'verbs'> = {
    group: 'batch',
    version,
    kind: 'Job',
    plural: 'jobs',
    namespaced: true,
  }
  return recordFromInventory(
    { ...resource, namespace, name, wave: 0, uid, declaredHash: '', entryHash: '' },
    application,
  )
}

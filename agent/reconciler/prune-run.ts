// Deletes what an application owns and no longer declares: after what replaces it is there, in reverse order, only what
// the guards let go.
import { AppError, isAborted, toAppError } from '@fairlead/shared/errors'
import { APPLICATION_LABEL } from '@fairlead/shared/labels'
import { compareApplyOrder, isFoundation } from '../applier/apply-order.ts'
import { isStatus } from '../kube/kube-error.ts'
import {
  decidePrune,
  type GuardedObject,
  joinReasons,
  type PruneCandidate,
  type PruneDecision,
  pruneDigest,
} from '../pruner/prune-guards.ts'
import type { Application } from './application.ts'
import { fail } from './apply-run.ts'
import { noteMoves } from './arrivals.ts'
import { isPending, isWorking, type ObjectRecord, observeGone } from './object-record.ts'
import { mayBeRefused } from './prepare-manifests.ts'
import { inspectCandidates, takesMore } from './prune-inspect.ts'
import type { DesiredTarget, Target } from './target.ts'

const WORKERS = 8

/** What a guard keeps from being deleted until it is approved. */
export interface HeldPruneState {
  /** Names exactly these objects: pruneDigest. */
  readonly digest: string
  readonly reason: string
  readonly records: readonly ObjectRecord[]
  readonly keys: ReadonlySet<string>
  readonly sinceMs: number
}

/** Deletes what is no longer declared; failures and holds are kept in the records. Throws Aborted. */
export async function pruneDropped(
  application: Application,
  target: DesiredTarget,
  signal: AbortSignal,
): Promise<void> {
  const { context } = application
  const refused = application.loaded?.refused ?? []
  const isDropped = (record: ObjectRecord): boolean =>
    !record.declared && !mayBeRefused(refused, record, target.policy.namespace)
  const dropped = (): ObjectRecord[] => application.records().filter(isDropped)
  if (dropped().length === 0 || !target.policy.prune) {
    for (const record of dropped()) record.failure = undefined
    application.heldPrune = undefined
    return
  }
  noteMoves(application, dropped(), target)
  if (
    !dropped().some((record) => isDue(application, record)) ||
    !(await awaitNeighbours(application, dropped(), signal))
  )
    return
  // What fails to be applied, or to get healthy, holds what it replaces for a while, not for ever.
  application.pruneWaitSinceMs ||= context.clock()
  const waitedMs = context.clock() - application.pruneWaitSinceMs
  await application.waitUntil(() => isReplaced(application), context.limits.pruneHealthTimeoutMs - waitedMs, signal)
  await application.save()
  noteMoves(application, dropped(), target)
  await pruneRecords(application, dropped(), target, signal)
  await application.save()
  context.kinds.releaseUnused(context.table.all())
}

/** True when nothing went wrong with an object, or it is time to try again. */
export function isDue({ context }: Application, { failure }: ObjectRecord): boolean {
  return !failure || failure.retryAtMs <= context.clock()
}

/** Waits until all applications that may take something over have said what they declare. False when one cannot say. */
export async function awaitNeighbours(
  application: Application,
  dropped: readonly ObjectRecord[],
  signal: AbortSignal,
): Promise<boolean> {
  const { neighbours } = application.context
  const missing = (): string | undefined =>
    [...neighbours.values()].find(({ target, wantsNothingNew }) => target !== undefined && !wantsNothingNew)?.name
  if (await application.waitUntil(() => missing() === undefined, 2_000, signal)) return true
  const why = `it is not known yet whether application ${missing() ?? ''} takes it over`
  for (const record of dropped) fail(application, record, new AppError('PruneFailed', why))
  return false
}

function isReplaced(application: Application): boolean {
  return application.records().every((record) => !record.declared || (!isPending(record) && isWorking(record)))
}

/**
 * Deletes objects that the guards let go and that are due; returns those that no approval lets go. `records` are all that
 * are to go, due or not: guards that saw some at a time would let all of them go in the end. Throws Aborted, or as Kube does.
 */
export async function pruneRecords(
  application: Application,
  records: readonly ObjectRecord[],
  target: Target,
  signal: AbortSignal,
): Promise<ObjectRecord[]> {
  const { table } = application.context
  // What another application would like to have is taken over by it, not deleted.
  const mine = records.filter(({ key }) => {
    const [next] = table.contesters(key)
    if (next !== undefined) application.context.neighbours.get(next)?.wake()
    return next === undefined
  })
  const decision = await decide(application, mine, target, signal)
  throwIfAborted(signal)
  const kept = decision.kept.filter(({ candidate }) => note(application, candidate.key, decision.kept))
  noteHeld(application, decision.held)
  for (const { candidate, reason } of decision.undecided) noteUndecided(application, candidate, reason)
  const order = decision.prune.toSorted((a, b) => compareApplyOrder(b, a)).map(({ key }) => table.find(key))
  const queue = order.filter((record) => record !== undefined).filter((record) => isDue(application, record))
  await deleteAll(
    application,
    queue.filter((record) => !isFoundation(record)),
    signal,
  )
  await deleteAll(application, queue.filter(isFoundation), signal)
  application.noteChange()
  return kept.map(({ candidate }) => table.find(candidate.key)).filter((record) => record !== undefined)
}

/** Decides; what was approved is written down before anything is deleted, so that it holds until all of it is gone. */
async function decide(
  application: Application,
  mine: readonly ObjectRecord[],
  target: Target,
  signal: AbortSignal,
): Promise<PruneDecision> {
  const { table, ownNamespace, clusterId } = application.context
  const judge = async (): Promise<PruneDecision> => {
    const found = await inspectCandidates(application, mine, {
      signal,
      isDue: (record) => isDue(application, record),
    })
    throwIfAborted(signal)
    for (const [record, candidate] of found) if (!candidate) forgetUnlessWanted(application, record)
    const candidates = [...found.values()].filter((candidate) => candidate !== undefined)
    const leaving = new Set(candidates.map(({ key }) => key))
    return decidePrune({
      candidates,
      ownedCount: application.records().length,
      staying: [...table.all()].filter(({ key }) => !leaving.has(key)),
      isTombstone: target.kind === 'tombstone',
      ownNamespace,
    })
  }
  const decision = await judge()
  const held = decision.held.map(({ candidate }) => candidate)
  const digest = pruneDigest({ application: application.name, clusterId: clusterId() }, held)
  if (held.length === 0 || !target.approvedPrunes.includes(digest)) return decision
  for (const { key, uid, takenMarks = [] } of held) {
    const record = table.find(key)
    if (!record || record.declared || record.application !== application.name) continue
    record.approvedUid = uid
    record.approvedTakes = takenMarks
    record.failure = undefined
  }
  application.context.logger.info({ application: application.name, digest, objects: held.length }, 'prune approved')
  await application.save()
  return await judge()
}

/** Says why an object stays; true when it was due. */
function note(application: Application, key: string, guarded: readonly GuardedObject[]): boolean {
  const record = application.context.table.find(key)
  const reason = guarded.find(({ candidate }) => candidate.key === key)?.reason ?? ''
  if (!record || !isDue(application, record)) return false
  fail(application, record, keptError(reason))
  return true
}

function noteUndecided(application: Application, { key, undecided, movesTo }: PruneCandidate, reason: string): void {
  const record = application.context.table.find(key)
  if (!record || !isDue(application, record)) return
  const error = movesTo ? keptError(reason) : new AppError('PruneFailed', reason)
  fail(application, record, undecided ? toPruneError(undecided) : error)
}

function keptError(reason: string): AppError {
  return new AppError('PruneHeld', `no longer declared, but kept: ${reason}`)
}

function noteHeld(application: Application, held: readonly GuardedObject[]): void {
  const { table, clusterId, clock } = application.context
  for (const { candidate } of held) note(application, candidate.key, held)
  const records = held.map(({ candidate }) => table.find(candidate.key)).filter((record) => record !== undefined)
  if (records.length === 0) {
    application.heldPrune = undefined
    return
  }
  const candidates = held.map(({ candidate }) => candidate)
  const digest = pruneDigest({ application: application.name, clusterId: clusterId() }, candidates)
  const before = application.heldPrune
  application.heldPrune = {
    digest,
    reason: joinReasons(held),
    records,
    keys: new Set(records.map(({ key }) => key)),
    sinceMs: before?.digest === digest ? before.sinceMs : clock(),
  }
}

async function deleteAll(
  application: Application,
  records: readonly ObjectRecord[],
  signal: AbortSignal,
): Promise<void> {
  const queue = [...records]
  const work = async (): Promise<void> => {
    for (let record = queue.shift(); record; record = queue.shift()) {
      if (signal.aborted) return
      await deleteOne(application, record, signal)
    }
  }
  await Promise.all(Array.from({ length: Math.min(WORKERS, records.length) }, work))
  throwIfAborted(signal)
}

/** A newer slice may declare what waits for its turn here. Throws Aborted. */
export function throwIfAborted(signal: AbortSignal): void {
  if (signal.aborted) throw new AppError('Aborted', 'something newer came')
}

async function deleteOne(application: Application, record: ObjectRecord, signal: AbortSignal): Promise<void> {
  const { context } = application
  try {
    await application.pass.inTurn(
      context.applies,
      async () => await context.writer.exclusively(record, async () => await remove(application, record, signal)),
    )
  } catch (thrown) {
    const error = toAppError(thrown)
    if (isAborted(error)) return
    fail(application, record, toPruneError(error))
  }
}

/** Refusals that say themselves what to do about them stay what they are. */
export function toPruneError(error: AppError): AppError {
  const isClear = error.code === 'PolicyForbids' || error.code === 'ServiceAccountMissing'
  return isClear ? error : new AppError('PruneFailed', error.message, { cause: error })
}

async function remove(application: Application, record: ObjectRecord, signal: AbortSignal): Promise<void> {
  const { context } = application
  throwIfAborted(signal)
  // Declared again while it waited for its turn.
  if (record.declared || record.application !== application.name) return
  // The watch tells when it is gone; until then there is nothing to ask.
  if (record.live?.terminating) return failGoing(application, record)
  if (record.deleting && !record.live && context.kinds.isWatched(record.resource))
    return forgetUnlessWanted(application, record)
  const refusal = context.localPolicy(record, 'delete')
  if (refusal && (record.applied || record.live)) throw refusal
  // What we may not touch, we did not make.
  const uid = refusal ? undefined : await findUid(application, record)
  if (uid === undefined || record.declared) return forgetUnlessWanted(application, record)
  if (await isMoreAtStake(application, record, signal)) {
    // Decided on anew, at once.
    record.failure = undefined
    return application.wake()
  }
  try {
    const kube = await context.kubeFor(application.name)
    throwIfAborted(signal)
    // Wanted again, or taken over, while it was looked at.
    if (record.declared || record.application !== application.name) return forgetUnlessWanted(application, record)
    const outcome = await kube.delete(record.resource, record, { uid, signal: context.signal })
    if (outcome !== 'absent') context.recorder.pruned(record)
    if (outcome === 'terminating') {
      record.deleting = 'pruned'
      record.dirty = true
      return failGoing(application, record)
    }
  } catch (error) {
    if (!isStatus(error, 409) && !isStatus(error, 404)) throw error
    // Somebody else's when it is another object without our label; else the deletion was refused, or it was made anew.
    const kube = await context.kubeFor(application.name)
    const found = await kube.get(record.resource, record, { metadataOnly: true, signal: context.signal })
    if (found?.metadata.uid === uid || found?.metadata.labels?.[APPLICATION_LABEL] === application.name) throw error
  }
  observeGone(record)
  forgetUnlessWanted(application, record)
}

/** True when it was annotated to be kept, or would take more with it, since that was decided on. */
async function isMoreAtStake(application: Application, record: ObjectRecord, signal: AbortSignal): Promise<boolean> {
  return (await takesMore(application, record, signal)) || record.live?.keep === true
}

/** Forgets an object that is not ours any more. What was declared again, or taken over, while the request was under way must come back. */
export function forgetUnlessWanted({ name, context }: Application, record: ObjectRecord): void {
  if (!record.declared && record.application === name) {
    context.table.remove(record)
    return
  }
  record.deleting = 'pruned'
  record.dirty = true
  context.neighbours.get(record.application)?.wake()
}

function failGoing(application: Application, record: ObjectRecord): void {
  const message = record.live?.terminating ? record.health.message : 'being deleted'
  fail(application, record, new AppError('PruneFailed', `it is ${message}`))
}

/** The uid of the object that we made; undefined when there is none. */
async function findUid(application: Application, record: ObjectRecord): Promise<string | undefined> {
  const { signal } = application.context
  const { live, applied } = record
  if (live?.application === application.name) return live.uid
  if (applied) return applied.uid
  // Only the intent was written down: it may have been made all the same, just before a crash.
  try {
    const kube = await application.context.kubeFor(application.name)
    const found = await kube.get(record.resource, record, { metadataOnly: true, signal })
    return found?.metadata.labels?.[APPLICATION_LABEL] === application.name ? found.metadata.uid : undefined
  } catch (error) {
    // What we may not even look at, we were not allowed to make.
    if (isStatus(error, 403)) return undefined
    throw error
  }
}

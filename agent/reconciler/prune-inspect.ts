// Looks at what a prune would delete before anything is decided: which object it is now, and what a Namespace or a CRD
// would take with it that nobody here owns.
import { type AppError, isAborted, toAppError } from '@fairlead/shared/errors'
import { APPLICATION_LABEL, PRUNE_ANNOTATION } from '@fairlead/shared/labels'
import type { KubernetesObject } from '@fairlead/shared/object-reference'
import { isFoundation } from '../applier/apply-order.ts'
import { isStatus } from '../kube/kube-error.ts'
import { isCovered, type PruneCandidate } from '../pruner/prune-guards.ts'
import type { Application } from './application.ts'
import type { ObjectRecord } from './object-record.ts'
import { findTaken, NOTHING_TAKEN, type Taken } from './prune-taken.ts'

/** What was found of an object; remembered until it is looked at again. */
interface Found {
  readonly uid: string
  readonly keep: boolean
  /** Undefined for what is gone or going. */
  readonly taken: Taken | undefined
  /** Why it could not be looked at; the rest is then what was known. */
  readonly undecided?: AppError
}

/** How to look. */
export interface InspectOptions {
  readonly signal: AbortSignal
  /** Those for which it is false are not looked at anew. Without it all are, and nothing is remembered. */
  readonly isDue?: (record: ObjectRecord) => boolean
}

interface Remembered extends Found {
  /** Keys of what was to go by itself. */
  readonly leaving: ReadonlySet<string>
}

const remembered = new WeakMap<ObjectRecord, Remembered>()

/** The candidates of a prune; undefined for an object that was never made. What cannot be looked at is undecided. Throws Aborted. */
export async function inspectCandidates(
  application: Application,
  records: readonly ObjectRecord[],
  { signal, isDue }: InspectOptions,
): Promise<Map<ObjectRecord, PruneCandidate | undefined>> {
  const leaving = new Set(records.map(({ key }) => key))
  const found = new Map<ObjectRecord, PruneCandidate | undefined>()
  for (const record of records) {
    application.pass.progressed()
    const known = isDue && remembered.get(record)
    const seen = known && !isDue(record) ? known : await lookSafely(application, record, leaving, signal)
    if (seen && isDue) remembered.set(record, { leaving, ...seen })
    found.set(record, seen && toCandidate(record, seen))
  }
  return found
}

/** Looks once more at what a Namespace or a CRD would take, right before it is deleted: true when that is more than what was decided on. Throws as findTaken does. */
export async function takesMore(application: Application, record: ObjectRecord, signal: AbortSignal): Promise<boolean> {
  const known = remembered.get(record)
  // What is gone, or going, takes nothing more.
  if (!isFoundation(record) || !known?.taken) return false
  const { marks } = await findTaken(application, record, known.leaving, signal)
  return !isCovered(marks, known.taken.marks)
}

function toCandidate(record: ObjectRecord, { uid, keep, taken, undecided }: Found): PruneCandidate {
  const { key, group, kind, namespace, name, wave, movesTo, approvedUid, approvedTakes } = record
  const takenMarks = taken?.marks ?? []
  const isApproved = uid !== '' && approvedUid === uid && isCovered(takenMarks, approvedTakes)
  const base = { key, uid, group, kind, namespace, name, wave, keep, isApproved, movesTo }
  return { ...base, takes: taken?.words, takenMarks, undecided }
}

async function lookSafely(
  application: Application,
  record: ObjectRecord,
  leaving: ReadonlySet<string>,
  signal: AbortSignal,
): Promise<Found | undefined> {
  try {
    return await look(application, record, leaving, signal)
  } catch (thrown) {
    const error = toAppError(thrown)
    if (isAborted(error) || error.kind === 'bug') throw error
    const { live, applied } = record
    const known = remembered.get(record)
    const uid = live?.application === application.name ? live.uid : (applied?.uid ?? '')
    return { uid, keep: live?.keep ?? known?.keep ?? false, taken: known?.taken, undecided: error }
  }
}

async function look(
  application: Application,
  record: ObjectRecord,
  leaving: ReadonlySet<string>,
  signal: AbortSignal,
): Promise<Found | undefined> {
  const { live, applied } = record
  const { localPolicy, kinds } = application.context
  const take = async (): Promise<Taken> => await findTaken(application, record, leaving, signal)
  // What we may not touch, we did not make.
  if (!live && !applied && localPolicy(record, 'delete')) return undefined
  // A watch does not see what has lost our labels: before much goes with it, it is looked at.
  const isKnownGone = !live && applied && kinds.isWatched(record.resource) && !isFoundation(record)
  const isForbidden = localPolicy(record, 'delete') !== undefined
  if (live || isKnownGone || isForbidden) {
    const uid = live?.application === application.name ? live.uid : (applied?.uid ?? '')
    const isGoing = live ? live.terminating : !isForbidden
    return { uid, keep: live?.keep ?? false, taken: isGoing ? undefined : live ? await take() : NOTHING_TAKEN }
  }
  // Nothing says what is there now: the intent alone was written down, or the kind may not be watched.
  const object = await read(application, record, signal)
  if (object === undefined && !applied) return undefined
  if (!object) return { uid: applied?.uid ?? '', keep: false, taken: undefined }
  if (object === 'forbidden') return { uid: applied?.uid ?? '', keep: false, taken: await take() }
  const { metadata } = object
  const isOurs = metadata.labels?.[APPLICATION_LABEL] === application.name
  if (!applied && !isOurs) return undefined
  const { uid = '' } = metadata
  // Made anew by a process that ended before it noted that.
  if (applied && isOurs) record.applied = { ...applied, uid }
  const keep = metadata.annotations?.[PRUNE_ANNOTATION] === 'disabled'
  const taken = metadata.deletionTimestamp === undefined ? await take() : undefined
  return { uid: record.applied?.uid ?? uid, keep, taken }
}

async function read(
  { name, context }: Application,
  record: ObjectRecord,
  signal: AbortSignal,
): Promise<KubernetesObject | 'forbidden' | undefined> {
  try {
    const kube = await context.kubeFor(name)
    return await kube.get(record.resource, record, { metadataOnly: true, signal })
  } catch (error) {
    // What we may not even look at, we were not allowed to make.
    if (isStatus(error, 403)) return record.applied ? 'forbidden' : undefined
    throw error
  }
}

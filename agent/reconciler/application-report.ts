// What an application's report says; pure.
import { create } from '@bufbuild/protobuf'
import { timestampFromMs } from '@bufbuild/protobuf/wkt'
import type { SourceLocation } from '@fairlead/proto/common'
import { HealthState, type ObjectReference, type Problem, ProblemSchema, SyncState } from '@fairlead/proto/common'
import {
  type ApplicationReport,
  ApplicationReportSchema,
  type Drift,
  DriftKind,
  DriftSchema,
  type HeldPrune,
  HeldPruneSchema,
  ObjectStatusSchema,
} from '@fairlead/proto/report'
import type { AppError } from '@fairlead/shared/errors'
import { formatObjectReference } from '@fairlead/shared/object-reference'
import { type Health, worstHealth } from '../health/health.ts'
import type { Application } from './application.ts'
import type { SeenDrift } from './drift-repair.ts'
import type { Unresolved } from './load-declared.ts'
import { findDifference, isPending, type ObjectRecord } from './object-record.ts'
import { referenceOf, referenceOfManifest } from './references.ts'
import { countDrifted } from './suspension.ts'
import { toldFields } from './told-fields.ts'

const DRIFT_KINDS = { changed: DriftKind.CHANGED, added: DriftKind.ADDED, deleted: DriftKind.DELETED } as const

/** More problems or unhealthy objects than this tell nobody anything. */
const LISTED_MAX = 100

/** A drift for reports. */
export function toDrift({ record, kind, manager, detectedAtMs, remediatedAtMs, fields }: SeenDrift): Drift {
  return create(DriftSchema, {
    object: referenceOf(record),
    kind: DRIFT_KINDS[kind],
    manager,
    detectedAt: timestampFromMs(detectedAtMs),
    ...(remediatedAtMs === undefined ? {} : { remediatedAt: timestampFromMs(remediatedAtMs) }),
    fields: [...toldFields(record.declared, fields)],
  })
}

/** The present state of an application. `since` is kept from the last report while sync and health stay as they are. */
export function buildReport(application: Application): ApplicationReport {
  const { target, name, revision, completed, drifts, remediations, context, report: last } = application
  const records = application.records()
  const declared = records.filter((record) => record.declared !== undefined)
  const counted = application.loaded ? declared : records
  const sync = syncOf(application, records)
  const health = worstHealth(counted.map(healthOf)).health
  const since = last?.sync === sync && last.health === health && last.since
  const digest = target?.kind === 'desired' ? target.artifact.digest : completed.digest
  const isApplied = digest !== '' && application.appliedDigest === digest && application.isComplete()
  return create(ApplicationReportSchema, {
    application: name,
    ...(revision ? { revision } : {}),
    artifactDigest: digest,
    sliceGeneration: target?.generation ?? 0n,
    sync,
    health,
    since: since || timestampFromMs(context.clock()),
    objects: application.loaded
      ? application.loaded.declared.size + application.loaded.unresolved.length + application.loaded.refused.length
      : records.length,
    problems: problemsOf(application, records).slice(0, LISTED_MAX),
    unhealthy: counted.filter(isUnhealthy).slice(0, LISTED_MAX).map(toStatus),
    drifts: [...drifts],
    remediations,
    hooks: application.gate.statuses(),
    suspended: target?.kind === 'desired' && target.policy.suspend,
    drifted: countDrifted(application, records),
    ...(isApplied ? { appliedAt: timestampFromMs(completed.atMs) } : {}),
    heldPrunes: heldPrunesOf(application),
  })
}

function heldPrunesOf({ heldPrune }: Application): HeldPrune[] {
  if (!heldPrune) return []
  const { digest, reason, records, sinceMs } = heldPrune
  const objects = records.slice(0, LISTED_MAX).map(referenceOf)
  return [create(HeldPruneSchema, { digest, reason, objects, count: records.length, since: timestampFromMs(sinceMs) })]
}

/** One problem for all that is held: the objects are listed with it. */
function heldProblem({ heldPrune }: Application): Problem[] {
  if (!heldPrune) return []
  const { digest, reason, records, sinceMs } = heldPrune
  const what =
    records.length === 1
      ? 'an object that is no longer declared is'
      : `${records.length} objects that are no longer declared are`
  const message = `${what} kept until the prune ${digest.slice(0, 12)} is approved: ${reason}`
  const [first] = records
  return [
    toProblem(
      { code: 'PruneHeld', message },
      sinceMs,
      first && records.length === 1 ? { object: referenceOf(first) } : {},
    ),
  ]
}

function waitProblem({ gate: { waitReason: message } }: Application, nowMs: number): Problem[] {
  return message === '' ? [] : [toProblem({ code: 'WaitingForDependency', message }, nowMs)]
}

function healthOf({ health, live, declared, applied }: ObjectRecord): Health {
  return !live && declared?.expires && applied ? { health: HealthState.HEALTHY, message: '' } : health
}

function isUnhealthy(record: ObjectRecord): boolean {
  return healthOf(record).health !== HealthState.HEALTHY
}

function toStatus(record: ObjectRecord) {
  const { health, message } = healthOf(record)
  const whole = record.cause === '' ? message : `${message}; ${record.cause}`
  const logLines = health === HealthState.DEGRADED ? [...record.logLines] : []
  return create(ObjectStatusSchema, { object: referenceOf(record), health, message: whole, logLines })
}

function syncOf(application: Application, records: readonly ObjectRecord[]): SyncState {
  const { target, loaded, failure, contested, context } = application
  if (!target) return SyncState.UNKNOWN
  if (target.kind === 'tombstone') return SyncState.OUT_OF_SYNC
  if (!loaded)
    return application.completed.digest === target.artifact.digest ? SyncState.UNKNOWN : SyncState.OUT_OF_SYNC
  // The newest revision is not applied, though it may differ in nothing that is there.
  if (target.policy.suspend && application.completed.digest !== target.artifact.digest) return SyncState.OUT_OF_SYNC
  const isPartial = contested.length > 0 || loaded.unresolved.length > 0 || loaded.refused.length > 0
  if (failure || application.gate.isHeld || isPartial) {
    return SyncState.OUT_OF_SYNC
  }
  const differs = (record: ObjectRecord): boolean => {
    if (!record.declared) return target.policy.prune
    if (isPending(record) || record.failure || record.driftLeft) return true
    return findDifference(record, context.kinds.isWatched(record.resource)) !== undefined
  }
  return records.some(differs) ? SyncState.OUT_OF_SYNC : SyncState.SYNCED
}

function problemsOf(application: Application, records: readonly ObjectRecord[]): Problem[] {
  const { failure, loaded, contested, context, target } = application
  const nowMs = context.clock()
  const problems: Problem[] = []
  if (failure) problems.push(toProblem(failure.error, failure.sinceMs))
  for (const unresolved of [...(loaded?.unresolved ?? []), ...(loaded?.refused ?? [])]) {
    problems.push(problemOfManifest(unresolved, nowMs))
  }
  problems.push(...heldProblem(application), ...waitProblem(application, nowMs))
  for (const { error, sinceMs, object, source } of application.gate.problems()) {
    problems.push(toProblem(error, sinceMs, { object, source }))
  }
  for (const record of records) {
    const isListed = application.heldPrune?.keys.has(record.key) && record.failure?.error.code === 'PruneHeld'
    if (record.failure && !isListed) {
      const where = { object: referenceOf(record), source: record.declared?.source }
      problems.push(toProblem(record.failure.error, record.failure.sinceMs, where))
    }
    if (record.healthProblem && record.declared) {
      problems.push(toProblem(record.healthProblem, nowMs, { object: referenceOf(record) }))
    }
    const others = record.declared && target ? context.table.contesters(record.key) : []
    if (others.length > 0)
      problems.push(
        contestedProblem(record, `also declared by application ${others.join(', ')}; this application keeps it`, nowMs),
      )
  }
  problems.push(...watchProblems(application, records, nowMs))
  for (const key of contested) {
    const record = context.table.find(key)
    if (!record || !(record.declared ?? context.neighbours.get(record.application)?.declares(key))) continue
    const source = loaded?.declared.get(key)?.source
    problems.push(
      contestedProblem(
        record,
        `owned by application ${record.application}, which declares it too and keeps it`,
        nowMs,
        source,
      ),
    )
  }
  return problems.map((problem) => keepSince(problem, application.report))
}

/** Kinds that the agent may not watch: what others change of them stays unseen. */
function watchProblems({ context, target }: Application, records: readonly ObjectRecord[], nowMs: number): Problem[] {
  if (!target) return []
  const reasons = new Map<string, string>()
  for (const { resource } of records) {
    const reason = context.kinds.forbiddenReason(resource)
    if (reason !== undefined) reasons.set(resource.plural, reason)
  }
  return [...reasons].map(([plural, reason]) => {
    const message = `${plural} cannot be watched, so drift of them is not seen: ${reason}`
    return toProblem({ code: 'ApplyForbidden', message }, nowMs)
  })
}

function contestedProblem(record: ObjectRecord, why: string, nowMs: number, source = record.declared?.source): Problem {
  const object = referenceOf(record)
  const error = { code: 'OwnedByAnother', message: `${formatObjectReference(object)} is ${why}` } as const
  return toProblem(error, nowMs, { object, source })
}

function problemOfManifest({ parsed, error }: Unresolved, sinceMs: number): Problem {
  return toProblem(error, sinceMs, { object: referenceOfManifest(parsed), source: parsed.source })
}

/** The same problem as in the last report has been there since then. */
function keepSince(problem: Problem, last: ApplicationReport | undefined): Problem {
  const isSame = (other: Problem): boolean =>
    other.code === problem.code &&
    (other.object ? formatObjectReference(other.object) : '') ===
      (problem.object ? formatObjectReference(problem.object) : '')
  const before = last?.problems.find(isSame)
  return before?.since ? { ...problem, since: before.since } : problem
}

function toProblem(
  error: Pick<AppError, 'code' | 'message'>,
  sinceMs: number,
  where: { object?: ObjectReference; source?: SourceLocation | undefined } = {},
): Problem {
  const { object, source } = where
  const place = { ...(object ? { object } : {}), ...(source ? { source } : {}) }
  return create(ProblemSchema, { code: error.code, message: error.message, since: timestampFromMs(sinceMs), ...place })
}

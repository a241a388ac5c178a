// What the reconciler says it did to the cluster, for those who tell others: metrics and Kubernetes Events. Telling is
// never in anybody's way: no call waits, throws or asks the API server in the caller's time.
import type { AppError } from '@fairlead/shared/errors'
import type { SeenDrift } from './reconciler/drift-repair.ts'
import type { ObjectRecord } from './reconciler/object-record.ts'

/** What an apply did to an object. */
export interface ApplyOutcome {
  /** False when the object was as declared already. */
  readonly changed: boolean
  /** It was there before and nobody of ours had made it. */
  readonly adopted: boolean
  /** From the first request to the last answer, in milliseconds. */
  readonly durationMs: number
}

/** Takes what was done. Every call returns at once and never throws. */
export interface Recorder {
  /** An object was written as declared. */
  applied(record: ObjectRecord, outcome: ApplyOutcome): void
  /** A difference was put back, or (without `remediatedAtMs`) is left as the policy says. */
  drifted(drift: SeenDrift): void
  /** An object was deleted because it is no longer declared; it may still wait for its finalizers. */
  pruned(record: ObjectRecord): void
  /** An object was deleted and made anew, because a field that cannot be changed was changed. */
  recreated(record: ObjectRecord): void
  /** An object is not as it should be, for this reason; called with each try. */
  failed(record: ObjectRecord, error: AppError): void
}

/** A recorder that tells nobody. */
export const silentRecorder: Recorder = {
  applied: () => undefined,
  drifted: () => undefined,
  pruned: () => undefined,
  recreated: () => undefined,
  failed: () => undefined,
}

/** Tells several. */
export function combineRecorders(recorders: readonly Recorder[]): Recorder {
  const each = (tell: (recorder: Recorder) => void): void => {
    for (const recorder of recorders) tell(recorder)
  }
  return {
    applied: (record, outcome) => each((recorder) => recorder.applied(record, outcome)),
    drifted: (drift) => each((recorder) => recorder.drifted(drift)),
    pruned: (record) => each((recorder) => recorder.pruned(record)),
    recreated: (record) => each((recorder) => recorder.recreated(record)),
    failed: (record, error) => each((recorder) => recorder.failed(record, error)),
  }
}

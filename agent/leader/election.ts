// Who leads, decided from one Lease: pure. No clock is ever compared with another one's. A Lease counts as renewed in the
// moment in which its change is seen here, by a clock that only measures, as client-go does it: so a clock that is an hour
// off, on either side, changes nothing.

/** How long things take, in milliseconds. `deadlineMs` must be well below `leaseMs`. */
export interface ElectionTiming {
  /** A leader that is not heard of for this long is replaced. */
  readonly leaseMs: number
  /** A leader that could not renew for this long writes no more, and ceases to lead. */
  readonly deadlineMs: number
  /** Between two renewals. */
  readonly renewMs: number
}

/** Two attempts to renew are lost before the leader gives up, and 4 s lie between its last write and the first of the next. */
export const ELECTION_TIMING: ElectionTiming = { leaseMs: 12_000, deadlineMs: 8_000, renewMs: 3_000 }

/** What the Lease says. */
export interface LeaseRecord {
  /** Empty: it was given back. */
  readonly holder: string
  readonly resourceVersion: string
  /** How often the holder has changed. */
  readonly transitions: number
}

/** What is known of the Lease, and since when, by the measuring clock. */
export interface Observation {
  /** Undefined: there is none. */
  readonly record: LeaseRecord | undefined
  readonly changedAtMs: number
  /** True when there was one before. */
  readonly wasThere: boolean
}

/** Takes in what was read. What is the same as before says nothing new: the leader was not heard of. */
export function observeLease(
  last: Observation | undefined,
  record: LeaseRecord | undefined,
  nowMs: number,
): Observation {
  if (last && last.record?.resourceVersion === record?.resourceVersion) return last
  return { record, changedAtMs: nowMs, wasThere: last?.record !== undefined || last?.wasThere === true }
}

/** One candidate's view. */
export interface Candidate {
  readonly identity: string
  /** Undefined: the Lease was not read yet. */
  readonly observation: Observation | undefined
  /** When the last renewal that succeeded was sent; undefined while it does not lead. */
  readonly renewedAtMs: number | undefined
}

/** What to do next. */
export type ElectionStep =
  | { readonly do: 'acquire' | 'renew' }
  /** `lost`: another one has it. `silent`: it could not be renewed in time. */
  | { readonly do: 'stepDown'; readonly why: 'lost' | 'silent' }
  /** Until then, or until something changes. */
  | { readonly do: 'wait'; readonly untilMs: number }

/** What a candidate has to do at a time of the measuring clock. */
export function decideElection(candidate: Candidate, nowMs: number, timing: ElectionTiming): ElectionStep {
  const { identity, observation, renewedAtMs } = candidate
  if (renewedAtMs !== undefined) {
    if (isOthers(observation, identity)) return { do: 'stepDown', why: 'lost' }
    if (nowMs >= renewedAtMs + timing.deadlineMs) return { do: 'stepDown', why: 'silent' }
    const isGone = observation?.record === undefined
    const dueMs = renewedAtMs + timing.renewMs
    return isGone || nowMs >= dueMs ? { do: 'renew' } : { do: 'wait', untilMs: dueMs }
  }
  if (!observation) return { do: 'wait', untilMs: Number.POSITIVE_INFINITY }
  const { record, changedAtMs, wasThere } = observation
  // Deleted by hand: whoever leads makes it again.
  if (record ? record.holder === '' || record.holder === identity : !wasThere) return { do: 'acquire' }
  const freeMs = changedAtMs + timing.leaseMs
  return nowMs >= freeMs ? { do: 'acquire' } : { do: 'wait', untilMs: freeMs }
}

/** Whether a candidate may write at a time of the measuring clock: it leads, and nobody else can have begun to. */
export function mayWrite(candidate: Candidate, nowMs: number, timing: ElectionTiming): boolean {
  const { identity, observation, renewedAtMs } = candidate
  return renewedAtMs !== undefined && nowMs < renewedAtMs + timing.deadlineMs && !isOthers(observation, identity)
}

function isOthers(observation: Observation | undefined, identity: string): boolean {
  return observation?.record !== undefined && observation.record.holder !== identity
}

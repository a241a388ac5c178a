// Decides whether a cluster's agent is heard from. Pure.
import { ConnectionState } from '@fairlead/proto/common'

/** Ages of the last sign of life from which a cluster is shown otherwise, in milliseconds. */
export interface ConnectionThresholds {
  /** From this age it is Stale. */
  readonly staleAfterMs: number
  /** From this age it is Offline. */
  readonly offlineAfterMs: number
}

/** What is known of a cluster's connection. */
export interface ConnectionFacts {
  /** Whether an agent ever joined. */
  readonly joined: boolean
  /** What NATS says; undefined when it has not said anything since the hub started. */
  readonly connected: boolean | undefined
  /** Age of the last sign of life; undefined when there never was one. */
  readonly ageMs: number | undefined
  readonly thresholds: ConnectionThresholds
}

/** Online needs a recent sign of life and no word of a disconnect; the age alone decides on Offline, so that nothing shows as alive for ever. */
export function decideConnection({ joined, connected, ageMs, thresholds }: ConnectionFacts): ConnectionState {
  if (!joined) return ConnectionState.PENDING
  if (ageMs === undefined || ageMs >= thresholds.offlineAfterMs) return ConnectionState.OFFLINE
  if (connected === false || ageMs >= thresholds.staleAfterMs) return ConnectionState.STALE
  return ConnectionState.ONLINE
}

// The words in which rules answer.
import { HealthState } from '@fairlead/proto/common'

/** What is known of an object's health. */
export interface Health {
  readonly health: HealthState
  /** Names the reason; empty when Healthy. */
  readonly message: string
}

/** A rule's surroundings. */
export interface HealthContext {
  readonly now: Date
}

/** Works as declared. */
export const HEALTHY: Health = { health: HealthState.HEALTHY, message: '' }

/** On its way. */
export function progressing(message: string): Health {
  return { health: HealthState.PROGRESSING, message }
}

/** Does not work, and will not by waiting. */
export function degraded(message: string): Health {
  return { health: HealthState.DEGRADED, message }
}

/** Paused on purpose. */
export function suspended(message: string): Health {
  return { health: HealthState.SUSPENDED, message }
}

// The states' words as people read them.
import { HealthState, SyncState } from '@fairlead/proto/common'

/** Such as `OutOfSync`. */
export function nameOfSync(sync: SyncState): string {
  const { SYNCED, OUT_OF_SYNC } = SyncState
  return sync === SYNCED ? 'Synced' : sync === OUT_OF_SYNC ? 'OutOfSync' : 'Unknown'
}

/** Such as `Healthy`. */
export function nameOfHealth(health: HealthState): string {
  const name = HealthState[health] ?? 'UNKNOWN'
  return name === 'UNSPECIFIED' ? 'Unknown' : `${name.charAt(0)}${name.slice(1).toLowerCase()}`
}

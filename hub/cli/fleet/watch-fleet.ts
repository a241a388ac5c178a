// Follows the fleet's state for as long as the caller likes, through restarts of the hub.
import { create } from '@bufbuild/protobuf'
import { type FleetStatus, WatchFleetStatusRequestSchema } from '@fairlead/proto/fleet'
import { backoffMs, sleep } from '@fairlead/shared/backoff'
import { AppError, isAborted } from '@fairlead/shared/errors'
import type { HubClient } from '../client.ts'

/** What to follow. */
export interface WatchOptions {
  /** Empty for all. */
  readonly cluster: string
  /** Empty for all. */
  readonly application: string
  /** Ends the iteration, without an error. */
  readonly signal: AbortSignal
  /** Told once each time the hub goes away. */
  readonly onAway: (reason: string) => void
}

/**
 * The state now and after each change. Ends when the signal aborts. A hub that goes away is waited for; one that cannot be
 * reached in the first place, or refuses, is an error.
 */
export async function* watchFleet(hub: HubClient, options: WatchOptions): AsyncGenerator<FleetStatus> {
  const { cluster, application, signal } = options
  const request = create(WatchFleetStatusRequestSchema, { cluster, application })
  let seen = false
  let told = false
  for (let attempt = 0; !signal.aborted; attempt++) {
    try {
      for await (const { status } of hub.fleet.watchFleetStatus(request, { signal })) {
        seen = true
        told = false
        attempt = 0
        if (status) yield status
      }
    } catch (error) {
      if (signal.aborted) return
      const away = seen && error instanceof AppError && (error.code === 'Unavailable' || isAborted(error))
      if (!away) throw error
      // A hub that stops ends the stream first: the error may come only with the next try.
      if (!told) options.onAway(`${error.message}; waiting for it`)
      told = true
    }
    await sleep(backoffMs(attempt, { baseMs: 200, maxMs: 5_000 }), signal).catch(() => undefined)
  }
}

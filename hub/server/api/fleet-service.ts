// FleetService over the view.
import { X509Certificate } from 'node:crypto'
import { create, toBinary } from '@bufbuild/protobuf'
import { timestampFromMs } from '@bufbuild/protobuf/wkt'
import {
  type FleetService,
  FleetStatusSchema,
  GetFleetStatusResponseSchema,
  GetHubStatusResponseSchema,
  type WatchFleetStatusRequest,
  type WatchFleetStatusResponse,
  WatchFleetStatusResponseSchema,
} from '@fairlead/proto/fleet'
import { sleep } from '@fairlead/shared/backoff'
import type { Handlers } from '@fairlead/shared/grpc'
import { VERSION } from '@fairlead/shared/version'
import type { Registry } from '../registry/registry.ts'
import type { Store } from '../store/store.ts'
import type { FleetView } from '../view/view.ts'

/** What the handlers need. */
export interface FleetServiceOptions {
  readonly store: Store
  readonly registry: Registry
  readonly view: FleetView
  /** Whether NATS is connected now. */
  readonly isNatsConnected: () => boolean
  /** Calls with a wrong bearer token since the start. */
  readonly refusedBearers: () => number
  /** Webhooks with a wrong signature since the start. */
  readonly refusedWebhooks: () => number
  /** PEM of the server's certificate. */
  readonly certificate: string
  readonly startedAtMs: number
  /** Aborts when the server stops: watches end then. */
  readonly stopping: AbortSignal
}

/** Handlers of FleetService. */
export function fleetHandlers(options: FleetServiceOptions): Handlers<typeof FleetService> {
  const { store, registry, view, isNatsConnected, refusedBearers, refusedWebhooks, startedAtMs, stopping } = options
  const certificateExpiresAt = timestampFromMs(Date.parse(new X509Certificate(options.certificate).validTo))
  return {
    getFleetStatus: async ({ cluster, application }) => {
      await view.refresh([])
      return create(GetFleetStatusResponseSchema, { status: view.status({ cluster, application }) })
    },
    watchFleetStatus: (request, { signal }) => watchStatus(view, request, AbortSignal.any([signal, stopping])),
    getHubStatus: async () => {
      const { waiting } = await store.db
        .selectFrom('outbox')
        .select(({ fn }) => fn.countAll<number>().as('waiting'))
        .executeTakeFirstOrThrow()
      return create(GetHubStatusResponseSchema, {
        version: VERSION,
        startedAt: timestampFromMs(startedAtMs),
        natsConnected: isNatsConnected(),
        outbox: waiting,
        refusedTokens: BigInt(registry.refusedTokens()),
        refusedBearers: BigInt(refusedBearers()),
        refusedWebhooks: BigInt(refusedWebhooks()),
        certificateExpiresAt,
      })
    },
  }
}

async function* watchStatus(
  view: FleetView,
  { cluster, application }: WatchFleetStatusRequest,
  signal: AbortSignal,
): AsyncIterable<WatchFleetStatusResponse> {
  let change = Promise.withResolvers<void>()
  const wake = (): void => change.resolve()
  const unsubscribe = view.subscribe(wake)
  signal.addEventListener('abort', wake, { once: true })
  let last: Uint8Array | undefined
  try {
    await view.refresh([])
    while (!signal.aborted) {
      change = Promise.withResolvers()
      const startMs = performance.now()
      const status = view.status({ cluster, application })
      const encoded = toBinary(FleetStatusSchema, status)
      const isNew = last === undefined || Buffer.compare(last, encoded) !== 0
      last = encoded
      const costMs = performance.now() - startMs
      if (isNew) yield create(WatchFleetStatusResponseSchema, { status })
      if (!signal.aborted) await change.promise
      // A large fleet must not keep the process busy with a single watcher: at most a fifth of the time.
      await sleep(costMs * 4, signal).catch(() => {})
    }
  } finally {
    unsubscribe()
    signal.removeEventListener('abort', wake)
  }
}

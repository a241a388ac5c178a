// Publishes the outbox to NATS as soon as it has rows, and keeps NATS equal to the database.
import { create } from '@bufbuild/protobuf'
import { timestampFromMs } from '@bufbuild/protobuf/wkt'
import { CommandSchema } from '@fairlead/proto/slice'
import { backoffMs, jittered, sleep } from '@fairlead/shared/backoff'
import { AppError, isAborted } from '@fairlead/shared/errors'
import type { Logger } from '@fairlead/shared/logger'
import type { SigningKeyPair } from '@fairlead/shared/signing'
import { encodeCommand } from '@fairlead/shared/slice'
import { desiredSubject } from '@fairlead/shared/subjects'
import { type JetStreamClient, jetstream } from '@nats-io/jetstream'
import type { NatsConnection } from '@nats-io/transport-node'
import type { Store } from '../store/store.ts'
import { drainBatch } from './outbox.ts'
import { rebuild } from './rebuild.ts'
import { Sweeper } from './sweep.ts'

/** What a publisher needs. */
export interface PublisherOptions {
  readonly store: Store
  /** In the HUB account. */
  readonly connection: NatsConnection
  readonly signingKey: SigningKeyPair
  /** Makes missing streams. */
  readonly ensureStreams: () => Promise<unknown>
  readonly pushClaims: () => Promise<void>
  /** Signs the slices of these clusters again as newer generations than those given. */
  readonly resign: (seen: ReadonlyMap<string, bigint>) => Promise<void>
  readonly logger: Logger
  /** How often NATS is compared with the database, in milliseconds, default 10 minutes. */
  readonly resyncMs?: number
  /** How long an artifact that nothing uses is kept, in milliseconds, default an hour. */
  readonly graceMs?: number
}

/** Publishes. */
export interface Publisher {
  /** Begins; at first NATS is compared with the database. */
  start(): void
  /** There are new outbox rows. */
  wake(): void
  /** NATS was away and may have lost something: waits for no answer from before, and compares again. */
  resync(): void
  /** Asks an agent for a full report; not kept in the database, as the next gap asks again. */
  requestReport(clusterId: string): Promise<void>
  stop(): Promise<void>
}

const COMMAND_LIFETIME_MS = 300_000
const RETRY = { baseMs: 50, maxMs: 5_000 }

/** Makes a publisher. */
export function createPublisher(options: PublisherOptions): Publisher {
  const loop = new PublishLoop(options)
  const js = jetstream(options.connection)
  return {
    start: () => loop.start(),
    wake: () => loop.wake(),
    resync: () => loop.resync(),
    requestReport: async (clusterId) => {
      const command = create(CommandSchema, {
        clusterId,
        id: crypto.randomUUID(),
        issuedAt: timestampFromMs(Date.now()),
        deadline: timestampFromMs(Date.now() + COMMAND_LIFETIME_MS),
        verb: { case: 'report', value: {} },
      })
      await js.publish(desiredSubject(clusterId, 'cmd'), encodeCommand(command, options.signingKey))
    },
    stop: () => loop.stop(),
  }
}

class PublishLoop {
  readonly #options: PublisherOptions
  readonly #js: JetStreamClient
  readonly #sweeper: Sweeper
  readonly #stopping = new AbortController()
  #running: Promise<void> = Promise.resolve()
  #wakeUp = Promise.withResolvers<void>()
  #mustRebuild = true
  #interruption = new AbortController()

  constructor(options: PublisherOptions) {
    this.#options = options
    this.#js = jetstream(options.connection)
    this.#sweeper = new Sweeper({ store: options.store, js: this.#js, graceMs: options.graceMs ?? 3_600_000 })
  }

  start(): void {
    this.#running = this.#run()
  }

  wake(): void {
    this.#wakeUp.resolve()
  }

  resync(): void {
    this.#mustRebuild = true
    this.#interruption.abort()
    this.#wakeUp.resolve()
  }

  async stop(): Promise<void> {
    this.#stopping.abort()
    this.#interruption.abort()
    this.#wakeUp.resolve()
    await this.#running
  }

  async #run(): Promise<void> {
    const { signal } = this.#stopping
    for (let failures = 0; !signal.aborted; ) {
      // Before the work, so that a wake during the work is not lost.
      this.#wakeUp = Promise.withResolvers()
      const interruption = new AbortController()
      this.#interruption = interruption
      try {
        await this.#work(interruption.signal)
        failures = 0
        await this.#waitForWork()
      } catch (error) {
        if (signal.aborted) return
        if (interruption.signal.aborted) continue
        // Streams may be gone; the comparison makes them again.
        this.#mustRebuild = true
        this.#options.logger.warn({ error, failures }, 'publishing failed; trying again')
        await sleep(backoffMs(failures++, RETRY), signal).catch(() => {})
      }
    }
  }

  /** The signal aborts when answers that are waited for will not come any more. */
  async #work(interruption: AbortSignal): Promise<void> {
    const interrupted = rejectOnAbort(interruption)
    if (this.#mustRebuild) {
      this.#mustRebuild = false
      await Promise.race([this.#rebuild(), interrupted])
    }
    const { store, connection, pushClaims, logger } = this.#options
    const maxPayloadBytes = connection.info?.max_payload ?? 1_048_576
    const batch = { store, js: this.#js, maxPayloadBytes, pushClaims, logger, interrupted }
    while ((await drainBatch(batch)) > 0) this.#stopping.signal.throwIfAborted()
  }

  async #rebuild(): Promise<void> {
    await this.#options.ensureStreams()
    await rebuild({ ...this.#options, js: this.#js })
  }

  /** Until there are new rows, or until it is time to compare. */
  async #waitForWork(): Promise<void> {
    const waiting = new AbortController()
    const due = sleep(jittered(this.#options.resyncMs ?? 600_000), waiting.signal).then(() => 'due' as const)
    const woken = this.#wakeUp.promise.then(() => 'woken' as const)
    const first = await Promise.race([due, woken])
    waiting.abort()
    await due.catch((error: unknown) => {
      if (!isAborted(error)) throw error
    })
    if (first === 'woken' || this.#stopping.signal.aborted) return
    this.#mustRebuild = true
    const swept = await this.#sweeper.sweep(Date.now())
    if (swept.artifacts + swept.blobs > 0) this.#options.logger.info(swept, 'unused artifacts deleted')
  }
}

/** A promise that rejects with Aborted when the signal does, and else stays open. */
function rejectOnAbort(signal: AbortSignal): Promise<never> {
  const { promise, reject } = Promise.withResolvers<never>()
  const abort = (): void => reject(new AppError('Aborted', 'the connection to NATS was lost'))
  if (signal.aborted) abort()
  else signal.addEventListener('abort', abort, { once: true })
  promise.catch(() => {})
  return promise
}

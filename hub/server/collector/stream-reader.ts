// Reads a stream in order from where it was left, for as long as the process lives: through restarts of NATS, and through
// the loss of the whole stream.
import { backoffMs, sleep } from '@fairlead/shared/backoff'
import type { Logger } from '@fairlead/shared/logger'
import { type ConsumerMessages, DeliverPolicy, type JetStreamClient, type JsMsg } from '@nats-io/jetstream'
import type { Store } from '../store/store.ts'

/** What a reader needs. */
export interface StreamReaderOptions {
  readonly js: JetStreamClient
  readonly stream: string
  readonly store: Store
  /** Called for one message after the other. What it throws is logged, and the message passed over. */
  readonly handle: (message: JsMsg) => Promise<void>
  readonly logger: Logger
}

/** How far a stream was read; sequences are of one incarnation of the stream. */
interface Position {
  readonly created: string
  readonly sequence: number
}

const SAVE_EVERY_MS = 1_000
const EXPIRES_MS = 10_000
const HEARTBEAT_MS = 2_500
const RETRY = { baseMs: 50, maxMs: 2_000 }

/** Reads one stream. */
export class StreamReader {
  readonly #options: StreamReaderOptions
  readonly #stopping = new AbortController()
  #position: Position = { created: '', sequence: 0 }
  #savedAt = 0
  #messages: ConsumerMessages | undefined
  #running: Promise<void> = Promise.resolve()

  constructor(options: StreamReaderOptions) {
    this.#options = options
  }

  /** Begins to read. */
  start(): void {
    this.#running = this.#run()
  }

  /** Opens the stream again from where it is: after a reconnect that is faster than waiting for missed heartbeats. */
  reopen(): void {
    this.#messages?.stop()
  }

  /** Ends reading and keeps the position. */
  async stop(): Promise<void> {
    this.#stopping.abort()
    this.#messages?.stop()
    await this.#running
    await this.#save()
  }

  async #run(): Promise<void> {
    const { signal } = this.#stopping
    this.#position = await this.#load()
    for (let failures = 0; !signal.aborted; ) {
      try {
        const messages = await this.#open()
        failures = 0
        for await (const message of messages) await this.#take(message)
      } catch (error) {
        this.#options.logger.debug({ error, stream: this.#options.stream }, 'stream cannot be read yet')
        await sleep(backoffMs(failures++, RETRY), signal).catch(() => {})
      }
    }
  }

  async #open(): Promise<ConsumerMessages> {
    const { js, stream } = this.#options
    const manager = await js.jetstreamManager(false)
    const { created, state } = await manager.streams.info(stream)
    const isSame = created === this.#position.created && state.last_seq >= this.#position.sequence
    if (!isSame) this.#position = { created, sequence: 0 }
    const consumer = await js.consumers.get(stream, {
      deliver_policy: DeliverPolicy.StartSequence,
      opt_start_seq: this.#position.sequence + 1,
    })
    const messages = await consumer.consume({ expires: EXPIRES_MS, idle_heartbeat: HEARTBEAT_MS, max_messages: 500 })
    this.#messages = messages
    void this.#watch(messages)
    if (this.#stopping.signal.aborted) messages.stop()
    return messages
  }

  /** The client tries for ever to go on with a stream that is gone or made anew; opening it again finds out. */
  async #watch(messages: ConsumerMessages): Promise<void> {
    for await (const { type } of messages.status()) {
      if (type === 'stream_not_found' || type === 'heartbeats_missed' || type === 'consumer_deleted') messages.stop()
    }
  }

  async #take(message: JsMsg): Promise<void> {
    const { handle, logger, stream } = this.#options
    try {
      await handle(message)
    } catch (error) {
      logger.error({ error, stream, sequence: message.seq }, 'message could not be processed')
    }
    this.#position = { ...this.#position, sequence: message.seq }
    if (performance.now() - this.#savedAt > SAVE_EVERY_MS) await this.#save()
  }

  get #metaKey(): string {
    return `collector.${this.#options.stream}`
  }

  async #load(): Promise<Position> {
    const row = await this.#options.store.db
      .selectFrom('meta')
      .select('value')
      .where('key', '=', this.#metaKey)
      .executeTakeFirst()
    return row ? (JSON.parse(row.value) as Position) : this.#position
  }

  async #save(): Promise<void> {
    this.#savedAt = performance.now()
    const value = JSON.stringify(this.#position)
    await this.#options.store.db
      .insertInto('meta')
      .values({ key: this.#metaKey, value })
      .onConflict((conflict) => conflict.column('key').doUpdateSet({ value }))
      .execute()
  }
}

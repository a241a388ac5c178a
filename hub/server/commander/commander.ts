// Asks agents questions: a signed command is stored for the cluster, the answer comes back in parts over core NATS. An agent
// may be hostile: only what was asked of that cluster is taken, and only so much of it.
import { create, fromBinary } from '@bufbuild/protobuf'
import { timestampFromMs } from '@bufbuild/protobuf/wkt'
import type { Problem } from '@fairlead/proto/common'
import { type CommandAnswer, CommandAnswerSchema, type ObjectChange } from '@fairlead/proto/report'
import { type Command, CommandSchema } from '@fairlead/proto/slice'
import { AppError } from '@fairlead/shared/errors'
import type { Logger } from '@fairlead/shared/logger'
import type { SigningKeyPair } from '@fairlead/shared/signing'
import { encodeCommand } from '@fairlead/shared/slice'
import { AGENT_MAX_PAYLOAD_BYTES, ALL_ANSWERS, desiredSubject, findClusterId } from '@fairlead/shared/subjects'
import { jetstream } from '@nats-io/jetstream'
import type { Msg, NatsConnection } from '@nats-io/transport-node'

/** What a commander needs. */
export interface CommanderOptions {
  /** In the HUB account. */
  readonly connection: NatsConnection
  readonly signingKey: SigningKeyPair
  readonly logger: Logger
  /** The longest wait for a whole answer, in milliseconds, default 20,000. */
  readonly timeoutMs?: number
  /** After which a command without any answer is stored again, in milliseconds, default 5,000: another one may have taken its place. */
  readonly repeatMs?: number
}

/** What an agent answered. */
export interface PreviewAnswer {
  readonly changes: readonly ObjectChange[]
  readonly problems: readonly Problem[]
}

/** What was not taken since the start. */
export interface CommanderCounts {
  /** Messages that cannot be decoded or are too large. */
  malformed: number
  /** Answers that nobody waits for, or of another cluster than was asked. */
  unasked: number
  /** Answers with more parts or bytes than are taken. */
  excessive: number
}

/** Sends commands and collects answers. */
export interface Commander {
  readonly counts: Readonly<CommanderCounts>
  start(): void
  /** Asks an agent what it would change for an application. Throws Unavailable when it does not answer in time, or answers too much; Aborted when the signal does. */
  preview(clusterId: string, application: string, signal?: AbortSignal): Promise<PreviewAnswer>
  stop(): void
}

/** 32 MB: enough for 100,000 objects. */
const MAX_PARTS = 512
/** Questions that wait at the same time. */
const MAX_WAITING = 64
const PUBLISH_TIMEOUT_MS = 5_000

/** Makes a commander. */
export function createCommander(options: CommanderOptions): Commander {
  return new AnswerCollector(options)
}

interface Waiting {
  readonly clusterId: string
  readonly parts: Map<number, CommandAnswer>
  last: number | undefined
  readonly done: PromiseWithResolvers<PreviewAnswer>
}

class AnswerCollector implements Commander {
  readonly counts: CommanderCounts = { malformed: 0, unasked: 0, excessive: 0 }
  readonly #options: CommanderOptions
  readonly #waiting = new Map<string, Waiting>()
  /** One question at a time for each cluster: only its latest command is kept. */
  readonly #turns = new Map<string, Promise<unknown>>()
  #unsubscribe: () => void = () => {}

  constructor(options: CommanderOptions) {
    this.#options = options
  }

  start(): void {
    const subscription = this.#options.connection.subscribe(ALL_ANSWERS, {
      callback: (error, message) => {
        if (!error) this.#take(message)
      },
    })
    this.#unsubscribe = () => subscription.unsubscribe()
  }

  stop(): void {
    this.#unsubscribe()
    for (const { done } of this.#waiting.values()) done.reject(new AppError('Aborted', 'the hub stops'))
    this.#waiting.clear()
  }

  async preview(clusterId: string, application: string, signal?: AbortSignal): Promise<PreviewAnswer> {
    if (this.#waiting.size >= MAX_WAITING)
      throw new AppError('Unavailable', 'too many questions wait for an answer; try again')
    const before = this.#turns.get(clusterId)
    const turn = (async () => {
      await before?.catch(() => {})
      return await this.#ask(
        clusterId,
        { case: 'preview', value: { $typeName: 'fairlead.v1.PreviewCommand', application } },
        signal,
      )
    })()
    this.#turns.set(clusterId, turn)
    try {
      return await turn
    } finally {
      if (this.#turns.get(clusterId) === turn) this.#turns.delete(clusterId)
    }
  }

  async #ask(clusterId: string, verb: Command['verb'], caller?: AbortSignal): Promise<PreviewAnswer> {
    const { timeoutMs = 20_000, repeatMs = 5_000, signingKey } = this.#options
    caller?.throwIfAborted()
    const id = crypto.randomUUID()
    const [issuedAt, deadline] = [timestampFromMs(Date.now()), timestampFromMs(Date.now() + timeoutMs)]
    const bytes = encodeCommand(create(CommandSchema, { clusterId, id, issuedAt, deadline, verb }), signingKey)
    const waiting: Waiting = { clusterId, parts: new Map(), last: undefined, done: Promise.withResolvers() }
    this.#waiting.set(id, waiting)
    const store = async (): Promise<void> => {
      const js = jetstream(this.#options.connection)
      await js.publish(desiredSubject(clusterId, 'cmd'), bytes, { timeout: PUBLISH_TIMEOUT_MS })
    }
    const giveUp = (): void => waiting.done.reject(new AppError('Aborted', 'the question was given up'))
    const timer = setTimeout(() => waiting.done.reject(lateError(waiting, timeoutMs)), timeoutMs)
    const repeat = setInterval(() => {
      if (waiting.parts.size === 0) store().catch(() => {})
    }, repeatMs)
    caller?.addEventListener('abort', giveUp, { once: true })
    try {
      store().catch((cause: unknown) =>
        waiting.done.reject(new AppError('Unavailable', 'the question could not be stored in NATS', { cause })),
      )
      return await waiting.done.promise
    } finally {
      clearTimeout(timer)
      clearInterval(repeat)
      caller?.removeEventListener('abort', giveUp)
      this.#waiting.delete(id)
    }
  }

  #take(message: Msg): void {
    const clusterId = findClusterId(message.subject)
    const answer = this.#decode(message.data)
    if (!answer) return
    const waiting = this.#waiting.get(answer.commandId)
    if (!waiting || waiting.clusterId !== clusterId) {
      this.counts.unasked++
      return
    }
    if (answer.part >= MAX_PARTS) {
      this.counts.excessive++
      waiting.done.reject(new AppError('Unavailable', `the agent's answer has more than ${MAX_PARTS} parts`))
      return
    }
    // The first of its number counts; a part after the last one is none.
    if (waiting.parts.has(answer.part) || (waiting.last !== undefined && answer.part > waiting.last)) return
    waiting.parts.set(answer.part, answer)
    if (answer.last) waiting.last ??= answer.part
    if (waiting.last !== undefined && isWhole(waiting)) waiting.done.resolve(join(waiting, waiting.last))
  }

  #decode(data: Uint8Array): CommandAnswer | undefined {
    try {
      if (data.length > AGENT_MAX_PAYLOAD_BYTES) throw new AppError('InvalidArgument', 'too large')
      return fromBinary(CommandAnswerSchema, data)
    } catch (error) {
      this.counts.malformed++
      this.#options.logger.debug({ error, sizeBytes: data.length }, 'answer of an agent is refused')
      return undefined
    }
  }
}

function isWhole({ parts, last = -1 }: Waiting): boolean {
  for (let part = 0; part <= last; part++) if (!parts.has(part)) return false
  return last >= 0
}

function join({ parts }: Waiting, last: number): PreviewAnswer {
  const whole = Array.from({ length: last + 1 }, (_, part) => parts.get(part)).filter((part) => part !== undefined)
  return { changes: whole.flatMap(({ changes }) => changes), problems: whole.flatMap(({ problems }) => problems) }
}

function lateError({ parts }: Waiting, timeoutMs: number): AppError {
  const what = parts.size === 0 ? 'did not answer' : `sent only ${parts.size} parts of its answer`
  return new AppError('Unavailable', `the agent ${what} within ${timeoutMs / 1_000} s`)
}

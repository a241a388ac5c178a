// Asks agents questions: a signed command is stored for the cluster, the answer comes back in parts over core NATS. An agent
// may be hostile: only what was asked of that cluster is taken, and only so much of it.
import { create, fromBinary } from '@bufbuild/protobuf'
import { timestampFromMs } from '@bufbuild/protobuf/wkt'
import type { Problem } from '@fairlead/proto/common'
import { type CommandAnswer, CommandAnswerSchema, type ObjectChange } from '@fairlead/proto/report'
import { type Command, CommandSchema } from '@fairlead/proto/slice'
import { unlessAborted } from '@fairlead/shared/backoff'
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
  /** The longest wait for the next part of an answer, in milliseconds, default 20,000. */
  readonly timeoutMs?: number
  /** The longest wait for a whole answer, in milliseconds, default 300,000: an agent could send a part now and then for ever. */
  readonly wholeTimeoutMs?: number
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
  /** Asks an agent what it would change for an application; questions to one agent follow each other. Throws Unavailable when it falls silent, answers too much, or too many questions wait; Aborted when the signal does. */
  preview(clusterId: string, application: string, signal?: AbortSignal): Promise<PreviewAnswer>
  stop(): void
}

/** 32 MB: enough for 100,000 objects. */
const MAX_PARTS = 512
/** Messages of one answer that are looked at, repeated ones too. */
const MAX_MESSAGES = 2 * MAX_PARTS
/** Questions at the same time, those included that wait for their turn. */
const MAX_QUESTIONS = 64
const PUBLISH_TIMEOUT_MS = 5_000

/** Makes a commander. */
export function createCommander(options: CommanderOptions): Commander {
  return new AnswerCollector(options)
}

interface Waiting {
  readonly clusterId: string
  readonly id: string
  readonly parts: Map<number, CommandAnswer>
  last: number | undefined
  messages: number
  /** Something came: the time for the next part begins. */
  renew: () => void
  readonly done: PromiseWithResolvers<PreviewAnswer>
}

class AnswerCollector implements Commander {
  readonly counts: CommanderCounts = { malformed: 0, unasked: 0, excessive: 0 }
  readonly #options: CommanderOptions
  /** By cluster. */
  readonly #waiting = new Map<string, Waiting>()
  /** One question at a time for each cluster: only its latest command is kept. Over when all questions so far are. */
  readonly #turns = new Map<string, Promise<void>>()
  #questions = 0
  readonly #stop = new AbortController()
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
    this.#stop.abort()
  }

  async preview(clusterId: string, application: string, caller?: AbortSignal): Promise<PreviewAnswer> {
    if (this.#questions >= MAX_QUESTIONS)
      throw new AppError('Unavailable', 'too many questions wait for an answer; try again')
    const signal = caller ? AbortSignal.any([caller, this.#stop.signal]) : this.#stop.signal
    const before = this.#turns.get(clusterId) ?? Promise.resolve()
    const own = Promise.withResolvers<void>()
    const turn = before.then(() => own.promise)
    this.#turns.set(clusterId, turn)
    this.#questions++
    try {
      await unlessAborted(before, signal)
      const value = { $typeName: 'fairlead.v1.PreviewCommand' as const, application }
      return await this.#ask(clusterId, { case: 'preview', value }, signal)
    } finally {
      this.#questions--
      own.resolve()
      void turn.then(() => {
        if (this.#turns.get(clusterId) === turn) this.#turns.delete(clusterId)
      })
    }
  }

  async #ask(clusterId: string, verb: Command['verb'], signal: AbortSignal): Promise<PreviewAnswer> {
    const { timeoutMs = 20_000, wholeTimeoutMs = 300_000, repeatMs = 5_000, signingKey } = this.#options
    const id = crypto.randomUUID()
    const [issuedAt, deadline] = [timestampFromMs(Date.now()), timestampFromMs(Date.now() + timeoutMs)]
    const bytes = encodeCommand(create(CommandSchema, { clusterId, id, issuedAt, deadline, verb }), signingKey)
    const done = Promise.withResolvers<PreviewAnswer>()
    const timer = setTimeout(() => done.reject(silentError(waiting, timeoutMs)), timeoutMs)
    const renew = (): void => void timer.refresh()
    const waiting: Waiting = { clusterId, id, parts: new Map(), last: undefined, messages: 0, renew, done }
    this.#waiting.set(clusterId, waiting)
    const store = async (): Promise<void> => {
      const js = jetstream(this.#options.connection)
      await js.publish(desiredSubject(clusterId, 'cmd'), bytes, { timeout: PUBLISH_TIMEOUT_MS })
    }
    const whole = setTimeout(() => done.reject(lateError(wholeTimeoutMs)), wholeTimeoutMs)
    const repeat = setInterval(() => {
      if (waiting.parts.size === 0) store().catch(() => {})
    }, repeatMs)
    try {
      store().catch((cause: unknown) =>
        done.reject(new AppError('Unavailable', 'the question could not be stored in NATS', { cause })),
      )
      return await unlessAborted(done.promise, signal)
    } finally {
      clearTimeout(timer)
      clearTimeout(whole)
      clearInterval(repeat)
      this.#waiting.delete(clusterId)
    }
  }

  #take(message: Msg): void {
    // Before it is read: what nobody asked for must cost next to nothing.
    const waiting = this.#waiting.get(findClusterId(message.subject) ?? '')
    if (!waiting) {
      this.counts.unasked++
      return
    }
    if (++waiting.messages > MAX_MESSAGES) {
      this.#refuse(waiting, `comes in more than ${MAX_MESSAGES} messages`)
      return
    }
    const answer = this.#decode(message.data)
    if (!answer) return
    if (answer.commandId !== waiting.id) this.counts.unasked++
    else if (answer.part >= MAX_PARTS) this.#refuse(waiting, `has more than ${MAX_PARTS} parts`)
    else this.#add(waiting, answer)
  }

  #add(waiting: Waiting, answer: CommandAnswer): void {
    // The first of its number counts; a part after the last one is none.
    if (waiting.parts.has(answer.part) || (waiting.last !== undefined && answer.part > waiting.last)) return
    waiting.parts.set(answer.part, answer)
    waiting.renew()
    if (answer.last) waiting.last ??= answer.part
    if (waiting.last !== undefined && isWhole(waiting)) waiting.done.resolve(join(waiting, waiting.last))
  }

  #refuse({ clusterId, done }: Waiting, why: string): void {
    this.counts.excessive++
    // From now on nobody waits for what comes.
    this.#waiting.delete(clusterId)
    done.reject(new AppError('Unavailable', `the agent's answer ${why}`))
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

function silentError({ parts }: Waiting, timeoutMs: number): AppError {
  const seconds = `${timeoutMs / 1_000} s`
  const what =
    parts.size === 0
      ? `did not answer within ${seconds}`
      : `sent ${parts.size} parts of its answer, and then nothing for ${seconds}`
  return new AppError('Unavailable', `the agent ${what}`)
}

function lateError(timeoutMs: number): AppError {
  return new AppError('Unavailable', `the agent had not answered as a whole within ${timeoutMs / 1_000} s`)
}

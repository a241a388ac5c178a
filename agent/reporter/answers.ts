// Cuts the answer to a command into parts that each fit into a message, and sends them as they come to be: the hub waits as
// long as something comes.
import { create, toBinary } from '@bufbuild/protobuf'
import { type Problem, ProblemSchema } from '@fairlead/proto/common'
import { CommandAnswerSchema, type ObjectChange, ObjectChangeSchema } from '@fairlead/proto/report'
import type { Preview } from '../desired-state.ts'

/** How an answer is sent. */
export interface AnswerOptions {
  readonly commandId: string
  /** Largest part, in bytes; at least 64,000. */
  readonly limitBytes: number
  /** Sends a part. */
  readonly send: (part: Uint8Array) => void
  /** After which a part is sent, full or not, in milliseconds, default 5,000: the hub gives up an agent from which nothing comes for 20 s. */
  readonly flushMs?: number
}

/** Tag and length of an item in a list. */
const ITEM_OVERHEAD_BYTES = 6
/** Room for what a part holds besides changes and problems. */
const FRAME_BYTES = 256
/** More tell nobody anything; how many there are is said. */
const PROBLEMS_MAX = 1_000
const FIELDS_MAX = 50
const TEXT_MAX_BYTES = 512
const PATH_MAX_BYTES = 1_024

/** Sends an answer in parts while `ask` finds it: `ask` is given what takes each change, in order. The last part says that it is. Throws what `ask` throws. */
export async function sendAnswer(
  options: AnswerOptions,
  ask: (take: (change: ObjectChange) => void) => Promise<Pick<Preview, 'problems'>>,
): Promise<void> {
  const sender = new PartSender(options)
  // At once, so that the hub knows that the question has come.
  sender.flush()
  const timer = setInterval(() => sender.flush(), options.flushMs ?? 5_000)
  try {
    const { problems } = await ask((change) => sender.addChange(change))
    for (const problem of problems.slice(0, PROBLEMS_MAX)) sender.addProblem(problem)
    const more = problems.length - PROBLEMS_MAX
    if (more > 0)
      sender.addProblem(create(ProblemSchema, { code: 'LimitExceeded', message: `and ${more} more problems` }))
    sender.flush({ last: true })
  } finally {
    clearInterval(timer)
  }
}

class PartSender {
  readonly #options: AnswerOptions
  #part = 0
  #changes: ObjectChange[] = []
  #problems: Problem[] = []
  #room: number

  constructor(options: AnswerOptions) {
    this.#options = options
    this.#room = options.limitBytes - FRAME_BYTES
  }

  addChange(change: ObjectChange): void {
    const clipped = clipChange(change)
    this.#makeRoom(toBinary(ObjectChangeSchema, clipped).length)
    this.#changes.push(clipped)
  }

  addProblem(problem: Problem): void {
    const clipped = clipProblem(problem)
    this.#makeRoom(toBinary(ProblemSchema, clipped).length)
    this.#problems.push(clipped)
  }

  /** Sends what there is, even nothing. */
  flush({ last = false } = {}): void {
    const { commandId, limitBytes, send } = this.#options
    const [changes, problems] = [this.#changes, this.#problems]
    const part = create(CommandAnswerSchema, { commandId, part: this.#part++, last, changes, problems })
    this.#changes = []
    this.#problems = []
    this.#room = limitBytes - FRAME_BYTES
    send(toBinary(CommandAnswerSchema, part))
  }

  #makeRoom(sizeBytes: number): void {
    if (sizeBytes + ITEM_OVERHEAD_BYTES > this.#room) this.flush()
    this.#room -= sizeBytes + ITEM_OVERHEAD_BYTES
  }
}

/** Of what is left, the largest change takes half of a part. */
function clipChange(change: ObjectChange): ObjectChange {
  const { fields, message, manager, source } = change
  return {
    ...change,
    fields: fields.slice(0, FIELDS_MAX).map((field) => clip(field, TEXT_MAX_BYTES)),
    message: clip(message, TEXT_MAX_BYTES),
    manager: clip(manager, TEXT_MAX_BYTES),
    ...(source && { source: { ...source, file: clip(source.file, PATH_MAX_BYTES) } }),
  }
}

function clipProblem(problem: Problem): Problem {
  const { message, source } = problem
  return {
    ...problem,
    message: clip(message, TEXT_MAX_BYTES),
    ...(source && { source: { ...source, file: clip(source.file, PATH_MAX_BYTES) } }),
  }
}

/** The text, or as many of its first characters as fit into so many bytes of UTF-8. */
function clip(text: string, maxBytes: number): string {
  if (text.length * 3 <= maxBytes) return text
  const bytes = Buffer.from(text)
  if (bytes.length <= maxBytes) return text
  let end = maxBytes
  // Not in the middle of a character: its further bytes begin with 10.
  while (((bytes[end] ?? 0) & 0xc0) === 0x80) end--
  return bytes.toString('utf8', 0, end)
}

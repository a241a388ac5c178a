// Cuts the answer to a command into parts that each fit into a message.
import { create, toBinary } from '@bufbuild/protobuf'
import type { Problem } from '@fairlead/proto/common'
import { type CommandAnswer, CommandAnswerSchema, type ObjectChange, ObjectChangeSchema } from '@fairlead/proto/report'

/** Tag and length of an item in a list. */
const ITEM_OVERHEAD_BYTES = 6
/** Room for what a part holds besides changes. */
const FRAME_BYTES = 256
const PROBLEMS_MAX = 50
const FIELDS_MAX = 50
const TEXT_MAX = 512

/** The parts in order; the last one says so. Every part is at most `limitBytes`. */
export function packAnswer(
  commandId: string,
  answer: { readonly changes: readonly ObjectChange[]; readonly problems: readonly Problem[] },
  limitBytes: number,
): Uint8Array[] {
  const parts: { changes: ObjectChange[]; problems: Problem[] }[] = [{ changes: [], problems: [] }]
  let room = limitBytes - FRAME_BYTES
  for (const change of answer.changes.map(clipChange)) {
    const size = toBinary(ObjectChangeSchema, change).length + ITEM_OVERHEAD_BYTES
    if (size > room) {
      parts.push({ changes: [], problems: [] })
      room = limitBytes - FRAME_BYTES
    }
    parts.at(-1)?.changes.push(change)
    room -= size
  }
  const problems = answer.problems.slice(0, PROBLEMS_MAX)
  if (problems.length > 0)
    parts.push({ changes: [], problems: problems.map((one) => ({ ...one, message: one.message.slice(0, TEXT_MAX) })) })
  return parts.map((part, index) => encode({ commandId, part: index, last: index === parts.length - 1, ...part }))
}

function encode(part: Omit<CommandAnswer, '$typeName' | '$unknown'>): Uint8Array {
  return toBinary(CommandAnswerSchema, create(CommandAnswerSchema, part))
}

function clipChange(change: ObjectChange): ObjectChange {
  const { fields, message, manager } = change
  return {
    ...change,
    fields: fields.slice(0, FIELDS_MAX).map((field) => field.slice(0, TEXT_MAX)),
    message: message.slice(0, TEXT_MAX),
    manager: manager.slice(0, TEXT_MAX),
  }
}

import { create, fromBinary } from '@bufbuild/protobuf'
import { type Problem, ProblemSchema } from '@fairlead/proto/common'
import { CommandAnswerSchema, type ObjectChange, ObjectChangeSchema } from '@fairlead/proto/report'
import { afterEach, expect, test, vi } from 'vitest'
import { sendAnswer } from './answers.ts'

const LIMIT = 64_512
const change = (index: number, length = 40): ObjectChange =>
  create(ObjectChangeSchema, {
    object: { kind: 'ConfigMap', name: `c${index}`, namespace: 'n' },
    action: 'update',
    fields: [`data.${'f'.repeat(length)}`],
  })
const problem = (message: string): Problem => create(ProblemSchema, { code: 'UnknownKind', message })
const read = (parts: readonly Uint8Array[]) => parts.map((bytes) => fromBinary(CommandAnswerSchema, bytes))

/** The parts of a whole answer. */
async function partsOf(changes: readonly ObjectChange[], problems: readonly Problem[] = []): Promise<Uint8Array[]> {
  const parts: Uint8Array[] = []
  await sendAnswer({ commandId: 'id', limitBytes: LIMIT, send: (part) => parts.push(part) }, async (take) => {
    for (const one of changes) take(one)
    return { problems }
  })
  for (const bytes of parts) expect(bytes.length).toBeLessThanOrEqual(LIMIT)
  return parts
}

afterEach(() => {
  vi.useRealTimers()
})

test('an empty answer says at once that the question has come, and then that this was all', async () => {
  expect(read(await partsOf([]))).toMatchObject([
    { commandId: 'id', part: 0, last: false, changes: [] },
    { commandId: 'id', part: 1, last: true, changes: [] },
  ])
})

test('13,000 changes come in parts that each fit, in order, complete, with one last', async () => {
  const changes = Array.from({ length: 13_000 }, (_, index) => change(index))
  const problems = [problem('x')]
  const decoded = read(await partsOf(changes, problems))
  expect(decoded.length).toBeGreaterThan(10)
  expect(decoded.map(({ part }) => part)).toEqual(decoded.map((_, index) => index))
  expect(decoded.filter(({ last }) => last)).toEqual([decoded.at(-1)])
  expect(decoded.flatMap((part) => part.changes)).toEqual(changes)
  expect(decoded.flatMap((part) => part.problems)).toEqual(problems)
})

test('parts are sent while the rest is still looked for, and at least every five seconds', async () => {
  vi.useFakeTimers()
  const sent: Uint8Array[] = []
  const found = Promise.withResolvers<{ problems: Problem[] }>()
  let take: (change: ObjectChange) => void = () => {}
  const done = sendAnswer({ commandId: 'id', limitBytes: LIMIT, send: (part) => sent.push(part) }, (taker) => {
    take = taker
    return found.promise
  })
  for (let index = 0; index < 2_000; index++) take(change(index))
  const full = sent.length
  expect(full).toBeGreaterThan(2)
  await vi.advanceTimersByTimeAsync(5_000)
  expect(read(sent).flatMap(({ changes }) => changes)).toHaveLength(2_000)
  await vi.advanceTimersByTimeAsync(10_000)
  expect(sent.length).toBe(full + 3)
  found.resolve({ problems: [] })
  await done
  await vi.advanceTimersByTimeAsync(60_000)
  expect(read(sent).map(({ last }) => last)).toEqual([...Array.from({ length: full + 3 }, () => false), true])
})

test('nothing more is sent when the question cannot be answered', async () => {
  vi.useFakeTimers()
  const sent: Uint8Array[] = []
  const options = { commandId: 'id', limitBytes: LIMIT, send: (part: Uint8Array) => sent.push(part) }
  await expect(sendAnswer(options, () => Promise.reject(new Error('no')))).rejects.toThrow('no')
  await vi.advanceTimersByTimeAsync(60_000)
  expect(sent).toHaveLength(1)
})

test.each(['m', 'ü', '語', '🙂'])(
  'one change with more %s than a message may hold is cut, not lost',
  async (character) => {
    const huge = {
      ...change(1),
      fields: Array.from({ length: 500 }, () => character.repeat(3_000)),
      message: character.repeat(99_999),
      manager: character.repeat(99_999),
      source: { $typeName: 'fairlead.v1.SourceLocation' as const, file: character.repeat(4_096), line: 1 },
    }
    const [cut] = read(await partsOf([huge, change(2)])).flatMap(({ changes }) => changes)
    // Whole characters only.
    expect(cut?.message).toMatch(new RegExp(`^${character}{120,}$`, 'u'))
    expect(cut?.fields).toHaveLength(50)
  },
)

test('thousands of long problems come in parts that each fit, and those that are left out are counted', async () => {
  const problems = Array.from({ length: 1_234 }, (_, index) => problem(`${index} ${'語'.repeat(2_000)}`))
  const decoded = read(await partsOf([change(1)], problems))
  expect(decoded.length).toBeGreaterThan(5)
  const told = decoded.flatMap((part) => part.problems)
  expect(told).toHaveLength(1_001)
  expect(told[999]?.message).toMatch(/^999 語+$/)
  expect(told.at(-1)).toMatchObject({ code: 'LimitExceeded', message: 'and 234 more problems' })
})

import { create, fromBinary } from '@bufbuild/protobuf'
import { ProblemSchema } from '@fairlead/proto/common'
import { CommandAnswerSchema, type ObjectChange, ObjectChangeSchema } from '@fairlead/proto/report'
import { expect, test } from 'vitest'
import { packAnswer } from './answers.ts'

const LIMIT = 65_536
const change = (index: number, length = 40): ObjectChange =>
  create(ObjectChangeSchema, {
    object: { kind: 'ConfigMap', name: `c${index}`, namespace: 'n' },
    action: 'update',
    fields: [`data.${'f'.repeat(length)}`],
  })
const read = (parts: readonly Uint8Array[]) => parts.map((bytes) => fromBinary(CommandAnswerSchema, bytes))

test('an empty answer is one part that is the last', () => {
  expect(read(packAnswer('id', { changes: [], problems: [] }, LIMIT))).toMatchObject([
    { commandId: 'id', part: 0, last: true },
  ])
})

test('13,000 changes come in parts that each fit, in order, complete, with one last', () => {
  const changes = Array.from({ length: 13_000 }, (_, index) => change(index))
  const problems = [create(ProblemSchema, { code: 'UnknownKind', message: 'x' })]
  const parts = packAnswer('id', { changes, problems }, LIMIT)
  expect(parts.length).toBeGreaterThan(10)
  for (const bytes of parts) expect(bytes.length).toBeLessThanOrEqual(LIMIT)
  const decoded = read(parts)
  expect(decoded.map(({ part }) => part)).toEqual(parts.map((_, index) => index))
  expect(decoded.filter(({ last }) => last)).toEqual([decoded.at(-1)])
  expect(decoded.flatMap((part) => part.changes)).toEqual(changes)
  expect(decoded.flatMap((part) => part.problems)).toEqual(problems)
})

test('one change with more than a message may hold is cut, not lost', () => {
  const huge = {
    ...change(1, 3_000),
    fields: Array.from({ length: 500 }, () => 'f'.repeat(3_000)),
    message: 'm'.repeat(99_999),
  }
  const [part] = packAnswer('id', { changes: [huge], problems: [] }, LIMIT)
  expect(part?.length).toBeLessThan(LIMIT)
  expect(read([part as Uint8Array])[0]?.changes).toHaveLength(1)
})

import { expect, test } from 'vitest'
import { Limiter } from './limiter.ts'

test('never more tasks than places, in the order in which they came', async () => {
  const limiter = new Limiter({ places: 2 })
  const started: number[] = []
  const gates = Array.from({ length: 5 }, () => Promise.withResolvers<void>())
  const runs = gates.map(
    async (gate, index) =>
      await limiter.run(async () => {
        started.push(index)
        await gate.promise
      }),
  )
  await Promise.resolve()
  expect(started).toEqual([0, 1])
  gates[1]?.resolve()
  await runs[1]
  await Promise.resolve()
  expect(started).toEqual([0, 1, 2])
  for (const gate of gates) gate.resolve()
  await Promise.all(runs)
  expect(started).toEqual([0, 1, 2, 3, 4])
})

test('a slow task gives its place to the next, up to the ceiling', async () => {
  const limiter = new Limiter({ places: 1, slowMs: 1, ceiling: 2 })
  const slow = Promise.withResolvers<void>()
  const runs = [limiter.run(async () => await slow.promise), limiter.run(async () => await slow.promise)]
  let third = false
  const last = limiter.run(async () => {
    third = true
    await Promise.resolve()
  })
  expect(third).toBe(false)
  slow.resolve()
  await Promise.all([...runs, last])
  expect(third).toBe(true)
})

test('a task that fails gives its place back', async () => {
  const limiter = new Limiter({ places: 1 })
  await expect(limiter.run(async () => await Promise.reject(new Error('no')))).rejects.toThrow('no')
  await expect(limiter.run(async () => await Promise.resolve('yes'))).resolves.toBe('yes')
})

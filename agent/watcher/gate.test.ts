// A few at a time, in order, and nobody who gave up keeps a place.
import { expect, test } from 'vitest'
import { createGate } from './gate.ts'

test('no more than the size run at a time, in the order of their coming, failures included', async () => {
  const gate = createGate(2)
  const { signal } = new AbortController()
  let running = 0
  let most = 0
  const order: number[] = []
  const work = async (index: number): Promise<void> => {
    order.push(index)
    most = Math.max(most, ++running)
    await Promise.resolve()
    running--
    if (index === 1) throw new Error('failed')
  }
  const all = await Promise.allSettled([0, 1, 2, 3, 4].map((index) => gate.run(() => work(index), signal)))
  expect(order).toEqual([0, 1, 2, 3, 4])
  expect(most).toBe(2)
  expect(all.map(({ status }) => status === 'fulfilled')).toEqual([true, false, true, true, true])
})

test('one who gives up while waiting leaves the queue, and the next comes in', async () => {
  const gate = createGate(1)
  const { signal } = new AbortController()
  const first = Promise.withResolvers<void>()
  const holding = gate.run(() => first.promise, signal)
  const controller = new AbortController()
  const impatient = gate.run(async () => 'never', controller.signal)
  const patient = gate.run(async () => 'served', signal)
  controller.abort(new Error('gave up'))
  await expect(impatient).rejects.toThrow('gave up')
  first.resolve()
  await holding
  expect(await patient).toBe('served')
  await expect(gate.run(async () => 'never', controller.signal)).rejects.toThrow('gave up')
})

import { expect, test } from 'vitest'
import { createHostGate } from './host-gate.ts'

const never = new AbortController().signal

test('a host has its places, all have theirs, and whoever leaves lets the next in', async () => {
  const gate = createHostGate({ perHost: 2, total: 3 })
  const running: string[] = []
  const doors: (() => void)[] = []
  const work = (name: string, host: string) =>
    gate.run(host, never, async () => {
      running.push(name)
      const { promise, resolve } = Promise.withResolvers<void>()
      doors.push(resolve)
      await promise
    })
  const all = [work('a1', 'a'), work('a2', 'a'), work('a3', 'a'), work('b1', 'b'), work('b2', 'b')]
  await new Promise(setImmediate)
  expect(running).toEqual(['a1', 'a2', 'b1'])
  doors[2]?.()
  await all[3]
  await new Promise(setImmediate)
  expect(running).toEqual(['a1', 'a2', 'b1', 'b2'])
  doors[0]?.()
  await all[0]
  await new Promise(setImmediate)
  expect(running).toEqual(['a1', 'a2', 'b1', 'b2', 'a3'])
  for (const open of doors) open()
  await Promise.all(all)
})

test('work that fails gives its place back, and a wait can be aborted', async () => {
  const gate = createHostGate({ perHost: 1, total: 1 })
  await expect(gate.run('a', never, async () => Promise.reject(new Error('no')))).rejects.toThrow('no')
  const { promise, resolve } = Promise.withResolvers<void>()
  const first = gate.run('a', never, () => promise)
  const controller = new AbortController()
  const second = gate.run('a', controller.signal, async () => 'never')
  controller.abort()
  await expect(second).rejects.toMatchObject({ name: 'AbortError' })
  await expect(gate.run('a', controller.signal, async () => 'never')).rejects.toMatchObject({ name: 'AbortError' })
  resolve()
  await first
  await expect(gate.run('a', never, async () => 'yes')).resolves.toBe('yes')
})

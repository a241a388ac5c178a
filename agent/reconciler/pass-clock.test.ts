// When a pass counts as getting on, and when it does not.
import { expect, test } from 'vitest'
import { Limiter } from '../applier/limiter.ts'
import { PassClock } from './pass-clock.ts'

const minute = 60_000
const start = () => {
  const time = { nowMs: 0 }
  return { time, pass: new PassClock(() => time.nowMs) }
}

test('a pass is idle since it last got on, and not at all between passes', () => {
  const { time, pass } = start()
  time.nowMs = minute
  expect(pass.idleMs).toBe(0)
  pass.begin()
  time.nowMs = 3 * minute
  expect(pass.idleMs).toBe(2 * minute)
  pass.progressed()
  expect(pass.idleMs).toBe(0)
  time.nowMs = 4 * minute
  pass.end()
  expect(pass.idleMs).toBe(0)
})

test('what may take as long as it takes is no sign of a defect, and what comes after it counts anew', async () => {
  const { time, pass } = start()
  const artifact = Promise.withResolvers<string>()
  pass.begin()
  const waiting = pass.patiently(artifact.promise)
  time.nowMs = 60 * minute
  expect(pass.idleMs).toBe(0)
  artifact.resolve('there')
  expect(await waiting).toBe('there')
  time.nowMs = 61 * minute
  expect(pass.idleMs).toBe(minute)
})

test('a pass that waits for its turn is not idle, one whose turn does not end is', async () => {
  const { time, pass } = start()
  const limiter = new Limiter({ places: 1, ceiling: 1 })
  const [other, own] = [Promise.withResolvers<void>(), Promise.withResolvers<number>()]
  const theirs = limiter.run(async () => await other.promise)
  pass.begin()
  const ours = pass.inTurn(limiter, async () => await own.promise)
  time.nowMs = 60 * minute
  expect(pass.idleMs).toBe(0)
  other.resolve()
  await theirs
  await new Promise(setImmediate)
  time.nowMs = 80 * minute
  expect(pass.idleMs).toBe(20 * minute)
  own.resolve(1)
  expect(await ours).toBe(1)
  expect(pass.idleMs).toBe(0)
})

test('a task that fails is an answer', async () => {
  const { time, pass } = start()
  pass.begin()
  const failing = pass.inTurn(new Limiter(), async () => await Promise.reject(new Error('refused')))
  await expect(failing).rejects.toThrow('refused')
  time.nowMs = minute
  expect(pass.idleMs).toBe(minute)
})

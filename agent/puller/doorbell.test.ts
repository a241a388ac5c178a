// Rings become pulls: at once, never two at a time, never without bound, and never lost.
import { expect, test } from 'vitest'
import { Doorbell } from './doorbell.ts'
import { resyncIntervalMs } from './puller.ts'

test('the first ring pulls at once, rings during a pull make exactly one more', async () => {
  const pulls: PromiseWithResolvers<void>[] = []
  const started = [Promise.withResolvers<void>(), Promise.withResolvers<void>()]
  const bell = new Doorbell(async () => {
    const pull = Promise.withResolvers<void>()
    started[pulls.length]?.resolve()
    pulls.push(pull)
    await pull.promise
  }, new AbortController().signal)
  bell.ring()
  await started[0]?.promise
  for (let count = 0; count < 100; count++) bell.ring()
  expect(pulls.length).toBe(1)
  pulls[0]?.resolve()
  await started[1]?.promise
  pulls[1]?.resolve()
  await bell.idle()
  expect(pulls.length).toBe(2)
})

test('a burst is allowed, then pulls come at the given rate, and the last ring is always answered', async () => {
  let [pulls, seen, rung] = [0, 0, 0]
  const bell = new Doorbell(
    async () => {
      pulls++
      seen = rung
    },
    new AbortController().signal,
    { burst: 3, refillMs: 20 },
  )
  const startedAt = performance.now()
  while (performance.now() - startedAt < 200) {
    rung++
    bell.ring()
    await new Promise((resolve) => setImmediate(resolve))
  }
  await bell.idle()
  expect(seen).toBe(rung)
  expect(pulls).toBeGreaterThanOrEqual(4)
  expect(pulls).toBeLessThanOrEqual(3 + (performance.now() - startedAt) / 20 + 1)
})

test('nothing is pulled after the end', async () => {
  const ended = new AbortController()
  let pulls = 0
  const bell = new Doorbell(async () => void pulls++, ended.signal)
  ended.abort()
  bell.ring()
  await bell.idle()
  expect(pulls).toBe(0)
})

test('a resync costs at most 300 bytes a minute, and comes at least once an hour', () => {
  expect(resyncIntervalMs(0)).toBe(5 * 60_000)
  expect(resyncIntervalMs(3_000)).toBe(10 * 60_000)
  expect(resyncIntervalMs(1_000_000)).toBe(60 * 60_000)
})

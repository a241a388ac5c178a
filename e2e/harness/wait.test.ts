// What a failed wait tells.

import { expect, test } from 'vitest'
import { waitFor } from './wait.ts'

const log = { name: 'hub', tail: () => 'cannot listen: address in use' }

test('a wait returns the first truthy result, and takes errors for not yet', async () => {
  let looks = 0
  const look = () => {
    looks++
    if (looks === 1) throw new Error('connection refused')
    return looks === 3 && 'three'
  }
  expect(await waitFor('three looks', look, { intervalMs: 1 })).toBe('three')
})

test('a time-out says what was waited for, what was last seen, and how the logs end', async () => {
  const waiting = waitFor('web to be Healthy', (see) => void see({ health: 'Progressing' }), {
    timeoutMs: 30,
    logs: [log],
  })
  await expect(waiting).rejects.toThrow(
    "waited 30 ms for web to be Healthy\nlast seen: { health: 'Progressing' }\n--- the end of the log of hub\ncannot listen",
  )
})

test('a condition that never answers does not outlive the time-out', async () => {
  const waiting = waitFor('an answer', () => new Promise<boolean>(() => undefined), { timeoutMs: 30 })
  await expect(waiting).rejects.toThrow('did not answer in time')
})

test('a wait fails at once when what it depends on has ended', async () => {
  const hub = { ...log, describeExit: () => 'hub ended by itself with code 1' }
  const waiting = waitFor('the hub to listen', () => false, { timeoutMs: 60_000, alive: [hub] })
  await expect(waiting).rejects.toThrow('hub ended by itself with code 1 while waiting for the hub to listen')
})

test('a wait ends when its signal aborts', async () => {
  const waiting = waitFor('nothing', () => false, { signal: AbortSignal.timeout(20) })
  await expect(waiting).rejects.toThrow(/abort/i)
})

import { ConnectionState } from '@fairlead/proto/common'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { decideConnection } from './connection.ts'

const thresholds = { staleAfterMs: 45_000, offlineAfterMs: 300_000 }
const { PENDING, ONLINE, STALE, OFFLINE } = ConnectionState

describe('a cluster is shown', () => {
  test.each([
    ['pending before its agent joined', { joined: false, connected: undefined, ageMs: undefined }, PENDING],
    ['pending before its agent joined, whatever NATS says', { joined: false, connected: true, ageMs: 0 }, PENDING],
    ['online while heard from', { joined: true, connected: true, ageMs: 44_999 }, ONLINE],
    ['online after the hub restarted, while heard from', { joined: true, connected: undefined, ageMs: 0 }, ONLINE],
    ['stale at once when NATS says that it is gone', { joined: true, connected: false, ageMs: 0 }, STALE],
    ['stale when not heard from, though connected', { joined: true, connected: true, ageMs: 45_000 }, STALE],
    ['offline when not heard from for long', { joined: true, connected: true, ageMs: 300_000 }, OFFLINE],
    ['offline when not heard from for a week', { joined: true, connected: undefined, ageMs: 604_800_000 }, OFFLINE],
    ['offline when never heard from', { joined: true, connected: undefined, ageMs: undefined }, OFFLINE],
  ])('%s', (_words, facts, expected) => {
    expect(decideConnection({ ...facts, thresholds })).toBe(expected)
  })

  test('never as more alive than before while nothing is heard', () => {
    const connected = fc.constantFrom(true, false, undefined)
    fc.assert(
      fc.property(connected, fc.nat(600_000), fc.nat(600_000), (isConnected, ageMs, laterMs) => {
        const facts = { joined: true, connected: isConnected, thresholds }
        const before = decideConnection({ ...facts, ageMs })
        expect(decideConnection({ ...facts, ageMs: ageMs + laterMs })).toBeGreaterThanOrEqual(before)
      }),
    )
  })
})

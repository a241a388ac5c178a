import { expect, test } from 'vitest'
import { AttemptLimiter, peerHost } from './attempt-limiter.ts'

test.each([
  ['ipv4:10.0.0.1:5000', '10.0.0.1'],
  ['10.0.0.1:5000', '10.0.0.1'],
  ['[2001:db8:1:2:3::4]:80', '2001:db8:1:2'],
  ['ipv6:[2001:db8::1]:80', '2001:db8:0:0'],
  ['[::1]:80', '0:0:0:0'],
  ['[::ffff:10.0.0.1]:80', '::ffff:10.0.0.1'],
  ['unknown', 'unknown'],
])('the peer %s is counted as %s', (peer, host) => {
  expect(peerHost(peer)).toBe(host)
})

test('a clock that was set back does not keep the door shut', () => {
  const limiter = new AttemptLimiter({ perPeer: 1, total: 10, windowMs: 60_000 })
  limiter.countWrong('p', 1_000_000)
  expect(limiter.waitMs('p', 1_000_000)).toBe(60_000)
  expect(limiter.waitMs('p', 1_060_000)).toBe(0)
  limiter.countWrong('p', 2_000_000)
  expect(limiter.waitMs('p', 0)).toBe(0)
})

import { expect, test } from 'vitest'
import { parseRetryAfterMs } from './retry-after.ts'

const nowMs = Date.UTC(2026, 10, 25, 12, 0, 0)

test.each([
  ['1', 1_000],
  [' 30 ', 30_000],
  ['0', 0],
  ['86400', 600_000],
  ['Wed, 25 Nov 2026 12:00:07 GMT', 7_000],
  ['Wed, 25 Nov 2026 11:59:00 GMT', 0],
  ['Wednesday, 25-Nov-26 12:00:02 GMT', 2_000],
  ['Thu, 26 Nov 2026 12:00:00 GMT', 600_000],
  ['-1', undefined],
  ['1.5', undefined],
  ['soon', undefined],
  ['Mon, nonsense', undefined],
  ['', undefined],
])('Retry-After %j means %s ms', (header, ms) => {
  expect(parseRetryAfterMs(header, nowMs)).toBe(ms)
})

test('no header, or several, mean nothing', () => {
  expect(parseRetryAfterMs(undefined, nowMs)).toBeUndefined()
  expect(parseRetryAfterMs(['1', '2'], nowMs)).toBeUndefined()
})

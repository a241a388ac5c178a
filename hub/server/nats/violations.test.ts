import { expect, test } from 'vitest'
import { parseViolation } from './violations.ts'

const KEY = 'UDOD7KEDJWSFIPJVZP7WBV2WLWCUBWRBEZMLWVOMOBAFUALZAEIPC6BT'
const OTHER = KEY.replaceAll('D', 'E')
const HEAD = '[12275] 2026/11/23 16:01:29.044875 [ERR] 127.0.0.1:51390 - cid:20 - '
const USER = `"ADNMOMMSVO4ZVUZR3AXJXZSCIFN3N2ZJIQV66UWQD3I2MH2ZS2XBWN4A/AGENTS/nkey:${KEY}"`

test.each([
  ['"v3:nats.js"', 'Publish Violation - Subject "up.other.status"', 'up.other.status'],
  ['"v3:nats.js"', 'Subscription Violation - Subject ">", SID 1', '>'],
  [String.raw`"a\" - \"x/nkey:${OTHER}\" - Publish Violation - Subject \"b"`, 'Publish Violation - Subject "c"', 'c'],
  ['"v3:nats.js"', String.raw`Publish Violation - Subject "a.\" - \"b"`, String.raw`a.\" - \"b`],
])('of a client %s, %s is told of the key that signed in', (client, text, subject) => {
  expect(parseViolation(`${HEAD}${client} - ${USER} - ${text}`)).toEqual({ publicKey: KEY, subject })
})

test.each([
  '[1] 2026/11/23 16:01:29.044875 [INF] Server is ready',
  `${HEAD}"x - ${USER} - Publish Violation - Subject "a"`,
  `${HEAD}"x" - ${USER} - maximum subscriptions exceeded`,
])('%s is no violation', (line) => {
  expect(parseViolation(line)).toBeUndefined()
})

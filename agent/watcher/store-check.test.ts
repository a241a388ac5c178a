// One question an outage, whoever asks.
import { expect, test } from 'vitest'
import { isOlder, StoreCheck } from './store-check.ts'

test.each([
  ['9', '10', true],
  ['10', '10', false],
  ['18446744073709551614', '18446744073709551615', true],
  ['', '10', false],
  ['9', 'abc', false],
])('%j is older than %j: %s', (version, than, older) => {
  expect(isOlder(version, than)).toBe(older)
})

test('those who lost their connection in the same outage share one answer, a later outage gets its own', async () => {
  const check = new StoreCheck()
  let asked = 0
  const ask = async (): Promise<string> => String(100 + asked++)
  const lostAt = performance.now() - 1
  expect(await Promise.all([check.isBehind('100', lostAt, ask), check.isBehind('101', lostAt, ask)])).toEqual([
    false,
    true,
  ])
  expect(asked).toBe(1)
  expect(await check.isBehind('101', performance.now(), ask)).toBe(false)
  expect(asked).toBe(2)
})

test('a question that fails is asked again', async () => {
  const check = new StoreCheck()
  const fail = async (): Promise<string> => await Promise.reject(new Error('away'))
  await expect(check.isBehind('5', 0, fail)).rejects.toThrow('away')
  expect(await check.isBehind('5', 0, async () => '4')).toBe(true)
})

import { expect, test } from 'vitest'
import { FightLedger } from './fight-ledger.ts'

/** Delays that a rival who writes every `everyMs`, as soon as we have put it back, meets. */
const fight = (everyMs: number, rounds: number): number[] => {
  const ledger = new FightLedger()
  let nowMs = 0
  return Array.from({ length: rounds }, () => {
    const delayMs = ledger.note('object', 'rival', nowMs)
    nowMs += everyMs + delayMs
    return delayMs
  })
}

test('ten writes a second end in back-off that doubles up to its limit', () => {
  const delays = fight(100, 30)
  expect(delays.slice(0, 7)).toEqual(Array.from({ length: 7 }, () => 0))
  const yielded = delays.filter((delay) => delay > 0)
  expect(yielded.slice(0, 4)).toEqual([1_000, 2_000, 4_000, 8_000])
  expect(Math.max(...delays)).toBe(300_000)
})

test.for([30_000, 60_000, 600_000])('one write every %s ms is put back at once for ever', (everyMs) => {
  expect(fight(everyMs, 100).every((delay) => delay === 0)).toBe(true)
})

const patiently = (everyMs: number, rounds: number): number[] => {
  const ledger = new FightLedger()
  return Array.from({ length: rounds }, (_, round) => ledger.note('object', '', round * everyMs, { patient: true }))
}

test.for([
  [1, 20],
  [5, 29],
  [500, 10_000],
  [1_000, 10_000],
])('what a person may do, once in %s ms and %s times, is put back at once each time', ([everyMs = 0, rounds = 0]) => {
  expect(patiently(everyMs, rounds).every((delay) => delay === 0)).toBe(true)
})

test('what nobody does by hand, ten times a second for seconds, ends in back-off', () => {
  const delays = patiently(100, 60)
  expect(delays.slice(0, 29).every((delay) => delay === 0)).toBe(true)
  expect(delays.findIndex((delay) => delay > 0)).toBeLessThan(40)
})

test('a fight is over when it has been quiet for a while', () => {
  const ledger = new FightLedger()
  for (let round = 0; round < 20; round++) ledger.note('object', 'rival', round)
  const remainingMs = ledger.remainingMs('object', 20)
  expect(remainingMs).toBeGreaterThan(60_000)
  expect(ledger.remainingMs('object', 20 + remainingMs)).toBe(0)
  expect(ledger.note('object', 'rival', 21 + remainingMs)).toBe(0)
})

test('rivals and objects are counted apart', () => {
  const ledger = new FightLedger()
  for (let round = 0; round < 20; round++) ledger.note('object', 'rival', round)
  expect(ledger.note('object', 'another', 20)).toBe(0)
  expect(ledger.note('other', 'rival', 20)).toBe(0)
})

test('what has long decayed is forgotten', () => {
  const ledger = new FightLedger()
  for (let object = 0; object < 10_000; object++) ledger.note(`object ${object}`, 'rival', object * 1_000)
  expect(ledger.size).toBeLessThan(1_000)
})

// Who leads, by table and by property: never two at a time, whatever the clocks, pauses and losses.
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  type Candidate,
  decideElection,
  ELECTION_TIMING,
  type LeaseRecord,
  mayWrite,
  type Observation,
  observeLease,
} from './election.ts'

const timing = { leaseMs: 12_000, deadlineMs: 8_000, renewMs: 3_000 }
const record = (holder: string, resourceVersion = '1'): LeaseRecord => ({ holder, resourceVersion, transitions: 0 })
const seen = (holder: string | undefined, changedAtMs = 1_000, wasThere = true): Observation => ({
  record: holder === undefined ? undefined : record(holder),
  changedAtMs,
  wasThere,
})
const me = (observation: Observation | undefined, renewedAtMs?: number): Candidate => ({
  identity: 'me',
  observation,
  renewedAtMs,
})

describe('a stand-by', () => {
  test.each([
    ['has not read the Lease', undefined, 5_000, { do: 'wait', untilMs: Infinity }],
    ['finds none', seen(undefined, 1_000, false), 1_000, { do: 'acquire' }],
    ['finds it given back', seen(''), 1_000, { do: 'acquire' }],
    ['finds its own name, as when the answer to its write was lost', seen('me'), 1_000, { do: 'acquire' }],
    ['hears of the leader', seen('other'), 1_000, { do: 'wait', untilMs: 13_000 }],
    ['heard of the leader a little less than the lease ago', seen('other'), 12_999, { do: 'wait', untilMs: 13_000 }],
    ['has not heard of the leader for the lease', seen('other'), 13_000, { do: 'acquire' }],
    ['sees it deleted by hand', seen(undefined), 2_000, { do: 'wait', untilMs: 13_000 }],
    ['saw it deleted, and nobody made it again', seen(undefined), 13_000, { do: 'acquire' }],
  ] as const)('%s', (_, observation, nowMs, step) => {
    expect(decideElection(me(observation), nowMs, timing)).toEqual(step)
    expect(mayWrite(me(observation), nowMs, timing)).toBe(false)
  })
})

describe('a leader', () => {
  test.each([
    ['has just renewed', seen('me'), 1_000, { do: 'wait', untilMs: 4_000 }, true],
    ['is due', seen('me'), 4_000, { do: 'renew' }, true],
    ['could not renew, but in time', seen('me'), 8_999, { do: 'renew' }, true],
    ['could not renew for the deadline', seen('me'), 9_000, { do: 'stepDown', why: 'silent' }, false],
    ['was paused for an hour', seen('me'), 3_600_000, { do: 'stepDown', why: 'silent' }, false],
    ['sees another name', seen('other'), 1_500, { do: 'stepDown', why: 'lost' }, false],
    ['sees its Lease emptied by hand', seen(''), 1_500, { do: 'stepDown', why: 'lost' }, false],
    ['sees its Lease deleted by hand', seen(undefined), 1_500, { do: 'renew' }, true],
  ] as const)('%s', (_, observation, nowMs, step, writes) => {
    expect(decideElection(me(observation, 1_000), nowMs, timing)).toEqual(step)
    expect(mayWrite(me(observation, 1_000), nowMs, timing)).toBe(writes)
  })
})

test('reading the same again is not hearing of the leader', () => {
  const first = observeLease(undefined, record('other', '7'), 1_000)
  const again = observeLease(first, record('other', '7'), 9_000)
  expect(again).toBe(first)
  expect(observeLease(again, record('other', '8'), 9_500)).toMatchObject({ changedAtMs: 9_500 })
})

test('the deadline leaves room before the lease ends, and for renewals that are lost', () => {
  expect(ELECTION_TIMING.leaseMs - ELECTION_TIMING.deadlineMs).toBeGreaterThanOrEqual(4_000)
  expect(ELECTION_TIMING.deadlineMs / ELECTION_TIMING.renewMs).toBeGreaterThan(2)
})

/** A candidate that may be paused, cut off, or see late, and the one Lease that they share. */
class Model {
  lease: LeaseRecord | undefined
  nowMs = 0
  #version = 0
  readonly candidates = ['a', 'b', 'c'].map((identity) => ({
    identity,
    observation: undefined as Observation | undefined,
    renewedAtMs: undefined as number | undefined,
    isPaused: false,
    isCutOff: false,
  }))

  turn(index: number): void {
    const candidate = this.candidates[index % this.candidates.length]
    if (!candidate || candidate.isPaused) return
    if (!candidate.isCutOff) candidate.observation = observeLease(candidate.observation, this.lease, this.nowMs)
    const step = decideElection(candidate, this.nowMs, timing)
    if (step.do === 'stepDown') candidate.renewedAtMs = undefined
    if ((step.do !== 'acquire' && step.do !== 'renew') || candidate.isCutOff) return
    // The API server takes a write only of what was read.
    if (this.lease?.resourceVersion !== candidate.observation?.record?.resourceVersion) return
    this.lease = { holder: candidate.identity, resourceVersion: String(++this.#version), transitions: 0 }
    candidate.observation = observeLease(candidate.observation, this.lease, this.nowMs)
    candidate.renewedAtMs = this.nowMs
  }

  release(index: number): void {
    const candidate = this.candidates[index % this.candidates.length]
    if (!candidate || candidate.isPaused || candidate.renewedAtMs === undefined) return
    candidate.renewedAtMs = undefined
    if (candidate.isCutOff || this.lease?.holder !== candidate.identity) return
    this.lease = { holder: '', resourceVersion: String(++this.#version), transitions: 0 }
  }

  get writers(): string[] {
    return this.candidates.filter((one) => mayWrite(one, this.nowMs, timing)).map(({ identity }) => identity)
  }
}

test('never two may write, whoever is paused, cut off, ends or returns, in whatever order', () => {
  const action = fc.oneof(
    { weight: 6, arbitrary: fc.record({ do: fc.constant('turn' as const), who: fc.nat(2), ms: fc.nat(4_000) }) },
    fc.record({
      do: fc.constantFrom('pause', 'resume', 'cut', 'mend', 'release'),
      who: fc.nat(2),
      ms: fc.nat(15_000),
    }),
  )
  fc.assert(
    fc.property(fc.array(action, { maxLength: 200 }), (actions) => {
      const model = new Model()
      for (const { do: verb, who, ms } of actions) {
        model.nowMs += ms
        // One that is paused still holds what it holds: the moment that it goes on counts, before it has looked at anything.
        expect(model.writers.length).toBeLessThanOrEqual(1)
        const candidate = model.candidates[who]
        if (!candidate) continue
        if (verb === 'turn') model.turn(who)
        else if (verb === 'release') model.release(who)
        else if (verb === 'pause' || verb === 'resume') candidate.isPaused = verb === 'pause'
        else candidate.isCutOff = verb === 'cut'
        expect(model.writers.length).toBeLessThanOrEqual(1)
      }
    }),
    { numRuns: 2_000 },
  )
})

test('when all is well again somebody leads within the lease', () => {
  const model = new Model()
  const run = (ms: number): void => {
    for (const end = model.nowMs + ms; model.nowMs < end; model.nowMs += 500) {
      for (const index of model.candidates.keys()) model.turn(index)
    }
  }
  run(1_000)
  const [first] = model.writers
  const leader = model.candidates.find(({ identity }) => identity === first)
  if (!leader) throw new Error('nobody leads')
  leader.isPaused = true
  run(timing.leaseMs + 500)
  const [second] = model.writers
  expect(second).toBeDefined()
  expect(second).not.toBe(first)
  leader.isPaused = false
  run(1_000)
  expect(model.writers).toEqual([second])
})

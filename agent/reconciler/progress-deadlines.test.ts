// Deadlines by the clock, without a cluster.
import { HealthState } from '@fairlead/proto/common'
import type { KubernetesObject } from '@fairlead/shared/object-reference'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { HEALTHY, type Health, progressing } from '../health/verdict.ts'
import type { ObjectRecord } from './object-record.ts'
import { ProgressDeadlines, progressSinceMs } from './progress-deadlines.ts'

const START = Date.parse('2026-06-01T12:00:00Z')
const events: string[] = []
let deadlines: ProgressDeadlines

beforeEach(() => {
  vi.useFakeTimers({ now: START })
  events.length = 0
  deadlines = new ProgressDeadlines({
    clock: () => Date.now(),
    onExpired: ({ name }) => events.push(`${name} expired`),
    onRestarted: ({ name }) => events.push(`${name} restarted`),
  })
})
afterEach(() => {
  deadlines.stop()
  vi.useRealTimers()
})

const object = (creationTimestamp = '2026-06-01T12:00:00Z', uid = 'u1'): KubernetesObject => ({
  apiVersion: 'v1',
  kind: 'Widget',
  metadata: { name: 'w', uid, creationTimestamp },
})
const record = (name: string, application = 'web') => {
  const fields: Partial<ObjectRecord> = { name, application, health: HEALTHY }
  return Object.assign(fields, { declared: {}, live: { uid: 'u1' } }) as unknown as ObjectRecord
}
const note = (of: ObjectRecord, health: Health, seen = object()): void => {
  of.health = health
  deadlines.note(of, seen)
}
const waiting = progressing('0 of 1 pods are available')
const limit = (deadlineMs: number, startMs = 0) => ({ deadlineMs, startMs })

test('an object that goes on being Progressing expires once, at its time, with the time and the reason', () => {
  deadlines.set('web', limit(60_000))
  const web = record('web')
  note(web, waiting)
  vi.advanceTimersByTime(59_000)
  note(web, progressing('0 of 2 pods are available'))
  expect(web.health.health).toBe(HealthState.PROGRESSING)
  vi.advanceTimersByTime(5_000)
  expect(events).toEqual(['web expired'])
  expect(web.health).toEqual({
    health: HealthState.DEGRADED,
    message:
      'Progressing since 2026-06-01T12:00:00Z, longer than the progress deadline of 1m: 0 of 2 pods are available',
  })
  // Seen again, it stays so, in the same words.
  const { message } = web.health
  vi.advanceTimersByTime(600_000)
  note(web, progressing('0 of 2 pods are available'))
  expect(web.health).toEqual({ health: HealthState.DEGRADED, message })
  note(web, HEALTHY)
  expect(web.health).toBe(HEALTHY)
  // The next time begins when it is seen, however old the object is.
  note(web, waiting)
  expect(web.health).toBe(waiting)
  expect(events).toHaveLength(1)
})

test('what was Progressing before this process began expires by its own times, and at once if they are over', () => {
  deadlines.set('web', limit(60_000))
  const [old, newer] = [record('old'), record('newer')]
  note(old, waiting, object('2026-06-01T11:00:00Z'))
  note(newer, waiting, object('2026-06-01T11:59:30Z'))
  expect(old.health.health).toBe(HealthState.DEGRADED)
  expect(newer.health.health).toBe(HealthState.PROGRESSING)
  vi.advanceTimersByTime(31_500)
  expect(events).toEqual(['newer expired'])
})

test('a new start begins the time of all objects again, and without a deadline there is none', () => {
  deadlines.set('web', limit(60_000))
  const [web, other] = [record('web'), record('other', 'db')]
  note(web, waiting, object('2026-06-01T11:00:00Z'))
  note(other, waiting, object('2026-06-01T11:00:00Z'))
  expect([web.health.health, other.health.health]).toEqual([HealthState.DEGRADED, HealthState.PROGRESSING])
  deadlines.set('web', limit(60_000, Date.now()))
  expect(events).toEqual(['web restarted'])
  expect(web.health).toBe(waiting)
  vi.advanceTimersByTime(61_000)
  expect(events).toEqual(['web restarted', 'web expired'])
  deadlines.set('web', undefined)
  expect(web.health).toBe(waiting)
  expect(vi.getTimerCount()).toBe(0)
})

test('an object that is gone, or made anew, has no old deadline', () => {
  deadlines.set('web', limit(60_000))
  const [gone, anew] = [record('gone'), record('anew')]
  note(gone, waiting)
  note(anew, waiting)
  Object.assign(gone, { live: undefined, health: { health: HealthState.MISSING, message: '' } })
  vi.advanceTimersByTime(50_000)
  Object.assign(anew, { live: { uid: 'u2' } })
  note(anew, waiting, object('2026-06-01T12:00:50Z', 'u2'))
  vi.advanceTimersByTime(20_000)
  expect(events).toEqual([])
  expect(gone.health.health).toBe(HealthState.MISSING)
  vi.advanceTimersByTime(45_000)
  expect(events).toEqual(['anew expired'])
})

test('what is gone is not followed any more, also where no deadline is set', () => {
  const [gone, other] = [record('gone'), record('other')]
  note(gone, waiting)
  gone.live = undefined
  note(other, waiting)
  expect(deadlines.size).toBe(1)
})

test('an object tells since when it progresses by its making, the writes of its spec and its conditions, not by its status', () => {
  const managedFields = [
    { manager: 'fairlead', operation: 'Apply', time: '2026-06-01T11:10:00Z' },
    { manager: 'controller', operation: 'Update', subresource: 'status', time: '2026-06-01T11:50:00Z' },
  ]
  const made = object('2026-06-01T11:00:00Z')
  const written = { ...made, metadata: { ...made.metadata, managedFields } } as KubernetesObject
  const at = (time: string): number => Date.parse(time) + 999
  expect(progressSinceMs(made)).toBe(at('2026-06-01T11:00:00Z'))
  expect(progressSinceMs(written)).toBe(at('2026-06-01T11:10:00Z'))
  const conditions = [{ type: 'Ready', status: 'False', lastTransitionTime: '2026-06-01T11:20:00Z' }, 7]
  expect(progressSinceMs({ ...written, status: { conditions } })).toBe(at('2026-06-01T11:20:00Z'))
  expect(progressSinceMs({ apiVersion: 'v1', kind: 'X', metadata: { name: 'x' } })).toBeUndefined()
})

// What Events say and how many there may be.
import { AppError } from '@fairlead/shared/errors'
import { describe, expect, test } from 'vitest'
import type { SeenDrift } from '../reconciler/drift-repair.ts'
import type { ObjectRecord } from '../reconciler/object-record.ts'
import { EventBudget } from './event-budget.ts'
import { describeDrift, describeFailure } from './event-notes.ts'

const record = (kind: string, attempts = 0): ObjectRecord =>
  ({
    group: '',
    kind,
    application: 'web',
    name: 'web',
    failure: { attempts },
    declared: { sensitive: false },
  }) as ObjectRecord
const drift = (seen: Partial<SeenDrift>): SeenDrift => ({
  record: record('ConfigMap'),
  kind: 'changed',
  manager: 'kubectl-edit',
  detectedAtMs: 1,
  remediatedAtMs: 2,
  fields: [],
  ...seen,
})

describe('what an Event says', () => {
  test.each([
    [{ fields: ['data.a', 'data.b'] }, 'DriftRepaired', 'put back: kubectl-edit changed data.a, data.b'],
    [{ kind: 'added', fields: ['data.c'] }, 'DriftRepaired', 'put back: kubectl-edit added data.c'],
    [{ kind: 'deleted', manager: '' }, 'DriftRepaired', 'put back: somebody deleted it'],
    [{ remediatedAtMs: undefined, fields: ['data.a'] }, 'DriftDetected', 'left, as the application says'],
  ] as const)('of drift %o', (seen, reason, note) => {
    const happening = describeDrift(drift(seen))
    expect(happening).toMatchObject({ reason, type: 'Normal' })
    expect(happening.note).toContain(note)
  })

  test('of an object that was decrypted no value that names an item of a list', () => {
    const sealed = { ...record('ServiceAccount'), declared: { sensitive: true } } as ObjectRecord
    const { note } = describeDrift(drift({ record: sealed, fields: ['secrets[name=k0rrekt-horse]'] }))
    expect(note).toBe('put back: kubectl-edit changed secrets[…]')
  })

  test('however many and long the fields are, the API server takes the note', () => {
    const fields = Array.from({ length: 500 }, (_, index) => `data.${'ü'.repeat(300)}${index}`)
    const { note } = describeDrift(drift({ fields }))
    expect(Buffer.byteLength(note)).toBeLessThanOrEqual(1_000)
    expect(note).not.toContain('\uFFFD')
  })

  test('what failed, and nothing of a Secret but the code', () => {
    const error = new AppError('ApplyInvalid', 'data.password: Invalid value: "hunter2"')
    expect(describeFailure(record('ConfigMap'), error)?.note).toContain('ApplyInvalid: data.password')
    expect(describeFailure(record('Secret'), error)?.note).toBe('ApplyInvalid: see "fairlead status" for the reason')
    for (const code of ['ApiServerUnavailable', 'Aborted', 'DependencyFailed'] as const) {
      expect(describeFailure(record('ConfigMap'), new AppError(code, 'x'))).toBeUndefined()
    }
  })

  test('a fight is the same Event whenever the next repair is due, and a deletion that takes a moment is none', () => {
    const fight = (seconds: number) =>
      new AppError('FieldFight', `rival keeps changing it; next repair in ${seconds} s`)
    expect(describeFailure(record('ConfigMap'), fight(1))).toEqual(describeFailure(record('ConfigMap'), fight(30)))
    const going = new AppError('PruneFailed', 'it is being deleted')
    expect(describeFailure(record('ConfigMap', 0), going)).toBeUndefined()
    expect(describeFailure(record('ConfigMap', 5), going)).toMatchObject({ reason: 'PruneFailed', type: 'Warning' })
  })
})

describe('how many Events', () => {
  const limits = { object: { burst: 3, perMinute: 1 }, overall: { burst: 10, perMinute: 6 }, objects: 100 }
  const count = (budget: EventBudget, object: (index: number) => string, tries: number, nowMs: number) =>
    Array.from({ length: tries }, (_, index) => budget.take(object(index), nowMs)).filter(Boolean).length

  test('a burst for one object, then slowly', () => {
    const budget = new EventBudget(limits)
    expect(count(budget, () => 'a', 100, 0)).toBe(3)
    expect(count(budget, () => 'a', 100, 60_000)).toBe(1)
    expect(count(budget, () => 'a', 100, 3_600_000)).toBe(3)
  })

  test('for all together too, and a clock that goes back gives nothing', () => {
    const budget = new EventBudget(limits)
    expect(count(budget, (index) => `object-${index}`, 1_000, 1_000_000)).toBe(10)
    expect(count(budget, (index) => `other-${index}`, 1_000, 0)).toBe(0)
    expect(count(budget, (index) => `more-${index}`, 1_000, 60_000)).toBe(6)
  })
})

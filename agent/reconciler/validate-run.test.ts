import { AppError, type ErrorCode } from '@fairlead/shared/errors'
import { expect, test } from 'vitest'
import { judgeRefusal, type RefusalFacts } from './validate-run.ts'

const facts = (more: Partial<RefusalFacts> = {}): RefusalFacts => ({
  wasAccepted: false,
  mayRecreate: false,
  bringsNamespace: false,
  ...more,
})

test.each([
  ['ApplyInvalid', {}, 'refused'],
  ['ApplyInvalid', { wasAccepted: true }, 'accepted'],
  ['ApplyForbidden', { wasAccepted: true }, 'refused'],
  ['ApplyRefused', { wasAccepted: true }, 'refused'],
  ['ImmutableField', {}, 'refused'],
  ['ImmutableField', { mayRecreate: true }, 'accepted'],
  ['NamespaceNotFound', {}, 'refused'],
  ['NamespaceNotFound', { bringsNamespace: true }, 'elsewhere'],
  ['UnknownKind', {}, 'refused'],
  ['ApiServerUnavailable', {}, 'unknown'],
  ['ApplyConflict', {}, 'unknown'],
] as const)('%s with %j: %s', (code: ErrorCode, more, verdict) => {
  expect(judgeRefusal(new AppError(code, 'no'), facts(more))).toBe(verdict)
})

test('a webhook that cannot be asked in a dry-run refuses nothing', () => {
  const error = new AppError('ApplyRefused', 'admission webhook "w" does not support dry run')
  expect(judgeRefusal(error, facts())).toBe('accepted')
})

import { create } from '@bufbuild/protobuf'
import { ObjectReferenceSchema } from '@fairlead/proto/common'
import { expect, test } from 'vitest'
import { backoffMs, sleep } from './backoff.ts'
import { canonicalJson } from './digest.ts'
import { AppError, isAborted, toAppError } from './errors.ts'
import { createLogger } from './logger.ts'
import { formatObjectReference, objectKey, referenceOf } from './object-reference.ts'

test('backoff grows to its ceiling and never leaves [half, all]', () => {
  for (let attempt = 0; attempt < 100; attempt++) {
    const ceiling = Math.min(1000, 100 * 2 ** attempt)
    expect(backoffMs(attempt, { baseMs: 100, maxMs: 1000, random: () => 0 })).toBe(ceiling / 2)
    expect(backoffMs(attempt, { baseMs: 100, maxMs: 1000, random: () => 0.999999 })).toBeCloseTo(ceiling, 0)
  }
})

test('a sleep ends at once when it is aborted', async () => {
  const controller = new AbortController()
  const sleeping = sleep(60_000, controller.signal)
  controller.abort()
  await expect(sleeping).rejects.toSatisfy(isAborted)
})

test('equal values have equal canonical text, whatever the order of their keys', () => {
  expect(canonicalJson({ b: [1, { d: null, c: 'x' }], a: undefined })).toBe('{"b":[1,{"c":"x","d":null}]}')
  expect(canonicalJson({ a: 1, b: 2 })).toBe(canonicalJson({ b: 2, a: 1 }))
})

test('an object has one key whatever version it is written in', () => {
  const v1 = referenceOf({ apiVersion: 'apps/v1', kind: 'Deployment', metadata: { name: 'web', namespace: 'shop' } })
  const beta = referenceOf({
    apiVersion: 'apps/v1beta1',
    kind: 'Deployment',
    metadata: { name: 'web', namespace: 'shop' },
  })
  expect(objectKey(v1)).toBe(objectKey(beta))
  expect(formatObjectReference(v1)).toBe('Deployment.apps shop/web')
  expect(formatObjectReference(create(ObjectReferenceSchema, { kind: 'Namespace', name: 'shop' }))).toBe(
    'Namespace shop',
  )
})

test('any thrown value becomes an AppError with a code of the closed list', () => {
  expect(toAppError('x').code).toBe('Internal')
  expect(toAppError(new Error('x'), 'FetchFailed')).toMatchObject({
    code: 'FetchFailed',
    kind: 'transient',
    message: 'x',
  })
  expect(toAppError(new DOMException('given up', 'AbortError')).code).toBe('Aborted')
})

test('a log line of an error has its code and context, and a stack only for bugs', () => {
  const lines: string[] = []
  const logger = createLogger({ name: 'hub', stream: { write: (line) => void lines.push(line) } })
  logger.error({ error: new AppError('InvalidYaml', 'bad', { context: { file: 'a.yaml', line: 3 } }) }, 'render failed')
  logger.error({ error: new AppError('Internal', 'defect') }, 'crash')
  const [user, bug] = lines.map((line) => JSON.parse(line) as { error: Record<string, unknown> })
  expect(user?.error).toEqual({ code: 'InvalidYaml', message: 'bad', file: 'a.yaml', line: 3 })
  expect(bug?.error.stack).toContain('defect')
})

// Every way in which an API server refuses: what it is called, whose fault it is, and when it is tried again.
import { AppError } from '@fairlead/shared/errors'
import { expect, test } from 'vitest'
import { KubeError, parseStatus } from '../kube/kube-error.ts'
import { retryClassOf, retryDelayMs } from './retry.ts'

const refusal = (status: number, message: string, details: object = {}, reason = ''): AppError =>
  new KubeError(parseStatus(status, { kind: 'Status', code: status, message, reason, details }))
const terminating = { causes: [{ reason: 'NamespaceTerminating', message: 'namespace n is being terminated' }] }
const connectionLost = new AppError('ApiServerUnavailable', 'the connection to the API server was lost')

/** Of a delay: between half and all of it. */
const CONFLICT = [50, 5_000] as const
const TRANSIENT = [500, 30_000] as const
const USER = [30_000, 300_000] as const

test.each([
  [
    'a webhook that is down',
    refusal(500, 'Internal error occurred: failed calling webhook "w": connection refused'),
    'ApplyRefused',
    'transient',
    TRANSIENT,
  ],
  [
    'a webhook that times out',
    refusal(500, 'Internal error occurred: failed calling webhook "w": context deadline exceeded'),
    'ApplyRefused',
    'transient',
    TRANSIENT,
  ],
  [
    'a webhook that refuses',
    refusal(403, 'admission webhook "w" denied the request: no'),
    'ApplyRefused',
    'transient',
    TRANSIENT,
  ],
  [
    'a quota',
    refusal(403, 'pods "p" is forbidden: exceeded quota: q, requested: pods=1'),
    'ApplyRefused',
    'transient',
    TRANSIENT,
  ],
  [
    'a namespace that is terminating',
    refusal(403, 'forbidden: unable to create new content', terminating),
    'ApplyRefused',
    'transient',
    TRANSIENT,
  ],
  [
    'another write in between',
    refusal(409, 'the object has been modified', {}, 'Conflict'),
    'ApplyConflict',
    'transient',
    CONFLICT,
  ],
  ['another create in between', refusal(409, 'already exists', {}, 'AlreadyExists'), 'AlreadyExists', 'user', CONFLICT],
  ['too many requests', refusal(429, 'Too many requests'), 'ApiServerUnavailable', 'transient', TRANSIENT],
  ['an internal error', refusal(500, 'etcdserver: leader changed'), 'ApiServerUnavailable', 'transient', TRANSIENT],
  ['a gateway without a server', refusal(502, 'Bad Gateway'), 'ApiServerUnavailable', 'transient', TRANSIENT],
  [
    'an API server that shuts down',
    refusal(503, 'apiserver is shutting down'),
    'ApiServerUnavailable',
    'transient',
    TRANSIENT,
  ],
  [
    'an API server that times out',
    refusal(504, 'Timeout: request did not complete'),
    'ApiServerUnavailable',
    'transient',
    TRANSIENT,
  ],
  ['a connection that is lost', connectionLost, 'ApiServerUnavailable', 'transient', TRANSIENT],
  ['a token that has expired', refusal(401, 'Unauthorized'), 'ApiServerUnavailable', 'transient', TRANSIENT],
  ['missing permission', refusal(403, 'User "u" cannot patch resource "pods"'), 'ApplyForbidden', 'user', USER],
  ['an invalid object', refusal(422, 'spec.replicas: Invalid value: -1'), 'ApplyInvalid', 'user', USER],
  [
    'an immutable field',
    refusal(422, 'spec.selector: Invalid value: field is immutable'),
    'ImmutableField',
    'user',
    USER,
  ],
  ['a namespace that is missing', refusal(404, 'namespaces "n" not found'), 'NamespaceNotFound', 'user', USER],
  ['a kind that is not served', new AppError('UnknownKind', 'no such kind'), 'UnknownKind', 'user', USER],
  ['a wave that waits', new AppError('DependencyFailed', 'waits'), 'DependencyFailed', 'transient', TRANSIENT],
] as const)('%s is told, and tried again in good time', (_what, error, code, kind, [baseMs, maxMs]) => {
  expect(error).toMatchObject({ code, kind })
  for (const [attempt, ceilingMs] of [
    [0, baseMs],
    [1, Math.min(maxMs, 2 * baseMs)],
    [40, maxMs],
  ] as const) {
    const delayMs = retryDelayMs(error, attempt)
    expect(delayMs).toBeGreaterThanOrEqual(ceilingMs / 2)
    expect(delayMs).toBeLessThanOrEqual(ceilingMs)
  }
})

test('what the API server asks for is honoured when it is longer than the backoff, and does not shorten it', () => {
  expect(retryDelayMs(refusal(429, 'later', { retryAfterSeconds: 20 }), 0)).toBe(20_000)
  expect(retryDelayMs(refusal(503, 'later', { retryAfterSeconds: 1 }), 40)).toBeGreaterThanOrEqual(15_000)
})

test('the limits that are given hold for every class', () => {
  const limits = { transientBaseMs: 10, transientMaxMs: 20, userBaseMs: 30, userMaxMs: 40 }
  expect(retryDelayMs(refusal(409, 'modified'), 9, limits)).toBeLessThanOrEqual(20)
  expect(retryDelayMs(connectionLost, 9, limits)).toBeLessThanOrEqual(20)
  expect(retryDelayMs(refusal(422, 'invalid'), 9, limits)).toBeLessThanOrEqual(40)
  expect(retryClassOf(refusal(409, 'modified'))).toBe('conflict')
})

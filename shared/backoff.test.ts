import { getEventListeners } from 'node:events'
import { expect, test } from 'vitest'
import { unlessAborted } from './backoff.ts'
import { AppError } from './errors.ts'

const never = new Promise<never>(() => undefined)

test('a wait ends with its promise, and leaves no listener on a signal that lives on', async () => {
  const { signal } = new AbortController()
  expect(await unlessAborted(Promise.resolve(1), signal)).toBe(1)
  await expect(unlessAborted(Promise.reject(new Error('broken')), signal)).rejects.toThrow('broken')
  expect(getEventListeners(signal, 'abort')).toEqual([])
})

test('a wait is given up as soon as the signal aborts, also when it has before', async () => {
  const controller = new AbortController()
  const waiting = unlessAborted(never, controller.signal, 'gave up waiting')
  controller.abort()
  await expect(waiting).rejects.toMatchObject({ code: 'Aborted', message: 'gave up waiting' })
  await expect(unlessAborted(never, controller.signal)).rejects.toMatchObject({ code: 'Aborted' })
  await expect(unlessAborted(never, AbortSignal.timeout(1))).rejects.toMatchObject({ code: 'Aborted' })
})

test('an error that the signal aborts with is what the wait rejects with', async () => {
  const reason = new AppError('ApiServerUnavailable', 'no answer')
  await expect(unlessAborted(never, AbortSignal.abort(reason))).rejects.toBe(reason)
})

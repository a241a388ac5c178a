import { expect, test } from 'vitest'
import { Lifecycle } from './lifecycle.ts'
import { silentLogger } from './logger.ts'

test('parts stop in reverse order, after the signal, and one that fails does not keep the others', async () => {
  const lifecycle = new Lifecycle(silentLogger)
  const order: string[] = []
  lifecycle.signal.addEventListener('abort', () => order.push('signal'))
  lifecycle.add('first', () => void order.push('first'))
  lifecycle.add('broken', () => Promise.reject(new Error('broken')))
  lifecycle.add('last', async () => void order.push('last'))
  await lifecycle.stop()
  expect(order).toEqual(['signal', 'last', 'first'])
})

test('a part that never stops is passed over at the deadline', async () => {
  const lifecycle = new Lifecycle(silentLogger)
  const stopped: string[] = []
  lifecycle.add('first', () => void stopped.push('first'))
  lifecycle.add('hanging', () => new Promise(() => undefined))
  await lifecycle.stop(20)
  expect(stopped).toEqual(['first'])
})

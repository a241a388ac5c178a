// The proxy, between a real server and a real client.

import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { startProxy, type TcpProxy } from './proxy.ts'
import { waitFor } from './wait.ts'

const server = createServer((_, response) => response.end('hello'))
let proxy: TcpProxy
beforeAll(async () => {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  proxy = await startProxy({ port: (server.address() as AddressInfo).port })
})
afterAll(async () => {
  await proxy?.stop()
  server.closeAllConnections()
  server.close()
})

const ask = async (timeoutMs = 5_000) => {
  const signal = AbortSignal.timeout(timeoutMs)
  const response = await fetch(`http://${proxy.address}/`, { signal, headers: { connection: 'close' } })
  return await response.text()
}

test('a proxy lets everything through and counts it', async () => {
  expect(await ask()).toBe('hello')
  expect(proxy.counts.accepted).toBe(1)
  expect(proxy.counts.bytesUp).toBeGreaterThan(50)
  expect(proxy.counts.bytesDown).toBeGreaterThan(50)
  await waitFor('the connection to close', () => proxy.open === 0)
})

test('a cut proxy refuses, and a restored one is at the same address', async () => {
  await proxy.cut()
  await expect(ask()).rejects.toThrow('fetch failed')
  await proxy.restore()
  expect(await ask()).toBe('hello')
})

test('a frozen proxy accepts and stays silent, and sends on what it held when it is restored', async () => {
  proxy.freeze()
  await expect(ask(200)).rejects.toThrow('timeout')
  const asked = ask()
  await waitFor('the request to be accepted', () => proxy.counts.accepted >= 4)
  await proxy.restore()
  expect(await asked).toBe('hello')
})

test('a slow proxy takes its time in both directions', async () => {
  proxy.delayMs = 150
  const startedAt = performance.now()
  expect(await ask()).toBe('hello')
  expect(performance.now() - startedAt).toBeGreaterThanOrEqual(295)
  proxy.delayMs = 0
})

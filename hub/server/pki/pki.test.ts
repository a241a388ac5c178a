// The hub's CA and server certificate.
import { X509Certificate } from 'node:crypto'
import { mkdtemp, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { createServer, connect as tlsConnect } from 'node:tls'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { openPki } from './pki.ts'

let folder: string
beforeEach(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'pki-'))
})
afterEach(async () => {
  await rm(folder, { recursive: true })
})

test('the certificate survives a restart, and is made again under the same CA when a name is added', async () => {
  const first = await openPki(folder, [])
  const again = await openPki(folder, [])
  const added = await openPki(folder, ['hub.example.com', '192.0.2.7'])
  expect(again).toEqual(first)
  expect(added.caPem).toBe(first.caPem)
  expect(added.serverChainPem).not.toBe(first.serverChainPem)
  expect(new X509Certificate(added.serverChainPem).checkHost('hub.example.com')).toBeDefined()
  expect(new X509Certificate(added.serverChainPem).checkIP('192.0.2.7')).toBeDefined()
})

test('private keys are readable by their owner alone', async () => {
  await openPki(folder, [])
  for (const name of ['ca.key', 'server.key']) expect((await stat(path.join(folder, name))).mode & 0o777).toBe(0o600)
})

test('a TLS client that trusts the CA accepts the server, and is sent the CA in the chain', async () => {
  const pki = await openPki(folder, [])
  const server = createServer({ key: pki.serverKeyPem, cert: pki.serverChainPem }, (socket) => socket.end('hello'))
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as { port: number }
  try {
    for (const servername of ['localhost', '']) {
      const socket = tlsConnect({ host: '127.0.0.1', port, ca: pki.caPem, ...(servername && { servername }) })
      await new Promise((resolve, reject) => socket.once('secureConnect', resolve).once('error', reject))
      const issuer = socket.getPeerCertificate(true).issuerCertificate
      expect(issuer?.raw).toEqual(new X509Certificate(pki.caPem).raw)
      socket.destroy()
    }
  } finally {
    server.close()
  }
})

// JWTs and the configuration of nats-server.
import { createNkey, verifyNkey } from '@fairlead/shared/nkey'
import { expect, test } from 'vitest'
import { readClaims, signClaims } from './claims.ts'
import { compareVersions } from './server-binary.ts'
import { formatExternalServerConfig, formatServerConfig } from './server-config.ts'
import { accountBodies, accountJwt } from './trust.ts'

const trust = {
  operator: createNkey('O'),
  operatorSigning: createNkey('O'),
  system: createNkey('A'),
  hub: createNkey('A'),
  agents: createNkey('A'),
  agentRole: createNkey('A'),
}

test('claims are signed by the issuer over the text that is sent', () => {
  const signer = createNkey('A')
  const jwt = signClaims({ name: 'x', sub: createNkey('U').publicKey, exp: 7, nats: { type: 'user' } }, signer)
  const [header, body, signature = ''] = jwt.split('.')
  expect(verifyNkey(signer.publicKey, Buffer.from(`${header}.${body}`), Buffer.from(signature, 'base64url'))).toBe(true)
  expect(readClaims(jwt)).toMatchObject({
    name: 'x',
    exp: 7,
    iss: signer.publicKey,
    nats: { type: 'user', version: 2 },
  })
  expect(readClaims('no.jwt')).toBeUndefined()
})

test('two claims of the same second have different ids, so that the server takes the newer', () => {
  const [one, two] = [{}, { [createNkey('U').publicKey]: 1 }].map((revocations) => {
    const body = accountBodies(trust, revocations).get(trust.agents.publicKey) ?? {}
    return readClaims(accountJwt(trust, trust.agents.publicKey, body, 5))
  })
  expect(one?.iat).toBe(two?.iat)
  expect(one?.jti).not.toBe(two?.jti)
})

test('AGENTS has neither JetStream nor exports, and no key but the scoped one', () => {
  const agents = accountBodies(trust, {}).get(trust.agents.publicKey) ?? {}
  expect(Object.keys(agents).sort()).toEqual(['imports', 'limits', 'signing_keys'])
  expect(agents.limits).not.toHaveProperty('disk_storage')
  expect(agents.signing_keys).toEqual([expect.objectContaining({ kind: 'user_scope', role: 'agent' })])
})

test('the configuration flushes every write, and holds no seed', () => {
  const config = formatServerConfig({
    trust,
    revocations: {},
    listen: '127.0.0.1:1',
    websocketListen: '127.0.0.1:2',
    folder: '/data/with "quotes"',
    certificateFile: '/c',
    keyFile: '/k',
  })
  expect(config).toContain('sync_interval: always')
  expect(config).toContain('websocket { listen: "127.0.0.1:2"')
  expect(config).toContain('"/data/with \\"quotes\\"/jwt"')
  for (const text of [config, formatExternalServerConfig(trust, '/jwt')]) {
    for (const key of Object.values(trust)) expect(text).not.toContain(key.seed)
  }
})

test('versions compare by number', () => {
  expect(compareVersions('2.9.10', '2.14.0')).toBeLessThan(0)
  expect(compareVersions('2.14.0', '2.14.0')).toBe(0)
  expect(compareVersions('2.15.2', '2.14.0')).toBeGreaterThan(0)
  expect(compareVersions('3.0.0', '2.14.9')).toBeGreaterThan(0)
})

import { AppError } from '@fairlead/shared/errors'
import { describe, expect, test } from 'vitest'
import { parseHubConfig, splitAddress } from './config.ts'
import { findDurationMs } from './duration.ts'

describe('the hub settings', () => {
  test('have defaults that work on one machine', () => {
    const config = parseHubConfig({}, { XDG_CONFIG_HOME: '/home/u/.config' })
    expect(config).toMatchObject({
      dataDir: `${process.cwd()}/fairlead-data`,
      listen: '127.0.0.1:7443',
      natsListen: '127.0.0.1:4222',
      logLevel: 'info',
      staleAfterMs: 45_000,
      offlineAfterMs: 300_000,
      pollIntervalDefaultMs: 30_000,
      adminContextPath: '/home/u/.config/fairlead/config.yaml',
      allowedFileCredentialDirs: ['/etc/fairlead', `${process.cwd()}/fairlead-data/credentials`],
    })
    expect(config).not.toHaveProperty('natsUrl')
  })

  test('a flag wins over its variable, a variable over the default', () => {
    const env = { FAIRLEAD_LISTEN: '0.0.0.0:1', FAIRLEAD_STALE_AFTER: '2s', FAIRLEAD_CONFIG: '/c.yaml' }
    const config = parseHubConfig({ listen: '[::1]:2' }, env)
    expect(config).toMatchObject({
      listen: '[::1]:2',
      natsListen: '[::1]:4222',
      staleAfterMs: 2_000,
      adminContextPath: '/c.yaml',
    })
  })

  test('the API server of its cluster is the one that Kubernetes names in each pod, and outside there is none', () => {
    const serverOf = (env: Record<string, string>) => parseHubConfig({}, env).kubernetesServer
    expect(serverOf({ KUBERNETES_SERVICE_HOST: '10.0.0.1', KUBERNETES_SERVICE_PORT: '6443' })).toBe(
      'https://10.0.0.1:6443',
    )
    expect(serverOf({ KUBERNETES_SERVICE_HOST: 'fd00::1' })).toBe('https://[fd00::1]:443')
    expect(serverOf({})).toBeUndefined()
  })

  test('only variables meant for it reach a Git server', () => {
    const { credentialEnvironment } = parseHubConfig(
      {},
      { FAIRLEAD_GIT_SHOP: 't', AWS_SECRET: 's', FAIRLEAD_LISTEN: '' },
    )
    expect(credentialEnvironment).toEqual({ FAIRLEAD_GIT_SHOP: 't' })
  })

  test.each([
    [{ listen: '7443' }, '--listen (or FAIRLEAD_LISTEN): "7443" is not host:port'],
    [{ listen: '127.0.0.1:70000' }, 'is not host:port'],
    [{ publicAddress: 'https://hub:1' }, '--public-address'],
    [{ natsUrl: 'http://x' }, '--nats-url'],
    [{ natsUrl: 'tls://u:p@nats:4222' }, 'must hold no credentials'],
    [
      { natsWebsocketListen: '127.0.0.1:0' },
      '--nats-websocket-listen (or FAIRLEAD_NATS_WEBSOCKET_LISTEN): needs a port',
    ],
    [{ natsWebsocketListen: '127.0.0.1:1', natsUrl: 'tls://n:1' }, 'is for the embedded NATS'],
    [{ natsWebsocketListen: '127.0.0.1:1', natsWebsocketPublicUrl: 'tls://n:1' }, 'must begin with wss://'],
    [{ natsWebsocketPublicUrl: 'wss://n' }, 'needs --nats-websocket-listen'],
    [{ logLevel: 'loud' }, '"loud" is none of trace'],
    [{ staleAfter: '45' }, '"45" is not a duration'],
    [{ staleAfter: '10m' }, '--offline-after (or FAIRLEAD_OFFLINE_AFTER): must not be shorter than --stale-after'],
  ])('%j is refused in words', (flags, words) => {
    expect(() => parseHubConfig(flags, {})).toThrow(words)
    expect(() => parseHubConfig(flags, {})).toThrow(AppError)
  })

  test('durations and addresses are read as written', () => {
    expect(['500ms', '45s', '5m', '24h', '7d', '', '1.5s', '-1s'].map(findDurationMs)).toEqual([
      500,
      45_000,
      300_000,
      86_400_000,
      604_800_000,
      undefined,
      undefined,
      undefined,
    ])
    expect(splitAddress('[::1]:80')).toEqual({ host: '[::1]', port: 80 })
  })
})

// Settings: every wrong one is named.
import { expect, test } from 'vitest'
import { parseConfig } from './config.ts'

const pin = `sha256:${'0'.repeat(64)}`
const good = {
  FAIRLEAD_HUB_ADDRESS: 'hub.example.com:7443',
  FAIRLEAD_HUB_CA_PIN: pin,
  POD_NAMESPACE: 'fairlead-system',
  KUBERNETES_SERVICE_HOST: '10.0.0.1',
  KUBERNETES_SERVICE_PORT: '6443',
}

test('defaults', () => {
  expect(parseConfig(good)).toEqual({
    hubAddress: 'hub.example.com:7443',
    hubCaPin: pin,
    natsUrl: undefined,
    joinToken: undefined,
    joinSecret: undefined,
    ageSecret: undefined,
    namespace: 'fairlead-system',
    podName: 'fairlead-agent',
    namespaces: undefined,
    httpPort: 8080,
    metrics: true,
    events: true,
    podLogs: false,
    leaderElection: false,
    logLevel: 'info',
    heartbeatMs: 15_000,
    terminationLog: '/dev/termination-log',
    statusSocket: '/run/fairlead/agent.sock',
    kube: { kind: 'in-cluster', host: '10.0.0.1', port: '6443', podRoot: '' },
  })
})

test('namespaces, a kubeconfig, a pod root', () => {
  const { KUBERNETES_SERVICE_HOST: _, ...outside } = good
  const env = { ...outside, FAIRLEAD_NAMESPACES: 'a, b,,a', KUBECONFIG: '/k', FAIRLEAD_POD_ROOT: '/tmp/pod' }
  expect(parseConfig(env)).toMatchObject({
    namespaces: ['a', 'b'],
    kube: { kind: 'kubeconfig', file: '/k' },
    terminationLog: '/tmp/pod/dev/termination-log',
  })
})

test.each([
  ['FAIRLEAD_HUB_ADDRESS', ''],
  ['FAIRLEAD_HUB_ADDRESS', 'https://hub:7443'],
  ['FAIRLEAD_HUB_ADDRESS', 'hub'],
  ['FAIRLEAD_HUB_CA_PIN', undefined],
  ['FAIRLEAD_HUB_CA_PIN', 'sha256:abc'],
  ['FAIRLEAD_NATS_URL', 'nats://plain:4222'],
  ['FAIRLEAD_NAMESPACES', 'Shop'],
  ['FAIRLEAD_HTTP_PORT', '99999'],
  ['FAIRLEAD_HEARTBEAT_SECONDS', 'often'],
  ['FAIRLEAD_LOG_LEVEL', 'chatty'],
  ['FAIRLEAD_METRICS', 'yes'],
  ['FAIRLEAD_EVENTS', '1'],
  ['FAIRLEAD_POD_LOGS', 'yes'],
  ['FAIRLEAD_LEADER_ELECTION', 'on'],
  ['KUBERNETES_SERVICE_HOST', ''],
])('%s=%s is refused by name', (name, value) => {
  expect(() => parseConfig({ ...good, [name]: value })).toThrow(name)
})

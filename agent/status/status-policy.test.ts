// The whole of the cluster's policy is shown, as data and as text.
import { expect, test } from 'vitest'
import { OPEN_POLICY, parseClusterPolicy } from '../policy/cluster-policy.ts'
import type { PolicyState } from '../policy/policy-watch.ts'
import { type AgentStatus, toStatusPolicy } from './agent-status.ts'
import { formatStatus } from './format-status.ts'

const known = (data: Record<string, string>): PolicyState => ({
  kind: 'known',
  policy: parseClusterPolicy({ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'p' }, data }),
})
const strict = {
  paused: 'true',
  namespaces: 'shop, web-*',
  kinds: 'ConfigMap, *.apps',
  serviceAccounts: '',
  prune: 'false',
  customResourceDefinitions: 'false',
  clusterScoped: 'false',
}
const status = (policy: AgentStatus['policy'], role = 'alone'): AgentStatus => ({
  version: '1',
  pod: 'p',
  namespace: 'n',
  startedAt: '',
  role,
  leader: '',
  cluster: '',
  joined: false,
  ready: false,
  natsConnected: false,
  apiServer: '',
  kubernetesVersion: '',
  slice: null,
  policy,
  stuck: [],
  problems: [],
  applications: [],
  watches: [],
})

test('every key of the policy is in the data', () => {
  const { allowed, ...rest } = toStatusPolicy(['shop'], known(strict))
  expect(rest).toEqual({ namespaces: ['shop'], state: 'known', message: '' })
  expect(allowed).toEqual({
    paused: true,
    namespaces: ['shop', 'web-*'],
    kinds: ['ConfigMap', '*.apps'],
    serviceAccounts: [],
    prune: false,
    customResourceDefinitions: false,
    clusterScoped: false,
  })
  expect(Object.keys(allowed ?? {}).sort()).toEqual(Object.keys(OPEN_POLICY).sort())
})

test.each<[string, PolicyState, string]>([
  ['that restricts nothing', known({}), 'restricts nothing'],
  [
    'that restricts everything',
    known(strict),
    'paused, nothing is written; namespaces shop, web-*; kinds ConfigMap, *.apps; service accounts none; no deletions; no CustomResourceDefinitions; no cluster-scoped objects',
  ],
  ['that is not known', { kind: 'unknown' }, 'not known yet, so nothing is written'],
  [
    'that is not valid',
    { kind: 'invalid', message: 'kind\u001b is not known' },
    'not valid, so nothing is written: kind  is not known',
  ],
])('a policy %s is told in one line', (_what, state, text) => {
  const lines = formatStatus(status(toStatusPolicy(undefined, state)), new Date())
  expect(lines).toContain(`policy:      ${text}`)
})

test('a stand-by says that its leader follows the policy', () => {
  const lines = formatStatus(status(toStatusPolicy(undefined, { kind: 'unknown' }), 'standby'), new Date())
  expect(lines).toContain('policy:      followed by the leader')
})

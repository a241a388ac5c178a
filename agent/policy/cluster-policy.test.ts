import type { KubernetesObject } from '@fairlead/shared/object-reference'
import { expect, test } from 'vitest'
import { findForbidden, matchesGlob, OPEN_POLICY, type PolicyQuestion, parseClusterPolicy } from './cluster-policy.ts'

const configMap = (data: Record<string, unknown> | undefined, more: object = {}): KubernetesObject => ({
  apiVersion: 'v1',
  kind: 'ConfigMap',
  metadata: { name: 'fairlead-agent-policy' },
  ...(data && { data }),
  ...more,
})
const asked = (more: Partial<PolicyQuestion> = {}): PolicyQuestion => ({
  group: 'apps',
  kind: 'Deployment',
  namespace: 'shop',
  name: 'web',
  action: 'write',
  account: '',
  ...more,
})

test('without a policy, and with an empty one, nothing is restricted', () => {
  for (const policy of [undefined, configMap(undefined), configMap({})]) {
    expect(parseClusterPolicy(policy)).toEqual(OPEN_POLICY)
  }
  expect(findForbidden(OPEN_POLICY, asked({ action: 'delete', namespace: '' }))).toBeUndefined()
})

test.each<[string, KubernetesObject, RegExp]>([
  ['an unknown key', configMap({ namespace: 'shop' }), /namespace is not known/],
  ['a key of another case', configMap({ Paused: 'true' }), /Paused is not known/],
  ['a flag that is neither', configMap({ paused: 'yes' }), /paused must be "true" or "false"/],
  ['an empty flag', configMap({ prune: '' }), /prune must be/],
  ['a namespace that cannot be one', configMap({ namespaces: 'shop, Web' }), /"Web"/],
  ['a negation', configMap({ namespaces: '!kube-system' }), /"!kube-system"/],
  ['a service account without a namespace', configMap({ serviceAccounts: 'web' }), /"web"/],
  ['a plural in place of a kind', configMap({ kinds: 'deployments/apps' }), /kinds holds/],
  ['binary data', configMap({}, { binaryData: { paused: 'dHJ1ZQ==' } }), /binaryData/],
])('%s is refused, not passed over', (_what, policy, message) => {
  expect(() => parseClusterPolicy(policy)).toThrow(message)
})

test.each<[Record<string, string>, Partial<PolicyQuestion>, boolean]>([
  [{ paused: 'true' }, {}, false],
  [{ namespaces: 'shop' }, {}, true],
  [{ namespaces: 'web shop-*' }, { namespace: 'shop-eu' }, true],
  [{ namespaces: 'web\nshop-*' }, {}, false],
  [{ namespaces: '' }, {}, false],
  [{ namespaces: 'shop' }, { namespace: '', kind: 'ClusterRole', group: 'rbac.authorization.k8s.io' }, true],
  [{ namespaces: 'shop' }, { namespace: '', kind: 'Namespace', group: '', name: 'kube-system' }, false],
  [{ namespaces: 'shop' }, { namespace: '', kind: 'Namespace', group: '', name: 'shop' }, true],
  [{ kinds: 'Deployment.apps, ConfigMap' }, {}, true],
  [{ kinds: 'Deployment' }, {}, false],
  [{ kinds: '*.apps' }, {}, true],
  [{ kinds: '*.apps' }, { group: '', kind: 'Secret' }, false],
  [{ kinds: '*' }, { group: '', kind: 'Secret' }, true],
  [{ prune: 'false' }, {}, true],
  [{ prune: 'false' }, { action: 'delete' }, false],
  [
    { customResourceDefinitions: 'false' },
    { namespace: '', group: 'apiextensions.k8s.io', kind: 'CustomResourceDefinition' },
    false,
  ],
  [{ customResourceDefinitions: 'false' }, { namespace: '', kind: 'ClusterRole' }, true],
  [{ clusterScoped: 'false' }, { namespace: '', kind: 'ClusterRole' }, false],
  [{ clusterScoped: 'false' }, {}, true],
  [{ serviceAccounts: 'shop/*' }, {}, false],
  [{ serviceAccounts: 'shop/*' }, { account: 'shop/deployer' }, true],
  [{ serviceAccounts: 'shop/*' }, { account: 'shop2/deployer' }, false],
  [{ serviceAccounts: '' }, { account: 'shop/deployer' }, false],
])('%j: %j is allowed: %j', (data, question, isAllowed) => {
  expect(findForbidden(parseClusterPolicy(configMap(data)), asked(question)) === undefined).toBe(isAllowed)
})

test.each([
  ['*', '', true],
  ['a*b', 'ab', true],
  ['a*b', 'aXb', true],
  ['a*b', 'a', false],
  ['aba*aba', 'aba', false],
  ['a*b*c', 'a1b2c', true],
  ['a*b*c', 'a1c', false],
  ['*x*', 'axb', true],
  ['a', 'ab', false],
  ['.*', 'ab', false],
])('the glob %j on %j: %j', (glob, text, matches) => {
  expect(matchesGlob(glob, text)).toBe(matches)
})

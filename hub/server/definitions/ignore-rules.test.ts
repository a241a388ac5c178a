import { create } from '@bufbuild/protobuf'
import { IgnoreRuleSchema } from '@fairlead/proto/common'
import { expect, test } from 'vitest'
import { findIgnoreProblems } from './ignore-rules.ts'

const problemsOf = (...rules: Parameters<typeof create<typeof IgnoreRuleSchema>>[1][]) =>
  findIgnoreProblems(rules.map((rule) => create(IgnoreRuleSchema, rule)))

test.for([
  { group: 'apps', kind: 'Deployment', paths: ['spec.replicas', '/spec/paused'] },
  { group: '*', paths: ['metadata.annotations[example.com/note]'] },
  { kind: 'ConfigMap', namespace: 'shop', name: 'settings.v1', paths: ['data[*]'] },
  {
    group: 'admissionregistration.k8s.io',
    kind: 'ValidatingWebhookConfiguration',
    paths: ['webhooks[*].clientConfig.caBundle'],
  },
])('%j is a rule', (rule) => {
  expect(problemsOf(rule)).toEqual([])
})

test.for<[Parameters<typeof problemsOf>[0], string, string]>([
  [{ group: 'apps', kind: 'Deployment' }, 'paths', 'is empty: name the fields'],
  [
    { group: 'apps', paths: ['spec..replicas'] },
    'paths[0]',
    '"spec..replicas", character 6: expected the name of a field',
  ],
  [{ group: 'apps', paths: ['spec.a', 'metadata.name'] }, 'paths[1]', 'metadata.name says which object it is'],
  [{ kind: 'Deployment', paths: ['spec.replicas'] }, 'group', 'the core group has no Deployment; name its group'],
  [{ group: 'Apps/v1', paths: ['spec.replicas'] }, 'group', '"Apps/v1" is no API group'],
  [{ group: 'apps', kind: 'Deploy*', paths: ['spec.a'] }, 'kind', '"Deploy*" is no kind'],
  [{ group: 'apps', namespace: 'Shop!', paths: ['spec.a'] }, 'namespace', ''],
  [{ group: 'apps', name: 'web-*', paths: ['spec.a'] }, 'name', '"web-*" is no name'],
  [{ group: 'apps', name: 'x'.repeat(254), paths: ['spec.a'] }, 'name', 'is longer than 253 characters'],
  [{ group: 'apps', paths: Array.from({ length: 101 }, () => 'spec.a') }, 'paths', 'has more than 100 paths'],
])('%j is refused at %s', ([rule, field, message]) => {
  expect(problemsOf({ group: '*', paths: ['spec.a'] }, rule)).toEqual([
    { field: `spec.sync.ignoreFields[1].${field}`, message: expect.stringContaining(message) },
  ])
})

test('more than a hundred rules are refused', () => {
  const rules = Array.from({ length: 101 }, () => ({ group: '*', paths: ['spec.a'] }))
  expect(problemsOf(...rules)).toEqual([{ field: 'spec.sync.ignoreFields', message: 'has more than 100 rules' }])
})

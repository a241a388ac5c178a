import { expect, test } from 'vitest'
import { checkAnnotations } from './annotations.ts'

const check = (annotations: Record<string, unknown>, apiVersion = 'batch/v1', kind = 'Job'): string[] =>
  checkAnnotations({ apiVersion, kind, annotations }, { hasVariables: true })

test.each([
  {},
  { other: 'anything' },
  { 'fairlead.dev/hook': 'pre-sync' },
  { 'fairlead.dev/hook': 'post-sync', 'fairlead.dev/wave': '-3' },
  { 'fairlead.dev/hook': 'sync-fail', 'fairlead.dev/recreate': 'true' },
  { 'fairlead.dev/wave': '${cluster.values.wave}' },
  { 'fairlead.dev/wave': '2147483647', 'fairlead.dev/recreate': 'false' },
  { 'fairlead.dev/prune': 'disabled', 'fairlead.dev/merge': 'true' },
  { 'fairlead.dev/prune': 'enabled', 'fairlead.dev/merge': 'false' },
  { 'fairlead.dev/ignore': 'true' },
  { 'fairlead.dev/ignore': 'false' },
  { 'fairlead.dev/ignore': 'spec.replicas, metadata.annotations[a,b], spec.containers[name=web].image' },
  { 'fairlead.dev/prune': '${cluster.values.prune}', 'fairlead.dev/ignore': '${cluster.values.fields}' },
])('%j is fine on a Job', (annotations) => {
  expect(check(annotations)).toEqual([])
})

test.each([
  [{ 'fairlead.dev/hook': 'PreSync' }, 'the annotation fairlead.dev/hook must be pre-sync, post-sync or sync-fail'],
  [{ 'fairlead.dev/hook': '' }, 'the annotation fairlead.dev/hook must be pre-sync, post-sync or sync-fail'],
  [{ 'fairlead.dev/wave': 'first' }, 'the annotation fairlead.dev/wave must be an integer'],
  [{ 'fairlead.dev/wave': '1.5' }, 'the annotation fairlead.dev/wave must be an integer'],
  [{ 'fairlead.dev/wave': '9999999999' }, 'the annotation fairlead.dev/wave must be an integer'],
  [{ 'fairlead.dev/recreate': 'yes' }, 'the annotation fairlead.dev/recreate must be "true" or "false"'],
  ...['Disabled', 'false', 'disable', 'disabled ', '', '${HOME}'].map((value): [Record<string, string>, string] => [
    { 'fairlead.dev/prune': value },
    'the annotation fairlead.dev/prune must be disabled or enabled, written so',
  ]),
  [{ 'fairlead.dev/merge': 'True' }, 'the annotation fairlead.dev/merge must be "true" or "false"'],
  [
    { 'fairlead.dev/ignore': 'yes' },
    'the annotation fairlead.dev/ignore: "yes" is neither "true" nor a list of fields',
  ],
  [
    { 'fairlead.dev/ignore': 'spec.replicas,spec..x' },
    'the annotation fairlead.dev/ignore: "spec..x", character 6: expected the name of a field',
  ],
])('%j is refused', (annotations, message) => {
  expect(check(annotations)).toEqual([message])
})

test.each([
  ['v1', 'Pod'],
  ['batch/v1', 'CronJob'],
  ['example.com/v1', 'Job'],
])('%s %s cannot be a hook', (apiVersion, kind) => {
  const annotations = { 'fairlead.dev/hook': 'pre-sync' }
  expect(check(annotations, apiVersion, kind)).toEqual(['only a Job can have the annotation fairlead.dev/hook'])
})

test('where nothing is filled in, what looks like a variable is a value like any other', () => {
  const annotations = { 'fairlead.dev/prune': '${cluster.values.prune}' }
  const object = { apiVersion: 'v1', kind: 'ConfigMap', annotations }
  expect(checkAnnotations(object, { hasVariables: false })).toHaveLength(1)
})

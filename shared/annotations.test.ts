import { expect, test } from 'vitest'
import { checkAnnotations } from './annotations.ts'

const check = (annotations: Record<string, unknown>, apiVersion = 'batch/v1', kind = 'Job'): string[] =>
  checkAnnotations({ apiVersion, kind, annotations })

test.each([
  {},
  { other: 'anything' },
  { 'fairlead.dev/hook': 'pre-sync' },
  { 'fairlead.dev/hook': 'post-sync', 'fairlead.dev/wave': '-3' },
  { 'fairlead.dev/hook': 'sync-fail', 'fairlead.dev/recreate': 'true' },
  { 'fairlead.dev/wave': '${cluster.values.wave}' },
  { 'fairlead.dev/wave': '2147483647', 'fairlead.dev/recreate': 'false' },
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

import { create } from '@bufbuild/protobuf'
import { SourceLocationSchema } from '@fairlead/proto/common'
import { expect, test } from 'vitest'
import { parseManifest } from './declared.ts'
import { countsFor, findHookPhase, hookBody, hookRunId } from './hook.ts'

const manifest = (apiVersion: string, kind: string, hook: string | undefined) =>
  parseManifest({
    json: Buffer.from(
      JSON.stringify({
        apiVersion,
        kind,
        metadata: { name: 'x', ...(hook !== undefined && { annotations: { 'fairlead.dev/hook': hook } }) },
      }),
    ),
    source: create(SourceLocationSchema, { file: 'deploy/x.yaml', line: 7 }),
  })

test.each(['pre-sync', 'post-sync', 'sync-fail'])('a Job may be a %s hook', (phase) => {
  expect(findHookPhase(manifest('batch/v1', 'Job', phase))).toBe(phase)
})

test('what has no annotation is no hook', () => {
  expect(findHookPhase(manifest('batch/v1', 'Job', undefined))).toBeUndefined()
  expect(findHookPhase(manifest('v1', 'Pod', undefined))).toBeUndefined()
})

test.each([
  ['v1', 'Pod', 'pre-sync', /Pod x \(deploy\/x\.yaml:7\): only a Job can be a hook/],
  ['example.com/v1', 'Job', 'pre-sync', /only a Job/],
  ['batch/v1', 'CronJob', 'post-sync', /only a Job/],
  ['batch/v1', 'Job', 'PreSync', /must be pre-sync, post-sync, sync-fail/],
  ['batch/v1', 'Job', '', /must be pre-sync/],
])('%s %s as %j is refused with its file and line', (apiVersion, kind, hook, message) => {
  expect(() => findHookPhase(manifest(apiVersion, kind, hook))).toThrow(message)
})

test('a run is told by what is applied and by the commit that asked for it', () => {
  const runs = [hookRunId('a', '1'), hookRunId('a', '2'), hookRunId('b', '1'), hookRunId('a', '1')]
  expect(new Set(runs).size).toBe(3)
  expect(runs[3]).toBe(runs[0])
})

test.each([
  ['pre-sync', 'running', true],
  ['pre-sync', 'succeeded', true],
  ['post-sync', 'succeeded', true],
  ['pre-sync', 'failed', false],
  ['post-sync', 'failed', false],
  ['sync-fail', 'succeeded', false],
] as const)('a %s hook that has %s counts for a commit that changes nothing: %s', (phase, state, counts) => {
  const run = hookRunId('a', '1')
  expect(countsFor(phase, { run, state }, hookRunId('a', '2'))).toBe(counts)
  expect(countsFor(phase, { run, state }, run)).toBe(true)
  expect(countsFor(phase, { run, state }, hookRunId('b', '1'))).toBe(false)
})

test('the Job of a run says which run it is, and is otherwise as declared', () => {
  const object = {
    apiVersion: 'batch/v1',
    kind: 'Job',
    metadata: { name: 'x', annotations: { a: 'b' } },
    spec: { n: 1 },
  }
  const body = JSON.parse(hookBody({ body: Buffer.from(JSON.stringify(object)) }, 'r1'))
  expect(body).toEqual({
    ...object,
    metadata: { name: 'x', annotations: { a: 'b', 'fairlead.dev/hook-run': 'r1' } },
  })
})

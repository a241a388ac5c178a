import { create } from '@bufbuild/protobuf'
import { DeploymentSchema } from '@fairlead/proto/fleet'
import { HookStatusSchema } from '@fairlead/proto/report'
import { expect, test } from 'vitest'
import { formatHook, runningHooksOf } from './hooks.ts'

const hook = (state: string, message = '') =>
  create(HookStatusSchema, {
    object: { group: 'batch', version: 'v1', kind: 'Job', namespace: 'shop', name: 'migrate' },
    phase: 'pre-sync',
    state,
    message,
  })

test('a hook says when it runs, which Job it is, how far it is and why', () => {
  expect(formatHook(hook('running'))).toBe('pre-sync hook Job.batch shop/migrate: running')
  expect(formatHook(hook('failed', 'DeadlineExceeded'))).toBe(
    'pre-sync hook Job.batch shop/migrate: failed: DeadlineExceeded',
  )
})

test('control characters in what an agent tells reach no terminal', () => {
  expect(formatHook(hook('failed', '\u001b[2Jgone'))).not.toContain('\u001b')
})

test('of a deployment only what runs now is shown at a glance', () => {
  const hooks = ['pending', 'running', 'succeeded', 'failed', 'skipped'].map((state) => hook(state))
  const deployment = create(DeploymentSchema, { application: 'web', cluster: 'prod', report: { hooks } })
  expect(runningHooksOf(deployment)).toEqual(['web on prod: pre-sync hook Job.batch shop/migrate: running'])
  expect(runningHooksOf(create(DeploymentSchema, {}))).toEqual([])
})

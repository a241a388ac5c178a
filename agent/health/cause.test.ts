// Which pod a workload's trouble comes from.
import type { KubernetesObject } from '@fairlead/shared/object-reference'
import { expect, test } from 'vitest'
import { findSickest, podSelector } from './cause.ts'

const NOW = new Date('2026-06-01T12:00:00Z')
const pod = (name: string, status: object): KubernetesObject => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name },
  status,
})
const ready = { phase: 'Running', conditions: [{ type: 'Ready', status: 'True' }] }
const waiting = (reason: string) => ({
  phase: 'Running',
  containerStatuses: [{ name: 'app', state: { waiting: { reason, message: 'back-off 5m0s' } } }],
})

const describe = (pods: readonly KubernetesObject[]) => {
  const found = findSickest(pods, NOW)
  return found && `${found.pod.metadata.name}: ${found.health.message}`
}

test('the sickest pod is named with its container and reason, of equals the newest', () => {
  const pods = [pod('a', ready), pod('b', { phase: 'Pending' }), pod('c', waiting('CrashLoopBackOff')), pod('d', ready)]
  expect(describe(pods)).toBe('c: app: CrashLoopBackOff: back-off 5m0s')
  expect(describe(pods.slice(0, 2))).toMatch(/^b: its containers are not running yet/)
  const made = (name: string, creationTimestamp: string): KubernetesObject => {
    const sick = pod(name, waiting('ImagePullBackOff'))
    return { ...sick, metadata: { ...sick.metadata, creationTimestamp } }
  }
  expect(describe([made('old', '2026-06-01T10:00:00Z'), made('new', '2026-06-01T11:00:00Z')])).toMatch(/^new: /)
})

test('of healthy pods, or none, there is nothing to say', () => {
  expect(describe([pod('a', ready)])).toBeUndefined()
  expect(describe([])).toBeUndefined()
})

test.each([
  [{ matchLabels: { app: 'web', tier: 'front' } }, 'app=web,tier=front'],
  [
    {
      matchExpressions: [
        { key: 'a', operator: 'In', values: ['x', 'y'] },
        { key: 'b', operator: 'Exists' },
      ],
    },
    'a in (x,y),b',
  ],
  [
    {
      matchExpressions: [
        { key: 'a', operator: 'NotIn', values: ['x'] },
        { key: 'b', operator: 'DoesNotExist' },
      ],
    },
    'a notin (x),!b',
  ],
  [{}, undefined],
  [undefined, undefined],
])('the selector %j is the query %s', (selector, query) => {
  const workload = { apiVersion: 'apps/v1', kind: 'Deployment', metadata: { name: 'w' }, spec: { selector } }
  expect(podSelector(workload)).toBe(query)
})

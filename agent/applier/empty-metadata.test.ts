// What of metadata that is declared empty is not sent.
import { expect, test } from 'vitest'
import { withoutEmptyMetadata } from './empty-metadata.ts'

const empty = { annotations: {}, labels: {}, finalizers: [], ownerReferences: [] }
const full = { annotations: { a: '' }, labels: { b: '1' }, finalizers: ['c'], ownerReferences: [{ name: 'd' }] }

test.each([
  ['of any object', 'example.com', { metadata: { name: 'x', ...empty } }, { metadata: { name: 'x' } }],
  ['but nothing that holds something', 'apps', { metadata: full }, { metadata: full }],
  ['but no null, which takes away', 'apps', { metadata: { labels: null } }, { metadata: { labels: null } }],
  ['of a pod template', 'apps', { spec: { template: { metadata: empty } } }, { spec: { template: { metadata: {} } } }],
  [
    'of a CronJob',
    'batch',
    { spec: { jobTemplate: { metadata: empty, spec: { template: { metadata: empty } } } } },
    { spec: { jobTemplate: { metadata: {}, spec: { template: { metadata: {} } } } } },
  ],
  ['of a PodTemplate', '', { template: { metadata: empty } }, { template: { metadata: {} } }],
  [
    'but not of a template in a custom resource',
    'example.com',
    { spec: { template: { metadata: empty } } },
    { spec: { template: { metadata: empty } } },
  ],
  [
    'but nothing outside of metadata',
    'apps',
    { spec: { volumes: [{ emptyDir: {} }], selector: {} }, data: { labels: {} } },
    { spec: { volumes: [{ emptyDir: {} }], selector: {} }, data: { labels: {} } },
  ],
  [
    'nor empty rules of a NetworkPolicy',
    'networking.k8s.io',
    { kind: 'NetworkPolicy', spec: { ingress: [], egress: [{}], podSelector: {} } },
    { kind: 'NetworkPolicy', spec: { egress: [{}], podSelector: {} } },
  ],
  ['and what is no map is left', 'apps', { metadata: 'x', spec: [] }, { metadata: 'x', spec: [] }],
] as const)('%s', (_what, group, object, expected) => {
  const before = structuredClone(object)
  expect(withoutEmptyMetadata(object, group)).toEqual(expected)
  expect(object).toEqual(before)
})

import { expect, test } from 'vitest'
import { compareApplyOrder, groupPhases, type Orderable } from './apply-order.ts'

const object = (kind: string, { group = '', wave = 0, name = 'x' } = {}): Orderable => ({
  group,
  kind,
  namespace: 'n',
  name,
  wave,
})
const crd = object('CustomResourceDefinition', { group: 'apiextensions.k8s.io', wave: 9 })
const namespace = object('Namespace', { wave: 5 })

test('CRDs and Namespaces come first whatever their wave, then waves, then kinds', () => {
  const early = object('Job', { group: 'batch', wave: -1 })
  const objects = [
    object('Widget', { group: 'e' }),
    object('Deployment', { group: 'apps' }),
    object('Secret'),
    early,
    crd,
    namespace,
  ]
  const phases = groupPhases(objects).map((phase) => phase.map(({ kind }) => kind))
  expect(phases).toEqual([['Namespace', 'CustomResourceDefinition'], ['Job'], ['Secret', 'Deployment', 'Widget']])
})

test.for([
  ['ServiceAccount', 'Deployment'],
  ['ConfigMap', 'Deployment'],
  ['Service', 'Deployment'],
  ['ClusterRole', 'ClusterRoleBinding'],
  ['PersistentVolumeClaim', 'StatefulSet'],
  ['Deployment', 'Ingress'],
  ['Ingress', 'ValidatingWebhookConfiguration'],
  ['ValidatingWebhookConfiguration', 'Widget'],
])('%s before %s', ([first, second]) => {
  expect(compareApplyOrder(object(first ?? ''), object(second ?? ''))).toBeLessThan(0)
  expect(compareApplyOrder(object(second ?? ''), object(first ?? ''))).toBeGreaterThan(0)
})

test('the order is the same whatever the order given', () => {
  const objects = ['b', 'a', 'c'].flatMap((name) => [object('Secret', { name }), object('Pod', { name, wave: 1 })])
  const sorted = objects.toSorted(compareApplyOrder)
  expect(objects.toReversed().sort(compareApplyOrder)).toEqual(sorted)
})

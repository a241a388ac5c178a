import { expect, test } from 'vitest'
import { decidePrune, type OwnedObject, type PruneCandidate, type PruneFacts } from './prune-guards.ts'

const candidate = (kind: string, name: string, more: Partial<PruneCandidate> = {}): PruneCandidate => {
  const { group = '', namespace = 'shop' } = more
  return { key: `${group}/${kind}/${namespace}/${name}`, group, kind, namespace, name, wave: 0, keep: false, ...more }
}
const owned = (kind: string, namespace: string, group = ''): OwnedObject => ({
  key: `${group}/${kind}/${namespace}/o`,
  group,
  kind,
  namespace,
  application: 'other',
})
const facts = (candidates: PruneCandidate[], more: Partial<PruneFacts> = {}): PruneFacts => ({
  candidates,
  ownedCount: 100,
  staying: [],
  isTombstone: false,
  ownNamespace: 'fairlead-system',
  ...more,
})
const many = (count: number) => Array.from({ length: count }, (_, index) => candidate('ConfigMap', `c${index}`))

test.for<[string, PruneFacts, number]>([
  ['an ordinary object', facts([candidate('ConfigMap', 'a')]), 0],
  ['one that says it must be kept', facts([candidate('ConfigMap', 'a', { keep: true })]), 1],
  ['an empty namespace', facts([candidate('Namespace', 'shop', { namespace: '' })]), 0],
  [
    'a namespace with objects that stay',
    facts([candidate('Namespace', 'shop', { namespace: '' })], { staying: [owned('Pod', 'shop')] }),
    1,
  ],
  ['the agent’s own namespace', facts([candidate('Namespace', 'fairlead-system', { namespace: '' })]), 1],
  ['kube-system', facts([candidate('Namespace', 'kube-system', { namespace: '' })]), 1],
  [
    'a CRD in use',
    facts([candidate('CustomResourceDefinition', 'widgets.e.com', { group: 'apiextensions.k8s.io', namespace: '' })], {
      staying: [owned('Widget', 'shop', 'e.com')],
    }),
    1,
  ],
  [
    'a CRD of another group than those in use',
    facts([candidate('CustomResourceDefinition', 'widgets.e.com', { group: 'apiextensions.k8s.io', namespace: '' })], {
      staying: [owned('Widget', 'shop', 'f.com')],
    }),
    0,
  ],
  ['nine of nine', facts(many(9), { ownedCount: 9 }), 0],
  ['ten of twenty', facts(many(10), { ownedCount: 20 }), 0],
  ['ten of nineteen', facts(many(10), { ownedCount: 19 }), 10],
  ['all, by a tombstone', facts(many(50), { ownedCount: 50, isTombstone: true }), 0],
])('%s', ([, given, held]) => {
  const decision = decidePrune(given)
  expect(decision.held).toHaveLength(held)
  expect(decision.prune.length + decision.held.length).toBe(given.candidates.length)
})

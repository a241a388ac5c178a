import { AppError } from '@fairlead/shared/errors'
import { expect, test } from 'vitest'
import {
  decidePrune,
  type GuardedObject,
  isCovered,
  joinReasons,
  type OwnedObject,
  type PruneCandidate,
  type PruneFacts,
  pruneDigest,
} from './prune-guards.ts'

const candidate = (kind: string, name: string, more: Partial<PruneCandidate> = {}): PruneCandidate => {
  const { group = '', namespace = 'shop' } = more
  const key = `${group}/${kind}/${namespace}/${name}`
  return { key, uid: `uid-${name}`, group, kind, namespace, name, wave: 0, keep: false, isApproved: false, ...more }
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

const names = (guarded: readonly GuardedObject[]) => guarded.map(({ candidate }) => candidate.name)
const namespace = (name: string, more: Partial<PruneCandidate> = {}) =>
  candidate('Namespace', name, { namespace: '', ...more })
const crd = (name: string, more: Partial<PruneCandidate> = {}) =>
  candidate('CustomResourceDefinition', name, { group: 'apiextensions.k8s.io', namespace: '', ...more })

test.for<[string, PruneFacts, { held?: number; kept?: number }]>([
  ['an ordinary object goes', facts([candidate('ConfigMap', 'a')]), {}],
  ['one that says it must be kept stays', facts([candidate('ConfigMap', 'a', { keep: true })]), { kept: 1 }],
  ['approved or not', facts([candidate('ConfigMap', 'a', { keep: true, isApproved: true })]), { kept: 1 }],
  ['an empty namespace goes', facts([namespace('shop')]), {}],
  ['a namespace that would take more with it is held', facts([namespace('shop', { takes: 'Secret x' })]), { held: 1 }],
  ['until that is approved', facts([namespace('shop', { takes: 'Secret x', isApproved: true })]), {}],
  ['also when the application leaves', facts([namespace('shop', { takes: 'x' })], { isTombstone: true }), { held: 1 }],
  [
    'a namespace with objects that stay is kept, approved or not',
    facts([namespace('shop', { isApproved: true })], { staying: [owned('Pod', 'shop')] }),
    { kept: 1 },
  ],
  ['the agent’s own namespace is kept', facts([namespace('fairlead-system', { isApproved: true })]), { kept: 1 }],
  ['kube-system is kept', facts([namespace('kube-system')]), { kept: 1 }],
  [
    'a namespace is not deleted with what is kept inside',
    facts([namespace('shop'), candidate('ConfigMap', 'a', { keep: true }), candidate('ConfigMap', 'b')]),
    { kept: 2 },
  ],
  [
    'a namespace is held with the volume inside',
    facts([namespace('shop'), candidate('PersistentVolumeClaim', 'd')]),
    { held: 2 },
  ],
  ['a namespace elsewhere is not', facts([namespace('web'), candidate('PersistentVolumeClaim', 'd')]), { held: 1 }],
  ['a volume claim is held', facts([candidate('PersistentVolumeClaim', 'data')]), { held: 1 }],
  [
    'also when the application leaves',
    facts([candidate('PersistentVolumeClaim', 'd')], { isTombstone: true }),
    { held: 1 },
  ],
  ['until that is approved', facts([candidate('PersistentVolumeClaim', 'data', { isApproved: true })]), {}],
  ['a volume is held', facts([candidate('PersistentVolume', 'data', { namespace: '' })]), { held: 1 }],
  [
    'a kind of another group that is called so is not',
    facts([candidate('PersistentVolume', 'x', { group: 'e.com' })]),
    {},
  ],
  ['a CRD in use is kept', facts([crd('widgets.e.com')], { staying: [owned('Widget', 'shop', 'e.com')] }), { kept: 1 }],
  ['a CRD of another group goes', facts([crd('widgets.e.com')], { staying: [owned('Widget', 'shop', 'f.com')] }), {}],
  ['a CRD with objects of others is held', facts([crd('widgets.e.com', { takes: '3 Widgets' })]), { held: 1 }],
  ['nine of ten go', facts(many(9), { ownedCount: 10 }), {}],
  ['ten of twenty go', facts(many(10), { ownedCount: 20 }), {}],
  ['ten of nineteen are held: share', facts(many(10), { ownedCount: 19 }), { held: 10 }],
  ['ninety-nine of many go', facts(many(99), { ownedCount: 13_000 }), {}],
  ['a hundred of many are held: count', facts(many(100), { ownedCount: 13_000 }), { held: 100 }],
  ['all, however few, are held', facts(many(1), { ownedCount: 1 }), { held: 1 }],
  ['all go by a tombstone', facts(many(200), { ownedCount: 200, isTombstone: true }), {}],
  [
    'what was approved is not counted again',
    facts([...many(12).map((one) => ({ ...one, isApproved: true })), candidate('Secret', 's')], { ownedCount: 15 }),
    {},
  ],
])('%s', ([, given, { held = 0, kept = 0 }]) => {
  const decision = decidePrune(given)
  expect({ held: decision.held.length, kept: decision.kept.length }).toEqual({ held, kept })
  const { prune, undecided } = decision
  const all = [...prune, ...[...decision.held, ...decision.kept, ...undecided].map((guarded) => guarded.candidate)]
  expect(new Set(all)).toEqual(new Set(given.candidates))
  expect(all).toHaveLength(given.candidates.length)
})

test('nothing but what was approved goes while others are held', () => {
  const approved = many(12).map((one) => ({ ...one, isApproved: true }))
  const late = Array.from({ length: 20 }, (_, index) => candidate('Secret', `s${index}`))
  const decision = decidePrune(facts([...approved, ...late], { ownedCount: 35 }))
  expect(decision.prune).toEqual(approved)
  expect(names(decision.held)).toEqual(late.map(({ name }) => name))
})

test('the reason of a held prune says each reason once', () => {
  const { held } = decidePrune(facts([...many(11), candidate('PersistentVolumeClaim', 'data')], { ownedCount: 15 }))
  expect(joinReasons(held)).toBe(
    'PersistentVolumeClaim shop/data holds data; 12 of 15 objects would be deleted at once',
  )
})

test('a digest is of exactly these objects of this application on this cluster, in whatever order', () => {
  const [a, b, c] = many(3) as [PruneCandidate, PruneCandidate, PruneCandidate]
  const where = { application: 'web', clusterId: 'c1' }
  const digest = pruneDigest(where, [a, b])
  expect(digest).toMatch(/^[0-9a-f]{64}$/)
  expect(pruneDigest(where, [b, a])).toBe(digest)
  const others = [
    pruneDigest(where, [a]),
    pruneDigest(where, [a, b, c]),
    pruneDigest(where, [a, { ...b, uid: 'made anew' }]),
    pruneDigest({ ...where, application: 'shop' }, [a, b]),
    pruneDigest({ ...where, clusterId: 'c2' }, [a, b]),
  ]
  expect(new Set([digest, ...others]).size).toBe(6)
})

test('a digest is of exactly what a namespace would take with it, too', () => {
  const where = { application: 'web', clusterId: 'c1' }
  const digests = [[], ['a'], ['a', 'b'], ['?widgets.e.com']].map((takenMarks) =>
    pruneDigest(where, [namespace('shop', { takenMarks })]),
  )
  expect(new Set(digests).size).toBe(4)
  expect(digests[0]).toBe(pruneDigest(where, [namespace('shop')]))
})

test('an approval covers less than what it was given for, never more', () => {
  expect(isCovered([], [])).toBe(true)
  expect(isCovered([], ['a'])).toBe(true)
  expect(isCovered(['b'], ['a', 'b'])).toBe(true)
  expect(isCovered(['a'], [])).toBe(false)
  expect(isCovered(['a', 'c'], ['a', 'b'])).toBe(false)
})

const undecided = new AppError('ApiServerUnavailable', 'not now')

test('what could not be looked at is not deleted, nor what it lives in, and all else goes', () => {
  const decision = decidePrune(
    facts([candidate('ConfigMap', 'a', { undecided }), namespace('shop'), namespace('web'), candidate('Secret', 'b')]),
  )
  expect(decision.prune.map(({ name }) => name)).toEqual(['b', 'web'])
  expect(decision.undecided.map(({ reason }) => reason)).toEqual([
    'not now',
    'Namespace shop would take ConfigMap a with it, which could not be looked at',
  ])
  expect([...decision.held, ...decision.kept]).toEqual([])
})

test('what has not arrived where it moves to is not deleted, nor what it lives in, approved or not, and all else goes', () => {
  const moving = candidate('ConfigMap', 'a', { movesTo: 'next', isApproved: true })
  const decision = decidePrune(facts([moving, namespace('shop'), candidate('ConfigMap', 'b'), namespace('web')]))
  expect(decision.prune.map(({ name }) => name)).toEqual(['b', 'web'])
  expect(decision.undecided.map(({ reason }) => reason)).toEqual([
    'it moves to namespace next, where it was not applied yet',
    'Namespace shop would take ConfigMap a with it, which has not moved yet',
  ])
})

test('what has not arrived where it moves to counts as one that is to go', () => {
  const moving = many(60).map((one) => ({ ...one, movesTo: 'next' }))
  const others = many(60).map((one) => ({ ...one, key: `${one.key}-x` }))
  expect(decidePrune(facts([...moving, ...others], { ownedCount: 240 })).held).toHaveLength(120)
})

test('what could not be looked at counts, and does not change what an approval is asked for', () => {
  const all = many(12)
  const where = { application: 'web', clusterId: 'c1' }
  const digestOf = (candidates: PruneCandidate[]) =>
    pruneDigest(
      where,
      decidePrune(facts(candidates, { ownedCount: 13 })).held.map((one) => one.candidate),
    )
  const shaken = all.map((one, index) => (index < 3 ? { ...one, undecided } : one))
  expect(digestOf(shaken)).toBe(digestOf(all))
  // Of what was never seen there is nothing to approve yet.
  const unseen = all.map((one, index) => (index < 3 ? { ...one, uid: '', undecided } : one))
  const decision = decidePrune(facts(unseen, { ownedCount: 13 }))
  expect([decision.prune.length, decision.held.length, decision.undecided.length]).toEqual([0, 9, 3])
  // What is held stays held while it cannot be looked at; what was approved waits.
  const held = namespace('shop', { takes: 'Secret x', undecided })
  expect(decidePrune(facts([held])).held).toHaveLength(1)
  expect(decidePrune(facts([{ ...held, isApproved: true }])).undecided).toHaveLength(1)
})

import type { KubernetesObject, ManagedFieldsEntry } from '@fairlead/shared/object-reference'
import { describe, expect, test } from 'vitest'
import { decideDrift } from './drift.ts'
import { type FieldSet, formatFieldPaths, isDeclared, subtractFields, unionFields } from './field-set.ts'
import { findPersonEntries, findRival, hashOurEntry, PERSON_MANAGERS } from './managed-fields.ts'
import { takeOverPatch } from './take-over.ts'

const ours: ManagedFieldsEntry = {
  manager: 'fairlead',
  operation: 'Apply',
  apiVersion: 'v1',
  time: '2026-01-01T00:00:00Z',
  fieldsV1: { 'f:data': { 'f:a': {} } },
}
const update = (manager: string, fieldsV1: FieldSet, more: Partial<ManagedFieldsEntry> = {}): ManagedFieldsEntry => ({
  manager,
  operation: 'Update',
  apiVersion: 'v1',
  time: '2026-01-01T00:00:01Z',
  fieldsV1,
  ...more,
})
const object = (...managedFields: ManagedFieldsEntry[]): KubernetesObject => ({
  apiVersion: 'v1',
  kind: 'ConfigMap',
  metadata: { name: 'c', resourceVersion: '7', managedFields },
})
const restart: FieldSet = {
  'f:spec': {
    'f:template': { 'f:metadata': { 'f:annotations': { '.': {}, 'f:kubectl.kubernetes.io/restartedAt': {} } } },
  },
}

describe('persons', () => {
  test.for([
    ['kubectl', true],
    ['kubectl-edit', true],
    ['kubectl-client-side-apply', true],
    ['before-first-apply', true],
    ['Mozilla', true],
    ['k9s', true],
    ['oc', true],
    ['oc-edit', true],
    ['dashboard', true],
    ['octavia-controller', false],
    ['kube-controller-manager', false],
    ['helm', false],
    ['istiod', false],
  ] as const)('%s is a person: %s', ([manager, expected]) => {
    expect(PERSON_MANAGERS.test(manager)).toBe(expected)
  })

  test('a restart alone is no reason to act, with something else only that is taken', () => {
    expect(findPersonEntries(object(ours, update('kubectl-rollout', restart)))).toEqual([])
    const both = update('kubectl-edit', unionFields(restart, { 'f:spec': { 'f:replicas': {} } }))
    const [found] = findPersonEntries(object(ours, both))
    expect(formatFieldPaths(found?.taken ?? {})).toContain('spec.replicas')
    expect(JSON.stringify(found?.taken)).not.toContain('restartedAt')
    expect(JSON.stringify(found?.kept)).toContain('restartedAt')
  })

  test('the note of client-side apply is taken with what else it added, and is nothing alone', () => {
    const note: FieldSet = {
      'f:metadata': { 'f:annotations': { '.': {}, 'f:kubectl.kubernetes.io/last-applied-configuration': {} } },
    }
    const applied = (fields: FieldSet) => object(ours, update('kubectl-client-side-apply', fields))
    expect(findPersonEntries(applied(note))).toEqual([])
    expect(findPersonEntries(applied(unionFields(note, restart)))).toEqual([])
    const more = unionFields(note, { 'f:data': { 'f:b': {} } })
    expect(findPersonEntries(applied(more)).map(({ taken }) => taken)).toEqual([more])
    const other: FieldSet = { 'f:metadata': { 'f:annotations': { '.': {}, 'f:team': {} } } }
    expect(findPersonEntries(applied(unionFields(note, other)))).toHaveLength(1)
  })

  test('what is written to subresources is not looked at', () => {
    expect(findPersonEntries(object(ours, update('kubectl', { 'f:status': {} }, { subresource: 'status' })))).toEqual(
      [],
    )
  })
})

describe('drift', () => {
  const expected = { entryHash: hashOurEntry(object(ours)), merge: false }
  test.for<[string, KubernetesObject, string]>([
    ['nothing happened', object(ours), 'none'],
    ['only the order of fields and the time differ', object({ ...ours, time: '2027-01-01T00:00:00Z' }), 'none'],
    ['a controller added a field', object(ours, update('injector', { 'f:data': { 'f:b': {} } })), 'none'],
    ['a person added a field', object(ours, update('kubectl', { 'f:data': { 'f:b': {} } })), 'added'],
    ['a field was taken from us', object({ ...ours, fieldsV1: { 'f:data': {} } }), 'changed'],
    ['our entry was wiped', object(), 'changed'],
    ['another manager of our name, but by Update', object(update('fairlead', { 'f:data': { 'f:a': {} } })), 'changed'],
  ])('%s', ([, live, drift]) => {
    expect(decideDrift(live, expected).drift).toBe(drift)
  })

  test('replicas taken by an autoscaler are left to it, by a person they are not', () => {
    const whole = { ...ours, fieldsV1: { 'f:spec': { 'f:replicas': {}, 'f:selector': {} } } }
    const lost = { ...ours, fieldsV1: { 'f:spec': { 'f:selector': {} } } }
    const recorded = { entryHash: hashOurEntry(object(whole)), merge: false }
    const scale = (manager: string) => update(manager, { 'f:spec': { 'f:replicas': {} } }, { subresource: 'scale' })
    expect(decideDrift(object(lost, scale('kube-controller-manager')), recorded).drift).toBe('left')
    expect(decideDrift(object(lost, scale('kubectl')), recorded).drift).toBe('changed')
    expect(decideDrift(object(lost), recorded).drift).toBe('changed')
  })

  test('what is left is left piece by piece too, and nothing else with it', () => {
    const entry = (fields: FieldSet) => ({ ...ours, fieldsV1: { 'f:data': { 'f:a': {} }, ...fields } })
    const [one, two] = [{ 'f:env': {} }, { 'f:tolerations': {} }] as const
    const findLeft = (): FieldSet => ({ ...one, ...two })
    const first = decideDrift(object(entry(two)), {
      entryHash: hashOurEntry(object(entry({ ...one, ...two }))),
      merge: false,
      findLeft,
    })
    expect(first.drift).toBe('left')
    const recorded = { entryHash: first.entryHash, merge: false, findLeft }
    expect(decideDrift(object(entry({})), recorded).drift).toBe('left')
    expect(decideDrift(object({ ...ours, fieldsV1: {} }), recorded).drift).toBe('changed')
  })

  test('an object that opted out keeps what people add', () => {
    const live = object(ours, update('kubectl', { 'f:data': { 'f:b': {} } }))
    expect(decideDrift(live, { ...expected, merge: true }).drift).toBe('none')
  })
})

describe('field sets', () => {
  test('paths name list items by their keys and never hold values of fields', () => {
    const fields: FieldSet = {
      'f:spec': {
        'f:template': { 'f:containers': { 'k:{"name":"web"}': { '.': {}, 'f:image': {} } } },
        'f:finalizers': { 'v:"secret-value"': {} },
      },
      'f:metadata': { 'f:annotations': { 'f:example.com/note': {} } },
    }
    expect(formatFieldPaths(fields)).toEqual([
      'metadata.annotations[example.com/note]',
      'spec.finalizers[]',
      'spec.template.containers[name=web]',
      'spec.template.containers[name=web].image',
    ])
  })

  test('subtracting what was united gives back what was there', () => {
    const a: FieldSet = { 'f:a': { 'f:x': {} }, 'f:b': {} }
    const b: FieldSet = { 'f:a': { 'f:y': {} }, 'f:c': { 'f:z': {} } }
    expect(subtractFields(unionFields(a, b), b)).toEqual(a)
    expect(subtractFields(a, a)).toEqual({})
  })

  test.for<[FieldSet, boolean]>([
    [{ 'f:data': { 'f:a': {} } }, true],
    [{ 'f:data': { '.': {}, 'f:b': {} } }, false],
    [{ 'f:list': { 'k:{"name":"x","port":1}': { '.': {}, 'f:name': {} } } }, true],
    [{ 'f:list': { 'k:{"name":"y"}': {} } }, false],
    [{ 'f:set': { 'v:"one"': {} } }, true],
    [{ 'f:set': { 'v:"two"': {} } }, false],
    // Which the declared item leaves out, and API servers fill in.
    [{ 'f:ports': { 'k:{"port":80,"protocol":"TCP"}': { '.': {}, 'f:port': {} } } }, true],
    [{ 'f:ports': { 'k:{"port":80,"protocol":"UDP"}': { '.': {}, 'f:port': {} } } }, false],
  ])('%j is declared: %s', ([fields, expected]) => {
    const declared = { data: { a: '1' }, list: [{ name: 'x', port: 1 }], set: ['one'], ports: [{ port: 80 }] }
    expect(isDeclared(fields, declared)).toBe(expected)
  })
})

test('the rival is who owns what was lost, else who wrote last', () => {
  const live = object(
    ours,
    update('first', { 'f:data': { 'f:a': {} } }, { time: '2026-01-01T00:00:01Z' }),
    update('last', { 'f:data': { 'f:z': {} } }, { time: '2026-01-01T00:00:09Z' }),
    update('kubelet', { 'f:status': {} }, { time: '2026-01-01T00:00:10Z', subresource: 'status' }),
  )
  expect(findRival(live, { 'f:data': { 'f:a': {} } })).toBe('first')
  expect(findRival(live)).toBe('last')
  expect(findRival(object(ours))).toBe('')
})

describe('take-over', () => {
  test('the fields of persons become ours, guarded by the version that was seen', () => {
    const scaler = update('hpa', { 'f:spec': { 'f:replicas': {} } }, { subresource: 'scale' })
    const patch = takeOverPatch(object(ours, update('kubectl', { 'f:data': { 'f:b': {} } }), scaler), 'v1')
    expect(patch?.[0]).toEqual({ op: 'replace', path: '/metadata/resourceVersion', value: '7' })
    expect(patch?.[1]?.value).toEqual([scaler, { ...ours, fieldsV1: { 'f:data': { 'f:a': {}, 'f:b': {} } } }])
  })

  test('of an object that never was ours, an entry is made', () => {
    const patch = takeOverPatch(object(update('before-first-apply', { 'f:data': {} })), 'v1')
    expect(patch?.[1]?.value).toMatchObject([
      { manager: 'fairlead', operation: 'Apply', apiVersion: 'v1', fieldsV1: { 'f:data': {} } },
    ])
  })

  test('a restart stays with the person who asked for it', () => {
    const patch = takeOverPatch(
      object(ours, update('kubectl', unionFields(restart, { 'f:data': { 'f:b': {} } }))),
      'v1',
    )
    const entries = patch?.[1]?.value as ManagedFieldsEntry[]
    expect(entries.map(({ manager }) => manager)).toEqual(['kubectl', 'fairlead'])
    expect(JSON.stringify(entries[1])).not.toContain('restartedAt')
  })

  test('there is nothing to take from controllers, unless all is asked for', () => {
    const live = object(ours, update('operator', { 'f:data': { 'f:b': {} } }))
    expect(takeOverPatch(live, 'v1')).toBeUndefined()
    expect(takeOverPatch(live, 'v1', { scope: 'all' })).toBeDefined()
  })
})

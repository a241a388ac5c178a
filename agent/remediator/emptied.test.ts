// Which fields are emptied in the patch that takes them over, and which are left to the apply that follows.
import type { KubernetesObject } from '@fairlead/shared/object-reference'
import { expect, test } from 'vitest'
import { emptyAgain } from './emptied.ts'

const container = 'k:{"name":"c"}'
const declared = { spec: { map: {}, list: [], full: { a: '1' }, containers: [{ name: 'c', securityContext: {} }] } }
const seen = {
  apiVersion: 'v1',
  kind: 'X',
  metadata: { name: 'x' },
  spec: { containers: [{ name: 'other' }, { name: 'c', securityContext: { a: 1 } }] },
} as KubernetesObject

test.each([
  ['a map', { 'f:map': { 'f:x': {} } }, {}, [{ op: 'add', path: '/spec/map', value: {} }]],
  ['a list', { 'f:list': { 'k:{"name":"x"}': {} } }, {}, [{ op: 'add', path: '/spec/list', value: [] }]],
  [
    'a map in an item of a list',
    { 'f:containers': { [container]: { 'f:securityContext': { 'f:a': {} } } } },
    {},
    [{ op: 'add', path: '/spec/containers/1/securityContext', value: {} }],
  ],
] as const)('%s that is declared empty is emptied', (_what, taken, others, operations) => {
  expect(emptyAgain({ 'f:spec': taken }, declared, seen, others)).toEqual({ gone: { 'f:spec': taken }, operations })
})

test.each([
  ['what is not declared empty', { 'f:full': { 'f:b': {} } }, {}],
  ['what somebody else fills too', { 'f:map': { 'f:x': {} } }, { 'f:spec': { 'f:map': { 'f:y': {} } } }],
  ['a list that is owned as one', { 'f:list': {} }, {}],
  ['an item that was not seen', { 'f:containers': { 'k:{"name":"d"}': { 'f:securityContext': { 'f:a': {} } } } }, {}],
] as const)('%s is left to the apply', (_what, taken, others) => {
  expect(emptyAgain({ 'f:spec': taken }, declared, seen, others)).toEqual({ gone: {}, operations: [] })
})

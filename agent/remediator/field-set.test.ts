import { expect, test } from 'vitest'
import { formatFieldPaths } from './field-set.ts'

test.each([
  [
    'a map that came with fields, by its fields alone',
    { 'f:metadata': { 'f:annotations': { '.': {}, 'f:by': {} } } },
    ['metadata.annotations.by'],
  ],
  [
    'the same as other API servers list it',
    { 'f:metadata': { 'f:annotations': { 'f:by': {} } } },
    ['metadata.annotations.by'],
  ],
  ['a map without fields', { 'f:spec': { 'f:emptyDir': { '.': {} } } }, ['spec.emptyDir']],
  [
    'an item of a list that came as a whole',
    { 'f:spec': { 'f:containers': { 'k:{"name":"x"}': { '.': {}, 'f:name': {} } } } },
    ['spec.containers[name=x]', 'spec.containers[name=x].name'],
  ],
])('%s', (_what, fields, paths) => expect(formatFieldPaths(fields)).toEqual(paths))

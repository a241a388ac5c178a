// What of a field's path may be told of an object whose values were encrypted.
import { expect, test } from 'vitest'
import { toldFields } from './told-fields.ts'

const item = 'spec.env[name=k0rrekt-horse].value'

test.each([
  ['a plain object', { sensitive: false }, [item, item], [item, item]],
  ['an item', { sensitive: true }, [item, 'data.a'], ['spec.env[…].value', 'data.a']],
  ['items within items', { sensitive: true }, ['a[name=b].c[name=d]'], ['a[…]']],
  ['a name with brackets and lines', { sensitive: true }, ['a[name=k]0[\nrrekt].b'], ['a[…].b']],
  ['several items', { sensitive: true }, ['a[name=b]', 'a[name=c]'], ['a[…]']],
  ['what is no longer declared', undefined, [item], ['spec.env[…].value']],
] as const)('paths of %s', (_what, declared, fields, told) => {
  expect(toldFields(declared, fields)).toEqual(told)
})

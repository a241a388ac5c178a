import { create } from '@bufbuild/protobuf'
import { LabelSelectorSchema } from '@fairlead/proto/definitions'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  findLabelsProblems,
  findNameProblem,
  findSelectorProblems,
  matchesSelector,
  parseSelector,
} from './label-selector.ts'

describe('names', () => {
  test.each(['c1', 'c10', 'c1-a', 'a', '0', 'prod-eu-1', 'a'.repeat(63), 'xn--nxasmq6b'])('%s is a name', (name) => {
    expect(findNameProblem(name)).toBeUndefined()
  })

  test.each([
    '',
    'a.b',
    '*',
    '>',
    'c*',
    'a b',
    'C1',
    'Prod',
    'ümlaut',
    'сluster', // begins with a Cyrillic letter
    'c１', // a full-width digit
    '-a',
    'a-',
    'a_b',
    'a/b',
    '../etc',
    'a\n',
    'a\0',
    '$SYS',
    'a'.repeat(64),
  ])('%j is none', (name) => {
    expect(findNameProblem(name)).toBeDefined()
  })
})

describe('labels', () => {
  test('follow the rules of Kubernetes', () => {
    const good = { env: 'prod', 'example.com/tier_1': 'A.b-c', a: '', 'x.y/Z': '1' }
    expect(findLabelsProblems(good)).toEqual([])
    const bad = { 'a b': '', '/x': '', 'Upper.com/x': '', k: 'a b', '': '', long: 'a'.repeat(64), 'a/b/c': '' }
    expect(findLabelsProblems(bad)).toHaveLength(7)
  })
})

describe('a selector', () => {
  const labels = { env: 'prod', region: 'eu', empty: '' }

  test.each([
    ['', true],
    ['env=prod', true],
    ['env==prod', true],
    ['env=prod,region=us', false],
    ['env!=dev,region!=us', true],
    ['env!=prod', false],
    ['missing!=x', true],
    ['env in (dev, prod),region notin (us)', true],
    ['env notin (prod)', false],
    ['missing in (a)', false],
    ['env', true],
    ['!env', false],
    ['!missing', true],
    ['missing', false],
    ['empty=', true],
    ['missing=', false],
    ['toString', false],
    ['!constructor', true],
  ])('%j is %s for env=prod, region=eu', (text, expected) => {
    expect(matchesSelector(parseSelector(text), labels)).toBe(expected)
  })

  test.each(['env=prod,', 'a=b=c', 'env in prod', 'env in ()x', '=x', 'env = a b', 'ü=1', 'a in (b', ',', 'a>1'])(
    '%j is refused',
    (text) => {
      expect(() => parseSelector(text)).toThrow(/selector/)
    },
  )

  test('of a definition is checked field by field', () => {
    const selector = create(LabelSelectorSchema, {
      matchLabels: { 'a b': 'x' },
      matchExpressions: [
        { key: 'env', operator: 'in', values: ['a'] },
        { key: '', operator: 'Exists' },
        { key: 'env', operator: 'In' },
        { key: 'env', operator: 'Exists', values: ['a'] },
        { key: 'env', operator: 'NotIn', values: ['a b'] },
      ],
    })
    expect(findSelectorProblems(selector).map((problem) => problem.field)).toEqual([
      'matchLabels',
      'matchExpressions[0].operator',
      'matchExpressions[1].key',
      'matchExpressions[2].values',
      'matchExpressions[3].values',
      'matchExpressions[4].values',
    ])
  })

  test('and its opposite never both hold, and one of them always does', () => {
    const value = fc.constantFrom('a', 'b', 'c')
    const anyLabels = fc.dictionary(fc.constantFrom('k', 'l'), value)
    fc.assert(
      fc.property(anyLabels, fc.uniqueArray(value, { minLength: 1 }), (someLabels, values) => {
        const list = values.join(',')
        const holds = (text: string): boolean => matchesSelector(parseSelector(text), someLabels)
        return holds(`k in (${list})`) !== holds(`k notin (${list})`) && holds('k') !== holds('!k')
      }),
    )
  })
})

import { expect, test } from 'vitest'
import { findMalformedVariables, replaceVariables } from './variables.ts'

const shown = (text: string): string => replaceVariables(text, ({ name, fault }) => (fault ? `!${name}!` : `<${name}>`))

test.each([
  ['a name', '${cluster.name}', '<cluster.name>'],
  ['a label', 'x-${cluster.labels.env}-y', 'x-<cluster.labels.env>-y'],
  [
    'a label of a domain',
    '${cluster.labels.topology.kubernetes.io/region}',
    '<cluster.labels.topology.kubernetes.io/region>',
  ],
  ['a value', '${cluster.values.dns_zone.v2}', '<cluster.values.dns_zone.v2>'],
  ['several, side by side', '${cluster.name}${cluster.name}', '<cluster.name><cluster.name>'],
  ['what is meant literally', '$${cluster.name}', '${cluster.name}'],
  ['what is meant literally, in a row', '$${cluster.name}${cluster.name}', '${cluster.name}<cluster.name>'],
  ['a dollar before what is meant literally', '$$${cluster.foo}', '$${cluster.foo}'],
  [
    'a variable of a shell',
    '${HOME} $HOME ${cluster} ${clusters.x} ${cluster:-a} $$',
    '${HOME} $HOME ${cluster} ${clusters.x} ${cluster:-a} $$',
  ],
  [
    'a variable of Grafana',
    '${datasource} $__rate_interval ${cluster_name}',
    '${datasource} $__rate_interval ${cluster_name}',
  ],
  ['an unknown root', '${cluster.foo}', '!cluster.foo!'],
  ['an empty one', '${cluster.}', '!cluster.!'],
  ['a label without a key', '${cluster.labels.}', '!cluster.labels.!'],
  ['a label without a point', '${cluster.labels}', '!cluster.labels!'],
  ['more after the name', '${cluster.name.x}', '!cluster.name.x!'],
  ['a key with a space', '${cluster.values.a b}', '!cluster.values.a b!'],
  ['a default', '${cluster.values.a:-b}', '!cluster.values.a:-b!'],
  ['one without an end', 'a ${cluster.name', 'a !cluster.name!'],
  ['one that ends on another line', '${cluster.name\n}', '!cluster.name!\n}'],
])('%s is told apart', (_what, text, expected) => {
  expect(shown(text)).toBe(expected)
})

test('what is put in is not looked at again', () => {
  expect(replaceVariables('${cluster.name}', () => '${cluster.values.a} $& $1')).toBe('${cluster.values.a} $& $1')
})

test('a fault says what is there instead, and how to keep the text', () => {
  expect(findMalformedVariables('${cluster.name} ${cluster.foo} $${cluster.bar}').map(({ fault }) => fault)).toEqual([
    '${cluster.foo} is no variable: there are cluster.name, cluster.labels.<key> and cluster.values.<key>; write $${cluster.foo} to keep the text as it is',
  ])
})

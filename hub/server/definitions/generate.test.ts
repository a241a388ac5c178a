import { create } from '@bufbuild/protobuf'
import { type ForEach, ForEachSchema } from '@fairlead/proto/definitions'
import { expect, test } from 'vitest'
import { type Each, eachEntry, eachFolder, generate, MAX_GENERATED } from './generate.ts'

const template = {
  source: { repository: 'shop', path: '${each.path}' },
  placement: { clusters: {} },
  namespace: '${each.name}',
}
const forEach = (more: Partial<Parameters<typeof create<typeof ForEachSchema>>[1]> = {}): ForEach =>
  create(ForEachSchema, { template, ...more } as never)
const each = (name: string, more: Readonly<Record<string, string>> = {}): Each => ({
  place: { file: `apps/${name}` },
  variables: new Map(Object.entries({ name, path: `apps/${name}`, ...more })),
})
const told = (documents: ReturnType<typeof generate>) =>
  documents.map(({ object, definition, problems }) =>
    definition ? object : `${object} ${problems.map(({ field, message }) => `${field}: ${message}`).join('; ')}`,
  )

test('an Application for each, with its name, labels and whatever the template says', () => {
  const documents = generate('tenants', forEach({ labels: { tenant: '${each.name}' } }), [each('a'), each('b')])
  expect(told(documents)).toEqual(['Application/tenants-a', 'Application/tenants-b'])
  expect(documents[1]?.definition).toMatchObject({
    kind: 'Application',
    name: 'tenants-b',
    labels: { tenant: 'b' },
    spec: { source: { repository: 'shop', path: 'apps/b' }, namespace: 'b', placement: { clusters: {} } },
    source: { file: 'apps/b' },
  })
})

test('a template of a cluster goes there, unless it says otherwise', () => {
  const one: Each = { ...each('eu'), cluster: 'eu' }
  const spec = (definition: ReturnType<typeof generate>[number] | undefined) => definition?.definition?.spec
  expect(spec(generate('x', forEach({ template: { source: {} } }), [one])[0])).toMatchObject({
    placement: { names: ['eu'] },
  })
  expect(spec(generate('x', forEach(), [one])[0])).toMatchObject({ placement: { names: [], clusters: {} } })
})

test('what is wrong with one stops only that one, which is still known by its name', () => {
  const made = generate('x', forEach({ name: '${each.name}', template: { namespace: '${each.space}', nmae: 1 } }), [
    each('a', { space: 'one' }),
    each('b'),
    each('Bad Name', { space: 'two' }),
    each('c', { space: 'y'.repeat(2_000) }),
  ])
  expect(told(made)).toEqual([
    expect.stringMatching(/^Application\/a spec.nmae: /),
    'Application/b spec.forEach.template.namespace: ${each.space} is not there',
    expect.stringMatching(/^Application\/Bad Name spec.nmae: .*; metadata.name: /),
    'Application/c spec.forEach: ${each.space} is longer than 1024 characters',
  ])
})

test('one whose name cannot be made is known by none, so that nothing can be taken to be gone', () => {
  expect(told(generate('x', forEach({ name: '${each.id}' }), [each('a')]))[0]).toBe(
    'Application/ spec.forEach.name: ${each.id} is not there',
  )
})

test('two of one name are both wrong, and say so of each other', () => {
  expect(
    told(
      generate('x', forEach({ name: '${each.team}' }), [
        each('a', { team: 't' }),
        each('b', { team: 't' }),
        each('c', { team: 'u' }),
      ]),
    ),
  ).toEqual([
    'Application/t metadata.name: is made for apps/b too: neither is changed',
    'Application/t metadata.name: is made for apps/a too: neither is changed',
    'Application/u',
  ])
})

test('too many are none', () => {
  const many = Array.from({ length: MAX_GENERATED + 1 }, (_, index) => each(`n${index}`))
  expect(() => generate('x', forEach(), many)).toThrow(`the limit is ${MAX_GENERATED}`)
})

test('variables in keys and lists are replaced too, and those of clusters are left to the agent', () => {
  const values = { '${each.name}': ['${each.name}-${each.name}', '${cluster.name}'], n: 3, __proto__: { x: 1 } }
  const [made] = generate('x', forEach({ template: { ...template, render: { helm: { values } } } } as never), [
    each('a'),
  ])
  expect(made?.definition?.spec).toMatchObject({
    render: { helm: { values: { a: ['a-a', '${cluster.name}'], n: 3 } } },
  })
})

test('folders: what is left out, and what the stars stand for', () => {
  const folders = ['tenants/a/apps/web', 'tenants/b/apps/api', 'tenants/b/apps/old-x', 'tenants/template/apps/web']
  const made = eachFolder(
    { path: './tenants/*/apps/*', exclude: ['tenants/template/apps/*', 'tenants/*/apps/old-*'] } as never,
    folders,
  )
  expect(made.map(({ variables }) => Object.fromEntries(variables))).toEqual([
    { path: 'tenants/a/apps/web', name: 'web', part1: 'a', part2: 'web' },
    { path: 'tenants/b/apps/api', name: 'api', part1: 'b', part2: 'api' },
  ])
})

test('entries of files: mappings by key, as text; or lines', () => {
  const yaml = '- {name: a, version: 1.10, on: yes, nested: {x: 1}}\n- {name: b}\n'
  expect(eachEntry('t.yaml', yaml).map(({ place, variables }) => [place.file, Object.fromEntries(variables)])).toEqual([
    ['t.yaml[0]', { name: 'a', version: '1.10', on: 'yes' }],
    ['t.yaml[1]', { name: 'b' }],
  ])
  expect(eachEntry('t.json', '[{"name": "a", "port": 80}]')[0]?.variables.get('port')).toBe('80')
  expect(
    eachEntry('t.txt', '# teams\n\n  a \r\nb\n').map(({ place, variables }) => [place.line, variables.get('name')]),
  ).toEqual([
    [3, 'a'],
    [4, 'b'],
  ])
  expect(eachEntry('t.yaml', '[]')).toEqual([])
})

test.for(['', 'a: 1', '- 1', '- [a]', '- {a: [', '- null'])('%j is no list of mappings', (text) => {
  expect(() => eachEntry('t.yaml', text)).toThrow(expect.objectContaining({ code: 'InvalidYaml' }))
})

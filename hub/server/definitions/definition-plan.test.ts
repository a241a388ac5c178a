import { fromJsonString } from '@bufbuild/protobuf'
import { ApplicationSpecSchema } from '@fairlead/proto/definitions'
import { describe, expect, test } from 'vitest'
import type { Owner } from '../store/schema.ts'
import { readCommitContent } from './commit-content.ts'
import { type DefinitionPlan, planDefinitions, type StoredDefinition } from './definition-plan.ts'

const head = 'apiVersion: fairlead.dev/v1alpha1\n'
const repository = (name: string, more = '') =>
  `${head}kind: Repository\nmetadata: {name: ${name}}\nspec:\n  url: https://git.example.com/${name}\n${more}`
const application = (name: string, more = '') =>
  `${head}kind: Application\nmetadata: {name: ${name}}\nspec:\n  source: {repository: shop}\n  placement: {clusters: {}}\n${more}`

const FLEET: StoredDefinition = {
  kind: 'Repository',
  name: 'fleet',
  labels: '{}',
  spec: '{"url":"https://git.example.com/fleet","definitions":{}}',
  owner: '',
  origin: '',
  deleting: null,
}
const stored = (
  kind: 'Repository' | 'Application',
  name: string,
  { owner = 'git:fleet' as Owner, origin = 'old.yaml:1', more = {}, labels = {} } = {},
): StoredDefinition => ({
  kind,
  name,
  labels: JSON.stringify(labels),
  spec: JSON.stringify(
    kind === 'Repository'
      ? { url: `https://git.example.com/${name}` }
      : { source: { repository: 'shop' }, placement: { clusters: {} }, ...more },
  ),
  owner,
  origin,
  deleting: null,
})
const SHOP = stored('Repository', 'shop')

type Files = Readonly<Record<string, string>>

function plan(files: Files, rows: readonly StoredDefinition[], { adopt = false, skipped = [] as string[] } = {}) {
  const content = readCommitContent({
    files: Object.entries(files).map(([path, text]) => ({ path, bytes: Buffer.from(text) })),
    skipped: skipped.map((path) => ({ path, kind: 'symlink', message: 'the link leads out of the repository' })),
  })
  const applications = rows.filter(({ kind, deleting }) => kind === 'Application' && deleting === null)
  const specs = new Map(applications.map(({ name, spec }) => [name, fromJsonString(ApplicationSpecSchema, spec)]))
  return describePlan(
    planDefinitions(content, { rows: [FLEET, ...rows], specs }, { owner: 'git:fleet', place: 'Git', adopt }),
  )
}

function describePlan({ store, remove, hold, problems }: DefinitionPlan) {
  const names = (list: readonly { kind: string; name: string }[]) => list.map(({ kind, name }) => `${kind}/${name}`)
  const told = problems.map(({ file, object, message }) => `${file ?? ''} ${object ?? ''}: ${message}`)
  return { store: names(store), remove: names(remove), hold: names(hold), problems: told }
}

const nothing = { store: [], remove: [], hold: [], problems: [] }
const apps = (count: number) => Array.from({ length: count }, (_, index) => `app-${index}`)

describe('what a commit defines', () => {
  test('is stored, repositories before applications, whichever file they are in', () => {
    const files = { 'a/web.yaml': application('web'), 'z.yml': repository('shop'), 'readme.md': 'kind: [' }
    expect(plan(files, [])).toEqual({ ...nothing, store: ['Repository/shop', 'Application/web'] })
  })

  test('stops only where it is wrong: what depends on that stops with it, the others are stored, and nothing of it is removed', () => {
    const files = {
      'db.yaml': application('db', '  namespce: db\n'),
      'web.yaml': application('web', '  dependsOn: [db]\n'),
      'other.yaml': application('other'),
    }
    const fresh = plan(files, [SHOP])
    expect(fresh).toMatchObject({ store: ['Application/other'], remove: ['Repository/shop'] })
    expect(fresh.problems).toEqual([
      expect.stringContaining('db.yaml Application/db: unknown field "namespce"'),
      expect.stringContaining('web.yaml Application/web: there is no Application db'),
    ])
    // With the earlier db in force, web can go on.
    expect(plan(files, [SHOP, stored('Application', 'db'), stored('Application', 'web')])).toMatchObject({
      store: ['Application/web', 'Application/other'],
      hold: [],
    })
  })

  test('stops where applications wait for themselves in a circle', () => {
    const files = {
      'a.yaml': application('a', '  dependsOn: [b]\n'),
      'b.yaml': application('b', '  dependsOn: [a]\n'),
      'c.yaml': application('c'),
    }
    const { store, problems } = plan({ ...files, 'shop.yaml': repository('shop') }, [])
    expect(store).toEqual(['Repository/shop', 'Application/c'])
    expect(problems).toHaveLength(2)
  })

  test('stops with all that wait for it, however long the row, in bounded time', () => {
    const row = (count: number, more = ''): Files =>
      Object.fromEntries([
        ['0.yaml', application('a-0', '  namespce: x\n')],
        ...Array.from({ length: count }, (_, index) => [
          `${index + 1}.yaml`,
          application(`a-${index + 1}`, `  dependsOn: [a-${index}]\n${more}`),
        ]),
      ])
    const short = plan({ ...row(10), 'other.yaml': application('other') }, [SHOP])
    expect(short).toMatchObject({ store: ['Application/other'], remove: ['Repository/shop'] })
    // A round for each of them would take minutes.
    const long = plan({ ...row(1_000), 'other.yaml': application('other') }, [SHOP])
    expect(long.store).toEqual(['Application/other'])
    expect(long.problems).toHaveLength(1_001)
  })

  test('is taken once where it is given twice', () => {
    const { store, problems } = plan({ 'a.yaml': application('web'), 'b.yaml': application('web') }, [SHOP])
    expect(store).toEqual(['Application/web'])
    expect(problems).toEqual([expect.stringContaining('b.yaml Application/web: is given twice')])
  })
})

describe('what is gone', () => {
  const shop = { 'shop.yaml': repository('shop') }
  const keep = (names: readonly string[]): Files => ({
    ...shop,
    'apps.yaml': names.map((name) => application(name)).join('---\n'),
  })
  const all = (names: readonly string[]) => [SHOP, ...names.map((name) => stored('Application', name))]

  test('is removed, applications before repositories', () => {
    const rows = [...all(['a', 'b', 'c']), stored('Repository', 'old')]
    expect(plan(keep(['a', 'b']), rows)).toMatchObject({ remove: ['Application/c', 'Repository/old'], hold: [] })
  })

  test('is not removed while any file cannot be read, or a document names nothing', () => {
    const rows = all(['a', 'b', 'c'])
    expect(plan({ ...keep(['a', 'b']), 'x.yaml': 'a: [' }, rows)).toMatchObject({ remove: [], hold: [] })
    expect(plan({ ...keep(['a', 'b']), 'x.yaml': `${head}kind: Application` }, rows)).toMatchObject({
      remove: [],
      hold: [],
    })
    const misspelt = application('c').replace('kind: Application', 'kind: Aplication')
    expect(plan({ ...keep(['a', 'b']), 'x.yaml': misspelt }, rows)).toMatchObject({ remove: [], hold: [] })
    expect(plan(keep(['a', 'b']), rows, { skipped: ['linked'] })).toMatchObject({ remove: [], hold: [] })
    expect(plan({ ...keep(['a', 'b']), 'x.json': 'x'.repeat(1024 * 1024 + 1) }, rows)).toMatchObject({
      remove: [],
      hold: [],
      problems: ['x.json : has 1048577 bytes; the limit is 1048576'],
    })
  })

  test('is not removed when it was made by hand, comes from elsewhere, or is the followed repository itself', () => {
    const others = [
      stored('Application', 'hand', { owner: '' }),
      stored('Application', 'other', { owner: 'git:other' }),
      stored('Application', 'made', { owner: 'application:web' }),
      { ...FLEET, owner: 'git:fleet' as const },
    ]
    expect(plan(shop, [SHOP, ...others])).toEqual({ ...nothing, store: ['Repository/shop'] })
  })

  test.each([
    [4, 2, false],
    [4, 3, true],
    [1, 1, true],
    [30, 9, false],
    [30, 10, true],
  ])('of %d applications, %d at once: held is %j', (count, gone, isHeld) => {
    const names = apps(count)
    const { remove, hold } = plan(keep(names.slice(gone)), all(names))
    expect([remove.length, hold.length]).toEqual(isHeld ? [0, gone] : [gone, 0])
  })

  test('stays held when others were deleted by hand, until it is there again', () => {
    const held = stored('Application', 'held', { origin: '' })
    const rows = [...all(['a', 'b', 'c']), held]
    const { hold, problems } = plan(keep(['a', 'b', 'c']), rows)
    expect(hold).toEqual(['Application/held'])
    expect(problems).toEqual([expect.stringContaining('fairlead delete application held')])
    expect(plan(keep(['a', 'b', 'c', 'held']), rows)).toMatchObject({ hold: [], problems: [] })
  })

  test('is held when its label says that it is protected', () => {
    const rows = [...all(['a', 'b', 'c']), stored('Application', 'd', { labels: { 'fairlead.dev/protected': 'true' } })]
    expect(plan(keep(['a', 'b', 'c']), rows)).toMatchObject({ remove: [], hold: ['Application/d'] })
  })
})

describe('what exists already', () => {
  const files = { 'web.yaml': application('web'), 'shop.yaml': repository('shop') }

  test('by hand and is equal is taken over; what differs is told, and taken over by adopt only', () => {
    const equal = stored('Application', 'web', { owner: '' })
    expect(plan(files, [SHOP, equal]).store).toContain('Application/web')
    const differs = stored('Application', 'web', { owner: '', more: { namespace: 'web' } })
    const told = plan(files, [SHOP, differs])
    expect(told.store).toEqual(['Repository/shop'])
    expect(told.problems).toEqual([expect.stringContaining('web.yaml Application/web: was made by hand')])
    expect(plan(files, [SHOP, differs], { adopt: true }).store).toContain('Application/web')
  })

  test('from another repository stays there, whatever adopt says', () => {
    const other = stored('Application', 'web', { owner: 'git:other' })
    const { store, problems } = plan(files, [SHOP, other], { adopt: true })
    expect(store).toEqual(['Repository/shop'])
    expect(problems).toEqual([expect.stringContaining('comes from Git: change it in old.yaml:1 of Repository/other')])
  })
})

describe('a repository that is followed', () => {
  const follows = '  definitions: {path: fleet}\n'

  test('is not named by the definitions of another', () => {
    const { store, problems } = plan({ 'a.yaml': repository('next', follows) }, [])
    expect(store).toEqual([])
    expect(problems).toEqual([expect.stringContaining('is given by hand only')])
  })

  test('may have its own definition, which never ends that it is followed', () => {
    const own = { ...FLEET, owner: 'git:fleet' as const }
    expect(plan({ 'a.yaml': repository('fleet', follows) }, [own]).store).toEqual(['Repository/fleet'])
    const ended = plan({ 'a.yaml': repository('fleet') }, [own])
    expect(ended.store).toEqual([])
    expect(ended.problems).toEqual([expect.stringContaining('fairlead unbootstrap fleet')])
  })
})

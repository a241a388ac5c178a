// Applications made by forEach, from a Git server over smart HTTP: what is given is what there is, and nothing goes because
// something could not be read.
import { create } from '@bufbuild/protobuf'
import type { GitRepository } from '@fairlead/e2e/harness/git-server'
import { waitFor } from '@fairlead/e2e/harness/wait'
import { DefinitionDocumentSchema } from '@fairlead/proto/definitions'
import { silentLogger } from '@fairlead/shared/logger'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { createDefinitions, type Definitions } from './definitions/definitions.ts'
import { createGeneratorSync, type GeneratorSync } from './generator-sync.ts'
import { placeApplication } from './placer/placer.ts'
import { openTrackerBed, type TrackerBed } from './tracker/tracker.test-support.ts'

let bed: TrackerBed
let sync: GeneratorSync
let definitions: Definitions
let shop: GitRepository

const head = { apiVersion: 'fairlead.dev/v1alpha1' }
const application = (name: string, spec: object) => ({ ...head, kind: 'Application', metadata: { name }, spec })
const repository = () => ({
  ...head,
  kind: 'Repository',
  metadata: { name: 'shop' },
  spec: { url: shop.url, pollInterval: '1s' },
})
const template = { source: { repository: 'shop', path: 'x' }, placement: { clusters: {} } }
const folders = (more: object = {}) => ({
  forEach: {
    folders: { repository: 'shop', path: 'apps/*' },
    name: '${each.name}',
    template: { ...template, source: { repository: 'shop', path: '${each.path}' } },
    ...more,
  },
})

async function apply(...documents: object[]): Promise<void> {
  const wire = documents.map((document) => create(DefinitionDocumentSchema, { json: JSON.stringify(document) }))
  await definitions.apply(wire, { dryRun: false, actor: 'admin' })
}

async function start(): Promise<void> {
  const tracker = await bed.start({ onChange: () => sync.wake() })
  sync = createGeneratorSync({ store: bed.store, tracker, onChange: () => tracker.refresh(), logger: silentLogger })
  sync.start()
}

/** `name origin` of each that a generator made. */
const made = async (generator = 'apps') => {
  const rows = bed.store.db.selectFrom('applications').select(['name', 'origin', 'deleting'])
  const all = await rows.where('owner', '=', `application:${generator}`).orderBy('name').execute()
  return all.filter(({ deleting }) => deleting === null).map(({ name, origin }) => `${name} ${origin}`)
}
const problems = async (generator = 'apps') => {
  const { status } = await definitions.getApplication(generator)
  return (status?.problems ?? []).map(({ code, message }) => `${code} ${message}`)
}
const madeIs = async (expected: readonly string[], generator = 'apps') =>
  await waitFor(`${generator} to make ${expected.join(', ') || 'none'}`, async (see) => {
    const now = await made(generator)
    see([now, await problems(generator)])
    return JSON.stringify(now) === JSON.stringify(expected)
  })
const told = async (words: string, generator = 'apps') =>
  await waitFor(`${generator} to tell ${words}`, async (see) => {
    const now = await problems(generator)
    see(now)
    return now.find((problem) => problem.includes(words))
  })
const cluster = async (name: string, labels: object, values: object = {}) => {
  const row = { id: name, name, labels: JSON.stringify(labels), cluster_values: JSON.stringify(values), created_at: 0 }
  await bed.store.db
    .insertInto('clusters')
    .values({ ...row, public_key: null, facts: null, joined_at: null })
    .execute()
  sync.wake()
}

beforeEach(async () => {
  bed = await openTrackerBed()
  shop = bed.git.createRepository('shop')
  const onChange = (): void => {
    bed.tracker.refresh()
    sync.wake()
  }
  definitions = createDefinitions({ store: bed.store, placeApplication, onChange, logger: silentLogger })
  await start()
})
afterEach(async () => {
  await sync.stop()
  await bed[Symbol.asyncDispose]()
})

test('one Application for each folder: those that come, change and go', async () => {
  shop.commit({ 'apps/a/x.yaml': 'a', 'apps/b/x.yaml': 'b', 'apps/README': '', 'other/c/x.yaml': '' })
  await apply(repository(), application('apps', folders()))
  await madeIs(['a apps/a', 'b apps/b'])
  expect((await definitions.getApplication('a')).spec?.source).toMatchObject({ repository: 'shop', path: 'apps/a' })
  expect((await definitions.getApplication('apps')).status).toMatchObject({ generated: 2, problems: [] })
  shop.commit({ 'apps/c/x.yaml': 'c', 'apps/d/x.yaml': 'd', 'apps/a/x.yaml': undefined })
  await madeIs(['b apps/b', 'c apps/c', 'd apps/d'])
  const { generation } = (await definitions.getApplication('b')).metadata ?? {}
  await apply(application('apps', folders({ labels: { tier: '${each.name}' } })))
  await waitFor('the label', async () => (await definitions.getApplication('b')).metadata?.labels.tier === 'b')
  expect((await definitions.getApplication('b')).metadata?.generation).toBe(generation)
})

test('what is made is changed there only, and goes with what made it', async () => {
  shop.commit({ 'apps/a/x.yaml': 'a' })
  await apply(repository(), application('apps', folders()))
  await madeIs(['a apps/a'])
  await expect(definitions.deleteApplication({ name: 'a', orphan: false }, 'admin')).rejects.toThrow(
    'is generated by Application/apps',
  )
  await expect(apply(application('a', template))).rejects.toThrow()
  await expect(definitions.deleteRepository('shop', 'admin')).rejects.toThrow('is used by')
  await definitions.deleteApplication({ name: 'apps', orphan: false }, 'admin')
  expect(await definitions.listApplications()).toEqual([])
  await definitions.deleteRepository('shop', 'admin')
})

test('an input that cannot be read makes nothing new and takes nothing away', async () => {
  shop.commit({ 'teams.yaml': '- {name: a}\n- {name: b}\n' })
  const file = (path: string) => ({
    forEach: { file: { repository: 'shop', path }, name: 'team-${each.name}', template },
  })
  await apply(repository(), application('apps', file('teams.yaml')))
  await madeIs(['team-a teams.yaml[0]', 'team-b teams.yaml[1]'])
  shop.commit({ 'teams.yaml': '- {name: c\n' })
  await told('InvalidYaml')
  shop.commit({ 'teams.yaml': undefined, 'x.yaml': '' })
  await told('PathNotFound')
  await bed.git.setFault('error')
  await apply(
    application('apps', {
      forEach: { ...file('other.yaml').forEach, file: { repository: 'shop', ref: 'new', path: 'other.yaml' } },
    }),
  )
  await told('new of Repository/shop is not known yet')
  await bed.git.setFault('none')
  await apply(application('apps', file('teams.yaml')))
  expect(await made()).toEqual(['team-a teams.yaml[0]', 'team-b teams.yaml[1]'])
  shop.commit({ 'teams.yaml': '- {name: b}\n- {name: c}\n' })
  await madeIs(['team-b teams.yaml[0]', 'team-c teams.yaml[1]'])
  expect(await problems()).toEqual([])
})

test('one that is wrong, or twice, stops only itself and is not taken to be gone', async () => {
  shop.commit({ 'teams.yaml': '- {name: a, ns: one}\n- {name: b, ns: two}\n' })
  const forEach = {
    file: { repository: 'shop', path: 'teams.yaml' },
    name: '${each.name}',
    template: { ...template, namespace: '${each.ns}' },
  }
  await apply(repository(), application('apps', { forEach }))
  await madeIs(['a teams.yaml[0]', 'b teams.yaml[1]'])
  shop.commit({
    'teams.yaml':
      '- {name: a, ns: Wrong One}\n- {name: b}\n- {name: c, ns: three}\n- {name: d, ns: x}\n- {name: d, ns: y}\n',
  })
  await madeIs(['a teams.yaml[0]', 'b teams.yaml[1]', 'c teams.yaml[2]'])
  expect((await definitions.getApplication('a')).spec?.namespace).toBe('one')
  expect(await problems()).toEqual([
    expect.stringContaining('Application/a: spec.namespace'),
    expect.stringContaining('${each.ns} is not there'),
    expect.stringContaining('Application/d: metadata.name: is made for teams.yaml[4] too'),
    expect.stringContaining('Application/d: metadata.name: is made for teams.yaml[3] too'),
  ])
})

test('what somebody else has is left alone, and told', async () => {
  shop.commit({ 'apps/a/x.yaml': 'a', 'apps/b/x.yaml': 'b', 'apps/apps/x.yaml': '' })
  await apply(repository(), application('a', template), application('apps', folders()))
  await madeIs(['b apps/b'])
  expect(await problems()).toEqual([
    expect.stringContaining('Application/a: was made by hand'),
    expect.stringContaining('Application/apps: was made by hand'),
  ])
  expect((await definitions.getApplication('apps')).spec?.forEach).toBeDefined()
})

test('many that go at once are held until somebody says so', async () => {
  const apps = Object.fromEntries(['a', 'b', 'c', 'd'].map((name) => [`apps/${name}/x.yaml`, name]))
  shop.commit(apps)
  await apply(repository(), application('apps', folders()))
  await madeIs(['a apps/a', 'b apps/b', 'c apps/c', 'd apps/d'])
  shop.commit({ 'apps/a/x.yaml': undefined, 'apps/b/x.yaml': undefined, 'apps/c/x.yaml': undefined })
  expect(await told('PruneHeld')).toContain('too much left what Application/apps is made for at once')
  await madeIs(['a ', 'b ', 'c ', 'd apps/d'])
  await definitions.deleteApplication({ name: 'a', orphan: false }, 'admin')
  shop.commit({ 'apps/b/x.yaml': 'again' })
  await madeIs(['b apps/b', 'c ', 'd apps/d'])
})

test('one Application for each cluster of a selector, with its labels and values', async () => {
  shop.commit({ 'x/x.yaml': '' })
  const forEach = {
    clusters: { matchLabels: { env: 'prod' } },
    name: 'edge-${each.name}',
    template: { source: { repository: 'shop', path: 'x' }, namespace: '${each.values.space}' },
  }
  await cluster('eu', { env: 'prod' }, { space: 'west' })
  await apply(repository(), application('apps', { forEach }))
  await madeIs(['edge-eu cluster eu'])
  expect((await definitions.getApplication('edge-eu')).spec).toMatchObject({
    namespace: 'west',
    placement: { names: ['eu'] },
  })
  await cluster('us', { env: 'prod' }, { space: 'east' })
  await cluster('asia', { env: 'prod' })
  await cluster('dev', { env: 'dev' })
  await madeIs(['edge-eu cluster eu', 'edge-us cluster us'])
  expect(await problems()).toEqual([
    expect.stringContaining(
      'Application/edge-asia: spec.forEach.template.namespace: ${each.values.space} is not there',
    ),
  ])
})

test('suspended, it changes nothing; turned into an application of its own, it leaves what it made to people', async () => {
  shop.commit({ 'apps/a/x.yaml': 'a' })
  await apply(repository(), application('apps', folders()))
  await madeIs(['a apps/a'])
  await definitions.suspendApplication({ name: 'apps', suspend: true }, 'admin')
  const second = shop.commit({ 'apps/b/x.yaml': 'b' })
  await bed.seen(second, 'shop', '')
  await apply(application('other', { ...folders({ folders: { repository: 'shop', path: 'apps/b' } }) }))
  await madeIs(['b apps/b'], 'other')
  expect(await made()).toEqual(['a apps/a'])
  await apply(application('apps', template))
  await waitFor('a to be by hand', async () => (await definitions.getApplication('a')).metadata?.owner === '')
})

test('a thousand Applications need one document, and a commit that changes one of them changes one row', async () => {
  const apps = Object.fromEntries(Array.from({ length: 1_000 }, (_, index) => [`apps/n${index}/x.yaml`, '']))
  shop.commit(apps)
  await apply(repository(), application('apps', folders()))
  await waitFor('a thousand', async () => (await made()).length === 1_000, { timeoutMs: 60_000 })
  const audited = async () => (await bed.store.db.selectFrom('audit').select('id').execute()).length
  const before = await audited()
  shop.commit({ 'apps/n7/x.yaml': undefined, 'apps/n8/x.yaml': 'changed' })
  await waitFor('one to go', async () => (await made()).length === 999, { timeoutMs: 60_000 })
  expect(await audited()).toBe(before + 1)
}, 120_000)

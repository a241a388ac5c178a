// Definitions from a Git server over smart HTTP: what a commit says is what the database holds, and nothing goes because
// something could not be read.

import { create } from '@bufbuild/protobuf'
import type { GitRepository } from '@fairlead/e2e/harness/git-server'
import { startRegistry } from '@fairlead/e2e/harness/registry'
import { waitFor } from '@fairlead/e2e/harness/wait'
import { DefinitionDocumentSchema } from '@fairlead/proto/definitions'
import { silentLogger } from '@fairlead/shared/logger'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { createDefinitionSync, type DefinitionSync } from './definition-sync.ts'
import { createDefinitions, type Definitions } from './definitions/definitions.ts'
import { placeApplication } from './placer/placer.ts'
import { createRegistry } from './registry/registry.ts'
import { openTrackerBed, type TrackerBed } from './tracker/tracker.test-support.ts'

let bed: TrackerBed
let sync: DefinitionSync
let definitions: Definitions
let fleet: GitRepository

const head = { apiVersion: 'fairlead.dev/v1alpha1' }
const shop = { ...head, kind: 'Repository', metadata: { name: 'shop' }, spec: { url: 'https://git.example.com/shop' } }
const app = (name: string, more = {}) => ({
  ...head,
  kind: 'Application',
  metadata: { name },
  spec: { source: { repository: 'shop' }, placement: { clusters: {} }, ...more },
})
const source = (definitions?: object) => ({
  ...head,
  kind: 'Repository',
  metadata: { name: 'fleet' },
  spec: { url: fleet.url, pollInterval: '1s', ...(definitions && { definitions }) },
})
const yaml = (...documents: object[]) => documents.map((document) => JSON.stringify(document)).join('\n---\n')

async function apply(...documents: object[]): Promise<void> {
  const wire = documents.map((document) => create(DefinitionDocumentSchema, { json: JSON.stringify(document) }))
  await definitions.apply(wire, { dryRun: false, actor: 'admin' })
}

async function startSync(): Promise<void> {
  const tracker = await bed.start({ onChange: () => sync.wake() })
  sync = createDefinitionSync({ store: bed.store, tracker, onChange: () => tracker.refresh(), logger: silentLogger })
  sync.start()
}

async function stopSync(): Promise<void> {
  await sync.stop()
  await bed.stop()
}

/** Waits until a commit was looked at; what is wrong with it then. */
async function taken(commit: string): Promise<string[]> {
  let told: string[] = []
  await waitFor(`commit ${commit} to be taken over`, async (see) => {
    const { status } = await definitions.getRepository('fleet')
    see(JSON.stringify(status?.definitions?.problems.map(({ message }) => message)))
    told = (status?.definitions?.problems ?? []).map(
      ({ code, message, source: place }) => `${code} ${place?.file ?? ''}:${place?.line ?? 0} ${message}`,
    )
    return status?.definitions?.attemptedCommit === commit
  })
  return told
}

const names = async () => {
  const rows = await bed.store.db.selectFrom('applications').select(['name', 'origin']).orderBy('name').execute()
  return rows.map(({ name, origin }) => `${name} ${origin}`)
}

beforeEach(async () => {
  bed = await openTrackerBed()
  fleet = bed.git.createRepository('fleet')
  definitions = createDefinitions({
    store: bed.store,
    placeApplication,
    onChange: () => {
      bed.tracker.refresh()
      sync.wake()
    },
    logger: silentLogger,
  })
  await startSync()
})

afterEach(async () => {
  await stopSync()
  await bed[Symbol.asyncDispose]()
})

test('follows commits: new, changed and gone definitions, one broken one, and a file that cannot be read', async () => {
  const first = fleet.commit({
    'defs/shop.yaml': yaml(shop),
    'defs/a.yaml': yaml(app('a'), app('b')),
    'defs/c.yaml': yaml(app('c')),
  })
  await apply(source({ ref: 'main', path: './defs/' }))
  expect(await taken(first)).toEqual([])
  expect(await names()).toEqual(['a defs/a.yaml:1', 'b defs/a.yaml:3', 'c defs/c.yaml:1'])
  expect((await definitions.getRepository('shop')).metadata).toMatchObject({
    owner: 'git:fleet',
    origin: 'defs/shop.yaml:1',
  })
  await expect(definitions.deleteApplication({ name: 'a', orphan: false }, 'admin')).rejects.toThrow('defs/a.yaml:1')

  const broken = fleet.commit({
    'defs/a.yaml': yaml(app('a', { namespace: 'new' }), app('b', { nmespace: 'x' })),
    'defs/d.yaml': yaml(app('d')),
  })
  expect(await taken(broken)).toEqual([
    expect.stringContaining('InvalidArgument defs/a.yaml:3 Application/b: spec.nmespace'),
  ])
  expect((await definitions.getApplication('a')).spec?.namespace).toBe('new')
  expect((await names()).map((name) => name[0])).toEqual(['a', 'b', 'c', 'd'])

  const unreadable = fleet.commit({ 'defs/a.yaml': 'a: [', 'defs/c.yaml': undefined })
  expect(await taken(unreadable)).toEqual([expect.stringContaining('InvalidArgument defs/a.yaml:1 not valid YAML')])
  expect((await names()).map((name) => name[0])).toEqual(['a', 'b', 'c', 'd'])

  const repaired = fleet.commit({ 'defs/a.yaml': yaml(app('a'), app('b')) })
  expect(await taken(repaired)).toEqual([])
  expect((await names()).map((name) => name[0])).toEqual(['a', 'b', 'd'])
})

test('tells the first of very many problems, and how many there are', async () => {
  await apply(source({ ref: 'main', path: '' }))
  const wrong = Array.from({ length: 150 }, (_, index) => app(`a-${index}`, { ['x'.repeat(2_000)]: 1 }))
  const told = await taken(fleet.commit({ 'a.yaml': yaml(...wrong) }))
  expect(told).toHaveLength(101)
  expect(told[0]?.length).toBeLessThan(1_100)
  expect(told.at(-1)).toContain('50 more problems are not listed')
})

test('removes nothing when the folder is gone, and says so until it is there again', async () => {
  const files = { 'defs/shop.yaml': yaml(shop), 'defs/a.yaml': yaml(app('a')) }
  await apply(source({ ref: 'main', path: 'defs' }))
  expect(await taken(fleet.commit(files))).toEqual([])
  const gone = fleet.commit({ 'defs/shop.yaml': undefined, 'defs/a.yaml': undefined, 'other.txt': 'x' })
  expect(await taken(gone)).toEqual([expect.stringContaining('PathNotFound')])
  expect(await names()).toEqual(['a defs/a.yaml:1'])
  // The folder is there, and defines nothing: that is held.
  expect(await taken(fleet.commit({ 'defs/readme.txt': 'x' }))).toEqual([
    expect.stringContaining('PruneHeld :0 Application/a: is gone from Git and held'),
    expect.stringContaining('Repository/shop: is gone from Git, but stays: Repository/shop is used by a'),
  ])
  expect(await taken(fleet.commit(files))).toEqual([])
  expect(await names()).toEqual(['a defs/a.yaml:1'])
  // Held again, it is deleted by name, and with it goes what only it used.
  await taken(fleet.commit({ 'defs/a.yaml': undefined, 'defs/shop.yaml': undefined }))
  await definitions.deleteApplication({ name: 'a', orphan: false }, 'admin')
  await waitFor('the repository to go', async () => (await definitions.listRepositories()).length === 1)
  await waitFor('no problem to be left', async () => {
    return (await definitions.getRepository('fleet')).status?.definitions?.problems.length === 0
  })
})

test('goes on where it was after a restart, and after history was rewritten', async () => {
  await apply(source({ ref: 'main', path: '' }))
  await taken(fleet.commit({ 'shop.yaml': yaml(shop), 'a.yaml': yaml(app('a'), app('b')) }))
  await stopSync()
  const away = fleet.commit({ 'a.yaml': yaml(app('a', { namespace: 'x' }), app('b')) })
  await startSync()
  expect(await taken(away)).toEqual([])
  expect((await definitions.getApplication('a')).spec?.namespace).toBe('x')
  const rewritten = fleet.forcePush({ 'shop.yaml': yaml(shop), 'b.yaml': yaml(app('b'), app('c')) })
  expect(await taken(rewritten)).toEqual([])
  expect(await names()).toEqual(['b b.yaml:1', 'c b.yaml:3'])
})

test('what goes wrong with one repository does not keep another waiting', async () => {
  await apply(source({ ref: 'main', path: '' }))
  await apply({ ...source({ ref: 'main', path: '' }), metadata: { name: 'a-first' } })
  await taken(fleet.commit({ 'shop.yaml': yaml(shop) }))
  await waitFor('both to be taken over', async () => {
    return (await bed.store.db.selectFrom('definition_syncs').select('repository').execute()).length === 2
  })
  // A row that nothing can read: the pass over the first fails.
  await bed.store.db
    .updateTable('definition_syncs')
    .set({ problems: '{' })
    .where('repository', '=', 'a-first')
    .execute()
  await taken(fleet.commit({ 'a.yaml': yaml(app('a')) }))
  expect((await definitions.getApplication('a')).metadata?.owner).toBe('git:fleet')
})

test('ends with everything left as it is, by hand from then on', async () => {
  await apply(source({ ref: 'main', path: '' }))
  const files = {
    'shop.yaml': yaml(shop),
    'a.yaml': yaml(app('a')),
    'fleet.yaml': yaml(source({ ref: 'main', path: '' })),
  }
  await taken(fleet.commit(files))
  expect((await definitions.getRepository('fleet')).metadata?.owner).toBe('git:fleet')
  await apply(source())
  expect(await names()).toEqual(['a '])
  expect((await definitions.getRepository('fleet')).metadata?.owner).toBe('')
  await definitions.deleteApplication({ name: 'a', orphan: false }, 'admin')
  expect(await bed.store.db.selectFrom('definition_syncs').selectAll().execute()).toEqual([])
})

test('labels and values of clusters come from Git, before and after they are registered, beside what people give', async () => {
  const registry = createRegistry({
    store: bed.store,
    issuer: { issue: async () => ({ jwt: '', natsUrls: [] }), revoke: async () => {} } as never,
    hubAddress: 'localhost:1',
    caPin: 'sha256:x',
    onChange: () => sync.wake(),
    logger: silentLogger,
  })
  const cluster = (name: string, labels: object, values = {}) => ({
    ...head,
    kind: 'Cluster',
    metadata: { name, labels },
    spec: { values },
  })
  await registry.register({ name: 'eu', labels: { env: 'dev', owner: 'me' } }, 'admin')
  const first = fleet.commit({
    'defs/a.yaml': yaml(shop, app('a'), app('b')),
    'defs/clusters.yaml': yaml(
      cluster('eu', { env: 'prod' }, { domain: 'eu.example.com' }),
      cluster('us', { env: 'prod', region: 'us' }),
    ),
  })
  await apply(source({ path: 'defs' }))
  expect(await taken(first)).toEqual([])
  expect(await registry.get('eu')).toMatchObject({
    labels: { env: 'prod', owner: 'me' },
    values: { domain: 'eu.example.com' },
  })
  expect(
    (await registry.register({ name: 'us', labels: { region: 'wrong', own: '1' } }, 'admin')).cluster.labels,
  ).toEqual({
    env: 'prod',
    region: 'us',
    own: '1',
  })
  const label = (set: Record<string, string>, remove: string[] = []) =>
    registry.updateLabels({ name: 'eu', set, remove }, 'admin')
  await expect(label({ env: 'dev' })).rejects.toThrow(
    'the label env of cluster eu comes from Git: change it in defs/clusters.yaml:1 of Repository/fleet',
  )
  await expect(label({}, ['env'])).rejects.toThrow('comes from Git')
  await expect(registry.updateValues({ name: 'eu', set: { domain: 'x' }, remove: [] }, 'admin')).rejects.toThrow(
    'the value domain of cluster eu',
  )
  await label({ owner: 'you' })
  await expect(apply(cluster('eu', { env: 'test' }))).rejects.toThrow('is for definitions from Git')

  const second = fleet.commit({
    'defs/clusters.yaml': yaml(cluster('eu', { tier: '1' }), cluster('us', { env: 'prod' }, { 'bad key': 'x' })),
  })
  expect(await taken(second)).toEqual([expect.stringContaining('Cluster/us: spec.values')])
  expect(await registry.get('eu')).toMatchObject({ labels: { owner: 'you', tier: '1' }, values: {} })
  expect((await registry.get('us')).labels).toEqual({ env: 'prod', region: 'us', own: '1' })

  expect(await taken(fleet.commit({ 'defs/clusters.yaml': yaml(cluster('us', { env: 'prod' })) }))).toEqual([])
  expect((await registry.get('eu')).labels).toEqual({ owner: 'you' })
  const held = await taken(fleet.commit({ 'defs/clusters.yaml': undefined, 'defs/a.yaml': yaml(shop, app('c')) }))
  expect(held).toEqual(expect.arrayContaining([expect.stringContaining('PruneHeld')]))
  expect((await registry.get('us')).labels).toEqual({ env: 'prod', own: '1' })
  await registry.updateLabels({ name: 'us', set: {}, remove: ['env'] }, 'admin')
  expect((await registry.get('us')).labels).toEqual({ own: '1' })
  // With nothing left of it there is nothing to be held.
  await waitFor('the cluster to be told of no more', async () => {
    const { status } = await definitions.getRepository('fleet')
    return status?.definitions?.problems.every(({ message }) => !message.includes('Cluster/us'))
  })
})

test('ending it leaves clusters their labels, which are of people then', async () => {
  await bed.store.db
    .insertInto('clusters')
    .values({
      id: 'x',
      name: 'eu',
      labels: '{}',
      cluster_values: '{}',
      public_key: null,
      facts: null,
      created_at: 0,
      joined_at: null,
    })
    .execute()
  const commit = fleet.commit({
    'c.yaml': yaml({ ...head, kind: 'Cluster', metadata: { name: 'eu', labels: { env: 'prod' } } }),
  })
  await apply(source({}))
  expect(await taken(commit)).toEqual([])
  await apply(source())
  const row = await bed.store.db
    .selectFrom('clusters')
    .select('labels')
    .where('name', '=', 'eu')
    .executeTakeFirstOrThrow()
  expect(row.labels).toBe('{"env":"prod"}')
  expect(await bed.store.db.selectFrom('cluster_documents').selectAll().execute()).toEqual([])
})

test('an OCI artifact holds definitions as a repository of Git does', async () => {
  const registry = await startRegistry()
  try {
    const url = registry.urlOf('fleet/definitions')
    const followed = {
      ...source({ ref: 'main', path: 'defs' }),
      spec: { url, pollInterval: '1s', definitions: { ref: 'main', path: 'defs' } },
    }
    const first = await registry.publish('fleet/definitions', 'main', { 'defs/a.yaml': yaml(shop, app('a')) })
    await apply(followed)
    expect(await taken(first)).toEqual([])
    expect(await names()).toEqual(['a defs/a.yaml:3'])
    const second = await registry.publish('fleet/definitions', 'main', {
      'defs/a.yaml': yaml(shop, app('a'), app('b')),
    })
    expect(await taken(second)).toEqual([])
    expect(await names()).toEqual(['a defs/a.yaml:3', 'b defs/a.yaml:5'])
  } finally {
    await registry.stop()
  }
})

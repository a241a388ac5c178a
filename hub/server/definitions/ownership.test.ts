import { create } from '@bufbuild/protobuf'
import { DefinitionDocumentSchema } from '@fairlead/proto/definitions'
import { silentLogger } from '@fairlead/shared/logger'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { placeApplication } from '../placer/placer.ts'
import type { Owner } from '../store/schema.ts'
import { openStore, type Store } from '../store/store.ts'
import { createDefinitions, type Definitions } from './definitions.ts'
import { deleteApplication } from './deletion.ts'
import { findOwnerProblem } from './ownership.ts'

let store: Store
let definitions: Definitions

const head = { apiVersion: 'fairlead.dev/v1alpha1' }
const shop = { ...head, kind: 'Repository', metadata: { name: 'shop' }, spec: { url: 'https://git.example.com/shop' } }
const web = (spec = {}, labels = {}) => ({
  ...head,
  kind: 'Application',
  metadata: { name: 'web', labels },
  spec: { source: { repository: 'shop' }, placement: { clusters: {} }, ...spec },
})

const apply = async (...documents: unknown[]) =>
  await definitions.apply(
    documents.map((document, index) =>
      create(DefinitionDocumentSchema, { json: JSON.stringify(document), source: { file: 'f.yaml', line: index + 1 } }),
    ),
    { dryRun: false, actor: 'admin' },
  )

async function give(owner: Owner, origin: string): Promise<void> {
  await store.db.updateTable('applications').set({ owner, origin }).execute()
  await store.db.updateTable('repositories').set({ owner, origin }).execute()
}

beforeEach(async () => {
  store = await openStore(':memory:', { logger: silentLogger })
  definitions = createDefinitions({ store, placeApplication, onChange: () => {}, logger: silentLogger })
  await apply(shop, web())
})

afterEach(() => store.close())

describe('what comes from Git', () => {
  const refused = 'comes from Git: change it in apps/web.yaml:3 of Repository/fleet'

  beforeEach(() => give('git:fleet', 'apps/web.yaml:3'))

  test('is not changed by hand: all documents are refused, with their place and where to change it', async () => {
    await expect(apply(web({ namespace: 'other' }), shop)).rejects.toMatchObject({
      code: 'FailedPrecondition',
      problems: [{ file: 'f.yaml', line: 1, object: 'Application/web', message: refused }],
    })
    await expect(apply(web({}, { team: 'shop' }))).rejects.toThrow(`f.yaml:1: Application/web: ${refused}`)
    expect(await definitions.getApplication('web')).toMatchObject({
      metadata: { generation: 1n, labels: {}, owner: 'git:fleet', origin: 'apps/web.yaml:3' },
      spec: { namespace: '' },
    })
  })

  test('may be applied by hand as it is, and still comes from Git', async () => {
    expect((await apply(web(), shop)).map(({ action }) => action)).toEqual(['unchanged', 'unchanged'])
    expect((await definitions.getApplication('web')).metadata?.owner).toBe('git:fleet')
    expect((await definitions.getRepository('shop')).metadata?.owner).toBe('git:fleet')
  })

  test('is not deleted and not suspended by hand', async () => {
    const message = `Application/web ${refused}`
    const error = { code: 'FailedPrecondition', message }
    await expect(definitions.deleteApplication({ name: 'web', orphan: false }, 'admin')).rejects.toMatchObject(error)
    await expect(definitions.suspendApplication({ name: 'web', suspend: true }, 'admin')).rejects.toMatchObject(error)
    await expect(definitions.deleteRepository('shop', 'admin')).rejects.toThrow(`Repository/shop ${refused}`)
    expect((await definitions.getApplication('web')).spec?.suspend).toBe(false)
  })

  test('is deleted by its owner, by no other', async () => {
    const deletion = { name: 'web', orphan: false, actor: 'hub', nowMs: 1 }
    const deleteAs = async (owner: Owner) =>
      await store.transaction((transaction) => deleteApplication(transaction, { ...deletion, owner }))
    await expect(deleteAs('git:other')).rejects.toThrow(refused)
    await deleteAs('git:fleet')
    expect(await definitions.listApplications()).toEqual([])
  })

  test('is made anew by hand once it is being deleted', async () => {
    await store.db.updateTable('applications').set({ deleting: 'prune' }).execute()
    expect((await apply(web({ namespace: 'other' }))).map(({ action }) => action)).toEqual(['created'])
    expect((await definitions.getApplication('web')).metadata).toMatchObject({ owner: '', origin: '' })
  })
})

test('a document that says whose it is says nothing', async () => {
  const document = web()
  await apply({
    ...document,
    metadata: { ...document.metadata, labels: { a: 'b' }, owner: 'git:fleet', origin: 'x:1' },
  })
  expect((await definitions.getApplication('web')).metadata).toMatchObject({
    owner: '',
    origin: '',
    labels: { a: 'b' },
  })
})

test.each<[Owner, string, Owner, string | undefined]>([
  ['', '', '', undefined],
  ['git:fleet', 'a.yaml:1', 'git:fleet', undefined],
  ['git:fleet', 'a.yaml:1', '', 'comes from Git: change it in a.yaml:1 of Repository/fleet'],
  // Held: gone from Git, and people say what becomes of it; no other repository does.
  ['git:fleet', '', '', undefined],
  ['git:fleet', '', 'git:other', 'comes from Git: change it in what was a file of Repository/fleet'],
  ['application:web', 'a.yaml:1', '', 'is generated by Application/web: change it there'],
  ['', '', 'git:fleet', 'was made by hand; what it says differs from this, and stays'],
])('what %j has, at %j, is told to %j as %j', (owner, origin, actor, problem) => {
  expect(findOwnerProblem({ owner, origin }, actor)).toBe(problem)
})

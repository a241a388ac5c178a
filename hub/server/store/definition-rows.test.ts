import { createLogger } from '@fairlead/shared/logger'
import { expect, test } from 'vitest'
import { KnownApplications, readApplications } from './definition-rows.ts'
import { openStore } from './store.ts'

test('applications that are remembered are as if they were read anew, whatever of them changed', async () => {
  const store = await openStore(':memory:', { logger: createLogger({ name: 'store', level: 'silent' }) })
  const { db } = store
  const row = { uid: 'u', generation: 1, labels: '{}', spec: '{"namespace": "a"}', created_at: 0, deleting: null }
  const render = { commit: 'c', input_hash: '', attempted_commit: 'c', problems: '[]', revision: null, rendered_at: 0 }
  const names = ['api', 'web']
  for (const name of names) {
    await db
      .insertInto('applications')
      .values({ ...row, name })
      .execute()
    await db
      .insertInto('renders')
      .values({ ...render, application: name, variant: '', read_paths: '[]', artifact_digest: null, incomplete: 0 })
      .execute()
  }
  const known = new KnownApplications()
  const read = async () => {
    const remembered = await readApplications(db, { known })
    expect(remembered).toEqual(await readApplications(db, { known: new KnownApplications() }))
    return remembered
  }
  const applications = () => db.updateTable('applications').where('name', '=', 'web')
  const renders = () => db.updateTable('renders').where('application', '=', 'web')
  const changes = [
    applications().set({ spec: '{"namespace": "b"}', generation: 2 }),
    applications().set({ labels: '{"team": "shop"}' }),
    applications().set({ deleting: 'prune' }),
    applications().set({ uid: 'v' }),
    renders().set({ problems: '[{"code": "RenderFailed", "message": "x"}]' }),
    renders().set({ revision: '{"commit": "d"}' }),
  ]
  for (const change of changes) {
    const before = await read()
    await change.execute()
    const after = await read()
    // Not even parsed again.
    expect(after[0]).toBe(before[0])
    expect(after[1]).not.toEqual(before[1])
  }
  await db.deleteFrom('applications').where('name', '=', 'api').execute()
  expect((await read()).map(({ metadata }) => metadata?.name)).toEqual(['web'])
  await store.close()
})

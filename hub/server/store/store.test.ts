import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { silentLogger } from '@fairlead/shared/logger'
import { Kysely } from 'kysely'
import { Migrator } from 'kysely/migration'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { writeAudit } from './audit.ts'
import { MIGRATIONS } from './migrations.ts'
import { NodeSqliteDialect } from './node-sqlite-dialect.ts'
import type { Schema } from './schema.ts'
import { openStore, type Store } from './store.ts'

let directory: string
let path: string
const open: Store[] = []

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'fairlead-store-'))
  path = join(directory, 'fairlead.db')
})

afterEach(async () => {
  for (const store of open.splice(0)) await store.close()
  rmSync(directory, { recursive: true })
})

async function openTestStore(): Promise<Store> {
  const store = await openStore(path, { logger: silentLogger })
  open.push(store)
  return store
}

const cluster = {
  id: 'a'.repeat(26),
  name: 'c1',
  labels: '{}',
  cluster_values: '{}',
  public_key: null,
  facts: null,
  capabilities: '',
  created_at: 1,
  joined_at: null,
}

describe('the store', () => {
  test('keeps what was committed when it is opened again', async () => {
    const first = await openTestStore()
    await first.db.insertInto('clusters').values(cluster).execute()
    await open.pop()?.close()
    const second = await openTestStore()
    expect(await second.db.selectFrom('clusters').selectAll().execute()).toEqual([cluster])
  })

  test('commits are on disk before they are acted upon: WAL with synchronous=FULL and foreign keys', async () => {
    await openTestStore()
    const reader = new DatabaseSync(path, { readOnly: true })
    expect(reader.prepare('PRAGMA journal_mode').get()).toEqual({ journal_mode: 'wal' })
    reader.close()
    // synchronous and foreign_keys belong to the connection, so they are asked of it.
    const { sql } = await import('kysely')
    const db = open[0]?.db
    if (!db) throw new Error('not open')
    expect((await sql`PRAGMA synchronous`.execute(db)).rows).toEqual([{ synchronous: 2 }])
    expect((await sql`PRAGMA foreign_keys`.execute(db)).rows).toEqual([{ foreign_keys: 1 }])
  })

  test('files are readable by their owner only', async () => {
    const store = await openTestStore()
    await store.db.insertInto('clusters').values(cluster).execute()
    for (const file of [path, `${path}-wal`, `${path}.lock`]) expect(statSync(file).mode & 0o777).toBe(0o600)
  })

  test('a transaction that throws leaves nothing', async () => {
    const store = await openTestStore()
    await expect(
      store.transaction(async (transaction) => {
        await transaction.insertInto('clusters').values(cluster).execute()
        await writeAudit(transaction, { actor: 'admin', action: 'cluster.register', object: 'Cluster/c1' }, 1)
        throw new Error('stop')
      }),
    ).rejects.toThrow('stop')
    expect(await store.db.selectFrom('clusters').selectAll().execute()).toEqual([])
    expect(await store.db.selectFrom('audit').selectAll().execute()).toEqual([])
  })

  test('transactions that run at the same time follow each other', async () => {
    const store = await openTestStore()
    const order: string[] = []
    const run = (name: string) =>
      store.transaction(async (transaction) => {
        order.push(`${name} begins`)
        await transaction.insertInto('meta').values({ key: name, value: '' }).execute()
        await new Promise((resolve) => setImmediate(resolve))
        order.push(`${name} ends`)
      })
    await Promise.all([run('a'), run('b')])
    expect(order).toEqual(['a begins', 'a ends', 'b begins', 'b ends'])
  })

  test('using the store within a transaction is refused at once instead of waiting for ever', async () => {
    const store = await openTestStore()
    const nested = store.transaction(() => store.db.selectFrom('meta').selectAll().execute())
    await expect(nested).rejects.toThrow("use the transaction's own handle")
    const twice = store.transaction(() => store.transaction(async () => 1))
    await expect(twice).rejects.toThrow("use the transaction's own handle")
    expect(await store.db.selectFrom('meta').selectAll().execute()).toEqual([])
  })

  test('references hold at commit, in whatever order the rows were written', async () => {
    const store = await openTestStore()
    const deployment = {
      cluster_id: cluster.id,
      application: 'web',
      state: 'desired' as const,
      prune: 0,
      artifact_digest: null,
      revision: null,
      policy: null,
      since: 1,
    }
    const application = {
      name: 'web',
      uid: 'u',
      generation: 1,
      labels: '{}',
      spec: '{}',
      created_at: 1,
      deleting: null,
    }
    await store.transaction(async (transaction) => {
      await transaction.insertInto('deployments').values(deployment).execute()
      await transaction.insertInto('applications').values(application).execute()
      await transaction.insertInto('clusters').values(cluster).execute()
    })
    const orphaned = store.transaction((transaction) => transaction.deleteFrom('applications').execute())
    await expect(orphaned).rejects.toThrow('FOREIGN KEY')
    await store.db.deleteFrom('clusters').execute()
    expect(await store.db.selectFrom('deployments').selectAll().execute()).toEqual([])
  })

  test('blobs, large integers and generated ids come back as they were written', async () => {
    const store = await openTestStore()
    await store.db.insertInto('clusters').values(cluster).execute()
    const generation = 1_753_000_000_000n
    const document = new Uint8Array([0, 255, 1])
    await store.db
      .insertInto('slices')
      .values({ cluster_id: cluster.id, generation, content_hash: 'h', document })
      .execute()
    const row = await store.db.selectFrom('slices').selectAll().executeTakeFirstOrThrow()
    expect(row).toEqual({ cluster_id: cluster.id, generation: 1_753_000_000_000, content_hash: 'h', document })
    const { id } = await store.db
      .insertInto('outbox')
      .values({ kind: 'slice', key: cluster.id, created_at: 1 })
      .returning('id')
      .executeTakeFirstOrThrow()
    expect(id).toBe(1)
    const deleted = await store.db.deleteFrom('outbox').executeTakeFirstOrThrow()
    expect(deleted.numDeletedRows).toBe(1n)
  })

  test('two hubs never use one database', async () => {
    await openTestStore()
    await expect(openStore(path, { logger: silentLogger })).rejects.toMatchObject({
      code: 'FailedPrecondition',
      message: `another hub uses ${path}`,
    })
    // From another process, too.
    const script = `import { openStore } from ${JSON.stringify(join(import.meta.dirname, 'store.ts'))}
      import { silentLogger } from '@fairlead/shared/logger'
      await openStore(${JSON.stringify(path)}, { logger: silentLogger }).then(() => console.log('opened'), (error) => console.log(error.code))`
    const output = execFileSync(process.execPath, ['--input-type=module', '-e', script], { cwd: import.meta.dirname })
    expect(output.toString().trim()).toBe('FailedPrecondition')
  })

  test('a hub that is killed loses nothing that it committed, and its lock goes with it', async () => {
    const script = `import { openStore } from ${JSON.stringify(join(import.meta.dirname, 'store.ts'))}
      import { silentLogger } from '@fairlead/shared/logger'
      const store = await openStore(${JSON.stringify(path)}, { logger: silentLogger })
      await store.db.insertInto('meta').values({ key: 'committed', value: '1' }).execute()
      await store.transaction(async (transaction) => {
        await transaction.insertInto('meta').values({ key: 'not committed', value: '1' }).execute()
        process.kill(process.pid, 'SIGKILL')
        await new Promise(() => {})
      })`
    const run = () =>
      execFileSync(process.execPath, ['--input-type=module', '-e', script], { cwd: import.meta.dirname })
    expect(run).toThrow(expect.objectContaining({ signal: 'SIGKILL' }))
    const store = await openTestStore()
    expect(await store.db.selectFrom('meta').select('key').execute()).toEqual([{ key: 'committed' }])
  })

  test('renders of a hub that knew no overrides are kept as those without', async () => {
    const database = new DatabaseSync(path)
    const db = new Kysely<Schema>({ dialect: new NodeSqliteDialect(database) })
    const names = Object.keys(MIGRATIONS).filter((name) => name < '0007')
    await new Migrator({ db, provider: { getMigrations: async () => ({ ...MIGRATIONS }) } }).migrateTo(
      names.at(-1) ?? '',
    )
    database.exec(`INSERT INTO applications VALUES ('web', 'u', 1, '{}', '{}', 1, NULL)`)
    database.exec(`INSERT INTO artifacts VALUES ('d', x'00', 1)`)
    database.exec(
      `INSERT INTO renders (application, "commit", input_hash, read_paths, artifact_digest, revision, attempted_commit, problems, incomplete, rendered_at)
       VALUES ('web', 'c1', 'h', '["lib"]', 'd', '{}', 'c2', '[]', 1, 7)`,
    )
    await db.destroy()
    const store = await openTestStore()
    expect(await store.db.selectFrom('renders').selectAll().execute()).toEqual([
      {
        application: 'web',
        variant: '',
        commit: 'c1',
        input_hash: 'h',
        read_paths: '["lib"]',
        artifact_digest: 'd',
        revision: '{}',
        attempted_commit: 'c2',
        problems: '[]',
        incomplete: 1,
        rendered_at: 7,
      },
    ])
    await store.db.deleteFrom('applications').execute()
    expect(await store.db.selectFrom('renders').selectAll().execute()).toEqual([])
  })

  test('a database of a newer hub is refused in words', async () => {
    const store = await openTestStore()
    const { sql } = await import('kysely')
    await sql`INSERT INTO kysely_migration VALUES ('9999-future', '2030-01-01T00:00:00Z')`.execute(store.db)
    await open.pop()?.close()
    await expect(openTestStore()).rejects.toMatchObject({
      code: 'FailedPrecondition',
      message: 'the database was written by a newer version of the hub',
    })
  })
})

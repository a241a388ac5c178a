// The hub's database: the truth. SQLite in one file, every commit on disk before it is acted upon.
import { AsyncLocalStorage } from 'node:async_hooks'
import { closeSync, existsSync, openSync } from 'node:fs'
import { DatabaseSync } from 'node:sqlite'
import { AppError } from '@fairlead/shared/errors'
import type { Logger } from '@fairlead/shared/logger'
import { Kysely, type KyselyPlugin, type Transaction } from 'kysely'
import { Migrator } from 'kysely/migration'
import { MIGRATIONS } from './migrations.ts'
import { NodeSqliteDialect } from './node-sqlite-dialect.ts'
import type { Schema } from './schema.ts'

/** An open database. */
export interface Store {
  /** For reads and single writes. Within a transaction use its own handle; this one throws there instead of waiting for ever. */
  readonly db: Kysely<Schema>
  /** Runs `work` in one transaction: all of it is on disk when this resolves, nothing of it when it throws. Keep network and other slow waits out of it; the whole store waits meanwhile. */
  transaction<T>(work: (transaction: Transaction<Schema>) => Promise<T>): Promise<T>
  /** Closes the file; everything after that throws. */
  close(): Promise<void>
}

/** Opens or makes the database at `path` (mode 0600; `:memory:` for none) and migrates it. Throws FailedPrecondition when another process has it open or a newer version of the hub wrote it. */
export async function openStore(path: string, { logger }: { logger: Logger }): Promise<Store> {
  const releaseLock = path === ':memory:' ? () => {} : lockFile(`${path}.lock`)
  try {
    const store = openDatabase(path, releaseLock)
    try {
      await migrate(store.db, logger)
      return store
    } catch (error) {
      await store.close()
      throw error
    }
  } catch (error) {
    releaseLock()
    throw error
  }
}

function openDatabase(path: string, releaseLock: () => void): Store {
  if (path !== ':memory:') touch(path)
  const database = new DatabaseSync(path, { timeout: 5_000 })
  database.exec(
    'PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; PRAGMA trusted_schema = OFF',
  )
  const db = new Kysely<Schema>({ dialect: new NodeSqliteDialect(database) })
  const running = new AsyncLocalStorage<{ active: boolean }>()
  return {
    db: db.withPlugin(refuseWithin(running)),
    transaction: async (work) => {
      if (running.getStore()?.active) throw reentry()
      const scope = { active: true }
      try {
        return await running.run(scope, () => db.transaction().execute(work))
      } finally {
        scope.active = false
      }
    },
    close: async () => {
      await db.destroy()
      releaseLock()
    },
  }
}

/** Refuses queries past the running transaction: there is one connection, and they would wait for each other for ever. */
function refuseWithin(running: AsyncLocalStorage<{ active: boolean }>): KyselyPlugin {
  return {
    transformQuery: ({ node }) => {
      if (running.getStore()?.active) throw reentry()
      return node
    },
    transformResult: async ({ result }) => result,
  }
}

function reentry(): AppError {
  return new AppError('Internal', "the store was used within a transaction: use the transaction's own handle")
}

async function migrate(db: Kysely<Schema>, logger: Logger): Promise<void> {
  const migrator = new Migrator({ db, provider: { getMigrations: async () => ({ ...MIGRATIONS }) } })
  const { error, results = [] } = await migrator.migrateToLatest()
  if (error !== undefined) {
    const message = error instanceof Error ? error.message : String(error)
    throw /corrupted migrations/.test(message)
      ? new AppError('FailedPrecondition', 'the database was written by a newer version of the hub', { cause: error })
      : error
  }
  for (const { migrationName } of results) logger.info({ migration: migrationName }, 'database migrated')
}

/** Makes the file with mode 0600 before SQLite would make it readable for all; the files beside it take its mode. A file that exists is not even opened: closing it would drop every POSIX lock that this process holds on it (sqlite.org/howtocorrupt.html, 2.2). */
function touch(path: string): void {
  if (!existsSync(path)) closeSync(openSync(path, 'a', 0o600))
}

/** Holds a lock that the operating system gives back when the process dies, however it dies: an exclusive transaction on a file of its own. */
function lockFile(path: string): () => void {
  touch(path)
  const lock = new DatabaseSync(path, { timeout: 0 })
  try {
    lock.exec('BEGIN EXCLUSIVE')
  } catch (cause) {
    lock.close()
    throw new AppError('FailedPrecondition', `another hub uses ${path.replace(/\.lock$/, '')}`, { cause })
  }
  let held = true
  return () => {
    if (held) lock.close()
    held = false
  }
}

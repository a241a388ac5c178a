// The migrations of the database, in order. A migration that was released is never changed.
import { type Kysely, sql } from 'kysely'
import type { Migration } from 'kysely/migration'

/** Migrations by name; they run in the order of the names, each in a transaction. */
export const MIGRATIONS: Readonly<Record<string, Migration>> = {
  '0001-first': { up: createFirstTables },
  '0002-slice-problems': { up: createSliceProblems },
  '0003-prune-approvals': { up: createPruneApprovals },
  '0004-cluster-values': { up: addClusterValues },
  '0005-resolved-refs': { up: addResolvedRefs },
  '0006-read-paths': { up: addReadPaths },
  '0007-variants': { up: addVariants },
  '0008-owners': { up: addOwners },
  '0009-definition-syncs': { up: createDefinitionSyncs },
  '0010-generators': { up: createGenerators },
  '0011-cluster-documents': { up: createClusterDocuments },
  '0012-capabilities': { up: addCapabilities },
}

async function createFirstTables(db: Kysely<unknown>): Promise<void> {
  for (const statement of FIRST_TABLES) await sql.raw(statement).execute(db)
}

async function createClusterDocuments(db: Kysely<unknown>): Promise<void> {
  const statement = `CREATE TABLE cluster_documents (
    name TEXT PRIMARY KEY, labels TEXT NOT NULL, cluster_values TEXT NOT NULL, owner TEXT NOT NULL,
    origin TEXT NOT NULL) STRICT`
  await sql.raw(statement).execute(db)
}

async function addCapabilities(db: Kysely<unknown>): Promise<void> {
  const statements = [
    `CREATE TABLE capabilities (digest TEXT PRIMARY KEY, content TEXT NOT NULL) STRICT`,
    `ALTER TABLE clusters ADD COLUMN capabilities TEXT NOT NULL DEFAULT ''`,
    `CREATE INDEX clusters_capabilities ON clusters(capabilities)`,
  ]
  for (const statement of statements) await sql.raw(statement).execute(db)
}

async function createGenerators(db: Kysely<unknown>): Promise<void> {
  const statement = `CREATE TABLE generators (
    application TEXT PRIMARY KEY REFERENCES applications(name) ON DELETE CASCADE ${DEFERRED}, inputs TEXT NOT NULL,
    problems TEXT NOT NULL) STRICT`
  await sql.raw(statement).execute(db)
}

async function createSliceProblems(db: Kysely<unknown>): Promise<void> {
  const statement = `CREATE TABLE slice_problems (
    cluster_id TEXT PRIMARY KEY REFERENCES clusters(id) ON DELETE CASCADE ${DEFERRED}, problem TEXT NOT NULL) STRICT`
  await sql.raw(statement).execute(db)
}

async function createPruneApprovals(db: Kysely<unknown>): Promise<void> {
  const statement = `CREATE TABLE prune_approvals (
    cluster_id TEXT NOT NULL REFERENCES clusters(id) ON DELETE CASCADE ${DEFERRED},
    application TEXT NOT NULL REFERENCES applications(name) ON DELETE CASCADE ${DEFERRED}, digest TEXT NOT NULL,
    approved_at INTEGER NOT NULL, PRIMARY KEY (cluster_id, application, digest)) STRICT, WITHOUT ROWID`
  await sql.raw(statement).execute(db)
}

async function addClusterValues(db: Kysely<unknown>): Promise<void> {
  await sql.raw(`ALTER TABLE clusters ADD COLUMN cluster_values TEXT NOT NULL DEFAULT '{}'`).execute(db)
}

async function addResolvedRefs(db: Kysely<unknown>): Promise<void> {
  await sql.raw(`ALTER TABLE refs ADD COLUMN resolved TEXT NOT NULL DEFAULT ''`).execute(db)
}

async function addReadPaths(db: Kysely<unknown>): Promise<void> {
  await sql.raw(`ALTER TABLE renders ADD COLUMN read_paths TEXT NOT NULL DEFAULT '[]'`).execute(db)
}

/** A primary key cannot be changed: the table is made anew, with what it held. */
async function addVariants(db: Kysely<unknown>): Promise<void> {
  const columns = `"commit", input_hash, read_paths, artifact_digest, revision, attempted_commit, problems, incomplete, rendered_at`
  const statements = [
    `ALTER TABLE renders RENAME TO renders_before`,
    `CREATE TABLE renders (
      application TEXT NOT NULL REFERENCES applications(name) ON DELETE CASCADE ${DEFERRED}, variant TEXT NOT NULL,
      "commit" TEXT NOT NULL, input_hash TEXT NOT NULL, read_paths TEXT NOT NULL DEFAULT '[]',
      artifact_digest TEXT REFERENCES artifacts(digest) ${DEFERRED}, revision TEXT, attempted_commit TEXT NOT NULL,
      problems TEXT NOT NULL, incomplete INTEGER NOT NULL DEFAULT 0, rendered_at INTEGER NOT NULL,
      PRIMARY KEY (application, variant)) STRICT, WITHOUT ROWID`,
    `INSERT INTO renders (application, variant, ${columns}) SELECT application, '', ${columns} FROM renders_before`,
    `DROP TABLE renders_before`,
    `CREATE INDEX renders_artifact ON renders(artifact_digest)`,
  ]
  for (const statement of statements) await sql.raw(statement).execute(db)
}

async function addOwners(db: Kysely<unknown>): Promise<void> {
  for (const table of ['repositories', 'applications']) {
    await sql.raw(`ALTER TABLE ${table} ADD COLUMN owner TEXT NOT NULL DEFAULT ''`).execute(db)
    await sql.raw(`ALTER TABLE ${table} ADD COLUMN origin TEXT NOT NULL DEFAULT ''`).execute(db)
  }
}

async function createDefinitionSyncs(db: Kysely<unknown>): Promise<void> {
  const statement = `CREATE TABLE definition_syncs (
    repository TEXT PRIMARY KEY REFERENCES repositories(name) ON DELETE CASCADE ${DEFERRED}, settings TEXT NOT NULL,
    "commit" TEXT NOT NULL, attempted_commit TEXT NOT NULL, synced_at INTEGER NOT NULL, problems TEXT NOT NULL) STRICT`
  await sql.raw(statement).execute(db)
}

// Deferred references are checked at commit, so that the order of the statements within a transaction is free.
const DEFERRED = 'DEFERRABLE INITIALLY DEFERRED'

const FIRST_TABLES: readonly string[] = [
  `CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT`,
  `CREATE TABLE repositories (
    name TEXT PRIMARY KEY, uid TEXT NOT NULL, generation INTEGER NOT NULL, labels TEXT NOT NULL, spec TEXT NOT NULL,
    created_at INTEGER NOT NULL) STRICT`,
  `CREATE TABLE applications (
    name TEXT PRIMARY KEY, uid TEXT NOT NULL, generation INTEGER NOT NULL, labels TEXT NOT NULL, spec TEXT NOT NULL,
    created_at INTEGER NOT NULL, deleting TEXT CHECK (deleting IN ('prune', 'orphan'))) STRICT`,
  // The tracker may still write of a repository that was just deleted: no reference here.
  `CREATE TABLE refs (
    repository TEXT NOT NULL, ref TEXT NOT NULL, "commit" TEXT NOT NULL, seen_at INTEGER NOT NULL, problem TEXT,
    polled_at INTEGER NOT NULL, PRIMARY KEY (repository, ref)) STRICT, WITHOUT ROWID`,
  `CREATE TABLE repository_state (repository TEXT PRIMARY KEY, last_polled_at INTEGER, problem TEXT) STRICT`,
  `CREATE TABLE artifacts (digest TEXT PRIMARY KEY, reference BLOB NOT NULL, created_at INTEGER NOT NULL) STRICT`,
  `CREATE TABLE artifact_chunks (
    digest TEXT PRIMARY KEY, artifact_digest TEXT NOT NULL REFERENCES artifacts(digest) ON DELETE CASCADE ${DEFERRED},
    bytes BLOB NOT NULL) STRICT`,
  `CREATE INDEX artifact_chunks_artifact ON artifact_chunks(artifact_digest)`,
  `CREATE TABLE renders (
    application TEXT PRIMARY KEY REFERENCES applications(name) ON DELETE CASCADE ${DEFERRED},
    "commit" TEXT NOT NULL, input_hash TEXT NOT NULL, artifact_digest TEXT REFERENCES artifacts(digest) ${DEFERRED},
    revision TEXT, attempted_commit TEXT NOT NULL, problems TEXT NOT NULL, incomplete INTEGER NOT NULL DEFAULT 0,
    rendered_at INTEGER NOT NULL) STRICT`,
  `CREATE INDEX renders_artifact ON renders(artifact_digest)`,
  `CREATE TABLE clusters (
    id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, labels TEXT NOT NULL, public_key TEXT UNIQUE, facts TEXT,
    created_at INTEGER NOT NULL, joined_at INTEGER) STRICT`,
  `CREATE TABLE revoked_keys (
    public_key TEXT PRIMARY KEY, revoked_at INTEGER NOT NULL, expires_at INTEGER NOT NULL) STRICT`,
  `CREATE TABLE join_tokens (
    token_sha256 TEXT PRIMARY KEY, cluster_id TEXT NOT NULL REFERENCES clusters(id) ON DELETE CASCADE ${DEFERRED},
    expires_at INTEGER NOT NULL, used_at INTEGER) STRICT`,
  `CREATE INDEX join_tokens_cluster ON join_tokens(cluster_id)`,
  `CREATE TABLE deployments (
    cluster_id TEXT NOT NULL REFERENCES clusters(id) ON DELETE CASCADE ${DEFERRED},
    application TEXT NOT NULL REFERENCES applications(name) ${DEFERRED},
    state TEXT NOT NULL CHECK (state IN ('desired', 'tombstone')), prune INTEGER NOT NULL,
    artifact_digest TEXT REFERENCES artifacts(digest) ${DEFERRED}, revision TEXT, policy TEXT, since INTEGER NOT NULL,
    PRIMARY KEY (cluster_id, application)) STRICT, WITHOUT ROWID`,
  `CREATE INDEX deployments_application ON deployments(application)`,
  `CREATE INDEX deployments_artifact ON deployments(artifact_digest)`,
  `CREATE TABLE slices (
    cluster_id TEXT PRIMARY KEY REFERENCES clusters(id) ON DELETE CASCADE ${DEFERRED}, generation INTEGER NOT NULL,
    content_hash TEXT NOT NULL, document BLOB NOT NULL) STRICT`,
  `CREATE TABLE outbox (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    kind TEXT NOT NULL CHECK (kind IN ('slice', 'command', 'artifact', 'purge-cluster', 'claims')), key TEXT NOT NULL,
    created_at INTEGER NOT NULL) STRICT`,
  `CREATE TABLE cluster_reports (
    cluster_id TEXT PRIMARY KEY REFERENCES clusters(id) ON DELETE CASCADE ${DEFERRED}, session TEXT NOT NULL,
    sequence INTEGER NOT NULL, slice_generation INTEGER NOT NULL, last_seen_at INTEGER NOT NULL,
    refusals TEXT NOT NULL, problems TEXT NOT NULL) STRICT`,
  `CREATE TABLE application_reports (
    cluster_id TEXT NOT NULL REFERENCES clusters(id) ON DELETE CASCADE ${DEFERRED}, application TEXT NOT NULL,
    report BLOB NOT NULL, received_at INTEGER NOT NULL, PRIMARY KEY (cluster_id, application)) STRICT, WITHOUT ROWID`,
  `CREATE TABLE audit (
    id INTEGER PRIMARY KEY AUTOINCREMENT, at INTEGER NOT NULL, actor TEXT NOT NULL, action TEXT NOT NULL,
    object TEXT NOT NULL, detail TEXT NOT NULL) STRICT`,
]

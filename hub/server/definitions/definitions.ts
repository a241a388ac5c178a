// The definitions: applies documents all or nothing, reads and deletes repositories and applications.
import { randomUUID } from 'node:crypto'
import { create, toJson, toJsonString } from '@bufbuild/protobuf'
import {
  type Application,
  type ApplicationSpec,
  ApplicationSpecSchema,
  type DefinitionDocument,
  type DefinitionResult,
  DefinitionResultSchema,
  type Placement,
  type Repository,
  RepositorySpecSchema,
  type SyncOptions,
} from '@fairlead/proto/definitions'
import { canonicalJson } from '@fairlead/shared/digest'
import { AppError } from '@fairlead/shared/errors'
import { ProblemsError } from '@fairlead/shared/grpc-status'
import type { Logger } from '@fairlead/shared/logger'
import type { Kysely, Transaction } from 'kysely'
import type { Labels } from '../label-selector.ts'
import { writeAudit } from '../store/audit.ts'
import { readApplicationSpec, readApplications, readRepositories } from '../store/definition-rows.ts'
import type { Schema } from '../store/schema.ts'
import type { Store } from '../store/store.ts'
import { checkDefinitions } from './check-definitions.ts'
import { toGraph } from './dependencies.ts'
import { type Definition, type ReadDocument, readDocument } from './document.ts'
import { findRepositoryWarnings } from './repository-rules.ts'
import { suspendApplication } from './suspension.ts'

const MAX_DOCUMENTS = 5_000

/** What the definitions need. */
export interface DefinitionsOptions {
  readonly store: Store
  /** Ids of the clusters that a placement selects; for warnings. */
  readonly placeApplication: (
    placement: Placement | undefined,
    clusters: readonly { id: string; name: string; labels: Labels }[],
  ) => string[]
  /** Called after every committed change. */
  readonly onChange: () => void
  readonly logger: Logger
  /** Milliseconds since the epoch, default Date.now. */
  readonly clock?: () => number
}

/** Applies, reads and deletes definitions. Every method that changes takes the actor for the audit trail. */
export interface Definitions {
  /** Checks all documents and stores all or none of them. Throws InvalidArgument with every problem of every document, each with file, line, object and field. A dry run stores nothing. */
  apply(
    documents: readonly DefinitionDocument[],
    options: { dryRun: boolean; actor: string },
  ): Promise<DefinitionResult[]>
  /** Throws NotFound. */
  getRepository(name: string): Promise<Repository>
  /** Sorted by name. */
  listRepositories(): Promise<Repository[]>
  /** Throws NotFound, or FailedPrecondition while an application uses it. */
  deleteRepository(name: string, actor: string): Promise<void>
  /** Throws NotFound. */
  getApplication(name: string): Promise<Application>
  /** Sorted by name. */
  listApplications(): Promise<Application[]>
  /** Has an application leave every cluster; with `orphan` its objects stay. Returns the names of the clusters. Throws NotFound, or FailedPrecondition while another depends on it. */
  deleteApplication(request: { name: string; orphan: boolean }, actor: string): Promise<string[]>
  /** Has agents change nothing of an application (`suspend`), or go on. Returns it as it is then; what is so already stays as it is. Throws NotFound, or FailedPrecondition while it is being deleted. */
  suspendApplication(request: { name: string; suspend: boolean }, actor: string): Promise<Application>
}

/** Makes the definitions of a store. */
export function createDefinitions(options: DefinitionsOptions): Definitions {
  const { store, onChange, logger, clock = Date.now } = options
  return {
    apply: async (documents, { dryRun, actor }) => {
      const read = readDocuments(documents)
      const results = await store.transaction(async (transaction) => {
        const definitions = await checkDocuments(transaction, read)
        const warnings = await findWarnings(transaction, definitions, options)
        const results: DefinitionResult[] = []
        for (const [index, definition] of definitions.entries()) {
          const action = await storeDefinition(transaction, definition, { dryRun, actor, nowMs: clock() })
          const { kind, name } = definition
          results.push(create(DefinitionResultSchema, { kind, name, action, warnings: warnings[index] ?? [] }))
        }
        return results
      })
      const changed = results.filter((result) => result.action !== 'unchanged')
      if (dryRun || changed.length === 0) return results
      for (const { kind, name, action } of changed)
        logger.info({ kind, definition: name, action }, 'definition applied')
      onChange()
      return results
    },
    getRepository: async (name) => {
      const [repository] = await readRepositories(store.db, name)
      if (!repository) throw notFound('Repository', name)
      return repository
    },
    listRepositories: async () => await readRepositories(store.db),
    deleteRepository: async (name, actor) => {
      await store.transaction((transaction) => deleteRepository(transaction, { name, actor, nowMs: clock() }))
      logger.info({ kind: 'Repository', definition: name }, 'definition deleted')
      onChange()
    },
    getApplication: async (name) => {
      const [application] = await readApplications(store.db, { name })
      if (!application) throw notFound('Application', name)
      return application
    },
    listApplications: async () => await readApplications(store.db),
    deleteApplication: async ({ name, orphan }, actor) => {
      const clusters = await store.transaction((transaction) =>
        deleteApplication(transaction, { name, orphan, actor, nowMs: clock() }),
      )
      logger.info({ kind: 'Application', definition: name, orphan, clusters: clusters.length }, 'definition deleted')
      onChange()
      return clusters
    },
    suspendApplication: async ({ name, suspend }, actor) => {
      const isChanged = await store.transaction((transaction) =>
        suspendApplication(transaction, { name, suspend, actor, nowMs: clock() }),
      )
      if (isChanged) {
        logger.info({ kind: 'Application', definition: name, suspend }, 'application suspended or resumed')
        onChange()
      }
      const [application] = await readApplications(store.db, { name })
      if (!application) throw notFound('Application', name)
      return application
    },
  }
}

function inUse(kind: Definition['kind'], name: string, users: readonly string[]): AppError {
  const listed = listNames(users.map((user) => ({ name: user })))
  return new AppError('FailedPrecondition', `${kind}/${name} is used by ${listed}; delete them first`)
}

function listNames(named: readonly { readonly name: string }[]): string {
  const listed = named.slice(0, 5).map(({ name }) => name)
  return named.length > 5 ? `${listed.join(', ')} and ${named.length - 5} more` : listed.join(', ')
}

function notFound(kind: Definition['kind'], name: string): AppError {
  return new AppError('NotFound', `there is no ${kind} ${JSON.stringify(name.slice(0, 80))}`)
}

function readDocuments(documents: readonly DefinitionDocument[]): ReadDocument[] {
  if (documents.length === 0) throw new AppError('InvalidArgument', 'there is no document to apply')
  if (documents.length > MAX_DOCUMENTS) {
    throw new AppError('LimitExceeded', `at most ${MAX_DOCUMENTS} documents can be applied at once`)
  }
  return documents.map(readDocument)
}

/** The definitions, or an error with everything that is wrong with any of the documents. An application may name a repository that is stored or in the request. */
async function checkDocuments(
  transaction: Transaction<Schema>,
  documents: readonly ReadDocument[],
): Promise<Definition[]> {
  const stored = await transaction.selectFrom('repositories').select('name').execute()
  const repositories = new Set(stored.map(({ name }) => name))
  const { definitions, problems } = checkDefinitions(documents, {
    repositories,
    applications: await readSpecs(transaction, []),
  })
  if (problems.length > 0) throw new ProblemsError('InvalidArgument', problems)
  return definitions
}

/** The applications' specs, by name, as they will be once these definitions are stored. */
async function readSpecs(
  db: Kysely<Schema>,
  definitions: readonly Definition[],
): Promise<ReadonlyMap<string, ApplicationSpec>> {
  const rows = await db.selectFrom('applications').select(['name', 'spec']).where('deleting', 'is', null).execute()
  const specs = new Map(rows.map(({ name, spec }) => [name, readApplicationSpec(spec)]))
  for (const { kind, name, spec } of definitions) if (kind === 'Application') specs.set(name, spec)
  return specs
}

/** What is allowed but probably not meant, for each definition. */
async function findWarnings(
  transaction: Transaction<Schema>,
  definitions: readonly Definition[],
  { placeApplication }: DefinitionsOptions,
): Promise<string[][]> {
  const rows = await transaction.selectFrom('clusters').select(['id', 'name', 'labels']).execute()
  const clusters = rows.map((row) => ({ ...row, labels: JSON.parse(row.labels) as Labels }))
  const specs = await readSpecs(transaction, definitions)
  return definitions.map((definition) => {
    if (definition.kind === 'Repository') return [...definition.warnings, ...findRepositoryWarnings(definition.spec)]
    const { placement, dependsOn } = definition.spec
    const selected = placeApplication(placement, clusters)
    const unknown = placement?.names.filter((name) => !clusters.some((cluster) => cluster.name === name)) ?? []
    return [
      ...definition.warnings,
      ...(selected.length === 0 ? ['spec.placement: selects no cluster'] : []),
      ...(unknown.length > 0 ? [`spec.placement.names: no such cluster yet: ${unknown.join(', ')}`] : []),
      ...dependsOn.flatMap((name) => {
        const there = placeApplication(specs.get(name)?.placement, clusters)
        const missing = clusters.filter(({ id }) => selected.includes(id) && !there.includes(id))
        return missing.length > 0 ? [`spec.dependsOn: ${name} does not run on ${listNames(missing)}: waits there`] : []
      }),
    ]
  })
}

interface Change {
  readonly dryRun: boolean
  readonly actor: string
  readonly nowMs: number
}

async function storeDefinition(
  transaction: Transaction<Schema>,
  definition: Definition,
  { dryRun, actor, nowMs }: Change,
): Promise<'created' | 'configured' | 'unchanged'> {
  const { kind, name } = definition
  const labels = canonicalJson(definition.labels)
  const spec = specJson(definition)
  const before = await findDefinition(transaction, definition)
  const isNew = !before || before.deleting !== null
  const isSpecChanged = !before || canonicalJson(JSON.parse(before.spec)) !== canonicalJson(JSON.parse(spec))
  const isChanged = isNew || isSpecChanged || canonicalJson(JSON.parse(before.labels)) !== labels
  const action = isNew ? 'created' : isChanged ? 'configured' : 'unchanged'
  if (dryRun || !isChanged) return action
  const generation = before ? before.generation + (isSpecChanged ? 1 : 0) : 1
  const identity = isNew ? { uid: randomUUID(), created_at: nowMs } : { uid: before.uid, created_at: before.created_at }
  const row = { name, labels, spec, generation, ...identity }
  if (kind === 'Repository') await upsertRepository(transaction, row, isNew)
  else {
    await upsertApplication(transaction, { ...row, deleting: null })
    if (before && isNew && !isSameSource(before.spec, spec)) await forgetRender(transaction, name)
  }
  const detail = { action, generation, spec: JSON.parse(spec), labels: definition.labels }
  await writeAudit(
    transaction,
    { actor, action: `${kind.toLowerCase()}.apply`, object: `${kind}/${name}`, detail },
    nowMs,
  )
  return action
}

function specJson(definition: Definition): string {
  return definition.kind === 'Repository'
    ? JSON.stringify(toJson(RepositorySpecSchema, definition.spec))
    : toJsonString(ApplicationSpecSchema, definition.spec)
}

async function findDefinition(transaction: Transaction<Schema>, { kind, name }: Definition) {
  if (kind === 'Application') {
    return await transaction.selectFrom('applications').selectAll().where('name', '=', name).executeTakeFirst()
  }
  const row = await transaction.selectFrom('repositories').selectAll().where('name', '=', name).executeTakeFirst()
  return row && { ...row, deleting: null }
}

type DefinitionRow = Record<'name' | 'uid' | 'labels' | 'spec', string> & Record<'generation' | 'created_at', number>

async function upsertRepository(transaction: Transaction<Schema>, row: DefinitionRow, isNew: boolean): Promise<void> {
  // What was seen of an earlier repository of the same name says nothing of this one.
  if (isNew) await forgetTracking(transaction, row.name)
  await transaction
    .insertInto('repositories')
    .values(row)
    .onConflict((conflict) => conflict.column('name').doUpdateSet(row))
    .execute()
}

async function upsertApplication(
  transaction: Transaction<Schema>,
  row: DefinitionRow & { deleting: null },
): Promise<void> {
  await transaction
    .insertInto('applications')
    .values(row)
    .onConflict((conflict) => conflict.column('name').doUpdateSet(row))
    .execute()
}

function isSameSource(before: string, after: string): boolean {
  const sourceOf = (spec: string): string => {
    const { source, render, overrides } = readApplicationSpec(spec)
    const message = create(ApplicationSpecSchema, { source, render, overrides } as never)
    return toJsonString(ApplicationSpecSchema, message)
  }
  return sourceOf(before) === sourceOf(after)
}

/** What an earlier application of the same name was rendered to is nothing that this one ever said. */
async function forgetRender(transaction: Transaction<Schema>, application: string): Promise<void> {
  await transaction.deleteFrom('renders').where('application', '=', application).execute()
}

async function forgetTracking(db: Kysely<Schema>, repository: string): Promise<void> {
  await db.deleteFrom('refs').where('repository', '=', repository).execute()
  await db.deleteFrom('repository_state').where('repository', '=', repository).execute()
}

interface Deletion {
  readonly name: string
  readonly actor: string
  readonly nowMs: number
}

async function deleteRepository(transaction: Transaction<Schema>, { name, actor, nowMs }: Deletion): Promise<void> {
  const row = await transaction.selectFrom('repositories').select('name').where('name', '=', name).executeTakeFirst()
  if (!row) throw notFound('Repository', name)
  const applications = await transaction
    .selectFrom('applications')
    .select(['name', 'spec'])
    .where('deleting', 'is', null)
    .orderBy('name')
    .execute()
  const users = applications.filter(({ spec }) => readApplicationSpec(spec).source?.repository === name)
  if (users.length > 0) {
    const names = users.map((user) => user.name)
    throw inUse('Repository', name, names)
  }
  await transaction.deleteFrom('repositories').where('name', '=', name).execute()
  await forgetTracking(transaction, name)
  await writeAudit(transaction, { actor, action: 'repository.delete', object: `Repository/${name}` }, nowMs)
}

/** What becomes of the objects of an application that leaves, by its definition. */
function deletesOnLeave(sync: SyncOptions | undefined): boolean {
  return sync?.deletionPolicy ? sync.deletionPolicy === 'delete' : (sync?.prune ?? true)
}

async function deleteApplication(
  transaction: Transaction<Schema>,
  { name, orphan, actor, nowMs }: Deletion & { orphan: boolean },
): Promise<string[]> {
  const row = await transaction.selectFrom('applications').select('spec').where('name', '=', name).executeTakeFirst()
  const graph = toGraph(await readSpecs(transaction, []))
  const dependents = [...graph.keys()].filter((other) => graph.get(other)?.includes(name)).sort()
  if (row && dependents.length > 0) throw inUse('Application', name, dependents)
  const deleting = orphan || (row && !deletesOnLeave(readApplicationSpec(row.spec).sync)) ? 'orphan' : 'prune'
  const updated = await transaction
    .updateTable('applications')
    .set({ deleting })
    .where('name', '=', name)
    .executeTakeFirst()
  if (updated.numUpdatedRows === 0n) throw notFound('Application', name)
  const rows = await transaction
    .selectFrom('deployments')
    .innerJoin('clusters', 'clusters.id', 'deployments.cluster_id')
    .select('clusters.name')
    .where('deployments.application', '=', name)
    .orderBy('clusters.name')
    .execute()
  const clusters = rows.map((row) => row.name)
  // On no cluster: there is nobody whose confirmation could be waited for.
  if (clusters.length === 0) await transaction.deleteFrom('applications').where('name', '=', name).execute()
  const detail = { orphan: deleting === 'orphan', clusters: clusters.length }
  await writeAudit(transaction, { actor, action: 'application.delete', object: `Application/${name}`, detail }, nowMs)
  return clusters
}

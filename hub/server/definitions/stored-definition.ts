// One definition in the database: finds it, tells what differs, stores it.
import { randomUUID } from 'node:crypto'
import { create, toJson, toJsonString } from '@bufbuild/protobuf'
import {
  type ApplicationSpec,
  ApplicationSpecSchema,
  ClusterDefinitionSpecSchema,
  RepositorySpecSchema,
} from '@fairlead/proto/definitions'
import { canonicalJson } from '@fairlead/shared/digest'
import type { Kysely, Transaction } from 'kysely'
import { findClusterDocument, releaseClusterDocuments, storeClusterDocument } from '../cluster-documents.ts'
import type { Labels } from '../label-selector.ts'
import { writeAudit } from '../store/audit.ts'
import { readApplicationSpec } from '../store/definition-rows.ts'
import type { Schema } from '../store/schema.ts'
import type { StoredDefinition } from './definition-plan.ts'
import type { Definition } from './document.ts'
import { BY_HAND, type Ownership } from './ownership.ts'

/** How a definition is stored. */
export interface Change {
  readonly dryRun: boolean
  readonly actor: string
  readonly nowMs: number
  /** Whose it is from then on. */
  readonly ownership: Ownership
}

/** Stores a definition, with an audit row, unless it is so already or it is a dry run; says what was, or would be, done. */
export async function storeDefinition(
  transaction: Transaction<Schema>,
  definition: Definition,
  { dryRun, actor, nowMs, ownership }: Change,
): Promise<'created' | 'configured' | 'unchanged'> {
  const { kind, name } = definition
  const before = await findDefinition(transaction, definition)
  const { labels, spec, isNew, isSpecChanged, isChanged } = compareDefinition(before, definition)
  const action = isNew ? 'created' : isChanged ? 'configured' : 'unchanged'
  if (dryRun) return action
  if (!isChanged) {
    if (before && ownership.owner !== '') await own(transaction, definition, before, ownership)
    return action
  }
  const generation = before ? before.generation + (isSpecChanged ? 1 : 0) : 1
  const identity =
    !before || isNew ? { uid: randomUUID(), created_at: nowMs } : { uid: before.uid, created_at: before.created_at }
  if (kind === 'Cluster') {
    const { values } = definition.spec
    await storeClusterDocument(transaction, { name, labels: definition.labels, values, ...ownership })
  }
  const row = { name, labels, spec, generation, ...identity, ...ownership }
  if (kind === 'Repository') {
    await upsertRepository(transaction, row, isNew)
    if (!definition.spec.definitions) await releaseDefinitions(transaction, name)
  }
  if (kind === 'Application') {
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

/** The applications' specs, by name, as they will be once these definitions are stored. */
export async function readSpecs(
  db: Kysely<Schema>,
  definitions: readonly Definition[],
): Promise<ReadonlyMap<string, ApplicationSpec>> {
  const rows = await db.selectFrom('applications').select(['name', 'spec']).where('deleting', 'is', null).execute()
  const specs = new Map(rows.map(({ name, spec }) => [name, readApplicationSpec(spec)]))
  for (const { kind, name, spec } of definitions) if (kind === 'Application') specs.set(name, spec)
  return specs
}

/** What of a definition differs from what is stored. */
export function compareDefinition(
  before: { readonly labels: string; readonly spec: string; readonly deleting: string | null } | undefined,
  definition: Definition,
) {
  const labels = canonicalJson(definition.labels)
  const spec = specJson(definition)
  const isNew = !before || before.deleting !== null
  const isSpecChanged = !before || canonicalJson(JSON.parse(before.spec)) !== canonicalJson(JSON.parse(spec))
  const isChanged = !before || isNew || isSpecChanged || canonicalJson(JSON.parse(before.labels)) !== labels
  return { labels, spec, isNew, isSpecChanged, isChanged }
}

function specJson(definition: Definition): string {
  switch (definition.kind) {
    case 'Repository':
      return JSON.stringify(toJson(RepositorySpecSchema, definition.spec))
    case 'Application':
      return toJsonString(ApplicationSpecSchema, definition.spec)
    case 'Cluster':
      return valuesJson(definition.spec.values)
  }
}

/** The spec of a cluster's document. */
function valuesJson(values: Labels): string {
  return toJsonString(ClusterDefinitionSpecSchema, create(ClusterDefinitionSpecSchema, { values }))
}

/** The row of a definition; `deleting` is null for what cannot be waited for. */
export async function findDefinition(transaction: Transaction<Schema>, { kind, name }: Definition) {
  if (kind === 'Application') {
    return await transaction.selectFrom('applications').selectAll().where('name', '=', name).executeTakeFirst()
  }
  if (kind === 'Cluster') {
    const document = await findClusterDocument(transaction, name)
    if (!document) return undefined
    const { labels, values, owner, origin } = document
    const identity = { uid: '', generation: 1, created_at: 0 }
    return {
      name,
      labels: JSON.stringify(labels),
      spec: valuesJson(values),
      owner,
      origin,
      deleting: null,
      ...identity,
    }
  }
  const row = await transaction.selectFrom('repositories').selectAll().where('name', '=', name).executeTakeFirst()
  return row && { ...row, deleting: null }
}

type DefinitionRow = Record<'name' | 'uid' | 'labels' | 'spec', string> &
  Record<'generation' | 'created_at', number> &
  Ownership

async function upsertRepository(transaction: Transaction<Schema>, row: DefinitionRow, isNew: boolean): Promise<void> {
  // What was seen of an earlier repository of the same name says nothing of this one.
  if (isNew) await forgetTracking(transaction, row.name)
  await transaction
    .insertInto('repositories')
    .values(row)
    .onConflict((conflict) => conflict.column('name').doUpdateSet(row))
    .execute()
}

const TABLES = { Repository: 'repositories', Application: 'applications', Cluster: 'cluster_documents' } as const

/** What is equal gets another owner, or another place, and stays what it is. */
async function own(
  transaction: Transaction<Schema>,
  { kind, name }: Pick<Definition, 'kind' | 'name'>,
  before: Ownership,
  { owner, origin }: Ownership,
): Promise<void> {
  if (before.owner === owner && before.origin === origin) return
  const table = TABLES[kind]
  await transaction.updateTable(table).set({ owner, origin }).where('name', '=', name).execute()
}

/** Marks what is gone from Git and stays for now: no place is known where it could be changed. */
export async function holdDefinition(
  transaction: Transaction<Schema>,
  row: Pick<Definition, 'kind' | 'name'> & Ownership,
): Promise<void> {
  await own(transaction, row, row, { owner: row.owner, origin: '' })
}

/** What came from a repository that is not followed for definitions any more is people's from then on. */
export async function releaseDefinitions(transaction: Transaction<Schema>, repository: string): Promise<void> {
  for (const table of ['applications', 'repositories'] as const) {
    await transaction.updateTable(table).set(BY_HAND).where('owner', '=', `git:${repository}`).execute()
  }
  await releaseClusterDocuments(transaction, `git:${repository}`)
  await transaction.deleteFrom('definition_syncs').where('repository', '=', repository).execute()
}

/** Every definition. */
export async function readStored(db: Kysely<Schema>): Promise<StoredDefinition[]> {
  const columns = ['name', 'labels', 'spec', 'owner', 'origin'] as const
  const repositories = await db.selectFrom('repositories').select(columns).orderBy('name').execute()
  const applications = await db
    .selectFrom('applications')
    .select([...columns, 'deleting'])
    .orderBy('name')
    .execute()
  const clusters = await db.selectFrom('cluster_documents').selectAll().orderBy('name').execute()
  return [
    ...clusters.map(({ cluster_values, ...row }) => ({
      ...row,
      kind: 'Cluster' as const,
      spec: valuesJson(JSON.parse(cluster_values) as Labels),
      deleting: null,
    })),
    ...repositories.map((row) => ({ ...row, kind: 'Repository' as const, deleting: null })),
    ...applications.map((row) => ({ ...row, kind: 'Application' as const })),
  ]
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

/** Forgets what was seen of a repository. */
export async function forgetTracking(db: Kysely<Schema>, repository: string): Promise<void> {
  await db.deleteFrom('refs').where('repository', '=', repository).execute()
  await db.deleteFrom('repository_state').where('repository', '=', repository).execute()
}

// Deletes definitions: only what nothing else needs, and only for whoever has them.
import type { SyncOptions } from '@fairlead/proto/definitions'
import { AppError } from '@fairlead/shared/errors'
import type { Transaction } from 'kysely'
import { sourcesOf } from '../application-sources.ts'
import { writeAudit } from '../store/audit.ts'
import { readApplicationSpec } from '../store/definition-rows.ts'
import type { Owner, Schema } from '../store/schema.ts'
import { toGraph } from './dependencies.ts'
import type { DefinitionKind } from './document.ts'
import { findOwnerProblem, type Ownership } from './ownership.ts'
import { forgetTracking, readSpecs, releaseDefinitions } from './stored-definition.ts'

/** The error for a name that nothing has. */
export function notFound(kind: DefinitionKind, name: string): AppError {
  return new AppError('NotFound', `there is no ${kind} ${JSON.stringify(name.slice(0, 80))}`)
}

/** The first five of some names, and how many more there are. */
export function listNames(named: readonly { readonly name: string }[]): string {
  const listed = named.slice(0, 5).map(({ name }) => name)
  return named.length > 5 ? `${listed.join(', ')} and ${named.length - 5} more` : listed.join(', ')
}

/** Throws FailedPrecondition where this one may not change it. */
function refuseOther(kind: DefinitionKind, name: string, ownership: Ownership, owner: Owner): void {
  const problem = findOwnerProblem(ownership, owner)
  if (problem !== undefined) throw new AppError('FailedPrecondition', `${kind}/${name} ${problem}`)
}

/** What is to be deleted, and who asked for it. */
export interface Deletion {
  readonly name: string
  readonly actor: string
  /** Who deletes it: only what is its own; default people. */
  readonly owner?: Owner
  readonly nowMs: number
}

/** Forgets a repository, with an audit row. Throws NotFound, or FailedPrecondition while an application uses it or it has another owner. */
export async function deleteRepository(
  transaction: Transaction<Schema>,
  { name, actor, owner = '', nowMs }: Deletion,
): Promise<void> {
  const row = await transaction
    .selectFrom('repositories')
    .select(['owner', 'origin'])
    .where('name', '=', name)
    .executeTakeFirst()
  if (!row) throw notFound('Repository', name)
  if (row.owner !== `git:${name}`) refuseOther('Repository', name, row, owner)
  const applications = await transaction
    .selectFrom('applications')
    .select(['name', 'spec'])
    .where('deleting', 'is', null)
    .orderBy('name')
    .execute()
  const users = applications.filter(({ spec }) =>
    sourcesOf(readApplicationSpec(spec)).some(({ repository }) => repository === name),
  )
  if (users.length > 0) {
    const names = users.map((user) => user.name)
    throw inUse('Repository', name, names)
  }
  await transaction.deleteFrom('repositories').where('name', '=', name).execute()
  await forgetTracking(transaction, name)
  await releaseDefinitions(transaction, name)
  await writeAudit(transaction, { actor, action: 'repository.delete', object: `Repository/${name}` }, nowMs)
}

function inUse(kind: DefinitionKind, name: string, users: readonly string[]): AppError {
  const listed = listNames(users.map((user) => ({ name: user })))
  return new AppError('FailedPrecondition', `${kind}/${name} is used by ${listed}; delete them first`)
}

/** What becomes of the objects of an application that leaves, by its definition. */
function deletesOnLeave(sync: SyncOptions | undefined): boolean {
  return sync?.deletionPolicy ? sync.deletionPolicy === 'delete' : (sync?.prune ?? true)
}

/** Deletes what an application made, those that others of them depend on last. Returns the names of their clusters. */
async function deleteMade(
  transaction: Transaction<Schema>,
  { name, ...deletion }: Omit<Deletion, 'owner'> & { orphan: boolean },
): Promise<string[]> {
  const owner: Owner = `application:${name}`
  const rows = await transaction
    .selectFrom('applications')
    .select(['name', 'spec'])
    .where('owner', '=', owner)
    .where('deleting', 'is', null)
    .execute()
  const clusters: string[] = []
  for (let left = rows; left.length > 0; ) {
    const needed = new Set(left.flatMap(({ spec }) => readApplicationSpec(spec).dependsOn))
    const free = left.filter((row) => !needed.has(row.name))
    // None is free only where something outside is in the way, which then says so.
    for (const row of free.length > 0 ? free : left) {
      clusters.push(...(await deleteApplication(transaction, { ...deletion, name: row.name, owner })))
    }
    left = left.filter((row) => !free.includes(row))
    if (free.length === 0) break
  }
  return clusters
}

/** Has an application leave its clusters, and with it those that it made, with an audit row; returns their names. Throws NotFound, or FailedPrecondition while another depends on it or it has another owner. */
export async function deleteApplication(
  transaction: Transaction<Schema>,
  { name, orphan, actor, owner = '', nowMs }: Deletion & { orphan: boolean },
): Promise<string[]> {
  const row = await transaction
    .selectFrom('applications')
    .select(['spec', 'owner', 'origin', 'deleting'])
    .where('name', '=', name)
    .executeTakeFirst()
  // What leaves already may be given up on (orphan) by anybody.
  if (row?.deleting === null) refuseOther('Application', name, row, owner)
  const graph = toGraph(await readSpecs(transaction, []))
  const dependents = [...graph.keys()].filter((other) => graph.get(other)?.includes(name)).sort()
  if (row && dependents.length > 0) throw inUse('Application', name, dependents)
  const deleting = orphan || (row && !deletesOnLeave(readApplicationSpec(row.spec).sync)) ? 'orphan' : 'prune'
  const made =
    row && readApplicationSpec(row.spec).forEach ? await deleteMade(transaction, { name, orphan, actor, nowMs }) : []
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
  const clusters = [...new Set([...made, ...rows.map((row) => row.name)])].sort()
  // On no cluster: there is nobody whose confirmation could be waited for.
  if (rows.length === 0) await transaction.deleteFrom('applications').where('name', '=', name).execute()
  const detail = { orphan: deleting === 'orphan', clusters: clusters.length }
  await writeAudit(transaction, { actor, action: 'application.delete', object: `Application/${name}`, detail }, nowMs)
  return clusters
}

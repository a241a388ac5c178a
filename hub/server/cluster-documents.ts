// Labels and values that definitions in Git give to clusters, by name: also to clusters that are not registered yet. What is
// given is part of the cluster's own labels and values, where everybody looks for them; here is noted which of them it is.
import { AppError } from '@fairlead/shared/errors'
import type { Kysely, Transaction } from 'kysely'
import type { Labels } from './label-selector.ts'
import type { Owner, Schema } from './store/schema.ts'

/** What a cluster is given. */
export interface ClusterDocument {
  readonly name: string
  readonly labels: Labels
  readonly values: Labels
  /** git:<repository>. */
  readonly owner: Owner
  /** `<file>:<line>`; empty for one that is gone from Git, and held. */
  readonly origin: string
}

/** What a cluster of that name is given; undefined when it is given nothing. */
export async function findClusterDocument(db: Kysely<Schema>, name: string): Promise<ClusterDocument | undefined> {
  const row = await db.selectFrom('cluster_documents').selectAll().where('name', '=', name).executeTakeFirst()
  return row && { ...row, labels: JSON.parse(row.labels) as Labels, values: JSON.parse(row.cluster_values) as Labels }
}

/** Gives a cluster these labels and values, and takes away what it was given before and is not any more; what people gave it stays. */
export async function storeClusterDocument(transaction: Transaction<Schema>, document: ClusterDocument): Promise<void> {
  const before = await findClusterDocument(transaction, document.name)
  const row = toRow(document)
  await transaction
    .insertInto('cluster_documents')
    .values(row)
    .onConflict((conflict) => conflict.column('name').doUpdateSet(row))
    .execute()
  await change(transaction, document.name, before, document)
}

/** Takes away what a cluster was given. */
export async function removeClusterDocument(transaction: Transaction<Schema>, name: string): Promise<void> {
  const before = await findClusterDocument(transaction, name)
  await transaction.deleteFrom('cluster_documents').where('name', '=', name).execute()
  await change(transaction, name, before, undefined)
}

/** Gives a cluster that was registered just now what waits for it. */
export async function giveToCluster(transaction: Transaction<Schema>, name: string): Promise<void> {
  await change(transaction, name, undefined, await findClusterDocument(transaction, name))
}

/** What of a cluster people want to change that it is given: taken out of what is held, for it is gone from Git. Throws FailedPrecondition for what is still there. */
export async function leaveToPeople(
  transaction: Transaction<Schema>,
  name: string,
  part: 'labels' | 'values',
  keys: readonly string[],
): Promise<void> {
  const document = await findClusterDocument(transaction, name)
  const given = keys.filter((key) => document !== undefined && Object.hasOwn(document[part], key))
  if (document === undefined || given.length === 0) return
  const { owner, origin } = document
  if (origin !== '') {
    const repository = owner.slice(owner.indexOf(':') + 1)
    const what = `${part === 'labels' ? 'the label' : 'the value'} ${given[0]} of cluster ${name}`
    throw new AppError(
      'FailedPrecondition',
      `${what} comes from Git: change it in ${origin} of Repository/${repository}`,
    )
  }
  const left = { ...document, [part]: without(document[part], given) }
  // With nothing left there is nothing to hold.
  const isEmpty = Object.keys(left.labels).length + Object.keys(left.values).length === 0
  if (isEmpty) await transaction.deleteFrom('cluster_documents').where('name', '=', name).execute()
  else await transaction.updateTable('cluster_documents').set(toRow(left)).where('name', '=', name).execute()
}

/** What came from a repository that is not followed for definitions any more is people's from then on. */
export async function releaseClusterDocuments(transaction: Transaction<Schema>, owner: Owner): Promise<void> {
  await transaction.deleteFrom('cluster_documents').where('owner', '=', owner).execute()
}

async function change(
  transaction: Transaction<Schema>,
  name: string,
  before: ClusterDocument | undefined,
  now: ClusterDocument | undefined,
): Promise<void> {
  const row = await transaction
    .selectFrom('clusters')
    .select(['labels', 'cluster_values'])
    .where('name', '=', name)
    .executeTakeFirst()
  if (!row) return
  const labels = replaced(row.labels, before?.labels, now?.labels)
  const cluster_values = replaced(row.cluster_values, before?.values, now?.values)
  if (labels === row.labels && cluster_values === row.cluster_values) return
  await transaction.updateTable('clusters').set({ labels, cluster_values }).where('name', '=', name).execute()
}

function toRow({ name, labels, values, owner, origin }: ClusterDocument) {
  return { name, labels: JSON.stringify(labels), cluster_values: JSON.stringify(values), owner, origin }
}

function replaced(json: string, before: Labels = {}, now: Labels = {}): string {
  return JSON.stringify({ ...without(JSON.parse(json) as Labels, Object.keys(before)), ...now })
}

function without(labels: Labels, keys: readonly string[]): Labels {
  return Object.fromEntries(Object.entries(labels).filter(([key]) => !keys.includes(key)))
}

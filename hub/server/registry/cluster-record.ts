// Clusters as they are stored.
import { randomBytes } from 'node:crypto'
import { fromJsonString } from '@bufbuild/protobuf'
import { type AgentFacts, AgentFactsSchema } from '@fairlead/proto/report'
import { AppError } from '@fairlead/shared/errors'
import { base32Encode } from '@fairlead/shared/nkey'
import type { Kysely, Selectable } from 'kysely'
import { type ClusterValues, findValuesProblems } from '../cluster-values.ts'
import { findLabelsProblems, findNameProblem, type Labels } from '../label-selector.ts'
import type { ClustersTable, Schema } from '../store/schema.ts'

/** A registered cluster. */
export interface ClusterRecord {
  /** Random; what the cluster is called in subjects. */
  readonly id: string
  readonly name: string
  readonly labels: Labels
  /** For variables in manifests. */
  readonly values: ClusterValues
  /** Key of its agent; absent before it joined. */
  readonly publicKey?: string
  readonly facts?: AgentFacts
  readonly createdAtMs: number
  readonly joinedAtMs?: number
}

/** A row as a record. */
export function readClusterRow(row: Selectable<ClustersTable>): ClusterRecord {
  const { id, name, public_key, facts, joined_at } = row
  return {
    id,
    name,
    labels: JSON.parse(row.labels) as Labels,
    values: JSON.parse(row.cluster_values) as ClusterValues,
    createdAtMs: row.created_at,
    ...(public_key === null ? {} : { publicKey: public_key }),
    ...(facts === null ? {} : { facts: fromJsonString(AgentFactsSchema, facts, { ignoreUnknownFields: true }) }),
    ...(joined_at === null ? {} : { joinedAtMs: joined_at }),
  }
}

/** The cluster of that name. Throws NotFound. */
export async function getClusterByName(db: Kysely<Schema>, name: string): Promise<ClusterRecord> {
  const row = await db.selectFrom('clusters').selectAll().where('name', '=', name).executeTakeFirst()
  if (!row) throw new AppError('NotFound', `there is no cluster ${JSON.stringify(name.slice(0, 80))}`)
  return readClusterRow(row)
}

/** A new cluster's id: 128 random bits as 26 characters of a-z2-7. Nothing that a user chooses is in it, so no name can reach a subject. */
export function createClusterId(): string {
  return base32Encode(randomBytes(16)).toLowerCase()
}

/** Throws InvalidArgument that lists what is wrong with a cluster's name. */
export function checkClusterName(name: string): void {
  const problem = findNameProblem(name)
  if (problem !== undefined) {
    throw new AppError('InvalidArgument', `the cluster name ${problem}`, { context: { field: 'name' } })
  }
}

/** Throws InvalidArgument that lists what is wrong with labels. */
export function checkLabels(labels: Labels): void {
  const problems = findLabelsProblems(labels)
  if (problems.length > 0) {
    throw new AppError('InvalidArgument', `labels: ${problems.join('; ')}`, { context: { field: 'labels' } })
  }
}

/** Throws InvalidArgument that lists what is wrong with all values of a cluster. Never shows a value. */
export function checkValues(values: ClusterValues): void {
  const problems = findValuesProblems(values)
  if (problems.length === 0) return
  throw new AppError('InvalidArgument', `values: ${problems.join('; ')}`, { context: { field: 'values' } })
}

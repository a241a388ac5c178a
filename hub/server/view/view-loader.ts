// Reads what the view shows from the database, in pages, so that no read holds up the process.
import { setImmediate as nextTurn } from 'node:timers/promises'
import { fromJsonString } from '@bufbuild/protobuf'
import { ConnectionState, RevisionSchema } from '@fairlead/proto/common'
import { AgentFactsSchema, RefusalsSchema } from '@fairlead/proto/report'
import type { Kysely, Selectable } from 'kysely'
import type { Labels } from '../label-selector.ts'
import { readProblem, readProblems } from '../store/definition-rows.ts'
import type { ClustersTable, DeploymentsTable, Schema } from '../store/schema.ts'
import type { ClusterEntry } from './cluster-entry.ts'
import type { DesiredDeployment } from './deployment-sync.ts'

const LENIENT = { ignoreUnknownFields: true } as const
const CLUSTERS_PER_PAGE = 100

/** Keeps one object for each intent, however many clusters share it. */
export class DesiredDeployments {
  #byKey = new Map<string, DesiredDeployment>()

  /** The intent of a row. */
  of(row: Pick<Selectable<DeploymentsTable>, 'state' | 'artifact_digest' | 'revision'>): DesiredDeployment {
    const key = `${row.state}\0${row.artifact_digest ?? ''}\0${row.revision ?? ''}`
    const known = this.#byKey.get(key)
    if (known) return known
    const removing = row.state === 'tombstone'
    const desired: DesiredDeployment = {
      removing,
      revision: row.revision === null || removing ? undefined : fromJsonString(RevisionSchema, row.revision, LENIENT),
      artifactDigest: removing ? undefined : (row.artifact_digest ?? undefined),
    }
    this.#byKey.set(key, desired)
    return desired
  }

  /** Forgets those that no cell holds any more. */
  keepOnly(used: ReadonlySet<DesiredDeployment>): void {
    for (const [key, desired] of this.#byKey) if (!used.has(desired)) this.#byKey.delete(key)
  }
}

/** Makes the entries equal to the clusters in the database: adds, removes, and renews name, labels and generations. */
export async function loadClusters(db: Kysely<Schema>, entries: Map<string, ClusterEntry>): Promise<void> {
  const rows = await db.selectFrom('clusters').selectAll().orderBy('name').execute()
  const slices = await db.selectFrom('slices').select(['cluster_id', 'generation']).execute()
  const generations = new Map(slices.map((slice) => [slice.cluster_id, BigInt(slice.generation)]))
  const problems = await db.selectFrom('slice_problems').selectAll().execute()
  const sliceProblems = new Map(problems.map((row) => [row.cluster_id, readProblem(row.problem)]))
  const ids = new Set(rows.map((row) => row.id))
  for (const id of [...entries.keys()]) if (!ids.has(id)) entries.delete(id)
  for (const row of rows) {
    const entry = entries.get(row.id) ?? createEntry(row)
    entries.set(row.id, entry)
    entry.name = row.name
    entry.labels = JSON.parse(row.labels) as Labels
    entry.values = JSON.parse(row.cluster_values) as Labels
    entry.joinedAtMs = row.joined_at ?? undefined
    // Also told when it joins.
    if (!entry.unstoredCapabilities) entry.capabilities = row.capabilities
    entry.publishedGeneration = generations.get(row.id) ?? 0n
    entry.sliceProblem = sliceProblems.get(row.id)
  }
}

function createEntry(row: Selectable<ClustersTable>): ClusterEntry {
  return {
    id: row.id,
    name: row.name,
    labels: {},
    values: {},
    facts: row.facts === null ? undefined : fromJsonString(AgentFactsSchema, row.facts, LENIENT),
    capabilities: row.capabilities,
    unstoredCapabilities: undefined,
    createdAtMs: row.created_at,
    joinedAtMs: undefined,
    publishedGeneration: 0n,
    verifiedGeneration: 0n,
    session: '',
    sequence: 0,
    hasGap: false,
    lastReportAtMs: 0,
    lastSeenAtMs: undefined,
    connected: undefined,
    disconnectedAtMs: 0,
    connection: ConnectionState.UNSPECIFIED,
    refusals: undefined,
    problems: [],
    sliceProblem: undefined,
    cells: new Map(),
  }
}

/** Makes the intents of these clusters equal to the deployments in the database. */
export async function loadDeployments(
  db: Kysely<Schema>,
  entries: readonly ClusterEntry[],
  intents: DesiredDeployments,
): Promise<void> {
  for (const page of pages(entries)) {
    const rows = await db
      .selectFrom('deployments')
      .select(['cluster_id', 'application', 'state', 'artifact_digest', 'revision'])
      .where(
        'cluster_id',
        'in',
        page.map((entry) => entry.id),
      )
      .execute()
    const rowsByCluster = Map.groupBy(rows, (row) => row.cluster_id)
    for (const entry of page) setIntents(entry, rowsByCluster.get(entry.id) ?? [], intents)
    await nextTurn()
  }
}

function setIntents(
  entry: ClusterEntry,
  rows: readonly Pick<Selectable<DeploymentsTable>, 'application' | 'state' | 'artifact_digest' | 'revision'>[],
  intents: DesiredDeployments,
): void {
  const names = new Set<string>()
  for (const row of rows) {
    names.add(row.application)
    const cell = entry.cells.get(row.application)
    if (cell) cell.desired = intents.of(row)
    else entry.cells.set(row.application, { desired: intents.of(row), report: undefined, receivedAtMs: 0 })
  }
  for (const [name, cell] of entry.cells) {
    if (names.has(name)) continue
    cell.desired = undefined
    if (cell.report === undefined) entry.cells.delete(name)
  }
}

/** Loads what agents said before the hub was started. */
export async function loadReports(db: Kysely<Schema>, entries: ReadonlyMap<string, ClusterEntry>): Promise<void> {
  for (const row of await db.selectFrom('cluster_reports').selectAll().execute()) {
    const entry = entries.get(row.cluster_id)
    if (!entry) continue
    entry.session = row.session
    entry.sequence = row.sequence
    entry.verifiedGeneration = BigInt(row.slice_generation)
    entry.lastSeenAtMs = row.last_seen_at
    entry.refusals = fromJsonString(RefusalsSchema, row.refusals, LENIENT)
    entry.problems = readProblems(row.problems)
  }
  for (const page of pages([...entries.values()])) {
    const rows = await db
      .selectFrom('application_reports')
      .selectAll()
      .where(
        'cluster_id',
        'in',
        page.map((entry) => entry.id),
      )
      .execute()
    for (const row of rows) setReport(entries.get(row.cluster_id), row)
    await nextTurn()
  }
}

function setReport(
  entry: ClusterEntry | undefined,
  row: { application: string; report: Uint8Array; received_at: number },
): void {
  if (!entry) return
  const report = Buffer.from(row.report).toString('latin1')
  const cell = entry.cells.get(row.application)
  if (cell) Object.assign(cell, { report, receivedAtMs: row.received_at })
  else entry.cells.set(row.application, { desired: undefined, report, receivedAtMs: row.received_at })
  entry.lastReportAtMs = Math.max(entry.lastReportAtMs, row.received_at)
}

function* pages(entries: readonly ClusterEntry[]): Generator<readonly ClusterEntry[]> {
  for (let start = 0; start < entries.length; start += CLUSTERS_PER_PAGE) {
    yield entries.slice(start, start + CLUSTERS_PER_PAGE)
  }
}

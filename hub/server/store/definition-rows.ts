// Repositories and applications as they are stored, with what the hub saw and made of them.
import { create, fromJson, fromJsonString, type JsonValue } from '@bufbuild/protobuf'
import { timestampFromMs } from '@bufbuild/protobuf/wkt'
import { type Problem, ProblemSchema, RevisionSchema } from '@fairlead/proto/common'
import {
  type Application,
  ApplicationSchema,
  type ApplicationSpec,
  ApplicationSpecSchema,
  ApplicationStatusSchema,
  type Metadata,
  MetadataSchema,
  type Repository,
  RepositorySchema,
  type RepositorySpec,
  RepositorySpecSchema,
  RepositoryStatusSchema,
  TrackedRefSchema,
} from '@fairlead/proto/definitions'
import type { Kysely, Selectable } from 'kysely'
import type { ApplicationsTable, RefsTable, RendersTable, RepositoryStateTable, Schema } from './schema.ts'

// What an older or newer hub wrote must not keep this one from starting.
const LENIENT = { ignoreUnknownFields: true } as const

/** An application's spec as stored. */
export function readApplicationSpec(json: string): ApplicationSpec {
  return fromJsonString(ApplicationSpecSchema, json, LENIENT)
}

/** A repository's spec as stored. */
export function readRepositorySpec(json: string): RepositorySpec {
  return fromJsonString(RepositorySpecSchema, json, LENIENT)
}

/** A problem as stored. */
export function readProblem(json: string): Problem {
  return fromJsonString(ProblemSchema, json, LENIENT)
}

/** A list of problems as stored. */
export function readProblems(json: string): Problem[] {
  return (JSON.parse(json) as JsonValue[]).map((problem) => fromJson(ProblemSchema, problem, LENIENT))
}

/** All repositories, or the one of that name, with status, sorted by name. */
export async function readRepositories(db: Kysely<Schema>, name?: string): Promise<Repository[]> {
  const rows = await db
    .selectFrom('repositories')
    .selectAll()
    .$if(name !== undefined, (query) => query.where('name', '=', name ?? ''))
    .orderBy('name')
    .execute()
  const refs = await db.selectFrom('refs').selectAll().orderBy('repository').orderBy('ref').execute()
  const states = await db.selectFrom('repository_state').selectAll().execute()
  const refsByRepository = Map.groupBy(refs, (ref) => ref.repository)
  const stateByRepository = new Map(states.map((state) => [state.repository, state]))
  return rows.map((row) =>
    create(RepositorySchema, {
      metadata: readMetadata(row),
      spec: readRepositorySpec(row.spec),
      status: readRepositoryStatus(refsByRepository.get(row.name) ?? [], stateByRepository.get(row.name)),
    }),
  )
}

/** All applications, or the one of that name, with status, sorted by name. `withClusters: false` leaves the list of selected clusters empty. */
export async function readApplications(
  db: Kysely<Schema>,
  { name, withClusters = true }: { name?: string; withClusters?: boolean } = {},
): Promise<Application[]> {
  const rows = await db
    .selectFrom('applications')
    .selectAll()
    .$if(name !== undefined, (query) => query.where('name', '=', name ?? ''))
    .orderBy('name')
    .execute()
  const renders = await db.selectFrom('renders').selectAll().execute()
  const selected = withClusters ? await readSelectedClusters(db, name) : []
  const renderByApplication = new Map(renders.map((render) => [render.application, render]))
  const clusters = new Map<string, string[]>(rows.map((row) => [row.name, []]))
  for (const { application, cluster } of selected) clusters.get(application)?.push(cluster)
  return rows.map((row) =>
    create(ApplicationSchema, {
      metadata: readMetadata(row),
      spec: readApplicationSpec(row.spec),
      status: readApplicationStatus(row, renderByApplication.get(row.name), clusters.get(row.name) ?? []),
    }),
  )
}

async function readSelectedClusters(
  db: Kysely<Schema>,
  application: string | undefined,
): Promise<{ application: string; cluster: string }[]> {
  return await db
    .selectFrom('deployments')
    .innerJoin('clusters', 'clusters.id', 'deployments.cluster_id')
    .select(['deployments.application', 'clusters.name as cluster'])
    .where('deployments.state', '=', 'desired')
    .$if(application !== undefined, (query) => query.where('deployments.application', '=', application ?? ''))
    .orderBy('clusters.name')
    .execute()
}

function readMetadata(
  row: Pick<Selectable<ApplicationsTable>, 'name' | 'uid' | 'generation' | 'labels' | 'created_at'>,
): Metadata {
  return create(MetadataSchema, {
    name: row.name,
    uid: row.uid,
    generation: BigInt(row.generation),
    labels: JSON.parse(row.labels) as Record<string, string>,
    createdAt: timestampFromMs(row.created_at),
  })
}

function readRepositoryStatus(
  refs: readonly Selectable<RefsTable>[],
  state: Selectable<RepositoryStateTable> | undefined,
) {
  return create(RepositoryStatusSchema, {
    refs: refs.map((row) =>
      create(TrackedRefSchema, {
        ref: row.ref,
        commit: row.commit,
        resolved: row.resolved,
        ...(row.seen_at === 0 ? {} : { seenAt: timestampFromMs(row.seen_at) }),
        ...(row.problem === null ? {} : { problem: readProblem(row.problem) }),
      }),
    ),
    ...(state?.last_polled_at ? { lastPolledAt: timestampFromMs(state.last_polled_at) } : {}),
    ...(state?.problem ? { problem: readProblem(state.problem) } : {}),
  })
}

function readApplicationStatus(
  row: Selectable<ApplicationsTable>,
  render: Selectable<RendersTable> | undefined,
  clusters: string[],
) {
  return create(ApplicationStatusSchema, {
    clusters,
    deleting: row.deleting !== null,
    problems: render ? readProblems(render.problems) : [],
    ...(render?.revision ? { revision: fromJsonString(RevisionSchema, render.revision, LENIENT) } : {}),
  })
}

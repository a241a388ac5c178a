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
  type DefinitionsStatus,
  DefinitionsStatusSchema,
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
import type { Labels } from '../label-selector.ts'
import { type VariableCluster, VariantIndex } from '../variants.ts'
import type {
  ApplicationsTable,
  DefinitionSyncsTable,
  RefsTable,
  RendersTable,
  RepositoryStateTable,
  Schema,
} from './schema.ts'

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
  const syncs = await db.selectFrom('definition_syncs').selectAll().execute()
  const refsByRepository = Map.groupBy(refs, (ref) => ref.repository)
  const syncByRepository = new Map(syncs.map((sync) => [sync.repository, sync]))
  const stateByRepository = new Map(states.map((state) => [state.repository, state]))
  return rows.map((row) =>
    create(RepositorySchema, {
      metadata: readMetadata(row),
      spec: readRepositorySpec(row.spec),
      status: readRepositoryStatus(
        refsByRepository.get(row.name) ?? [],
        stateByRepository.get(row.name),
        syncByRepository.get(row.name),
      ),
    }),
  )
}

/** Applications that were read before without their clusters: to read them again costs only what changed. */
export class KnownApplications {
  readonly #known = new Map<string, KnownApplication>()

  /** What `read` gives, or the same as the last time where its row and render are the same. */
  get(row: Selectable<ApplicationsTable>, renders: readonly Selectable<RendersTable>[], read: () => Application) {
    const [render, ...others] = renders
    const last = this.#known.get(row.name)
    // With several variants the labels of clusters count too.
    if (others.length === 0 && last && isSameRow(last.row, row) && isSameRow(last.render, render))
      return last.application
    const application = read()
    if (others.length === 0) this.#known.set(row.name, { row, render, application })
    else this.#known.delete(row.name)
    return application
  }

  /** Forgets all others. */
  keepOnly(names: ReadonlySet<string>): void {
    for (const name of this.#known.keys()) if (!names.has(name)) this.#known.delete(name)
  }
}

interface KnownApplication {
  readonly row: Selectable<ApplicationsTable>
  readonly render: Selectable<RendersTable> | undefined
  /** Never changed. */
  readonly application: Application
}

function isSameRow<T extends object>(a: T | undefined, b: T | undefined): boolean {
  if (a === undefined || b === undefined) return a === b
  return (Object.keys(b) as (keyof T)[]).every((column) => a[column] === b[column])
}

/** All applications, or the one of that name, with status, sorted by name. `known` takes what did not change from there, and leaves the lists of selected clusters empty; its applications must not be changed. */
export async function readApplications(
  db: Kysely<Schema>,
  { name, known }: { name?: string; known?: KnownApplications } = {},
): Promise<Application[]> {
  const rows = await db
    .selectFrom('applications')
    .selectAll()
    .$if(name !== undefined, (query) => query.where('name', '=', name ?? ''))
    .orderBy('name')
    .execute()
  const renders = await db.selectFrom('renders').selectAll().execute()
  const generators = await readGenerators(db)
  const selected = known ? [] : await readSelectedClusters(db, name)
  const rendersByApplication = Map.groupBy(renders, ({ application }) => application)
  const byVariant = rows.some(({ name }) => (rendersByApplication.get(name)?.length ?? 0) > 1)
  const placed = byVariant ? await readPlaced(db, name) : new Map<string, VariableCluster[]>()
  const clusters = new Map<string, string[]>(rows.map((row) => [row.name, []]))
  for (const { application, cluster } of selected) clusters.get(application)?.push(cluster)
  known?.keepOnly(new Set(clusters.keys()))
  return rows.map((row) => {
    const own = rendersByApplication.get(row.name) ?? []
    const read = (): Application =>
      create(ApplicationSchema, {
        metadata: readMetadata(row),
        spec: readApplicationSpec(row.spec),
        status: readApplicationStatus(row, {
          renders: own,
          clusters: clusters.get(row.name) ?? [],
          placed: placed.get(row.name) ?? [],
          generator: generators.get(row.name),
        }),
      })
    // What it made changes without it.
    return generators.has(row.name) ? read() : (known?.get(row, own, read) ?? read())
  })
}

interface GeneratorState {
  readonly problems: string
  readonly generated: number
}

/** What was made of each forEach, by the application that has it. */
async function readGenerators(db: Kysely<Schema>): Promise<Map<string, GeneratorState>> {
  const rows = await db.selectFrom('generators').select(['application', 'problems']).execute()
  if (rows.length === 0) return new Map()
  const counts = await db
    .selectFrom('applications')
    .select((select) => ['owner', select.fn.countAll<number>().as('count')])
    .where('owner', 'like', 'application:%')
    .where('deleting', 'is', null)
    .groupBy('owner')
    .execute()
  const generated = new Map<string, number>(counts.map(({ owner, count }) => [owner, Number(count)]))
  return new Map(
    rows.map(({ application, problems }) => [
      application,
      { problems, generated: generated.get(`application:${application}`) ?? 0 },
    ]),
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
  row: Pick<
    Selectable<ApplicationsTable>,
    'name' | 'uid' | 'generation' | 'labels' | 'created_at' | 'owner' | 'origin'
  >,
): Metadata {
  return create(MetadataSchema, {
    name: row.name,
    uid: row.uid,
    generation: BigInt(row.generation),
    labels: JSON.parse(row.labels) as Record<string, string>,
    createdAt: timestampFromMs(row.created_at),
    owner: row.owner,
    origin: row.origin,
  })
}

function readRepositoryStatus(
  refs: readonly Selectable<RefsTable>[],
  state: Selectable<RepositoryStateTable> | undefined,
  sync: Selectable<DefinitionSyncsTable> | undefined,
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
    ...(sync ? { definitions: readDefinitionsStatus(sync) } : {}),
  })
}

/** By application, the clusters that are to run it, with what their variants depend on. */
async function readPlaced(
  db: Kysely<Schema>,
  application: string | undefined,
): Promise<Map<string, VariableCluster[]>> {
  const rows = await db
    .selectFrom('deployments')
    .innerJoin('clusters', 'clusters.id', 'deployments.cluster_id')
    .select(['deployments.application', 'clusters.id', 'clusters.name', 'clusters.labels', 'clusters.capabilities'])
    .where('deployments.state', '=', 'desired')
    .$if(application !== undefined, (query) => query.where('deployments.application', '=', application ?? ''))
    .orderBy('clusters.name')
    .execute()
  const clusters = rows.map((row) => ({ ...row, labels: JSON.parse(row.labels) as Labels }))
  return Map.groupBy(clusters, (row) => row.application)
}

interface ApplicationState {
  /** One of each variant. */
  readonly renders: readonly Selectable<RendersTable>[]
  /** Names. */
  readonly clusters: string[]
  /** The same with labels, where there are several variants. */
  readonly placed: readonly VariableCluster[]
  /** Of one that makes others. */
  readonly generator: GeneratorState | undefined
}

function readDefinitionsStatus(row: Selectable<DefinitionSyncsTable>): DefinitionsStatus {
  return create(DefinitionsStatusSchema, {
    commit: row.commit,
    attemptedCommit: row.attempted_commit,
    problems: readProblems(row.problems),
    ...(row.synced_at === 0 ? {} : { syncedAt: timestampFromMs(row.synced_at) }),
  })
}

function readApplicationStatus(
  row: Selectable<ApplicationsTable>,
  { renders, clusters, placed, generator }: ApplicationState,
) {
  // Of several, one that is at its newest commit: the problems tell of the others.
  const isNewest = (render: Selectable<RendersTable>): boolean => render.commit === render.attempted_commit
  const good = renders.filter(({ revision }) => revision !== null)
  const revision = (good.find(isNewest) ?? good[0])?.revision
  return create(ApplicationStatusSchema, {
    clusters,
    deleting: row.deleting !== null,
    generated: generator?.generated ?? 0,
    problems: generator
      ? readProblems(generator.problems)
      : renders.length > 1
        ? problemsByVariant(readApplicationSpec(row.spec), renders, placed)
        : renders.flatMap((render) => readProblems(render.problems)),
    ...(revision ? { revision: fromJsonString(RevisionSchema, revision, LENIENT) } : {}),
  })
}

/** The problems of all variants; those that not all of them have name the clusters. */
function problemsByVariant(
  spec: ApplicationSpec,
  renders: readonly Selectable<RendersTable>[],
  placed: readonly VariableCluster[],
): Problem[] {
  const variants = new VariantIndex()
  const clusters = Map.groupBy(placed, (cluster) => variants.of(spec, cluster).id)
  const found = renders.flatMap(({ variant, problems }) =>
    readProblems(problems).map((problem) => ({ variant, problem })),
  )
  const groups = Map.groupBy(found, ({ problem: { code, message, object, source } }) =>
    JSON.stringify([code, message, object?.kind, object?.namespace, object?.name, source?.file, source?.line]),
  )
  return [...groups.values()].flatMap((group) => {
    const problem = group[0]?.problem
    if (!problem || group.length === renders.length) return problem ?? []
    const names = group.flatMap(({ variant }) => clusters.get(variant) ?? []).map(({ name }) => name)
    const where = names.length === 0 ? 'with some overrides' : `on ${listNames(names)}`
    return { ...problem, message: `${where}: ${problem.message}` }
  })
}

function listNames(names: readonly string[]): string {
  const listed = names.slice(0, 3).join(', ')
  return names.length > 3 ? `${listed} and ${names.length - 3} more` : listed
}

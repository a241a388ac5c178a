// What the database says that the fleet should be, at one moment, and what of it changed since another moment.
import { fromJsonString } from '@bufbuild/protobuf'
import { type ApplicationSpec, ApplicationSpecSchema } from '@fairlead/proto/definitions'
import { canonicalJson } from '@fairlead/shared/digest'
import type { Selectable } from 'kysely'
import type { Labels } from './label-selector.ts'
import type { ClustersTable, RendersTable } from './store/schema.ts'
import type { Store } from './store/store.ts'

/** An application as it is defined. */
export interface ApplicationDefinition {
  readonly name: string
  readonly uid: string
  readonly generation: number
  readonly deleting: 'prune' | 'orphan' | null
  readonly spec: ApplicationSpec
}

/** A cluster as it is registered. */
export interface ClusterDefinition {
  readonly id: string
  readonly name: string
  readonly labels: Labels
  /** For variables in manifests. */
  readonly values: Labels
  readonly hasJoined: boolean
  /** Digest of what charts see of it; empty while its agent has not said. */
  readonly capabilities: string
}

/** The newest render of a variant of an application. */
export interface RenderState {
  readonly attemptedCommit: string
  readonly artifactDigest: string | null
  /** As proto JSON. */
  readonly revision: string | null
  readonly incomplete: boolean
}

/** The renders of one application by the id of the variant. */
export type VariantRenders = ReadonlyMap<string, RenderState>

/** The fleet as it should be. */
export interface FleetSnapshot {
  readonly applications: ReadonlyMap<string, ApplicationDefinition>
  readonly clusters: ReadonlyMap<string, ClusterDefinition>
  /** By application and variant. */
  readonly renders: ReadonlyMap<string, VariantRenders>
  /** Commit by refKey. */
  readonly commits: ReadonlyMap<string, string>
}

/** A fleet of which nothing is known. */
export const EMPTY_SNAPSHOT: FleetSnapshot = {
  applications: new Map(),
  clusters: new Map(),
  renders: new Map(),
  commits: new Map(),
}

/** Key of a ref of a repository. */
export function refKey(repository: string, ref: string): string {
  return `${repository}\0${ref}`
}

/** Reads the fleet; what did not change since `last` is taken from there instead of being parsed again. */
export async function readSnapshot({ db }: Store, last: FleetSnapshot): Promise<FleetSnapshot> {
  const applications = await db
    .selectFrom('applications')
    .select(['name', 'uid', 'generation', 'deleting', 'spec'])
    .orderBy('name')
    .execute()
  const clusters = await db
    .selectFrom('clusters')
    .select(['id', 'name', 'labels', 'cluster_values', 'joined_at', 'capabilities'])
    .orderBy('name')
    .execute()
  const renders = await db
    .selectFrom('renders')
    .select(['application', 'variant', 'attempted_commit', 'artifact_digest', 'revision', 'incomplete'])
    .execute()
  const refs = await db.selectFrom('refs').select(['repository', 'ref', 'commit']).where('commit', '!=', '').execute()
  return {
    applications: new Map(
      applications.map((row) => {
        const known = last.applications.get(row.name)
        const isSame = known?.uid === row.uid && known.generation === row.generation
        const spec = isSame
          ? known.spec
          : fromJsonString(ApplicationSpecSchema, row.spec, { ignoreUnknownFields: true })
        const { name, uid, generation, deleting } = row
        return [name, { name, uid, generation, deleting, spec }]
      }),
    ),
    clusters: keepSame(
      last.clusters,
      clusters.map((row) => toCluster(row, last.clusters.get(row.id))),
    ),
    renders: toRenders(renders),
    commits: new Map(refs.map((row) => [refKey(row.repository, row.ref), row.commit])),
  }
}

type ClusterRow = Pick<
  Selectable<ClustersTable>,
  'id' | 'name' | 'labels' | 'cluster_values' | 'joined_at' | 'capabilities'
>

/** The cluster, as the same object while nothing of it changed. */
function toCluster(row: ClusterRow, known: ClusterDefinition | undefined): ClusterDefinition {
  const { id, name, labels, cluster_values, joined_at, capabilities } = row
  const hasJoined = joined_at !== null
  const isKnown =
    known?.name === name &&
    known.hasJoined === hasJoined &&
    known.capabilities === capabilities &&
    JSON.stringify(known.labels) === labels &&
    JSON.stringify(known.values) === cluster_values
  if (isKnown) return known
  const values = JSON.parse(cluster_values) as Labels
  return { id, name, labels: JSON.parse(labels) as Labels, values, hasJoined, capabilities }
}

/** The same map while the same clusters are in it: what was found out about them still holds. */
function keepSame(
  last: ReadonlyMap<string, ClusterDefinition>,
  clusters: readonly ClusterDefinition[],
): ReadonlyMap<string, ClusterDefinition> {
  const isSame = last.size === clusters.length && clusters.every((cluster) => last.get(cluster.id) === cluster)
  return isSame ? last : new Map(clusters.map((cluster) => [cluster.id, cluster]))
}

type RenderRow = Pick<
  Selectable<RendersTable>,
  'application' | 'variant' | 'attempted_commit' | 'artifact_digest' | 'revision' | 'incomplete'
>

function toRenders(rows: readonly RenderRow[]): ReadonlyMap<string, VariantRenders> {
  const renders = new Map<string, Map<string, RenderState>>()
  for (const row of rows) {
    const variants = renders.get(row.application) ?? new Map<string, RenderState>()
    renders.set(row.application, variants)
    variants.set(row.variant, {
      attemptedCommit: row.attempted_commit,
      artifactDigest: row.artifact_digest,
      revision: row.revision,
      incomplete: row.incomplete === 1,
    })
  }
  return renders
}

/** What differs between two snapshots, as far as placement and slices are concerned. */
export interface FleetChanges {
  /** New, changed, rendered anew, or being deleted. */
  readonly applications: readonly ApplicationDefinition[]
  /** New, joined, labelled otherwise, with other values, or serving other kinds. */
  readonly clusters: readonly ClusterDefinition[]
}

/** Compares two snapshots. */
export function findChanges(last: FleetSnapshot, now: FleetSnapshot): FleetChanges {
  const applications = [...now.applications.values()].filter((application) => {
    const { name, uid, generation, deleting } = application
    const before = last.applications.get(name)
    if (before?.uid !== uid || before.generation !== generation || before.deleting !== deleting) return true
    return !areSameRenders(now.renders.get(name), last.renders.get(name))
  })
  const clusters = [...now.clusters.values()].filter((cluster) => {
    const before = last.clusters.get(cluster.id)
    if (before === cluster) return false
    if (before?.hasJoined !== cluster.hasJoined || before.capabilities !== cluster.capabilities) return true
    return canonicalJson([before.labels, before.values]) !== canonicalJson([cluster.labels, cluster.values])
  })
  return { applications, clusters }
}

function areSameRenders(now: VariantRenders = new Map(), last: VariantRenders = new Map()): boolean {
  const isSame = ([variant, { artifactDigest, revision, incomplete }]: [string, RenderState]): boolean => {
    const before = last.get(variant)
    return before?.artifactDigest === artifactDigest && before.revision === revision && before.incomplete === incomplete
  }
  return now.size === last.size && [...now].every(isSame)
}

/** The snapshot, in which these applications are as they were in the last: compared with the next, they have changed again. */
export function withoutChanges(now: FleetSnapshot, last: FleetSnapshot, names: ReadonlySet<string>): FleetSnapshot {
  if (names.size === 0) return now
  return {
    ...now,
    applications: putBack(now.applications, last.applications, names),
    renders: putBack(now.renders, last.renders, names),
  }
}

function putBack<T>(
  now: ReadonlyMap<string, T>,
  last: ReadonlyMap<string, T>,
  names: ReadonlySet<string>,
): ReadonlyMap<string, T> {
  const result = new Map(now)
  for (const name of names) {
    const before = last.get(name)
    if (before === undefined) result.delete(name)
    else result.set(name, before)
  }
  return result
}

// The view as the API shows it. No I/O.
import { clone, create } from '@bufbuild/protobuf'
import { timestampFromMs } from '@bufbuild/protobuf/wkt'
import { type Cluster, ClusterSchema } from '@fairlead/proto/clusters'
import { HealthState } from '@fairlead/proto/common'
import {
  type Application,
  ApplicationSchema,
  ApplicationStatusSchema,
  type Repository,
} from '@fairlead/proto/definitions'
import { type Deployment, DeploymentSchema, type FleetStatus, FleetStatusSchema } from '@fairlead/proto/fleet'
import { AppError } from '@fairlead/shared/errors'
import { sourcesOf } from '../application-sources.ts'
import { type Cell, type ClusterEntry, decodeReport } from './cluster-entry.ts'
import { decideSync } from './deployment-sync.ts'

/** What to show: only one cluster, only one application, or both; undefined or empty for all. */
export interface StatusFilter {
  readonly cluster?: string
  readonly application?: string
}

/** What the view knows. */
export interface FleetData {
  /** Sorted by name. */
  readonly clusters: readonly ClusterEntry[]
  /** Sorted by name; the clusters of their status are filled in here. */
  readonly applications: readonly Application[]
  /** Sorted by name. */
  readonly repositories: readonly Repository[]
}

/** The state that was asked for. With a filter, only what has to do with it is listed. Throws NotFound for a name that does not exist. */
export function describeFleet(data: FleetData, { cluster = '', application = '' }: StatusFilter): FleetStatus {
  const clusters = narrow(data.clusters, cluster, (entry) => entry.name, 'cluster')
  const applications = narrow(data.applications, application, nameOf, 'Application')
  const isDeployed = (name: string, entry: ClusterEntry): boolean => entry.cells.get(name)?.desired !== undefined
  const shownApplications = applications.filter(
    (each) => cluster === '' || application !== '' || clusters.some((entry) => isDeployed(nameOf(each), entry)),
  )
  const shownClusters = clusters.filter(
    (entry) => application === '' || cluster !== '' || isDeployed(application, entry),
  )
  const deployments = shownApplications.flatMap((each) => describeDeployments(nameOf(each), shownClusters))
  return create(FleetStatusSchema, {
    clusters: shownClusters.map(describeCluster),
    applications: shownApplications.map((each) => withClusters(each, data.clusters)),
    deployments,
    repositories: narrowRepositories(data.repositories, shownApplications, cluster !== '' || application !== ''),
  })
}

function narrow<T>(all: readonly T[], name: string, nameOf: (each: T) => string, kind: string): readonly T[] {
  if (name === '') return all
  const found = all.filter((each) => nameOf(each) === name)
  if (found.length === 0) throw new AppError('NotFound', `there is no ${kind} ${JSON.stringify(name.slice(0, 80))}`)
  return found
}

function nameOf(application: Application): string {
  return application.metadata?.name ?? ''
}

function narrowRepositories(
  all: readonly Repository[],
  applications: readonly Application[],
  isFiltered: boolean,
): Repository[] {
  if (!isFiltered) return [...all]
  const sources = applications.flatMap(({ spec }) => (spec ? sourcesOf(spec) : []))
  const used = new Set(sources.map(({ repository }) => repository))
  return all.filter((repository) => used.has(repository.metadata?.name ?? ''))
}

function withClusters(application: Application, entries: readonly ClusterEntry[]): Application {
  const name = nameOf(application)
  const isSelected = (entry: ClusterEntry): boolean => entry.cells.get(name)?.desired?.removing === false
  const clusters = entries.filter(isSelected).map((entry) => entry.name)
  const shown = clone(ApplicationSchema, application)
  shown.status ??= create(ApplicationStatusSchema)
  shown.status.clusters = clusters
  return shown
}

/** A cluster as the API shows it. */
export function describeCluster(entry: ClusterEntry): Cluster {
  return create(ClusterSchema, {
    name: entry.name,
    labels: entry.labels,
    values: entry.values,
    connection: entry.connection,
    createdAt: timestampFromMs(entry.createdAtMs),
    publishedGeneration: entry.publishedGeneration,
    verifiedGeneration: entry.verifiedGeneration,
    problems: entry.sliceProblem ? [entry.sliceProblem, ...entry.problems] : entry.problems,
    ...(entry.lastSeenAtMs === undefined ? {} : { lastSeenAt: timestampFromMs(entry.lastSeenAtMs) }),
    ...(entry.joinedAtMs === undefined ? {} : { joinedAt: timestampFromMs(entry.joinedAtMs) }),
    ...(entry.facts ? { facts: entry.facts } : {}),
    ...(entry.refusals ? { refusals: entry.refusals } : {}),
  })
}

function describeDeployments(application: string, entries: readonly ClusterEntry[]): Deployment[] {
  return entries.flatMap((entry) => {
    const cell = entry.cells.get(application)
    return cell?.desired ? [describeDeployment(application, entry, cell)] : []
  })
}

function describeDeployment(application: string, entry: ClusterEntry, cell: Cell): Deployment {
  const desired = cell.desired ?? { removing: false, revision: undefined, artifactDigest: undefined }
  const report = decodeReport(cell.report)
  return create(DeploymentSchema, {
    application,
    cluster: entry.name,
    sync: decideSync(desired, report),
    health: report?.health || HealthState.UNKNOWN,
    connection: entry.connection,
    removing: desired.removing,
    ...(desired.revision ? { desired: desired.revision } : {}),
    ...(report ? { report, reportedAt: timestampFromMs(cell.receivedAtMs) } : {}),
    ...(report?.revision ? { live: report.revision } : {}),
  })
}

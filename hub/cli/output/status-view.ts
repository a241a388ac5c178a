// The fleet at a glance, as lines of text: a table of every application on every cluster, and below it what is wrong. Pure.
import { timestampMs } from '@bufbuild/protobuf/wkt'
import type { Cluster } from '@fairlead/proto/clusters'
import { ConnectionState, HealthState, type ObjectReference, SyncState } from '@fairlead/proto/common'
import type { Application, Repository } from '@fairlead/proto/definitions'
import type { Deployment, FleetStatus } from '@fairlead/proto/fleet'
import type { Drift } from '@fairlead/proto/report'
import { formatObjectReference } from '@fairlead/shared/object-reference'
import { heldPrunesOf } from './held-prunes.ts'
import { runningHooksOf } from './hooks.ts'
import type { Style } from './output.ts'
import { formatTable } from './table.ts'
import {
  ageOf,
  agoOf,
  connectionWord,
  driftWord,
  formatProblem,
  formatRevision,
  healthWord,
  plain,
  syncWord,
} from './text.ts'

/** How the state is shown. */
export interface StatusViewOptions {
  /** Ms since the epoch that ages are counted from. */
  readonly now: number
  /** Whole commits, more columns, and the latest drifts. */
  readonly wide: boolean
  readonly style: (style: Style, text: string) => string
}

const COLUMNS = ['APPLICATION', 'CLUSTER', 'REVISION', 'SYNC', 'HEALTH', 'DRIFT', 'AGE'] as const
const WIDE_COLUMNS = [...COLUMNS, 'OBJECTS', 'DESIRED', 'REPORTED', 'KUBERNETES', 'AGENT'] as const

/** The lines of the table and of what is below it. */
export function formatStatus(status: FleetStatus, options: StatusViewOptions): string[] {
  if (status.applications.length === 0 && status.deployments.length === 0) {
    return ['No applications. Make one by: fairlead apply -f FILE', ...sections(status, options)]
  }
  const table = formatTable({ columns: options.wide ? WIDE_COLUMNS : COLUMNS, rows: statusRows(status, options) })
  return [...table, ...sections(status, options)]
}

/** The table's rows; an application that selects no cluster has one row without a cluster. */
export function statusRows(status: FleetStatus, options: StatusViewOptions): string[][] {
  const clusters = new Map(status.clusters.map((cluster) => [cluster.name, cluster]))
  const deployed = new Set(status.deployments.map((deployment) => deployment.application))
  const nowhere = status.applications.filter((application) => !deployed.has(application.metadata?.name ?? ''))
  const rows = [
    ...status.deployments.map((one) => deploymentRow(one, clusters.get(one.cluster), options)),
    ...nowhere.map((application) => nowhereRow(application, options)),
  ]
  return rows.sort((left, right) => compare(left[0], right[0]) || compare(left[1], right[1]))
}

function deploymentRow(deployment: Deployment, cluster: Cluster | undefined, options: StatusViewOptions): string[] {
  const { now, wide, style } = options
  const online = deployment.connection === ConnectionState.ONLINE
  const known = (text: string): string => (online ? text : style('dim', text))
  const row = [
    plain(deployment.application),
    online
      ? plain(deployment.cluster)
      : `${plain(deployment.cluster)} ${style('yellow', `(${awayWord(deployment, cluster, now)})`)}`,
    known(revisionCell(deployment, wide)),
    known(syncCell(deployment, options)),
    known(style(healthStyle(deployment.health), healthWord(deployment.health))),
    known(driftCell(deployment, style)),
    known(ageOf(deployment.report?.since, now)),
  ]
  if (!wide) return row
  return [
    ...row,
    String(deployment.report?.objects ?? '-'),
    formatRevision(deployment.desired, { whole: true }),
    agoOf(deployment.reportedAt, now),
    plain(cluster?.facts?.kubernetesVersion ?? '') || '-',
    plain(cluster?.facts?.agentVersion ?? '') || '-',
  ]
}

/** `stale, last known 4m ago`: everything in the row is as old as that. */
function awayWord(deployment: Deployment, cluster: Cluster | undefined, now: number): string {
  const connection = connectionWord(deployment.connection).toLowerCase()
  const seenAt = cluster?.lastSeenAt ?? deployment.reportedAt
  return seenAt === undefined ? connection : `${connection}, last known ${agoOf(seenAt, now)}`
}

function revisionCell(deployment: Deployment, whole: boolean): string {
  const live = formatRevision(deployment.live, { whole })
  const { desired } = deployment
  if (!desired || desired.commit === deployment.live?.commit) return live
  return live === '-' ? `-> ${formatRevision(desired, { whole })}` : `${live} -> ${desired.commit.slice(0, 8)}`
}

function syncCell(deployment: Deployment, { style }: StatusViewOptions): string {
  if (deployment.removing) return style('yellow', 'Removing')
  const sync = style(syncStyle(deployment.sync), syncWord(deployment.sync))
  return deployment.report?.suspended ? `${sync}, ${style('yellow', 'Suspended')}` : sync
}

/** `2 open` while somebody's change stands, `3 reverted` after they were put back, `-` when there was none. */
function driftCell(deployment: Deployment, style: StatusViewOptions['style']): string {
  const listed = (deployment.report?.drifts ?? []).filter((drift) => !drift.remediatedAt).length
  const open = Math.max(listed, deployment.report?.drifted ?? 0)
  const reverted = deployment.report?.remediations ?? 0n
  const words = [
    ...(open > 0 ? [style('yellow', `${open} open`)] : []),
    ...(reverted > 0n ? [`${reverted} reverted`] : []),
  ]
  return words.length === 0 ? '-' : words.join(', ')
}

function nowhereRow(application: Application, { now, wide, style }: StatusViewOptions): string[] {
  const state = application.status
  const row = [
    plain(application.metadata?.name ?? ''),
    '-',
    application.spec?.forEach ? `makes ${state?.generated ?? 0}` : formatRevision(state?.revision, { whole: wide }),
    state?.deleting ? style('yellow', 'Removing') : '-',
    '-',
    '-',
    ageOf(application.metadata?.createdAt, now),
  ]
  return wide ? [...row, '-', '-', '-', '-', '-'] : row
}

function sections(status: FleetStatus, options: StatusViewOptions): string[] {
  const { now, style } = options
  return [
    ...section(
      style('bold', 'Clusters that are not Online:'),
      status.clusters.flatMap((one) => clusterNote(one, now)),
    ),
    ...section(style('bold', 'Problems:'), problemLines(status, now)),
    ...section(
      style('bold', 'Held prunes:'),
      status.deployments.flatMap((one) => heldPrunesOf(one, now)),
    ),
    ...section(style('bold', 'Running hooks:'), status.deployments.flatMap(runningHooksOf)),
    ...section(style('bold', 'Latest drift:'), options.wide ? driftLines(status.deployments, now) : []),
  ]
}

function section(title: string, lines: readonly string[]): string[] {
  return lines.length === 0 ? [] : ['', title, ...lines.map((line) => `  ${line}`)]
}

/** What to know of a cluster that is not Online; empty for one that is. */
export function clusterNote(cluster: Cluster, now: number): string[] {
  if (cluster.connection === ConnectionState.ONLINE) return []
  const name = plain(cluster.name)
  if (cluster.connection === ConnectionState.PENDING) {
    return [`${name} is Pending: registered ${agoOf(cluster.createdAt, now)}, no agent has joined yet`]
  }
  return [
    `${name} is ${connectionWord(cluster.connection)}: last seen ${agoOf(cluster.lastSeenAt, now)}; what is shown of it is its last known state`,
  ]
}

/** Every problem of the fleet, one line each, with what it concerns in front. */
export function problemLines(status: FleetStatus, now: number): string[] {
  const lines = [
    ...status.repositories.flatMap((repository) => repositoryProblems(repository, now)),
    ...status.applications.flatMap((application) =>
      (application.status?.problems ?? []).map(
        (problem) => `${plain(application.metadata?.name ?? '')}: ${formatProblem(problem, now)}`,
      ),
    ),
    ...status.clusters.flatMap((cluster) =>
      cluster.problems.map((problem) => `cluster ${plain(cluster.name)}: ${formatProblem(problem, now)}`),
    ),
    ...status.deployments.flatMap((deployment) => deploymentProblems(deployment, now)),
    ...status.applications.flatMap(nowhereProblem),
  ]
  return [...new Set(lines)]
}

function repositoryProblems(repository: Repository, now: number): string[] {
  const name = `repository ${plain(repository.metadata?.name ?? '')}`
  const { problem, refs = [], definitions } = repository.status ?? {}
  return [
    ...(problem ? [`${name}: ${formatProblem(problem, now)}`] : []),
    ...refs.flatMap((ref) =>
      ref.problem ? [`${name}, ref ${plain(ref.ref) || 'default branch'}: ${formatProblem(ref.problem, now)}`] : [],
    ),
    ...(definitions?.problems ?? []).map((one) => `${name}, definitions: ${formatProblem(one, now)}`),
  ]
}

/** Problems, objects that are not healthy, and changes by others that still stand. */
export function deploymentProblems(deployment: Deployment, now: number): string[] {
  const subject = `${plain(deployment.application)} on ${plain(deployment.cluster)}`
  const { problems = [], unhealthy = [], drifts = [] } = deployment.report ?? {}
  return [
    ...problems.map((problem) => `${subject}: ${formatProblem(problem, now)}`),
    ...unhealthy.flatMap(({ object, health, message, logLines }) => [
      `${subject}: ${objectName(object)}: ${healthWord(health)}${message === '' ? '' : `: ${plain(message)}`}`,
      ...logLines.map((line) => `${subject}: ${objectName(object)}: log: ${plain(line)}`),
    ]),
    ...drifts.filter((drift) => !drift.remediatedAt).map((drift) => `${subject}: ${formatDrift(drift, now)}`),
  ]
}

function nowhereProblem(application: Application): string[] {
  const state = application.status
  if (!state?.revision || state.deleting || state.clusters.length > 0) return []
  return [`${plain(application.metadata?.name ?? '')}: its placement selects no cluster`]
}

function driftLines(deployments: readonly Deployment[], now: number): string[] {
  return deployments
    .flatMap((deployment) => (deployment.report?.drifts ?? []).map((drift) => ({ deployment, drift })))
    .sort((left, right) => detectedMs(right.drift) - detectedMs(left.drift))
    .slice(0, 10)
    .map(
      ({ deployment, drift }) =>
        `${plain(deployment.application)} on ${plain(deployment.cluster)}: ${formatDrift(drift, now)}`,
    )
}

/** `Deployment.apps shop/web: changed by kubectl-edit 3m ago (spec.replicas), put back after 12 ms`. */
export function formatDrift(drift: Drift, now: number): string {
  const by = drift.manager === '' ? '' : ` by ${plain(drift.manager)}`
  const fields = drift.fields.length === 0 ? '' : ` (${drift.fields.map(plain).join(', ')})`
  const end =
    drift.remediatedAt === undefined
      ? 'not put back'
      : `put back after ${Math.max(0, Math.round(timestampMs(drift.remediatedAt) - detectedMs(drift)))} ms`
  return `${objectName(drift.object)}: ${driftWord(drift.kind)}${by} ${agoOf(drift.detectedAt, now)}${fields}, ${end}`
}

const detectedMs = (drift: Drift): number => (drift.detectedAt ? timestampMs(drift.detectedAt) : 0)

function objectName(object: ObjectReference | undefined): string {
  return object ? plain(formatObjectReference(object)) : 'an object'
}

function syncStyle(state: SyncState): Style {
  if (state === SyncState.SYNCED) return 'green'
  return state === SyncState.OUT_OF_SYNC ? 'red' : 'yellow'
}

function healthStyle(state: HealthState): Style {
  if (state === HealthState.HEALTHY) return 'green'
  return state === HealthState.DEGRADED || state === HealthState.MISSING ? 'red' : 'yellow'
}

function compare(left = '', right = ''): number {
  if (left === right) return 0
  return left < right ? -1 : 1
}

// Everything the hub knows about why an application is not where it should be, from Git to each cluster. Pure.
import type { Cluster } from '@fairlead/proto/clusters'
import type { Application, Repository, TrackedRef } from '@fairlead/proto/definitions'
import type { Deployment, FleetStatus } from '@fairlead/proto/fleet'
import { followedRef } from '@fairlead/shared/followed-ref'
import { heldPrunesOf } from '../output/held-prunes.ts'
import { formatHook } from '../output/hooks.ts'
import { clusterNote, deploymentProblems, formatDrift } from '../output/status-view.ts'
import {
  ageOf,
  agoOf,
  connectionWord,
  formatProblem,
  formatRevision,
  healthWord,
  plain,
  plural,
  syncWord,
} from '../output/text.ts'
import { assessReadiness } from './readiness.ts'

/** How it is explained. */
export interface ExplainOptions {
  /** Ms since the epoch that ages are counted from. */
  readonly now: number
  /** The only cluster that the state was asked for; empty for all. */
  readonly cluster?: string
}

/** The explanation of one application, in the order of a commit's way; the last line is the verdict. */
export function explainApplication(
  application: Application,
  status: FleetStatus,
  { now, cluster = '' }: ExplainOptions,
): string[] {
  const { reasons } = assessReadiness(status, { cluster })
  const isGenerator = application.spec?.forEach !== undefined
  const good = isGenerator
    ? 'Everything that it is given is made.'
    : 'Synced and Healthy on every cluster that it selects.'
  const verdict = reasons.length === 0 ? [good] : ['Not where it should be:', ...reasons.map((reason) => `  ${reason}`)]
  return [
    ...(isGenerator ? explainGenerator(application, now) : explainGit(application, status.repositories, now)),
    ...explainOwner(application),
    ...(isGenerator ? [] : explainRender(application, now)),
    ...status.deployments.flatMap((deployment) =>
      explainDeployment(
        deployment,
        status.clusters.find((cluster) => cluster.name === deployment.cluster),
        now,
      ),
    ),
    '',
    ...verdict,
  ]
}

/** One that makes others. */
function explainGenerator({ metadata, spec, status }: Application, now: number): string[] {
  const { folders, file, clusters } = spec?.forEach ?? {}
  const source = folders ?? file
  const what = folders ? 'folder' : file ? 'entry of' : clusters ? 'cluster that it selects' : 'thing'
  const from = source ? ` ${plain(source.path)} of repository ${plain(source.repository)}` : ''
  return [
    `${plain(metadata?.name ?? '')}: makes ${plural(status?.generated ?? 0, 'Application')}, one for each ${what}${from}`,
    ...(spec?.suspend ? ['  suspended: it makes, changes and removes none'] : []),
    ...(status?.problems ?? []).map((problem) => `  inputs: ${formatProblem(problem, now)}`),
  ]
}

function explainGit(application: Application, repositories: readonly Repository[], now: number): string[] {
  const source = application.spec?.source
  const repository = repositories.find((one) => one.metadata?.name === source?.repository)
  const { chart = '', path = '', ref = '' } = source ?? {}
  const what = chart === '' ? plain(path) || 'the root' : `chart ${plain(chart)}`
  const newest = repository?.spec?.helm || repository?.spec?.url.startsWith('oci') ? 'newest' : 'default branch'
  const head = `${plain(application.metadata?.name ?? '')}: ${what} of repository ${plain(source?.repository ?? '')}, ${plain(ref) || newest}`
  if (!repository) return [head, '  git: there is no such repository']
  const { problem, refs = [], lastPolledAt } = repository.status ?? {}
  const tracked = refs.find((one) => one.ref === followedRef({ chart, ref }))
  return [
    head,
    `  git: ${plain(repository.spec?.url ?? '')}, last answered ${agoOf(lastPolledAt, now)}`,
    ...(problem ? [`  git: ${formatProblem(problem, now)}`] : []),
    ...explainRef(tracked, now),
  ]
}

/** Where it is changed, when not by hand. */
function explainOwner({ metadata }: Application): string[] {
  const { owner = '', origin = '' } = metadata ?? {}
  if (owner === '') return []
  const isHeld = origin === ''
  const where = isHeld ? 'it is gone there, and held until it is deleted by hand or there again' : plain(origin)
  const from = owner.replace(/^application:/, 'Application/')
  return [`  definition: comes from ${plain(from)}, ${where}`]
}

function explainRef(tracked: TrackedRef | undefined, now: number): string[] {
  if (!tracked) return ['  git: the ref was not looked at yet']
  const commit = tracked.commit === '' ? 'never seen' : `at ${tracked.commit}, seen ${agoOf(tracked.seenAt, now)}`
  return [`  git: ref ${commit}`, ...(tracked.problem ? [`  git: ${formatProblem(tracked.problem, now)}`] : [])]
}

function explainRender(application: Application, now: number): string[] {
  const { revision, problems = [], clusters = [], deleting = false } = application.status ?? {}
  const rendered = revision
    ? `last good revision ${formatRevision(revision, { whole: true })}`
    : 'no revision was rendered yet'
  return [
    `  render: ${rendered}`,
    ...problems.map((problem) => `  render: ${formatProblem(problem, now)}`),
    `  placement: ${clusters.length === 0 ? 'selects no cluster' : `${plural(clusters.length, 'cluster')}: ${clusters.map(plain).join(', ')}`}`,
    ...(deleting ? ['  it is being deleted and leaves every cluster'] : []),
  ]
}

function explainDeployment(deployment: Deployment, cluster: Cluster | undefined, now: number): string[] {
  const { report } = deployment
  const state = `${syncWord(deployment.sync)}, ${healthWord(deployment.health)}`
  return [
    '',
    `on ${plain(deployment.cluster)} (${connectionWord(deployment.connection)}): ${state} since ${ageOf(report?.since, now)}${deployment.removing ? ', being removed' : ''}`,
    ...(cluster ? clusterNote(cluster, now) : []).map((note) => `  ${note}`),
    `  desired ${formatRevision(deployment.desired, { whole: true })}`,
    `  live    ${formatRevision(deployment.live, { whole: true })}${report?.appliedAt ? `, applied ${agoOf(report.appliedAt, now)}` : ''}`,
    ...(report?.suspended ? ['  suspended: its agent changes nothing; `fairlead application resume` ends that'] : []),
    `  told by its agent ${agoOf(deployment.reportedAt, now)}; ${plural(report?.objects ?? 0, 'object')}`,
    ...(cluster ? explainSlice(cluster) : []),
    ...(cluster?.problems ?? []).map((problem) => `  agent: ${formatProblem(problem, now)}`),
    ...deploymentProblems(deployment, now).map((line) => `  ${line}`),
    ...(report?.hooks ?? []).map((hook) => `  ${formatHook(hook)}`),
    ...heldPrunesOf(deployment, now, 100).map((line) => `  ${line}`),
    ...(report?.drifts ?? [])
      .filter((drift) => drift.remediatedAt)
      .map((drift) => `  drift: ${formatDrift(drift, now)}`),
  ]
}

function explainSlice(cluster: Cluster): string[] {
  const { publishedGeneration: published, verifiedGeneration: verified, refusals } = cluster
  const lines =
    published === verified
      ? [`  slice ${published} was verified by its agent`]
      : [`  slice ${published} was published, its agent has verified ${verified === 0n ? 'none' : verified}`]
  const counts = [
    ['a wrong signature', refusals?.signature ?? 0n],
    ['another cluster', refusals?.cluster ?? 0n],
    ['an old generation', refusals?.generation ?? 0n],
    ['being malformed', refusals?.malformed ?? 0n],
  ] as const
  const refused = counts.filter(([, count]) => count > 0n).map(([reason, count]) => `${count} for ${reason}`)
  return refused.length === 0 ? lines : [...lines, `  its agent refused documents: ${refused.join(', ')}`]
}

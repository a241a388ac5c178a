// Clusters, repositories and applications as tables and as data, the same in every command that shows them.
import { type Cluster, ClusterSchema } from '@fairlead/proto/clusters'
import { ConnectionState } from '@fairlead/proto/common'
import type { Application, Placement, Repository, TrackedRef } from '@fairlead/proto/definitions'
import { Option } from 'commander'
import { applicationToData, messageToData, repositoryToData } from './json.ts'
import type { Output } from './output.ts'
import type { Table } from './table.ts'
import { ageOf, agoOf, connectionWord, formatLabels, formatRevision, plain, plural } from './text.ts'

/** How things are shown. */
export type ListFormat = 'table' | 'wide' | 'json' | 'yaml' | 'name'

/** A fresh `-o` option. */
export function listFormatOption(): Option {
  return new Option('-o, --output <format>', 'format')
    .choices(['table', 'wide', 'json', 'yaml', 'name'])
    .default('table')
}

/** How one kind of thing is shown. */
export interface Noun<T> {
  /** As in kind/name, in lower case. */
  readonly kind: 'cluster' | 'repository' | 'application'
  readonly nameOf: (item: T) => string
  readonly toData: (item: T) => unknown
  readonly toTable: (items: readonly T[], options: { now: number; wide: boolean; style: Output['style'] }) => Table
}

/** Prints a list. As data it is `{items: [...]}`. */
export function printList<T>(output: Output, noun: Noun<T>, items: readonly T[], format: ListFormat): void {
  if (format === 'json' || format === 'yaml') output.data({ items: items.map(noun.toData) }, format)
  else if (format === 'name') for (const item of items) output.line(`${noun.kind}/${plain(noun.nameOf(item))}`)
  else if (items.length === 0) output.note(`No ${noun.kind === 'repository' ? 'repositories' : `${noun.kind}s`}.`)
  else output.table(noun.toTable(items, { now: Date.now(), wide: format === 'wide', style: output.style }))
}

/** Prints one thing. As data it is the thing itself. */
export function printOne<T>(output: Output, noun: Noun<T>, item: T, format: ListFormat): void {
  if (format === 'json' || format === 'yaml') output.data(noun.toData(item), format)
  else printList(output, noun, [item], format)
}

/** Clusters. */
export const CLUSTER: Noun<Cluster> = {
  kind: 'cluster',
  nameOf: (cluster) => cluster.name,
  toData: (cluster) => messageToData(ClusterSchema, cluster),
  toTable: (clusters, { now, wide, style }) => ({
    columns: [
      'NAME',
      'CONNECTION',
      'LAST SEEN',
      'LABELS',
      'KUBERNETES',
      'AGE',
      ...(wide ? ['AGENT', 'PUBLISHED', 'VERIFIED', 'REFUSED', 'PROBLEMS'] : []),
    ],
    rows: clusters.map((cluster) => [
      plain(cluster.name),
      style(cluster.connection === ConnectionState.ONLINE ? 'green' : 'yellow', connectionWord(cluster.connection)),
      agoOf(cluster.lastSeenAt, now),
      formatLabels(cluster.labels),
      plain(cluster.facts?.kubernetesVersion ?? '') || '-',
      ageOf(cluster.createdAt, now),
      ...(wide
        ? [
            plain(cluster.facts?.agentVersion ?? '') || '-',
            String(cluster.publishedGeneration),
            String(cluster.verifiedGeneration),
            String(refusalsOf(cluster)),
            String(cluster.problems.length),
          ]
        : []),
    ]),
  }),
}

/** How many documents its agent has refused since it was started. */
function refusalsOf({ refusals }: Cluster): bigint {
  return refusals ? refusals.signature + refusals.cluster + refusals.generation + refusals.malformed : 0n
}

/** Repositories. */
export const REPOSITORY: Noun<Repository> = {
  kind: 'repository',
  nameOf: (repository) => repository.metadata?.name ?? '',
  toData: repositoryToData,
  toTable: (repositories, { now, wide, style }) => ({
    columns: ['NAME', 'URL', 'LAST POLLED', 'STATE', 'AGE', ...(wide ? ['REFS'] : [])],
    rows: repositories.map((repository) => [
      plain(repository.metadata?.name ?? ''),
      plain(repository.spec?.url ?? ''),
      agoOf(repository.status?.lastPolledAt, now),
      repositoryState(repository, style),
      ageOf(repository.metadata?.createdAt, now),
      ...(wide ? [formatRefs(repository)] : []),
    ]),
  }),
}

function repositoryState(repository: Repository, style: Output['style']): string {
  const { problem: own, refs = [], definitions } = repository.status ?? {}
  const problem = own ?? refs.find((ref) => ref.problem)?.problem ?? definitions?.problems[0]
  if (problem) return style('red', plain(problem.code))
  return repository.status?.lastPolledAt ? style('green', 'Ready') : '-'
}

function formatRefs(repository: Repository): string {
  return repository.status?.refs.map(formatRef).join(',') || '-'
}

/** A range of versions with the tag that it names now. */
function formatRef({ ref, resolved, commit }: TrackedRef): string {
  const tag = ref.startsWith('semver:') && resolved !== '' ? ` (${plain(resolved.replace(/^refs\/tags\//, ''))})` : ''
  return `${plain(ref) || 'default branch'}${tag}@${commit.slice(0, 8) || 'unknown'}`
}

/** Applications. */
export const APPLICATION: Noun<Application> = {
  kind: 'application',
  nameOf: (application) => application.metadata?.name ?? '',
  toData: applicationToData,
  toTable: (applications, { now, wide, style }) => ({
    columns: [
      'NAME',
      'REPOSITORY',
      'REF',
      'PATH',
      'REVISION',
      'CLUSTERS',
      'STATE',
      'AGE',
      ...(wide ? ['PLACEMENT', 'NAMESPACE'] : []),
    ],
    rows: applications.map((application) => [
      plain(application.metadata?.name ?? ''),
      ...sourceCells(application),
      formatRevision(application.status?.revision, { whole: wide }),
      String(application.status?.clusters.length ?? 0),
      applicationState(application, style),
      ageOf(application.metadata?.createdAt, now),
      ...(wide
        ? [formatPlacement(application.spec?.placement), plain(application.spec?.namespace ?? '') || 'default']
        : []),
    ]),
  }),
}

/** Repository, ref, and path or chart; of one that makes others, those that it is made for. */
function sourceCells({ spec }: Application): string[] {
  const { forEach, source } = spec ?? {}
  if (forEach?.clusters) return ['-', '-', 'each cluster']
  const { repository = '', ref = '', path = '' } = source ?? forEach?.folders ?? forEach?.file ?? {}
  const what = forEach ? `each of ${path}` : source?.chart || path || '.'
  return [plain(repository), plain(ref) || '-', plain(what)]
}

function applicationState(application: Application, style: Output['style']): string {
  const { deleting = false, problems = [], revision } = application.status ?? {}
  if (deleting) return style('yellow', 'Deleting')
  const [first] = problems
  const problem = first && (problems.length === 1 ? plain(first.code) : plural(problems.length, 'problem'))
  const states = [
    ...(application.spec?.suspend ? [style('yellow', 'Suspended')] : []),
    ...(problem === undefined ? [] : [style('red', problem)]),
  ]
  if (states.length > 0) return states.join(', ')
  return revision ? style('green', 'Rendered') : '-'
}

function formatPlacement(placement: Placement | undefined): string {
  if (!placement?.clusters) return placement?.names.map(plain).join(',') || '-'
  const { matchLabels, matchExpressions } = placement.clusters
  const labels = Object.entries(matchLabels).map(([key, value]) => `${plain(key)}=${plain(value)}`)
  const expressions = matchExpressions.map(
    ({ key, operator, values }) =>
      `${plain(key)} ${plain(operator)}${values.length > 0 ? ` (${values.map(plain).join(',')})` : ''}`,
  )
  return [...labels, ...expressions].join(', ') || 'every cluster'
}

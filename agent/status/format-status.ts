// The status as text: what matters first, nothing that is well in more than a line. Pure.
import type { AgentStatus, StatusApplication, StatusPolicy, StatusProblem } from './agent-status.ts'

const GAP = '   '

/** The lines of a status. `now` is compared with the times in it. */
export function formatStatus(status: AgentStatus, now: Date): string[] {
  const notLive = status.watches.filter(({ state }) => state !== 'live')
  const drifts = status.applications.flatMap(({ name, drifts: seen }) => seen.map((drift) => ({ name, ...drift })))
  return [
    ...formatHead(status, now),
    ...section('PROBLEMS', [
      ...status.stuck.map((what) => `stuck: ${what}`),
      ...status.problems.map(formatProblem),
      ...status.applications.flatMap(({ name, problems }) =>
        problems.map((problem) => `${name}: ${formatProblem(problem)}`),
      ),
      ...notLive.map(
        ({ kind, state, message }) => `watch of ${kind} is ${state}${message === '' ? '' : `: ${message}`}`,
      ),
    ]),
    '',
    ...formatApplications(status, now),
    ...section(
      'DRIFT (newest first)',
      drifts
        .toSorted((a, b) => (a.detectedAt < b.detectedAt ? 1 : -1))
        .slice(0, 20)
        .map(({ name, object, kind, manager, fields, detectedAt, repairedAt }) => {
          const who = manager === '' ? '' : ` by ${manager}`
          const which = fields.length === 0 ? '' : `: ${fields.join(', ')}`
          const outcome = repairedAt === null ? 'left' : 'put back'
          return `${age(detectedAt, now)} ago${GAP}${name}${GAP}${object}${GAP}${kind}${who}${which} (${outcome})`
        }),
    ),
  ]
}

function formatHead(status: AgentStatus, now: Date): string[] {
  const { version, pod, namespace, role, leader, cluster, joined, ready, slice, policy, startedAt } = status
  const lead = role === 'alone' ? 'works alone' : role === 'leader' ? 'leader' : `stands by for ${leader || 'nobody'}`
  const where = policy.namespaces === null ? 'the whole cluster' : `namespaces ${policy.namespaces.join(', ')}`
  const obeyed =
    slice === null
      ? 'none'
      : `generation ${slice.generation}, signed ${slice.issuedAt === '' ? 'at an unknown time' : `${age(slice.issuedAt, now)} ago`}`
  const live = status.watches.filter(({ state }) => state === 'live').length
  return [
    `agent:       ${pod} in ${namespace}, version ${version}, started ${age(startedAt, now)} ago`,
    `role:        ${lead}, ${ready ? 'ready' : 'not ready'}`,
    `cluster:     ${cluster || 'not joined'}${cluster !== '' && !joined ? ' (refused by the hub)' : ''}`,
    `connection:  NATS ${status.natsConnected ? 'connected' : 'not connected'}; API server ${status.apiServer}${status.kubernetesVersion === '' ? '' : ` (${status.kubernetesVersion})`}`,
    `slice:       ${obeyed}`,
    `may work in: ${where}`,
    `policy:      ${plain(formatPolicy(policy, role))}`,
    `watches:     ${live} of ${status.watches.length} kinds live`,
  ]
}

function formatPolicy({ state, message, allowed }: StatusPolicy, role: string): string {
  if (state === 'invalid') return `not valid, so nothing is written: ${message}`
  if (!allowed) return role === 'standby' ? 'followed by the leader' : 'not known yet, so nothing is written'
  const { paused, namespaces, kinds, serviceAccounts, prune, customResourceDefinitions, clusterScoped } = allowed
  const only = (what: string, list: readonly string[] | null): string =>
    list === null ? '' : `${what} ${list.join(', ') || 'none'}`
  const parts = [
    paused ? 'paused, nothing is written' : '',
    only('namespaces', namespaces),
    only('kinds', kinds),
    only('service accounts', serviceAccounts),
    prune ? '' : 'no deletions',
    customResourceDefinitions ? '' : 'no CustomResourceDefinitions',
    clusterScoped ? '' : 'no cluster-scoped objects',
  ].filter(Boolean)
  return parts.join('; ') || 'restricts nothing'
}

function formatApplications({ applications, role }: AgentStatus, now: Date): string[] {
  if (applications.length === 0) return [role === 'standby' ? 'The leader has the applications.' : 'No applications.']
  const rows = applications
    .toSorted((a, b) => (a.name < b.name ? -1 : 1))
    .map((one) => [
      one.name,
      one.revision || '-',
      `${one.sync}${one.suspended ? ' (suspended)' : ''}`,
      one.health,
      String(one.objects),
      driftOf(one),
      one.since === '' ? '-' : age(one.since, now),
    ])
  return table([['APPLICATION', 'REVISION', 'SYNC', 'HEALTH', 'OBJECTS', 'DRIFT', 'SINCE'], ...rows])
}

function driftOf({ drifted, repairs }: StatusApplication): string {
  const parts = [drifted > 0 ? `${drifted} left` : '', repairs > 0 ? `${repairs} put back` : ''].filter(Boolean)
  return parts.join(', ') || '-'
}

function formatProblem({ code, message, object, source }: StatusProblem): string {
  const where = [object, source === '' ? '' : `(${source})`].filter(Boolean).join(' ')
  return `${code}${where === '' ? '' : ` ${where}`}: ${message}`
}

function section(title: string, lines: readonly string[]): string[] {
  return lines.length === 0 ? [] : ['', title, ...lines.map((line) => `  ${plain(line)}`)]
}

function table(rows: readonly (readonly string[])[]): string[] {
  const [first = []] = rows
  const widths = first.map((_, index) => Math.max(...rows.map((row) => row[index]?.length ?? 0)))
  return rows.map((row) => plain(row.map((cell, index) => cell.padEnd(widths[index] ?? 0)).join(GAP)).trimEnd())
}

/** What others wrote must not steer the terminal. */
function plain(text: string): string {
  return text.replaceAll(/[\u0000-\u001f\u007f-\u009f]/g, ' ')
}

function age(since: string, now: Date): string {
  const seconds = Math.max(0, Math.round((now.getTime() - Date.parse(since)) / 1000))
  if (!Number.isFinite(seconds)) return '?'
  if (seconds < 120) return `${seconds}s`
  if (seconds < 7_200) return `${Math.floor(seconds / 60)}m`
  if (seconds < 172_800) return `${Math.floor(seconds / 3_600)}h`
  return `${Math.floor(seconds / 86_400)}d`
}

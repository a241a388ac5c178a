// Words, times and names as the CLI writes them. Pure.
import { type Timestamp, timestampMs } from '@bufbuild/protobuf/wkt'
import { ConnectionState, HealthState, type Problem, type Revision, SyncState } from '@fairlead/proto/common'
import { DriftKind } from '@fairlead/proto/report'
import { formatObjectReference } from '@fairlead/shared/object-reference'

/**
 * Text that came from a cluster, a repository or the hub, made harmless for a terminal: control characters, escape sequences
 * and direction marks become spaces.
 */
export function plain(text: string): string {
  return text.replace(/[\u0000-\u001f\u007f-\u009f\u200e\u200f\u2028-\u202e\u2066-\u2069]+/g, ' ').trim()
}

/** Age in one unit: `0s`, `59s`, `3m`, `4h`, `12d`. Negative ages (clocks differ) are `0s`. */
export function formatAge(ageMs: number): string {
  const seconds = Math.max(0, Math.floor(ageMs / 1_000))
  if (seconds < 60) return `${seconds}s`
  if (seconds < 3_600) return `${Math.floor(seconds / 60)}m`
  if (seconds < 86_400) return `${Math.floor(seconds / 3_600)}h`
  return `${Math.floor(seconds / 86_400)}d`
}

/** Age of a moment at `now` (ms since the epoch); `-` when there is none. */
export function ageOf(moment: Timestamp | undefined, now: number): string {
  return moment === undefined ? '-' : formatAge(now - timestampMs(moment))
}

/** Like ageOf, as part of a sentence: `3m ago`, `never`. */
export function agoOf(moment: Timestamp | undefined, now: number): string {
  return moment === undefined ? 'never' : `${ageOf(moment, now)} ago`
}

/** `main@sha1:1a2b3c4d`: the commit is cut to 8 characters unless `whole`; `-` when there is none. */
export function formatRevision(revision: Revision | undefined, { whole = false } = {}): string {
  if (revision === undefined || revision.commit === '') return '-'
  const { commit } = revision
  const algorithm = commit.length === 64 ? 'sha256' : 'sha1'
  const ref = revision.ref === commit ? '' : `${plain(revision.ref)}@`
  return `${ref}${algorithm}:${whole ? commit : commit.slice(0, 8)}`
}

/** The documents' words: Synced, OutOfSync, Unknown. */
export function syncWord(state: SyncState): string {
  return state === SyncState.UNSPECIFIED ? 'Unknown' : word(SyncState[state])
}

/** Healthy, Progressing, Degraded, Suspended, Missing, Unknown. */
export function healthWord(state: HealthState): string {
  return state === HealthState.UNSPECIFIED ? 'Unknown' : word(HealthState[state])
}

/** Pending, Online, Stale, Offline; Unknown when the hub does not say. */
export function connectionWord(state: ConnectionState): string {
  return state === ConnectionState.UNSPECIFIED ? 'Unknown' : word(ConnectionState[state])
}

/** changed, added, deleted. */
export function driftWord(kind: DriftKind): string {
  return kind === DriftKind.UNSPECIFIED ? 'changed' : (DriftKind[kind] ?? 'changed').toLowerCase()
}

/** OUT_OF_SYNC is OutOfSync. A word that this version does not know is Unknown. */
function word(name: string | undefined): string {
  if (name === undefined) return 'Unknown'
  return name
    .toLowerCase()
    .split('_')
    .map((part) => `${part.charAt(0).toUpperCase()}${part.slice(1)}`)
    .join('')
}

/** `env=prod,region=eu`, sorted; `-` when there are none. */
export function formatLabels(labels: Readonly<Record<string, string>>): string {
  const entries = Object.entries(labels).sort(([left], [right]) => (left < right ? -1 : 1))
  return entries.length === 0 ? '-' : entries.map(([key, value]) => `${plain(key)}=${plain(value)}`).join(',')
}

/** One problem on one line: `Deployment.apps shop/web (deploy/web.yaml:12): ApplyInvalid: replicas must be a number [3m]`. */
export function formatProblem(problem: Problem, now: number): string {
  const object = problem.object ? plain(formatObjectReference(problem.object)) : ''
  const { file = '', line = 0 } = problem.source ?? {}
  const place = file === '' ? '' : `(${plain(file)}${line > 0 ? `:${line}` : ''})`
  const subject = [object, place].filter((part) => part !== '').join(' ')
  const since = problem.since ? ` [${ageOf(problem.since, now)}]` : ''
  return `${subject === '' ? '' : `${subject}: `}${plain(problem.code)}: ${plain(problem.message)}${since}`
}

/** `1 cluster`, `2 clusters`. */
export function plural(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? '' : 's'}`
}

// What the view keeps of one cluster, and how reports change it. No I/O. There may be 10,000 clusters with 50 applications
// each, so reports are kept encoded, as one-byte strings: an object tree or a typed array for each would cost several times as much.
import { create, fromBinary, toBinary } from '@bufbuild/protobuf'
import type { ConnectionState, Problem } from '@fairlead/proto/common'
import {
  type AgentFacts,
  AgentFactsSchema,
  type ApplicationReport,
  ApplicationReportSchema,
  type Heartbeat,
  type Refusals,
  type Report,
} from '@fairlead/proto/report'
import { readCapabilities, type StoredCapabilities } from '../capabilities.ts'
import type { Labels } from '../label-selector.ts'
import type { DesiredDeployment } from './deployment-sync.ts'

// Bounds what a hostile agent can have the hub keep.
const MAX_UNDESIRED_REPORTS = 1_000
const MAX_FACT_LENGTH = 200

/** One application on one cluster. */
export interface Cell {
  /** Shared by all clusters with the same intent; undefined when only the agent speaks of the application. */
  desired: DesiredDeployment | undefined
  /** Encoded ApplicationReport, one character a byte; undefined before the first. */
  report: string | undefined
  /** When the report was received. */
  receivedAtMs: number
}

/** One cluster. */
export interface ClusterEntry {
  readonly id: string
  name: string
  labels: Labels
  values: Readonly<Record<string, string>>
  facts: AgentFacts | undefined
  /** Digest of what charts see of it; empty while its agent has not said. */
  capabilities: string
  /** The same as it is to be stored, until it is. */
  unstoredCapabilities: StoredCapabilities | undefined
  createdAtMs: number
  joinedAtMs: number | undefined
  publishedGeneration: bigint
  verifiedGeneration: bigint
  session: string
  sequence: number
  /** Reports are missing; a full one is needed. */
  hasGap: boolean
  /** When the last report was received; orders the sessions. */
  lastReportAtMs: number
  lastSeenAtMs: number | undefined
  connected: boolean | undefined
  disconnectedAtMs: number
  /** As last shown to listeners. */
  connection: ConnectionState
  refusals: Refusals | undefined
  /** As its agent says. */
  problems: Problem[]
  /** Why it was not sent what it should run. */
  sliceProblem: Problem | undefined
  readonly cells: Map<string, Cell>
}

/** What a report changed. */
export interface ReportEffect {
  /** Reports are missing before this one. */
  readonly gap: boolean
  /** Names of the applications whose report changed. */
  readonly changed: readonly string[]
  /** True when the facts changed. */
  readonly factsChanged: boolean
}

const NOTHING: ReportEffect = { gap: false, changed: [], factsChanged: false }

/** Takes a report into the entry. What is older than what is known changes nothing. */
export function applyReport(entry: ClusterEntry, report: Report, atMs: number): ReportEffect {
  const sequence = Number(report.sequence)
  const isSameSession = report.session === entry.session
  if (isSameSession ? sequence <= entry.sequence : atMs < entry.lastReportAtMs) return NOTHING
  const isGap = !report.full && (!isSameSession || sequence !== entry.sequence + 1 || entry.hasGap)
  Object.assign(entry, { session: report.session, sequence, hasGap: isGap, lastReportAtMs: atMs })
  entry.lastSeenAtMs = Math.max(entry.lastSeenAtMs ?? 0, atMs)
  entry.verifiedGeneration = isSameSession
    ? max(entry.verifiedGeneration, report.sliceGeneration)
    : report.sliceGeneration
  // Counters of the process: a report that leaves them out says nothing new of them.
  entry.refusals = report.refusals ?? (isSameSession ? entry.refusals : undefined)
  entry.problems = report.problems
  const factsChanged = report.facts !== undefined && setFacts(entry, report.facts)
  return { gap: isGap, changed: applyApplications(entry, report, atMs), factsChanged }
}

/** Takes a sign of life into the entry; true when reports are missing. */
export function applyHeartbeat(entry: ClusterEntry, heartbeat: Heartbeat, atMs: number): boolean {
  entry.lastSeenAtMs = Math.max(entry.lastSeenAtMs ?? 0, atMs)
  const isSameSession = heartbeat.session === entry.session
  if (isSameSession) entry.verifiedGeneration = max(entry.verifiedGeneration, heartbeat.sliceGeneration)
  return entry.hasGap || !isSameSession || Number(heartbeat.reportSequence) > entry.sequence
}

function applyApplications(entry: ClusterEntry, report: Report, atMs: number): string[] {
  const changed = new Set<string>()
  const spokenOf = new Set(report.applications.map((each) => each.application))
  const silent = report.full ? [...entry.cells.keys()].filter((name) => !spokenOf.has(name)) : []
  // What has left and comes back must not be judged by what was said before.
  for (const name of [...report.removed, ...silent]) {
    const cell = entry.cells.get(name)
    if (cell?.report === undefined || spokenOf.has(name)) continue
    cell.report = undefined
    changed.add(name)
  }
  for (const each of report.applications) {
    const cell = ensureCell(entry, each.application)
    if (!cell) continue
    cell.report = encodeReport(each)
    cell.receivedAtMs = atMs
    changed.add(each.application)
  }
  return [...changed]
}

/** The cell of an application, made when there is none; undefined when the agent speaks of too many that nobody asked for. */
function ensureCell(entry: ClusterEntry, application: string): Cell | undefined {
  const existing = entry.cells.get(application)
  if (existing) return existing
  if (entry.cells.size >= MAX_UNDESIRED_REPORTS && countUndesired(entry) >= MAX_UNDESIRED_REPORTS) return undefined
  const cell: Cell = { desired: undefined, report: undefined, receivedAtMs: 0 }
  entry.cells.set(application, cell)
  return cell
}

function countUndesired(entry: ClusterEntry): number {
  let count = 0
  for (const cell of entry.cells.values()) if (!cell.desired) count++
  return count
}

function setFacts(entry: ClusterEntry, facts: AgentFacts): boolean {
  const next = create(AgentFactsSchema, {
    agentVersion: facts.agentVersion.slice(0, MAX_FACT_LENGTH),
    kubernetesVersion: facts.kubernetesVersion.slice(0, MAX_FACT_LENGTH),
    clusterUid: facts.clusterUid.slice(0, MAX_FACT_LENGTH),
  })
  const before = entry.facts
  entry.facts = next
  return (
    setCapabilities(entry, facts) ||
    before?.agentVersion !== next.agentVersion ||
    before.kubernetesVersion !== next.kubernetesVersion ||
    before.clusterUid !== next.clusterUid
  )
}

/** What is served is not among the facts that are kept: most clusters serve the same. */
function setCapabilities(entry: ClusterEntry, facts: AgentFacts): boolean {
  const reported = readCapabilities(facts)
  if (!reported || reported.digest === entry.capabilities) return false
  entry.capabilities = reported.digest
  entry.unstoredCapabilities = reported
  return true
}

/** The bytes of a report as a one-byte string. */
export function encodeReport(report: ApplicationReport): string {
  return Buffer.from(toBinary(ApplicationReportSchema, report)).toString('latin1')
}

/** The bytes of an encoded report. */
export function reportBytes(report: string): Uint8Array {
  return Buffer.from(report, 'latin1')
}

/** An encoded report, or undefined. */
export function decodeReport(report: string | undefined): ApplicationReport | undefined {
  return report === undefined ? undefined : fromBinary(ApplicationReportSchema, reportBytes(report))
}

function max(a: bigint, b: bigint): bigint {
  return a > b ? a : b
}

// What the process shows of itself: readiness, metrics, status and support bundle, all from one view of what it leads.
import { timestampDate, timestampMs } from '@bufbuild/protobuf/wkt'
import type { AgentFacts } from '@fairlead/proto/report'
import type { Slice } from '@fairlead/proto/slice'
import type { AppError } from '@fairlead/shared/errors'
import { VERSION } from '@fairlead/shared/version'
import type { ApiServerContact } from './api-server-contact.ts'
import type { AgentConfig } from './config.ts'
import type { Inspection } from './desired-state.ts'
import type { Lead } from './leader/lead.ts'
import type { Liveness } from './liveness.ts'
import type { AgentMetrics, MetricSources } from './metrics/agent-metrics.ts'
import type { PolicyState } from './policy/policy-watch.ts'
import type { Readiness } from './probes.ts'
import { type AgentStatus, toStatusApplication, toStatusPolicy } from './status/agent-status.ts'
import type { LogBuffer } from './status/log-buffer.ts'
import { nameOfHealth, nameOfSync } from './status/state-names.ts'
import { createSupportBundle } from './status/support-bundle.ts'

/** What is led, as far as it is shown. */
export interface Shown {
  readonly clusterName: string
  readonly isJoined: boolean
  readonly isConnected: boolean
  readonly slice: Slice | undefined
  readonly facts: AgentFacts
  /** What is known of the cluster's own policy. */
  readonly policy: PolicyState
  /** What is wrong with the agent as a whole. */
  readonly problems: readonly AppError[]
  inspect(): Inspection
  readiness(): Readiness
}

/** What the process knows of itself. */
export interface InsightParts {
  readonly config: AgentConfig
  readonly lead: Lead<Shown>
  readonly apiServer: ApiServerContact
  readonly liveness: Liveness
  readonly metrics: AgentMetrics
  /** The last lines of the log. */
  readonly log: LogBuffer
}

/** A stand-by is ready when it can take over. An API server that is away leaves a pod as ready as it was: restarting it, or sending a rollout back, would mend nothing. */
export function readinessOf({ lead, apiServer }: InsightParts): Readiness {
  const shared = { role: lead.role, leader: lead.leader, apiServer: apiServer.describe() }
  const { current } = lead
  if (!current) return { isReady: lead.isStandby, detail: shared }
  const { isReady, detail } = current.readiness()
  return { isReady, detail: { ...shared, ...detail } }
}

/** Where the metrics read what is not counted. */
export function metricSources(lead: Lead<Shown>): MetricSources {
  const inspect = (): Inspection | undefined => lead.current?.inspect()
  return {
    isLeader: () => lead.current !== undefined,
    isJoined: () => lead.current?.isJoined === true,
    isConnected: () => lead.current?.isConnected === true,
    sliceGeneration: () => lead.current?.slice?.generation ?? 0n,
    sliceIssuedAtMs: () => {
      const issuedAt = lead.current?.slice?.issuedAt
      return issuedAt && timestampMs(issuedAt)
    },
    applications: () =>
      (inspect()?.reports ?? []).map(({ sync, health, objects }) => {
        return { sync: nameOfSync(sync), health: nameOfHealth(health), objects }
      }),
    watches: () => (inspect()?.watches ?? []).map(({ state }) => state),
    queues: () => inspect()?.queues ?? {},
  }
}

/** The status as `fairlead agent status` shows it. */
export function statusOf(parts: InsightParts): AgentStatus {
  const { config, lead, apiServer, liveness } = parts
  const { current } = lead
  const found = current?.inspect()
  return {
    version: VERSION,
    pod: config.podName,
    namespace: config.namespace,
    startedAt: new Date(performance.timeOrigin).toISOString(),
    role: lead.role,
    leader: lead.leader,
    cluster: current?.clusterName ?? '',
    joined: current?.isJoined === true,
    ready: readinessOf(parts).isReady,
    natsConnected: current?.isConnected === true,
    apiServer: apiServer.describe(),
    kubernetesVersion: current?.facts.kubernetesVersion ?? '',
    slice: describeSlice(current?.slice),
    policy: toStatusPolicy(config.namespaces, current?.policy ?? { kind: 'unknown' }),
    stuck: liveness.findStuck(),
    problems: (current?.problems ?? []).map(({ code, message, context }) => {
      return { code, message, object: context.object ?? '', source: context.file ?? '' }
    }),
    applications: (found?.reports ?? []).map(toStatusApplication),
    watches: (found?.watches ?? []).map(({ group, version, kind, state, message }) => {
      return { kind: `${group === '' ? '' : `${group}/`}${version} ${kind}`, state, message }
    }),
  }
}

/** The support bundle. */
export async function bundleOf(parts: InsightParts): Promise<Buffer> {
  const { config, lead, metrics, log } = parts
  const { joinToken, ...settings } = config
  const sources = {
    status: statusOf(parts),
    settings: { ...settings, joinToken: joinToken === undefined ? 'not set' : 'set' },
    logLines: log.lines,
    metrics: metrics.registry.expose(),
    objects: lead.current?.inspect().objects() ?? [],
    secrets: [joinToken],
  }
  return await createSupportBundle(sources, new Date())
}

function describeSlice(slice: Slice | undefined): AgentStatus['slice'] {
  if (!slice) return null
  const issuedAt = slice.issuedAt && timestampDate(slice.issuedAt)
  const ageSeconds = issuedAt ? Math.max(0, Math.round((Date.now() - issuedAt.getTime()) / 1000)) : 0
  return { generation: String(slice.generation), issuedAt: issuedAt?.toISOString() ?? '', ageSeconds }
}

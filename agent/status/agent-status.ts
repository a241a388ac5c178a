// What `fairlead agent status` shows, as data: pure. Field names are stable: scripts read them.
import { timestampDate } from '@bufbuild/protobuf/wkt'
import type { ObjectReference, Problem } from '@fairlead/proto/common'
import { type ApplicationReport, type Drift, DriftKind } from '@fairlead/proto/report'
import { formatObjectReference } from '@fairlead/shared/object-reference'
import type { PolicyState } from '../policy/policy-watch.ts'
import { nameOfHealth, nameOfSync } from './state-names.ts'

/** A problem, as people read it. */
export interface StatusProblem {
  readonly code: string
  readonly message: string
  /** Such as `Deployment web/api`; empty when it is not about one object. */
  readonly object: string
  /** File and line in Git; empty when that is not known. */
  readonly source: string
}

/** A difference that was seen. */
export interface StatusDrift {
  readonly object: string
  readonly kind: 'changed' | 'added' | 'deleted'
  /** Empty when it cannot be told. */
  readonly manager: string
  readonly fields: readonly string[]
  readonly detectedAt: string
  /** Null while it is left. */
  readonly repairedAt: string | null
}

/** One application. */
export interface StatusApplication {
  readonly name: string
  /** Such as `main@sha1:abc`; empty before the first. */
  readonly revision: string
  readonly sync: string
  readonly health: string
  readonly since: string
  readonly objects: number
  /** Objects that differ and are left so. */
  readonly drifted: number
  readonly suspended: boolean
  /** Differences put back since the process started. */
  readonly repairs: number
  readonly problems: readonly StatusProblem[]
  readonly drifts: readonly StatusDrift[]
}

/** What the agent may do here: where it was installed for, and what the cluster's own policy allows. */
export interface StatusPolicy {
  /** Where it was installed for; null: the whole cluster. */
  readonly namespaces: readonly string[] | null
  /** `unknown` and `invalid`: nothing is written. A stand-by does not follow the policy, so to it it is unknown. */
  readonly state: PolicyState['kind']
  /** Why it is not valid; empty when it is. */
  readonly message: string
  /** What the ConfigMap says, every key of it; null while that is not known. Of lists null allows everything. */
  readonly allowed: {
    readonly paused: boolean
    readonly namespaces: readonly string[] | null
    readonly kinds: readonly string[] | null
    readonly serviceAccounts: readonly string[] | null
    readonly prune: boolean
    readonly customResourceDefinitions: boolean
    readonly clusterScoped: boolean
  } | null
}

/** The whole status of one agent process. */
export interface AgentStatus {
  readonly version: string
  readonly pod: string
  readonly namespace: string
  readonly startedAt: string
  /** `leader`, `standby`, or `alone` where there is no election. */
  readonly role: string
  /** Who has the Lease; empty where there is no election. */
  readonly leader: string
  /** Empty before it has joined. */
  readonly cluster: string
  readonly joined: boolean
  readonly ready: boolean
  readonly natsConnected: boolean
  readonly apiServer: string
  readonly kubernetesVersion: string
  readonly slice: { readonly generation: string; readonly issuedAt: string; readonly ageSeconds: number } | null
  readonly policy: StatusPolicy
  /** What is stuck in the process; see /healthz. */
  readonly stuck: readonly string[]
  readonly problems: readonly StatusProblem[]
  readonly applications: readonly StatusApplication[]
  /** Watched kinds, and what the API server said of those that are not live. */
  readonly watches: readonly { readonly kind: string; readonly state: string; readonly message: string }[]
}

const DRIFT_KINDS = { [DriftKind.ADDED]: 'added', [DriftKind.DELETED]: 'deleted' } as const

/** The policy as it is shown. `namespaces` are those that the agent was installed for, undefined for all. */
export function toStatusPolicy(namespaces: readonly string[] | undefined, state: PolicyState): StatusPolicy {
  const shown = { namespaces: namespaces ?? null, state: state.kind }
  const message = state.kind === 'invalid' ? state.message : ''
  if (state.kind !== 'known') return { ...shown, message, allowed: null }
  const { namespaces: spaces, kinds, serviceAccounts, ...flags } = state.policy
  const lists = { namespaces: spaces ?? null, kinds: kinds ?? null, serviceAccounts: serviceAccounts ?? null }
  return { ...shown, message, allowed: { ...flags, ...lists } }
}

/** An application as its last report has it. */
export function toStatusApplication(report: ApplicationReport): StatusApplication {
  const { application, revision, sync, health, since, objects, drifted, suspended, remediations, problems } = report
  return {
    name: application,
    revision: revision
      ? `${revision.ref}@${revision.commit.length === 64 ? 'sha256' : 'sha1'}:${revision.commit.slice(0, 12)}`
      : '',
    sync: nameOfSync(sync),
    health: nameOfHealth(health),
    since: since ? timestampDate(since).toISOString() : '',
    objects,
    drifted,
    suspended,
    repairs: Number(remediations),
    problems: problems.map(toStatusProblem),
    drifts: report.drifts.map(toStatusDrift),
  }
}

/** A problem as a report has it. */
function toStatusProblem({ code, message, object, source }: Problem): StatusProblem {
  return {
    code,
    message,
    object: object ? formatReference(object) : '',
    source: source ? `${source.file}${source.line > 0 ? `:${source.line}` : ''}` : '',
  }
}

function toStatusDrift({ object, kind, manager, fields, detectedAt, remediatedAt }: Drift): StatusDrift {
  return {
    object: object ? formatReference(object) : '',
    kind: DRIFT_KINDS[kind as keyof typeof DRIFT_KINDS] ?? 'changed',
    manager,
    fields,
    detectedAt: detectedAt ? timestampDate(detectedAt).toISOString() : '',
    repairedAt: remediatedAt ? timestampDate(remediatedAt).toISOString() : null,
  }
}

function formatReference({ group, kind, namespace, name }: ObjectReference): string {
  return formatObjectReference({ group, kind, namespace, name })
}

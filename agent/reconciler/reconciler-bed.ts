// For the reconciler's integration tests: a reconciler on a real API server, fed with slices made by hand.
import { create, type MessageInitShape } from '@bufbuild/protobuf'
import type { AuditEvent } from '@fairlead/e2e/harness/audit'
import type { Cluster } from '@fairlead/e2e/harness/cluster'
import { waitFor } from '@fairlead/e2e/harness/wait'
import { HealthState, SyncState } from '@fairlead/proto/common'
import type { ApplicationReport } from '@fairlead/proto/report'
import { type Artifact, ArtifactSchema, type Slice, SliceSchema, type SyncPolicySchema } from '@fairlead/proto/slice'
import { artifactDigest } from '@fairlead/shared/artifact'
import { AppError } from '@fairlead/shared/errors'
import { silentLogger } from '@fairlead/shared/logger'
import type { ArtifactLoader, Reconciler } from '../desired-state.ts'
import { kubeconfigAccess } from '../kube/access.ts'
import { createKube, type Kube } from '../kube/kube.ts'
import { createReconciler, type ReconcilerOptions } from '../reconciler.ts'

/** A manifest as a test writes it. */
export type TestObject = {
  apiVersion: string
  kind: string
  metadata: { name: string; [field: string]: unknown }
  [field: string]: unknown
}

/** What an application should be: objects with options, or how it leaves. */
export type TestEntry =
  | {
      objects: readonly TestObject[]
      prune?: boolean
      remediate?: boolean
      adopt?: string
      namespace?: string
      commit?: string
      /** More of the policy. */
      policy?: MessageInitShape<typeof SyncPolicySchema>
      /** Digests of approved prunes. */
      approve?: readonly string[]
    }
  | { tombstone: 'prune' | 'orphan'; approve?: readonly string[] }

/** What the slice says of the cluster itself. */
export interface TestVariables {
  readonly name?: string
  readonly labels?: Readonly<Record<string, string>>
  readonly values?: Readonly<Record<string, string>>
}

/** Where a bed is made. */
export interface BedOptions {
  readonly cluster: Pick<Cluster, 'kubeconfigPath' | 'auditLog'>
  /** Inventories are kept there, and objects that name no namespace are deployed there. */
  readonly namespace: string
  /** The bed before a restart: what it was given is kept in the cluster. Default: nothing is. */
  readonly kept?: ReconcilerBed | undefined
}

const USER_AGENT = 'fairlead-agent/test'

/** One reconciler; several in turn over one cluster are restarts. */
export class ReconcilerBed {
  readonly #options: BedOptions
  readonly #kept: ReconcilerBed | undefined
  readonly removed: string[] = []
  readonly reports = new Map<string, ApplicationReport>()
  /** Artifacts that cannot be loaded for now, by application. */
  readonly unavailable = new Set<string>()
  readonly #kube: Kube
  readonly reconciler: Reconciler
  readonly #artifacts = new Map<string, { application: string; artifact: Artifact }>()
  #generation = BigInt(Date.now())

  private constructor(bed: BedOptions, kube: Kube, options: Partial<ReconcilerOptions>) {
    this.#options = bed
    this.#kept = bed.kept
    this.#kube = kube
    const load: ArtifactLoader['load'] = async ({ digest }) => {
      const found = this.#artifacts.get(digest)
      if (!found || this.unavailable.has(found.application)) throw new AppError('ArtifactUnavailable', 'not there')
      return await Promise.resolve(found.artifact)
    }
    const findKept: ArtifactLoader['findKept'] = async ({ digest }) => {
      const beds = [this.#artifacts, ...(this.#kept ? [this.#kept.#artifacts] : [])]
      const [found] = beds.flatMap((artifacts) => artifacts.get(digest) ?? [])
      return await Promise.resolve(found?.artifact)
    }
    this.reconciler = createReconciler({
      kube,
      ownNamespace: bed.namespace,
      artifacts: { load, findKept },
      reports: {
        put: (report) => this.reports.set(report.application, report),
        removed: (application) => this.removed.push(application),
      },
      logger: silentLogger,
      ...options,
    })
  }

  /** Starts a reconciler whose inventories are in the bed's namespace, which must exist. */
  static async start(bed: BedOptions, options: Partial<ReconcilerOptions> = {}): Promise<ReconcilerBed> {
    const access = await kubeconfigAccess(bed.cluster.kubeconfigPath)
    const kube = createKube({ access, userAgent: `${USER_AGENT} ${bed.namespace}`, logger: silentLogger })
    return new ReconcilerBed(bed, kube, options)
  }

  /** Gives it a slice. */
  update(entries: Record<string, TestEntry>, cluster: TestVariables = {}): Slice {
    this.#generation++
    const slice = create(SliceSchema, {
      clusterId: 'a'.repeat(26),
      generation: this.#generation,
      clusterName: cluster.name ?? 'test',
      clusterLabels: cluster.labels ?? {},
      clusterValues: cluster.values ?? {},
      entries: Object.entries(entries).map(([application, entry]) => ({
        application,
        intent: this.#intent(application, entry),
        approvedPrunes: [...(entry.approve ?? [])],
      })),
    })
    this.reconciler.update(slice)
    return slice
  }

  /** As update, but the artifact comes only when all that the application owned before a restart was seen by the watches. */
  async updateOnceSeen(application: string, entry: TestEntry, owned: number): Promise<void> {
    this.unavailable.add(application)
    this.update({ [application]: entry })
    const areSeen = ({ objects, unhealthy }: ApplicationReport): boolean =>
      objects === owned && unhealthy.every(({ health }) => health !== HealthState.MISSING)
    await this.reported(application, 'seen', areSeen)
    this.unavailable.delete(application)
    this.update({ [application]: entry })
  }

  #intent(application: string, entry: TestEntry) {
    if ('tombstone' in entry) return { case: 'tombstone' as const, value: { prune: entry.tombstone === 'prune' } }
    const {
      objects,
      prune = true,
      remediate = true,
      adopt = 'always',
      namespace = this.#options.namespace,
      commit,
      policy = {},
    } = entry
    const artifact = create(ArtifactSchema, {
      manifests: objects.map((object, index) => ({
        json: Buffer.from(JSON.stringify(object)),
        source: { file: `deploy/${application}.yaml`, line: index * 10 + 1 },
      })),
    })
    const digest = artifactDigest(artifact)
    this.#artifacts.set(digest, { application, artifact })
    return {
      case: 'desired' as const,
      value: {
        revision: { repository: 'shop', ref: 'main', commit: commit ?? digest.slice(0, 40) },
        artifact: { digest, objects: objects.length },
        policy: { namespace, prune, remediate, adopt, substitute: true, ...policy },
      },
    }
  }

  /** The newest report of an application. */
  report(application: string): ApplicationReport | undefined {
    return this.reconciler.reports().find((report) => report.application === application)
  }

  /** Waits until a report agrees. */
  async reported(application: string, what: string, holds: (report: ApplicationReport) => boolean, timeoutMs = 15_000) {
    return await waitFor(
      `${application} to be reported ${what}`,
      (see) => {
        const report = this.report(application)
        see(report)
        return report && holds(report) ? report : undefined
      },
      { timeoutMs, intervalMs: 5 },
    )
  }

  /** Waits until an application is Synced at the slice's artifact, and returns its report. */
  async synced(application: string, { healthy = false, timeoutMs = 15_000 } = {}): Promise<ApplicationReport> {
    const holds = (report: ApplicationReport): boolean =>
      report.sync === SyncState.SYNCED &&
      report.appliedAt !== undefined &&
      (!healthy || report.health === HealthState.HEALTHY)
    return await this.reported(application, 'Synced', holds, timeoutMs)
  }

  /** Requests of the reconcilers in this namespace other than watches. */
  requests(verbs?: readonly string[]): readonly AuditEvent[] {
    const userAgent = `${USER_AGENT} ${this.#options.namespace}`
    const events = this.#options.cluster.auditLog({ userAgent, ...(verbs ? { verbs } : {}) })
    return events.filter(({ verb }) => verb !== 'watch')
  }

  /** Ends it as a process ends: nothing is written. */
  async stop(): Promise<void> {
    await this.reconciler.stop()
    await this.#kube.close()
  }
}

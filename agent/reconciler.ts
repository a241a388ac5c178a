// The flow of a slice on one page: targets for applications, objects applied, watched, repaired and pruned, and what
// came of it reported. The applications' own steps are in reconciler/.
import { durationMs } from '@bufbuild/protobuf/wkt'
import type { ApplicationReport, ObjectChange } from '@fairlead/proto/report'
import type { ArtifactReference, Slice } from '@fairlead/proto/slice'
import { backoffMs, sleep, unlessAborted } from '@fairlead/shared/backoff'
import { variablesOf } from '@fairlead/shared/cluster-variables'
import { canonicalJson } from '@fairlead/shared/digest'
import { AppError, isAborted } from '@fairlead/shared/errors'
import { MANAGED_BY, MANAGED_BY_LABEL } from '@fairlead/shared/labels'
import type { Logger } from '@fairlead/shared/logger'
import type { KubernetesObject } from '@fairlead/shared/object-reference'
import { Limiter } from './applier/limiter.ts'
import { Decryptor } from './decryptor/decryptor.ts'
import type { ArtifactLoader, InspectedObject, Inspection, Preview, Reconciler, ReportSink } from './desired-state.ts'
import { InventoryStore } from './inventory/inventory-store.ts'
import type { Kube } from './kube/kube.ts'
import { OPEN_POLICY } from './policy/cluster-policy.ts'
import type { PolicyState } from './policy/policy-watch.ts'
import { Application } from './reconciler/application.ts'
import { toDrift } from './reconciler/application-report.ts'
import { Autoscalers } from './reconciler/autoscalers.ts'
import { CauseReader } from './reconciler/cause-reader.ts'
import type { ReconcilerContext, ReconcilerLimits } from './reconciler/context.ts'
import { Dependencies } from './reconciler/dependencies.ts'
import { DriftRepair, type SeenDrift } from './reconciler/drift-repair.ts'
import { Foundations } from './reconciler/foundations.ts'
import { HealthJudge, type HealthPolicy } from './reconciler/health-judge.ts'
import { LeftDrift } from './reconciler/left-drift.ts'
import { createLocalPolicy } from './reconciler/local-policy.ts'
import { type ObjectRecord, recordFromInventory, retryAtOnce } from './reconciler/object-record.ts'
import { ObjectTable } from './reconciler/object-table.ts'
import { ObjectWriter } from './reconciler/object-writer.ts'
import { previewApplication } from './reconciler/preview.ts'
import { ReportSchedule, refreshReport } from './reconciler/report-schedule.ts'
import { isScalable, noteScaling } from './reconciler/scaled-objects.ts'
import { ServiceAccounts } from './reconciler/service-accounts.ts'
import { isDriftLeft } from './reconciler/suspension.ts'
import { type DesiredTarget, isSameTarget, type Target, toTarget } from './reconciler/target.ts'
import { WatchedKinds } from './reconciler/watched-kinds.ts'
import { type Recorder, silentRecorder } from './recorder.ts'
import type { Scaling } from './remediator/autoscaling.ts'
import { FightLedger, type FightLimits } from './remediator/fight-ledger.ts'
import { PERSON_MANAGERS } from './remediator/managed-fields.ts'
import { createWatcher, type Watcher, type WatcherOptions, type WatchState } from './watcher/watcher.ts'

/** With what a reconciler is made. */
export interface ReconcilerOptions {
  readonly kube: Kube
  /** Default createWatcher. */
  readonly createWatcher?: (options: WatcherOptions) => Watcher
  /** The agent's own namespace: inventories are kept there. */
  readonly ownNamespace: string
  /** Namespaces that the agent may work in; undefined: the whole cluster. */
  readonly namespaces?: readonly string[] | undefined
  /** What the cluster's owner allows; default: nothing is restricted. */
  readonly policy?: () => PolicyState
  /** Resolves when that is known; default at once. */
  readonly policyReady?: Promise<void>
  readonly artifacts: ArtifactLoader
  /** Secret of the agent's own namespace with the age keys; undefined: all that are labelled as such. */
  readonly ageSecret?: string | undefined
  readonly reports: ReportSink
  readonly logger: Logger
  /** Told what is done, default nobody. */
  readonly recorder?: Recorder
  /** Called when a watch that had ended is opened again. */
  readonly onWatchReopened?: () => void
  /** Called when less is in force: inForce may tell of fewer artifacts. */
  readonly onInForce?: () => void
  /** Called when the API server serves other kinds, as far as that can be told from what is applied and watched. */
  readonly onKinds?: () => void
  /** Milliseconds since the epoch, default Date.now. */
  readonly clock?: () => number
  /** Whether the logs of containers at fault are read, default false: they may hold secrets. */
  readonly podLogs?: boolean
  /** Managers through which people write, default PERSON_MANAGERS. */
  readonly persons?: RegExp
  readonly limits?: Partial<ReconcilerLimits>
  readonly fightLimits?: FightLimits
}

const OPEN: PolicyState = { kind: 'known', policy: OPEN_POLICY }

const LIMITS: ReconcilerLimits = {
  pruneHealthTimeoutMs: 60_000,
  waveTimeoutMs: 600_000,
  establishedTimeoutMs: 30_000,
  reportDelayMs: 25,
}

/** Makes a reconciler and begins to read the inventories in the cluster, until it succeeds; slices may be given at once. */
export function createReconciler(options: ReconcilerOptions): Reconciler {
  return new ClusterReconciler(options)
}

class ClusterReconciler implements Reconciler {
  readonly #options: ReconcilerOptions
  readonly #stop = new AbortController()
  readonly #applications = new Map<string, Application>()
  readonly #context: ReconcilerContext
  readonly #watcher: Watcher
  readonly #repair: DriftRepair
  readonly #left: LeftDrift
  readonly #judge: HealthJudge
  readonly #autoscalers: Autoscalers
  readonly #foundations: Foundations
  readonly #reports: ReportSchedule
  /** Applications whose tombstone was carried out: confirmed again when the hub asks again. */
  readonly #removed = new Set<string>()
  #hasSlice = false
  /** The inventories of the cluster are known. */
  #isReady = false
  #clusterId = ''
  #variables = ''

  constructor(options: ReconcilerOptions) {
    this.#options = options
    const { kube, ownNamespace, namespaces, logger, policy = () => OPEN, policyReady = Promise.resolve() } = options
    const { persons = PERSON_MANAGERS, clock = Date.now, recorder = silentRecorder, podLogs = false } = options
    const { signal } = this.#stop
    const table = new ObjectTable()
    const accountOf = (name: string): string => this.#applications.get(name)?.account ?? ''
    const accounts = new ServiceAccounts({ kube, accountOf, signal })
    const localPolicy = createLocalPolicy({ ownNamespace, namespaces, policy, accountOf })
    const shared = {
      kube,
      kubeFor: async (name: string): Promise<Kube> => await accounts.kubeFor(name),
      table,
      localPolicy,
      persons,
      namespaces,
      recorder,
      logger,
      clock,
      signal,
      policyOf: (name: string) => this.#policyOf(name),
      onObserved: (record: ObjectRecord, object: KubernetesObject): void => this.#judge.note(record, object),
      onChange: (record: ObjectRecord): void => this.#noteChange(record),
      onDrift: (drift: SeenDrift): void => this.#noteDrift(drift),
    }
    this.#judge = new HealthJudge({ ...shared, causes: new CauseReader({ ...shared, podLogs }) })
    const writer = new ObjectWriter({ ...shared, onIdle: (record) => this.#repair.flush(record) })
    this.#left = new LeftDrift({ ...shared, isLeft: (name) => this.#policyOf(name)?.remediate === false })
    const onTarget = (key: string, scaling: Scaling): void => this.#noteScaling(key, scaling)
    this.#autoscalers = new Autoscalers({ ...shared, onTarget })
    this.#repair = new DriftRepair({
      ...shared,
      writer,
      fights: new FightLedger(options.fightLimits),
      left: this.#left,
      onAttention: ({ application }) => this.#applications.get(application)?.wake(),
      onInventoryChange: ({ application }) => this.#applications.get(application)?.wakeSoon(),
    })
    this.#foundations = new Foundations({ kube, table, applications: this.#applications, onKinds: options.onKinds })
    this.#watcher = this.#watch(options)
    const limits = { ...LIMITS, ...options.limits }
    this.#reports = new ReportSchedule(options.reports, limits.reportDelayMs)
    this.#context = {
      ...shared,
      store: new InventoryStore({ kube, namespace: ownNamespace, logger }),
      kinds: new WatchedKinds(this.#watcher),
      writer,
      left: this.#left,
      autoscalers: this.#autoscalers,
      applies: new Limiter(),
      artifacts: options.artifacts,
      decryptor: new Decryptor({ kube, namespace: ownNamespace, secret: options.ageSecret }),
      limits,
      ownNamespace,
      clusterId: () => this.#clusterId,
      variables: () => this.#variables,
      isPaused: () => this.#isPaused(),
      ready: Promise.resolve().then(async () => {
        await unlessAborted(policyReady, signal)
        await this.#adoptInventories()
      }),
      dependencies: new Dependencies((name) => this.#applications.get(name)),
      neighbours: this.#applications,
      noteInForce: () => options.onInForce?.(),
      noteChange: shared.onChange,
    }
    // Each application awaits it too; without any, an abort must not count as unhandled.
    this.#context.ready.catch(() => undefined)
  }

  update(slice: Slice): void {
    this.#hasSlice = true
    this.#clusterId = slice.clusterId
    this.#variables = canonicalJson([slice.clusterName, slice.clusterLabels, slice.clusterValues])
    const listed = new Set(slice.entries.map(({ application }) => application))
    const variables = variablesOf(slice)
    for (const entry of slice.entries)
      this.#updateEntry(toTarget(entry, slice.generation, variables), entry.application)
    for (const application of this.#applications.values()) {
      if (listed.has(application.name) || !application.target) continue
      this.#options.logger.warn({ application: application.name }, 'application is not in the slice; left as it is')
      application.setTarget(undefined)
    }
    // What an application that is left alone owns, another may have.
    for (const application of this.#applications.values()) if (application.contested.length > 0) application.wake()
    for (const name of this.#removed) if (!listed.has(name)) this.#removed.delete(name)
  }

  reconcile(application?: string): void {
    this.#context.kube.forgetDiscovery()
    for (const one of this.#applications.values()) if (!application || one.name === application) one.recheck()
  }

  async preview(name: string, signal: AbortSignal, onChange?: (change: ObjectChange) => void): Promise<Preview> {
    const application = this.#applications.get(name)
    if (!application) throw new AppError('NotFound', `this cluster is not asked to run ${name}`)
    const { persons = PERSON_MANAGERS } = this.#options
    const signals = AbortSignal.any([signal, this.#stop.signal])
    return await previewApplication(application, { persons, signal: signals, ...(onChange && { onChange }) })
  }

  policyChanged(): void {
    for (const application of this.#applications.values()) {
      const isLeft = this.#policyOf(application.name)?.remediate === false
      for (const record of application.records()) {
        // What others own by then is taken back, though it may have the value of Git.
        if (!isLeft) record.equalAt = ''
        if (record.failure?.error.code === 'PolicyForbids') retryAtOnce(record)
      }
      application.wake()
    }
  }

  /** Nothing may be written at all. */
  #isPaused(): boolean {
    const state = this.#options.policy?.()
    return state !== undefined && (state.kind !== 'known' || state.policy.paused)
  }

  async inForce(signal: AbortSignal): Promise<readonly ArtifactReference[]> {
    await unlessAborted(this.#context.ready, signal)
    return [...this.#applications.values()].flatMap(({ target, gate }) => {
      return target?.kind === 'desired' ? (gate.artifactInForce ?? []) : []
    })
  }

  reports(): readonly ApplicationReport[] {
    return [...this.#applications.values()]
      .filter((application) => application.target || this.#hasSlice)
      .map(refreshReport)
  }

  inspect(): Inspection {
    const { applies, table } = this.#context
    const applications = [...this.#applications.values()]
    return {
      isReady: this.#isReady,
      reports: applications.map(({ report }) => report).filter((report) => report !== undefined),
      watches: [...this.#watcher.states(), ...this.#autoscalers.states()].map(({ resource, ...state }) => {
        const { group, version, kind } = resource
        return { group, version, kind, ...state }
      }),
      queues: { apply: applies.waiting, repair: this.#repair.load.waiting },
      oldestWriteMs: Math.max(applies.oldestMs, this.#repair.load.oldestMs),
      idlestPass: findIdlest(applications),
      objects: () => [...table.all()].map(toInspected),
    }
  }

  async stop(): Promise<void> {
    this.#stop.abort()
    this.#repair.stop()
    this.#left.stop()
    this.#judge.stop()
    this.#reports.stop()
    await Promise.all([this.#watcher.stop(), this.#autoscalers.stop()])
    await Promise.all([...this.#applications.values()].map(async (application) => await application.stopped()))
  }

  #watch(options: ReconcilerOptions): Watcher {
    const { kube, namespaces, logger, onWatchReopened, createWatcher: create = createWatcher } = options
    return create({
      kube,
      labelSelector: `${MANAGED_BY_LABEL}=${MANAGED_BY}`,
      namespaces,
      onEvent: (event) => this.#repair.handle(event),
      onState: (state) => this.#noteWatchState(state),
      onSynced: (resource) => this.#foundations.kindListed(resource),
      ...(onWatchReopened && { onReopened: onWatchReopened }),
      logger,
    })
  }

  #noteWatchState(state: WatchState): void {
    this.#context.kinds.noteState(state)
    if (state.state === 'gone') this.#foundations.kindGone(state.resource)
  }

  #updateEntry(target: Target | undefined, name: string): void {
    if (!target) return
    if (target.kind === 'desired') this.#removed.delete(name)
    else if (this.#removed.has(name)) {
      this.#options.reports.removed(name)
      return
    }
    const application = this.#getApplication(name)
    if (target.kind === 'desired') this.#judge.setPolicy(name, toHealthPolicy(target))
    const isSame = target.kind !== 'desired' || application.hasSameVariables(target.variables)
    if (!isSame || !isSameTarget(application.target, target)) application.setTarget(target)
  }

  #getApplication(name: string): Application {
    const known = this.#applications.get(name)
    if (known) return known
    const application = new Application(name, this.#context, {
      onChange: (changed) => this.#noteReport(changed),
      onRemoved: (removed) => this.#forget(removed),
    })
    this.#applications.set(name, application)
    return application
  }

  #forget(application: Application): void {
    this.#applications.delete(application.name)
    this.#removed.add(application.name)
    this.#context.dependencies.noteChange(application.name)
    this.#judge.setPolicy(application.name, undefined)
    this.#context.kinds.releaseUnused(this.#context.table.all())
    if (![...this.#context.table.all()].some(isScalable)) this.#autoscalers.release()
    this.#options.logger.info({ application: application.name }, 'application removed')
    this.#reports.removed(application)
  }

  async #adoptInventories(): Promise<void> {
    const { store, table, signal, kinds } = this.#context
    for (let attempt = 0; ; attempt++) {
      try {
        for (const [name, inventory] of await store.load(signal)) {
          this.#getApplication(name).adoptInventory(inventory)
          for (const stored of inventory.records) table.add(recordFromInventory(stored, name))
        }
        break
      } catch (error) {
        if (isAborted(error)) throw error
        this.#options.logger.warn({ error }, 'inventories cannot be read yet')
        await sleep(backoffMs(attempt), signal)
      }
    }
    this.#isReady = true
    // Watched although no slice asks for it: reports speak of what is there.
    const resources = new Set([...table.all()].map(({ resource }) => resource))
    for (const resource of resources) kinds.ensure(resource, signal).catch(() => undefined)
  }

  #policyOf(name: string): { remediate: boolean; adopt: string } | undefined {
    const target = this.#applications.get(name)?.target
    if (target?.kind !== 'desired') return undefined
    // While nothing may be written, drift is seen and left.
    return { remediate: !isDriftLeft(target, this.#context), adopt: target.policy.adopt }
  }

  #noteScaling(key: string, scaling: Scaling): void {
    const record = this.#context.table.find(key)
    if (!record || !noteScaling(record, this.#autoscalers, scaling)) return
    // Where drift is left, what an autoscaler takes is left by its field manager.
    if (this.#policyOf(record.application)?.remediate !== true) return
    record.dirty = true
    this.#applications.get(record.application)?.wake()
  }

  #noteDrift(drift: SeenDrift): void {
    this.#applications.get(drift.record.application)?.noteDrift(toDrift(drift))
  }

  #noteChange(record: ObjectRecord): void {
    this.#applications.get(record.application)?.noteChange()
    this.#foundations.note(record)
  }

  #noteReport(application: Application): void {
    if (this.#hasSlice && !this.#stop.signal.aborted) this.#reports.note(application)
  }
}

function findIdlest(applications: readonly Application[]): Inspection['idlestPass'] {
  return applications
    .map(({ name, pass }) => ({ application: name, idleMs: pass.idleMs }))
    .reduce<Inspection['idlestPass']>((most, one) => (one.idleMs > (most?.idleMs ?? 0) ? one : most), undefined)
}

function toInspected({ application, group, kind, namespace, name, applied }: ObjectRecord): InspectedObject {
  const { uid = '', declaredHash = '', entryHash = '' } = applied ?? {}
  return { application, group, kind, namespace, name, uid, declaredHash, entryHash }
}

function toHealthPolicy({ policy, artifact }: DesiredTarget): HealthPolicy {
  const { healthRules: rules, progressDeadline } = policy
  const progressDeadlineMs = progressDeadline && durationMs(progressDeadline)
  return { rules, progressDeadlineMs, digest: artifact.digest }
}

// The fleet view: the read model in memory, cluster by application. Fed by reports, heartbeats and connection events; what it
// shows of the hub's own intent it reads from the database.
import type { Cluster } from '@fairlead/proto/clusters'
import { ConnectionState } from '@fairlead/proto/common'
import type { Application, Repository } from '@fairlead/proto/definitions'
import type { FleetStatus } from '@fairlead/proto/fleet'
import type { ApplicationReport, Heartbeat, Report } from '@fairlead/proto/report'
import { sleep } from '@fairlead/shared/backoff'
import { AppError } from '@fairlead/shared/errors'
import type { Logger } from '@fairlead/shared/logger'
import { KnownApplications, readApplications, readRepositories } from '../store/definition-rows.ts'
import type { Store } from '../store/store.ts'
import { applyHeartbeat, applyReport, type ClusterEntry } from './cluster-entry.ts'
import { type ConnectionThresholds, decideConnection } from './connection.ts'
import type { DesiredDeployment } from './deployment-sync.ts'
import { describeCluster, describeFleet, type StatusFilter } from './fleet-status.ts'
import { ReportWriter } from './report-writer.ts'
import { DesiredDeployments, loadClusters, loadDeployments, loadReports } from './view-loader.ts'

/** Changes within this time are told to listeners as one, in milliseconds. */
const MERGE_MS = 100
/** While changes come one after the other, a refresh waits this many times what the last one took, up to a limit in milliseconds. */
const REFRESH_PAUSE = { times: 3, maxMs: 250 }
/** How often ages are looked at, in milliseconds. */
const AGE_TICK_MS = 1_000
/** A heartbeat this long after a disconnect shows that the agent is connected again; an earlier one was still under way. */
const RECONNECT_GRACE_MS = 1_000

/** What a view needs. */
export interface FleetViewOptions {
  readonly store: Store
  readonly thresholds: ConnectionThresholds
  readonly logger: Logger
  /** Milliseconds since the epoch, default Date.now. */
  readonly clock?: () => number
  /** Called when it is stored that clusters serve other kinds than before. */
  readonly onCapabilities?: () => void
}

/** Whether reports are missing, so that the agent must be asked for a full one. */
export interface Continuity {
  readonly gap: boolean
}

/** The fleet view. Cluster ids that it does not know are passed over. */
export interface FleetView {
  /** Reads everything and starts to watch ages. Call once, before anything else. */
  load(): Promise<void>
  /** Reads again clusters and definitions, and the deployments of the clusters with these ids (default all). Calls while one runs are merged. */
  refresh(changedClusterIds?: Iterable<string>): Promise<void>
  /** Takes a report that NATS received at `atMs`. */
  applyReport(clusterId: string, report: Report, atMs: number): Continuity
  /** Takes a sign of life. */
  heartbeat(clusterId: string, heartbeat: Heartbeat, atMs: number): Continuity
  /** NATS says that the agent connected. */
  connected(clusterId: string, atMs: number): void
  /** NATS says that the agent's last connection ended. */
  disconnected(clusterId: string, atMs: number): void
  /** The state of the fleet as of now. Throws NotFound for a name that does not exist. */
  status(filter?: StatusFilter): FleetStatus
  /** What a cluster last said of an application; undefined when it has said nothing. Throws NotFound. */
  findReport(application: string, cluster: string): ApplicationReport | undefined
  /** The cluster of that name. Throws NotFound. */
  getCluster(name: string): Cluster
  /** All clusters, sorted by name. */
  listClusters(): Cluster[]
  /** Calls the listener after changes, at most every 100 ms. A heartbeat that changes nothing but the age is none. Returns a function that ends it. */
  subscribe(listener: () => void): () => void
  /** Stores what is not yet stored and ends. */
  stop(): Promise<void>
}

/** Makes the view of a store. */
export function createFleetView(options: FleetViewOptions): FleetView {
  return new InMemoryFleetView(options)
}

class InMemoryFleetView implements FleetView {
  readonly #store: Store
  readonly #thresholds: ConnectionThresholds
  readonly #logger: Logger
  readonly #clock: () => number
  readonly #entries = new Map<string, ClusterEntry>()
  readonly #intents = new DesiredDeployments()
  readonly #writer: ReportWriter
  readonly #listeners = new Set<() => void>()
  readonly #knownApplications = new KnownApplications()
  #applications: Application[] = []
  #repositories: Repository[] = []
  #ageTimer: NodeJS.Timeout | undefined
  #notifyTimer: NodeJS.Timeout | undefined
  #refreshing: Promise<void> = Promise.resolve()
  #refreshed = { endedAtMs: Number.NEGATIVE_INFINITY, tookMs: 0 }
  #nextRefresh: { promise: Promise<void>; all: boolean; ids: Set<string> } | undefined

  constructor({ store, thresholds, logger, clock = Date.now, onCapabilities }: FleetViewOptions) {
    this.#store = store
    this.#thresholds = thresholds
    this.#logger = logger
    this.#clock = clock
    this.#writer = new ReportWriter({ store, entries: this.#entries, logger, onCapabilities })
  }

  async load(): Promise<void> {
    await loadClusters(this.#store.db, this.#entries)
    await loadReports(this.#store.db, this.#entries)
    await this.refresh()
    this.#writer.start()
    this.#ageTimer = setInterval(() => this.#watchAges(), AGE_TICK_MS).unref()
  }

  async refresh(changedClusterIds?: Iterable<string>): Promise<void> {
    const next = this.#nextRefresh ?? this.#queueRefresh()
    next.all ||= changedClusterIds === undefined
    for (const id of changedClusterIds ?? []) next.ids.add(id)
    await next.promise
  }

  /** One refresh runs at a time; those asked for meanwhile become the next one, so that each sees what was committed before it was asked for. */
  #queueRefresh() {
    const ids = new Set<string>()
    const next = { promise: Promise.resolve(), all: false, ids }
    const started = this.#refreshing
      .catch(() => {})
      .then(async () => {
        await this.#pause()
        this.#nextRefresh = undefined
        const startedAtMs = performance.now()
        await this.#read(next)
        const endedAtMs = performance.now()
        this.#refreshed = { endedAtMs, tookMs: endedAtMs - startedAtMs }
      })
    next.promise = started
    this.#refreshing = started
    this.#nextRefresh = next
    return next
  }

  /** Leaves the processor to others where everything is much: what is asked for meanwhile becomes the same refresh. */
  async #pause(): Promise<void> {
    const { endedAtMs, tookMs } = this.#refreshed
    const pauseMs = Math.min(REFRESH_PAUSE.maxMs, REFRESH_PAUSE.times * tookMs) - (performance.now() - endedAtMs)
    if (pauseMs >= 1) await sleep(pauseMs)
  }

  async #read({ all, ids }: { all: boolean; ids: ReadonlySet<string> }): Promise<void> {
    const { db } = this.#store
    const known = new Set(this.#entries.keys())
    await loadClusters(db, this.#entries)
    this.#applications = await readApplications(db, { known: this.#knownApplications })
    this.#repositories = await readRepositories(db)
    const changed = [...this.#entries.values()].filter((entry) => all || ids.has(entry.id) || !known.has(entry.id))
    await loadDeployments(db, changed, this.#intents)
    const used = new Set<DesiredDeployment>()
    for (const entry of this.#entries.values()) {
      for (const { desired } of entry.cells.values()) if (desired) used.add(desired)
      this.#decideConnection(entry)
    }
    this.#intents.keepOnly(used)
    this.#changed()
  }

  applyReport(clusterId: string, report: Report, atMs: number): Continuity {
    const entry = this.#entries.get(clusterId)
    if (!entry) return { gap: false }
    const { gap, changed, factsChanged } = applyReport(entry, report, Math.min(atMs, this.#clock()))
    this.#writer.addReport(clusterId, changed, factsChanged)
    this.#decideConnection(entry)
    this.#changed()
    return { gap }
  }

  heartbeat(clusterId: string, heartbeat: Heartbeat, atMs: number): Continuity {
    const entry = this.#entries.get(clusterId)
    if (!entry) return { gap: false }
    const verifiedBefore = entry.verifiedGeneration
    const gap = applyHeartbeat(entry, heartbeat, Math.min(atMs, this.#clock()))
    const isBack = entry.connected === false && atMs - entry.disconnectedAtMs >= RECONNECT_GRACE_MS
    if (isBack || entry.connected === undefined) entry.connected = true
    this.#writer.addHeartbeat(clusterId)
    if (this.#decideConnection(entry) || entry.verifiedGeneration !== verifiedBefore) this.#changed()
    return { gap }
  }

  connected(clusterId: string, atMs: number): void {
    const entry = this.#entries.get(clusterId)
    if (!entry) return
    entry.connected = true
    entry.lastSeenAtMs = Math.max(entry.lastSeenAtMs ?? 0, Math.min(atMs, this.#clock()))
    this.#writer.addHeartbeat(clusterId)
    if (this.#decideConnection(entry)) this.#changed()
  }

  disconnected(clusterId: string, atMs: number): void {
    const entry = this.#entries.get(clusterId)
    if (!entry) return
    entry.connected = false
    entry.disconnectedAtMs = atMs
    if (this.#decideConnection(entry)) this.#changed()
  }

  status(filter: StatusFilter = {}): FleetStatus {
    const clusters = this.#listEntries()
    return describeFleet({ clusters, applications: this.#applications, repositories: this.#repositories }, filter)
  }

  findReport(application: string, cluster: string): ApplicationReport | undefined {
    return this.status({ application, cluster }).deployments[0]?.report
  }

  getCluster(name: string): Cluster {
    for (const entry of this.#entries.values()) {
      if (entry.name !== name) continue
      this.#decideConnection(entry)
      return describeCluster(entry)
    }
    throw new AppError('NotFound', `there is no cluster ${JSON.stringify(name.slice(0, 80))}`)
  }

  listClusters(): Cluster[] {
    return this.#listEntries().map(describeCluster)
  }

  #listEntries(): ClusterEntry[] {
    for (const entry of this.#entries.values()) this.#decideConnection(entry)
    return [...this.#entries.values()].sort((a, b) => (a.name < b.name ? -1 : 1))
  }

  subscribe(listener: () => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  async stop(): Promise<void> {
    clearInterval(this.#ageTimer)
    clearTimeout(this.#notifyTimer)
    await this.#refreshing.catch(() => {})
    await this.#writer.stop()
  }

  #watchAges(): void {
    let isChanged = false
    for (const entry of this.#entries.values()) isChanged = this.#decideConnection(entry) || isChanged
    if (isChanged) this.#changed()
  }

  /** True when the cluster's connection is another one now. */
  #decideConnection(entry: ClusterEntry): boolean {
    const sinceMs = entry.lastSeenAtMs ?? entry.joinedAtMs
    const connection = decideConnection({
      joined: entry.joinedAtMs !== undefined,
      connected: entry.connected,
      ageMs: sinceMs === undefined ? undefined : this.#clock() - sinceMs,
      thresholds: this.#thresholds,
    })
    if (connection === entry.connection) return false
    const before = ConnectionState[entry.connection].toLowerCase()
    const now = ConnectionState[connection].toLowerCase()
    entry.connection = connection
    if (before !== 'unspecified') this.#logger.info({ cluster: entry.name, before, now }, 'cluster connection changed')
    return true
  }

  #changed(): void {
    if (this.#notifyTimer || this.#listeners.size === 0) return
    this.#notifyTimer = setTimeout(() => {
      this.#notifyTimer = undefined
      for (const listener of this.#listeners) listener()
    }, MERGE_MS).unref()
  }
}

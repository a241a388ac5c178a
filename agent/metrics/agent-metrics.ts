// The agent's metrics, each once: docs/operations/agent.md lists the same names, held together by a test.
import { readdirSync } from 'node:fs'
import { performance } from 'node:perf_hooks'
import { VERSION } from '@fairlead/shared/version'
import type { SeenRequest } from '../kube/kube.ts'
import type { Recorder } from '../recorder.ts'
import { type Counter, type Histogram, Registry } from './registry.ts'

/** What is read when somebody looks; undefined where this process does not lead. */
export interface MetricSources {
  /** 1 while this process is the one that writes. */
  readonly isLeader: () => boolean
  readonly isJoined: () => boolean
  readonly isConnected: () => boolean
  /** Generation of the last slice that was obeyed, 0 for none. */
  readonly sliceGeneration: () => bigint
  /** When the hub signed it, in ms since the epoch; undefined without one. */
  readonly sliceIssuedAtMs: () => number | undefined
  /** Applications by their state. */
  readonly applications: () => readonly { readonly sync: string; readonly health: string; readonly objects: number }[]
  /** Watches by their state. */
  readonly watches: () => readonly string[]
  /** Tasks that wait for a place, by the name of the queue. */
  readonly queues: () => Readonly<Record<string, number>>
}

const API_SECONDS = [0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 30]
const APPLY_SECONDS = [0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5, 30]
const REPAIR_SECONDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1, 10, 60]
const PREFIX = 'fairlead_agent_'

/** The agent's metrics. */
export class AgentMetrics {
  readonly registry = new Registry()
  readonly #requests: Counter
  readonly #requestSeconds: Histogram
  readonly #watchRestarts: Counter
  readonly #events: Counter
  readonly #transitions: Counter
  /** Counts what the reconciler does. */
  readonly recorder: Recorder

  constructor() {
    const counter = (name: string, help: string, labels: readonly string[] = []): Counter =>
      this.registry.counter({ name: PREFIX + name, help, labels })
    this.registry.gauge({ name: `${PREFIX}build_info`, help: 'The version, as a label.', labels: ['version'] }, () => [
      { labels: [VERSION], value: 1 },
    ])
    this.#requests = counter('api_requests_total', 'Requests to the API server by verb and status; 0: no answer.', [
      'verb',
      'code',
    ])
    this.#requestSeconds = this.registry.histogram(
      {
        name: `${PREFIX}api_request_duration_seconds`,
        help: 'Time to the answer of the API server, watches left out.',
        labels: ['verb'],
      },
      API_SECONDS,
    )
    this.#watchRestarts = counter('watch_restarts_total', 'Watches that were opened again.')
    this.#events = counter('events_total', 'Kubernetes Events by what became of them: sent, dropped or failed.', [
      'result',
    ])
    this.#transitions = counter('leader_transitions_total', 'How often this process began or ceased to lead.', ['to'])
    this.recorder = this.#createRecorder(counter)
    addProcessMetrics(this.registry)
  }

  /** Counts a request. */
  request({ verb, status, durationMs }: SeenRequest): void {
    this.#requests.add([verb, String(status)])
    if (verb !== 'watch') this.#requestSeconds.observe(durationMs / 1000, [verb])
  }

  /** Counts a watch that was opened again. */
  watchRestarted(): void {
    this.#watchRestarts.add()
  }

  /** Counts what became of an Event. */
  event(result: 'sent' | 'dropped' | 'failed'): void {
    this.#events.add([result])
  }

  /** Counts that this process began, or ceased, to lead. */
  transition(to: 'leader' | 'standby'): void {
    this.#transitions.add([to])
  }

  /** Adds what is read when somebody looks. */
  observe(sources: MetricSources): void {
    const gauge = (name: string, help: string, read: () => number): void =>
      this.registry.gauge({ name: PREFIX + name, help }, read)
    gauge('leader', '1 while this process is the one that writes.', () => Number(sources.isLeader()))
    gauge('joined', '1 when the agent has an identity that the hub has not refused.', () => Number(sources.isJoined()))
    gauge('nats_connected', '1 while there is a connection to NATS.', () => Number(sources.isConnected()))
    gauge('slice_generation', 'Generation of the slice that is obeyed, 0 for none.', () =>
      Number(sources.sliceGeneration()),
    )
    this.registry.gauge(
      {
        name: `${PREFIX}slice_age_seconds`,
        help: 'Time since the hub signed the slice that is obeyed, by this clock.',
      },
      () => {
        const issuedAtMs = sources.sliceIssuedAtMs()
        return issuedAtMs === undefined ? [] : [{ value: Math.max(0, (Date.now() - issuedAtMs) / 1000) }]
      },
    )
    const applications = { name: `${PREFIX}applications`, help: 'Applications by state.', labels: ['sync', 'health'] }
    this.registry.gauge(applications, () => tally(sources.applications().map(({ sync, health }) => [sync, health])))
    gauge('objects', 'Objects that the applications declare.', () =>
      sources.applications().reduce((sum, { objects }) => sum + objects, 0),
    )
    this.registry.gauge({ name: `${PREFIX}watches`, help: 'Watched kinds by state.', labels: ['state'] }, () =>
      tally(sources.watches().map((state) => [state])),
    )
    const queues = { name: `${PREFIX}queue_depth`, help: 'Writes that wait for their turn.', labels: ['queue'] }
    this.registry.gauge(queues, () =>
      Object.entries(sources.queues()).map(([queue, value]) => ({ labels: [queue], value })),
    )
  }

  #createRecorder(counter: (name: string, help: string, labels?: readonly string[]) => Counter): Recorder {
    const applies = counter('applies_total', 'Objects applied, by whether that changed them.', ['result'])
    const applySeconds = this.registry.histogram(
      { name: `${PREFIX}apply_duration_seconds`, help: 'From the first request of an apply to its last answer.' },
      APPLY_SECONDS,
    )
    const adoptions = counter('adoptions_total', 'Objects that were there before and were taken over.')
    const repairs = counter('drift_repairs_total', 'Differences put back, by what was done.', ['kind'])
    const repairSeconds = this.registry.histogram(
      { name: `${PREFIX}drift_repair_duration_seconds`, help: 'From a difference being seen to its being put back.' },
      REPAIR_SECONDS,
    )
    const left = counter('drift_left_total', 'Differences seen and left, as the policy says.', ['kind'])
    const prunes = counter('prunes_total', 'Objects deleted because they are no longer declared.')
    const recreations = counter(
      'recreations_total',
      'Objects deleted and made anew for a field that cannot be changed.',
    )
    const failures = counter('failures_total', 'Tries on objects that failed, by error code.', ['code'])
    return {
      applied: (_record, { changed, adopted, durationMs }) => {
        applies.add([changed ? 'changed' : 'unchanged'])
        applySeconds.observe(durationMs / 1000)
        if (adopted) adoptions.add()
      },
      drifted: ({ kind, detectedAtMs, remediatedAtMs }) => {
        if (remediatedAtMs === undefined) return left.add([kind])
        repairs.add([kind])
        repairSeconds.observe(Math.max(0, remediatedAtMs - detectedAtMs) / 1000)
      },
      pruned: () => prunes.add(),
      recreated: () => recreations.add(),
      failed: (_record, { code }) => failures.add([code]),
    }
  }
}

function tally(keys: readonly (readonly string[])[]): { labels: readonly string[]; value: number }[] {
  const counts = new Map<string, { labels: readonly string[]; value: number }>()
  for (const labels of keys) {
    const key = labels.join('\n')
    const known = counts.get(key)
    counts.set(key, { labels, value: (known?.value ?? 0) + 1 })
  }
  return [...counts.values()]
}

/** The names that every client library uses for a process. */
function addProcessMetrics(registry: Registry): void {
  const startedAtSeconds = (performance.timeOrigin / 1000).toFixed(3)
  const cpu = { name: 'process_cpu_seconds_total', help: 'User and system CPU time.', type: 'counter' } as const
  registry.gauge(cpu, () => {
    const { user, system } = process.cpuUsage()
    return (user + system) / 1e6
  })
  registry.gauge({ name: 'process_resident_memory_bytes', help: 'Resident memory.' }, () => process.memoryUsage.rss())
  registry.gauge({ name: 'process_start_time_seconds', help: 'Start time since the epoch.' }, () =>
    Number(startedAtSeconds),
  )
  // Linux only; elsewhere it is left out.
  registry.gauge(
    { name: 'process_open_fds', help: 'Open file descriptors.' },
    () => readdirSync('/proc/self/fd').length,
  )
  registry.gauge(
    { name: 'nodejs_heap_size_used_bytes', help: 'Used JavaScript heap.' },
    () => process.memoryUsage().heapUsed,
  )
  let last = performance.eventLoopUtilization()
  registry.gauge(
    {
      name: 'nodejs_eventloop_utilization',
      help: 'Share of the time since the last scrape that the event loop worked.',
    },
    () => {
      const now = performance.eventLoopUtilization()
      const { utilization } = performance.eventLoopUtilization(now, last)
      last = now
      return utilization
    },
  )
}

// Restart: the agent's process is killed with 2,000 objects applied; from the start of the next one until the hub has
// heard that everything is as declared, and what was written on the way.
import { writeVerbs } from '../harness/audit.ts'
import { agentUser } from '../harness/fleet-cluster.ts'
import { waitFor } from '../harness/wait.ts'
import { readAgentLog } from './agent-log.ts'
import { percentile, type Report } from './report.ts'
import { isConverged, readReports } from './reports.ts'
import { type Bench, runConfigMaps, startBench } from './workload.ts'

const objects = 2000
const rounds = 3

/** Runs the benchmark. */
export async function benchRestart(): Promise<Report> {
  await using bench = await startBench()
  await runConfigMaps(bench, objects)
  const outcomes: Restart[] = []
  for (let round = 0; round < rounds; round++) outcomes.push(await restart(bench))
  const ms = percentile(
    outcomes.map((outcome) => outcome.ms),
    0.5,
  )
  const writes = outcomes.reduce((sum, outcome) => sum + outcome.writes.length, 0)
  return {
    rows: [
      ['process started to all Synced in the hub, median', `${ms} ms`, 'bound 3,000 ms'],
      ['all rounds', outcomes.map((outcome) => outcome.ms).join(', '), ''],
      ['writes', `${writes}`, 'bound 0'],
      ...outcomes.flatMap((outcome) => outcome.writes.slice(0, 5)).map((write) => ['', write, ''] as const),
    ],
    json: { bench: 'restart', objects, ms, writes },
  }
}

interface Restart {
  readonly ms: number
  /** Requests that write anything, the agent's own documents included. */
  readonly writes: readonly string[]
}

async function restart(bench: Bench): Promise<Restart> {
  const { fleet, repository } = bench
  const { cluster, kubelet } = fleet.getCluster('bench')
  const session = sessionOf(bench)
  const since = Date.now()
  await kubelet.kill()
  await kubelet.waitUntilReady()
  const endedAt = await waitFor(
    'the hub to hear from the new process that all is Synced',
    () => {
      if (sessionOf(bench) === session) return undefined
      const reports = readReports(bench)
      const fresh = reports.filter((stored) => stored.receivedAtMs >= since && isConverged(stored, repository.head()))
      return fresh.length === reports.length && Math.max(...fresh.map(({ receivedAtMs }) => receivedAtMs))
    },
    { timeoutMs: 120_000, intervalMs: 100, logs: [kubelet] },
  )
  const started = readAgentLog(bench).findLast(({ msg }) => msg === 'agent started')
  if (!started) throw new Error('the agent has not logged its start')
  const writes = cluster.auditLog({ user: agentUser, verbs: writeVerbs, since })
  return { ms: endedAt - started.time, writes: writes.map(({ verb, requestURI }) => `${verb} ${requestURI}`) }
}

function sessionOf({ fleet }: Bench): unknown {
  return fleet.query('SELECT session FROM cluster_reports')[0]?.session
}

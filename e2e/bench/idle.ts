// Idle: 2,000 objects, and then 20,000, nothing changing for a minute. What does the bundled agent ask, and what does it cost?
import { setTimeout as delay } from 'node:timers/promises'
import { agentUser } from '../harness/fleet-cluster.ts'
import { type Report, tenths } from './report.ts'
import { type Bench, runConfigMaps, startBench } from './workload.ts'

const seconds = 60
/** Left alone after the last change, so that what follows a change is not counted as idle. */
const settleSeconds = 15
const loads = [
  { objects: 2_000, boundMiB: 96 },
  { objects: 20_000, boundMiB: 256 },
] as const

/** Runs the benchmark. */
export async function benchIdle(): Promise<Report> {
  await using bench = await startBench()
  const [small, large] = [await measure(bench, loads[0].objects), await measure(bench, loads[1].objects)]
  return {
    rows: [small, large].flatMap(({ objects, requests, cpuPercent, rssMiB }, index) => [
      [`${objects} objects: requests besides open watches`, `${requests.length}`, 'bound 0'],
      ...requests.slice(0, 5).map((request) => ['', request, ''] as const),
      ['processor', `${cpuPercent} % of a core`, 'bound 1 %'],
      ['resident memory', `${rssMiB} MiB`, `bound ${loads[index]?.boundMiB} MiB`],
    ]),
    json: {
      bench: 'idle',
      objects: small.objects,
      seconds,
      requests: small.requests.length,
      cpuPercent: small.cpuPercent,
      rssMiB: small.rssMiB,
      objectsLarge: large.objects,
      requestsLarge: large.requests.length,
      cpuPercentLarge: large.cpuPercent,
      rssMiBLarge: large.rssMiB,
    },
  }
}

interface Idle {
  readonly objects: number
  readonly requests: readonly string[]
  readonly cpuPercent: number
  readonly rssMiB: number
}

/** Brings the cluster to so many objects and looks at it for a minute. */
async function measure(bench: Bench, objects: number): Promise<Idle> {
  await runConfigMaps(bench, objects)
  await delay(settleSeconds * 1000)
  const { cluster, kubelet } = bench.fleet.getCluster('bench')
  const [since, before] = [Date.now(), kubelet.process.usage()]
  await delay(seconds * 1000)
  const after = kubelet.process.usage()
  const requests = cluster.auditLog({ user: agentUser, since }).map(({ verb, requestURI }) => `${verb} ${requestURI}`)
  const cpuPercent = tenths((after.cpuMs - before.cpuMs) / (seconds * 10))
  return { objects, requests, cpuPercent, rssMiB: tenths(after.rssBytes / 2 ** 20) }
}

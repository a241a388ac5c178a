// Idle: 2,000 objects, nothing changing for a minute. What does the bundled agent ask, and what does it cost?
import { setTimeout as delay } from 'node:timers/promises'
import { agentUser } from '../harness/fleet-cluster.ts'
import { type Report, tenths } from './report.ts'
import { runConfigMaps, startBench } from './workload.ts'

const objects = 2000
const seconds = 60
/** Left alone after the last change, so that what follows a change is not counted as idle. */
const settleSeconds = 15

/** Runs the benchmark. */
export async function benchIdle(): Promise<Report> {
  await using bench = await startBench()
  await runConfigMaps(bench, objects)
  await delay(settleSeconds * 1000)
  const { cluster, kubelet } = bench.fleet.getCluster('bench')
  const [since, before] = [Date.now(), kubelet.process.usage()]
  await delay(seconds * 1000)
  const after = kubelet.process.usage()
  const requests = cluster.auditLog({ user: agentUser, since })
  const cpuPercent = tenths((after.cpuMs - before.cpuMs) / (seconds * 10))
  const rssMiB = tenths(after.rssBytes / 2 ** 20)
  return {
    rows: [
      ['requests besides open watches', `${requests.length}`, 'bound 0'],
      ...requests.slice(0, 5).map(({ verb, requestURI }) => ['', `${verb} ${requestURI}`, ''] as const),
      ['processor', `${cpuPercent} % of a core`, 'bound 1 %'],
      ['resident memory', `${rssMiB} MiB`, 'bound 96 MiB'],
    ],
    json: { bench: 'idle', objects, seconds, requests: requests.length, cpuPercent, rssMiB },
  }
}

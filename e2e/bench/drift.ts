// Drift: a write by somebody else is answered; how long until a watcher sees our repair? 2,000 objects, hub off.
import type { Cluster } from '../harness/cluster.ts'
import { percentile, type Report, tenths } from './report.ts'
import { watchRepairs } from './watch-repairs.ts'
import { runConfigMaps, startBench } from './workload.ts'

const objects = 2000
const samples = 600
const lostAfterMs = 5000

/** Runs the benchmark. */
export async function benchDrift(): Promise<Report> {
  await using bench = await startBench()
  await runConfigMaps(bench, objects)
  await bench.fleet.stopHub()
  const { cluster } = bench.fleet.getCluster('bench')
  const { repaired, stop } = watchRepairs(cluster)
  const latencies: number[] = []
  let lost = 0
  for (let sample = 0; sample < samples; sample++) {
    const elapsedMs = await measure(cluster, sample, repaired)
    if (elapsedMs === undefined) lost++
    else latencies.push(elapsedMs)
  }
  stop()
  const [p50Ms, p99Ms] = [tenths(percentile(latencies, 0.5)), tenths(percentile(latencies, 0.99))]
  return {
    rows: [
      ['write answered to repair seen, p50', `${p50Ms} ms`, 'bound 10 ms'],
      ['p99', `${p99Ms} ms`, 'bound 50 ms'],
      ['largest', `${tenths(Math.max(...latencies))} ms`, ''],
      ['not repaired within 5 s', `${lost}`, 'bound 0'],
    ],
    json: { bench: 'drift', objects, samples, p50Ms, p99Ms, lost },
  }
}

/** Edits, edits and deletes in turn; milliseconds from the answer until the repair is seen, undefined when it never is. */
async function measure(
  cluster: Cluster,
  sample: number,
  repaired: (key: string) => Promise<number>,
): Promise<number | undefined> {
  const reference = objectOf(sample)
  const seen = repaired(`${reference.metadata.namespace}/${reference.metadata.name}`)
  if (sample % 3 === 2) await cluster.admin.delete(reference)
  else await cluster.admin.patch(reference, { data: { a: `by hand ${sample}` } }, { type: 'merge' })
  const answeredAt = performance.now()
  const timeout = Promise.withResolvers<undefined>()
  const timer = setTimeout(() => timeout.resolve(undefined), lostAfterMs)
  const seenAt = await Promise.race([seen, timeout.promise])
  clearTimeout(timer)
  // The repair may be seen before the answer to the write has been read: then it took no time that can be told.
  return seenAt === undefined ? undefined : Math.max(0, seenAt - answeredAt)
}

function objectOf(sample: number) {
  const letter = 'abcd'[sample % 4]
  const metadata = { name: `c${(sample * 7) % (objects / 4)}`, namespace: `load-${letter}` }
  return { apiVersion: 'v1', kind: 'ConfigMap', metadata }
}

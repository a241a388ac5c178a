// Drift: a write by somebody else is answered; how long until a watcher sees our repair? 2,000 objects of six kinds, hub off.
import type { Cluster } from '../harness/cluster.ts'
import { editedKind, editedKinds, editedObject } from './edited-kinds.ts'
import { percentile, type Report, tenths } from './report.ts'
import { watchRepairs } from './watch-repairs.ts'
import { runObjects, startBench } from './workload.ts'

const objects = 2000
const samples = 600
const lostAfterMs = 5000

/** Runs the benchmark. */
export async function benchDrift(): Promise<Report> {
  await using bench = await startBench()
  await runObjects(bench, objects, (name, index) => `${JSON.stringify(editedObject(name, index))}\n`)
  await bench.fleet.stopHub()
  const { cluster } = bench.fleet.getCluster('bench')
  const { repaired, stop } = watchRepairs(cluster, editedKinds)
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
    json: { bench: 'drift', objects, kinds: editedKinds.length, samples, p50Ms, p99Ms, lost },
  }
}

/** Three edits and a deletion in turn; milliseconds from the answer until the repair is seen, undefined when it never is. */
async function measure(
  cluster: Cluster,
  sample: number,
  repaired: (key: string) => Promise<number>,
): Promise<number | undefined> {
  const reference = objectOf(sample)
  const seen = repaired(`${reference.kind}/${reference.metadata.namespace}/${reference.metadata.name}`)
  if (sample % 4 === 3) await cluster.admin.delete(reference)
  else await cluster.admin.patch(reference, editedKind(numberOf(sample)).edit(sample), { type: 'merge' })
  const answeredAt = performance.now()
  const timeout = Promise.withResolvers<undefined>()
  const timer = setTimeout(() => timeout.resolve(undefined), lostAfterMs)
  const seenAt = await Promise.race([seen, timeout.promise])
  clearTimeout(timer)
  // The repair may be seen before the answer to the write has been read: then it took no time that can be told.
  return seenAt === undefined ? undefined : Math.max(0, seenAt - answeredAt)
}

/** Number of the object that a sample is about, within its namespace: each kind is edited and deleted in turn. */
function numberOf(sample: number): number {
  return (sample * 7) % (objects / 4)
}

function objectOf(sample: number) {
  return editedObject(`load-${'abcd'[Math.floor(sample / 4) % 4]}`, numberOf(sample))
}

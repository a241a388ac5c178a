// Repeat: one object that a person edits, and then deletes, twenty times in a row, each time as soon as it was put back.
// Nobody is slowed down who does that by hand: a fight is a controller's.
import { editedKind } from './edited-kinds.ts'
import { percentile, type Report, tenths } from './report.ts'
import { watchRepairs } from './watch-repairs.ts'
import { runConfigMaps, startBench } from './workload.ts'

const objects = 2000
const times = 20
const lostAfterMs = 10_000

/** Runs the benchmark. */
export async function benchRepeat(): Promise<Report> {
  await using bench = await startBench()
  await runConfigMaps(bench, objects)
  await bench.fleet.stopHub()
  const { cluster } = bench.fleet.getCluster('bench')
  const { repaired, stop } = watchRepairs(cluster, [editedKind(0)])
  const reference = { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'c7', namespace: 'load-a' } }
  const measure = async (write: (time: number) => Promise<unknown>): Promise<number[]> => {
    const latencies: number[] = []
    for (let time = 0; time < times; time++) {
      const seen = repaired(`${reference.kind}/${reference.metadata.namespace}/${reference.metadata.name}`)
      await write(time)
      const answeredAt = performance.now()
      const timeout = Promise.withResolvers<number>()
      const timer = setTimeout(() => timeout.resolve(answeredAt + lostAfterMs), lostAfterMs)
      const seenAt = await Promise.race([seen, timeout.promise])
      clearTimeout(timer)
      latencies.push(Math.max(0, seenAt - answeredAt))
    }
    return latencies
  }
  const edits = await measure(
    async (time) => await cluster.admin.patch(reference, { data: { a: `by hand ${time}` } }, { type: 'merge' }),
  )
  const deletes = await measure(async () => await cluster.admin.delete(reference))
  stop()
  const all = [...edits, ...deletes]
  const [p50Ms, maxMs] = [tenths(percentile(all, 0.5)), tenths(Math.max(...all))]
  const of = (latencies: number[]): string =>
    `p50 ${tenths(percentile(latencies, 0.5))} ms, largest ${tenths(Math.max(...latencies))} ms`
  return {
    rows: [
      ['write answered to repair seen, p50', `${p50Ms} ms`, 'bound 10 ms'],
      ['largest', `${maxMs} ms`, 'bound 100 ms'],
      [`${times} edits in a row`, of(edits), ''],
      [`${times} deletions in a row`, of(deletes), ''],
    ],
    json: { bench: 'repeat', objects, edits: times, deletes: times, p50Ms, maxMs },
  }
}

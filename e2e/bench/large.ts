// Large: one application of 13,000 objects, from the slice to all applied and Healthy, against the same requests simply
// sent; and what the agent's memory is afterwards.
import { writeVerbs } from '../harness/audit.ts'
import { agentUser } from '../harness/fleet-cluster.ts'
import { applicationDefinition } from '../scenarios/manifests.ts'
import { readAgentLog } from './agent-log.ts'
import { RawClient, rawRequest } from './raw-client.ts'
import { type Report, tenths } from './report.ts'
import { waitUntilConverged } from './reports.ts'
import { type KubeManifest, startBench } from './workload.ts'

const objects = 13_000
const perFile = 500
const concurrency = 8

/** Runs the benchmark. */
export async function benchLarge(): Promise<Report> {
  await using bench = await startBench()
  const { cluster, kubelet } = bench.fleet.getCluster('bench')
  for (const name of ['raw', 'large']) {
    await cluster.admin.create({ apiVersion: 'v1', kind: 'Namespace', metadata: { name } })
  }
  const raw = new RawClient(cluster)
  const rawMs = await raw.applyAll(
    manifests('raw').map((object) => rawRequest(object, 'raw')),
    concurrency,
  )
  raw.close()
  const files: Record<string, string> = {}
  for (const [index, object] of manifests('large').entries()) {
    const file = `large/${Math.floor(index / perFile)}.yaml`
    files[file] = `${files[file] ?? ''}---\n${JSON.stringify(object)}\n`
  }
  const oid = bench.repository.commit(files)
  const since = Date.now()
  await bench.fleet.apply(applicationDefinition('large', { repository: 'bench' }))
  const endedAt = await waitUntilConverged(bench, 1, oid)
  const obeyed = readAgentLog(bench).find(({ msg, time }) => msg === 'obeying a new slice' && time >= since)
  if (!obeyed) throw new Error('the agent has logged no new slice')
  const ms = endedAt - obeyed.time
  const rssMiB = tenths(kubelet.process.usage().rssBytes / 2 ** 20)
  const peakMiB = tenths(kubelet.process.usage().peakRssBytes / 2 ** 20)
  const writes = cluster.auditLog({ user: agentUser, verbs: writeVerbs, namespace: 'large', since }).length
  return {
    rows: [
      ['the requests simply sent, 8 in flight', `${tenths(rawMs)} ms`, ''],
      ['from the slice to all Synced and Healthy', `${ms} ms`, `${tenths(ms / rawMs)} x raw, bound 3`],
      ['writes', `${writes}`, `${objects} objects`],
      ['resident memory, largest so far', `${rssMiB} MiB, ${peakMiB} MiB`, 'bound 384 MiB'],
    ],
    json: { bench: 'large', objects, ms, rawMs: Math.round(rawMs), ratio: tenths(ms / rawMs), rssMiB, peakMiB },
  }
}

/** Half ConfigMaps of 1.5 KB, half Services and ServiceAccounts. */
function manifests(namespace: string): KubeManifest[] {
  return Array.from({ length: objects }, (_, index) => {
    const metadata = { name: `l${index}`, namespace }
    if (index % 4 === 0) return { apiVersion: 'v1', kind: 'ServiceAccount', metadata }
    if (index % 4 === 2) return { apiVersion: 'v1', kind: 'ConfigMap', metadata, data: { a: String(index) } }
    return { apiVersion: 'v1', kind: 'ConfigMap', metadata, data: { a: '1', filler: 'x'.repeat(1500) } }
  })
}

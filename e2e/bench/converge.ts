// Many applications at once: 250 of four objects in one repository, from the slice that lists them to all Synced and
// Healthy in the fleet view; then one commit that changes all of them. Beside it the same requests simply sent.
import type { AuditEvent } from '../harness/audit.ts'
import { agentUser } from '../harness/fleet-cluster.ts'
import { applicationDefinition } from '../scenarios/manifests.ts'
import { readAgentLog } from './agent-log.ts'
import { RawClient, rawRequest } from './raw-client.ts'
import { type Report, tenths } from './report.ts'
import { waitUntilConverged } from './reports.ts'
import { type Bench, runningObjects, startBench } from './workload.ts'

const applications = 250
const concurrency = 8

/** Runs the benchmark. */
export async function benchConverge(): Promise<Report> {
  await using bench = await startBench()
  const { cluster } = bench.fleet.getCluster('bench')
  for (const name of ['raw-warm', 'raw', 'converge']) {
    await cluster.admin.create({ apiVersion: 'v1', kind: 'Namespace', metadata: { name } })
  }
  const raw = new RawClient(cluster)
  await applyRaw(raw, 'raw-warm')
  const rawMs = await applyRaw(raw, 'raw')
  raw.close()
  const since = Date.now()
  const names = Array.from({ length: applications }, (_, index) => `app-${index}`)
  const first = commit(bench, '1')
  await bench.fleet.apply(
    names.map((name) => applicationDefinition(name, { repository: 'bench', namespace: 'converge' })).join(''),
  )
  const ms = await measure(bench, first)
  const requests = cluster.auditLog({ user: agentUser, since })
  const changed = commit(bench, '2')
  const changeMs = await measure(bench, changed)
  return {
    rows: [
      ['the 1,000 requests simply sent, 8 in flight', `${tenths(rawMs)} ms`, ''],
      [
        'from the first slice to 250 Synced and Healthy',
        `${ms} ms`,
        `bound 6,000; ${tenths(ms / rawMs)} x raw, bound 3`,
      ],
      ['requests of the agent', `${requests.length}`, describe(requests)],
      ['a commit that changes all, the same way', `${changeMs} ms`, `bound 6,000; ${tenths(changeMs / rawMs)} x raw`],
    ],
    json: { bench: 'converge', applications, ms, changeMs, rawMs: Math.round(rawMs) },
  }
}

/** How many requests of each kind. */
function describe(requests: readonly AuditEvent[]): string {
  const groups = Map.groupBy(
    requests,
    ({ verb, resource, namespace }) => `${verb} ${resource} in ${namespace || 'all'}`,
  )
  const counts = [...groups].map(([what, { length }]) => [what, length] as const).sort((a, b) => b[1] - a[1])
  return counts.map(([what, count]) => `${count} ${what}`).join(', ')
}

/** Commits all applications' folders, of a Deployment of one pod, a Service, a ConfigMap and a ServiceAccount each. */
function commit({ repository }: Bench, value: string): string {
  const files: Record<string, string> = {}
  for (let index = 0; index < applications; index++) {
    files[`app-${index}/all.yaml`] = runningObjects('converge', index, value)
      .map((object) => JSON.stringify(object))
      .join('\n---\n')
  }
  return repository.commit(files)
}

async function applyRaw(raw: RawClient, name: string): Promise<number> {
  const objects = Array.from({ length: applications }, (_, index) => runningObjects(name, index, '1')).flat()
  return await raw.applyAll(
    objects.map((object) => rawRequest(object, name)),
    concurrency,
  )
}

/** Milliseconds from the first slice after the commit to the report that makes all Synced and Healthy. */
async function measure(bench: Bench, oid: string): Promise<number> {
  const committedAt = Date.now()
  const endedAt = await waitUntilConverged(bench, applications, oid)
  const lines = readAgentLog(bench)
  const obeyed = lines.find(({ msg, time }) => msg === 'obeying a new slice' && time >= committedAt)
  if (!obeyed) throw new Error('the agent has logged no new slice')
  return endedAt - obeyed.time
}

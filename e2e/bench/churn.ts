// Churn: one commit a second for a minute, each changing every object of one application. Writes of each object, and how
// long after the last commit the cluster holds it.
import { setTimeout as delay } from 'node:timers/promises'
import { agentUser } from '../harness/fleet-cluster.ts'
import { waitFor } from '../harness/wait.ts'
import { applicationDefinition, configMap, namespace } from '../scenarios/manifests.ts'
import { percentile, type Report, tenths } from './report.ts'
import { type Bench, startBench, waitUntilSynced } from './workload.ts'

const objects = 50
const commits = 60
const name = 'churn'

/** Runs the benchmark. */
export async function benchChurn(): Promise<Report> {
  await using bench = await startBench()
  const { fleet } = bench
  const { cluster } = fleet.getCluster('bench')
  commit(bench, 'first')
  await fleet.apply(applicationDefinition(name, { repository: 'bench' }))
  await waitUntilSynced(fleet, [name])
  const since = Date.now()
  let committedAt = 0
  for (let number = 1; number <= commits; number++) {
    commit(bench, String(number))
    committedAt = performance.now()
    // The tracker polls once a second; a webhook would ask it at once, as this does.
    await fleet.cli('repository', 'refresh', 'bench')
    if (number < commits) await delay(Math.max(0, 1_000 - (performance.now() - committedAt)))
  }
  const lastAppliedMs = Math.round((await waitUntilApplied(bench, String(commits))) - committedAt)
  const writes = cluster.auditLog({ user: agentUser, verbs: ['patch'], resource: 'configmaps', namespace: name, since })
  const perObject = [...Map.groupBy(writes, ({ name: object }) => object).values()].map((group) => group.length)
  const revisions = countRevisions(bench, since)
  const writesPerObject = tenths(writes.length / objects)
  return {
    rows: [
      ['commits, one a second', `${commits}`, `${revisions} reached the agent`],
      ['writes of an object, mean', `${writesPerObject}`, `at most the revisions that reached the agent`],
      [
        'largest',
        `${Math.max(...perObject)}`,
        `smallest ${Math.min(...perObject)}, median ${percentile(perObject, 0.5)}`,
      ],
      ['the last commit to the last object', `${lastAppliedMs} ms`, 'bound 1,000 ms'],
    ],
    json: { bench: 'churn', commits, objects, revisions, writesPerObject, lastAppliedMs },
  }
}

function commit({ repository }: Bench, value: string): void {
  const documents = Array.from({ length: objects }, (_, index) => configMap(`c${index}`, { value }, name))
  repository.commit({ 'churn/all.yaml': [namespace(name), ...documents].join('---\n') })
}

/** Waits until every object has the value; when that was seen, by performance.now. */
async function waitUntilApplied({ fleet }: Bench, value: string): Promise<number> {
  const { cluster, kubelet } = fleet.getCluster('bench')
  const kind = { apiVersion: 'v1', kind: 'ConfigMap', metadata: { namespace: name } }
  const read = async (): Promise<number | undefined> => {
    const found = await cluster.harness.list(kind, { labels: 'fairlead.dev/application=churn' })
    const done = found.filter(({ data }) => (data as { readonly value?: string })?.value === value)
    return done.length === objects ? performance.now() : undefined
  }
  return await waitFor(`all objects to have the value ${value}`, read, { intervalMs: 20, logs: [kubelet] })
}

/** Slices that the agent has obeyed. */
function countRevisions({ fleet }: Bench, since: number): number {
  const { kubelet } = fleet.getCluster('bench')
  const lines = kubelet.process.readLog().split('\n')
  return lines.filter((line) => line.includes('"obeying a new slice"') && Date.parse(JSON.parse(line).time) >= since)
    .length
}

// Apply: 1,000 objects by the agent as shipped, against the same requests simply sent; same cluster, alternating.
import { applicationDefinition } from '../scenarios/manifests.ts'
import { waitForAgentLog } from './agent-log.ts'
import { RawClient, rawRequest } from './raw-client.ts'
import { percentile, type Report, tenths } from './report.ts'
import { type Bench, fourObjects, type KubeManifest, namespace, startBench, waitUntilSynced } from './workload.ts'

const objects = 1000
const rounds = 5
const concurrency = 8

/** Runs the benchmark. */
export async function benchApply(): Promise<Report> {
  await using bench = await startBench()
  const { cluster } = bench.fleet.getCluster('bench')
  const raw = new RawClient(cluster)
  // One round of each to warm both sides up; it is not counted.
  await applyRaw(bench, raw, 'raw-0')
  await applyByAgent(bench, 'agent-0')
  const [rawMs, agentMs]: [number[], number[]] = [[], []]
  for (let round = 1; round <= rounds; round++) {
    rawMs.push(await applyRaw(bench, raw, `raw-${round}`))
    agentMs.push(await applyByAgent(bench, `agent-${round}`))
  }
  raw.close()
  const [rawMedian, agentMedian] = [percentile(rawMs, 0.5), percentile(agentMs, 0.5)]
  const ratio = Math.round((agentMedian / rawMedian) * 100) / 100
  const list = (samples: readonly number[]) => samples.map((ms) => ms.toFixed(0)).join(', ')
  return {
    rows: [
      ['the requests simply sent, 8 in flight', `${tenths(rawMedian)} ms`, list(rawMs)],
      ['the agent, obeying a new slice to all applied', `${tenths(agentMedian)} ms`, list(agentMs)],
      ['ratio of the medians', `${ratio}`, 'bound 1.3'],
    ],
    json: { bench: 'apply', objects, rawMs: Math.round(rawMedian), fairleadMs: Math.round(agentMedian), ratio },
  }
}

function manifests(namespaceName: string): KubeManifest[] {
  return Array.from({ length: objects / 4 }, (_, index) => fourObjects(namespaceName, index)).flat()
}

async function applyRaw({ fleet }: Bench, raw: RawClient, name: string): Promise<number> {
  const { cluster } = fleet.getCluster('bench')
  await cluster.admin.create({ apiVersion: 'v1', kind: 'Namespace', metadata: { name } })
  const requests = manifests(name).map((object) => rawRequest(object, name))
  return await raw.applyAll(requests, concurrency)
}

/** Commits an application of the same objects; milliseconds between the agent's own log lines. */
async function applyByAgent(bench: Bench, name: string): Promise<number> {
  const { fleet, repository } = bench
  const files: Record<string, string> = { [`${name}/0.yaml`]: namespace(name) }
  for (const [index, object] of manifests(name).entries()) {
    const file = `${name}/${1 + Math.floor(index / 100)}.yaml`
    files[file] = `${files[file] ?? ''}---\n${JSON.stringify(object)}\n`
  }
  repository.commit(files)
  await fleet.apply(applicationDefinition(name, { repository: 'bench' }))
  const elapsedMs = await waitForAgentLog(bench, `the agent to log that ${name} is applied`, (lines) => {
    const applied = lines.findLast(({ msg, application }) => msg === 'application applied' && application === name)
    const obeyed = lines.findLast(({ msg, time }) => msg === 'obeying a new slice' && applied && time <= applied.time)
    return applied && obeyed && applied.time - obeyed.time
  })
  await waitUntilSynced(fleet, [name])
  return elapsedMs
}

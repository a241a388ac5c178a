// Apply: 1,000 objects by the agent as shipped, against the same requests simply sent; same cluster, alternating.
import { waitFor } from '../harness/wait.ts'
import { applicationDefinition } from '../scenarios/manifests.ts'
import { RawClient } from './raw-client.ts'
import { percentile, type Report, tenths } from './report.ts'
import { type Bench, fourObjects, type KubeManifest, namespace, startBench, waitUntilSynced } from './workload.ts'

const objects = 1000
const rounds = 5
const concurrency = 8
const plurals: Readonly<Record<string, string>> = {
  Deployment: 'deployments',
  Service: 'services',
  ConfigMap: 'configmaps',
  ServiceAccount: 'serviceaccounts',
}

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
  const labels = { 'app.kubernetes.io/managed-by': 'raw', 'fairlead.dev/application': name }
  const requests = manifests(name).map((object) => {
    const root = object.apiVersion.includes('/') ? `/apis/${object.apiVersion}` : `/api/${object.apiVersion}`
    const path = `${root}/namespaces/${name}/${plurals[object.kind]}/${object.metadata.name}`
    return [path, JSON.stringify({ ...object, metadata: { ...object.metadata, labels } })] as const
  })
  return await raw.applyAll(requests, concurrency)
}

/** Commits an application of the same objects; milliseconds between the agent's own log lines. */
async function applyByAgent({ fleet, repository }: Bench, name: string): Promise<number> {
  const { kubelet } = fleet.getCluster('bench')
  const files: Record<string, string> = { [`${name}/0.yaml`]: namespace(name) }
  for (const [index, object] of manifests(name).entries()) {
    const file = `${name}/${1 + Math.floor(index / 100)}.yaml`
    files[file] = `${files[file] ?? ''}---\n${JSON.stringify(object)}\n`
  }
  repository.commit(files)
  await fleet.apply(applicationDefinition(name, { repository: 'bench' }))
  // Only the log is looked at meanwhile: asking the hub would take the processor from what is measured.
  const read = (): number | false | undefined => {
    const lines = kubelet.process.readLog().split('\n').flatMap(parseLine)
    const applied = lines.findLast(({ msg, application }) => msg === 'application applied' && application === name)
    const obeyed = lines.findLast(({ msg, time }) => msg === 'obeying a new slice' && applied && time <= applied.time)
    return applied && obeyed && applied.time - obeyed.time
  }
  const elapsedMs = await waitFor(`the agent to log that ${name} is applied`, read, {
    timeoutMs: 120_000,
    intervalMs: 250,
    logs: [kubelet],
  })
  await waitUntilSynced(fleet, [name])
  return elapsedMs
}

function parseLine(line: string): { msg: string; time: number; application?: string }[] {
  if (!line.startsWith('{')) return []
  const { time, ...rest } = JSON.parse(line) as { msg: string; time: string; application?: string }
  return [{ ...rest, time: Date.parse(time) }]
}

// Commit: from the webhook that tells of a push to the report that makes the application of four objects, one of them a
// Deployment of one pod, Synced and Healthy at that commit. In turns with it the same rollout by four requests simply sent.
import { setTimeout as delay } from 'node:timers/promises'
import type { Cluster } from '../harness/cluster.ts'
import { applicationDefinition } from '../scenarios/manifests.ts'
import { RawClient, rawRequest } from './raw-client.ts'
import { percentile, type Report, tenths } from './report.ts'
import { waitUntilConverged } from './reports.ts'
import { createWebhooks } from './webhook.ts'
import { type Bench, runningObjects, startBench } from './workload.ts'

const samples = 100
const name = 'commit'

/** Runs the benchmark. */
export async function benchCommit(): Promise<Report> {
  const webhooks = await createWebhooks()
  await using bench = await startBench({ hubFlags: webhooks.hubFlags })
  const { fleet, repository } = bench
  const { cluster } = fleet.getCluster('bench')
  for (const each of ['raw', name]) {
    await cluster.admin.create({ apiVersion: 'v1', kind: 'Namespace', metadata: { name: each } })
  }
  await fleet.apply(webhooks.define(fleet, repository))
  const first = commit(bench, 'first')
  await fleet.apply(applicationDefinition(name, { repository: 'bench' }))
  await webhooks.push(repository, first)
  await waitUntilConverged(bench, 1, first)
  const raw = new RawClient(cluster)
  await rollOutRaw(raw, cluster, 'first')
  const [ours, bare]: [number[], number[]] = [[], []]
  for (let sample = 0; sample < samples; sample++) {
    const oid = commit(bench, String(sample))
    const startedAt = Date.now()
    await webhooks.push(repository, oid)
    ours.push((await waitUntilConverged(bench, 1, oid, 25)) - startedAt)
    bare.push(await rollOutRaw(raw, cluster, String(sample)))
    // What the two leave to be cleared away must not fall into the next.
    await delay(500)
  }
  raw.close()
  const [p50, p99] = [percentile(ours, 0.5), percentile(ours, 0.99)]
  const [rawP50, rawP99] = [tenths(percentile(bare, 0.5)), tenths(percentile(bare, 0.99))]
  const [p50Ms, p99Ms] = [tenths(p50 - rawP50), tenths(p99 - rawP99)]
  return {
    rows: [
      ['webhook to Synced and Healthy in the hub, p50', `${p50} ms`, `the same rollout simply sent: ${rawP50} ms`],
      ['beyond it', `${p50Ms} ms`, 'bound 300 ms'],
      ['p99', `${p99} ms`, `${rawP99} ms`],
      ['beyond it', `${p99Ms} ms`, 'bound 1,000 ms'],
    ],
    json: { bench: 'commit', samples, p50Ms, p99Ms, rawP50Ms: rawP50, rawP99Ms: rawP99 },
  }
}

function commit({ repository }: Bench, value: string): string {
  const documents = runningObjects(name, 0, value).map((object) => JSON.stringify(object))
  return repository.commit({ [`${name}/all.yaml`]: documents.join('\n---\n') })
}

/** Applies the four objects with a new value; milliseconds until a watcher sees the Deployment run it and nothing else. */
async function rollOutRaw(raw: RawClient, cluster: Cluster, value: string): Promise<number> {
  const [deployment, ...others] = runningObjects('raw', 0, value)
  if (!deployment) throw new Error('there is no Deployment')
  const controller = new AbortController()
  const { metadata, apiVersion, kind } = deployment
  const watch = cluster.harness.watch({ apiVersion, kind, metadata }, controller.signal)
  const rolledOut = waitForRollout(watch, value)
  const startedAt = performance.now()
  await raw.applyAll(
    [...others, deployment].map((object) => rawRequest(object, 'raw')),
    4,
  )
  await rolledOut
  controller.abort()
  return performance.now() - startedAt
}

async function waitForRollout(watch: AsyncIterable<{ readonly object: unknown }>, value: string): Promise<void> {
  for await (const { object } of watch) {
    const { metadata, status = {} } = object as Deployment
    const { observedGeneration, replicas, updatedReplicas, availableReplicas } = status
    const isCurrent = metadata.annotations?.value === value && observedGeneration === metadata.generation
    if (isCurrent && replicas === 1 && updatedReplicas === 1 && availableReplicas === 1) return
  }
  throw new Error('the watch has ended')
}

interface Deployment {
  readonly metadata: { readonly generation?: number; readonly annotations?: { readonly value?: string } }
  readonly status?: Readonly<
    Partial<Record<'observedGeneration' | 'replicas' | 'updatedReplicas' | 'availableReplicas', number>>
  >
}

// Variants: one application on 1,000 clusters, of which two groups have overrides. How often is it rendered?
import { create } from '@bufbuild/protobuf'
import { createHubClient } from '@fairlead/cli/client'
import { readContextFile, selectContext } from '@fairlead/cli/context-file'
import { RegisterClusterRequestSchema } from '@fairlead/proto/clusters'
import { startFleet } from '../harness/fleet.ts'
import { waitFor } from '../harness/wait.ts'
import { applicationDefinition, configMap, repositoryDefinition } from '../scenarios/manifests.ts'
import type { Report } from './report.ts'

const clusters = 1_000
const groups = ['a', 'b', 'c']

/** Runs the benchmark. */
export async function benchVariants(): Promise<Report> {
  await using fleet = await startFleet({ hubFlags: ['--log-level=debug'] })
  const shop = fleet.git.createRepository('shop')
  const folder = (group: string) => ({
    [`${group}/kustomization.yaml`]: 'resources: [a.yaml]\n',
    [`${group}/a.yaml`]: configMap('a', { group }),
  })
  shop.commit(Object.assign({}, ...groups.map(folder)) as Record<string, string>)
  const names = Array.from({ length: clusters }, (_, index) => `c${index}`)
  const file = fleet.configFile
  const context = selectContext(await readContextFile(file), { file })
  const client = createHubClient(context, { signal: AbortSignal.timeout(300_000) })
  for (const [index, name] of names.entries()) {
    await client.clusters.registerCluster(
      create(RegisterClusterRequestSchema, { name, labels: { group: groups[index % groups.length] ?? '' } }),
    )
  }
  client.close()
  const overrides = groups.slice(1).map((group) => ({ clusters: { matchLabels: { group } }, path: group }))
  const startedAt = performance.now()
  await fleet.apply(
    repositoryDefinition('shop', shop.url) + applicationDefinition('web', { repository: 'shop', path: 'a', overrides }),
  )
  await waitFor(
    'every cluster to have what is meant for it',
    () => {
      const [row] = fleet.query('SELECT count(*) AS count, count(DISTINCT artifact_digest) AS kinds FROM deployments')
      return row?.count === clusters && row.kinds === groups.length
    },
    { timeoutMs: 300_000, intervalMs: 20, alive: [fleet.hub] },
  )
  const ms = Math.round(performance.now() - startedAt)
  const renders = fleet.hub
    .readLog()
    .split('\n')
    .filter((line) => line.includes('"outcome":"rendered"')).length
  return {
    rows: [
      [
        `1 application, ${clusters} clusters, ${groups.length} variants: renders`,
        `${renders}`,
        `bound ${groups.length}`,
      ],
      ['from apply to all slices', `${ms} ms`, ''],
    ],
    json: { bench: 'variants', clusters, variants: groups.length, renders, ms },
  }
}

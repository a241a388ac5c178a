// The second half: what is changed by hand is put back, and what leaves Git leaves the clusters.
import type { Drift } from '@fairlead/proto/report'
import type { Cluster } from '../harness/cluster.ts'
import type { Fleet } from '../harness/fleet.ts'
import type { GitRepository } from '../harness/git-server.ts'
import { getField, type KubeObject } from '../harness/kube-client.ts'
import { waitFor } from '../harness/wait.ts'
import { formatMs, type Narrator } from './narrator.ts'
import { showStatus, waitUntilRunning } from './set-up.ts'
import { taxFiles, webFiles } from './shop.ts'

const deployment = { apiVersion: 'apps/v1', kind: 'Deployment', metadata: { name: 'web', namespace: 'shop' } }
const service = { apiVersion: 'v1', kind: 'Service', metadata: { name: 'web', namespace: 'shop' } }

/** Shows repair, removal of additions, and prune. */
export async function showHealing(fleet: Fleet, shop: GitRepository, narrator: Narrator): Promise<void> {
  const { cluster } = fleet.getCluster('prod-eu-1')
  await narrator.step('An image is changed by hand, and put back', async () => {
    narrator.command('kubectl -n shop set image deployment/web web=shop/web:hacked')
    const elapsedMs = await setImage(cluster, 'shop/web:hacked', 'kubectl-set')
    narrator.seen(`shop/web:1.1 again after ${formatMs(elapsedMs)}`)
    const drift = await findDrift(fleet, 'kubectl-set')
    narrator.seen(`the status says who did it: ${drift.manager} changed ${drift.fields.join(', ')}`)
  })
  await narrator.step('A container is added by hand, and taken away', async () => {
    narrator.command(
      `kubectl -n shop patch deployment web --type=json -p '[{"op":"add","path":"/spec/template/spec/containers/-",...}]'`,
    )
    const startedAt = performance.now()
    const sidecar = { name: 'miner', image: 'evil/miner:1' }
    await cluster.admin.patch(deployment, [{ op: 'add', path: '/spec/template/spec/containers/-', value: sidecar }], {
      type: 'json',
      fieldManager: 'kubectl-patch',
    })
    await waitForObject(cluster, 'the added container to go', (live) => containers(live).length === 1)
    narrator.seen(`one container again after ${formatMs(performance.now() - startedAt)}`)
    const drift = await findDrift(fleet, 'kubectl-patch')
    narrator.seen(`the status says who did it: ${drift.manager}`)
  })
  await narrator.step('A file is removed in Git, and its object pruned', async () => {
    narrator.command('git rm deploy/web/service.yaml && git commit -m "no service" && git push origin main')
    const clusters = [...fleet.clusters.values()].map((member) => member.cluster)
    const before = await Promise.all(clusters.map((each) => each.admin.get(deployment)))
    const commit = shop.remove('deploy/web/service.yaml')
    await waitUntilRunning(fleet, commit, 3)
    for (const [index, each] of clusters.entries()) {
      await waitFor(`the Service to go from ${each.name}`, async () => (await each.admin.find(service)) === undefined)
      const { generation } = (await each.admin.get(deployment)).metadata
      if (generation !== before[index]?.metadata.generation)
        throw new Error(`the Deployment of ${each.name} was changed`)
      narrator.seen(`Service shop/web is gone from ${each.name}; the Deployment was not touched`)
    }
  })
  await narrator.step('Going back is one command', async () => {
    narrator.command('git revert --no-edit HEAD && git push origin main')
    const commit = shop.commit({ ...webFiles('1.1'), ...taxFiles }, { message: 'Revert "no service"' })
    await waitUntilRunning(fleet, commit, 3)
    narrator.seen('Service shop/web is back on both clusters')
    await showStatus(fleet, narrator)
  })
}

/** Sets the web container's image as a person would and waits until another one is back; ms from the write's answer. */
export async function setImage(cluster: Cluster, image: string, fieldManager: string): Promise<number> {
  const change = [{ op: 'replace', path: '/spec/template/spec/containers/0/image', value: image }]
  const before = containers(await cluster.admin.get(deployment))[0]?.image
  await cluster.admin.patch(deployment, change, { type: 'json', fieldManager })
  const startedAt = performance.now()
  await waitForObject(cluster, `the image ${before} to be back`, (live) => containers(live)[0]?.image === before)
  return performance.now() - startedAt
}

async function waitForObject(cluster: Cluster, what: string, isWanted: (live: KubeObject) => boolean): Promise<void> {
  await waitFor(
    what,
    async (see) => {
      const live = await cluster.admin.get(deployment)
      see(containers(live))
      return isWanted(live)
    },
    { intervalMs: 2 },
  )
}

function containers(live: KubeObject): { name: string; image: string }[] {
  return (getField(live, 'spec.template.spec.containers') ?? []) as { name: string; image: string }[]
}

/** The newest drift by that manager in the status; waits until it is reported. */
async function findDrift(fleet: Fleet, manager: string): Promise<Drift> {
  let found: Drift | undefined
  await fleet.waitForStatus(`a drift by ${manager} in the status`, ({ deployments }) => {
    found = deployments.flatMap(({ report }) => report?.drifts ?? []).find((drift) => drift.manager === manager)
    return found?.remediatedAt !== undefined
  })
  if (!found) throw new Error(`no drift by ${manager}`)
  return found
}

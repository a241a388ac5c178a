// The first half: Git, hub, two clusters, two applications, and a commit that both clusters run.
import { HealthState, SyncState } from '@fairlead/proto/common'
import type { Deployment, FleetStatus } from '@fairlead/proto/fleet'
import type { Fleet } from '../harness/fleet.ts'
import type { GitRepository } from '../harness/git-server.ts'
import { formatMs, type Narrator } from './narrator.ts'
import { definitions, taxFiles, webFiles } from './shop.ts'

/** Sets everything up and shows one commit's way. Returns the shop's repository. */
export async function setUp(fleet: Fleet, narrator: Narrator): Promise<GitRepository> {
  const shop = await narrator.step('A Git server over smart HTTP with the shop’s repository', async () => {
    const repository = fleet.git.createRepository('shop')
    repository.commit({ ...webFiles('1.0'), ...taxFiles }, { message: 'the shop, version 1.0' })
    narrator.command('git push origin main')
    narrator.seen(`${repository.url} serves ${repository.head().slice(0, 10)}`)
    return repository
  })
  await narrator.step('The hub, with its embedded NATS', async () => {
    narrator.command(`fairlead hub --data-dir ${fleet.dataDir}`)
    narrator.output(await fleet.cli('version'))
  })
  await narrator.step('Two real clusters, registered and joined by Helm', async () => {
    await addCluster(fleet, narrator, 'prod-eu-1', { env: 'prod', region: 'eu' })
    await addCluster(fleet, narrator, 'prod-us-1', { env: 'prod', region: 'us' })
    narrator.command('fairlead cluster list')
    narrator.output(await fleet.cli('cluster', 'list'))
  })
  await narrator.step('Two applications: web for both clusters, tax for the one in the EU', async () => {
    narrator.command('fairlead apply -f shop.yaml')
    const startedAt = performance.now()
    narrator.output(await fleet.apply(definitions(shop.url)))
    await waitUntilRunning(fleet, shop.head(), 3)
    narrator.seen(`running on every selected cluster after ${formatMs(performance.now() - startedAt)}`)
    await showStatus(fleet, narrator)
  })
  await narrator.step('A commit is pushed, and both clusters run it', async () => {
    narrator.command('git commit -am "version 1.1" && git push origin main')
    const startedAt = performance.now()
    const commit = shop.commit(webFiles('1.1'), { message: 'version 1.1' })
    await waitUntilRunning(fleet, commit, 3)
    narrator.seen(
      `both clusters run ${commit.slice(0, 10)}, healthy, ${formatMs(performance.now() - startedAt)} after the push (Git is polled every second here; a refresh would not wait)`,
    )
    await showStatus(fleet, narrator)
  })
  return shop
}

/** Prints `fairlead status` as a user sees it. */
export async function showStatus(fleet: Fleet, narrator: Narrator, ...flags: readonly string[]): Promise<void> {
  narrator.command(['fairlead status', ...flags].join(' '))
  narrator.output(await fleet.cli('status', ...flags))
}

/** Waits until `count` deployments run a commit, Synced and Healthy. */
export async function waitUntilRunning(fleet: Fleet, commit: string, count: number): Promise<FleetStatus> {
  const runs = ({ live, sync, health }: Deployment): boolean =>
    live?.commit === commit && sync === SyncState.SYNCED && health === HealthState.HEALTHY
  return await fleet.waitForStatus(
    `${count} deployments to run ${commit.slice(0, 10)}`,
    ({ deployments }) => deployments.length === count && deployments.every(runs),
    { timeoutMs: 60_000 },
  )
}

async function addCluster(fleet: Fleet, narrator: Narrator, name: string, labels: Record<string, string>) {
  const flags = Object.entries(labels).map(([key, value]) => `--label ${key}=${value}`)
  narrator.command(`fairlead cluster register ${name} ${flags.join(' ')}`)
  const member = await fleet.addCluster(name, { labels, full: true })
  narrator.command(member.installCommand.replace(/join\.token=\S+/, 'join.token=flj_...'))
  narrator.seen(`the agent’s pod is ready in ${name} (it reaches the hub through a proxy, to be cut off later)`)
}

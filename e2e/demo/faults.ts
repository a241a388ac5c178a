// The last part: the hub goes away and comes back, and a cluster is cut off.
import { ConnectionState } from '@fairlead/proto/common'
import type { Fleet } from '../harness/fleet.ts'
import { setImage } from './healing.ts'
import { formatMs, type Narrator } from './narrator.ts'
import { showStatus } from './set-up.ts'

/** Shows that agents work without the hub, and that the status tells a cluster that is cut off. */
export async function showFaults(fleet: Fleet, narrator: Narrator): Promise<void> {
  const eu = fleet.getCluster('prod-eu-1')
  await narrator.step('The hub and its NATS are stopped; a change by hand is still put back', async () => {
    narrator.command('kill -TERM <hub>')
    await fleet.stopHub()
    narrator.command('kubectl -n shop set image deployment/web web=shop/web:while-the-hub-is-away')
    const elapsedMs = await setImage(eu.cluster, 'shop/web:while-the-hub-is-away', 'kubectl-set')
    narrator.seen(`put back after ${formatMs(elapsedMs)} with the hub away`)
  })
  await narrator.step('The hub comes back and knows everything', async () => {
    narrator.command(`fairlead hub --data-dir ${fleet.dataDir}`)
    await fleet.startHub()
    await waitForConnections(fleet, [ConnectionState.ONLINE, ConnectionState.ONLINE])
    await showStatus(fleet, narrator)
  })
  await narrator.step('A cluster is cut off, and the status says so', async () => {
    const us = fleet.getCluster('prod-us-1')
    narrator.say('  (the network between prod-us-1 and the hub is cut)')
    await us.cut()
    await waitForConnections(fleet, [ConnectionState.ONLINE, ConnectionState.STALE])
    await showStatus(fleet, narrator)
    await us.restore()
    await waitForConnections(fleet, [ConnectionState.ONLINE, ConnectionState.ONLINE])
    narrator.seen('the cut is mended: Online again')
  })
}

async function waitForConnections(fleet: Fleet, states: readonly ConnectionState[]): Promise<void> {
  const wanted = states.map((state) => ConnectionState[state]).join(', ')
  await fleet.waitForStatus(
    `the clusters to be ${wanted}`,
    ({ clusters }) => clusters.map(({ connection }) => ConnectionState[connection]).join(', ') === wanted,
    { timeoutMs: 60_000 },
  )
}

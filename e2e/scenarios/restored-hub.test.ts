// A hub that is restored from an old backup is obeyed at once, and what it has forgotten is left alone, never deleted.
import { cp, rm } from 'node:fs/promises'
import path from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Fleet, startFleet } from '../harness/fleet.ts'
import type { FleetCluster } from '../harness/fleet-cluster.ts'
import type { GitRepository } from '../harness/git-server.ts'
import { getField } from '../harness/kube-client.ts'
import { connectionOf, runs } from './fleet-status.ts'
import { applicationDefinition, configMap, configMapReference, repositoryDefinition } from './manifests.ts'

let fleet: Fleet
let eu: FleetCluster
let shop: GitRepository
let backup: string

beforeAll(async () => {
  fleet = await startFleet()
  backup = path.join(fleet.folder, 'backup')
  shop = fleet.git.createRepository('shop')
  shop.commit({
    'early/config.yaml': configMap('early', { version: '1' }),
    'late/config.yaml': configMap('late', { version: '1' }),
  })
  eu = await fleet.addCluster('eu')
  await fleet.apply(repositoryDefinition('shop', shop.url) + define('early'))
  await waitUntilRunning('early')
  await fleet.stopHub()
  await cp(fleet.dataDir, backup, { recursive: true, filter: (file) => !file.endsWith('.sock') })
  await fleet.startHub()
  // All of this the backup knows nothing of.
  shop.commit({ 'early/config.yaml': configMap('early', { version: '2' }) })
  await fleet.apply(define('late'))
  await waitUntilRunning('early')
  await waitUntilRunning('late')
})

afterAll(async () => {
  await fleet?.[Symbol.asyncDispose]()
})

function define(name: string): string {
  return applicationDefinition(name, { repository: 'shop', namespace: 'default' })
}

async function waitUntilRunning(application: string): Promise<void> {
  const commit = shop.head()
  await fleet.waitForStatus(`${application} to run`, (status) => runs(status, application, 'eu', commit), {
    timeoutMs: 60_000,
  })
}

const get = (name: string) => eu.cluster.admin.get(configMapReference(name))

/** Names of the ConfigMaps that the agent has deleted since then. */
function deletedSince(since: number): string[] {
  const verbs = ['delete', 'deletecollection']
  return eu.agentRequests({ verbs, resource: 'configmaps', namespace: 'default', since }).map(({ name }) => name)
}

/** Puts back what the backup holds of these files of the data directory. */
async function restore(...names: readonly string[]): Promise<void> {
  for (const name of names) {
    await rm(path.join(fleet.dataDir, name), { recursive: true, force: true })
    await cp(path.join(backup, name), path.join(fleet.dataDir, name), { recursive: true, force: true }).catch(
      (error) => {
        if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
      },
    )
  }
}

describe.each([
  { what: 'a whole data directory', names: ['.'], version: '3' },
  {
    what: 'a database beside newer NATS data',
    names: ['fairlead.db', 'fairlead.db-wal', 'fairlead.db-shm'],
    version: '4',
  },
])('a hub restored from an old backup of $what', ({ names, version }) => {
  test('is obeyed, and deletes nothing of what it has forgotten', async () => {
    const [late, since] = [await get('late'), Date.now()]
    await fleet.stopHub()
    await restore(...names)
    shop.commit({ 'early/config.yaml': configMap('early', { version }) })
    await fleet.startHub()
    await waitUntilRunning('early')
    const status = await fleet.status()
    expect(connectionOf(status, 'eu')).toBe('ONLINE')
    expect(status.applications.map(({ metadata }) => metadata?.name)).toEqual(['early'])
    expect(getField(await get('early'), 'data.version')).toBe(version)
    expect((await get('late')).metadata.resourceVersion).toBe(late.metadata.resourceVersion)
    expect(deletedSince(since)).toEqual([])
  })

  test('takes over what it had forgotten as it is, once it is told of it again', async () => {
    const late = await get('late')
    await fleet.apply(define('late'))
    await waitUntilRunning('late')
    expect((await get('late')).metadata.resourceVersion).toBe(late.metadata.resourceVersion)
  })
})

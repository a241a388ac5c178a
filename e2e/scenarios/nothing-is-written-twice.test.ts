// What is as declared is left alone: by the API server's audit log, nothing is written again, whatever is restarted.
import { rm } from 'node:fs/promises'
import path from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { timestampMs } from '@bufbuild/protobuf/wkt'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { writeVerbs } from '../harness/audit.ts'
import { type Fleet, startFleet } from '../harness/fleet.ts'
import { agentNamespace, type FleetCluster } from '../harness/fleet-cluster.ts'
import type { GitRepository } from '../harness/git-server.ts'
import { waitFor } from '../harness/wait.ts'
import { connectionOf, runs } from './fleet-status.ts'
import { applicationDefinition, configMap, deployment, namespace, repositoryDefinition } from './manifests.ts'

let fleet: Fleet
let eu: FleetCluster
let shop: GitRepository
let definitions: string

beforeAll(async () => {
  fleet = await startFleet()
  shop = fleet.git.createRepository('shop')
  const commit = shop.commit({
    'web/all.yaml': `${namespace('web')}---\n${deployment('web', 'web:1.0', { replicas: 2 })}---\n${configMap('web', { a: '1' })}`,
    'readme.txt': 'the shop',
  })
  eu = await fleet.addCluster('eu', { full: true, agentValues: ['heartbeatSeconds=1'] })
  definitions = repositoryDefinition('shop', shop.url) + applicationDefinition('web', { repository: 'shop' })
  await fleet.apply(definitions)
  await fleet.waitForStatus('web to run', (status) => runs(status, 'web', 'eu', commit))
  checkedUntil = Date.now()
})

afterAll(async () => {
  await fleet?.[Symbol.asyncDispose]()
})

const webDeployment = { apiVersion: 'apps/v1', kind: 'Deployment', metadata: { name: 'web', namespace: 'web' } }

/** Until when the audit log was looked at. */
let checkedUntil = 0

/** What the agent wrote since the last look, for people: no write between two tests is missed. */
function takeWrites(): string[] {
  const since = checkedUntil
  checkedUntil = Date.now()
  return eu.agentRequests({ since, verbs: writeVerbs }).map(({ verb, requestURI }) => `${verb} ${requestURI}`)
}

/** Waits until the agent has spoken to the hub after that time, and everything is as before. */
async function waitUntilHeard(since: number): Promise<void> {
  const commit = shop.head()
  await fleet.waitForStatus('the agent to be heard of again', (status) => {
    const lastSeenAt = status.clusters[0]?.lastSeenAt
    const isHeard = lastSeenAt !== undefined && timestampMs(lastSeenAt) > since
    return isHeard && connectionOf(status, 'eu') === 'ONLINE' && runs(status, 'web', 'eu', commit)
  })
}

describe('the agent writes nothing at all', () => {
  test('when the same definitions are applied again', async () => {
    const since = Date.now()
    expect(await fleet.apply(definitions)).not.toMatch(/created|configured/)
    await waitUntilHeard(since)
    expect(takeWrites()).toEqual([])
  })

  test('when it is killed and started again', async () => {
    const since = Date.now()
    await eu.kubelet.kill()
    await eu.kubelet.waitUntilReady()
    await waitUntilHeard(Date.now())
    expect(eu.agentRequests({ since, verbs: ['watch'] })).not.toEqual([])
    expect(takeWrites()).toEqual([])
  })

  test('when the hub is stopped and started again', async () => {
    await fleet.stopHub()
    await fleet.startHub()
    await waitUntilHeard(Date.now())
    expect(takeWrites()).toEqual([])
  })

  test('when the API server is killed and started again', async () => {
    // The watches may be open again before the API server says that it is ready.
    const since = Date.now()
    await eu.cluster.restartApiServer()
    await waitFor('the watches to be open again', () => eu.agentRequests({ since, verbs: ['watch'] }).length > 0, {
      timeoutMs: 30_000,
      logs: [eu.kubelet],
    })
    await waitUntilHeard(Date.now())
    expect(takeWrites()).toEqual([])
  })

  test('when NATS is killed and started again', async () => {
    await fleet.killNats()
    await waitUntilHeard(Date.now())
    expect(takeWrites()).toEqual([])
  })

  test('when NATS has lost everything and the same slice is published again', async () => {
    await fleet.stopHub()
    await rm(path.join(fleet.dataDir, 'nats/js'), { recursive: true })
    await fleet.startHub()
    await waitUntilHeard(Date.now())
    expect(takeWrites()).toEqual([])
  })

  test('when hub and agent are killed together', async () => {
    await fleet.hub.kill()
    await eu.kubelet.kill()
    await fleet.startHub()
    await eu.kubelet.waitUntilReady()
    await waitUntilHeard(Date.now())
    expect(takeWrites()).toEqual([])
  })
})

describe('a commit that changes nothing of an application', () => {
  test('writes none of its objects', async () => {
    const before = await eu.cluster.admin.get(webDeployment)
    const commit = shop.commit({ 'readme.txt': 'the shop, described better' })
    await fleet.waitForStatus('web to be at the new commit', (status) => runs(status, 'web', 'eu', commit))
    // The agent keeps the new slice, which names the new revision, in its own namespace.
    expect(takeWrites().filter((write) => !write.includes(`/namespaces/${agentNamespace}/`))).toEqual([])
    const after = await eu.cluster.admin.get(webDeployment)
    expect(after.metadata.resourceVersion).toBe(before.metadata.resourceVersion)
  })
})

describe('in steady state', () => {
  test('the agent sends no request to its API server: its watches are open, and that is all', async () => {
    await waitUntilHeard(Date.now())
    expect(takeWrites()).toEqual([])
    const since = Date.now()
    // That something does not happen takes time to see.
    await delay(20_000)
    expect(eu.agentRequests({ since }).map(({ verb, requestURI }) => `${verb} ${requestURI}`)).toEqual([])
  })
})

// The whole way of a commit, with every part real: Git, hub, NATS, two clusters with controllers, agents installed by Helm.
import { HealthState, SyncState } from '@fairlead/proto/common'
import type { FleetStatus } from '@fairlead/proto/fleet'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Fleet, startFleet } from '../harness/fleet.ts'
import type { GitRepository } from '../harness/git-server.ts'
import { getField } from '../harness/kube-client.ts'
import { waitFor } from '../harness/wait.ts'
import { applicationDefinition, configMap, deployment, namespace, repositoryDefinition } from './manifests.ts'

let fleet: Fleet
let shop: GitRepository

beforeAll(async () => {
  fleet = await startFleet()
  shop = fleet.git.createRepository('shop')
  shop.commit({
    'web/all.yaml': `${namespace('web')}---\n${deployment('web', 'web:1.0', { replicas: 2 })}---\n${configMap('web', { a: '1' })}`,
    'tax/all.yaml': `${namespace('tax')}---\n${configMap('tax', { a: '1' })}`,
  })
  await fleet.addCluster('eu', { full: true, labels: { region: 'eu' } })
  await fleet.addCluster('us', { full: true, labels: { region: 'us' } })
})

afterAll(async () => {
  await fleet?.[Symbol.asyncDispose]()
})

const webOn = (name: string) => fleet.getCluster(name).cluster.admin
const webDeployment = { apiVersion: 'apps/v1', kind: 'Deployment', metadata: { name: 'web', namespace: 'web' } }
const taxConfig = { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'tax', namespace: 'tax' } }

function allRun(status: FleetStatus, commit: string, count: number): boolean {
  return (
    status.deployments.length === count &&
    status.deployments.every(
      ({ live, sync, health }) =>
        live?.commit === commit && sync === SyncState.SYNCED && health === HealthState.HEALTHY,
    )
  )
}

describe('one commit', () => {
  test('reaches every cluster that the application selects, and no other', async () => {
    await fleet.apply(
      repositoryDefinition('shop', shop.url) +
        applicationDefinition('web', { repository: 'shop' }) +
        applicationDefinition('tax', { repository: 'shop', matchLabels: { region: 'eu' } }),
    )
    const commit = shop.head()
    const status = await fleet.waitForStatus('three healthy deployments', (s) => allRun(s, commit, 3))
    expect(status.deployments.map(({ application, cluster }) => `${application} on ${cluster}`)).toEqual([
      'tax on eu',
      'web on eu',
      'web on us',
    ])
    for (const name of ['eu', 'us']) {
      const live = await webOn(name).get(webDeployment)
      expect(getField(live, 'status.readyReplicas')).toBe(2)
    }
    expect(await webOn('us').find(taxConfig)).toBeUndefined()
  })

  test('that is newer replaces it on every cluster', async () => {
    const commit = shop.commit({
      'web/all.yaml': `${namespace('web')}---\n${deployment('web', 'web:1.1', { replicas: 2 })}---\n${configMap('web', { a: '2' })}`,
    })
    await fleet.waitForStatus('the new commit everywhere', (s) => allRun(s, commit, 3))
    for (const name of ['eu', 'us']) {
      expect(getField(await webOn(name).get(webDeployment), 'spec.template.spec.containers.0.image')).toBe('web:1.1')
    }
  })

  test('that removes a file takes its objects away everywhere and touches nothing else', async () => {
    const before = await webOn('eu').get(webDeployment)
    shop.commit({
      'web/all.yaml': `${namespace('web')}---\n${deployment('web', 'web:1.1', { replicas: 2 })}`,
    })
    const config = { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'web', namespace: 'web' } }
    for (const name of ['eu', 'us']) {
      await waitFor(`ConfigMap web to go from ${name}`, async () => (await webOn(name).find(config)) === undefined, {
        logs: [fleet.hub, fleet.getCluster(name).kubelet],
      })
    }
    const after = await webOn('eu').get(webDeployment)
    expect(after.metadata.resourceVersion).toBe(before.metadata.resourceVersion)
  })

  test('reverted brings back what was', async () => {
    shop.git('revert', '--no-edit', 'HEAD')
    shop.git('push', '-q', 'origin', 'main')
    const commit = shop.head()
    await fleet.waitForStatus('the revert everywhere', (s) => allRun(s, commit, 3))
    const config = { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'web', namespace: 'web' } }
    for (const name of ['eu', 'us']) expect(getField(await webOn(name).get(config), 'data.a')).toBe('2')
  })
})

describe('a label', () => {
  test('given to a cluster brings the application there, and taken away removes it', async () => {
    await fleet.cli('cluster', 'label', 'us', 'region=eu')
    await waitFor('tax on us', async () => (await webOn('us').find(taxConfig)) !== undefined, { logs: [fleet.hub] })
    await fleet.cli('cluster', 'label', 'us', 'region=us')
    await waitFor('tax to leave us', async () => (await webOn('us').find(taxConfig)) === undefined, {
      logs: [fleet.hub],
    })
    await fleet.waitForStatus('the hub to forget it', ({ deployments }) => deployments.length === 3)
    expect(await webOn('eu').find(taxConfig)).toBeDefined()
  })
})

describe('an application that is deleted', () => {
  test('leaves every cluster, and the hub forgets it when all have confirmed', async () => {
    await fleet.cli('application', 'delete', 'web')
    await fleet.waitForStatus('only tax to be left', ({ applications }) => applications.length === 1)
    for (const name of ['eu', 'us']) expect(await webOn(name).find(webDeployment)).toBeUndefined()
    expect(await webOn('eu').find(taxConfig)).toBeDefined()
  })
})

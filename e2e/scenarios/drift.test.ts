// What is changed by hand is put right, whoever did it, and the status says who: also without the hub, and after a restart.
import { SyncState } from '@fairlead/proto/common'
import { DriftKind } from '@fairlead/proto/report'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Fleet, startFleet } from '../harness/fleet.ts'
import type { FleetCluster } from '../harness/fleet-cluster.ts'
import type { GitRepository } from '../harness/git-server.ts'
import { getField, type KubeObject, type KubeReference } from '../harness/kube-client.ts'
import { waitFor } from '../harness/wait.ts'
import { driftsOf, findDeployment, runs } from './fleet-status.ts'
import {
  applicationDefinition,
  configMap,
  configMapReference,
  deployment,
  repositoryDefinition,
  service,
} from './manifests.ts'

let fleet: Fleet
let eu: FleetCluster
let shop: GitRepository

const metadata = { name: 'web', namespace: 'default' }
const webDeployment: KubeReference = { apiVersion: 'apps/v1', kind: 'Deployment', metadata }
const webService: KubeReference = { apiVersion: 'v1', kind: 'Service', metadata }
const webConfig = configMapReference('web')

beforeAll(async () => {
  fleet = await startFleet()
  shop = fleet.git.createRepository('shop')
  shop.commit({
    'web/all.yaml': `${deployment('web', 'web:1.0')}---\n${service('web', 80)}---\n${configMap('web', { a: '1' })}`,
  })
  eu = await fleet.addCluster('eu')
  await fleet.apply(
    repositoryDefinition('shop', shop.url) + applicationDefinition('web', { repository: 'shop', namespace: 'default' }),
  )
  await waitUntilLive(shop.head())
})

afterAll(async () => {
  await fleet?.[Symbol.asyncDispose]()
})

/** Waits until the agent says it has brought the cluster to the commit; no controller makes its Deployment healthy. */
async function waitUntilLive(commit: string): Promise<void> {
  await fleet.waitForStatus(
    `web at ${commit.slice(0, 8)}`,
    (status) => findDeployment(status, 'web', 'eu')?.live?.commit === commit,
  )
}

async function waitForObject(what: string, reference: KubeReference, isWanted: (live: KubeObject) => boolean) {
  return await waitFor(
    what,
    async (see) => {
      const live = await eu.cluster.admin.find(reference)
      see(live)
      return live && isWanted(live) && live
    },
    { logs: [eu.kubelet] },
  )
}

const containers = (live: KubeObject) =>
  (getField(live, 'spec.template.spec.containers') ?? []) as { name: string; image: string }[]

/** Sets the image as `kubectl set image` does and waits until the other one is back. */
async function setImage(image: string): Promise<void> {
  const before = containers(await eu.cluster.admin.get(webDeployment))[0]?.image
  const path = '/spec/template/spec/containers/0/image'
  await eu.cluster.admin.patch(webDeployment, [{ op: 'replace', path, value: image }], {
    type: 'json',
    fieldManager: 'kubectl-set',
  })
  await waitForObject(`the image ${before} to be back`, webDeployment, (live) => containers(live)[0]?.image === before)
}

/** Waits until the status tells a drift of that object that was put back, and returns it. */
async function waitForDrift(kind: DriftKind, objectKind: string, manager?: string) {
  const find = (status: Parameters<typeof driftsOf>[0]) =>
    driftsOf(status, 'web', 'eu').find(
      (drift) =>
        drift.kind === kind &&
        drift.object?.kind === objectKind &&
        drift.remediatedAt !== undefined &&
        (manager === undefined || drift.manager === manager),
    )
  const what = `a drift ${DriftKind[kind]} of ${objectKind} by ${manager ?? 'anybody'} in the status`
  const found = find(await fleet.waitForStatus(what, (status) => find(status) !== undefined))
  if (!found) throw new Error(`no ${what}`)
  return found
}

describe('a field that Git declares', () => {
  test('is put back when it is changed by hand, and the status names the manager and the field', async () => {
    await setImage('web:hacked')
    const drift = await waitForDrift(DriftKind.CHANGED, 'Deployment', 'kubectl-set')
    expect(drift.fields.join()).toMatch(/containers.*image/)
    expect(await fleet.cli('status', '-o', 'wide')).toMatch(
      /web on eu: Deployment\.apps default\/web: changed by kubectl-set .*image.*put back after \d+ ms/,
    )
  })

  test('is put back again and again, as often as a person tries', async () => {
    for (let round = 0; round < 5; round++) await setImage(`web:hacked-${round}`)
  })

  test('is put back when the key of a list item is edited, which no plain apply can repair', async () => {
    const change = [{ op: 'replace', path: '/spec/ports/0/port', value: 81 }]
    await eu.cluster.admin.patch(webService, change, { type: 'json', fieldManager: 'kubectl-edit' })
    await waitForObject('port 80 alone', webService, (live) => {
      const ports = getField(live, 'spec.ports') as { port: number }[]
      return ports.length === 1 && ports[0]?.port === 80
    })
  })
})

describe('what Git does not declare', () => {
  test('is taken away when a person added it: a container', async () => {
    const value = { name: 'miner', image: 'evil/miner:1' }
    await eu.cluster.admin.patch(webDeployment, [{ op: 'add', path: '/spec/template/spec/containers/-', value }], {
      type: 'json',
      fieldManager: 'kubectl-patch',
    })
    await waitForObject('the added container to go', webDeployment, (live) => containers(live).length === 1)
    const drift = await waitForDrift(DriftKind.ADDED, 'Deployment', 'kubectl-patch')
    expect(drift.fields.join()).toContain('miner')
  })

  test('is taken away when a person added it: a key of a ConfigMap, an annotation', async () => {
    await eu.cluster.admin.patch(webConfig, { data: { b: '2' }, metadata: { annotations: { note: 'mine' } } })
    await waitForObject(
      'the added key and annotation to go',
      webConfig,
      (live) => getField(live, 'data.b') === undefined && live.metadata.annotations?.note === undefined,
    )
  })

  test('is left alone when a controller added it', async () => {
    const since = Date.now()
    await eu.cluster.admin.patch(
      webDeployment,
      { metadata: { annotations: { 'deployment.kubernetes.io/revision': '7' } } },
      { type: 'merge', fieldManager: 'kube-controller-manager' },
    )
    // An event later than that one has been answered: so this one has been seen, too.
    await eu.cluster.admin.patch(webDeployment, { metadata: { labels: { mine: 'x' } } })
    const live = await waitForObject(
      'the label of a person to go',
      webDeployment,
      ({ metadata: { labels } }) => labels?.mine === undefined,
    )
    expect(live.metadata.annotations?.['deployment.kubernetes.io/revision']).toBe('7')
    expect(eu.agentRequests({ since, resource: 'deployments', verbs: ['delete', 'create', 'update'] })).toEqual([])
  })
})

describe('an object', () => {
  test('that is deleted comes back', async () => {
    const before = await eu.cluster.admin.get(webConfig)
    await eu.cluster.admin.delete(webConfig)
    await waitForObject('the ConfigMap to be back', webConfig, (live) => live.metadata.uid !== before.metadata.uid)
    await waitForDrift(DriftKind.DELETED, 'ConfigMap')
  })

  test('whose labels are stripped gets them back', async () => {
    const before = await eu.cluster.admin.get(webConfig)
    const labels = Object.fromEntries(Object.keys(before.metadata.labels ?? {}).map((label) => [label, null]))
    expect(Object.keys(labels)).not.toEqual([])
    await eu.cluster.admin.patch(webConfig, { metadata: { labels } }, { type: 'merge', fieldManager: 'kubectl-label' })
    const after = await waitForObject(
      'the labels to be back',
      webConfig,
      (live) => JSON.stringify(live.metadata.labels) === JSON.stringify(before.metadata.labels),
    )
    expect(after.metadata.uid).toBe(before.metadata.uid)
  })
})

describe('an application that is only to be watched', () => {
  test('is left as a person changed it, and the status says so; told to repair, it is put back', async () => {
    const watched = configMapReference('watched')
    const commit = shop.commit({ 'watched/config.yaml': configMap('watched', { a: '1' }) })
    const sync = { remediate: false }
    await fleet.apply(applicationDefinition('watched', { repository: 'shop', namespace: 'default', sync }))
    await fleet.waitForStatus('watched to run', (status) => runs(status, 'watched', 'eu', commit))
    await eu.cluster.admin.patch(watched, { data: { a: 'hacked' } })
    await fleet.waitForStatus(
      'watched to be out of sync',
      (status) => findDeployment(status, 'watched', 'eu')?.sync === SyncState.OUT_OF_SYNC,
    )
    expect(await fleet.cli('status')).toMatch(
      /watched on eu: ConfigMap default\/watched: changed by kubectl-edit .*not put back/,
    )
    expect(getField(await eu.cluster.admin.get(watched), 'data.a')).toBe('hacked')
    await fleet.apply(applicationDefinition('watched', { repository: 'shop', namespace: 'default' }))
    await fleet.waitForStatus('watched to be in sync again', (status) => runs(status, 'watched', 'eu', commit))
    expect(getField(await eu.cluster.admin.get(watched), 'data.a')).toBe('1')
  })
})

describe('with the hub and NATS away', () => {
  test('drift is still put back', async () => {
    await fleet.stopHub()
    await setImage('web:hub-is-away')
    await eu.cluster.admin.delete(webConfig)
    await waitForObject('the ConfigMap to be back', webConfig, () => true)
  })

  test('an agent that is started again knows what must be, and what was changed meanwhile is put back', async () => {
    // Held: it must not be there while the change is made.
    eu.kubelet.pause()
    const path = '/spec/template/spec/containers/0/image'
    const change = [{ op: 'replace', path, value: 'web:nobody-looks' }]
    await eu.cluster.admin.patch(webDeployment, change, { type: 'json', fieldManager: 'kubectl-set' })
    await eu.cluster.admin.delete(webConfig)
    await eu.kubelet.kill()
    await waitForObject('the image to be back', webDeployment, (live) => containers(live)[0]?.image === 'web:1.0')
    await waitForObject('the ConfigMap to be back', webConfig, () => true)
    await setImage('web:once-more')
  })

  test('a commit that was made meanwhile is caught up with when they return', async () => {
    const commit = shop.commit({
      'web/all.yaml': `${deployment('web', 'web:1.1')}---\n${service('web', 80)}---\n${configMap('web', { a: '2' })}`,
    })
    await fleet.startHub()
    await waitUntilLive(commit)
    expect(containers(await eu.cluster.admin.get(webDeployment))[0]?.image).toBe('web:1.1')
    expect(getField(await eu.cluster.admin.get(webConfig), 'data.a')).toBe('2')
    await setImage('web:after-all')
    await waitForDrift(DriftKind.CHANGED, 'Deployment', 'kubectl-set')
  })
})

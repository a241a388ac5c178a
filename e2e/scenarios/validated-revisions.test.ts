// A revision that the API server refuses touches nothing where it is to be validated first; and what cannot be changed in
// place is made anew only where its manifest says so.
import { SyncState } from '@fairlead/proto/common'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type AuditEvent, writeVerbs } from '../harness/audit.ts'
import { type Fleet, startFleet } from '../harness/fleet.ts'
import type { FleetCluster } from '../harness/fleet-cluster.ts'
import type { GitRepository } from '../harness/git-server.ts'
import { getField, type KubeObject, type KubeReference } from '../harness/kube-client.ts'
import { waitFor } from '../harness/wait.ts'
import { describeProblem, findDeployment, problemsOf } from './fleet-status.ts'
import {
  applicationDefinition,
  configMap,
  configMapReference,
  deployment,
  job,
  repositoryDefinition,
} from './manifests.ts'

let fleet: Fleet
let eu: FleetCluster
let shop: GitRepository

const recreate = { 'fairlead.dev/recreate': 'true' }
const jobReference: KubeReference = {
  apiVersion: 'batch/v1',
  kind: 'Job',
  metadata: { name: 'once', namespace: 'default' },
}
const boxReference: KubeReference = {
  apiVersion: 'apps/v1',
  kind: 'Deployment',
  metadata: { name: 'box', namespace: 'default' },
}

beforeAll(async () => {
  fleet = await startFleet()
  shop = fleet.git.createRepository('shop')
  shop.commit({
    'web/a.yaml': configMap('a', { v: '1' }),
    'web/gone.yaml': configMap('gone', { v: '1' }),
    'web/job.yaml': job('once', { args: ['first'] }),
    'tax/tax.yaml': configMap('tax', { v: '1' }),
    'box/box.yaml': box('first'),
    'box/data.yaml': volumeClaim('fast'),
    'box/b.yaml': configMap('b', { v: '1' }),
  })
  eu = await fleet.addCluster('eu', { full: true })
  const target = { repository: 'shop', namespace: 'default' }
  await fleet.apply(
    repositoryDefinition('shop', shop.url) +
      applicationDefinition('web', { ...target, sync: { prune: true, remediate: true, validate: 'server' } }) +
      applicationDefinition('tax', target) +
      applicationDefinition('box', target),
  )
  await waitUntilSynced('web')
  await waitFor('what box declares', async () => await find(boxReference), { timeoutMs: 30_000 })
}, 300_000)
afterAll(async () => {
  await fleet?.[Symbol.asyncDispose]()
})

/** A Deployment whose selector, which cannot be changed, says which it is. */
function box(which: string, { annotations, replicas = 1 }: { annotations?: object; replicas?: number } = {}): string {
  const document = JSON.parse(deployment('box', 'nginx:1', { replicas }))
  const labels = { app: 'box', which }
  const { template } = document.spec
  return JSON.stringify({
    ...document,
    metadata: { name: 'box', ...(annotations && { annotations }) },
    spec: { ...document.spec, selector: { matchLabels: labels }, template: { ...template, metadata: { labels } } },
  })
}

function volumeClaim(storageClassName: string, annotations: object = {}): string {
  return JSON.stringify({
    apiVersion: 'v1',
    kind: 'PersistentVolumeClaim',
    metadata: { name: 'data', annotations },
    spec: { storageClassName, accessModes: ['ReadWriteOnce'], resources: { requests: { storage: '1Gi' } } },
  })
}

const find = (reference: KubeReference) => eu.cluster.admin.find(reference)
const get = (reference: KubeReference) => eu.cluster.admin.get(reference)
const readValue = async (name: string) => getField(await find(configMapReference(name)), 'data.v')
const uidOf = async (reference: KubeReference) => (await find(reference))?.metadata.uid

/** Waits until an application is as its newest commit declares, with no problem. Nobody here provides the volume that box claims: it is never Healthy. */
async function waitUntilSynced(application: string, commit = shop.head()): Promise<void> {
  await fleet.waitForStatus(`${application} to be Synced`, (status) => {
    const { live, sync } = findDeployment(status, application, 'eu') ?? {}
    return live?.commit === commit && sync === SyncState.SYNCED && problemsOf(status, application).length === 0
  })
}

/** Waits until an application has exactly these problems, and returns their messages by their descriptions. */
async function waitForProblems(application: string, ...wanted: readonly string[]): Promise<Map<string, string>> {
  const status = await fleet.waitForStatus(`${application} to have the problems ${wanted.join(', ')}`, (one) => {
    return problemsOf(one, application).map(describeProblem).sort().join() === wanted.toSorted().join()
  })
  return new Map(problemsOf(status, application).map((problem) => [describeProblem(problem), problem.message]))
}

/** What the agent has written since then of everything but the application `tax`, its own state and Events; dry-runs write nothing. */
function writesSince(since: number): AuditEvent[] {
  const writes = eu.agentRequests({ verbs: writeVerbs, namespace: 'default', since })
  return writes.filter(
    ({ requestURI, resource, name }) =>
      !requestURI.includes('dryRun=All') && resource !== 'events' && !name.startsWith('tax'),
  )
}

describe('a revision that is validated first', () => {
  let good = ''

  test('and refused touches nothing: each refusal is told with its object, reason and file, other applications go on', async () => {
    good = shop.head()
    const since = Date.now()
    shop.commit({
      'web/a.yaml': configMap('a', { v: '2' }),
      'web/gone.yaml': undefined,
      'web/new.yaml': configMap('new', { v: '2' }),
      'web/job.yaml': job('once', { args: ['second'] }),
      'web/typo.yaml': deployment('typo', 'nginx:1').replace('"replicas"', '"replicsa"'),
      'tax/tax.yaml': configMap('tax', { v: '2' }),
    })
    const messages = await waitForProblems(
      'web',
      'ValidationFailed Job.batch default/once web/job.yaml',
      'ValidationFailed Deployment.apps default/typo web/typo.yaml',
    )
    expect([...messages.values()].join()).toMatch(/field is immutable/)
    expect([...messages.values()].join()).toMatch(/replicsa/)
    await waitUntilSynced('tax')
    expect(writesSince(since)).toEqual([])
    expect([await readValue('a'), await readValue('gone'), await readValue('new')]).toEqual(['1', '1', undefined])
    const status = await fleet.status()
    expect(findDeployment(status, 'web', 'eu')).toMatchObject({
      desired: { commit: shop.head() },
      live: { commit: good },
    })
    const text = await fleet.cli('status')
    expect(text).toMatch(/web on eu: Job\.batch default\/once \(web\/job\.yaml:1\): ValidationFailed: .*immutable/)
    expect(text).toMatch(
      /web on eu: Deployment\.apps default\/typo \(web\/typo\.yaml:1\): ValidationFailed: .*replicsa/,
    )
    expect(text).toMatch(
      new RegExp(`^web +eu +main@sha1:${good.slice(0, 8)} -> ${shop.head().slice(0, 8)} +OutOfSync`, 'm'),
    )
    expect(await fleet.cli('why', 'web')).toMatch(/\(web\/job\.yaml:1\): ValidationFailed: /)
  })

  test('leaves what ran before in force: it is healed, also by an agent that is started meanwhile', async () => {
    const edit = { type: 'merge' } as const
    await eu.cluster.admin.patch(configMapReference('a'), { data: { v: 'by hand' } }, edit)
    await waitFor('the edit to be put back', async () => (await readValue('a')) === '1')
    await eu.cluster.admin.delete(configMapReference('gone'))
    await waitFor('what was deleted to come back', async () => (await readValue('gone')) === '1')
    const since = Date.now()
    await eu.restartAgent()
    await waitForProblems(
      'web',
      'ValidationFailed Job.batch default/once web/job.yaml',
      'ValidationFailed Deployment.apps default/typo web/typo.yaml',
    )
    expect(writesSince(since)).toEqual([])
    expect([await readValue('a'), await readValue('gone'), await readValue('new')]).toEqual(['1', '1', undefined])
  })

  test('runs when the commit is mended, all of it', async () => {
    shop.commit({ 'web/job.yaml': job('once', { args: ['first'] }), 'web/typo.yaml': undefined })
    await waitUntilSynced('web')
    await waitFor('the prune', async () => (await readValue('gone')) === undefined)
    expect([await readValue('a'), await readValue('new')]).toEqual(['2', '2'])
  })

  test('and refused by a rule of the cluster runs by itself when that rule is gone', async () => {
    await forbidValue('3')
    const since = Date.now()
    shop.commit({ 'web/a.yaml': configMap('a', { v: '3' }), 'web/new.yaml': configMap('new', { v: '4' }) })
    const messages = await waitForProblems('web', 'ValidationFailed ConfigMap default/a web/a.yaml')
    expect([...messages.values()].join()).toContain('three is forbidden')
    expect(writesSince(since)).toEqual([])
    for (const object of rule('3')) await eu.cluster.admin.delete(object)
    await waitUntilSynced('web')
    expect([await readValue('a'), await readValue('new')]).toEqual(['3', '4'])
  })

  test('passes where what cannot be changed may be made anew, and that is done once', async () => {
    const before = await uidOf(jobReference)
    const since = Date.now()
    shop.commit({ 'web/job.yaml': job('once', { args: ['second'], annotations: recreate }) })
    await waitUntilSynced('web')
    expect(getField(await get(jobReference), 'spec.template.spec.containers.0.args')).toEqual(['second'])
    const after = await uidOf(jobReference)
    expect(after).not.toBe(before)
    await eu.restartAgent()
    await waitUntilSynced('web')
    expect(await uidOf(jobReference)).toBe(after)
    expect(eu.agentRequests({ since, verbs: ['delete'], resource: 'jobs' })).toHaveLength(1)
  })
})

describe('a field that cannot be changed', () => {
  /** Pods of the Deployment of this generation of its selector. */
  const podsOf = (which: string): Promise<KubeObject[]> =>
    eu.cluster.admin.list(
      { apiVersion: 'v1', kind: 'Pod', metadata: { namespace: 'default' } },
      { labels: `which=${which}` },
    )
  const claim: KubeReference = {
    apiVersion: 'v1',
    kind: 'PersistentVolumeClaim',
    metadata: { name: 'data', namespace: 'default' },
  }

  test('is told with the file, and the object stays as it is, pods and all; the rest is applied', async () => {
    const [before, [pod]] = [await get(boxReference), await podsOf('first')]
    shop.commit({ 'box/box.yaml': box('second'), 'box/b.yaml': configMap('b', { v: '2' }) })
    const messages = await waitForProblems('box', 'ImmutableField Deployment.apps default/box box/box.yaml')
    expect([...messages.values()].join()).toContain('spec.selector')
    await waitFor('the rest', async () => (await readValue('b')) === '2')
    expect((await get(boxReference)).metadata).toMatchObject({
      uid: before.metadata.uid,
      generation: before.metadata.generation,
    })
    expect((await podsOf('first')).map(({ metadata }) => metadata.uid)).toEqual([pod?.metadata.uid])
    expect(await fleet.cli('status')).toMatch(
      /box on eu: Deployment\.apps default\/box \(box\/box\.yaml:1\): ImmutableField: /,
    )
  })

  test('is not made anew, though it may be, when the API server would not accept the new object', async () => {
    const before = await uidOf(boxReference)
    shop.commit({ 'box/box.yaml': box('second', { annotations: recreate, replicas: -1 }) })
    const messages = await waitForProblems('box', 'ApplyInvalid Deployment.apps default/box box/box.yaml')
    expect([...messages.values()].join()).toContain('spec.replicas')
    expect(await uidOf(boxReference)).toBe(before)
    expect((await podsOf('first')).length).toBe(1)
  })

  test('is made anew with fairlead.dev/recreate: the old object and its pods go first, then the new one comes', async () => {
    const before = await uidOf(boxReference)
    const since = Date.now()
    shop.commit({ 'box/box.yaml': box('second', { annotations: recreate }) })
    await waitUntilSynced('box')
    expect(await uidOf(boxReference)).not.toBe(before)
    expect(await podsOf('first')).toEqual([])
    expect((await podsOf('second')).length).toBe(1)
    const deletes = eu.agentRequests({ since, verbs: ['delete'], namespace: 'default' })
    expect(deletes.map(({ resource, name }) => `${resource}/${name}`)).toEqual(['deployments/box'])
  })

  test('of what holds data is never changed by deleting it, whatever its annotations say', async () => {
    const before = await uidOf(claim)
    shop.commit({ 'box/data.yaml': volumeClaim('slow', recreate) })
    const messages = await waitForProblems('box', 'ImmutableField PersistentVolumeClaim default/data box/data.yaml')
    expect([...messages.values()].join()).toContain('never deleted')
    expect((await get(claim)).metadata).toMatchObject({ uid: before })
    expect((await get(claim)).metadata.deletionTimestamp).toBeUndefined()
    shop.commit({ 'box/data.yaml': volumeClaim('fast') })
    await fleet.waitForStatus('no problem to be left', (status) => problemsOf(status, 'box').length === 0)
  })
})

/** A policy of the cluster that forbids ConfigMaps with a value, and its binding. */
function rule(value: string): KubeObject[] {
  const apiVersion = 'admissionregistration.k8s.io/v1'
  const metadata = { name: 'forbidden-value' }
  return [
    {
      apiVersion,
      kind: 'ValidatingAdmissionPolicy',
      metadata,
      spec: {
        matchConstraints: {
          resourceRules: [
            { apiGroups: [''], apiVersions: ['v1'], operations: ['CREATE', 'UPDATE'], resources: ['configmaps'] },
          ],
        },
        validations: [
          {
            expression: `!has(object.data) || !('v' in object.data) || object.data.v != '${value}'`,
            message: 'three is forbidden',
          },
        ],
      },
    },
    {
      apiVersion,
      kind: 'ValidatingAdmissionPolicyBinding',
      metadata,
      spec: { policyName: metadata.name, validationActions: ['Deny'] },
    },
  ]
}

/** Makes the policy, and waits until the API server goes by it. */
async function forbidValue(value: string): Promise<void> {
  const { admin } = eu.cluster
  for (const object of rule(value)) await admin.create(object)
  const probe = JSON.parse(configMap('probe', { v: value }, 'default'))
  await waitFor('the policy to be in force', async () => {
    try {
      await admin.create(probe)
      await admin.delete(probe)
      return false
    } catch (error) {
      return String(error).includes('three is forbidden')
    }
  })
}

// Hooks from Git to the command line: Jobs that run once for each revision, before it, after it, or because it failed,
// with an agent that has rights in its namespace alone.
import type { ApplicationReport } from '@fairlead/proto/report'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type Fleet, startFleet } from '../harness/fleet.ts'
import type { FleetCluster } from '../harness/fleet-cluster.ts'
import type { GitRepository } from '../harness/git-server.ts'
import { getField, type KubeReference } from '../harness/kube-client.ts'
import { waitFor } from '../harness/wait.ts'
import { describeProblem, findDeployment, problemsOf, runs } from './fleet-status.ts'
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

/** Runs when a node has the label: until then its pod is Pending. */
const onTheNode = { nodeSelector: { 'example.com/open': 'true' } }
const hook = (phase: string) => ({ annotations: { 'fairlead.dev/hook': phase } })
const jobReference = (name: string): KubeReference => ({
  apiVersion: 'batch/v1',
  kind: 'Job',
  metadata: { name, namespace: 'shop' },
})
const unready = { 'harness.fairlead.dev/behaviour': 'unready' }

beforeAll(async () => {
  fleet = await startFleet()
  shop = fleet.git.createRepository('shop')
  shop.commit({
    'web/a.yaml': configMap('a', { v: '1' }),
    'web/web.yaml': deployment('web', 'nginx:1', { podAnnotations: unready }),
    'web/migrate.yaml': job('migrate', { ...hook('pre-sync'), pod: onTheNode }),
    'web/notify.yaml': job('notify', hook('post-sync')),
    'web/alarm.yaml': job('alarm', hook('sync-fail')),
  })
  eu = await fleet.addCluster('eu', { full: true, namespaces: ['shop'] })
  await fleet.apply(
    repositoryDefinition('shop', shop.url) + applicationDefinition('web', { repository: 'shop', namespace: 'shop' }),
  )
}, 300_000)
afterAll(async () => {
  await fleet?.[Symbol.asyncDispose]()
})

const { find, patch } = {
  find: (reference: KubeReference) => eu.cluster.admin.find(reference),
  patch: (reference: KubeReference, body: unknown) => eu.cluster.admin.patch(reference, body, { type: 'merge' }),
}
const valueOfA = async () => getField(await find(configMapReference('a', 'shop')), 'data.v')
const uidOf = async (name: string) => (await find(jobReference(name)))?.metadata.uid

/** `pre-sync migrate succeeded`. */
function statesOf(report: ApplicationReport | undefined): string[] {
  return (report?.hooks ?? []).map(({ phase, object, state }) => `${phase} ${object?.name} ${state}`)
}

async function waitForHooks(...wanted: readonly string[]): Promise<ApplicationReport> {
  const isThere = (report: ApplicationReport | undefined) => wanted.every((one) => statesOf(report).includes(one))
  const status = await fleet.waitForStatus(wanted.join(', '), (one) => {
    return isThere(findDeployment(one, 'web', 'eu')?.report)
  })
  return findDeployment(status, 'web', 'eu')?.report as ApplicationReport
}

/** How often the agent has created a Job since then. */
function creationsOf(name: string, since = 0): number {
  const made = eu.agentRequests({ verbs: ['create'], resource: 'jobs', namespace: 'shop', since })
  // The name of what is created is not in the path: the audit log has it from the answer.
  return made.filter((event) => event.name === name && event.code === 201).length
}

test('nothing of a revision is written before its pre-sync hook has ended, also when the agent ends meanwhile', async () => {
  await waitForHooks('pre-sync migrate running', 'post-sync notify pending')
  const uid = await uidOf('migrate')
  const line = 'pre-sync hook Job.batch shop/migrate: running'
  expect(await fleet.cli('status')).toContain(`Running hooks:\n  web on eu: ${line}`)
  expect(await fleet.cli('why', 'web')).toContain(line)
  expect((await fleet.run('status', '--exit-code')).code).not.toBe(0)
  await eu.restartAgent()
  // Somebody else's commit, in the same repository, is no reason to begin again.
  const commit = shop.commit({ 'readme.txt': 'the shop' })
  await fleet.waitForStatus('the next commit to be desired', (status) => {
    return findDeployment(status, 'web', 'eu')?.desired?.commit === commit
  })
  await waitForHooks('pre-sync migrate running')
  const written = eu.agentRequests({ verbs: ['create', 'patch'], namespace: 'shop' })
  expect(written.filter(({ resource }) => resource !== 'jobs' && resource !== 'events')).toEqual([])
  expect(await valueOfA()).toBeUndefined()

  await patch(node, { metadata: { labels: { 'example.com/open': 'true' } } })
  await waitFor('the first object', async () => (await valueOfA()) === '1', { timeoutMs: 30_000 })
  const migrated = Date.parse(String(getField(await find(jobReference('migrate')), 'status.completionTime')))
  const first = eu.agentRequests({ verbs: ['patch'], namespace: 'shop', resource: 'configmaps', name: 'a' })[0]
  // The Job's end is told in whole seconds.
  expect(first?.receivedAt).toBeGreaterThanOrEqual(migrated)
  expect([await uidOf('migrate'), creationsOf('migrate')]).toEqual([uid, 1])
})

test('a post-sync hook waits until the objects are healthy, also for an agent that was started meanwhile, and runs once', async () => {
  await fleet.waitForStatus('web to be applied and not healthy', (status) => {
    const report = findDeployment(status, 'web', 'eu')?.report
    return report?.appliedAt !== undefined && report.unhealthy.some(({ object }) => object?.name === 'web')
  })
  await eu.restartAgent()
  await waitForHooks('pre-sync migrate succeeded', 'post-sync notify pending', 'sync-fail alarm skipped')
  expect(await uidOf('notify')).toBeUndefined()
  const readyAt = Date.now()
  await makePodsReady()
  await waitForHooks('post-sync notify succeeded')
  const made = eu.agentRequests({ verbs: ['create'], resource: 'jobs', namespace: 'shop', name: 'notify' })
  expect(made.map(({ receivedAt }) => receivedAt >= readyAt)).toEqual([true])
  await fleet.waitForStatus('web to run', (status) => runs(status, 'web', 'eu', shop.head()))
  expect(problemsOf(await fleet.status(), 'web')).toEqual([])
})

test('they run again for the next commit of the application, once, and not for other commits, repairs and restarts', async () => {
  const before = await Promise.all([uidOf('migrate'), uidOf('notify')])
  await patch(configMapReference('a', 'shop'), { data: { v: 'by hand' } })
  await waitFor('the repair', async () => (await valueOfA()) === '1')
  await eu.restartAgent()
  await fleet.stopHub()
  await fleet.startHub()
  const other = shop.commit({ 'readme.txt': 'the shop, described better' })
  await fleet.waitForStatus('web to run', (status) => runs(status, 'web', 'eu', other))
  await waitForHooks('pre-sync migrate succeeded', 'post-sync notify succeeded')
  expect(await Promise.all([uidOf('migrate'), uidOf('notify')])).toEqual(before)
  const since = Date.now()
  const commit = shop.commit({ 'web/a.yaml': configMap('a', { v: '2' }) })
  await fleet.waitForStatus('web to run', (status) => {
    const isDone = statesOf(findDeployment(status, 'web', 'eu')?.report).includes('post-sync notify succeeded')
    return runs(status, 'web', 'eu', commit) && isDone
  })
  await eu.restartAgent()
  await waitForHooks('pre-sync migrate succeeded', 'post-sync notify succeeded')
  expect([creationsOf('migrate', since), creationsOf('notify', since)]).toEqual([1, 1])
  expect(await uidOf('migrate')).not.toBe(before[0])
  expect(await uidOf('alarm')).toBeUndefined()
})

test('a pre-sync hook that fails holds its revision, sync-fail runs once, what ran before is healed, and all of it is told', async () => {
  const good = shop.head()
  const since = Date.now()
  // No node has it, and it may take a second.
  const failing = { pod: { nodeSelector: { nowhere: 'true' } }, spec: { activeDeadlineSeconds: 1, backoffLimit: 0 } }
  shop.commit({
    'web/a.yaml': configMap('a', { v: '3' }),
    'web/b.yaml': configMap('b', { v: '3' }),
    'web/migrate.yaml': job('migrate', { ...hook('pre-sync'), ...failing }),
  })
  await waitForHooks('pre-sync migrate failed', 'sync-fail alarm succeeded', 'post-sync notify pending')
  const status = await fleet.status()
  expect(problemsOf(status, 'web').map(describeProblem)).toEqual(['HookFailed Job.batch shop/migrate web/migrate.yaml'])
  expect(findDeployment(status, 'web', 'eu')).toMatchObject({
    desired: { commit: shop.head() },
    live: { commit: good },
  })
  expect(await fleet.cli('status')).toMatch(
    /^ {2}web on eu: Job\.batch shop\/migrate \(web\/migrate\.yaml:1\): HookFailed: .*DeadlineExceeded/m,
  )
  const why = await fleet.cli('why', 'web')
  expect(why).toMatch(/^ {2}pre-sync hook Job\.batch shop\/migrate: failed: DeadlineExceeded/m)
  expect(why).toMatch(/^ {2}sync-fail hook Job\.batch shop\/alarm: succeeded/m)
  expect(why).toContain(`live    main@sha1:${good}`)
  expect((await fleet.run('status', '--exit-code')).code).not.toBe(0)

  await patch(configMapReference('a', 'shop'), { data: { v: 'by hand' } })
  await waitFor('what ran before to be put back', async () => (await valueOfA()) === '2')
  await eu.restartAgent()
  await waitForHooks('pre-sync migrate failed', 'sync-fail alarm succeeded')
  expect(await valueOfA()).toBe('2')
  expect(await find(configMapReference('b', 'shop'))).toBeUndefined()
  expect(['migrate', 'alarm', 'notify'].map((name) => creationsOf(name, since))).toEqual([1, 1, 0])
})

test('the commit that mends it runs them all again, and leaves nothing of the failure', async () => {
  const since = Date.now()
  const commit = shop.commit({ 'web/migrate.yaml': job('migrate', { ...hook('pre-sync'), pod: onTheNode }) })
  await fleet.waitForStatus('web to run', (status) => runs(status, 'web', 'eu', commit))
  await waitForHooks('pre-sync migrate succeeded', 'post-sync notify succeeded', 'sync-fail alarm skipped')
  expect(problemsOf(await fleet.status(), 'web')).toEqual([])
  expect(await valueOfA()).toBe('3')
  expect(await find(configMapReference('b', 'shop'))).toBeDefined()
  expect(['migrate', 'alarm', 'notify'].map((name) => creationsOf(name, since))).toEqual([1, 0, 1])
  expect(await fleet.cli('status')).not.toContain('hook')
  expect((await fleet.run('status', '--exit-code')).code).toBe(0)
})

const node = { apiVersion: 'v1', kind: 'Node', metadata: { name: 'node-1' } }

/** What their kubelet would say when the pods of `web` had become ready. */
async function makePodsReady(): Promise<void> {
  const pods = { apiVersion: 'v1', kind: 'Pod', metadata: { namespace: 'shop' } }
  const conditions = ['Ready', 'ContainersReady'].map((type) => ({ type, status: 'True' }))
  for (const pod of await eu.cluster.admin.list(pods, { labels: 'app=web' })) {
    await eu.cluster.admin.patch(pod, { status: { conditions } }, { subresource: 'status', type: 'strategic' })
  }
}

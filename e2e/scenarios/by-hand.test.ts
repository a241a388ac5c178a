// What an administrator does by command while Git goes on: suspend, look what would be taken over, approve a prune, resume.
import { HealthState, SyncState } from '@fairlead/proto/common'
import type { ApplicationReport, HeldPrune } from '@fairlead/proto/report'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type AuditEvent, writeVerbs } from '../harness/audit.ts'
import { type Fleet, startFleet } from '../harness/fleet.ts'
import type { FleetCluster } from '../harness/fleet-cluster.ts'
import type { GitRepository } from '../harness/git-server.ts'
import { getField } from '../harness/kube-client.ts'
import { waitFor } from '../harness/wait.ts'
import { driftsOf, findDeployment, problemsOf, runs } from './fleet-status.ts'
import { applicationDefinition, configMap, configMapReference, repositoryDefinition } from './manifests.ts'

let fleet: Fleet
let eu: FleetCluster
let shop: GitRepository
/** The commit that the cluster is at while the application is suspended. */
let applied = ''
let suspendedAt = 0
let definition = ''

const numbers = Array.from({ length: 14 }, (_, index) => index)
const fileOf = (index: number) => `web/${index}.yaml`

beforeAll(async () => {
  fleet = await startFleet()
  shop = fleet.git.createRepository('shop')
  const files = numbers.map((index) => [fileOf(index), configMap(`web-${index}`, { v: '1' })])
  shop.commit({ ...Object.fromEntries(files), 'other/a.yaml': configMap('other', { v: '1' }) })
  eu = await fleet.addCluster('eu', { agentValues: ['heartbeatSeconds=1'] })
  await eu.cluster.admin.create({ ...configMapReference('theirs'), data: { v: 'theirs' } } as never, {
    fieldManager: 'helm',
  })
  const target = { repository: 'shop', namespace: 'default' }
  definition = applicationDefinition('web', { ...target, sync: { prune: true, remediate: true, adopt: 'always' } })
  await fleet.apply(repositoryDefinition('shop', shop.url) + definition + applicationDefinition('other', target))
  await fleet.waitForStatus('web to run', (status) => runs(status, 'web', 'eu', shop.head()))
  applied = shop.head()
})
afterAll(async () => {
  await fleet?.[Symbol.asyncDispose]()
})

const find = (name: string) => eu.cluster.admin.find(configMapReference(name))
const readValue = async (name: string) => getField(await find(name), 'data.v')

/** What the agent has written of the application since then: its own state, Events and other applications do not count. */
function writesSince(since: number): AuditEvent[] {
  return eu
    .agentRequests({ verbs: writeVerbs, namespace: 'default', since })
    .filter(({ requestURI, resource, name }) => {
      return !requestURI.includes('dryRun=All') && resource !== 'events' && !name.startsWith('other')
    })
}

async function waitForReport(what: string, isWanted: (report: ApplicationReport) => boolean) {
  const status = await fleet.waitForStatus(what, (one) => {
    const report = findDeployment(one, 'web', 'eu')?.report
    return report !== undefined && isWanted(report)
  })
  return findDeployment(status, 'web', 'eu')?.report as ApplicationReport
}

test('suspend: nothing of the application is written any more; new commits and drift are told, other applications go on', async () => {
  expect(await fleet.cli('application', 'suspend', 'web')).toBe('application/web suspended\n')
  await waitForReport('the agent to have heard', ({ suspended }) => suspended)
  suspendedAt = Date.now()
  const edit = { type: 'merge' } as const
  await eu.cluster.admin.patch(configMapReference('web-0'), { data: { v: 'by hand' } }, edit)
  await eu.cluster.admin.delete(configMapReference('web-1'))
  // It changes one, brings one that somebody else has made, and drops twelve of fourteen.
  const dropped = numbers.slice(2).map((index) => [fileOf(index), undefined])
  shop.commit({
    ...Object.fromEntries(dropped),
    'web/0.yaml': configMap('web-0', { v: '2' }),
    'web/theirs.yaml': configMap('theirs', { v: 'ours' }),
    'other/a.yaml': configMap('other', { v: '2' }),
  })
  await waitFor('the other application to go on', async () => (await readValue('other')) === '2', { timeoutMs: 30_000 })
  const report = await waitForReport('the drift to be told', ({ drifted }) => drifted >= 2)
  expect(report).toMatchObject({ sync: SyncState.OUT_OF_SYNC, suspended: true, revision: { commit: applied } })
  const status = await fleet.status()
  const told = driftsOf(status, 'web', 'eu').map(({ object }) => object?.name)
  expect(told).toEqual(expect.arrayContaining(['web-0', 'web-1']))
  expect(writesSince(suspendedAt)).toEqual([])
})

test('status, why and get say that it is suspended, and what resume would bring', async () => {
  const arrow = `main@sha1:${applied.slice(0, 8)} -> ${shop.head().slice(0, 8)}`
  expect(await fleet.cli('status')).toMatch(
    new RegExp(`^web +eu +${arrow} +OutOfSync, Suspended +\\S+ +\\d+ open`, 'm'),
  )
  expect(await fleet.cli('why', 'web')).toContain('suspended: its agent changes nothing; `fairlead application resume`')
  expect(await fleet.cli('get', 'applications', 'web')).toMatch(/^web .* Suspended /m)
  expect(await fleet.cli('application', 'list')).toMatch(/^other .* Rendered /m)
  expect((await fleet.run('status', '--exit-code')).code).not.toBe(0)
})

test('adopt --dry-run says of a suspended application what it would take over, and changes nothing', async () => {
  const before = (await find('theirs'))?.metadata.resourceVersion
  const printed = await fleet.cli('adopt', 'web', '--cluster', 'eu', '--dry-run', '--all')
  expect(printed).toMatch(/adopt +ConfigMap default\/theirs +helm +data\.v/)
  expect(printed).not.toContain('ours')
  expect((await find('theirs'))?.metadata.resourceVersion).toBe(before)
  expect(writesSince(suspendedAt)).toEqual([])
})

test('it stays so when agent and hub are killed and started again', async () => {
  await fleet.hub.kill()
  await fleet.startHub()
  await eu.restartAgent()
  await waitForReport('the drift to be told again', ({ drifted }) => drifted >= 2)
  expect(await readValue('web-0')).toBe('by hand')
  expect(writesSince(suspendedAt)).toEqual([])
})

test('resume: the newest commit is applied and drift is gone; what a guard holds still waits for its approval', async () => {
  expect(await fleet.cli('application', 'resume', 'web')).toBe('application/web resumed\n')
  const { heldPrunes } = await waitForReport('a prune to be held', (report) => report.heldPrunes.length > 0)
  expect(heldPrunes[0]).toMatchObject({ count: 12 })
  await waitFor(
    'what is declared',
    async () => (await readValue('web-0')) === '2' && (await readValue('web-1')) === '1',
  )
  expect(await readValue('theirs')).toBe('ours')
  expect(await readValue('web-13')).toBe('1')
  expect(writesSince(suspendedAt).filter(({ verb }) => verb === 'delete')).toEqual([])
  await waitForReport('it to be suspended no more', ({ suspended }) => !suspended)
})

test('a prune that is approved while the application is suspended is carried out when it is resumed, and not before', async () => {
  await fleet.cli('application', 'suspend', 'web')
  const { heldPrunes } = await waitForReport('it to be suspended, with the prune', (report) => {
    return report.suspended && report.heldPrunes.length > 0
  })
  const { digest } = heldPrunes[0] as HeldPrune
  const short = digest.slice(0, 12)
  const printed = await fleet.cli('approve-prune', 'web', '--cluster', 'eu', '--digest', short, '--yes')
  expect(printed).toContain(`prune ${short} approved on eu`)
  expect(printed).toContain('suspended')
  const since = Date.now()
  // Something that goes through the same slice says that the approval has come.
  shop.commit({ 'other/a.yaml': configMap('other', { v: '3' }) })
  await waitFor('a later slice', async () => (await readValue('other')) === '3', { timeoutMs: 30_000 })
  expect(writesSince(since)).toEqual([])
  expect(await readValue('web-13')).toBe('1')

  await fleet.cli('application', 'resume', 'web')
  await waitFor('what was approved to go', async () => (await find('web-13')) === undefined, { timeoutMs: 30_000 })
  await fleet.waitForStatus('web to run', (status) => runs(status, 'web', 'eu', shop.head()))
  for (const index of numbers) expect((await find(`web-${index}`)) !== undefined).toBe(index < 2)
  expect(problemsOf(await fleet.status(), 'web')).toEqual([])
})

test('a definition that is applied decides again: without suspend the application goes on', async () => {
  await fleet.cli('application', 'suspend', 'web')
  await waitForReport('it to be suspended', ({ suspended }) => suspended)
  shop.commit({ 'web/0.yaml': configMap('web-0', { v: '5' }) })
  expect(await fleet.apply(definition)).toContain('application/web configured')
  await fleet.waitForStatus('web to run', (status) => runs(status, 'web', 'eu', shop.head()))
  expect(findDeployment(await fleet.status(), 'web', 'eu')?.health).toBe(HealthState.HEALTHY)
  expect(await readValue('web-0')).toBe('5')
})

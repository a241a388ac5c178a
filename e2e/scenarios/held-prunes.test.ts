// What a guard holds is deleted when an administrator approves exactly that; what leaves by policy stays as it is.
import type { HeldPrune } from '@fairlead/proto/report'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type Fleet, startFleet } from '../harness/fleet.ts'
import type { GitRepository } from '../harness/git-server.ts'
import type { KubeReference } from '../harness/kube-client.ts'
import { waitFor } from '../harness/wait.ts'
import { findDeployment, runs } from './fleet-status.ts'
import { applicationDefinition, configMap, configMapReference, repositoryDefinition } from './manifests.ts'

let fleet: Fleet
let shop: GitRepository

beforeAll(async () => {
  fleet = await startFleet()
  shop = fleet.git.createRepository('shop')
  shop.commit({ 'readme.txt': 'the shop' })
  await fleet.addCluster('eu')
  await fleet.apply(repositoryDefinition('shop', shop.url))
})
afterAll(async () => {
  await fleet?.[Symbol.asyncDispose]()
})

const volumeClaim = (name: string): string =>
  `${JSON.stringify({
    apiVersion: 'v1',
    kind: 'PersistentVolumeClaim',
    metadata: { name },
    spec: { accessModes: ['ReadWriteOnce'], resources: { requests: { storage: '1Gi' } } },
  })}\n`
const claimReference = (name: string): KubeReference => ({
  apiVersion: 'v1',
  kind: 'PersistentVolumeClaim',
  metadata: { name, namespace: 'default' },
})
const admin = () => fleet.getCluster('eu').cluster.admin
const find = (reference: KubeReference) => admin().find(reference)
const isGoing = async (reference: KubeReference) => {
  const found = await find(reference)
  return !found || found.metadata.deletionTimestamp !== undefined
}

async function waitUntilHeld(application: string): Promise<HeldPrune> {
  const status = await fleet.waitForStatus(`${application} to hold a prune`, (one) => {
    return (findDeployment(one, application, 'eu')?.report?.heldPrunes.length ?? 0) > 0
  })
  return findDeployment(status, application, 'eu')?.report?.heldPrunes[0] as HeldPrune
}

test('a held prune is shown with the command that approves it, which deletes that and nothing else, once', async () => {
  const objects = Object.fromEntries(
    Array.from({ length: 14 }, (_, index) => [`web/${index}.yaml`, configMap(`web-${index}`, { a: '1' })]),
  )
  shop.commit({ ...objects, 'web/data.yaml': volumeClaim('web-data') })
  await fleet.apply(applicationDefinition('web', { repository: 'shop', namespace: 'default' }))
  await waitFor('the objects', async () => await find(claimReference('web-data')), { timeoutMs: 30_000 })
  shop.commit(Object.fromEntries([...Object.keys(objects).slice(2), 'web/data.yaml'].map((file) => [file, undefined])))
  const held = await waitUntilHeld('web')
  expect(held).toMatchObject({ count: 13, reason: expect.stringContaining('13 of 15 objects') })

  const short = held.digest.slice(0, 12)
  const command = `fairlead approve-prune web --cluster eu --digest ${short}`
  expect(await fleet.cli('status')).toContain(command)
  expect(await fleet.cli('why', 'web')).toContain(command)
  await expect(fleet.cli('approve-prune', 'web', '--cluster', 'eu')).rejects.toThrow(/--yes/)
  await expect(
    fleet.cli('approve-prune', 'web', '--cluster', 'eu', '--digest', '0'.repeat(12), '--yes'),
  ).rejects.toThrow(/no prune whose digest begins with/)
  expect(await find(configMapReference('web-13'))).toBeDefined()

  const printed = await fleet.cli('approve-prune', 'web', '--cluster', 'eu', '--digest', short, '--yes')
  expect(printed).toContain('would delete PersistentVolumeClaim default/web-data')
  expect(printed).toContain(`prune ${short} approved on eu`)
  await waitFor('what was approved to go', async () => {
    const gone = await Promise.all([
      isGoing(claimReference('web-data')),
      ...Array.from({ length: 12 }, (_, index) => isGoing(configMapReference(`web-${index + 2}`))),
    ])
    return gone.every(Boolean)
  })
  for (const name of ['web-0', 'web-1']) expect(await isGoing(configMapReference(name))).toBe(false)
  await fleet.waitForStatus('nothing to be held any more', (status) => {
    return findDeployment(status, 'web', 'eu')?.report?.heldPrunes.length === 0
  })
  // The same again is another prune: what was approved is forgotten, and was of other objects.
  const back = shop.commit({ 'web/data.yaml': volumeClaim('web-data') })
  await admin()
    .patch(claimReference('web-data'), { metadata: { finalizers: null } }, { type: 'merge' })
    .catch(() => {})
  await fleet.waitForStatus('the claim to be declared again', (status) => {
    return findDeployment(status, 'web', 'eu')?.live?.commit === back
  })
  shop.commit({ 'web/data.yaml': undefined })
  const again = await waitUntilHeld('web')
  expect(again).toMatchObject({ count: 1 })
  expect(again.digest).not.toBe(held.digest)
  expect(await isGoing(claimReference('web-data'))).toBe(false)
})

test('an application with deletionPolicy orphan leaves its objects as they are, whether it is deleted or placed elsewhere', async () => {
  shop.commit({ 'left/a.yaml': configMap('left', { a: '1' }), 'moved/a.yaml': configMap('moved', { a: '1' }) })
  const sync = { deletionPolicy: 'orphan' }
  const options = { repository: 'shop', namespace: 'default', sync }
  await fleet.apply(applicationDefinition('left', options))
  await fleet.apply(applicationDefinition('moved', { ...options, names: ['eu'] }))
  for (const name of ['left', 'moved']) {
    await fleet.waitForStatus(`${name} to run`, (status) => runs(status, name, 'eu', shop.head()))
  }
  const uids = await Promise.all(
    ['left', 'moved'].map(async (name) => (await find(configMapReference(name)))?.metadata.uid),
  )
  await fleet.cli('application', 'delete', 'left', '--wait')
  await fleet.apply(applicationDefinition('moved', { ...options, names: ['nowhere'] }))
  await fleet.waitForStatus('moved to have left', (status) => !findDeployment(status, 'moved', 'eu'))
  for (const [index, name] of ['left', 'moved'].entries()) {
    const found = await find(configMapReference(name))
    expect(found?.metadata.uid).toBe(uids[index])
    expect(found?.metadata.labels ?? {}).toEqual({})
  }
})

test('an application that gets another name hands its objects over as they are', async () => {
  shop.commit({ 'renamed/a.yaml': configMap('renamed-a', { a: '1' }), 'renamed/b.yaml': volumeClaim('renamed-data') })
  const options = { repository: 'shop', namespace: 'default', path: 'renamed' }
  await fleet.apply(applicationDefinition('old-name', options))
  await waitFor('the objects', async () => await find(claimReference('renamed-data')), { timeoutMs: 30_000 })
  const uids = async () =>
    await Promise.all(
      [configMapReference('renamed-a'), claimReference('renamed-data')].map(
        async (reference) => (await find(reference))?.metadata.uid,
      ),
    )
  const before = await uids()
  const since = Date.now()
  await fleet.apply(applicationDefinition('new-name', options))
  await fleet.cli('application', 'delete', 'old-name', '--wait')
  await waitFor('the new name to own them', async () => {
    const found = await find(configMapReference('renamed-a'))
    return found?.metadata.labels?.['fairlead.dev/application'] === 'new-name'
  })
  expect(await uids()).toEqual(before)
  expect(fleet.getCluster('eu').agentRequests({ verbs: ['delete'], namespace: 'default', since })).toEqual([])
})

test('fairlead adopt --dry-run has the agent say what it would change, and changes nothing', async () => {
  const theirs = { ...configMapReference('theirs'), data: { a: 'theirs' } }
  await admin().create(theirs, { fieldManager: 'helm' })
  const before = (await find(configMapReference('theirs')))?.metadata.resourceVersion
  shop.commit({
    'taken/a.yaml': configMap('theirs', { a: 'ours' }),
    'taken/b.yaml': configMap('taken-new', { a: '1' }),
  })
  await fleet.apply(applicationDefinition('taken', { repository: 'shop', namespace: 'default' }))
  await waitFor('the new object', async () => await find(configMapReference('taken-new')), { timeoutMs: 30_000 })
  const printed = await fleet.cli('adopt', 'taken', '--cluster', 'eu', '--dry-run', '--all')
  expect(printed).toMatch(/refused +ConfigMap default\/theirs +helm +data\.a/)
  expect(printed).toMatch(/none +ConfigMap default\/taken-new/)
  expect(printed).toContain('taken/a.yaml')
  expect(printed).not.toContain('ours')
  await expect(fleet.cli('adopt', 'taken', '--cluster', 'eu')).rejects.toThrow(/spec\.sync\.adopt/)
  expect((await find(configMapReference('theirs')))?.metadata.resourceVersion).toBe(before)
})

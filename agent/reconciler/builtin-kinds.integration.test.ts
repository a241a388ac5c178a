// Every built-in kind that people keep in Git, on a cluster with its controllers: applied, left alone when nothing
// changes, put back when somebody writes it, and pruned.
import { excludedKinds, type Manifest, makeBuiltinKinds, servedSince } from '@fairlead/e2e/generators/builtin-kinds'
import { writeVerbs } from '@fairlead/e2e/harness/audit'
import { type Cluster, startCluster } from '@fairlead/e2e/harness/cluster'
import { waitFor } from '@fairlead/e2e/harness/wait'
import { getKubernetesVersion } from '@fairlead/e2e/tools/tools'
import { silentLogger } from '@fairlead/shared/logger'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { kubeconfigAccess } from '../kube/access.ts'
import { createKube, type ResourceType } from '../kube/kube.ts'
import { PERSON_MANAGERS } from '../remediator/managed-fields.ts'
import { ReconcilerBed } from './reconciler-bed.ts'

const namespace = 'kinds'
let cluster: Cluster
let served: readonly ResourceType[]
let manifests: Manifest[]
let bed: ReconcilerBed

beforeAll(async () => {
  cluster = await startCluster({ name: 'kinds', full: true })
  const access = await kubeconfigAccess(cluster.kubeconfigPath)
  const kube = createKube({ access, userAgent: 'fairlead-agent/discovery', logger: silentLogger })
  served = (await kube.servedTypes()).types
  await kube.close()
  const names = new Set(served.map(nameOf))
  manifests = makeBuiltinKinds({ namespace, prefix: 'shop' }).filter((manifest) => names.has(nameOfManifest(manifest)))
  await cluster.admin.create({ apiVersion: 'v1', kind: 'Namespace', metadata: { name: namespace } })
  await start()
}, 120_000)
afterAll(async () => {
  await bed?.stop()
  await cluster?.stop()
})

const start = async (): Promise<void> => {
  bed = await ReconcilerBed.start({ cluster, namespace }, { limits: { pruneHealthTimeoutMs: 100 } })
}
const nameOf = ({ group, version, kind }: ResourceType): string =>
  `${group === '' ? '' : `${group}/`}${version} ${kind}`
const nameOfManifest = ({ apiVersion, kind }: Manifest): string => `${apiVersion} ${kind}`
const isOlder = (version: string, than: string): boolean => Number(version.split('.')[1]) < Number(than.split('.')[1])
const find = async (manifest: Manifest) => await cluster.admin.find(manifest)

test('every kind that the API server serves has a manifest, or a reason why not', () => {
  const made = new Set(makeBuiltinKinds({ namespace, prefix: 'shop' }).map(nameOfManifest))
  const missing = served.filter((type) => !made.has(nameOf(type)) && !excludedKinds[`${type.group}/${type.kind}`])
  expect(missing.map(nameOf)).toEqual([])
  // And nothing is made that is not served, but for what is too new for this version.
  const known = new Set(served.map(nameOf))
  const unknown = [...made].filter((name) => !known.has(name))
  expect(unknown.filter((name) => !isOlder(getKubernetesVersion(), servedSince[name] ?? '0.0'))).toEqual([])
  const kinds = new Set(served.map(({ group, kind }) => `${group}/${kind}`))
  const tooMuch = Object.keys(excludedKinds).filter((name) => !kinds.has(name))
  expect(
    tooMuch.filter((name) => !isOlder(getKubernetesVersion(), '1.34') || !/^(resource|networking)/.test(name)),
  ).toEqual([])
})

test('every built-in kind is applied', async () => {
  bed.update({ shop: { objects: manifests } })
  const { objects } = await bed.synced('shop', { timeoutMs: 60_000 })
  expect(objects).toBe(manifests.length)
  for (const manifest of manifests)
    expect([nameOfManifest(manifest), await find(manifest)]).toMatchObject([
      nameOfManifest(manifest),
      { metadata: { labels: { tier: 'web', 'app.kubernetes.io/managed-by': 'fairlead' } } },
    ])
})

test('a second pass over every built-in kind writes nothing, and sees no drift in what controllers did', async () => {
  await waitFor(
    'the Deployment to be rolled out',
    async () => {
      const status = (
        await cluster.admin.get({ apiVersion: 'apps/v1', kind: 'Deployment', metadata: { name: 'web', namespace } })
      ).status
      return status?.availableReplicas === 2
    },
    { timeoutMs: 30_000 },
  )
  const before = bed.requests(writeVerbs)
  await bed.stop()
  await start()
  bed.update({ shop: { objects: manifests } })
  const report = await bed.synced('shop')
  expect(report).toMatchObject({ remediations: 0n, drifts: [], problems: [] })
  expect(bed.requests(writeVerbs).slice(before.length)).toEqual([])
  // Applied once more, each object stays as it is to the last field.
  const versionsOf = async () =>
    await Promise.all(manifests.map(async (one) => [nameOfManifest(one), (await find(one))?.metadata.generation]))
  const versions = await versionsOf()
  bed.reconciler.reconcile()
  const compared = () => bed.requests(['patch']).length - before.filter(({ verb }) => verb === 'patch').length
  await waitFor('all to be compared', () => compared() >= manifests.length)
  await bed.synced('shop')
  expect(await versionsOf()).toEqual(versions)
})

test('what a person changes and adds on any built-in kind is put back', async () => {
  for (const manifest of manifests) {
    const body = { metadata: { labels: { tier: 'edited' }, annotations: { 'example.com/added': 'by hand' } } }
    await cluster.admin.patch(manifest, body, { type: 'merge' })
  }
  for (const manifest of manifests) {
    await waitFor(`${nameOfManifest(manifest)} to be put back`, async (see) => {
      const metadata = (await find(manifest))?.metadata
      see(metadata)
      const persons = metadata?.managedFields?.filter(({ manager }) => PERSON_MANAGERS.test(manager)) ?? []
      return metadata?.labels?.tier === 'web' && !metadata.annotations?.['example.com/added'] && persons.length === 0
    })
  }
  await bed.synced('shop')
})

test('every built-in kind is pruned when its application leaves', async () => {
  bed.update({ shop: { tombstone: 'prune' } })
  // What holds data is asked for twice.
  const { heldPrunes } = await bed.reported('shop', 'held', (report) => report.heldPrunes.length > 0, 60_000)
  const kinds = heldPrunes.flatMap(({ objects }) => objects.map(({ kind }) => kind))
  expect(kinds.sort()).toEqual(['PersistentVolume', 'PersistentVolumeClaim'])
  bed.update({ shop: { tombstone: 'prune', approve: heldPrunes.map(({ digest }) => digest) } })
  await waitFor(
    'the application to be gone',
    (see) => {
      see(bed.report('shop'))
      return bed.removed.includes('shop')
    },
    { timeoutMs: 90_000 },
  )
  for (const manifest of manifests)
    expect([nameOfManifest(manifest), await find(manifest)]).toEqual([nameOfManifest(manifest), undefined])
}, 120_000)

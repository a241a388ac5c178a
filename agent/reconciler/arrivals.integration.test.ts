// An application whose namespace changes: the old objects go when the new ones are there, and not before.
import { waitFor } from '@fairlead/e2e/harness/wait'
import type { ApplicationReport } from '@fairlead/proto/report'
import { expect, test } from 'vitest'
import { ClusterBed } from './cluster-bed.ts'
import type { ReconcilerBed, TestObject } from './reconciler-bed.ts'

const limits = { userBaseMs: 100, userMaxMs: 200, transientBaseMs: 50, transientMaxMs: 100, pruneHealthTimeoutMs: 50 }
const here = ClusterBed.forFile({ name: 'arrivals', options: { limits } })

const makeNamespace = (name: string) => here.admin.create({ apiVersion: 'v1', kind: 'Namespace', metadata: { name } })
const configMap = (name: string, data = '1'): TestObject => ({
  apiVersion: 'v1',
  kind: 'ConfigMap',
  metadata: { name },
  data: { data },
})
const find = async (name: string, space = here.namespace) =>
  await here.find({ ...configMap(name), metadata: { name, namespace: space } })
const problemsOf = ({ problems }: ApplicationReport): string[] =>
  problems.map(({ code, object }) => `${code} ${object?.namespace}/${object?.name}`).sort()
/** Waits until the prune was decided on with the new objects not there. */
const kept = async (bed: ReconcilerBed, ...wanted: string[]) =>
  await bed.reported('web', wanted.join(', '), (report) => problemsOf(report).join() === wanted.toSorted().join())

test('to a namespace that is not there keeps the old objects, also after a restart, until it is made', async () => {
  const bed = await here.start()
  const next = `${here.namespace}-next`
  const objects = [configMap('a'), configMap('b')]
  bed.update({ web: { objects } })
  await bed.synced('web')
  const moved = { web: { objects, namespace: next } }
  const problems = ['a', 'b'].flatMap((name) => [
    `NamespaceNotFound ${next}/${name}`,
    `PruneHeld ${here.namespace}/${name}`,
  ])
  bed.update(moved)
  const report = await kept(bed, ...problems)
  expect(report.problems.map(({ message }) => message).join()).toContain(
    `it moves to namespace ${next}, where it was not applied yet`,
  )
  expect(bed.requests(['delete'])).toEqual([])
  const second = await here.restart(bed)
  second.update(moved)
  await kept(second, ...problems)
  expect(second.requests(['delete'])).toEqual([])
  await makeNamespace(next)
  await second.synced('web')
  expect(await Promise.all([find('a'), find('b')])).toEqual([undefined, undefined])
  expect(await find('a', next)).toBeDefined()
})

test('where one of the new objects cannot be applied keeps the old one of that name, and lets the others go', async () => {
  const bed = await here.start()
  const next = `${here.namespace}-next`
  await makeNamespace(next)
  bed.update({ web: { objects: [configMap('a'), configMap('b'), configMap('c')] } })
  await bed.synced('web')
  const broken = { ...configMap('a'), data: { data: { not: 'text' } } }
  const unknown = configMap('c', '${cluster.values.size}')
  const policy = { substitute: true }
  bed.update({ web: { objects: [broken, configMap('b'), unknown], namespace: next, policy } })
  await waitFor('the other to move', async () => (await find('b')) === undefined && (await find('b', next)))
  await kept(
    bed,
    `ApplyInvalid ${next}/a`,
    `PruneHeld ${here.namespace}/a`,
    `PruneHeld ${here.namespace}/c`,
    // It has no namespace before it can be read.
    'UnknownVariable /c',
  )
  bed.update({ web: { objects: [configMap('a'), configMap('b'), configMap('c')], namespace: next, policy } })
  await bed.synced('web')
  expect(await Promise.all([find('a'), find('c')])).toEqual([undefined, undefined])
  // What fails later than at the first time does not bring back what has moved.
  expect(await Promise.all([find('a', next), find('c', next)])).not.toContain(undefined)
})

test('where the new object belongs to another application keeps the old one', async () => {
  const bed = await here.start()
  const next = `${here.namespace}-next`
  await makeNamespace(next)
  const objects = [configMap('a')]
  const other = { objects, namespace: next }
  bed.update({ web: { objects: [...objects, configMap('b')] }, other })
  await bed.synced('web')
  await bed.synced('other')
  bed.update({ web: { objects: [...objects, configMap('b')], namespace: next }, other })
  await kept(bed, `OwnedByAnother ${next}/a`, `PruneHeld ${here.namespace}/a`)
  expect(await find('a')).toBeDefined()
  expect(await find('b')).toBeUndefined()
})

test('is no reason to keep what leaves Git altogether, nor anything when the application leaves', async () => {
  const bed = await here.start()
  const next = `${here.namespace}-next`
  const objects = [configMap('a'), configMap('b')]
  bed.update({ web: { objects } })
  await bed.synced('web')
  bed.update({ web: { objects: [configMap('a')], namespace: next } })
  await kept(bed, `NamespaceNotFound ${next}/a`, `PruneHeld ${here.namespace}/a`)
  await waitFor('what left Git to go', async () => (await find('b')) === undefined)
  bed.update({ web: { tombstone: 'prune' } })
  await waitFor('the confirmation', () => bed.removed.includes('web'))
  expect(await find('a')).toBeUndefined()
})

// How an application's deployments change: by table.
import { expect, test } from 'vitest'
import { type ApplicationIntent, type DeploymentRow, planDeployments } from './deployment-plan.ts'

const content = new Map(
  ['', 'v2'].map((id) => [id, { artifactDigest: id === '' ? 'd1' : 'd2', revision: 'r1', policy: 'p1' }]),
)
const RUN: ApplicationIntent = { kind: 'run', content, pruneOnLeave: true }

const desired = (clusterId: string, digest = 'd1'): DeploymentRow => ({
  cluster_id: clusterId,
  application: 'web',
  state: 'desired',
  prune: 0,
  artifact_digest: digest,
  revision: 'r1',
  policy: 'p1',
})
const tombstone = (clusterId: string, prune: number): DeploymentRow => ({
  ...desired(clusterId),
  state: 'tombstone',
  prune,
  artifact_digest: null,
  revision: null,
  policy: null,
})

/** `placed`: a cluster, or `cluster=variant`. */
const plan = (intent: ApplicationIntent, placed: string[], rows: DeploymentRow[], pending: string[] = []) => {
  const variants = new Map(
    placed.map((each) => each.split('=') as [string, string]).map(([id, variant = '']) => [id, variant]),
  )
  return planDeployments({
    application: 'web',
    intent,
    placed: variants,
    rows,
    hasJoined: (id) => !pending.includes(id),
  })
}

test('a cluster that is placed runs it, and one that runs it already is left alone', () => {
  expect(plan(RUN, ['a', 'b'], [desired('a')])).toEqual({ upserts: [desired('b')], deletes: [] })
})

test('a new artifact, revision or policy is written', () => {
  for (const change of [{ artifact_digest: 'd0' }, { revision: 'r0' }, { policy: 'p0' }]) {
    expect(plan(RUN, ['a'], [{ ...desired('a'), ...change }]).upserts).toEqual([desired('a')])
  }
})

test('each cluster runs what was rendered for its variant, and keeps what it has until that is there', () => {
  expect(plan(RUN, ['a', 'b=v2'], []).upserts).toEqual([desired('a'), desired('b', 'd2')])
  expect(plan(RUN, ['a=v2'], [desired('a')]).upserts).toEqual([desired('a', 'd2')])
  expect(plan(RUN, ['a=v3', 'b=v3'], [desired('a')])).toEqual({ upserts: [], deletes: [] })
})

test('a cluster that is no longer placed gets a tombstone, once', () => {
  expect(plan(RUN, [], [desired('a')])).toEqual({ upserts: [tombstone('a', 1)], deletes: [] })
  expect(plan({ ...RUN, pruneOnLeave: false }, [], [desired('a')]).upserts).toEqual([tombstone('a', 0)])
  expect(plan(RUN, [], [tombstone('a', 0)])).toEqual({ upserts: [], deletes: [] })
})

test('objects of a cluster that was left before are let go when the definition says so afterwards, never the other way', () => {
  const orphan = { ...RUN, pruneOnLeave: false }
  expect(plan(orphan, [], [tombstone('a', 1)]).upserts).toEqual([tombstone('a', 0)])
  expect(plan(orphan, [], [tombstone('a', 0)]).upserts).toEqual([])
  expect(plan(RUN, [], [tombstone('a', 0)]).upserts).toEqual([])
})

test('a tombstone of an application that is placed again becomes desired again', () => {
  expect(plan(RUN, ['a'], [tombstone('a', 1)]).upserts).toEqual([desired('a')])
})

test('nothing is removed when it cannot be told what should run', () => {
  expect(plan({ kind: 'keep' }, [], [desired('a'), tombstone('b', 1)])).toEqual({ upserts: [], deletes: [] })
})

test('a deleted application leaves every cluster, in the way that was asked for last', () => {
  const rows = [desired('a'), tombstone('b', 1), tombstone('c', 0)]
  expect(plan({ kind: 'leave', prune: false }, ['a'], rows).upserts).toEqual([tombstone('a', 0), tombstone('b', 0)])
})

test('where no agent ever joined there is nothing to confirm', () => {
  const rows = [desired('a'), tombstone('b', 1)]
  expect(plan({ kind: 'leave', prune: true }, [], rows, ['a', 'b'])).toEqual({ upserts: [], deletes: ['a', 'b'] })
})

// Slices out of deployments.
import { create, toBinary, toJsonString } from '@bufbuild/protobuf'
import { RevisionSchema } from '@fairlead/proto/common'
import { ArtifactReferenceSchema, SyncPolicySchema } from '@fairlead/proto/slice'
import { generateSigningKey } from '@fairlead/shared/signing'
import { decodeSlice } from '@fairlead/shared/slice'
import { expect, test } from 'vitest'
import { type SliceDeployment, signSlice, sliceContent } from './slicer.ts'

const cluster = { id: 'a'.repeat(26), name: 'prod', labels: { env: 'prod', a: '1' }, values: { zone: 'z', b: '2' } }
const desired = (application: string, commit = 'c1'): SliceDeployment => ({
  application,
  state: 'desired',
  prune: 0,
  revision: toJsonString(RevisionSchema, create(RevisionSchema, { repository: 'shop', ref: 'main', commit })),
  policy: toJsonString(SyncPolicySchema, create(SyncPolicySchema, { namespace: 'web', prune: true })),
  reference: toBinary(ArtifactReferenceSchema, create(ArtifactReferenceSchema, { digest: 'd', chunks: ['x'] })),
})
const gone: SliceDeployment = {
  application: 'old',
  state: 'tombstone',
  prune: 1,
  revision: null,
  policy: null,
  reference: null,
}

test('equal deployments give equal content in any order, and any difference another', () => {
  const one = sliceContent(cluster, [desired('web'), gone, desired('api')])
  expect(sliceContent(cluster, [gone, desired('api'), desired('web')])).toEqual(one)
  expect(one.entries.map((entry) => entry.application)).toEqual(['api', 'old', 'web'])
  const others = [
    sliceContent(cluster, [desired('web'), desired('api')]),
    sliceContent(cluster, [desired('web', 'c2'), gone, desired('api')]),
    sliceContent(cluster, [desired('web'), { ...gone, prune: 0 }, desired('api')]),
    sliceContent({ ...cluster, id: 'b'.repeat(26) }, [desired('web'), gone, desired('api')]),
    sliceContent({ ...cluster, labels: { ...cluster.labels, env: 'test' } }, [desired('web'), gone, desired('api')]),
    sliceContent({ ...cluster, values: { zone: 'z' } }, [desired('web'), gone, desired('api')]),
  ]
  expect(new Set([one, ...others].map((content) => content.hash)).size).toBe(7)
  const reordered = { ...cluster, labels: { a: '1', env: 'prod' }, values: { b: '2', zone: 'z' } }
  expect(sliceContent(reordered, [desired('web'), gone, desired('api')]).hash).toBe(one.hash)
})

test('a signed slice is what the agent verifies, newer than the last even when the clock runs back', () => {
  const key = generateSigningKey()
  const expected = { clusterId: cluster.id, trusted: new Map([[key.id, key.publicKey]]) }
  const content = sliceContent(cluster, [desired('web'), gone])
  const first = signSlice(content, { lastGeneration: 0n, nowMs: 1_000, key })
  const second = signSlice(content, { lastGeneration: first.generation, nowMs: 10, key })
  expect([first.generation, second.generation]).toEqual([1_000n, 1_001n])
  const slice = decodeSlice(second.document, { ...expected, lastGeneration: first.generation })
  expect(slice.entries.map(({ intent }) => intent.case)).toEqual(['tombstone', 'desired'])
  expect(slice).toMatchObject({ clusterName: 'prod', clusterLabels: cluster.labels, clusterValues: cluster.values })
})

test('a deployment without what it needs is a defect, never an empty slice', () => {
  expect(() => sliceContent(cluster, [{ ...desired('web'), reference: null }])).toThrow(/has no revision/)
})

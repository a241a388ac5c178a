// Makes the slice of one cluster out of its deployments. Pure: equal deployments give equal content, whatever their order.
import { create, fromBinary, fromJson, toBinary } from '@bufbuild/protobuf'
import { timestampFromMs } from '@bufbuild/protobuf/wkt'
import { RevisionSchema } from '@fairlead/proto/common'
import {
  ArtifactReferenceSchema,
  type SliceEntry,
  SliceEntrySchema,
  SliceSchema,
  SyncPolicySchema,
} from '@fairlead/proto/slice'
import { sha256Hex } from '@fairlead/shared/digest'
import { AppError } from '@fairlead/shared/errors'
import type { SigningKeyPair } from '@fairlead/shared/signing'
import { encodeSlice, nextGeneration } from '@fairlead/shared/slice'

/** One row of deployments, with the reference of its artifact. */
export interface SliceDeployment {
  readonly application: string
  readonly state: 'desired' | 'tombstone'
  /** Of a tombstone: 1 when the objects are to be deleted. */
  readonly prune: number
  /** Revision as proto JSON; of what is desired. */
  readonly revision: string | null
  /** SyncPolicy as proto JSON; of what is desired. */
  readonly policy: string | null
  /** ArtifactReference, binary; of what is desired. */
  readonly reference: Uint8Array | null
  /** Digests of held prunes that were approved, sorted. */
  readonly approvedPrunes?: readonly string[]
}

/** What a slice says, without generation, time and signature. */
export interface SliceContent {
  readonly clusterId: string
  readonly clusterName: string
  readonly clusterLabels: Readonly<Record<string, string>>
  readonly clusterValues: Readonly<Record<string, string>>
  readonly entries: readonly SliceEntry[]
  /** Equal for equal content: such a slice is not signed again. */
  readonly hash: string
}

/** The cluster that a slice is for. */
export interface SliceCluster {
  readonly id: string
  readonly name: string
  readonly labels: Readonly<Record<string, string>>
  readonly values: Readonly<Record<string, string>>
}

/** The content of a cluster's slice. */
export function sliceContent(cluster: SliceCluster, deployments: readonly SliceDeployment[]): SliceContent {
  const content = {
    clusterId: cluster.id,
    clusterName: cluster.name,
    clusterLabels: sortKeys(cluster.labels),
    clusterValues: sortKeys(cluster.values),
    entries: deployments.map(entryOf).sort((a, b) => (a.application < b.application ? -1 : 1)),
  }
  return { ...content, hash: sha256Hex(toBinary(SliceSchema, create(SliceSchema, content))) }
}

/** Maps are encoded in the order of their keys here, whatever order they were set in. */
function sortKeys(map: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(Object.entries(map).sort(([a], [b]) => (a < b ? -1 : 1)))
}

/** Signs the content as the generation after `lastGeneration` (0n for the first). */
export function signSlice(
  content: SliceContent,
  { lastGeneration, nowMs, key }: { lastGeneration: bigint; nowMs: number; key: SigningKeyPair },
): { generation: bigint; document: Uint8Array } {
  const generation = nextGeneration(lastGeneration, nowMs)
  const { hash: _hash, entries, ...cluster } = content
  const slice = create(SliceSchema, { ...cluster, entries: [...entries], generation, issuedAt: timestampFromMs(nowMs) })
  return { generation, document: encodeSlice(slice, key) }
}

function entryOf(deployment: SliceDeployment): SliceEntry {
  const { application, state, prune, revision, policy, reference } = deployment
  const approvedPrunes = [...(deployment.approvedPrunes ?? [])]
  if (state === 'tombstone') {
    const intent = { case: 'tombstone' as const, value: { prune: prune === 1 } }
    return create(SliceEntrySchema, { application, approvedPrunes, intent })
  }
  if (revision === null || policy === null || reference === null) {
    throw new AppError('Internal', `the deployment of ${application} has no revision, policy or artifact`)
  }
  const value = {
    revision: fromJson(RevisionSchema, JSON.parse(revision)),
    artifact: fromBinary(ArtifactReferenceSchema, reference),
    policy: fromJson(SyncPolicySchema, JSON.parse(policy)),
  }
  return create(SliceEntrySchema, { application, approvedPrunes, intent: { case: 'desired', value } })
}

// The clusters of the fleet: registers, labels and removes them. Every change and its audit row are one transaction.
import { create } from '@bufbuild/protobuf'
import { timestampFromMs } from '@bufbuild/protobuf/wkt'
import { type JoinInstructions, JoinInstructionsSchema } from '@fairlead/proto/clusters'
import { AppError } from '@fairlead/shared/errors'
import type { Logger } from '@fairlead/shared/logger'
import type { Transaction } from 'kysely'
import type { AttemptLimits } from '../attempt-limiter.ts'
import { giveToCluster, leaveToPeople } from '../cluster-documents.ts'
import type { ClusterValues } from '../cluster-values.ts'
import { type Labels, matchesSelector, parseSelector } from '../label-selector.ts'
import { writeAudit } from '../store/audit.ts'
import type { Schema } from '../store/schema.ts'
import type { Store } from '../store/store.ts'
import {
  type ClusterRecord,
  checkClusterName,
  checkLabels,
  checkValues,
  createClusterId,
  getClusterByName,
  readClusterRow,
} from './cluster-record.ts'
import type { CredentialIssuer } from './credential-issuer.ts'
import { createEnrolment, type Enrolment } from './enrolment.ts'
import { checkTokenTtl, createToken, storeToken } from './join-token.ts'
import { revokeKey } from './revocation.ts'

/** What a registry needs. */
export interface RegistryOptions {
  readonly store: Store
  readonly issuer: CredentialIssuer
  /** host:port of the API as agents reach it; a function when it is known only after listening. */
  readonly hubAddress: string | (() => string)
  /** sha256:<hex> of the hub's CA. */
  readonly caPin: string
  /** Called after every committed change. */
  readonly onChange: () => void
  readonly logger: Logger
  /** Milliseconds since the epoch, default Date.now. */
  readonly clock?: () => number
  /** Bounds on wrong join tokens, default JOIN_LIMITS. */
  readonly limits?: AttemptLimits
}

/** The clusters of the fleet. Every method that changes takes the actor for the audit trail. */
export interface Registry extends Enrolment {
  /** Makes a cluster and its join token. `tokenTtlMs` between 1m and 7d, default 1h. Throws InvalidArgument or AlreadyExists. */
  register(
    request: { name: string; labels: Labels; tokenTtlMs?: number },
    actor: string,
  ): Promise<{ cluster: ClusterRecord; join: JoinInstructions }>
  /** A new token for a cluster; earlier ones that were not used end. Throws NotFound or InvalidArgument. */
  createJoinToken(request: { name: string; tokenTtlMs?: number }, actor: string): Promise<JoinInstructions>
  /** The cluster of that name. Throws NotFound. */
  get(name: string): Promise<ClusterRecord>
  /** Clusters that match a selector as in kubectl, sorted by name; empty for all. Throws InvalidArgument. */
  list(selector?: string): Promise<ClusterRecord[]>
  /** Sets and removes labels. Throws NotFound, InvalidArgument, or FailedPrecondition for those that come from Git. */
  updateLabels(request: { name: string; set: Labels; remove: readonly string[] }, actor: string): Promise<ClusterRecord>
  /** Sets and removes values. Throws NotFound, InvalidArgument, or FailedPrecondition for those that come from Git. */
  updateValues(
    request: { name: string; set: ClusterValues; remove: readonly string[] },
    actor: string,
  ): Promise<ClusterRecord>
  /** Forgets a cluster, revokes its key and has NATS forget its documents. Its applications go on running there. Throws NotFound. */
  remove(name: string, actor: string): Promise<void>
}

/** Makes the registry of a store. */
export function createRegistry(options: RegistryOptions): Registry {
  const clock = options.clock ?? Date.now
  const enrolment = createEnrolment({ ...options, clock })
  const clusters = new StoredClusters({ ...options, clock, enrolment })
  return {
    ...enrolment,
    register: (request, actor) => clusters.register(request, actor),
    createJoinToken: (request, actor) => clusters.createJoinToken(request, actor),
    get: (name) => clusters.get(name),
    list: (selector) => clusters.list(selector),
    updateLabels: (request, actor) => clusters.updateLabels(request, actor),
    updateValues: (request, actor) => clusters.updateValues(request, actor),
    remove: (name, actor) => clusters.remove(name, actor),
  }
}

class StoredClusters implements Omit<Registry, keyof Enrolment> {
  readonly #options: RegistryOptions & { readonly clock: () => number; readonly enrolment: Enrolment }

  constructor(options: RegistryOptions & { readonly clock: () => number; readonly enrolment: Enrolment }) {
    this.#options = options
  }

  async register(request: { name: string; labels: Labels; tokenTtlMs?: number }, actor: string) {
    const { store, logger, onChange, clock } = this.#options
    const { name, labels } = request
    checkClusterName(name)
    checkLabels(labels)
    const tokenTtlMs = checkTokenTtl(request.tokenTtlMs)
    const registered = await store.transaction(async (transaction) => {
      const { id } = await insertCluster(transaction, { name, labels, nowMs: clock() })
      await giveToCluster(transaction, name)
      const cluster = await getClusterByName(transaction, name)
      const join = await this.#addToken(transaction, id, tokenTtlMs)
      const detail = { id, labels, tokenTtlMs }
      await writeAudit(transaction, { actor, action: 'cluster.register', object: `Cluster/${name}`, detail }, clock())
      return { cluster, join }
    })
    logger.info({ cluster: name, clusterId: registered.cluster.id }, 'cluster registered')
    onChange()
    return registered
  }

  async createJoinToken(request: { name: string; tokenTtlMs?: number }, actor: string): Promise<JoinInstructions> {
    const { store, clock } = this.#options
    const { name } = request
    const tokenTtlMs = checkTokenTtl(request.tokenTtlMs)
    return await store.transaction(async (transaction) => {
      const { id } = await getClusterByName(transaction, name)
      const detail = { tokenTtlMs }
      await writeAudit(transaction, { actor, action: 'cluster.token', object: `Cluster/${name}`, detail }, clock())
      return await this.#addToken(transaction, id, tokenTtlMs)
    })
  }

  async get(name: string): Promise<ClusterRecord> {
    return await getClusterByName(this.#options.store.db, name)
  }

  async list(selector = ''): Promise<ClusterRecord[]> {
    const parsed = parseSelector(selector)
    const rows = await this.#options.store.db.selectFrom('clusters').selectAll().orderBy('name').execute()
    return rows.map(readClusterRow).filter((cluster) => matchesSelector(parsed, cluster.labels))
  }

  async updateLabels(
    { name, set, remove }: { name: string; set: Labels; remove: readonly string[] },
    actor: string,
  ): Promise<ClusterRecord> {
    const { store, logger, onChange, clock } = this.#options
    checkLabels(set)
    const cluster = await store.transaction(async (transaction) => {
      const before = await getClusterByName(transaction, name)
      await leaveToPeople(transaction, name, 'labels', [...Object.keys(set), ...remove])
      const kept = Object.entries(before.labels).filter(([key]) => !remove.includes(key))
      const labels = { ...Object.fromEntries(kept), ...set }
      const text = JSON.stringify(labels)
      await transaction.updateTable('clusters').set({ labels: text }).where('id', '=', before.id).execute()
      const detail = { set, remove, before: before.labels, after: labels }
      await writeAudit(transaction, { actor, action: 'cluster.label', object: `Cluster/${name}`, detail }, clock())
      return { ...before, labels }
    })
    logger.info({ cluster: name, labels: cluster.labels }, 'cluster labels changed')
    onChange()
    return cluster
  }

  async updateValues(
    { name, set, remove }: { name: string; set: ClusterValues; remove: readonly string[] },
    actor: string,
  ): Promise<ClusterRecord> {
    const { store, logger, onChange, clock } = this.#options
    const cluster = await store.transaction(async (transaction) => {
      const before = await getClusterByName(transaction, name)
      await leaveToPeople(transaction, name, 'values', [...Object.keys(set), ...remove])
      const kept = Object.entries(before.values).filter(([key]) => !remove.includes(key))
      const values = { ...Object.fromEntries(kept), ...set }
      checkValues(values)
      const text = JSON.stringify(values)
      await transaction.updateTable('clusters').set({ cluster_values: text }).where('id', '=', before.id).execute()
      const detail = { set, remove, before: before.values, after: values }
      await writeAudit(transaction, { actor, action: 'cluster.value', object: `Cluster/${name}`, detail }, clock())
      return { ...before, values }
    })
    logger.info({ cluster: name, keys: Object.keys(cluster.values) }, 'cluster values changed')
    onChange()
    return cluster
  }

  async remove(name: string, actor: string): Promise<void> {
    const { store, logger, onChange, clock, enrolment } = this.#options
    const cluster = await store.transaction((transaction) =>
      deleteCluster(transaction, { name, actor, nowMs: clock() }),
    )
    logger.info({ cluster: name, clusterId: cluster.id }, 'cluster removed')
    onChange()
    await enrolment.disconnect(cluster.publicKey)
  }

  async #addToken(transaction: Transaction<Schema>, clusterId: string, ttlMs: number): Promise<JoinInstructions> {
    const { clock, hubAddress, caPin } = this.#options
    const nowMs = clock()
    const token = createToken()
    await storeToken(transaction, { token, clusterId, expiresAtMs: nowMs + ttlMs, nowMs })
    const expiresAt = timestampFromMs(nowMs + ttlMs)
    const address = typeof hubAddress === 'string' ? hubAddress : hubAddress()
    return create(JoinInstructionsSchema, { token, expiresAt, hubAddress: address, caPin })
  }
}

async function insertCluster(
  transaction: Transaction<Schema>,
  { name, labels, nowMs }: { name: string; labels: Labels; nowMs: number },
): Promise<ClusterRecord> {
  const taken = await transaction.selectFrom('clusters').select('id').where('name', '=', name).executeTakeFirst()
  if (taken) {
    throw new AppError(
      'AlreadyExists',
      `there is a cluster ${JSON.stringify(name)} already; for a new join token: fairlead cluster token ${name}`,
    )
  }
  const row = {
    id: createClusterId(),
    name,
    labels: JSON.stringify(labels),
    cluster_values: '{}',
    public_key: null,
    capabilities: '',
    facts: null,
    created_at: nowMs,
    joined_at: null,
  }
  await transaction.insertInto('clusters').values(row).execute()
  return readClusterRow(row)
}

async function deleteCluster(
  transaction: Transaction<Schema>,
  { name, actor, nowMs }: { name: string; actor: string; nowMs: number },
): Promise<ClusterRecord> {
  const cluster = await getClusterByName(transaction, name)
  if (cluster.publicKey !== undefined) await revokeKey(transaction, cluster.publicKey, nowMs)
  // Tokens, deployments, slices and reports go with the row.
  await transaction.deleteFrom('clusters').where('id', '=', cluster.id).execute()
  await transaction.deleteFrom('outbox').where('kind', '=', 'slice').where('key', '=', cluster.id).execute()
  await transaction.insertInto('outbox').values({ kind: 'purge-cluster', key: cluster.id, created_at: nowMs }).execute()
  // An application that only waited for this cluster to confirm its removal is gone now.
  await transaction
    .deleteFrom('applications')
    .where('deleting', 'is not', null)
    .where(({ not, exists, selectFrom }) =>
      not(exists(selectFrom('deployments').select('application').whereRef('application', '=', 'applications.name'))),
    )
    .execute()
  const detail = { id: cluster.id }
  await writeAudit(transaction, { actor, action: 'cluster.remove', object: `Cluster/${name}`, detail }, nowMs)
  return cluster
}

// Keeps inventories in the agent's own namespace.
import { sha256Hex } from '@fairlead/shared/digest'
import type { Logger } from '@fairlead/shared/logger'
import { SECRETS } from '../kube/core-kinds.ts'
import type { Kube } from '../kube/kube.ts'
import type { Inventory } from './inventory.ts'
import { decodeInventories, encodeInventory, INVENTORY_LABEL, type StoredInventory } from './inventory-codec.ts'

/** Where inventories are kept. */
export interface InventoryStoreOptions {
  readonly kube: Kube
  /** The agent's own namespace. */
  readonly namespace: string
  readonly logger: Logger
}

interface Saved {
  readonly content: string
  readonly sequence: number
  readonly names: readonly string[]
}

/** Reads and writes inventories. Writes of one application must not overlap. */
export class InventoryStore {
  readonly #options: InventoryStoreOptions
  readonly #saved = new Map<string, Saved>()

  constructor(options: InventoryStoreOptions) {
    this.#options = options
  }

  /** All inventories in the cluster, by application. One that cannot be read is logged and left out: nothing of it is deleted, and what is declared is adopted again by its labels. */
  async load(signal?: AbortSignal): Promise<ReadonlyMap<string, Inventory>> {
    const { kube, namespace, logger } = this.#options
    const { items } = await kube.list(SECRETS, { namespace, labelSelector: `${INVENTORY_LABEL}=true`, signal })
    const inventories = decodeInventories(items, (name, error) =>
      logger.error({ secret: name, error }, 'inventory cannot be read'),
    )
    for (const [application, stored] of inventories) this.#saved.set(application, remember(stored))
    return inventories
  }

  /** Writes an inventory; no request when it is as written last. Throws as Kube does, then call again. */
  async save(inventory: Inventory, signal?: AbortSignal): Promise<void> {
    const { kube, namespace } = this.#options
    const last = this.#saved.get(inventory.application)
    const content = contentOf(inventory)
    if (last?.content === content) return
    const sequence = (last?.sequence ?? 0) + 1
    const parts = encodeInventory(inventory, namespace, sequence)
    // Until all parts are written, what is remembered is nothing: a failure in between makes the next save write all.
    this.#saved.set(inventory.application, { content: '', sequence, names: last?.names ?? [] })
    for (const part of parts.toReversed()) {
      await kube.apply(SECRETS, part.metadata, part, { metadataOnly: true, signal })
    }
    const names = parts.map((part) => part.metadata.name)
    for (const name of last?.names ?? []) if (!names.includes(name)) await this.#delete(name, signal)
    this.#saved.set(inventory.application, { content, sequence, names })
  }

  /** Forgets an application. */
  async remove(application: string, signal?: AbortSignal): Promise<void> {
    for (const name of this.#saved.get(application)?.names ?? []) await this.#delete(name, signal)
    this.#saved.delete(application)
  }

  async #delete(name: string, signal?: AbortSignal): Promise<void> {
    const { kube, namespace } = this.#options
    await kube.delete(SECRETS, { name, namespace }, { signal })
  }
}

function remember(stored: StoredInventory): Saved {
  return { content: contentOf(stored), sequence: stored.sequence, names: stored.names }
}

/** Equal exactly when what would be written is. */
function contentOf(inventory: Inventory): string {
  const {
    artifactDigest,
    appliedAtMs,
    inputs = '',
    account = '',
    records,
    validatedDigest = '',
    inForce = '',
    hooks = [],
  } = inventory
  const rows = records.map((record) => {
    const { group, version, kind, plural, namespace, name, wave, uid, declaredHash, entryHash } = record
    const approved = record.isPruneApproved ? `approved ${(record.approvedTakes ?? []).join(',')}` : ''
    return [group, kind, namespace, name, version, plural, wave, uid, declaredHash, entryHash, approved].join(' ')
  })
  const runs = hooks.map(({ namespace, name, version, uid, run, state, message }) =>
    [namespace, name, version, uid, run, state, message].join(' '),
  )
  return sha256Hex(
    JSON.stringify([artifactDigest, appliedAtMs, inputs, account, rows.sort(), validatedDigest, inForce, runs.sort()]),
  )
}

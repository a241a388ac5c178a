// Inventories as Secrets: JSON while small, gzip when larger, several Secrets when one would be too large. Secrets,
// because they hold the key of the artifact that is in force, and so that the agent needs to write no ConfigMap of its own
// namespace, where the cluster's policy is one.
import { gunzipSync, gzipSync } from 'node:zlib'
import { AppError } from '@fairlead/shared/errors'
import { APPLICATION_LABEL } from '@fairlead/shared/labels'
import type { KubernetesObject } from '@fairlead/shared/object-reference'
import { type HookRecord, type HookState, type Inventory, type InventoryRecord, recordKey } from './inventory.ts'

/** On every Secret that holds an inventory. */
export const INVENTORY_LABEL = 'fairlead.dev/inventory'
/** Largest content of one Secret in bytes; the API server's limit is 1 MiB. */
const PART_MAX_BYTES = 900_000
/** From this size on the content is compressed. */
const PLAIN_MAX_BYTES = 32_768
/** Bound on what a part may inflate to. */
const INFLATED_MAX_BYTES = 64 * 1024 * 1024

const PLAIN_KEY = 'inventory.json'
const COMPRESSED_KEY = 'inventory.json.gz'

type KindRow = [group: string, version: string, kind: string, plural: string, namespaced: 0 | 1]
type ObjectRow = [
  kind: number,
  namespace: string,
  name: string,
  uid: string,
  declared: string,
  entry: string,
  wave: number,
  /** Present when its deletion was approved: with what else may go with it, if anything may. */
  approved?: 1 | readonly string[],
]

type HookRow = [
  namespace: string,
  name: string,
  version: string,
  uid: string,
  run: string,
  state: HookState,
  message: string,
]

interface PartDocument {
  version: 1
  application: string
  /** Grows with each write: of two parts that speak of one object the newer is right. */
  sequence: number
  parts: number
  artifactDigest: string
  appliedAtMs: number
  inputs?: string
  account?: string
  kinds: KindRow[]
  objects: ObjectRow[]
  /** In the first part only, and only where there is something to say. */
  validated?: string
  inForce?: string
  hooks?: HookRow[]
}

/** Name of a part's Secret. Application names hold no dots, so no two collide. */
export function inventoryName(application: string, part: number): string {
  return `fairlead-inventory-${application}${part === 0 ? '' : `.${part}`}`
}

/** The Secrets that hold an inventory; the first is to be written last. */
export function encodeInventory(inventory: Inventory, namespace: string, sequence: number): KubernetesObject[] {
  for (let perPart = 8_000; ; perPart = Math.ceil(perPart / 2)) {
    const parts = encodeParts(inventory, sequence, perPart)
    if (perPart > 1 && parts.some((part) => part.content.length > PART_MAX_BYTES)) continue
    return parts.map((part, index) => secret(inventory.application, namespace, index, part))
  }
}

interface EncodedPart {
  readonly content: Buffer
  readonly compressed: boolean
}

function encodeParts(inventory: Inventory, sequence: number, perPart: number): EncodedPart[] {
  const { application, artifactDigest, appliedAtMs, inputs = '', account = '', records } = inventory
  const count = Math.max(1, Math.ceil(records.length / perPart))
  return Array.from({ length: count }, (_, index) => {
    const rows = encodeRows(records.slice(index * perPart, (index + 1) * perPart))
    const head = {
      version: 1,
      application,
      sequence,
      parts: count,
      artifactDigest,
      appliedAtMs,
      inputs,
      account,
    } as const
    const more = index === 0 ? encodeRevisionState(inventory) : {}
    const plain = Buffer.from(JSON.stringify({ ...head, ...rows, ...more } satisfies PartDocument))
    if (plain.length <= PLAIN_MAX_BYTES) return { content: plain, compressed: false }
    return { content: gzipSync(plain, { level: 1 }), compressed: true }
  })
}

function encodeRevisionState({
  validatedDigest,
  inForce,
  hooks = [],
}: Inventory): Pick<PartDocument, 'validated' | 'inForce' | 'hooks'> {
  const rows = hooks.map(
    ({ namespace, name, version, uid, run, state, message }): HookRow => [
      namespace,
      name,
      version,
      uid,
      run,
      state,
      message,
    ],
  )
  return {
    ...(validatedDigest && { validated: validatedDigest }),
    ...(inForce && { inForce }),
    ...(rows.length > 0 && { hooks: rows }),
  }
}

function decodeHooks(rows: readonly HookRow[] = []): HookRecord[] {
  return rows.map(([namespace, name, version, uid, run, state, message]) => ({
    namespace,
    name,
    version,
    uid,
    run,
    state,
    message,
  }))
}

function encodeRows(records: readonly InventoryRecord[]): Pick<PartDocument, 'kinds' | 'objects'> {
  const kinds: KindRow[] = []
  const indexes = new Map<string, number>()
  const objects = records.map((record): ObjectRow => {
    const row: KindRow = [record.group, record.version, record.kind, record.plural, record.namespaced ? 1 : 0]
    const key = row.join('/')
    const index = indexes.get(key) ?? kinds.push(row) - 1
    indexes.set(key, index)
    const { namespace, name, uid, declaredHash, entryHash, wave, isPruneApproved, approvedTakes = [] } = record
    const object: ObjectRow = [index, namespace, name, uid, declaredHash, entryHash, wave]
    if (isPruneApproved) object.push(approvedTakes.length > 0 ? approvedTakes : 1)
    return object
  })
  return { kinds, objects }
}

function secret(application: string, namespace: string, part: number, encoded: EncodedPart): KubernetesObject {
  const labels = { [INVENTORY_LABEL]: 'true', [APPLICATION_LABEL]: application }
  return {
    apiVersion: 'v1',
    kind: 'Secret',
    metadata: { name: inventoryName(application, part), namespace, labels },
    type: 'fairlead.dev/inventory',
    data: { [encoded.compressed ? COMPRESSED_KEY : PLAIN_KEY]: encoded.content.toString('base64') },
  }
}

/** One application's inventory as found in the cluster. */
export interface StoredInventory extends Inventory {
  readonly sequence: number
  /** Names of the Secrets that hold it. */
  readonly names: readonly string[]
}

/** Inventories out of Secrets, by application; what a crash between two parts left is put together so that no object is forgotten. Calls `onCorrupt` for what cannot be read. */
export function decodeInventories(
  secrets: readonly KubernetesObject[],
  onCorrupt: (name: string, error: AppError) => void,
): Map<string, StoredInventory> {
  const parts = new Map<string, { name: string; document: PartDocument }[]>()
  for (const found of secrets) {
    try {
      const document = decodePart(found)
      const known = parts.get(document.application) ?? []
      parts.set(document.application, [...known, { name: found.metadata.name, document }])
    } catch (cause) {
      const message = `the inventory ${found.metadata.name} cannot be read`
      onCorrupt(found.metadata.name, new AppError('InvalidArgument', message, { cause }))
    }
  }
  return new Map([...parts].map(([application, found]) => [application, joinParts(application, found)]))
}

function joinParts(application: string, found: { name: string; document: PartDocument }[]): StoredInventory {
  found.sort((a, b) => a.document.sequence - b.document.sequence)
  const newest = found.at(-1)?.document
  const isWhole = newest !== undefined && found.every(({ document }) => document.sequence === newest.sequence)
  const records = new Map<string, InventoryRecord>()
  for (const { document } of found) {
    for (const record of decodeRows(document)) records.set(recordKey(record), record)
  }
  // The first part is written last, so it may be older than the others: then it knows less, and nothing wrong.
  const first = found.find(({ name }) => name === inventoryName(application, 0))?.document
  return {
    application,
    validatedDigest: first?.validated ?? '',
    inForce: first?.inForce ?? '',
    hooks: decodeHooks(first?.hooks),
    artifactDigest: isWhole && found.length === newest.parts ? newest.artifactDigest : '',
    appliedAtMs: newest?.appliedAtMs ?? 0,
    inputs: newest?.inputs ?? '',
    account: newest?.account ?? '',
    records: [...records.values()],
    sequence: newest?.sequence ?? 0,
    names: found.map(({ name }) => name),
  }
}

function decodePart(found: KubernetesObject): PartDocument {
  const data = (found.data ?? {}) as Record<string, string>
  const [plain, compressed = ''] = [data[PLAIN_KEY], data[COMPRESSED_KEY]]
  const text = (
    plain === undefined
      ? gunzipSync(Buffer.from(compressed, 'base64'), { maxOutputLength: INFLATED_MAX_BYTES })
      : Buffer.from(plain, 'base64')
  ).toString('utf8')
  const document = JSON.parse(text) as PartDocument
  if (document.version !== 1 || typeof document.application !== 'string') throw new Error('unknown version')
  return document
}

function decodeRows({ kinds, objects }: PartDocument): InventoryRecord[] {
  return objects.map(([index, namespace, name, uid, declaredHash, entryHash, wave, approved]) => {
    const row = kinds[index]
    if (!row) throw new Error(`no kind ${index}`)
    const [group, version, kind, plural, namespaced] = row
    const type = { group, version, kind, plural, namespaced: namespaced === 1 }
    const stored = { ...type, namespace, name, uid, declaredHash, entryHash, wave }
    if (Array.isArray(approved)) return { ...stored, isPruneApproved: true, approvedTakes: approved.map(String) }
    return approved === 1 ? { ...stored, isPruneApproved: true } : stored
  })
}

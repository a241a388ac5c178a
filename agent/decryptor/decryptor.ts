// Decrypts the manifests of an application with the keys of this cluster, in memory. The keys are read anew each time, so
// that a new one takes effect without a restart and a removed one is not used again.
import { setImmediate as nextTurn } from 'node:timers/promises'
import { AppError } from '@fairlead/shared/errors'
import type { KubernetesObject } from '@fairlead/shared/object-reference'
import { AgeKeys, type AgeKeysOptions } from './age-keys.ts'
import { type JsonMap, parseJsonTree, toPlain } from './json-tree.ts'
import { decryptDocuments, pathKey, readMetadata } from './sops.ts'

/** A document as it is in Git. */
export interface EncryptedDocument {
  readonly json: Uint8Array
  /** Documents of one file have one MAC. */
  readonly file: string
}

/** A document in the clear. */
export interface DecryptedDocument {
  readonly object: KubernetesObject
  /** The object with every secret value still encrypted: what may be hashed and kept. */
  readonly sealed: KubernetesObject
  /** True for the path of a value that was encrypted. */
  readonly wasEncrypted: (path: readonly (string | number)[]) => boolean
}

/** Decrypts with the keys of one cluster. */
export class Decryptor {
  readonly #options: AgeKeysOptions

  constructor(options: AgeKeysOptions) {
    this.#options = options
  }

  /**
   * Decrypts documents of an application, in the order in which they are declared; for each the document, or why it cannot
   * be decrypted (DecryptionFailed). Throws ApiServerUnavailable or Aborted: then nothing is known.
   */
  async decrypt(
    documents: readonly EncryptedDocument[],
    application: string,
    signal: AbortSignal,
  ): Promise<(DecryptedDocument | AppError)[]> {
    return documents.length === 0 ? [] : await decryptWith(await this.#readKeys(application, signal), documents, signal)
  }

  async #readKeys(application: string, signal: AbortSignal): Promise<AgeKeys | AppError> {
    try {
      return await AgeKeys.read(this.#options, application, signal)
    } catch (error) {
      if (error instanceof AppError && error.code === 'DecryptionFailed') return error
      throw error
    }
  }
}

/** As Decryptor.decrypt, with these keys, or without any because of an error. */
export async function decryptWith(
  keys: AgeKeys | AppError,
  documents: readonly EncryptedDocument[],
  signal: AbortSignal,
): Promise<(DecryptedDocument | AppError)[]> {
  const trees = documents.map(readTree)
  const results: (DecryptedDocument | AppError)[] = trees.map((tree) => (isMap(tree) ? failure('not looked at') : tree))
  for (const indexes of groupByFile(documents, trees)) {
    await nextTurn()
    signal.throwIfAborted()
    const outcome = await decryptGroup(indexes.map((index) => trees[index]).filter(isMap), keys)
    for (const [position, index] of indexes.entries()) {
      results[index] = outcome instanceof AppError ? outcome : (outcome[position] ?? failure('not decrypted'))
    }
  }
  return results
}

async function decryptGroup(
  trees: readonly JsonMap[],
  keys: AgeKeys | AppError,
): Promise<DecryptedDocument[] | AppError> {
  try {
    const [first] = trees
    if (!first) return []
    const metadata = readMetadata(first)
    if (keys instanceof AppError) return keys
    const clear = decryptDocuments(trees, metadata, await keys.open(metadata.keys))
    return clear.map(({ tree, decrypted }, index) => ({
      object: toPlain(tree) as KubernetesObject,
      sealed: withoutBlock(trees[index]),
      wasEncrypted: (path) => decrypted.has(pathKey(path)),
    }))
  } catch (error) {
    if (error instanceof AppError && error.code === 'DecryptionFailed') return error
    throw error
  }
}

function withoutBlock(tree: JsonMap = new Map()): KubernetesObject {
  return toPlain(new Map([...tree].filter(([key]) => key !== 'sops'))) as KubernetesObject
}

function readTree({ json }: EncryptedDocument): JsonMap | AppError {
  try {
    const tree = parseJsonTree(Buffer.from(json).toString('utf8'))
    return tree instanceof Map ? tree : failure('it is not a mapping')
  } catch {
    return failure('it is not JSON')
  }
}

/** Indexes of the documents that share a MAC, in their order. */
function groupByFile(documents: readonly EncryptedDocument[], trees: readonly (JsonMap | AppError)[]): number[][] {
  const indexes = documents.map((_, index) => index).filter((index) => isMap(trees[index]))
  const groups = Map.groupBy(indexes, (index) => {
    const tree = trees[index]
    const block = isMap(tree) ? tree.get('sops') : undefined
    return JSON.stringify([documents[index]?.file, isMap(block) ? block.get('mac') : index])
  })
  return [...groups.values()]
}

function isMap(value: unknown): value is JsonMap {
  return value instanceof Map
}

function failure(message: string): AppError {
  return new AppError('DecryptionFailed', message)
}

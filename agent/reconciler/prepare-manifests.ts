// From the manifests of an artifact to objects in the clear: decrypted with this cluster's keys, with this cluster's
// variables. What cannot be prepared is refused by itself and holds up nothing else.
import { setImmediate as nextTurn } from 'node:timers/promises'
import type { Manifest } from '@fairlead/proto/slice'
import { checkAnnotations } from '@fairlead/shared/annotations'
import { type ClusterVariables, type Substitution, substitute } from '@fairlead/shared/cluster-variables'
import { AppError } from '@fairlead/shared/errors'
import type { KubernetesObject } from '@fairlead/shared/object-reference'
import { isEncrypted } from '@fairlead/shared/sops'
import { mayHoldVariables } from '@fairlead/shared/variables'
import { type ParsedManifest, parseManifest } from '../applier/declared.ts'
import type { DecryptedDocument, Decryptor } from '../decryptor/decryptor.ts'
import type { ObjectRecord } from './object-record.ts'

/** A manifest that is not applied, and why. */
export interface RefusedManifest {
  /** As it is in the artifact. */
  readonly parsed: ParsedManifest
  readonly error: AppError
}

/** The manifests of an application on this cluster. */
export interface PreparedManifests {
  readonly parsed: readonly ParsedManifest[]
  readonly refused: readonly RefusedManifest[]
  /** Names of the variables that the application uses. */
  readonly used: ReadonlySet<string>
}

/** With what manifests are prepared. */
export interface PrepareOptions {
  readonly application: string
  /** Undefined: the application wants none replaced. */
  readonly variables: ClusterVariables | undefined
  readonly decryptor: Pick<Decryptor, 'decrypt'>
  readonly signal: AbortSignal
}

/** Objects prepared before others get their turn: parsing thousands must not hold up repairs. */
const BATCH = 100
/** How a variable begins. */
const VARIABLE = '${cluster.'
/** What variables may add to all objects of an application, in characters. */
const ADDED_MAX = 64 * 1024 * 1024

/** Prepares all manifests. Throws InvalidManifest when the artifact holds something that is no object, ApiServerUnavailable when keys cannot be read, and Aborted. */
export async function prepareManifests(
  manifests: readonly Manifest[],
  options: PrepareOptions,
): Promise<PreparedManifests> {
  const originals: ParsedManifest[] = []
  for (const [index, manifest] of manifests.entries()) {
    if (index % BATCH === BATCH - 1) await nextTurn()
    originals.push(parseManifest(manifest))
  }
  const opened = await decryptAll(manifests, originals, options)
  const parsed: ParsedManifest[] = []
  const refused: RefusedManifest[] = []
  const used = new Set<string>()
  let added = 0
  for (const [index, original] of originals.entries()) {
    if (index % BATCH === BATCH - 1) await nextTurn()
    const decrypted = opened.get(original)
    if (decrypted instanceof AppError) {
      refused.push({ parsed: original, error: decrypted })
      continue
    }
    const clear = decrypted ? { ...original, object: decrypted.object, sealed: decrypted.sealed } : original
    if (!options.variables || !viewOf(manifests[index]).includes(VARIABLE)) {
      // The hub has looked at what it could read.
      const error = decrypted && annotationError(clear.object)
      if (error) refused.push({ parsed: original, error })
      else parsed.push(clear)
      continue
    }
    // What was decrypted may hold any characters, and is not looked at.
    const isExempt = decrypted?.wasEncrypted
    const outcome = substitute(clear.object, { variables: options.variables, isExempt, limit: ADDED_MAX - added })
    for (const name of outcome.used) used.add(name)
    added += outcome.added
    const error = errorOf(outcome) ?? annotationError(outcome.object)
    if (error) refused.push({ parsed: original, error })
    else parsed.push(withVariables(clear, outcome.object, options.variables))
  }
  options.signal.throwIfAborted()
  return { parsed, refused, used }
}

function withVariables(
  manifest: ParsedManifest,
  object: KubernetesObject,
  variables: ClusterVariables,
): ParsedManifest {
  const { sealed } = manifest
  return { ...manifest, object, ...(sealed ? { sealed: substitute(sealed, { variables }).object } : {}) }
}

/** The encrypted ones in the clear, or why they cannot be. */
async function decryptAll(
  manifests: readonly Manifest[],
  originals: readonly ParsedManifest[],
  { application, decryptor, signal }: PrepareOptions,
): Promise<ReadonlyMap<ParsedManifest, DecryptedDocument | AppError>> {
  const encrypted = [...originals.entries()].filter(([, { object }]) => isEncrypted(object))
  const documents = encrypted.map(([index, { source }]) => ({
    json: viewOf(manifests[index]),
    file: source?.file ?? '',
  }))
  const outcomes = await decryptor.decrypt(documents, application, signal)
  return new Map(
    encrypted.map(([, original], index) => [original, outcomes[index] ?? new AppError('Internal', 'not decrypted')]),
  )
}

/** The manifest's own bytes: a copy would cost as much again. */
function viewOf(manifest: Manifest | undefined): Buffer {
  const { buffer, byteOffset, byteLength } = manifest?.json ?? new Uint8Array()
  return Buffer.from(buffer, byteOffset, byteLength)
}

function errorOf({ object, faults: [fault] }: Substitution): AppError | undefined {
  if (fault) return refusal('UnknownVariable', fault.field, fault.message)
  // Both become parts of a path. What else a name must be the API server says, which knows the kind.
  const { name, namespace } = object.metadata
  if (!NAME.test(name))
    return refusal('InvalidManifest', 'metadata.name', 'not a valid name with its variables replaced')
  if (!namespace || NAMESPACE.test(namespace)) return undefined
  return refusal('InvalidManifest', 'metadata.namespace', 'not a valid namespace with its variables replaced')
}

/** A value that means nothing must not pass for none: what is to be kept would be deleted. */
function annotationError({ apiVersion, kind, metadata }: KubernetesObject): AppError | undefined {
  const { annotations = {} } = metadata
  const [fault] = checkAnnotations({ apiVersion, kind, annotations }, { hasVariables: false })
  return fault === undefined ? undefined : refusal('InvalidManifest', 'metadata.annotations', fault)
}

const NAME = /^(?!\.{1,2}$)[^/%\s\p{Cc}]{1,253}$/u
const NAMESPACE = /^[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?$/

function refusal(code: 'UnknownVariable' | 'InvalidManifest', field: string, message: string): AppError {
  return new AppError(code, `${field}: ${message}`, { context: { field } })
}

/**
 * True when the record may be of a refused manifest: then it stays, whatever else is said of it. Of a name that depends
 * on a variable nothing is known.
 */
export function mayBeRefused(
  refused: readonly RefusedManifest[],
  record: Pick<ObjectRecord, 'group' | 'kind' | 'namespace' | 'name'>,
  defaultNamespace: string,
): boolean {
  return refused.some(({ parsed }) => {
    const { name, namespace = '' } = parsed.object.metadata
    const agrees = (text: string, is: string): boolean => mayHoldVariables(text) || text === is
    if (parsed.group !== record.group || parsed.kind !== record.kind || !agrees(name, record.name)) return false
    return record.namespace === '' || agrees(namespace || defaultNamespace || 'default', record.namespace)
  })
}

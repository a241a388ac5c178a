// Manifests as they are applied: our labels and the namespace added, every other byte of meaning left as it is (what is
// empty in metadata has none).

import type { SourceLocation } from '@fairlead/proto/common'
import type { Manifest } from '@fairlead/proto/slice'
import { canonicalJson, sha256Hex } from '@fairlead/shared/digest'
import { AppError } from '@fairlead/shared/errors'
import { parseExactJson } from '@fairlead/shared/exact-json'
import type { FieldPath } from '@fairlead/shared/field-path'
import {
  APPLICATION_LABEL,
  BEFORE_HOOKS_ANNOTATION,
  MANAGED_BY,
  MANAGED_BY_LABEL,
  MERGE_ANNOTATION,
  PRUNE_ANNOTATION,
  WAVE_ANNOTATION,
} from '@fairlead/shared/labels'
import { type KubernetesObject, objectKey, splitApiVersion } from '@fairlead/shared/object-reference'
import type { ResourceType } from '../kube/kube.ts'
import { withoutEmptyMetadata } from './empty-metadata.ts'

/** One object of an application as it is to be applied. */
export interface Declared {
  /** objectKey of it. */
  readonly key: string
  /** Which application declares it. */
  readonly application: string
  readonly resource: ResourceType
  readonly group: string
  readonly kind: string
  /** Empty for cluster-scoped kinds. */
  readonly namespace: string
  readonly name: string
  readonly wave: number
  /** It is written before the pre-sync hooks of its revision run. */
  readonly beforeHooks: boolean
  /** The JSON that is sent. */
  readonly body: Uint8Array
  /** Equal exactly when what is sent is equal. */
  readonly hash: string
  /** Values of it were decrypted: nothing that is said of it may quote from it. */
  readonly sensitive: boolean
  /** What people add to it stays. */
  readonly merge: boolean
  /** It is never deleted. */
  readonly keep: boolean
  /** Fields that are left to others; they are not in `body`. */
  readonly ignored: readonly FieldPath[]
  /** Why it cannot be applied as it stands in Git; undefined when it can. */
  readonly refusal: AppError | undefined
  /** The number of replicas that is declared; undefined where there is none. */
  readonly replicas: number | undefined
  /** It has a pod template. */
  readonly hasTemplate: boolean
  /** A Job that the cluster takes away some time after it is finished. */
  readonly expires: boolean
  readonly source: SourceLocation | undefined
}

/** A manifest before its kind is known to the API server. */
export interface ParsedManifest {
  readonly object: KubernetesObject
  readonly group: string
  readonly version: string
  readonly kind: string
  readonly source: SourceLocation | undefined
  /** Where values of it were decrypted: the object with all of them still encrypted. */
  readonly sealed?: KubernetesObject
}

/** Reads one manifest. Integers beyond 2^53 keep their digits. Throws InvalidManifest when it is not a Kubernetes object. */
export function parseManifest(manifest: Pick<Manifest, 'json' | 'source'>): ParsedManifest {
  const object = parseExactJson(Buffer.from(manifest.json).toString('utf8')) as KubernetesObject | null
  const { apiVersion, kind, metadata } = object ?? {}
  if (!object || typeof apiVersion !== 'string' || typeof kind !== 'string' || typeof metadata?.name !== 'string') {
    throw new AppError('InvalidManifest', 'a manifest of the artifact is not a Kubernetes object')
  }
  const [group, version] = splitApiVersion(apiVersion)
  return { object, group, version, kind, source: manifest.source }
}

/** The object as it is applied for an application. `defaultNamespace` is for objects of namespaced kinds that name none. */
export function declare(
  parsed: ParsedManifest,
  resource: ResourceType,
  application: string,
  defaultNamespace: string,
): Declared {
  const { object, group, kind } = parsed
  const { name } = object.metadata
  const namespace = resource.namespaced ? object.metadata.namespace || defaultNamespace || 'default' : ''
  const annotations = object.metadata.annotations ?? {}
  const complete = completeObject(parsed, object, { application, namespace })
  // A hash of what was decrypted could be guessed from: it is kept in the inventory, which is no Secret.
  const hashed = parsed.sealed ? completeObject(parsed, parsed.sealed, { application, namespace }) : complete
  return {
    key: objectKey({ group, kind, namespace, name }),
    application,
    resource,
    group,
    kind,
    namespace,
    name,
    wave: parseWave(annotations[WAVE_ANNOTATION]),
    beforeHooks: annotations[BEFORE_HOOKS_ANNOTATION] === 'true',
    body: Buffer.from(JSON.stringify(complete)),
    hash: sha256Hex(canonicalJson(hashed)).slice(0, 32),
    sensitive: parsed.sealed !== undefined,
    merge: annotations[MERGE_ANNOTATION] === 'true',
    keep: annotations[PRUNE_ANNOTATION] === 'disabled',
    ignored: [],
    refusal: undefined,
    replicas: replicasOf(object),
    hasTemplate: (object.spec as { template?: unknown } | null | undefined)?.template != null,
    expires: kind === 'Job' && (object.spec as { ttlSecondsAfterFinished?: unknown })?.ttlSecondsAfterFinished != null,
    source: parsed.source,
  }
}

function replicasOf({ spec }: KubernetesObject): number | undefined {
  const replicas = (spec as { replicas?: unknown } | null | undefined)?.replicas
  return typeof replicas === 'number' ? replicas : undefined
}

function completeObject(
  { group, kind }: ParsedManifest,
  object: KubernetesObject,
  { application, namespace }: { application: string; namespace: string },
): Record<string, unknown> {
  const metadata: Record<string, unknown> = { ...object.metadata }
  metadata.labels = { ...object.metadata.labels, [MANAGED_BY_LABEL]: MANAGED_BY, [APPLICATION_LABEL]: application }
  if (namespace === '') delete metadata.namespace
  else metadata.namespace = namespace
  // Written by the API server alone; an apply that carries them is refused.
  for (const field of SERVER_FIELDS) delete metadata[field]
  const { status: _status, ...rest } = group === '' && kind === 'Secret' ? withoutStringData(object) : object
  return withoutEmptyMetadata({ ...rest, metadata }, group)
}

const SERVER_FIELDS = [
  'managedFields',
  'uid',
  'resourceVersion',
  'creationTimestamp',
  'deletionTimestamp',
  'deletionGracePeriodSeconds',
  'generation',
  'selfLink',
]

/** The declared object again, for looking into it. */
export function readDeclared(declared: Pick<Declared, 'body'>): KubernetesObject {
  return parseExactJson(Buffer.from(declared.body).toString('utf8')) as KubernetesObject
}

/**
 * The JSON that makes the object and never changes one that is there: no object has the resourceVersion 1, so that the
 * API server answers 409 when it exists, and of a new one the field is not looked at (proven on 1.32 and 1.36).
 */
export function bodyIfAbsent(declared: Pick<Declared, 'body'>): Uint8Array {
  const object = readDeclared(declared)
  return Buffer.from(JSON.stringify({ ...object, metadata: { ...object.metadata, resourceVersion: '1' } }))
}

/** As the API server would: stringData is write-only, so what it sets could neither be owned nor be taken back. */
function withoutStringData(secret: KubernetesObject): KubernetesObject {
  const { stringData, ...rest } = secret
  if (typeof stringData !== 'object' || stringData === null) return secret
  const encoded = Object.entries(stringData).map(([key, text]) => [key, Buffer.from(String(text)).toString('base64')])
  return { ...rest, data: { ...(rest.data as object | undefined), ...Object.fromEntries(encoded) } } as KubernetesObject
}

function parseWave(text: string | undefined): number {
  const wave = Number(text ?? 0)
  return Number.isInteger(wave) ? wave : 0
}

/** Group and kind, and whether namespaced, of a CustomResourceDefinition; undefined for anything else. */
export function findDefinedKind(
  parsed: ParsedManifest,
): { group: string; kind: string; plural: string; namespaced: boolean } | undefined {
  if (parsed.group !== 'apiextensions.k8s.io' || parsed.kind !== 'CustomResourceDefinition') return undefined
  const spec = parsed.object.spec as
    | { group?: string; scope?: string; names?: { kind?: string; plural?: string } }
    | undefined
  const { kind, plural } = spec?.names ?? {}
  if (!spec?.group || !kind || !plural) return undefined
  return { group: spec.group, kind, plural, namespaced: spec.scope === 'Namespaced' }
}

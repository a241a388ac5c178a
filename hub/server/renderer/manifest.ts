// Decides whether a document is a Kubernetes object that can be applied, and what is wrong with it if not.
// Messages name fields, never values: they may be a Secret's.
import { create } from '@bufbuild/protobuf'
import { type ObjectReference, ObjectReferenceSchema } from '@fairlead/proto/common'
import { checkAnnotations } from '@fairlead/shared/annotations'
import type { ErrorCode } from '@fairlead/shared/errors'
import { splitApiVersion } from '@fairlead/shared/object-reference'
import { isEncrypted, isEncryptedValue } from '@fairlead/shared/sops'
import { replaceVariables } from '@fairlead/shared/variables'
import type { JsonObject, JsonValue } from './yaml-reader.ts'
import { isRawInteger } from './yaml-scalar.ts'

/** Why a document is refused. */
export interface ManifestFault {
  readonly code: ErrorCode
  readonly message: string
}

/** A document that is an object. */
export interface CheckedManifest {
  readonly object: JsonObject
  readonly reference: ObjectReference
}

/** What a document is: an object, or what is wrong with it. */
export type ManifestCheck =
  | CheckedManifest
  | { readonly faults: readonly ManifestFault[]; readonly reference: ObjectReference | undefined }

const LABEL = /^[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?$/
const SUBDOMAIN = /^[a-z0-9](?:[-a-z0-9]*[a-z0-9])?(?:\.[a-z0-9](?:[-a-z0-9]*[a-z0-9])?)*$/
const KIND = /^[A-Za-z](?:[-A-Za-z0-9]{0,61}[A-Za-z0-9])?$/
const VERSION = /^[a-z](?:[-a-z0-9]{0,61}[a-z0-9])?$/
// The longest name of any kind; more is for the API server to say, which knows the kind.
const NAME_MAX = 253

/** Fields that an API server writes; an object exported from a cluster has them, and none may be applied. */
const SERVER_FIELDS = [
  'creationTimestamp',
  'deletionGracePeriodSeconds',
  'deletionTimestamp',
  'generation',
  'managedFields',
  'resourceVersion',
  'selfLink',
  'uid',
]

/** True for `List` and every typed list: an object that only holds others. A list has no name; an object of a kind like IPAllowList has. */
export function isList(value: JsonValue): value is JsonObject & { items?: JsonValue[] | null } {
  if (!isObject(value) || typeof value.kind !== 'string') return false
  if (value.kind === 'List' && value.apiVersion === 'v1') return Array.isArray(value.items ?? [])
  const isNamed = isObject(value.metadata) && value.metadata.name !== undefined
  return value.kind.endsWith('List') && Array.isArray(value.items) && !isNamed
}

/** An item of a list, with what a typed list says of it: the items of a ConfigMapList need not name their kind. */
export function itemOfList(list: JsonObject, item: JsonValue): JsonValue {
  if (!isObject(item) || list.kind === 'List' || typeof list.kind !== 'string') return item
  const { apiVersion = list.apiVersion ?? null, kind = list.kind.slice(0, -'List'.length), ...rest } = item
  return { apiVersion, kind, ...rest }
}

/** Checks one document. The object comes back without the fields that only an API server writes. `substitute`: agents replace variables in it. */
export function checkManifest(document: JsonValue, { substitute }: { readonly substitute: boolean }): ManifestCheck {
  if (!isObject(document)) {
    return { faults: [invalid('not a Kubernetes object: the document is not a mapping')], reference: undefined }
  }
  if (isEncrypted(document) && isList(document)) {
    return { faults: [invalid('an encrypted list cannot be taken apart; encrypt each object')], reference: undefined }
  }
  if (isEncrypted(document) && namesAreEncrypted(document)) {
    const message = "apiVersion, kind or metadata is encrypted; encrypt with --encrypted-regex '^(data|stringData)$'"
    return { faults: [invalid(message)], reference: undefined }
  }
  if (document.kind === 'List' && document.apiVersion === 'v1' && !isList(document)) {
    return { faults: [invalid('items of a List must be a sequence')], reference: undefined }
  }
  const faults = [...checkType(document), ...checkMetadata(document.metadata), ...checkOrders(document, substitute)]
  const reference = findReference(document)
  if (faults.length > 0 || reference === undefined) return { faults, reference }
  // The MAC of an encrypted document covers every value: it must reach the cluster as it is.
  return { object: isEncrypted(document) ? document : withoutServerFields(document), reference }
}

function namesAreEncrypted({ apiVersion, kind, metadata }: JsonObject): boolean {
  const { name, namespace } = isObject(metadata) ? metadata : {}
  return [apiVersion, kind, name, namespace].some((text) => typeof text === 'string' && isEncryptedValue(text))
}

function checkType({ apiVersion, kind }: JsonObject): ManifestFault[] {
  const faults: ManifestFault[] = []
  const typeFault = checkString('apiVersion', apiVersion)
  if (typeFault) faults.push(typeFault)
  else if (!isApiVersion(String(apiVersion))) faults.push(invalid('apiVersion is not of the form v1 or group/v1'))
  const kindFault = checkString('kind', kind)
  if (kindFault) faults.push(kindFault)
  else if (!KIND.test(String(kind))) faults.push(invalid('kind is not a valid kind'))
  return faults
}

function isApiVersion(apiVersion: string): boolean {
  const [group, version] = splitApiVersion(apiVersion)
  const groupIsValid = apiVersion.includes('/') ? group.length <= NAME_MAX && SUBDOMAIN.test(group) : true
  return groupIsValid && VERSION.test(version)
}

function checkMetadata(metadata: JsonValue | undefined): ManifestFault[] {
  if (metadata === undefined || metadata === null) return [invalid('metadata.name is missing')]
  if (!isObject(metadata)) return [invalid('metadata must be a mapping')]
  return [
    ...checkName(metadata),
    ...checkNamespace(metadata.namespace),
    ...checkTexts('metadata.labels', metadata.labels),
    ...checkTexts('metadata.annotations', metadata.annotations),
  ]
}

function checkName({ name, generateName }: JsonObject): ManifestFault[] {
  if ((name === undefined || name === null || name === '') && generateName !== undefined) {
    return [invalid('metadata.generateName makes a new object at each apply; give the object a metadata.name')]
  }
  const fault = checkString('metadata.name', name)
  if (fault) return [fault]
  return isPathSegment(withoutVariables(String(name))) ? [] : [invalid('metadata.name is not a valid name')]
}

function checkNamespace(namespace: JsonValue | undefined): ManifestFault[] {
  if (namespace === undefined || namespace === null || namespace === '') return []
  if (typeof namespace !== 'string') {
    return [{ code: 'InvalidNamespace', message: wrongType('metadata.namespace', namespace) }]
  }
  if (LABEL.test(withoutVariables(namespace))) return []
  return [{ code: 'InvalidNamespace', message: 'metadata.namespace is not a valid name of a namespace' }]
}

function checkTexts(field: string, texts: JsonValue | undefined): ManifestFault[] {
  if (texts === undefined || texts === null) return []
  if (!isObject(texts)) return [invalid(`${field} must be a mapping`)]
  return Object.entries(texts)
    .filter(([, value]) => value !== null && typeof value !== 'string')
    .map(([key, value]) => invalid(wrongType(`${field}[${key}]`, value)))
}

/** What the annotations tell the agent; of an encrypted manifest only the agent can read them. */
function checkOrders(document: JsonObject, hasVariables: boolean): ManifestFault[] {
  const annotations = isObject(document.metadata) ? document.metadata.annotations : undefined
  if (!isObject(annotations) || isEncrypted(document)) return []
  const { apiVersion, kind } = document
  const object = { apiVersion: String(apiVersion), kind: String(kind), annotations }
  return checkAnnotations(object, { hasVariables }).map(invalid)
}

function checkString(field: string, value: JsonValue | undefined): ManifestFault | undefined {
  if (value === undefined || value === null || value === '') return invalid(`${field} is missing`)
  return typeof value === 'string' ? undefined : invalid(wrongType(field, value))
}

function wrongType(field: string, value: JsonValue): string {
  const isScalar = typeof value !== 'object' || isRawInteger(value)
  const scalar = isRawInteger(value) ? 'number' : typeof value
  const type = Array.isArray(value) ? 'a sequence' : isScalar ? `a ${scalar}` : 'a mapping'
  const hint = isScalar ? ' to YAML; quote it' : ''
  return `${field} must be text but is ${type}${hint}`
}

/** What stands for variables is known in the cluster; there it is checked again. */
function withoutVariables(text: string): string {
  return replaceVariables(text, () => 'x')
}

/** What every API server demands of every name: it becomes a part of a URL. */
function isPathSegment(name: string): boolean {
  return name.length <= NAME_MAX && name !== '.' && name !== '..' && !/[/%\s\p{Cc}]/u.test(name)
}

/** What a document says that it is; undefined when it does not even name a kind. */
export function findReference(document: JsonValue): ObjectReference | undefined {
  if (!isObject(document)) return undefined
  const metadata = isObject(document.metadata) ? document.metadata : {}
  const { kind, apiVersion } = document
  if (typeof kind !== 'string' || kind === '') return undefined
  const [group, version] = splitApiVersion(typeof apiVersion === 'string' ? apiVersion : '')
  const name = typeof metadata.name === 'string' ? metadata.name : ''
  const namespace = typeof metadata.namespace === 'string' ? metadata.namespace : ''
  return create(ObjectReferenceSchema, { group, version, kind, namespace, name })
}

function withoutServerFields(document: JsonObject): JsonObject {
  const { metadata } = document
  if (!isObject(metadata) || !SERVER_FIELDS.some((field) => Object.hasOwn(metadata, field))) return document
  const kept = Object.entries(metadata).filter(([field]) => !SERVER_FIELDS.includes(field))
  return { ...document, metadata: Object.fromEntries(kept) }
}

/** True for a mapping. */
export function isObject(value: JsonValue | undefined): value is JsonObject {
  return value !== null && typeof value === 'object' && !Array.isArray(value) && !isRawInteger(value)
}

function invalid(message: string): ManifestFault {
  return { code: 'InvalidManifest', message }
}

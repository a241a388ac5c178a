// Reading metadata.managedFields: who owns which fields (Kubernetes, "Server-Side Apply", "Field management").
// Everything here is pure and never looks at values: fieldsV1 holds names only.
import { createHash } from 'node:crypto'
import { canonicalJson } from '@fairlead/shared/digest'
import { type FieldPath, parseFieldPath } from '@fairlead/shared/field-path'
import { FIELD_MANAGER } from '@fairlead/shared/labels'
import type { KubernetesObject, ManagedFieldsEntry } from '@fairlead/shared/object-reference'
import { splitFields, splitOthersFields } from './field-selection.ts'
import { type FieldSet, hasPath, listLeaves, subtractFields, unionFields } from './field-set.ts'

/** Managers through which people write: kubectl in all its spellings, dashboards and browsers. */
export const PERSON_MANAGERS =
  /^(kubectl|before-first-apply|k9s|oc(-|$)|lens|headlamp|mozilla|dashboard|kubernetes-dashboard|freelens|openlens|octant|curl|postman)/i

/** A restart that a person asked for (`kubectl rollout restart`) is no drift. */
const RESTARTED_AT = parseFieldPath('spec.template.metadata.annotations[kubectl.kubernetes.io/restartedAt]')

/** What client-side apply notes for itself: alone it is no drift, for nothing that anybody reads differs. */
export const LAST_APPLIED: FieldSet = {
  'f:metadata': { 'f:annotations': { '.': {}, 'f:kubectl.kubernetes.io/last-applied-configuration': {} } },
}

/** True for the entry that our own server-side applies make. */
export function isOurEntry(entry: ManagedFieldsEntry): boolean {
  return entry.manager === FIELD_MANAGER && entry.operation === 'Apply' && !entry.subresource
}

/** Our own entry; undefined when we own nothing. */
export function findOurEntry(object: KubernetesObject): ManagedFieldsEntry | undefined {
  return object.metadata.managedFields?.find(isOurEntry)
}

/** 22 characters that are equal exactly when we own the same fields; empty when we own none. */
export function hashOurEntry(object: KubernetesObject): string {
  return hashEntry(findOurEntry(object))
}

/** The hash of one entry, as hashOurEntry. */
function hashEntry(entry: ManagedFieldsEntry | undefined): string {
  if (!entry) return ''
  const text = canonicalJson([entry.apiVersion, entry.fieldsV1 ?? {}])
  return createHash('sha256').update(text).digest().subarray(0, 16).toString('base64url')
}

/** The fields of an entry. */
export function fieldsOf(entry: ManagedFieldsEntry | undefined): FieldSet {
  return (entry?.fieldsV1 ?? {}) as FieldSet
}

/** An entry of a person, split into what must go and what may stay. */
export interface PersonEntry {
  readonly entry: ManagedFieldsEntry
  /** Everything but what may stay: the restart annotation, and the fields that are left to others. */
  readonly taken: FieldSet
  /** What may stay; undefined when the entry owns nothing of it. */
  readonly kept: FieldSet | undefined
}

/**
 * The entries of persons that own anything that must not be there. `left` are fields that are left to others. The note of
 * client-side apply goes with what else was added, and stays where nothing was.
 * Subresources (status, scale) are not looked at.
 */
export function findPersonEntries(
  object: KubernetesObject,
  persons: RegExp = PERSON_MANAGERS,
  left: readonly FieldPath[] = [],
): PersonEntry[] {
  const found: PersonEntry[] = []
  for (const entry of object.metadata.managedFields ?? []) {
    if (entry.subresource || isOurEntry(entry) || !persons.test(entry.manager ?? '')) continue
    const { selected, rest } = splitOthersFields(fieldsOf(entry), [RESTARTED_AT, ...left])
    if (Object.keys(subtractFields(rest, LAST_APPLIED)).length === 0) continue
    found.push({ entry, taken: rest, kept: Object.keys(selected).length > 0 ? selected : undefined })
  }
  return found
}

/** spec.replicas as a set. */
export const REPLICAS: FieldSet = { 'f:spec': { 'f:replicas': {} } }

/** The manager that set spec.replicas through the scale subresource and is no person; empty when none did. */
export function findScaler(object: KubernetesObject, persons: RegExp = PERSON_MANAGERS): string {
  const entry = (object.metadata.managedFields ?? []).find(
    (one) =>
      one.subresource === 'scale' &&
      !persons.test(one.manager ?? '') &&
      one.manager !== FIELD_MANAGER &&
      hasPath(fieldsOf(one), ['f:spec', 'f:replicas']),
  )
  return entry?.manager ?? ''
}

/** Whether our own entry owns spec.replicas. */
export function ownsReplicas(object: KubernetesObject): boolean {
  return hasPath(fieldsOf(findOurEntry(object)), ['f:spec', 'f:replicas'])
}

/** What others that are no persons own of the resources of a pod template's containers. */
export function findForeignResources(object: KubernetesObject, persons: RegExp = PERSON_MANAGERS): FieldSet {
  let found: FieldSet = {}
  for (const entry of object.metadata.managedFields ?? []) {
    if (entry.subresource || isOurEntry(entry) || persons.test(entry.manager ?? '')) continue
    found = unionFields(found, splitFields(fieldsOf(entry), CONTAINER_RESOURCES).selected)
  }
  return found
}

/** Paths to the resources of the containers whose resources others own, that are no persons. */
export function findResizedContainers(object: KubernetesObject, persons: RegExp = PERSON_MANAGERS): FieldPath[] {
  const template = step(step(findForeignResources(object, persons), 'f:spec'), 'f:template')
  return CONTAINER_LISTS.flatMap((list) =>
    Object.keys(step(step(template, 'f:spec'), `f:${list}`)).flatMap((item) => {
      const name = /^k:\{"name":(".*")\}$/.exec(item)?.[1]
      if (name === undefined) return []
      const keys = { name: JSON.parse(name) as string }
      return [
        [
          ...['spec', 'template', 'spec', list].map((field) => ({ kind: 'field', name: field }) as const),
          { kind: 'item', keys } as const,
          { kind: 'field', name: 'resources' } as const,
        ],
      ]
    }),
  )
}

function step(fields: FieldSet, name: string): FieldSet {
  return fields[name] ?? {}
}

const CONTAINER_LISTS = ['containers', 'initContainers'] as const
const CONTAINER_RESOURCES = CONTAINER_LISTS.map((list) => parseFieldPath(`spec.template.spec.${list}[*].resources`))

/** The hash that our entry would have if it owned these fields too. */
export function hashWithFields(object: KubernetesObject, fields: FieldSet): string {
  const entry = findOurEntry(object)
  return entry ? hashEntry({ ...entry, fieldsV1: unionFields(fieldsOf(entry), fields) }) : ''
}

/** Who wrote last besides us, status writers left out; of several at the same second the one that owns most of `lost`. Empty when it cannot be told. */
export function findRival(object: KubernetesObject, lost: FieldSet = {}): string {
  const entries = (object.metadata.managedFields ?? []).filter(
    (entry) => !isOurEntry(entry) && entry.subresource !== 'status',
  )
  const score = (entry: ManagedFieldsEntry): number =>
    listLeaves(lost).length - listLeaves(subtractFields(lost, fieldsOf(entry))).length
  entries.sort((a, b) => score(b) - score(a) || (b.time ?? '').localeCompare(a.time ?? ''))
  return entries[0]?.manager ?? ''
}

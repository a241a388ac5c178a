// Taking over what others own: their fields become ours by a patch of managedFields, so that the next apply drops
// whatever Git does not have. Guarded by resourceVersion: a writer in between makes the patch fail, not the object.
import type { FieldPath } from '@fairlead/shared/field-path'
import { FIELD_MANAGER } from '@fairlead/shared/labels'
import type { KubernetesObject, ManagedFieldsEntry } from '@fairlead/shared/object-reference'
import type { JsonPatchOperation } from '../kube/kube.ts'
import { emptyAgain } from './emptied.ts'
import { splitOthersFields } from './field-selection.ts'
import { type FieldSet, subtractFields, unionFields } from './field-set.ts'
import { fieldsOf, findPersonEntries, isOurEntry, PERSON_MANAGERS } from './managed-fields.ts'

/** Whose entries to take: those of persons, or (where an apply is refused for what others added) of every writer of the object itself. */
export type TakeOverScope = 'persons' | 'all'

/** How much is taken. */
export interface TakeOverOptions {
  /** Default persons. */
  readonly scope?: TakeOverScope
  /** Managers through which people write, default PERSON_MANAGERS. */
  readonly persons?: RegExp
  /** Fields that are left to others: never taken. Default none. */
  readonly left?: readonly FieldPath[]
  /** What is declared: what it has empty is emptied at once. Default: nothing is. */
  readonly declared?: object
}

/** The patch that makes others' fields ours, or takes them away at once where nothing is declared; undefined when there is nothing to take. */
export function takeOverPatch(
  object: KubernetesObject,
  declaredApiVersion: string,
  { scope = 'persons', persons = PERSON_MANAGERS, left = [], declared = {} }: TakeOverOptions = {},
): readonly JsonPatchOperation[] | undefined {
  const entries = object.metadata.managedFields ?? []
  const taken = scope === 'persons' ? personParts(object, persons, left) : writerParts(entries, left)
  if (taken.size === 0) return undefined
  const ours = entries.find(isOurEntry) ?? {
    manager: FIELD_MANAGER,
    operation: 'Apply',
    apiVersion: declaredApiVersion,
    fieldsType: 'FieldsV1',
    time: new Date().toISOString().replace(/\.\d+Z$/, 'Z'),
  }
  let all: FieldSet = {}
  const rest: ManagedFieldsEntry[] = []
  for (const entry of entries) {
    const part = taken.get(entry)
    if (part) {
      all = unionFields(all, part.taken)
      if (part.kept) rest.push({ ...entry, fieldsV1: part.kept })
    } else if (!isOurEntry(entry)) rest.push(entry)
  }
  const others = rest.map(fieldsOf).reduce<FieldSet>(unionFields, {})
  const { gone, operations } = emptyAgain(all, declared, object, others)
  const fields = unionFields(fieldsOf(ours), subtractFields(all, gone))
  return [
    { op: 'replace', path: '/metadata/resourceVersion', value: object.metadata.resourceVersion },
    { op: 'replace', path: '/metadata/managedFields', value: [...rest, { ...ours, fieldsV1: fields }] },
    ...operations,
  ]
}

type Part = { readonly taken: FieldSet; readonly kept: FieldSet | undefined }

function personParts(
  object: KubernetesObject,
  persons: RegExp,
  left: readonly FieldPath[],
): Map<ManagedFieldsEntry, Part> {
  return new Map(findPersonEntries(object, persons, left).map(({ entry, taken, kept }) => [entry, { taken, kept }]))
}

function writerParts(
  entries: readonly ManagedFieldsEntry[],
  left: readonly FieldPath[],
): Map<ManagedFieldsEntry, Part> {
  const parts = new Map<ManagedFieldsEntry, Part>()
  for (const entry of entries) {
    if (isOurEntry(entry) || entry.subresource) continue
    const { selected, rest } = splitOthersFields(fieldsOf(entry), left)
    if (!isEmpty(rest)) parts.set(entry, { taken: rest, kept: isEmpty(selected) ? undefined : selected })
  }
  return parts
}

function isEmpty(fields: FieldSet): boolean {
  return Object.keys(fields).length === 0
}

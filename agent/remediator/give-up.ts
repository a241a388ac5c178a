// Giving fields up without taking them from the object: an apply that leaves out a field that we alone own would remove
// it, so our entry forgets it first. Nobody owns the field afterwards, and nobody meets a conflict over it.
import type { FieldPath } from '@fairlead/shared/field-path'
import type { KubernetesObject } from '@fairlead/shared/object-reference'
import type { JsonPatchOperation } from '../kube/kube.ts'
import { splitFields } from './field-selection.ts'
import { fieldsOf, findOurEntry, isOurEntry } from './managed-fields.ts'

/** The patch that takes fields out of our entry, guarded by the version that was seen; undefined when we own none of them. */
export function giveUpPatch(
  object: KubernetesObject,
  fields: readonly FieldPath[],
): readonly JsonPatchOperation[] | undefined {
  const { selected, rest } = splitFields(fieldsOf(findOurEntry(object)), fields)
  if (Object.keys(selected).length === 0) return undefined
  const entries = (object.metadata.managedFields ?? []).map((entry) =>
    isOurEntry(entry) ? { ...entry, fieldsV1: rest } : entry,
  )
  return [
    { op: 'replace', path: '/metadata/resourceVersion', value: object.metadata.resourceVersion },
    { op: 'replace', path: '/metadata/managedFields', value: entries },
  ]
}

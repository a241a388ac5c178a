// Who changed an object, and which fields: for reports. Names of fields only, never their values.
import type { KubernetesObject } from '@fairlead/shared/object-reference'
import { readDeclared } from '../applier/declared.ts'
import { type FieldSet, formatFieldPaths, subtractFields, unionFields } from '../remediator/field-set.ts'
import { findLostFields } from '../remediator/lost-fields.ts'
import { fieldsOf, findOurEntry, findPersonEntries, findRival } from '../remediator/managed-fields.ts'
import { bodyOf, leftFields } from './left-fields.ts'
import type { ObjectRecord } from './object-record.ts'

/** What was done to an object. */
export type DriftedHow = 'changed' | 'added' | 'deleted'

/** A writer and the fields it wrote, as paths. */
export interface DriftDescription {
  /** The field manager as the writer named itself; empty when it cannot be told, as for a deletion. */
  readonly manager: string
  readonly fields: readonly string[]
}

/** Of a drift that was put back: `evidence` is the object as it was found, `repaired` as it is now. */
export function describeRepair(
  record: ObjectRecord,
  kind: DriftedHow,
  { evidence, repaired, persons }: { evidence: KubernetesObject; repaired: KubernetesObject; persons: RegExp },
): DriftDescription {
  if (kind === 'deleted') return { manager: '', fields: [] }
  const [should, was] = [fieldsOf(findOurEntry(repaired)), fieldsOf(findOurEntry(evidence))]
  const lost = unionFields(subtractFields(should, was), subtractFields(was, should))
  return describeFields(evidence, kind === 'added' ? addedFields(record, evidence, persons) : lost)
}

/** Of a drift that is left: what is declared and not ours any more, and what people added. */
export function describeLeft(
  record: ObjectRecord,
  kind: DriftedHow,
  { evidence, persons }: { evidence: KubernetesObject; persons: RegExp },
): DriftDescription {
  const { declared } = record
  if (kind === 'deleted' || !declared) return { manager: '', fields: [] }
  const known = (evidence.metadata.managedFields ?? []).reduce<FieldSet>(
    (all, entry) => unionFields(all, fieldsOf(entry)),
    {},
  )
  const sent = readDeclared({ body: bodyOf(record, declared) })
  const lost = findLostFields(sent, fieldsOf(findOurEntry(evidence)), known)
  const added = declared.merge ? {} : addedFields(record, evidence, persons)
  return describeFields(evidence, unionFields(lost, added))
}

function describeFields(evidence: KubernetesObject, fields: FieldSet): DriftDescription {
  return { manager: findRival(evidence, fields), fields: formatFieldPaths(fields) }
}

/** What people own besides what is ours. */
function addedFields(record: ObjectRecord, object: KubernetesObject, persons: RegExp): FieldSet {
  const taken = findPersonEntries(object, persons, leftFields(record)).map((entry) => entry.taken)
  return subtractFields(taken.reduce<FieldSet>(unionFields, {}), fieldsOf(findOurEntry(object)))
}

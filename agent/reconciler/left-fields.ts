// Which fields of an object are left to others at present: by rules, to autoscalers, and to nobody else.
import { type FieldPath, parseFieldPath } from '@fairlead/shared/field-path'
import type { KubernetesObject } from '@fairlead/shared/object-reference'
import { readDeclared } from '../applier/declared.ts'
import { removeFields } from '../applier/field-removal.ts'
import { type FieldSet, unionFields } from '../remediator/field-set.ts'
import { declaredPart, emptyPart, findLostFields } from '../remediator/lost-fields.ts'
import { fieldsOf, findForeignResources, findOurEntry } from '../remediator/managed-fields.ts'
import type { ObjectRecord } from './object-record.ts'

const REPLICAS = parseFieldPath('spec.replicas')

/** All of them. */
export function leftFields(record: ObjectRecord): readonly FieldPath[] {
  const ignored = record.declared?.ignored ?? []
  const scaled = fieldsOfAutoscalers(record)
  return scaled.length === 0 ? ignored : [...ignored, ...scaled]
}

/** What of our fields is left to others once they have taken it: resources to a vertical autoscaler, and what we declare empty. */
export function findLeft(record: ObjectRecord, object: KubernetesObject, persons: RegExp): FieldSet {
  const { declared } = record
  if (!declared) return {}
  const sent = readDeclared(declared)
  const known = (object.metadata.managedFields ?? []).map(fieldsOf).reduce<FieldSet>(unionFields, {})
  const empty = emptyPart(findLostFields(sent, fieldsOf(findOurEntry(object)), known), sent, known)
  return record.isResized ? unionFields(empty, declaredPart(findForeignResources(object, persons), sent)) : empty
}

/** The JSON to send. */
export function bodyOf(record: ObjectRecord, declared: NonNullable<ObjectRecord['declared']>): Uint8Array {
  const scaled = fieldsOfAutoscalers(record)
  if (scaled.length === 0) return declared.body
  return Buffer.from(JSON.stringify(removeFields(readDeclared(declared), scaled)))
}

function fieldsOfAutoscalers(record: ObjectRecord): readonly FieldPath[] {
  const { live, isResized } = record
  const replicas = areReplicasLeft(record) ? [REPLICAS] : []
  const resources = isResized && live?.resized ? live.resized : []
  return resources.length === 0 ? replicas : [...replicas, ...resources]
}

/**
 * Whether spec.replicas is left to an autoscaler: one that targets the object is known, or (where it cannot be known) one
 * has set it. That Git says 0 means off, which no HorizontalPodAutoscaler undoes.
 */
function areReplicasLeft({ declared, live, isScaled }: ObjectRecord): boolean {
  if (declared?.replicas === undefined) return false
  if (isScaled && declared.replicas !== 0) return true
  return isScaled !== false && live !== undefined && live.scaler !== ''
}

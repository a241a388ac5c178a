// References to objects, as reports and previews have them.
import { create } from '@bufbuild/protobuf'
import { type ObjectReference, ObjectReferenceSchema } from '@fairlead/proto/common'
import type { ParsedManifest } from '../applier/declared.ts'
import type { ObjectRecord } from './object-record.ts'

/** Of an object that is owned or declared. */
export function referenceOf(
  object: Pick<ObjectRecord, 'group' | 'kind' | 'namespace' | 'name' | 'resource'>,
): ObjectReference {
  const { group, kind, namespace, name, resource } = object
  return create(ObjectReferenceSchema, { group, version: resource.version, kind, namespace, name })
}

/** Of a manifest as it is in the artifact: its namespace may be left out. */
export function referenceOfManifest({ group, version, kind, object }: ParsedManifest): ObjectReference {
  const { name, namespace = '' } = object.metadata
  return create(ObjectReferenceSchema, { group, version, kind, namespace, name })
}

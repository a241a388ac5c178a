// Names of Kubernetes objects: from manifests, as keys, for people.
import { create } from '@bufbuild/protobuf'
import { type ObjectReference, ObjectReferenceSchema } from '@fairlead/proto/common'

/** A Kubernetes object as JSON: at least what identifies it. */
export interface KubernetesObject {
  apiVersion: string
  kind: string
  metadata: ObjectMetadata
  [field: string]: unknown
}

/** The part of metadata that Fairlead reads. */
export interface ObjectMetadata {
  name: string
  namespace?: string
  uid?: string
  resourceVersion?: string
  generation?: number
  deletionTimestamp?: string
  labels?: Record<string, string>
  annotations?: Record<string, string>
  managedFields?: ManagedFieldsEntry[]
  [field: string]: unknown
}

/** One entry of metadata.managedFields (see Kubernetes, "Server-Side Apply"). */
export interface ManagedFieldsEntry {
  manager?: string
  operation?: 'Apply' | 'Update'
  apiVersion?: string
  time?: string
  fieldsType?: string
  fieldsV1?: Record<string, unknown>
  subresource?: string
}

/** Group and version of an apiVersion: `apps/v1` is ['apps', 'v1'], `v1` is ['', 'v1']. */
export function splitApiVersion(apiVersion: string): readonly [group: string, version: string] {
  const slash = apiVersion.indexOf('/')
  return slash < 0 ? ['', apiVersion] : [apiVersion.slice(0, slash), apiVersion.slice(slash + 1)]
}

/** apiVersion of a group and version. */
export function joinApiVersion(group: string, version: string): string {
  return group === '' ? version : `${group}/${version}`
}

/** The reference of an object. */
export function referenceOf(object: KubernetesObject): ObjectReference {
  const [group, version] = splitApiVersion(object.apiVersion)
  const { name, namespace = '' } = object.metadata
  return create(ObjectReferenceSchema, { group, version, kind: object.kind, namespace, name })
}

/** Key that is equal exactly for the same object whatever version it is written in: `apps/Deployment/shop/web`. */
export function objectKey(reference: Pick<ObjectReference, 'group' | 'kind' | 'namespace' | 'name'>): string {
  return `${reference.group}/${reference.kind}/${reference.namespace}/${reference.name}`
}

/** For people: `Deployment.apps shop/web`, `Namespace shop`. */
export function formatObjectReference(
  reference: Pick<ObjectReference, 'group' | 'kind' | 'namespace' | 'name'>,
): string {
  const kind = reference.group === '' ? reference.kind : `${reference.kind}.${reference.group}`
  return `${kind} ${reference.namespace === '' ? '' : `${reference.namespace}/`}${reference.name}`
}

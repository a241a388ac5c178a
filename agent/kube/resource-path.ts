// Paths of the API. Names come from Git: one that could reach another path is refused.
import { AppError } from '@fairlead/shared/errors'
import { joinApiVersion } from '@fairlead/shared/object-reference'
import type { ObjectName, ResourceType } from './kube.ts'

/** Path of a group and version: `/api/v1`, `/apis/apps/v1`. */
export function groupVersionPath(group: string, version: string): string {
  return `${group === '' ? '/api' : '/apis'}/${joinApiVersion(checkSegment(group, 'group', true), checkSegment(version, 'version'))}`
}

/** Path of a collection; with no namespace that of all namespaces. */
export function collectionPath(resource: ResourceType, namespace?: string): string {
  const root = groupVersionPath(resource.group, resource.version)
  const plural = checkSegment(resource.plural, 'resource')
  if (!resource.namespaced || namespace === undefined || namespace === '') return `${root}/${plural}`
  return `${root}/namespaces/${checkSegment(namespace, 'namespace')}/${plural}`
}

/** Path of an object. Throws InvalidManifest for a name that cannot be one, InvalidNamespace when a namespaced kind has none. */
export function objectPath(resource: ResourceType, { name, namespace }: ObjectName): string {
  return `${objectCollectionPath(resource, namespace)}/${checkSegment(name, 'name')}`
}

/** Path of the collection to create an object in: of its namespace, never of all. */
export function objectCollectionPath(resource: ResourceType, namespace?: string): string {
  if (resource.namespaced && !namespace) {
    throw new AppError('InvalidNamespace', `${resource.kind} is namespaced and no namespace is given`)
  }
  return collectionPath(resource, namespace)
}

/** The API server decodes a path before it splits it, so escaping would not keep a slash inside a name: refuse what it refuses. */
function checkSegment(segment: string, what: string, mayBeEmpty = false): string {
  const bad = segment === '' ? !mayBeEmpty : segment === '.' || segment === '..' || /[/%]/.test(segment)
  if (bad) throw new AppError('InvalidManifest', `${JSON.stringify(segment)} is not a ${what}`)
  return encodeURIComponent(segment)
}

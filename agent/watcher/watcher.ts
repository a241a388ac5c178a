// Keeps one watch a kind (and namespace) open on the objects that the agent manages, and tells what changes.
import type { Logger } from '@fairlead/shared/logger'
import type { KubernetesObject } from '@fairlead/shared/object-reference'
import type { Kube, ResourceType } from '../kube/kube.ts'

/** A change of a managed object. `deleted` carries the last known metadata (after a relist only name and namespace), also when merely our label was taken off. */
export interface ObjectEvent {
  readonly type: 'upsert' | 'deleted'
  readonly resource: ResourceType
  /** Whole, or apiVersion, kind and metadata only. */
  readonly object: KubernetesObject
}

/** How a kind's watch is doing. */
export interface WatchState {
  readonly resource: ResourceType
  /** `live`: listed and watching. `unavailable`: the API server is away. `forbidden`: may not list or watch. `gone`: the kind is not served any more. */
  readonly state: 'listing' | 'live' | 'unavailable' | 'forbidden' | 'gone'
  readonly message: string
}

/** How to make a Watcher. */
export interface WatcherOptions {
  readonly kube: Kube
  /** Such as `app.kubernetes.io/managed-by=fairlead`. */
  readonly labelSelector: string
  /** One watch a namespace and kind; undefined: one watch a kind over the whole cluster. */
  readonly namespaces?: readonly string[] | undefined
  /** Called in order, synchronously; must not throw. */
  readonly onEvent: (event: ObjectEvent) => void
  /** Called each time a kind was listed completely: first, and after each time that watching had been interrupted for too long. */
  readonly onSynced?: (resource: ResourceType) => void
  /** Called when a kind's state changes. */
  readonly onState?: (state: WatchState) => void
  readonly logger: Logger
}

/** Open watches. */
export interface Watcher {
  /**
   * Watches a kind; resolves when it was listed once, which can take as long as the API server is away or permission is
   * missing: pass a signal to give up waiting (the watch stays). Asked again with more (`metadataOnly: false`), lists anew.
   * Namespaced or not is taken from the resource.
   */
  ensure(resource: ResourceType, options: { metadataOnly: boolean; signal?: AbortSignal }): Promise<void>
  /** Ends the watch of a kind. */
  release(resource: ResourceType): void
  /** The states of all watched kinds. */
  states(): readonly WatchState[]
  /** Ends all watches; no event comes afterwards. */
  stop(): Promise<void>
}

// What other objects stand on: CRDs, Namespaces, and kinds that can be listed. What failed for want of one is tried again
// when it comes to be.
import { HealthState } from '@fairlead/proto/common'
import type { ErrorCode } from '@fairlead/shared/errors'
import { isCrd, isFoundation } from '../applier/apply-order.ts'
import type { Kube, ResourceType } from '../kube/kube.ts'
import type { Application } from './application.ts'
import { type ObjectRecord, observeGone, retryAtOnce } from './object-record.ts'
import type { ObjectTable } from './object-table.ts'

/** What fails for want of a kind or a namespace. */
const FOUNDATION_CODES = new Set<ErrorCode>(['UnknownKind', 'NamespaceNotFound', 'DependencyFailed', 'ApplyRefused'])
/** What may have failed for want of a kind, or of permission for it. */
const ACCESS_CODES = new Set<ErrorCode>(['UnknownKind', 'ApplyForbidden', 'PruneFailed'])

/** What the foundations need to know. */
export interface FoundationsOptions {
  readonly kube: Pick<Kube, 'forgetDiscovery'>
  readonly table: ObjectTable
  readonly applications: ReadonlyMap<string, Application>
  /** Called when kinds come or go. */
  readonly onKinds: (() => void) | undefined
}

/** The foundations of the applications. */
export class Foundations {
  readonly #options: FoundationsOptions
  /** CRDs that are established and Namespaces that are there, with what they were last seen as. */
  readonly #seen = new WeakMap<ObjectRecord, string>()

  constructor(options: FoundationsOptions) {
    this.#options = options
  }

  /** Something of an object changed. */
  note(record: ObjectRecord): void {
    if (!isFoundation(record)) return
    const state = stateOf(record)
    if (state === this.#seen.get(record)) return
    if (isCrd(record)) this.#options.onKinds?.()
    if (state === undefined) this.#seen.delete(record)
    else {
      this.#seen.set(record, state)
      // The name of a CRD is <plural>.<group>.
      if (isCrd(record)) this.#options.kube.forgetDiscovery(record.name.slice(record.name.indexOf('.') + 1))
      this.#retry()
    }
  }

  /** A kind is not served any more. With the CRD all its objects went; they are tried again until there is one. */
  kindGone(resource: ResourceType): void {
    this.#options.onKinds?.()
    for (const record of this.#options.table.all()) {
      if (!isOfKind(record, resource) || !record.declared) continue
      observeGone(record)
      record.dirty = true
    }
    this.#wakeOwners(resource)
  }

  /** What can be listed is served, and may be seen: what failed because it was not is tried again at once. */
  kindListed(resource: ResourceType): void {
    for (const record of this.#options.table.all()) {
      if (isOfKind(record, resource) && record.failure && ACCESS_CODES.has(record.failure.error.code)) {
        retryAtOnce(record)
      }
    }
    this.#wakeOwners(resource)
  }

  /** What is there of a kind is known anew: those who own some of it compare. */
  #wakeOwners(resource: ResourceType): void {
    for (const application of this.#options.applications.values()) {
      if (application.records().some((record) => isOfKind(record, resource))) application.wake()
    }
  }

  #retry(): void {
    for (const application of this.#options.applications.values()) {
      let isWaiting = false
      for (const record of application.records()) {
        if (!record.failure || !FOUNDATION_CODES.has(record.failure.error.code)) continue
        retryAtOnce(record)
        isWaiting = true
      }
      if ((application.loaded?.unresolved.length ?? 0) > 0 || application.gate.isHeld) application.retryUnresolved()
      else if (isWaiting) application.wake()
    }
  }
}

/** What a CRD that is established or a Namespace that takes objects was last seen as; undefined when others must wait for it. A CRD that is applied anew may serve another version. */
function stateOf(record: ObjectRecord): string | undefined {
  if (isCrd(record)) {
    const isEstablished = record.health.health === HealthState.HEALTHY
    return isEstablished ? `${record.live?.uid ?? ''} ${record.applied?.declaredHash ?? ''}` : undefined
  }
  return record.live && !record.live.terminating ? record.live.uid : undefined
}

function isOfKind(record: ObjectRecord, { group, kind }: ResourceType): boolean {
  return record.group === group && record.kind === kind
}

// Writes one object: adopts it if the policy allows, applies it, and takes over what people own of it.

import { canonicalJson } from '@fairlead/shared/digest'
import { AppError, toAppError } from '@fairlead/shared/errors'
import { APPLICATION_LABEL, FIELD_MANAGER, MANAGED_BY, MANAGED_BY_LABEL } from '@fairlead/shared/labels'
import { formatObjectReference, type KubernetesObject } from '@fairlead/shared/object-reference'
import { bodyIfAbsent, type Declared, readDeclared } from '../applier/declared.ts'
import { needsWholeObject } from '../health/health.ts'
import type { JsonPatchOperation, Kube } from '../kube/kube.ts'
import { isStatus } from '../kube/kube-error.ts'
import type { Recorder } from '../recorder.ts'
import { claimPatch } from '../remediator/claims.ts'
import { isDeclared, subtractFields } from '../remediator/field-set.ts'
import { giveUpPatch } from '../remediator/give-up.ts'
import { findPersonEntries, hashOurEntry, LAST_APPLIED } from '../remediator/managed-fields.ts'
import { type TakeOverScope, takeOverPatch } from '../remediator/take-over.ts'
import { bodyOf, leftFields } from './left-fields.ts'
import type { LocalPolicy } from './local-policy.ts'
import { isPending, type ObjectRecord, observe } from './object-record.ts'
import { goingError, makeWay, mayRecreate } from './recreate.ts'

/** With what objects are written. */
export interface WriterOptions {
  /** The access of an application, with the rights that it has. */
  readonly kubeFor: (application: string) => Promise<Kube>
  /** Managers through which people write. */
  readonly persons: RegExp
  /** Milliseconds since the epoch. */
  readonly clock: () => number
  /** Aborts all requests. */
  readonly signal: AbortSignal
  /** What this agent may not touch, whatever the hub says. */
  readonly localPolicy: LocalPolicy
  /** Told what is done. */
  readonly recorder: Recorder
  /** Called with each answer. */
  readonly onObserved: (record: ObjectRecord, object: KubernetesObject) => void
  /** Called after each write, when the object may be looked at again. */
  readonly onIdle: (record: ObjectRecord) => void
}

/** How one object is written. */
export interface WriteOptions {
  /** What to do with an object that exists and nobody manages. */
  readonly adopt: string
  /** The object as an event showed it: spares reading it. */
  readonly evidence?: KubernetesObject | undefined
}

/** Three tries each, against writers in between. */
const TAKE_OVER_TRIES = 3

/** What a write did. */
export interface Written {
  /** The API server's last answer. */
  readonly answer: KubernetesObject
  /** False when the object was as it should be already. Always true for the first write of an object by this process. */
  readonly changed: boolean
}

/** Writes objects, one write at a time for each. */
export class ObjectWriter {
  readonly #options: WriterOptions
  /** Objects that others had made before the write that is under way. */
  readonly #foreign = new WeakSet<ObjectRecord>()

  constructor(options: WriterOptions) {
    this.#options = options
  }

  /** Applies what is declared and records the outcome. Throws as Kube does, or AdoptionRefused. */
  async write(record: ObjectRecord, options: WriteOptions): Promise<Written> {
    return await this.exclusively(record, async () => {
      const { declared } = record
      if (!declared) throw new AppError('Aborted', 'the object is no longer declared')
      const refusal = this.#options.localPolicy(record)
      if (refusal) throw refusal
      if (declared.refusal) throw declared.refusal
      const startedAt = performance.now()
      const before = record.applied
      const answer =
        (before || mayAdopt(record, options.adopt) ? undefined : await this.#make(record, declared)) ??
        (await this.#applyOrRecreate(record, declared, options))
      const isRecreated = record.deleting === 'remade' && before !== undefined && before.uid !== answer.metadata.uid
      this.#remember(record, declared, answer)
      if (isRecreated) this.#options.recorder.recreated(record)
      const { uid, resourceVersion } = answer.metadata
      const changed = before?.uid !== uid || before?.resourceVersion !== resourceVersion
      const adopted = this.#foreign.delete(record)
      this.#options.recorder.applied(record, { changed, adopted, durationMs: performance.now() - startedAt })
      return { answer, changed }
    })
  }

  /** Runs after the writes of this object that are under way; its events wait meanwhile. */
  async exclusively<T>(record: ObjectRecord, work: () => Promise<T>): Promise<T> {
    while (record.writing !== undefined) await record.writing
    const { promise, resolve } = Promise.withResolvers<void>()
    record.writing = promise
    try {
      return await work()
    } finally {
      record.writing = undefined
      resolve()
      this.#options.onIdle(record)
    }
  }

  #remember(record: ObjectRecord, declared: Declared, answer: KubernetesObject): void {
    const { uid = '', resourceVersion = '' } = answer.metadata
    record.applied = { uid, resourceVersion, declaredHash: declared.hash, entryHash: hashOurEntry(answer) }
    record.resource = declared.resource
    record.wave = declared.wave
    record.dirty = false
    record.deleting = ''
    record.driftLeft = false
    record.equalAt = ''
    record.failure = undefined
    observe(record, answer, this.#options.persons, this.#options.clock())
    this.#options.onObserved(record, answer)
  }

  /** Makes the object where there is none, in one request and without a moment in which another could make it; undefined when there is one. */
  async #make(record: ObjectRecord, declared: Declared): Promise<KubernetesObject | undefined> {
    const { signal } = this.#options
    const kube = await this.#options.kubeFor(declared.application)
    const metadataOnly = !needsWholeObject(declared)
    try {
      return await kube.apply(declared.resource, declared, bodyIfAbsent({ body: bodyOf(record, declared) }), {
        metadataOnly,
        sensitive: declared.sensitive,
        signal,
      })
    } catch (error) {
      if (isStatus(error, 409)) return undefined
      throw error
    }
  }

  /** Where a field cannot be changed and the manifest allows it, the object makes way for a new one. */
  async #applyOrRecreate(record: ObjectRecord, declared: Declared, options: WriteOptions): Promise<KubernetesObject> {
    try {
      return await this.#adoptAndApply(record, declared, options)
    } catch (thrown) {
      const error = toAppError(thrown)
      if (error.code !== 'ImmutableField' || !mayRecreate(declared)) throw thrown
      const refusal = this.#options.localPolicy(record, 'delete')
      if (refusal) throw refusal
      const { signal } = this.#options
      const kube = await this.#options.kubeFor(declared.application)
      const isGone = await makeWay(record, declared, error, { kube, signal })
      // Its watch tells when it is gone; then its application applies it.
      record.deleting = 'remade'
      if (!isGone) throw goingError(declared)
      return await this.#apply(record, declared)
    }
  }

  async #adoptAndApply(
    record: ObjectRecord,
    declared: Declared,
    { adopt, evidence }: WriteOptions,
  ): Promise<KubernetesObject> {
    if (!record.applied && !mayAdopt(record, adopt)) await this.#checkAdoption(declared, adopt)
    await this.#giveUpLeft(record, declared)
    return await this.#applyAndTakeOver(record, declared, evidence)
  }

  async #applyAndTakeOver(
    record: ObjectRecord,
    declared: Declared,
    evidence: KubernetesObject | undefined,
  ): Promise<KubernetesObject> {
    if (evidence && !declared.merge && this.#addsToDeclared(record, evidence, declared)) {
      await this.#takeOver(record, declared, evidence, 'persons')
    }
    let answer: KubernetesObject
    try {
      answer = await this.#apply(record, declared)
    } catch (error) {
      if (!isStatus(error, 422) || !(await this.#unblock(record, declared))) throw error
      answer = await this.#apply(record, declared)
    }
    if (!record.applied && !record.live && hasOtherManagers(answer)) this.#foreign.add(record)
    for (let round = 0; round < 2 && !declared.merge; round++) {
      if (!(await this.#takeOver(record, declared, answer, 'persons'))) break
      answer = await this.#apply(record, declared)
    }
    return this.#foreign.has(record) ? await this.#dropClaims(declared, answer) : answer
  }

  /** What was taken over is not claimed by the tool of before any more. */
  async #dropClaims(declared: Declared, answer: KubernetesObject): Promise<KubernetesObject> {
    const patch = claimPatch(answer, readDeclared(declared))
    if (!patch) return answer
    const { signal } = this.#options
    const kube = await this.#options.kubeFor(declared.application)
    const { sensitive } = declared
    const options = { metadataOnly: true, sensitive, signal }
    const { metadata } = await kube.patchJson(declared.resource, declared, patch, options)
    return { ...answer, metadata }
  }

  /** True when people own something that one forced apply would leave in place. */
  #addsToDeclared(record: ObjectRecord, object: KubernetesObject, declared: Declared): boolean {
    const persons = findPersonEntries(object, this.#options.persons, leftFields(record))
    return persons.length > 0 && !persons.every(({ taken }) => isDeclared(taken, readDeclared(declared)))
  }

  async #apply(record: ObjectRecord, declared: Declared): Promise<KubernetesObject> {
    const body = bodyOf(record, declared)
    const metadataOnly = !needsWholeObject(declared)
    const kube = await this.#options.kubeFor(declared.application)
    return await kube.apply(declared.resource, declared, body, {
      metadataOnly,
      sensitive: declared.sensitive,
      signal: this.#options.signal,
    })
  }

  /** After a refusal: takes over what may stand in the way. False when there is nothing. */
  async #unblock(record: ObjectRecord, declared: Declared): Promise<boolean> {
    const live = await this.#read(declared)
    if (!live) return false
    if (!declared.merge && (await this.#takeOver(record, declared, live, 'persons'))) return true
    // The same manifest was accepted before: what stands in the way was added by others.
    if (record.applied?.declaredHash !== declared.hash) return false
    return await this.#takeOver(record, declared, live, 'all')
  }

  /** What is left to others from now on is forgotten as ours first, or the apply that leaves it out would remove it. */
  async #giveUpLeft(record: ObjectRecord, declared: Declared): Promise<void> {
    const left = leftFields(record)
    const key = canonicalJson(left)
    if (left.length === 0 || (record.givenUp === key && !record.live?.ownsReplicas)) return
    // As applied before, also by an earlier process: then none of it is ours.
    const isKnown = record.applied !== undefined && !isPending(record) && !record.live?.ownsReplicas
    if (!isKnown) await this.#patchFields(declared, await this.#read(declared), (object) => giveUpPatch(object, left))
    record.givenUp = key
  }

  /** False when there is nothing to take. */
  async #takeOver(
    record: ObjectRecord,
    declared: Declared,
    seen: KubernetesObject,
    scope: TakeOverScope,
  ): Promise<boolean> {
    const { persons } = this.#options
    const object = readDeclared(declared)
    const options = { scope, persons, left: leftFields(record), declared: object }
    return await this.#patchFields(declared, seen, (now) => takeOverPatch(now, object.apiVersion, options))
  }

  /** Patches managedFields; again when somebody writes in between. False when there is nothing to patch. */
  async #patchFields(
    declared: Declared,
    seen: KubernetesObject | undefined,
    makePatch: (object: KubernetesObject) => readonly JsonPatchOperation[] | undefined,
  ): Promise<boolean> {
    const { signal } = this.#options
    const kube = await this.#options.kubeFor(declared.application)
    const { sensitive } = declared
    let object: KubernetesObject | undefined = seen
    for (let attempt = 1; object; attempt++) {
      const patch = makePatch(object)
      if (!patch) return attempt > 1
      try {
        await kube.patchJson(declared.resource, declared, patch, { metadataOnly: true, sensitive, signal })
        return true
      } catch (error) {
        if (!isStatus(error, 409) || attempt >= TAKE_OVER_TRIES) throw error
        object = await this.#read(declared, !needsWholeObject(declared))
      }
    }
    return false
  }

  async #read(declared: Declared, metadataOnly = true): Promise<KubernetesObject | undefined> {
    const kube = await this.#options.kubeFor(declared.application)
    return await kube.get(declared.resource, declared, { metadataOnly, signal: this.#options.signal })
  }

  async #checkAdoption(declared: Declared, adopt: string): Promise<void> {
    const live = await this.#read(declared, adopt === 'never')
    // What bears our label was made by us: the inventory was lost, or the process ended before it was written.
    if (!live || live.metadata.labels?.[MANAGED_BY_LABEL] === MANAGED_BY) return
    const name = formatObjectReference(declared)
    if (adopt === 'never') throw refuse(name, 'the policy is never to take over what exists')
    const { signal } = this.#options
    const kube = await this.#options.kubeFor(declared.application)
    const { sensitive } = declared
    const dryRun = await kube.apply(declared.resource, declared, declared.body, { dryRun: true, sensitive, signal })
    if (comparable(dryRun) !== comparable(live) || (await this.#hasMoreThan(declared, live))) {
      throw refuse(name, 'it differs from what is declared')
    }
  }

  /** True when people own a field that the object would not have if it were made anew, defaults included. */
  async #hasMoreThan(declared: Declared, live: KubernetesObject): Promise<boolean> {
    const { persons, signal } = this.#options
    const kube = await this.#options.kubeFor(declared.application)
    const entries = findPersonEntries(live, persons)
    if (entries.length === 0) return false
    const object = readDeclared(declared)
    const target = { namespace: declared.namespace, name: `${declared.name.slice(0, 40)}-fairlead-compare` }
    const body = { ...object, metadata: { ...object.metadata, name: target.name } }
    const { sensitive } = declared
    const fresh = await kube.apply(declared.resource, target, body, { dryRun: true, sensitive, signal })
    return !entries.every(({ taken }) => isDeclared(subtractFields(taken, LAST_APPLIED), fresh))
  }
}

/** True when the object may be taken over unseen: by policy, or because its watch has shown our label on it. */
function mayAdopt({ live }: ObjectRecord, adopt: string): boolean {
  return adopt === 'always' || adopt === '' || live !== undefined
}

/** True when others wrote the object before: in the answer to an apply that made it there is only our entry. */
function hasOtherManagers({ metadata }: KubernetesObject): boolean {
  return (metadata.managedFields ?? []).some(({ manager, subresource }) => manager !== FIELD_MANAGER && !subresource)
}

function refuse(name: string, why: string): AppError {
  return new AppError('AdoptionRefused', `${name} exists and nobody manages it: ${why}`)
}

/** An object without what an adoption changes in any case. */
function comparable(object: KubernetesObject): string {
  const { managedFields: _f, resourceVersion: _r, generation: _g, labels = {}, ...metadata } = object.metadata
  const { [MANAGED_BY_LABEL]: _m, [APPLICATION_LABEL]: _a, ...rest } = labels
  return canonicalJson({ ...object, metadata: { ...metadata, labels: rest } })
}

// What the agent keeps in memory of one object: no copy of it, only what is needed to compare, repair and report.

import { HealthState } from '@fairlead/proto/common'
import type { AppError } from '@fairlead/shared/errors'
import type { FieldPath } from '@fairlead/shared/field-path'
import { APPLICATION_LABEL, PRUNE_ANNOTATION } from '@fairlead/shared/labels'
import { type KubernetesObject, objectKey } from '@fairlead/shared/object-reference'
import type { Declared } from '../applier/declared.ts'
import { assessHealth, type Health, needsWholeObject } from '../health/health.ts'
import type { InventoryRecord } from '../inventory/inventory.ts'
import type { ResourceType } from '../kube/kube.ts'
import { splitOthersFields } from '../remediator/field-selection.ts'
import { type FieldSet, unionFields } from '../remediator/field-set.ts'
import {
  findPersonEntries,
  findResizedContainers,
  findScaler,
  hashOurEntry,
  ownsReplicas,
} from '../remediator/managed-fields.ts'
import type { ObjectEvent } from '../watcher/watcher.ts'
import { leftFields } from './left-fields.ts'

/** The outcome of our last apply. */
export interface Applied {
  readonly uid: string
  /** Hash of what was sent; empty when only the inventory of another application knew it. */
  readonly declaredHash: string
  /** hashOurEntry of the answer. */
  readonly entryHash: string
  /** Of the answer; empty when it comes from the inventory. */
  readonly resourceVersion: string
}

/** The object as the API server has it. */
export interface Live {
  readonly uid: string
  readonly resourceVersion: string
  readonly entryHash: string
  /** Manager of a person that owns something; empty when none does. */
  readonly person: string
  /** What that person owns and may not; undefined when nothing. Fields that are left to others are not yet taken out. */
  readonly added: FieldSet | undefined
  /** The autoscaler that set spec.replicas; empty when none did, or it is ours again. */
  readonly scaler: string
  /** Our entry owns spec.replicas. */
  readonly ownsReplicas: boolean
  /** Resources of containers that others, no persons, have set; undefined when none are. */
  readonly resized: readonly FieldPath[] | undefined
  /** Deleted, and waiting for its finalizers. */
  readonly terminating: boolean
  /** It says that it must never be deleted. */
  readonly keep: boolean
  /** Value of our application label. */
  readonly application: string
}

/** Why an object is not as declared, and when it is tried again. */
export interface Failure {
  readonly error: AppError
  readonly sinceMs: number
  readonly attempts: number
  readonly retryAtMs: number
}

/** One object that an application owns. */
export interface ObjectRecord {
  readonly key: string
  resource: ResourceType
  readonly group: string
  readonly kind: string
  readonly namespace: string
  readonly name: string
  wave: number
  application: string
  /** Undefined: owned, but no longer (or not yet) declared. */
  declared: Declared | undefined
  applied: Applied | undefined
  live: Live | undefined
  health: Health
  /** What is wrong with the pods of a Degraded workload; empty when it is not, or that cannot be told. */
  cause: string
  /** The last lines of the container at fault, where they may be read. */
  logLines: readonly string[]
  /** Why the application's health rule for it cannot be used. */
  healthProblem: AppError | undefined
  failure: Failure | undefined
  /** Must be applied again although nothing else says so. */
  dirty: boolean
  /** It drifted and the policy says to leave it. */
  driftLeft: boolean
  /** resourceVersion at which the API server said that the object is as declared, whoever owns what; empty for none. */
  equalAt: string
  /** An autoscaler of its replicas is known; undefined: cannot be told, or one went that was not seen. False: there was one and it went. */
  isScaled: boolean | undefined
  /** An autoscaler of its containers' resources is known. */
  isResized: boolean
  /** The fields that were given up last, lest they be looked for again. */
  givenUp: string
  /** Not repaired before this time, because another writer fights for it; 0 for none. */
  yieldUntilMs: number
  /** Was deleted by us and is going: as not declared any more, or to be made anew; empty when it was not. */
  deleting: '' | 'pruned' | 'remade'
  /** Not declared any more here, but in this namespace, where it was not applied yet; empty when that is not so. */
  movesTo: string
  /** uid of the object whose deletion was approved; empty when none was. */
  approvedUid: string
  /** What else may go with it by that approval: Taken.marks. */
  approvedTakes: readonly string[]
  /** The write that is under way; writes of one object follow each other. */
  writing: Promise<void> | undefined
  /** The last event that came during a write. */
  held: ObjectEvent | undefined
}

const MISSING: Health = { health: HealthState.MISSING, message: '' }
const HEALTHY: Health = { health: HealthState.HEALTHY, message: '' }

/** A record of an object that was not owned before. */
export function newRecord(declared: Declared, application: string): ObjectRecord {
  const { key, resource, group, kind, namespace, name, wave } = declared
  return { ...emptyRecord(), key, resource, group, kind, namespace, name, wave, application, declared }
}

/** A record as the inventory in the cluster has it. */
export function recordFromInventory(stored: InventoryRecord, application: string): ObjectRecord {
  const { group, version, kind, plural, namespaced, namespace, name, wave, uid, declaredHash, entryHash } = stored
  const approvedUid = stored.isPruneApproved ? uid : ''
  const resource = { group, version, kind, plural, namespaced, verbs: [] }
  const applied = uid === '' ? undefined : { uid, declaredHash, entryHash, resourceVersion: '' }
  return {
    ...emptyRecord(),
    key: objectKey(stored),
    resource,
    group,
    kind,
    namespace,
    name,
    wave,
    application,
    applied,
    approvedUid,
    approvedTakes: stored.approvedTakes ?? [],
  }
}

function emptyRecord() {
  return {
    declared: undefined,
    applied: undefined,
    live: undefined,
    health: MISSING,
    cause: '',
    logLines: [] as readonly string[],
    healthProblem: undefined,
    failure: undefined,
    dirty: false,
    driftLeft: false,
    equalAt: '',
    isScaled: undefined,
    isResized: false,
    givenUp: '',
    yieldUntilMs: 0,
    deleting: '' as const,
    movesTo: '',
    approvedUid: '',
    approvedTakes: [] as readonly string[],
    writing: undefined,
    held: undefined,
  }
}

/** The record as it is kept in the cluster. */
export function toInventoryRecord(record: ObjectRecord): InventoryRecord {
  const { resource, namespace, name, wave, applied } = record
  const { group, version, kind, plural, namespaced } = resource
  const type = { group, version, kind, plural, namespaced }
  const { uid = '', declaredHash = '', entryHash = '' } = applied ?? {}
  const stored = { ...type, namespace, name, wave, uid, declaredHash, entryHash }
  if (uid === '' || record.approvedUid !== uid) return stored
  const { approvedTakes } = record
  return { ...stored, isPruneApproved: true, ...(approvedTakes.length > 0 && { approvedTakes }) }
}

/** Takes in the object as the API server gave it: in an answer to us, or in an event. */
export function observe(record: ObjectRecord, object: KubernetesObject, persons: RegExp, nowMs: number): void {
  const { metadata } = object
  record.live = {
    uid: metadata.uid ?? '',
    resourceVersion: metadata.resourceVersion ?? '',
    entryHash: hashOurEntry(object),
    ...personOf(object, persons),
    ...autoscalingOf(object, persons),
    terminating: metadata.deletionTimestamp !== undefined,
    keep: metadata.annotations?.[PRUNE_ANNOTATION] === 'disabled',
    application: metadata.labels?.[APPLICATION_LABEL] ?? '',
  }
  record.health = healthOf(record, object, nowMs)
}

function personOf(object: KubernetesObject, persons: RegExp): Pick<Live, 'person' | 'added'> {
  const entries = findPersonEntries(object, persons)
  const added = entries
    .map(({ taken }) => taken)
    .reduce<FieldSet | undefined>((all, taken) => (all ? unionFields(all, taken) : taken), undefined)
  return { person: entries[0]?.entry.manager ?? '', added }
}

function autoscalingOf(object: KubernetesObject, persons: RegExp): Pick<Live, 'scaler' | 'ownsReplicas' | 'resized'> {
  const isOwned = ownsReplicas(object)
  const resized = findResizedContainers(object, persons)
  return {
    scaler: isOwned ? '' : findScaler(object, persons),
    ownsReplicas: isOwned,
    resized: resized.length > 0 ? resized : undefined,
  }
}

function healthOf(record: ObjectRecord, object: KubernetesObject, nowMs: number): Health {
  if (object.metadata.deletionTimestamp !== undefined) {
    const finalizers = (object.metadata.finalizers as string[] | undefined) ?? []
    const waiting = finalizers.length > 0 ? `, waiting for ${finalizers.join(', ')}` : ''
    const since = String(object.metadata.deletionTimestamp)
    return { health: HealthState.PROGRESSING, message: `being deleted since ${since}${waiting}` }
  }
  return needsWholeObject(record) ? assessHealth(object, { now: new Date(nowMs) }) : HEALTHY
}

/** Takes in that the object is not there. */
export function observeGone(record: ObjectRecord): void {
  record.live = undefined
  record.health = MISSING
  record.cause = ''
  record.logLines = []
  record.healthProblem = undefined
}

/** What failed is tried again in the next pass. */
export function retryAtOnce(record: ObjectRecord): void {
  if (record.failure) record.failure = { ...record.failure, retryAtMs: 0 }
}

/** What the decision to apply looks at besides the record. */
export interface ApplyFacts {
  readonly nowMs: number
  /** Whether the kind's watch tells what is there; without it the answer to the last apply is trusted. */
  readonly isWatched: boolean
  /** Whether what was applied is put back when it differs. */
  readonly remediate: boolean
}

/** How an object differs from what we applied; undefined when it does not. */
export function findDifference(record: ObjectRecord, isWatched: boolean): 'changed' | 'added' | 'deleted' | undefined {
  const { live, applied, declared } = record
  if (!applied || !declared) return undefined
  // A Job that its time to live took away is done, not lost.
  if (!live) return isWatched && !declared.expires ? 'deleted' : undefined
  if (live.resourceVersion === record.equalAt) return undefined
  if (live.entryHash !== applied.entryHash) return 'changed'
  return live.added && !declared.merge && isUnwanted(live.added, record) ? 'added' : undefined
}

function isUnwanted(added: FieldSet, record: ObjectRecord): boolean {
  const left = leftFields(record)
  return left.length === 0 || Object.keys(splitOthersFields(added, left).rest).length > 0
}

/** Whether a declared object must be applied now. */
export function needsApply(record: ObjectRecord, { nowMs, isWatched, remediate }: ApplyFacts): boolean {
  const { declared, live, failure } = record
  if (!declared || live?.terminating || record.yieldUntilMs > nowMs) return false
  if (failure && failure.retryAtMs > nowMs) return false
  // What was deleted by us, or is going, and is wanted again is as good as never applied.
  if (isPending(record) || (record.dirty && record.deleting !== '')) return true
  return remediate && (failure !== undefined || record.dirty || findDifference(record, isWatched) !== undefined)
}

/** True when the object works as far as can be told: nothing has to wait for it. */
export function isWorking({ health, declared, applied, live }: ObjectRecord): boolean {
  if (!live && declared?.expires && applied) return true
  const { HEALTHY, SUSPENDED, UNKNOWN } = HealthState
  return health.health === HEALTHY || health.health === SUSPENDED || health.health === UNKNOWN
}

/** True while what is declared has not been applied. */
export function isPending(record: ObjectRecord): boolean {
  return record.declared !== undefined && record.applied?.declaredHash !== record.declared.hash
}

/** True when resourceVersion `a` is older than `b`. Those that are no numbers are never older: then one apply too many is made. */
export function isOlder(a: string, b: string): boolean {
  if (!/^\d+$/.test(a) || !/^\d+$/.test(b)) return false
  return a.length === b.length ? a < b : a.length < b.length
}

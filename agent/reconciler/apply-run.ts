// Applies what an application declares and the cluster does not hold: CRDs and Namespaces, then wave by wave. What is
// slow or fails holds up nothing but what depends on it.
import { sleep } from '@fairlead/shared/backoff'
import { AppError, isAborted, toAppError } from '@fairlead/shared/errors'
import { formatObjectReference } from '@fairlead/shared/object-reference'
import { groupPhases, isFoundation } from '../applier/apply-order.ts'
import { retryDelayMs } from '../applier/retry.ts'
import type { ResourceType } from '../kube/kube.ts'
import { KubeError } from '../kube/kube-error.ts'
import type { Application } from './application.ts'
import { findDifference, isPending, isWorking, needsApply, type ObjectRecord } from './object-record.ts'
import { isDriftLeft } from './suspension.ts'
import type { DesiredTarget } from './target.ts'

/** At work for one application. The limiter holds all applications together to eight in flight; more are needed here so that what is slow can give its place to the next object of the same application. */
const WORKERS = 64

/** Applies all that needs it; failures are kept in the records. Throws Aborted, or as Kube does when the inventory cannot be written. */
export async function applyDeclared(
  application: Application,
  target: DesiredTarget,
  signal: AbortSignal,
): Promise<void> {
  const { context } = application
  const remediate = !isDriftLeft(target, context)
  const nowMs = context.clock()
  const records = application.records().filter(({ declared }) => declared !== undefined)
  const due = new Set(
    records.filter((record) => {
      const isWatched = context.kinds.isWatched(record.resource)
      // Whether one that is being written needs more is known when the answer is there.
      return record.writing !== undefined || needsApply(record, { nowMs, isWatched, remediate })
    }),
  )
  if (due.size === 0) return
  // What is about to be made is written down first, so that a crash leaks nothing.
  await application.save()
  // What this pass left waiting must not go on beside the next one.
  const pass = new AbortController()
  try {
    await applyPhases({ application, target, signal: AbortSignal.any([signal, pass.signal]) }, records, due)
  } finally {
    pass.abort()
  }
}

/** Time between two looks whether an established kind is served, in milliseconds. */
const SERVED_POLL_MS = 50

interface Run {
  readonly application: Application
  readonly target: DesiredTarget
  readonly signal: AbortSignal
}

/** For CRDs and Namespaces that are being written: settles when that was tried. */
type Founding = ReadonlyMap<ObjectRecord, Promise<void>>

async function applyPhases(run: Run, records: readonly ObjectRecord[], due: ReadonlySet<ObjectRecord>): Promise<void> {
  const founding = new Map<ObjectRecord, Promise<void>>()
  const before: ObjectRecord[] = []
  for (const phase of groupPhases(records)) {
    const batch = phase.filter((record) => due.has(record))
    if (phase.every(isFoundation)) {
      // Only what needs one of them waits for it.
      for (const record of batch) founding.set(record, applyBatch(run, [record]))
      for (const attempt of founding.values()) attempt.catch(() => undefined)
      continue
    }
    if (batch.length > 0) await applyWave(run, batch, before, founding)
    before.push(...phase)
  }
  await Promise.all(founding.values())
}

async function applyWave(
  run: Run,
  batch: readonly ObjectRecord[],
  before: readonly ObjectRecord[],
  founding: Founding,
): Promise<void> {
  const { application, signal } = run
  const { context } = application
  const areHealthy = (): boolean => before.every((record) => !isPending(record) && isWorking(record))
  const failed = (): ObjectRecord | undefined => before.find((record) => record.failure && isPending(record))
  await application.waitUntil(() => areHealthy() || failed() !== undefined, context.limits.waveTimeoutMs, signal)
  if (!areHealthy()) {
    const cause = failed() ?? before.find((record) => !isWorking(record))
    for (const record of batch) failDependent(application, record, cause)
    return
  }
  const groups = groupByDependency(application, batch, founding)
  await Promise.all(groups.map(async (group) => await applyGroup(run, group, founding)))
}

/** Objects of one wave that need the same CRD and the same Namespace of their own application. */
interface Group {
  readonly crd: ObjectRecord | undefined
  readonly namespace: ObjectRecord | undefined
  readonly records: ObjectRecord[]
}

function groupByDependency(application: Application, batch: readonly ObjectRecord[], founding: Founding): Group[] {
  const groups = new Map<string, Group>()
  for (const record of batch) {
    const crd = findCrd(application, record)
    const declared = application.context.table.find(`/Namespace//${record.namespace}`)
    const namespace = declared && founding.has(declared) ? declared : undefined
    const key = `${crd?.key ?? ''} ${namespace?.key ?? ''}`
    const group = groups.get(key) ?? { crd, namespace, records: [] }
    group.records.push(record)
    groups.set(key, group)
  }
  return [...groups.values()]
}

async function applyGroup(run: Run, { crd, namespace, records }: Group, founding: Founding): Promise<void> {
  if (namespace) await founding.get(namespace)
  if (!crd) return await applyBatch(run, records)
  await founding.get(crd)
  await applyCustomResources(run, crd, records)
}

async function applyCustomResources(run: Run, crd: ObjectRecord, records: readonly ObjectRecord[]): Promise<void> {
  const { application, signal } = run
  const isSettled = (): boolean => crd.failure !== undefined || isWorking(crd)
  await application.waitUntil(isSettled, application.context.limits.establishedTimeoutMs, signal)
  if (isPending(crd) || !isWorking(crd)) {
    for (const record of records) failDependent(application, record, crd)
    return
  }
  const resources = new Map(
    records.map(({ resource }) => [`${resource.group}/${resource.version}/${resource.kind}`, resource]),
  )
  await Promise.all([...resources.values()].map(async (resource) => await awaitServed(run, resource)))
  await applyBatch(run, records)
}

/** An established CRD is served only a moment later; a watch begun too early would be told that there is no such kind. */
async function awaitServed({ application, signal }: Run, resource: ResourceType): Promise<void> {
  const { kube, kinds, limits } = application.context
  const deadline = performance.now() + limits.establishedTimeoutMs
  while (performance.now() < deadline) {
    try {
      await kube.resolve(resource, { signal })
      return await kinds.ensure(resource, signal)
    } catch (error) {
      if (toAppError(error).code !== 'UnknownKind') throw error
      kube.forgetDiscovery(resource.group)
      await sleep(SERVED_POLL_MS, signal)
    }
  }
}

async function applyBatch(run: Run, batch: readonly ObjectRecord[]): Promise<void> {
  const { signal } = run
  const queue = [...batch]
  let outage: AppError | undefined
  const work = async (): Promise<void> => {
    for (let record = queue.shift(); record; record = queue.shift()) {
      if (signal.aborted) return
      outage = (await applyOne(run, record, () => outage)) ?? outage
    }
  }
  const aborted = Promise.withResolvers<void>()
  signal.addEventListener('abort', () => aborted.resolve(), { once: true })
  // What is in flight when something newer comes finishes by itself; nobody waits for a slow webhook.
  await Promise.race([Promise.all(Array.from({ length: Math.min(WORKERS, batch.length) }, work)), aborted.promise])
  if (signal.aborted) throw new AppError('Aborted', 'something newer came')
}

/** Returns the error when the API server cannot be reached at all: then the others, which look at `outage` when it is their turn, need not be tried. */
async function applyOne(
  { application, target, signal }: Run,
  record: ObjectRecord,
  outage: () => AppError | undefined,
): Promise<AppError | undefined> {
  const { context } = application
  const namespace = context.table.find(`/Namespace//${record.namespace}`)
  if (namespace && namespace !== record && namespace.declared && namespace.failure && !namespace.applied) {
    failDependent(application, record, namespace)
    return undefined
  }
  const { declared } = record
  try {
    await application.pass.inTurn(context.applies, async () => {
      // A repair may be quicker.
      while (record.writing !== undefined) await record.writing
      const isWatched = context.kinds.isWatched(record.resource)
      const facts = { nowMs: context.clock(), isWatched, remediate: !isDriftLeft(target, context) }
      if (signal.aborted || !needsApply(record, facts)) return
      const away = outage()
      if (away) throw away
      const difference = isPending(record) ? undefined : findDifference(record, isWatched)
      const detectedAtMs = context.clock()
      const manager = record.live?.person ?? ''
      await context.writer.write(record, { adopt: target.policy.adopt })
      if (difference) application.noteRepair(record, { kind: difference, manager, detectedAtMs })
    })
  } catch (thrown) {
    const error = toAppError(thrown)
    if (isAborted(error) || record.declared !== declared) return undefined
    fail(application, record, error)
    if (error.code === 'ApiServerUnavailable' && !(error instanceof KubeError)) return error
  } finally {
    context.noteChange(record)
  }
  return undefined
}

function findCrd(application: Application, { group, kind }: ObjectRecord): ObjectRecord | undefined {
  const name = application.loaded?.definedKinds.get(`${group}/${kind}`)
  const crd = name && application.context.table.find(`apiextensions.k8s.io/CustomResourceDefinition//${name}`)
  return crd ? crd : undefined
}

function failDependent(application: Application, record: ObjectRecord, cause: ObjectRecord | undefined): void {
  const name = cause ? formatObjectReference(cause) : 'an earlier wave'
  const why = cause?.failure?.error.message ?? (cause?.health.message || 'it is not healthy yet')
  fail(application, record, new AppError('DependencyFailed', `waits for ${name}: ${why}`))
}

/** Keeps a failure with the time of the next try. */
export function fail(application: Application, record: ObjectRecord, error: AppError): void {
  const { clock, limits } = application.context
  const nowMs = clock()
  const isSame = record.failure?.error.code === error.code
  const attempts = isSame ? (record.failure?.attempts ?? 0) + 1 : 0
  const sinceMs = isSame ? (record.failure?.sinceMs ?? nowMs) : nowMs
  record.failure = { error, sinceMs, attempts, retryAtMs: nowMs + retryDelayMs(error, attempts, limits) }
  application.context.recorder.failed(record, error)
}

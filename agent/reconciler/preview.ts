// What an application would change, found by reading and by dry runs; nothing is written. In the order in which it would be done.
import { create } from '@bufbuild/protobuf'
import { ProblemSchema } from '@fairlead/proto/common'
import { type ObjectChange, ObjectChangeSchema } from '@fairlead/proto/report'
import { AppError, isAborted, toAppError } from '@fairlead/shared/errors'
import {
  APPLICATION_LABEL,
  FIELD_MANAGER,
  MANAGED_BY,
  MANAGED_BY_LABEL,
  RECREATE_ANNOTATION,
} from '@fairlead/shared/labels'
import { formatObjectReference, type KubernetesObject } from '@fairlead/shared/object-reference'
import { groupPhases } from '../applier/apply-order.ts'
import { type Declared, readDeclared } from '../applier/declared.ts'
import type { Preview } from '../desired-state.ts'
import { decidePrune } from '../pruner/prune-guards.ts'
import { formatFieldPaths, subtractFields } from '../remediator/field-set.ts'
import { fieldsOf, findOurEntry, findPersonEntries } from '../remediator/managed-fields.ts'
import type { Application } from './application.ts'
import { diffFields } from './field-diff.ts'
import { bodyOf, leftFields } from './left-fields.ts'
import { type LoadedManifests, loadDeclared } from './load-declared.ts'
import { newRecord, type ObjectRecord } from './object-record.ts'
import { inspectCandidates } from './prune-inspect.ts'
import { throwIfAborted } from './prune-run.ts'
import { referenceOfManifest } from './references.ts'
import { awaitAutoscalers, noteTargets } from './scaled-objects.ts'
import type { DesiredTarget } from './target.ts'
import { toldFields } from './told-fields.ts'

/** How an application is looked at. */
export interface PreviewOptions {
  /** Names of the field managers that are people. */
  readonly persons: RegExp
  readonly signal: AbortSignal
  /** Given each change in order, as soon as it and all before it are known. */
  readonly onChange?: (change: ObjectChange) => void
}

interface PreviewRun {
  readonly application: Application
  readonly target: DesiredTarget
  readonly loaded: LoadedManifests
  readonly persons: RegExp
  readonly signal: AbortSignal
}

const WORKERS = 8
/** Errors of a dry run that only say that what the object needs is not there yet. */
const FOUNDATION_CODES: ReadonlySet<string> = new Set(['NamespaceNotFound', 'UnknownKind', 'NotFound'])

/** Looks at every object that an application declares or owns. Throws NotFound when the slice does not ask for it, Aborted, or as loading and Kube do. */
export async function previewApplication(
  application: Application,
  { persons, signal, onChange = () => {} }: PreviewOptions,
): Promise<Preview> {
  const { target, context } = application
  if (target?.kind !== 'desired') throw new AppError('NotFound', `this cluster is not asked to run ${application.name}`)
  await context.ready
  const loaded = application.loaded ?? (await loadDeclared(context, application.name, target, signal))
  const run: PreviewRun = { application, target, loaded, persons, signal }
  const declared = groupPhases([...loaded.declared.values()]).flat()
  const changes: ObjectChange[] = []
  const add = (change: ObjectChange): void => {
    changes.push(change)
    onChange(change)
  }
  // What is left to autoscalers is no change.
  await awaitAutoscalers(context, declared)
  await previewDeclared(run, declared, add)
  const problems = [...loaded.unresolved, ...loaded.refused].map(({ parsed, error: { code, message } }) => {
    const { source } = parsed
    return create(ProblemSchema, { code, message, object: referenceOfManifest(parsed), ...(source && { source }) })
  })
  for (const change of await previewPrune(run)) add(change)
  return { changes, problems }
}

/** Looks at some at a time, and tells of them in their order. */
async function previewDeclared(
  run: PreviewRun,
  declared: readonly Declared[],
  tell: (change: ObjectChange) => void,
): Promise<void> {
  const found = new Map<number, ObjectChange>()
  const queue = declared.entries()
  let told = 0
  const work = async (): Promise<void> => {
    for (const [index, object] of queue) {
      throwIfAborted(run.signal)
      found.set(index, await previewObject(run, object))
      for (let next = found.get(told); next; next = found.get(told)) {
        found.delete(told++)
        tell(next)
      }
    }
  }
  await Promise.all(Array.from({ length: WORKERS }, work))
}

function changeOf(
  declared: Declared,
  action: string,
  more: Partial<Pick<ObjectChange, 'fields' | 'manager' | 'message'>> = {},
): ObjectChange {
  const { group, kind, namespace, name, resource, source } = declared
  const object = { group, version: resource.version, kind, namespace, name }
  return create(ObjectChangeSchema, { object, action, ...more, ...(source && { source }) })
}

async function previewObject(run: PreviewRun, declared: Declared): Promise<ObjectChange> {
  const { application, signal } = run
  const { context, name } = application
  const owner = context.table.find(declared.key)
  if (owner && owner.application !== name && context.neighbours.get(owner.application)?.target && owner.declared) {
    const manager = `application ${owner.application}`
    return changeOf(declared, 'refused', { manager, message: `OwnedByAnother: ${manager} declares it and keeps it` })
  }
  const refusal = context.localPolicy({ ...declared, application: name }) ?? declared.refusal
  if (refusal) return changeOf(declared, 'refused', { message: `${refusal.code}: ${refusal.message}` })
  let live: KubernetesObject | undefined
  try {
    const kube = await context.kubeFor(name)
    live = await kube.get(declared.resource, declared, { signal })
    const record = owner?.application === name ? owner : newRecord(declared, name)
    noteTargets([record], context.autoscalers)
    const dryRun = await kube.apply(declared.resource, declared, bodyOf(record, declared), {
      dryRun: true,
      sensitive: declared.sensitive,
      signal,
    })
    const added = live && !declared.merge ? addedByPersons(run, record, live, dryRun) : []
    return live ? compare(run, declared, { live, dryRun, added }) : changeOf(declared, 'create')
  } catch (thrown) {
    const error = toAppError(thrown)
    if (isAborted(error)) throw error
    return failedChange(declared, live, error)
  }
}

function failedChange(declared: Declared, live: KubernetesObject | undefined, error: AppError): ObjectChange {
  // Its namespace or its kind may be declared along with it: then it is made after them.
  if (!live && FOUNDATION_CODES.has(error.code))
    return changeOf(declared, 'create', { message: `once it is there: ${error.message}` })
  const recreates = readDeclared(declared).metadata.annotations?.[RECREATE_ANNOTATION] === 'true'
  if (live && error.code === 'ImmutableField' && recreates)
    return changeOf(declared, 'recreate', { message: error.message })
  const manager = live ? managersOf(live) : ''
  return changeOf(declared, 'refused', { manager, message: `${error.code}: ${error.message}` })
}

/** An object as it is, and as an apply would leave it. */
interface Compared {
  readonly live: KubernetesObject
  readonly dryRun: KubernetesObject
  /** What people own and Git does not have: the take-over that follows an apply takes it away. */
  readonly added: readonly string[]
}

function compare(run: PreviewRun, declared: Declared, { live, dryRun, added }: Compared): ObjectChange {
  const { labels = {} } = live.metadata
  const isManaged = labels[MANAGED_BY_LABEL] === MANAGED_BY
  const fields = [...toldFields(declared, [...new Set([...diffFields(live, dryRun), ...added])].sort())]
  const owner = labels[APPLICATION_LABEL] ?? ''
  if (isManaged && owner === run.application.name)
    return changeOf(declared, fields.length > 0 ? 'update' : 'none', { fields })
  const manager = isManaged ? `application ${owner}` : managersOf(live)
  if (isManaged) return changeOf(declared, 'update', { fields, manager })
  const { adopt } = run.target.policy
  const name = formatObjectReference(declared)
  if (adopt === 'never') {
    const message = `AdoptionRefused: ${name} exists and nobody manages it: the policy is never to take over what exists`
    return changeOf(declared, 'refused', { fields, manager, message })
  }
  if (adopt === 'ifEqual' && fields.some((field) => !field.includes('last-applied-configuration'))) {
    const message = `AdoptionRefused: ${name} exists and nobody manages it: it differs from what is declared`
    return changeOf(declared, 'refused', { fields, manager, message })
  }
  return changeOf(declared, 'adopt', { fields, manager })
}

function addedByPersons(
  { persons }: PreviewRun,
  record: ObjectRecord,
  live: KubernetesObject,
  dryRun: KubernetesObject,
): string[] {
  const ours = fieldsOf(findOurEntry(dryRun))
  const entries = findPersonEntries(live, persons, leftFields(record))
  return entries.flatMap(({ taken }) => formatFieldPaths(subtractFields(taken, ours)))
}

/** Who wrote the object, status left out; each once. */
function managersOf({ metadata }: KubernetesObject): string {
  const managers = (metadata.managedFields ?? [])
    .filter(({ subresource, manager }) => subresource !== 'status' && manager !== FIELD_MANAGER)
    .map(({ manager = '' }) => manager)
  return [...new Set(managers)].sort().join(', ')
}

async function previewPrune({ application, target, loaded }: PreviewRun): Promise<ObjectChange[]> {
  const { context } = application
  const dropped = application.records().filter(({ key }) => !loaded.declared.has(key) && !loaded.leftAlone.has(key))
  if (dropped.length === 0 || !target.policy.prune) return []
  const found = await inspectCandidates(application, dropped, { signal: context.signal })
  const candidates = [...found.values()].filter((candidate) => candidate !== undefined)
  const leaving = new Set(candidates.map(({ key }) => key))
  const decision = decidePrune({
    candidates,
    ownedCount:
      application.records().length + [...loaded.declared.keys()].filter((key) => !context.table.find(key)).length,
    staying: [...context.table.all()].filter(({ key }) => !leaving.has(key)),
    isTombstone: false,
    ownNamespace: context.ownNamespace,
  })
  const reasons = new Map(
    [...decision.held, ...decision.kept, ...decision.undecided].map(({ candidate, reason }) => [candidate.key, reason]),
  )
  return [...found].flatMap(([record, candidate]) => {
    if (!candidate) return []
    const { group, kind, namespace, name, resource } = record
    const refusal = context.localPolicy(record, 'delete')
    const held = reasons.get(record.key)
    const action = refusal ? 'refused' : held === undefined ? 'delete' : 'held'
    const message = refusal ? `${refusal.code}: ${refusal.message}` : (held ?? '')
    const object = { group, version: resource.version, kind, namespace, name }
    return [create(ObjectChangeSchema, { object, action, message })]
  })
}

// `validate: server`: asks the API server about every object before the first is written, by dry-run. What cannot be
// asked yet is asked as far as possible:
// - objects of a kind that the application itself brings or changes are not asked about before their CRD is there;
// - objects of a namespace that the application itself brings are asked about under another name in the agent's own
//   namespace, where only what is wrong with the object itself counts, not what that namespace would say to it;
// - objects that a webhook without support for dry-runs must be asked about are let through.
import { AppError, isAborted, toAppError } from '@fairlead/shared/errors'
import { formatObjectReference } from '@fairlead/shared/object-reference'
import { type Declared, readDeclared } from '../applier/declared.ts'
import type { Application } from './application.ts'
import type { ReconcilerContext } from './context.ts'
import { bodyOf } from './left-fields.ts'
import type { LoadedManifests, Unresolved } from './load-declared.ts'
import { mayRecreate } from './recreate.ts'

/** At work for one application: of all its objects only so many stand before those of others. As many as apply. */
const WORKERS = 64

/** An object that the API server refuses. */
export interface Refused {
  readonly declared: Declared
  /** ValidationFailed; its cause is the refusal itself. */
  readonly error: AppError
}

/** What is known of an object when its dry-run is refused. */
export interface RefusalFacts {
  /** The same manifest was applied before: what stands in the way are changes by others, which an apply takes away. */
  readonly wasAccepted: boolean
  /** The application allows to delete it and make it anew. */
  readonly mayRecreate: boolean
  /** The application declares the namespace too. */
  readonly bringsNamespace: boolean
}

/** What a refused dry-run means: the revision is `refused`, the object is `accepted` all the same, it is to be asked about `elsewhere`, or nothing is known (`unknown`: ask again later). Pure. */
export function judgeRefusal(error: AppError, facts: RefusalFacts): 'refused' | 'accepted' | 'elsewhere' | 'unknown' {
  if (error.code === 'ApiServerUnavailable' || error.code === 'ApplyConflict' || error.code === 'AlreadyExists') {
    return 'unknown'
  }
  if (error.code === 'NamespaceNotFound' && facts.bringsNamespace) return 'elsewhere'
  if (/does not support dry.?run/i.test(error.message)) return 'accepted'
  if (error.code === 'ImmutableField' && (facts.mayRecreate || facts.wasAccepted)) return 'accepted'
  if (error.code === 'ApplyInvalid' && facts.wasAccepted) return 'accepted'
  return 'refused'
}

/** Asks about every object; returns those that are refused, none of which was written. Throws Aborted, or the error when one cannot be asked about for now. */
export async function validateDeclared(
  { context, pass }: Pick<Application, 'context' | 'pass'>,
  { declared, definedKinds }: LoadedManifests,
  signal: AbortSignal,
): Promise<Refused[]> {
  const asked = [...declared.values()].filter((object) => !isOfChangedKind(context, definedKinds, declared, object))
  const namespaces = new Set(
    asked.filter(({ group, kind }) => group === '' && kind === 'Namespace').map(({ name }) => name),
  )
  const refused: Refused[] = []
  const failures: AppError[] = []
  const ask = async (object: Declared): Promise<void> => {
    if (signal.aborted || failures.length > 0) return
    try {
      const refusal = await askAbout(context, object, namespaces.has(object.namespace))
      if (refusal) refused.push({ declared: object, error: toRefusal(refusal) })
    } catch (thrown) {
      failures.push(toAppError(thrown))
    }
  }
  const queue = [...asked]
  const work = async (): Promise<void> => {
    for (let object = queue.shift(); object && !signal.aborted && failures.length === 0; object = queue.shift()) {
      const next = object
      await pass.inTurn(context.applies, async () => await ask(next))
    }
  }
  await Promise.all(Array.from({ length: Math.min(WORKERS, asked.length) }, work))
  if (signal.aborted) throw new AppError('Aborted', 'something newer came')
  const failure = failures.find((error) => !isAborted(error)) ?? failures[0]
  if (failure) throw failure
  return refused
}

/** Manifests that could not even be asked about: of unknown kinds, declared twice, or not to be read here. */
export function refuseUnresolved({ unresolved, refused }: LoadedManifests): Unresolved[] {
  return [...unresolved, ...refused].map((one) => ({ ...one, error: toRefusal(one.error) }))
}

function toRefusal(cause: AppError): AppError {
  return new AppError('ValidationFailed', cause.message, { cause })
}

/** True when the kind is not served yet as the application wants it. */
function isOfChangedKind(
  { table }: ReconcilerContext,
  definedKinds: LoadedManifests['definedKinds'],
  declared: LoadedManifests['declared'],
  { group, kind }: Declared,
): boolean {
  const name = definedKinds.get(`${group}/${kind}`)
  if (name === undefined) return false
  const key = `apiextensions.k8s.io/CustomResourceDefinition//${name}`
  return table.find(key)?.applied?.declaredHash !== declared.get(key)?.hash
}

/** Why the object is refused; undefined when it is not. Throws when that cannot be told. */
async function askAbout(
  context: ReconcilerContext,
  declared: Declared,
  bringsNamespace: boolean,
): Promise<AppError | undefined> {
  const refusal = context.localPolicy(declared)
  if (refusal ?? declared.refusal) return refusal ?? declared.refusal
  const record = context.table.find(declared.key)
  try {
    const body = record ? bodyOf(record, declared) : declared.body
    await dryRun(context, declared, declared, body)
    return undefined
  } catch (thrown) {
    const error = toAppError(thrown)
    const wasAccepted = record?.applied?.declaredHash === declared.hash
    const verdict = judgeRefusal(error, { wasAccepted, mayRecreate: mayRecreate(declared), bringsNamespace })
    if (verdict === 'unknown') throw error
    if (verdict === 'elsewhere') return await askElsewhere(context, declared)
    return verdict === 'refused' ? error : undefined
  }
}

async function askElsewhere(context: ReconcilerContext, declared: Declared): Promise<AppError | undefined> {
  const target = { namespace: context.ownNamespace, name: `${declared.name.slice(0, 40)}-fairlead-check` }
  const object = readDeclared(declared)
  const body = JSON.stringify({ ...object, metadata: { ...object.metadata, ...target } })
  try {
    await dryRun(context, declared, target, body)
    return undefined
  } catch (thrown) {
    const error = toAppError(thrown)
    if (error.code !== 'ApplyInvalid') return undefined
    const message = error.message.replaceAll(target.name, declared.name)
    return new AppError('ApplyInvalid', message, { context: { object: formatObjectReference(declared) }, cause: error })
  }
}

async function dryRun(
  { kubeFor, signal }: ReconcilerContext,
  { resource, application, sensitive }: Declared,
  target: { readonly name: string; readonly namespace: string },
  body: Uint8Array | string,
): Promise<void> {
  const kube = await kubeFor(application)
  await kube.apply(resource, target, body, { dryRun: true, metadataOnly: true, sensitive, signal })
}

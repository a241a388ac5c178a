// Deletes an object whose changed field cannot be changed, so that it is made anew: only where its manifest says so, only
// what we made ourselves, and only after the API server has agreed to the new one. Creating it is the next apply: what it
// takes is in the inventory already, so a process that ends in between is followed by one that makes it.
import { AppError, toAppError } from '@fairlead/shared/errors'
import { APPLICATION_LABEL, PRUNE_ANNOTATION, RECREATE_ANNOTATION } from '@fairlead/shared/labels'
import { formatObjectReference, type KubernetesObject } from '@fairlead/shared/object-reference'
import { type Declared, readDeclared } from '../applier/declared.ts'
import type { Kube } from '../kube/kube.ts'
import type { ObjectRecord } from './object-record.ts'

/** Never deleted to be made anew: what is in them would be lost. */
const PRECIOUS: ReadonlySet<string> = new Set([
  '/Namespace',
  '/PersistentVolume',
  '/PersistentVolumeClaim',
  'apiextensions.k8s.io/CustomResourceDefinition',
])
/** Own other objects: those go first, so that the new one does not meet them. */
const WITH_DEPENDENTS: ReadonlySet<string> = new Set([
  'apps/Deployment',
  'apps/StatefulSet',
  'apps/DaemonSet',
  'apps/ReplicaSet',
  'batch/Job',
  'batch/CronJob',
])

/** With what objects are deleted. */
export interface RecreateOptions {
  readonly kube: Kube
  readonly signal: AbortSignal
}

/** Whether the manifest allows it. */
export function mayRecreate(declared: Pick<Declared, 'body'>): boolean {
  return readDeclared(declared).metadata.annotations?.[RECREATE_ANNOTATION] === 'true'
}

/** Why it is refused although the manifest allows it; undefined when it is not. Pure. */
function findRecreateRefusal({ group, kind }: Declared, live: KubernetesObject): string | undefined {
  if (PRECIOUS.has(`${group}/${kind}`))
    return `a ${kind} is never deleted to be made anew, whatever its annotations say`
  if (live.metadata.annotations?.[PRUNE_ANNOTATION] === 'disabled')
    return 'it is annotated fairlead.dev/prune: disabled'
  return undefined
}

/**
 * Deletes the object that refuses the change. True when it is gone and the new one can be made; false while it is going,
 * which its watch tells. Throws `refusal` when it is not ours to delete, ImmutableField when it must not be deleted, and
 * as Kube does when the new object would not be accepted: then nothing was deleted.
 */
export async function makeWay(
  record: ObjectRecord,
  declared: Declared,
  refusal: AppError,
  { kube, signal }: RecreateOptions,
): Promise<boolean> {
  const live = await kube.get(declared.resource, declared, { signal })
  if (!live) return true
  const { uid = '', labels, deletionTimestamp } = live.metadata
  if (deletionTimestamp !== undefined) return false
  if (record.applied?.uid !== uid || labels?.[APPLICATION_LABEL] !== record.application) throw refusal
  const why = findRecreateRefusal(declared, live)
  if (why !== undefined) throw new AppError('ImmutableField', `${refusal.message}; ${why}`, { cause: refusal })
  await tryNew(declared, live, { kube, signal })
  const propagationPolicy = WITH_DEPENDENTS.has(`${declared.group}/${declared.kind}`) ? 'Foreground' : 'Background'
  return (await kube.delete(declared.resource, declared, { uid, propagationPolicy, signal })) !== 'terminating'
}

/** That the object is on its way out, for reports. */
export function goingError(declared: Declared): AppError {
  return new AppError('ApplyRefused', `${formatObjectReference(declared)} is being deleted to be made anew`)
}

/** Asks under another name whether the new object would be accepted. */
async function tryNew(declared: Declared, live: KubernetesObject, { kube, signal }: RecreateOptions): Promise<void> {
  const name = `${declared.name.slice(0, 40)}-fairlead-check`
  const object = withoutAllocated(readDeclared(declared), live)
  const body = JSON.stringify({ ...object, metadata: { ...object.metadata, name } })
  const target = { name, namespace: declared.namespace }
  const { sensitive } = declared
  try {
    await kube.apply(declared.resource, target, body, { dryRun: true, metadataOnly: true, sensitive, signal })
  } catch (thrown) {
    const { code, message } = toAppError(thrown)
    const why = `it must be made anew, and the new one would not be accepted: ${message.replaceAll(name, declared.name)}`
    throw new AppError(code, why, { cause: thrown })
  }
}

interface ServiceSpec {
  readonly clusterIP?: string
  readonly clusterIPs?: readonly string[]
  readonly healthCheckNodePort?: number
  readonly ports?: readonly { readonly nodePort?: number }[]
}

/** A Service without the addresses and ports that the old one still has, and will give up. */
function withoutAllocated(object: KubernetesObject, live: KubernetesObject): KubernetesObject {
  if (object.apiVersion !== 'v1' || object.kind !== 'Service') return object
  const [{ clusterIP, clusterIPs, healthCheckNodePort, ports, ...rest }, old] = [
    (object.spec ?? {}) as ServiceSpec,
    (live.spec ?? {}) as ServiceSpec,
  ]
  const taken = new Set((old.ports ?? []).map(({ nodePort }) => nodePort))
  const free = ports?.map(({ nodePort, ...port }) => (taken.has(nodePort) ? port : { ...port, nodePort }))
  const isSameAddress = clusterIP === old.clusterIP
  const isSameCheck = healthCheckNodePort === old.healthCheckNodePort
  return {
    ...object,
    spec: {
      ...rest,
      ...(free && { ports: free }),
      ...(!isSameAddress && { clusterIP, clusterIPs }),
      ...(!isSameCheck && { healthCheckNodePort }),
    },
  }
}

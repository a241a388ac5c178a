// Follows one Job to its end by a watch of that one object: no request but the watch while it runs.
import { backoffMs, sleep } from '@fairlead/shared/backoff'
import type { KubernetesObject } from '@fairlead/shared/object-reference'
import type { Kube, ResourceType } from '../kube/kube.ts'

/** Which Job: another one of the same name, made later, is not meant. */
export interface JobIdentity {
  readonly resource: ResourceType
  readonly namespace: string
  readonly name: string
  readonly uid: string
}

/** With whose rights it is looked at: asked before each look, because what it depends on may be away for a while. */
export type KubeAccess = () => Promise<Kube>

/** How a Job ended. `gone`: it was deleted before it had ended, or before its end was seen. */
export interface JobEnd {
  readonly state: 'succeeded' | 'failed' | 'gone'
  /** Why it failed; empty when it has not. */
  readonly message: string
}

const GONE: JobEnd = { state: 'gone', message: 'the Job was deleted before its end was seen' }
/** After which the API server ends the watch, in seconds; then it is opened again. */
const WATCH_SECONDS = 300

/** Resolves when the Job has ended or is gone, however long that takes; an API server that is away is waited for. Throws Aborted. */
export async function followJob(access: KubeAccess, job: JobIdentity, signal: AbortSignal): Promise<JobEnd> {
  return await follow(access, job, signal, findJobEnd)
}

/** Resolves when the Job is gone. Throws Aborted. */
export async function awaitJobGone(access: KubeAccess, job: JobIdentity, signal: AbortSignal): Promise<void> {
  await follow(access, job, signal, () => undefined)
}

/** How a Job ended, by its conditions; undefined while it has not. Pure. */
export function findJobEnd(job: KubernetesObject): JobEnd | undefined {
  const { conditions = [] } = (job.status ?? {}) as { conditions?: JobCondition[] }
  const isTrue = (wanted: string): JobCondition | undefined =>
    conditions.find(({ type, status }) => type === wanted && status === 'True')
  if (isTrue('Complete')) return { state: 'succeeded', message: '' }
  const failed = isTrue('Failed')
  if (!failed) return undefined
  const { reason = '', message = '' } = failed
  return { state: 'failed', message: [reason, message].filter((text) => text !== '').join(': ') }
}

interface JobCondition {
  readonly type: string
  readonly status: string
  readonly reason?: string
  readonly message?: string
}

async function follow(
  access: KubeAccess,
  job: JobIdentity,
  signal: AbortSignal,
  judge: (object: KubernetesObject) => JobEnd | undefined,
): Promise<JobEnd> {
  for (let attempt = 0; ; attempt++) {
    try {
      const kube = await access()
      const found = await kube.get(job.resource, job, { signal })
      if (found?.metadata.uid !== job.uid) return GONE
      const end = judge(found) ?? (await watchJob(kube, job, found.metadata.resourceVersion ?? '', { signal, judge }))
      if (end) return end
      attempt = -1
    } catch (error) {
      signal.throwIfAborted()
      // Whatever it is: the Job is still to be followed.
      if (error instanceof TypeError || error instanceof ReferenceError) throw error
    }
    await sleep(backoffMs(Math.max(0, attempt)), signal)
  }
}

/** Undefined when the watch ended before the Job did. */
async function watchJob(
  kube: Kube,
  { resource, namespace, name, uid }: JobIdentity,
  resourceVersion: string,
  options: { signal: AbortSignal; judge: (object: KubernetesObject) => JobEnd | undefined },
): Promise<JobEnd | undefined> {
  const { signal, judge } = options
  const wanted = { namespace, fieldSelector: `metadata.name=${name}`, resourceVersion, timeoutSeconds: WATCH_SECONDS }
  for await (const { type, object } of await kube.watch(resource, { ...wanted, signal })) {
    if (type === 'BOOKMARK' || object.metadata.uid !== uid) continue
    const end = judge(object)
    if (end) return end
    if (type === 'DELETED') return GONE
  }
  return undefined
}

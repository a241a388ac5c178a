// Tells when an object that was changed is as declared again, as a watcher of the cluster sees it.
import type { Cluster } from '../harness/cluster.ts'
import type { KubeObject } from '../harness/kube-client.ts'
import { type EditedKind, isAsDeclared } from './edited-kinds.ts'

/** Watches all objects of these kinds and tells when one that was changed is as declared again. Keys are `kind/namespace/name`. */
export function watchRepairs(
  cluster: Cluster,
  kinds: readonly EditedKind[],
): { repaired: (key: string) => Promise<number>; stop: () => void } {
  const controller = new AbortController()
  const waiting = new Map<string, { isChanged: boolean; resolve: (atMs: number) => void }>()
  const note = (kind: EditedKind, type: string, object: KubeObject): void => {
    const key = `${kind.kind}/${object.metadata.namespace}/${object.metadata.name}`
    const wait = waiting.get(key)
    if (!wait) return
    const isDeclared = type !== 'DELETED' && isAsDeclared(kind, object)
    if (!isDeclared) wait.isChanged = true
    else if (wait.isChanged) {
      waiting.delete(key)
      wait.resolve(performance.now())
    }
  }
  const run = async (kind: EditedKind): Promise<void> => {
    const reference = { apiVersion: kind.apiVersion, kind: kind.kind, metadata: {} }
    for await (const { type, object } of cluster.harness.watch(reference, controller.signal))
      note(kind, type, object as KubeObject)
  }
  for (const kind of kinds) {
    void run(kind).catch((error: unknown) => {
      if (!controller.signal.aborted) throw error
    })
  }
  const repaired = (key: string): Promise<number> => {
    const { promise, resolve } = Promise.withResolvers<number>()
    waiting.set(key, { isChanged: false, resolve })
    return promise
  }
  return { repaired, stop: () => controller.abort() }
}

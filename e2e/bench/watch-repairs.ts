// Tells when an object that was changed is as declared again, as a watcher of the cluster sees it.
import type { Cluster } from '../harness/cluster.ts'
import { getField, type KubeObject } from '../harness/kube-client.ts'

/** Watches all ConfigMaps and tells when one that was changed is as declared again. */
export function watchRepairs(cluster: Cluster): { repaired: (key: string) => Promise<number>; stop: () => void } {
  const controller = new AbortController()
  const waiting = new Map<string, { isChanged: boolean; resolve: (atMs: number) => void }>()
  const note = (type: string, object: KubeObject): void => {
    const key = `${object.metadata.namespace}/${object.metadata.name}`
    const wait = waiting.get(key)
    if (!wait) return
    const isDeclared = type !== 'DELETED' && getField(object, 'data.a') === '1'
    if (!isDeclared) wait.isChanged = true
    else if (wait.isChanged) {
      waiting.delete(key)
      wait.resolve(performance.now())
    }
  }
  const run = async (): Promise<void> => {
    const kind = { apiVersion: 'v1', kind: 'ConfigMap', metadata: {} }
    for await (const { type, object } of cluster.harness.watch(kind, controller.signal))
      note(type, object as KubeObject)
  }
  void run().catch((error: unknown) => {
    if (!controller.signal.aborted) throw error
  })
  const repaired = (key: string): Promise<number> => {
    const { promise, resolve } = Promise.withResolvers<number>()
    waiting.set(key, { isChanged: false, resolve })
    return promise
  }
  return { repaired, stop: () => controller.abort() }
}

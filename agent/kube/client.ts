// Kube over HTTP/2.
import type { Kube, KubeOptions } from './kube.ts'

/** Makes a Kube. */
export function createKubeClient(_options: KubeOptions): Kube {
  throw new Error('not yet')
}

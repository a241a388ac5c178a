// What charts see of a cluster: its Kubernetes version and the kinds that its API server serves, as its agent reports them. Pure.
import type { ApplicationSpec } from '@fairlead/proto/definitions'
import type { AgentFacts } from '@fairlead/proto/report'
import { canonicalJson, sha256Hex } from '@fairlead/shared/digest'

/** `.Capabilities` of a chart, as far as it is of the cluster. */
export interface Capabilities {
  /** Such as v1.36.3. */
  readonly kubeVersion: string
  /** Sorted: `apps/v1` as well as `apps/v1/Deployment`. */
  readonly apiVersions: readonly string[]
}

/** Of one cluster, as they are stored. */
export interface StoredCapabilities {
  /** Equal for clusters that report the same. */
  readonly digest: string
  /** Capabilities as JSON. */
  readonly content: string
}

/** A version of Kubernetes as Helm understands it. */
export const KUBE_VERSION = /^v?\d+\.\d+(\.\d+)?([-+][0-9A-Za-z.+-]+)?$/

/** `group/version` or `group/version/Kind`; without a group for the core. */
export const API_VERSION = /^([a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?\/)?v[a-z0-9]+(\/[A-Za-z][A-Za-z0-9-]*)?$/

/** Bounds what a hostile agent can have the hub keep, and hand to renders: more than any agent sends. */
const MAX_BYTES = 128 * 1024

/** What an agent reports of its cluster, less what no API server would say; undefined when it says nothing else, or too much. */
export function readCapabilities({ kubernetesVersion, served }: AgentFacts): StoredCapabilities | undefined {
  if (kubernetesVersion.length > 100 || !KUBE_VERSION.test(kubernetesVersion)) return undefined
  const versions = served.flatMap(({ apiVersion, kinds }) => [
    apiVersion,
    ...kinds.map((kind) => `${apiVersion}/${kind}`),
  ])
  const apiVersions = [...new Set(versions)].filter((version) => API_VERSION.test(version)).sort()
  if (apiVersions.length === 0) return undefined
  const content = canonicalJson({ kubeVersion: kubernetesVersion, apiVersions } satisfies Capabilities)
  return content.length > MAX_BYTES ? undefined : { digest: sha256Hex(content).slice(0, 32), content }
}

/** Whether an application is rendered for what each cluster reports. */
export function seesCapabilities({ render }: ApplicationSpec): boolean {
  return render?.helm?.capabilities === 'cluster'
}

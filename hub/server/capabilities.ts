// What charts see of a cluster: its Kubernetes version and the kinds that its API server serves, as its agent reports them. Pure.
import type { ApplicationSpec } from '@fairlead/proto/definitions'
import type { AgentFacts, ServedVersion } from '@fairlead/proto/report'
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

/** Versions as Helm understands them. */
export const KUBE_VERSION = /^v?\d+\.\d+(\.\d+)?([-+][0-9A-Za-z.+-]+)?$/

// Bounds what a hostile agent can have the hub keep, and hand to renders: more than any agent sends.
const MAX_BYTES = 128 * 1024
const API_VERSION = /^(?:[a-z0-9][a-z0-9.-]{0,252}\/)?v[a-z0-9]{1,62}$/
const KIND = /^[A-Za-z][A-Za-z0-9]{0,62}$/

/** What an agent reports of its cluster; undefined when it does not say, or says what no API server would. */
export function readCapabilities({ kubernetesVersion, served }: AgentFacts): StoredCapabilities | undefined {
  const isKnown = served.length > 0 && kubernetesVersion.length <= 100 && KUBE_VERSION.test(kubernetesVersion)
  if (!isKnown || !served.every(isPlausible)) return undefined
  const versions = served.flatMap(({ apiVersion, kinds }) => [
    apiVersion,
    ...kinds.map((kind) => `${apiVersion}/${kind}`),
  ])
  const apiVersions = [...new Set(versions)].sort()
  const content = canonicalJson({ kubeVersion: kubernetesVersion, apiVersions } satisfies Capabilities)
  return content.length > MAX_BYTES ? undefined : { digest: sha256Hex(content).slice(0, 32), content }
}

function isPlausible({ apiVersion, kinds }: ServedVersion): boolean {
  return API_VERSION.test(apiVersion) && kinds.every((kind) => KIND.test(kind))
}

/** Whether an application is rendered for what each cluster reports. */
export function seesCapabilities({ render }: ApplicationSpec): boolean {
  return render?.helm?.capabilities === 'cluster'
}

// The parts of a Pod that the kubelet stand-in reads, as the API server admitted it.

import type { KubeMetadata } from './kube-client.ts'

/** A Pod. */
export type Pod = {
  readonly apiVersion: 'v1'
  readonly kind: 'Pod'
  readonly metadata: KubeMetadata & { readonly namespace: string; readonly uid: string }
  readonly spec: PodSpec
}

/** What to run, with what around it. */
export type PodSpec = {
  readonly nodeName?: string
  readonly serviceAccountName?: string
  readonly terminationGracePeriodSeconds?: number
  readonly hostNetwork?: boolean
  readonly hostPID?: boolean
  readonly hostIPC?: boolean
  readonly securityContext?: SecurityContext
  readonly initContainers?: readonly Container[]
  readonly containers: readonly Container[]
  readonly volumes?: readonly Volume[]
}

/** The security fields of a pod and of a container, in one. */
export type SecurityContext = {
  readonly runAsNonRoot?: boolean
  readonly runAsUser?: number
  readonly privileged?: boolean
  readonly allowPrivilegeEscalation?: boolean
  readonly readOnlyRootFilesystem?: boolean
  readonly capabilities?: { readonly add?: readonly string[]; readonly drop?: readonly string[] }
  readonly seccompProfile?: { readonly type?: string }
}

/** A container. */
export type Container = {
  readonly name: string
  readonly image: string
  readonly command?: readonly string[]
  readonly args?: readonly string[]
  readonly env?: readonly EnvironmentVariable[]
  readonly envFrom?: readonly {
    readonly prefix?: string
    readonly configMapRef?: Source
    readonly secretRef?: Source
  }[]
  readonly ports?: readonly { readonly name?: string; readonly containerPort: number }[]
  readonly volumeMounts?: readonly { readonly name: string; readonly mountPath: string; readonly subPath?: string }[]
  readonly securityContext?: SecurityContext
  readonly startupProbe?: Probe
  readonly livenessProbe?: Probe
  readonly readinessProbe?: Probe
}

/** One variable of a container's environment. */
export type EnvironmentVariable = {
  readonly name: string
  readonly value?: string
  readonly valueFrom?: {
    readonly fieldRef?: { readonly fieldPath: string }
    readonly secretKeyRef?: KeySource
    readonly configMapKeyRef?: KeySource
    readonly resourceFieldRef?: { readonly resource: string }
  }
}

/** The name of a ConfigMap or Secret. */
export type Source = { readonly name: string; readonly optional?: boolean }

/** One key of a ConfigMap or Secret. */
export type KeySource = Source & { readonly key: string }

type Items = { readonly items?: readonly { readonly key: string; readonly path: string }[] }
type DownwardItems = {
  readonly items?: readonly { readonly path: string; readonly fieldRef?: { readonly fieldPath: string } }[]
}

/** What a projected volume is made of. */
export type Projection = {
  readonly configMap?: Source & Items
  readonly secret?: Source & Items
  readonly downwardAPI?: DownwardItems
  readonly serviceAccountToken?: TokenProjection
}

/** A service-account token that is kept fresh in a file. */
export type TokenProjection = {
  readonly path: string
  readonly audience?: string
  /** Default an hour. */
  readonly expirationSeconds?: number
}

/** A volume. */
export type Volume = {
  readonly name: string
  readonly emptyDir?: object
  readonly configMap?: Source & Items
  readonly secret?: { readonly secretName: string; readonly optional?: boolean } & Items
  readonly downwardAPI?: DownwardItems
  readonly projected?: { readonly sources: readonly Projection[] }
}

/** A probe over HTTP, the only kind that the stand-in runs. */
export type Probe = {
  readonly httpGet?: {
    readonly path?: string
    readonly port: number | string
    readonly scheme?: string
  }
  readonly initialDelaySeconds?: number
  readonly periodSeconds?: number
  readonly timeoutSeconds?: number
  readonly failureThreshold?: number
  readonly successThreshold?: number
}

/** The value of a downward-API field such as `metadata.namespace`, `metadata.labels['app']` or `spec.nodeName`. */
export function getDownwardField(pod: Pod, fieldPath: string): string {
  const keyed = fieldPath.match(/^metadata\.(labels|annotations)\['(.+)'\]$/)
  if (keyed) return pod.metadata[keyed[1] as 'labels' | 'annotations']?.[keyed[2] ?? ''] ?? ''
  const fields: Readonly<Record<string, string | undefined>> = {
    'metadata.name': pod.metadata.name,
    'metadata.namespace': pod.metadata.namespace,
    'metadata.uid': pod.metadata.uid,
    'spec.nodeName': pod.spec.nodeName ?? '',
    'spec.serviceAccountName': pod.spec.serviceAccountName ?? 'default',
    'status.podIP': '127.0.0.1',
    'status.hostIP': '127.0.0.1',
  }
  const value = fields[fieldPath]
  if (value === undefined) throw new Error(`the kubelet stand-in does not know the field ${fieldPath}`)
  return value
}

/** `registry.example.com:5000/shop/web:1.2@sha256:...` without tag and digest. */
export function getImageRepository(image: string): string {
  const withoutDigest = image.split('@')[0] ?? image
  const colon = withoutDigest.lastIndexOf(':')
  return colon > withoutDigest.lastIndexOf('/') ? withoutDigest.slice(0, colon) : withoutDigest
}

// Where the API server is and how the agent proves who it is: in a pod, or by a kubeconfig.
import { readFile } from 'node:fs/promises'
import { isIPv6 } from 'node:net'
import path from 'node:path'
import { AppError } from '@fairlead/shared/errors'

/** What a TLS connection is made with. */
export interface TlsMaterial {
  readonly ca?: string | Buffer
  readonly cert?: string | Buffer
  readonly key?: string | Buffer
  /** Name that the certificate must bear, default the host of the address. */
  readonly servername?: string
  /** False only where a kubeconfig says insecure-skip-tls-verify. */
  readonly rejectUnauthorized?: boolean
}

/** Access to an API server. */
export interface ApiServerAccess {
  /** `https://host:port`, perhaps with a path that precedes all others. */
  readonly server: string
  /** Asked for each new connection, so that rotated files take effect. */
  readonly tls: () => Promise<TlsMaterial>
  /** Value of the authorization header, undefined where a certificate says who we are. Cached for a minute unless `fresh`. */
  readonly authorization: (options?: { fresh?: boolean }) => Promise<string | undefined>
}

/** Where a pod finds its API server. */
export interface InClusterOptions {
  /** KUBERNETES_SERVICE_HOST. */
  readonly host: string
  /** KUBERNETES_SERVICE_PORT. */
  readonly port: string | number
  /** Prefix of the mounted paths, for running outside a container. Default none. */
  readonly podRoot?: string
}

const SERVICE_ACCOUNT_PATH = '/var/run/secrets/kubernetes.io/serviceaccount'
// As client-go: the kubelet replaces a projected token long before it expires.
const TOKEN_CACHE_MS = 60_000

/** Access as a pod's service account, by the files that the kubelet mounts and renews. */
export function inClusterAccess({ host, port, podRoot = '' }: InClusterOptions): ApiServerAccess {
  const folder = path.join(podRoot, SERVICE_ACCOUNT_PATH)
  return {
    server: `https://${isIPv6(host) ? `[${host}]` : host}:${port}`,
    tls: async () => ({ ca: await readMounted(path.join(folder, 'ca.crt')) }),
    authorization: cached(async () => `Bearer ${(await readMounted(path.join(folder, 'token'))).trim()}`),
  }
}

/** Access as a kubeconfig says; its context, default the current one. The file is read anew for each connection and each token, but the address stays. Loads the Kubernetes client library, which costs memory: not for use in a pod. */
export async function kubeconfigAccess(file: string, context?: string): Promise<ApiServerAccess> {
  const { KubeConfig } = await import('@kubernetes/client-node')
  const load = () => {
    const config = new KubeConfig()
    config.loadFromFile(file)
    if (context !== undefined) config.setCurrentContext(context)
    return config
  }
  const cluster = load().getCurrentCluster()
  if (!cluster) throw new AppError('InvalidArgument', `${file} has no current context with a cluster`)
  const readOptions = async (): Promise<HttpsOptions> => {
    const options: HttpsOptions = {}
    try {
      await load().applyToHTTPSOptions(options)
    } catch (cause) {
      // Perhaps it is just being replaced. The parser's message may quote it.
      throw new AppError('ApiServerUnavailable', `the kubeconfig ${file} cannot be read`, { cause })
    }
    return options
  }
  return {
    server: cluster.server.replace(/\/+$/, ''),
    tls: async () => {
      const { ca, cert, key, servername, rejectUnauthorized } = await readOptions()
      const material = { ca, cert, key, servername, rejectUnauthorized }
      return Object.fromEntries(Object.entries(material).filter(([, value]) => value !== undefined))
    },
    authorization: cached(async () => (await readOptions()).headers?.Authorization),
  }
}

/** The part of https.RequestOptions that KubeConfig fills. */
interface HttpsOptions {
  ca?: string
  cert?: string
  key?: string
  servername?: string
  rejectUnauthorized?: boolean
  headers?: Record<string, string>
}

async function readMounted(file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8')
  } catch (cause) {
    throw new AppError('ApiServerUnavailable', `the service account's ${path.basename(file)} cannot be read`, { cause })
  }
}

function cached(read: () => Promise<string | undefined>): ApiServerAccess['authorization'] {
  let value: Promise<string | undefined> | undefined
  let readAt = 0
  return async ({ fresh = false } = {}) => {
    if (value === undefined || fresh || performance.now() - readAt > TOKEN_CACHE_MS) {
      readAt = performance.now()
      const reading = read()
      value = reading
      reading.catch(() => {
        if (value === reading) value = undefined
      })
    }
    return await value
  }
}

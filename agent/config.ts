// The agent's settings: the only place that reads the environment. The chart sets these variables.
import { readFileSync } from 'node:fs'
import path from 'node:path'
import { AppError } from '@fairlead/shared/errors'

/** Directory of the service account's token and CA in every pod. */
const SERVICE_ACCOUNT_DIR = '/var/run/secrets/kubernetes.io/serviceaccount'

const LOG_LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'] as const

/** A pino level. */
export type LogLevel = (typeof LOG_LEVELS)[number]

/** How the agent reaches its API server. */
export type KubeSource =
  | { readonly kind: 'in-cluster'; readonly host: string; readonly port: string; readonly podRoot: string }
  | { readonly kind: 'kubeconfig'; readonly file: string }

/** Everything that can be set. */
export interface AgentConfig {
  /** Address of the hub's API, host:port. */
  readonly hubAddress: string
  /** Pin of the hub's CA: `sha256:` and 64 hexadecimal digits. */
  readonly hubCaPin: string
  /** NATS server to use in place of those that the hub names, as tls://host:port or wss://host:port. */
  readonly natsUrl: string | undefined
  /** The one-time join token, when it was given directly. */
  readonly joinToken: string | undefined
  /** Name of a Secret in the agent's namespace that holds the join token under the key `token`; read anew at each try. */
  readonly joinSecret: string | undefined
  /** The agent's own namespace: its keys, kept slice and inventories are there. */
  readonly namespace: string
  /** Name of the agent's pod, for the log. */
  readonly podName: string
  /** Name of a Secret in the agent's namespace with the age keys that decrypt manifests; undefined: all that are labelled as such. */
  readonly ageSecret: string | undefined
  /** Namespaces that the agent manages; undefined: the whole cluster. */
  readonly namespaces: readonly string[] | undefined
  /** Port of /healthz and /readyz, default 8080; 0 takes a free one. */
  readonly httpPort: number
  /** Whether /metrics is served, default true. */
  readonly metrics: boolean
  /** Whether Kubernetes Events are written, default true. */
  readonly events: boolean
  /** Whether the logs of containers at fault are read and reported, default false: they may hold secrets. */
  readonly podLogs: boolean
  /** Whether several agents run side by side, of which the one with the Lease writes; default false. */
  readonly leaderElection: boolean
  readonly logLevel: LogLevel
  /** Time between heartbeats in milliseconds, default 15,000. */
  readonly heartbeatMs: number
  /** Where the last problem is written for `kubectl describe pod`. */
  readonly terminationLog: string
  /** Where `fairlead agent status` asks. */
  readonly statusSocket: string
  readonly kube: KubeSource
}

/** The settings of this process. Throws InvalidArgument as parseConfig does. */
export function readConfig(): AgentConfig {
  return parseConfig(process.env)
}

/** Reads the settings. Throws InvalidArgument that names the variable. */
export function parseConfig(env: Readonly<Record<string, string | undefined>>): AgentConfig {
  const podRoot = env.FAIRLEAD_POD_ROOT ?? ''
  return {
    hubAddress: parseAddress(required(env, 'FAIRLEAD_HUB_ADDRESS')),
    hubCaPin: parsePin(required(env, 'FAIRLEAD_HUB_CA_PIN')),
    natsUrl: parseNatsUrl(optional(env, 'FAIRLEAD_NATS_URL')),
    joinToken: optional(env, 'FAIRLEAD_JOIN_TOKEN'),
    joinSecret: optional(env, 'FAIRLEAD_JOIN_SECRET'),
    namespace: optional(env, 'POD_NAMESPACE') ?? readNamespace(podRoot),
    podName: optional(env, 'POD_NAME') ?? 'fairlead-agent',
    ageSecret: optional(env, 'FAIRLEAD_SOPS_AGE_SECRET'),
    namespaces: parseNamespaces(env.FAIRLEAD_NAMESPACES),
    httpPort: parseNumber(env, 'FAIRLEAD_HTTP_PORT', { fallback: 8080, min: 0, max: 65_535 }),
    metrics: parseSwitch(env, 'FAIRLEAD_METRICS', true),
    events: parseSwitch(env, 'FAIRLEAD_EVENTS', true),
    podLogs: parseSwitch(env, 'FAIRLEAD_POD_LOGS', false),
    leaderElection: parseSwitch(env, 'FAIRLEAD_LEADER_ELECTION', false),
    logLevel: parseLogLevel(env.FAIRLEAD_LOG_LEVEL),
    heartbeatMs: parseNumber(env, 'FAIRLEAD_HEARTBEAT_SECONDS', { fallback: 15, min: 0.05, max: 3600 }) * 1000,
    terminationLog: path.join(podRoot === '' ? '/' : podRoot, 'dev/termination-log'),
    statusSocket: path.join(podRoot === '' ? '/' : podRoot, 'run/fairlead/agent.sock'),
    kube: parseKubeSource(env, podRoot),
  }
}

function required(env: Readonly<Record<string, string | undefined>>, name: string): string {
  const value = optional(env, name)
  if (value === undefined) throw new AppError('InvalidArgument', `${name} is not set`, { context: { field: name } })
  return value
}

function optional(env: Readonly<Record<string, string | undefined>>, name: string): string | undefined {
  const value = env[name]?.trim()
  return value === undefined || value === '' ? undefined : value
}

function invalid(name: string, message: string): AppError {
  return new AppError('InvalidArgument', `${name} ${message}`, { context: { field: name } })
}

function parseAddress(value: string): string {
  if (!/^(\[[0-9a-fA-F:.]+\]|[^\s:/]+):\d{1,5}$/.test(value)) {
    throw invalid('FAIRLEAD_HUB_ADDRESS', `must be host:port, not ${JSON.stringify(value)}`)
  }
  return value
}

function parseNatsUrl(value: string | undefined): string | undefined {
  if (value === undefined || /^(tls|wss):\/\/[^\s/]+\/?$/.test(value)) return value
  throw invalid('FAIRLEAD_NATS_URL', `must be tls://host:port or wss://host:port, not ${JSON.stringify(value)}`)
}

function parsePin(value: string): string {
  if (!/^sha256:[0-9a-f]{64}$/.test(value)) {
    throw invalid('FAIRLEAD_HUB_CA_PIN', 'must be sha256: and 64 lower-case hexadecimal digits')
  }
  return value
}

function parseNamespaces(value: string | undefined): readonly string[] | undefined {
  const names = (value ?? '').split(',').map((name) => name.trim())
  const given = [...new Set(names.filter((name) => name !== ''))]
  for (const name of given) {
    if (!/^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/.test(name)) {
      throw invalid('FAIRLEAD_NAMESPACES', `has ${JSON.stringify(name)}, which is not the name of a namespace`)
    }
  }
  return given.length === 0 ? undefined : given
}

function parseNumber(
  env: Readonly<Record<string, string | undefined>>,
  name: string,
  { fallback, min, max }: { fallback: number; min: number; max: number },
): number {
  const text = optional(env, name)
  if (text === undefined) return fallback
  const value = Number(text)
  if (!Number.isFinite(value) || value < min || value > max) throw invalid(name, `must be from ${min} to ${max}`)
  return value
}

function parseSwitch(env: Readonly<Record<string, string | undefined>>, name: string, fallback: boolean): boolean {
  const text = optional(env, name)
  if (text === undefined) return fallback
  if (text !== 'true' && text !== 'false') throw invalid(name, `must be true or false, not ${JSON.stringify(text)}`)
  return text === 'true'
}

function parseLogLevel(value: string | undefined): LogLevel {
  const level = value === undefined || value === '' ? 'info' : value
  const found = LOG_LEVELS.find((known) => known === level)
  if (!found) throw invalid('FAIRLEAD_LOG_LEVEL', `must be one of ${LOG_LEVELS.join(', ')}`)
  return found
}

function readNamespace(podRoot: string): string {
  const file = path.join(podRoot === '' ? '/' : podRoot, SERVICE_ACCOUNT_DIR, 'namespace')
  try {
    return readFileSync(file, 'utf8').trim()
  } catch (cause) {
    throw new AppError('InvalidArgument', `POD_NAMESPACE is not set and ${file} cannot be read`, { cause })
  }
}

function parseKubeSource(env: Readonly<Record<string, string | undefined>>, podRoot: string): KubeSource {
  const host = optional(env, 'KUBERNETES_SERVICE_HOST')
  const file = optional(env, 'KUBECONFIG')
  if (host !== undefined) {
    return { kind: 'in-cluster', host, port: optional(env, 'KUBERNETES_SERVICE_PORT') ?? '443', podRoot }
  }
  if (file !== undefined) return { kind: 'kubeconfig', file }
  throw invalid('KUBERNETES_SERVICE_HOST', 'is not set (not in a pod) and neither is KUBECONFIG')
}

// The hub's settings, out of flags and environment. The only file of the hub that knows the environment.
import { homedir, hostname } from 'node:os'
import { join, resolve } from 'node:path'
import { AppError } from '@fairlead/shared/errors'
import { findDurationMs } from './duration.ts'

/** How much the hub logs. */
export type LogLevel = 'trace' | 'debug' | 'info' | 'warn' | 'error' | 'silent'

/** TLS of the listener for webhooks. */
export type WebhookTls = 'own' | 'off' | { readonly certFile: string; readonly keyFile: string }

/** Settings of the hub; every path is absolute. */
export interface HubConfig {
  /** Everything that the hub keeps. Flag --data-dir, FAIRLEAD_DATA_DIR; default ./fairlead-data. */
  readonly dataDir: string
  /** host:port of the gRPC API; port 0 takes a free one. --listen, FAIRLEAD_LISTEN; default 127.0.0.1:7443. */
  readonly listen: string
  /** host:port under which agents and the CLI reach the API, when it differs from `listen`. --public-address, FAIRLEAD_PUBLIC_ADDRESS. */
  readonly publicAddress?: string
  /** host:port of the embedded NATS; port 0 takes a free one. --nats-listen, FAIRLEAD_NATS_LISTEN; default port 4222 on the host of `listen`. */
  readonly natsListen: string
  /** tls:// or wss:// address under which agents reach NATS, when it differs. --nats-public-url, FAIRLEAD_NATS_PUBLIC_URL. */
  readonly natsPublicUrl?: string
  /** host:port of a WebSocket listener of the embedded NATS, for agents behind HTTP proxies; none when absent. --nats-websocket-listen, FAIRLEAD_NATS_WEBSOCKET_LISTEN. */
  readonly natsWebsocketListen?: string
  /** wss:// address under which agents reach it, when it differs. --nats-websocket-public-url, FAIRLEAD_NATS_WEBSOCKET_PUBLIC_URL. */
  readonly natsWebsocketPublicUrl?: string
  /** host:port where webhooks of Git hosts are taken; none when absent. --webhook-listen, FAIRLEAD_WEBHOOK_LISTEN. */
  readonly webhookListen?: string
  /** How: with TLS by the hub's own certificate (`own`), with that of two files, or without TLS (`off`) behind a proxy that ends it. --webhook-tls, FAIRLEAD_WEBHOOK_TLS; default own. */
  readonly webhookTls: WebhookTls
  /** An existing NATS to use instead of the embedded one. --nats-url, FAIRLEAD_NATS_URL. */
  readonly natsUrl?: string
  /** nats-server to run; default the one on PATH. --nats-server, FAIRLEAD_NATS_SERVER. */
  readonly natsServerBinary?: string
  /** --log-level, FAIRLEAD_LOG_LEVEL; default info. */
  readonly logLevel: LogLevel
  /** Age of the last heartbeat from which a cluster is Stale. --stale-after, FAIRLEAD_STALE_AFTER; default 45s. */
  readonly staleAfterMs: number
  /** Age from which it is Offline; never below staleAfterMs. --offline-after, FAIRLEAD_OFFLINE_AFTER; default 5m. */
  readonly offlineAfterMs: number
  /** How often to look at a repository that says nothing of it. --poll-interval, FAIRLEAD_POLL_INTERVAL; default 30s. */
  readonly pollIntervalDefaultMs: number
  /** Where the administrator's context for the CLI is written at the first start. FAIRLEAD_CONFIG; default ~/.config/fairlead/config.yaml. */
  readonly adminContextPath: string
  /** Folders that `file:` credentials of repositories may come from, so that no definition makes the hub send its own keys to a Git server. --credential-dir (repeatable), FAIRLEAD_CREDENTIAL_DIRS (separated by colons); default /etc/fairlead and <data dir>/credentials. */
  readonly allowedFileCredentialDirs: readonly string[]
  /** What `env:` credentials of repositories may name: the variables FAIRLEAD_GIT_*. */
  readonly credentialEnvironment: Readonly<Record<string, string>>
  /** https:// address of the API server of the cluster that the hub runs in, for `secret:` credentials: KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT, as Kubernetes sets them in each pod. */
  readonly kubernetesServer?: string
  /** The way out to Git servers: HTTP_PROXY, HTTPS_PROXY and NO_PROXY, in capitals or not. */
  readonly proxy: { readonly HTTP_PROXY?: string; readonly HTTPS_PROXY?: string; readonly NO_PROXY?: string }
  /** The machine's own name, for the server certificate. */
  readonly hostname: string
}

/** Flags of `fairlead hub` as given; each wins over its variable. */
export interface HubFlags {
  readonly dataDir?: string | undefined
  readonly listen?: string | undefined
  readonly publicAddress?: string | undefined
  readonly natsListen?: string | undefined
  readonly natsPublicUrl?: string | undefined
  readonly natsWebsocketListen?: string | undefined
  readonly natsWebsocketPublicUrl?: string | undefined
  readonly webhookListen?: string | undefined
  /** own, off, or <certificate file>,<key file>. */
  readonly webhookTls?: string | undefined
  readonly natsUrl?: string | undefined
  readonly natsServer?: string | undefined
  readonly logLevel?: string | undefined
  /** Duration such as 45s, 5m or 500ms. */
  readonly staleAfter?: string | undefined
  /** Duration. */
  readonly offlineAfter?: string | undefined
  /** Duration. */
  readonly pollInterval?: string | undefined
  readonly credentialDir?: readonly string[] | undefined
}

/** Environment variables by name. */
export type Environment = Readonly<Record<string, string | undefined>>

const LOG_LEVELS: readonly LogLevel[] = ['trace', 'debug', 'info', 'warn', 'error', 'silent']

/** Settings out of flags and environment (default the process's). Throws InvalidArgument that names the flag and its variable. */
export function parseHubConfig(flags: HubFlags, env: Environment = process.env): HubConfig {
  const read = (flag: string | undefined, variable: string): string | undefined =>
    nonEmpty(flag) ?? nonEmpty(env[variable])
  const dataDir = resolve(read(flags.dataDir, 'FAIRLEAD_DATA_DIR') ?? 'fairlead-data')
  const listen = parseAddress('listen', read(flags.listen, 'FAIRLEAD_LISTEN') ?? '127.0.0.1:7443')
  const publicAddress = read(flags.publicAddress, 'FAIRLEAD_PUBLIC_ADDRESS')
  const natsListen = read(flags.natsListen, 'FAIRLEAD_NATS_LISTEN') ?? `${splitAddress(listen).host}:4222`
  const natsPublicUrl = read(flags.natsPublicUrl, 'FAIRLEAD_NATS_PUBLIC_URL')
  const webhookListen = read(flags.webhookListen, 'FAIRLEAD_WEBHOOK_LISTEN')
  const natsUrl = read(flags.natsUrl, 'FAIRLEAD_NATS_URL')
  const natsServerBinary = read(flags.natsServer, 'FAIRLEAD_NATS_SERVER')
  const staleAfterMs = duration('stale-after', read(flags.staleAfter, 'FAIRLEAD_STALE_AFTER') ?? '45s')
  const offlineAfterMs = duration('offline-after', read(flags.offlineAfter, 'FAIRLEAD_OFFLINE_AFTER') ?? '5m')
  if (offlineAfterMs < staleAfterMs) throw invalid('offline-after', 'must not be shorter than --stale-after')
  return {
    dataDir,
    listen,
    ...(publicAddress === undefined ? {} : { publicAddress: parseAddress('public-address', publicAddress) }),
    natsListen: parseAddress('nats-listen', natsListen),
    ...(natsPublicUrl === undefined ? {} : { natsPublicUrl: parseNatsUrl('nats-public-url', natsPublicUrl) }),
    ...parseWebsocket({
      listen: read(flags.natsWebsocketListen, 'FAIRLEAD_NATS_WEBSOCKET_LISTEN'),
      publicUrl: read(flags.natsWebsocketPublicUrl, 'FAIRLEAD_NATS_WEBSOCKET_PUBLIC_URL'),
      natsUrl,
    }),
    ...(webhookListen === undefined ? {} : { webhookListen: parseAddress('webhook-listen', webhookListen) }),
    webhookTls: parseWebhookTls(read(flags.webhookTls, 'FAIRLEAD_WEBHOOK_TLS') ?? 'own'),
    ...(natsUrl === undefined ? {} : { natsUrl: parseNatsUrl('nats-url', natsUrl) }),
    ...(natsServerBinary === undefined ? {} : { natsServerBinary }),
    logLevel: parseLogLevel(read(flags.logLevel, 'FAIRLEAD_LOG_LEVEL') ?? 'info'),
    staleAfterMs,
    offlineAfterMs,
    pollIntervalDefaultMs: duration('poll-interval', read(flags.pollInterval, 'FAIRLEAD_POLL_INTERVAL') ?? '30s'),
    adminContextPath: resolve(nonEmpty(env.FAIRLEAD_CONFIG) ?? defaultContextPath(env)),
    allowedFileCredentialDirs: credentialDirs(flags, env, dataDir),
    credentialEnvironment: pick(env, /^FAIRLEAD_GIT_[A-Z0-9_]+$/),
    ...parseKubernetesServer(env),
    proxy: parseProxy(env),
    hostname: hostname(),
  }
}

/** Host and port of host:port; IPv6 hosts are in brackets, and come back with them. */
export function splitAddress(address: string): { host: string; port: number } {
  const colon = address.lastIndexOf(':')
  return { host: address.slice(0, colon), port: Number(address.slice(colon + 1)) }
}

function nonEmpty(text: string | undefined): string | undefined {
  return text === undefined || text === '' ? undefined : text
}

function parseAddress(flag: string, text: string): string {
  const match = /^(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?):(\d{1,5})$/.exec(text)
  if (!match || Number(match[2]) > 65_535) throw invalid(flag, `${JSON.stringify(text)} is not host:port`)
  return text
}

function parseNatsUrl(flag: string, text: string): string {
  const schemes = ['nats:', 'tls:', 'ws:', 'wss:']
  const url = URL.parse(text)
  if (!url || !schemes.includes(url.protocol) || url.host === '') {
    throw invalid(flag, `${JSON.stringify(text)} is not a NATS address such as tls://nats.example.com:4222`)
  }
  if (url.username !== '' || url.password !== '') throw invalid(flag, 'must hold no credentials')
  return text
}

interface WebsocketSettings {
  readonly listen: string | undefined
  readonly publicUrl: string | undefined
  readonly natsUrl: string | undefined
}

function parseWebsocket({
  listen,
  publicUrl,
  natsUrl,
}: WebsocketSettings): Pick<HubConfig, 'natsWebsocketListen' | 'natsWebsocketPublicUrl'> {
  if (listen === undefined) {
    if (publicUrl === undefined) return {}
    throw invalid('nats-websocket-public-url', 'needs --nats-websocket-listen')
  }
  const flag = 'nats-websocket-listen'
  if (natsUrl !== undefined) throw invalid(flag, 'is for the embedded NATS, not for one given by --nats-url')
  if (splitAddress(parseAddress(flag, listen)).port === 0) throw invalid(flag, 'needs a port')
  if (publicUrl === undefined) return { natsWebsocketListen: listen }
  if (!publicUrl.startsWith('wss://')) throw invalid('nats-websocket-public-url', 'must begin with wss://')
  return {
    natsWebsocketListen: listen,
    natsWebsocketPublicUrl: parseNatsUrl('nats-websocket-public-url', publicUrl),
  }
}

function parseWebhookTls(text: string): WebhookTls {
  if (text === 'own' || text === 'off') return text
  const [certFile = '', keyFile = '', ...others] = text.split(',')
  if (certFile === '' || keyFile === '' || others.length > 0) {
    throw invalid('webhook-tls', `${JSON.stringify(text)} is none of own, off and <certificate file>,<key file>`)
  }
  return { certFile: resolve(certFile), keyFile: resolve(keyFile) }
}

function parseKubernetesServer(env: Environment): Pick<HubConfig, 'kubernetesServer'> {
  const host = nonEmpty(env.KUBERNETES_SERVICE_HOST)
  if (host === undefined) return {}
  const port = nonEmpty(env.KUBERNETES_SERVICE_PORT) ?? '443'
  return { kubernetesServer: `https://${host.includes(':') ? `[${host}]` : host}:${port}` }
}

function parseProxy(env: Environment): HubConfig['proxy'] {
  const entries = (['HTTP_PROXY', 'HTTPS_PROXY', 'NO_PROXY'] as const).flatMap((name) => {
    const value = nonEmpty(env[name]) ?? nonEmpty(env[name.toLowerCase()])
    if (value === undefined) return []
    // Never repeats the address: it may hold a password.
    const isUrl = name === 'NO_PROXY' || /^https?:$/.test(URL.parse(value)?.protocol ?? '')
    if (!isUrl) throw new AppError('InvalidArgument', `${name} is no http:// or https:// address`)
    return [[name, value] as const]
  })
  return Object.fromEntries(entries)
}

function parseLogLevel(text: string): LogLevel {
  const level = LOG_LEVELS.find((candidate) => candidate === text)
  if (!level) throw invalid('log-level', `${JSON.stringify(text)} is none of ${LOG_LEVELS.join(', ')}`)
  return level
}

function duration(flag: string, text: string): number {
  const ms = findDurationMs(text)
  if (ms === undefined || ms === 0) throw invalid(flag, `${JSON.stringify(text)} is not a duration such as 30s or 5m`)
  return ms
}

function credentialDirs(flags: HubFlags, env: Environment, dataDir: string): readonly string[] {
  const fromEnv = nonEmpty(env.FAIRLEAD_CREDENTIAL_DIRS)
    ?.split(':')
    .filter((dir) => dir !== '')
  const dirs = flags.credentialDir?.length ? flags.credentialDir : fromEnv
  return (dirs ?? ['/etc/fairlead', join(dataDir, 'credentials')]).map((dir) => resolve(dir))
}

function defaultContextPath(env: Environment): string {
  return join(nonEmpty(env.XDG_CONFIG_HOME) ?? join(homedir(), '.config'), 'fairlead', 'config.yaml')
}

function pick(env: Environment, pattern: RegExp): Readonly<Record<string, string>> {
  const entries = Object.entries(env).filter(
    (entry): entry is [string, string] => pattern.test(entry[0]) && entry[1] !== undefined,
  )
  return Object.fromEntries(entries)
}

function invalid(flag: string, why: string): AppError {
  const variable = `FAIRLEAD_${flag.replaceAll('-', '_').toUpperCase()}`
  return new AppError('InvalidArgument', `--${flag} (or ${variable}): ${why}`, { context: { field: flag } })
}

// The hub's side of the link: the chain of trust, the embedded nats-server or an existing one, and the hub's connections.
import { createServer } from 'node:net'
import path from 'node:path'
import { AppError } from '@fairlead/shared/errors'
import type { Logger } from '@fairlead/shared/logger'
import type { SigningKeyPair } from '@fairlead/shared/signing'
import { findFile, keepSecretFile, writeSecretFile } from '../secret-file.ts'
import type { Store } from '../store/store.ts'
import { type Connections, connectBoth } from './connections.ts'
import { type CredentialIssuer, Issuer } from './credential-issuer.ts'
import { EmbeddedServer } from './embedded-server.ts'
import { checkServerBinary } from './server-binary.ts'
import { formatExternalServerConfig, formatServerConfig } from './server-config.ts'
import { openTrust, type Trust } from './trust.ts'

/** How to run or reach NATS. */
export interface NatsOptions {
  readonly dataDir: string
  /** host:port of the embedded server; port 0 takes a free one and keeps it. */
  readonly listen: string
  /** host:port of its WebSocket listener; none when absent. */
  readonly websocketListen?: string
  /** What agents are told of it; default its address. */
  readonly websocketPublicUrl?: string
  /** An existing NATS instead; it must be configured with this hub as its operator (formatExternalServerConfig). */
  readonly url?: string
  /** What agents are told; default the embedded server's address, or `url`. */
  readonly publicUrl?: string
  /** Host that agents reach the hub by, for the default of publicUrl. */
  readonly publicHost: string
  /** nats-server to run, default the one on PATH. */
  readonly binary?: string
  /** The server's certificate with its chain, its key, and the CA that signed it. */
  readonly pki: { readonly caPem: string; readonly serverChainFile: string; readonly serverKeyFile: string }
  readonly store: Store
  readonly signingKeys: readonly SigningKeyPair[]
  readonly logger: Logger
  /** Lifetime of agents' JWTs, default 24 h. */
  readonly credentialLifetimeMs?: number
}

/** The link while it is up. */
export interface NatsLink {
  readonly trust: Trust
  readonly issuer: CredentialIssuer
  /** What agents are told. */
  readonly publicUrls: readonly string[]
  /** Log of the embedded server; undefined with an existing one. */
  readonly logFile: string | undefined
  /** Resolves at the first connection; with the embedded server that is before startNats resolves. Rejects when the link stops before. */
  readonly connections: Promise<Connections>
  /** True while the hub is connected. */
  isConnected(): boolean
  /** Called after every reconnect of that connection; for the system connection, once the claims are in place. */
  onReconnect(which: keyof Connections, listener: () => void): void
  /** Sends the accounts' claims again if NATS holds others. */
  pushClaims(): Promise<void>
  stop(): Promise<void>
}

/** A server that dies this often in a row before the first connection is not configured well. */
const MAX_EARLY_FAILURES = 3

/** Starts the embedded server and connects, or begins to connect to the existing one. Throws FailedPrecondition when the embedded server cannot run. */
export async function startNats(options: NatsOptions): Promise<NatsLink> {
  const trust = await openTrust(path.join(options.dataDir, 'keys'))
  const listen = options.url === undefined ? await keepPort(options.listen, options.dataDir) : options.listen
  const url = options.url ?? `tls://${reachableHost(listen)}`
  const publicUrls = listPublicUrls(options, listen)
  const caPem = (await findFile(path.join(options.dataDir, 'nats-ca.crt'))) ?? options.pki.caPem
  const issuer = new Issuer({
    trust,
    store: options.store,
    natsUrls: publicUrls,
    natsCaPem: caPem,
    signingKeys: options.signingKeys,
    logger: options.logger,
    ...(options.credentialLifetimeMs !== undefined && { lifetimeMs: options.credentialLifetimeMs }),
  })
  const server = options.url === undefined ? await startServer(options, listen, trust, issuer) : undefined
  if (!server) await describeExternalServer(options, trust)
  const link = new Link({ trust, issuer, publicUrls, logger: options.logger }, server)
  link.connect(url, caPem)
  if (server) {
    try {
      await link.connections
    } catch (error) {
      await link.stop()
      throw error
    }
  }
  return link
}

/** TCP first: an agent tries them in turn, and who can do without WebSocket should. */
function listPublicUrls(options: NatsOptions, listen: string): string[] {
  const { publicUrl, url, publicHost, websocketListen, websocketPublicUrl } = options
  const tcp = publicUrl ?? url ?? `tls://${publicHost}:${portOf(listen)}`
  if (websocketListen === undefined) return [tcp]
  return [tcp, websocketPublicUrl ?? `wss://${publicHost}:${portOf(websocketListen)}`]
}

interface LinkParts {
  readonly trust: Trust
  readonly issuer: Issuer
  readonly publicUrls: readonly string[]
  readonly logger: Logger
}

class Link implements NatsLink {
  readonly trust: Trust
  readonly issuer: Issuer
  readonly publicUrls: readonly string[]
  readonly #logger: Logger
  readonly #server: EmbeddedServer | undefined
  readonly #stopping = new AbortController()
  readonly #first = Promise.withResolvers<Connections>()
  readonly #listeners: { readonly which: keyof Connections; readonly listener: () => void }[] = []
  #connections: Connections | undefined
  #isConnected = false

  constructor({ trust, issuer, publicUrls, logger }: LinkParts, server: EmbeddedServer | undefined) {
    this.trust = trust
    this.issuer = issuer
    this.publicUrls = publicUrls
    this.#logger = logger
    this.#server = server
    // Whoever waits for it hears of the failure; nobody has to.
    this.#first.promise.catch(() => {})
  }

  get logFile(): string | undefined {
    return this.#server?.logFile
  }

  get connections(): Promise<Connections> {
    return this.#first.promise
  }

  isConnected(): boolean {
    return this.#isConnected
  }

  onReconnect(which: keyof Connections, listener: () => void): void {
    this.#listeners.push({ which, listener })
  }

  async pushClaims(): Promise<void> {
    await this.issuer.pushClaims()
  }

  /** Begins to connect; `connections` tells how it went. */
  connect(url: string, caPem: string): void {
    const onFailure = async (error: unknown): Promise<void> => {
      this.#logger.debug({ error }, 'NATS not reached yet')
      if (this.#server && this.#server.failures >= MAX_EARLY_FAILURES) {
        const tail = await this.#server.readLogTail()
        throw new AppError(
          'FailedPrecondition',
          `the embedded nats-server does not start; the end of its log:\n${tail}`,
        )
      }
    }
    connectBoth({ trust: this.trust, url, caPem, signal: this.#stopping.signal, onFailure }).then(
      (connections) => this.#attach(connections),
      (error: unknown) => this.#first.reject(error),
    )
  }

  async stop(): Promise<void> {
    this.#stopping.abort()
    this.#isConnected = false
    const { hub, system } = this.#connections ?? {}
    await Promise.all([hub?.close(), system?.close()])
    await this.#server?.stop()
  }

  #attach(connections: Connections): void {
    this.#connections = connections
    this.#isConnected = true
    this.issuer.attach(connections.system)
    void this.#follow('hub', connections)
    void this.#follow('system', connections)
    void this.#syncClaims().finally(() => this.#first.resolve(connections))
  }

  async #follow(which: keyof Connections, connections: Connections): Promise<void> {
    for await (const status of connections[which].status()) {
      if (status.type === 'disconnect') this.#lost(which)
      else if (status.type === 'reconnect') await this.#regained(which, connections)
      else if (status.type === 'error') this.#logger.warn({ error: status.error, connection: which }, 'NATS error')
    }
  }

  #lost(which: keyof Connections): void {
    if (which === 'hub') this.#isConnected = false
    else this.issuer.detach()
    if (!this.#stopping.signal.aborted) this.#logger.warn({ connection: which }, 'NATS disconnected')
  }

  async #regained(which: keyof Connections, { system }: Connections): Promise<void> {
    this.#logger.info({ connection: which }, 'NATS connected again')
    if (which === 'hub') this.#isConnected = true
    else {
      this.issuer.attach(system)
      await this.#syncClaims()
    }
    for (const { which: wanted, listener } of this.#listeners) if (wanted === which) listener()
  }

  async #syncClaims(): Promise<void> {
    try {
      await this.issuer.pushClaims()
    } catch (error) {
      this.#logger.warn({ error }, 'account claims could not be updated')
    }
  }
}

/** Leaves what the existing server's configuration must hold where the administrator finds it. */
async function describeExternalServer({ dataDir, url, logger }: NatsOptions, trust: Trust): Promise<void> {
  const file = path.join(dataDir, 'nats', 'external-server.conf')
  if ((await findFile(file)) === undefined) await writeSecretFile(file, formatExternalServerConfig(trust, './jwt'))
  logger.info({ url, file }, 'using an existing NATS; its configuration must include this file')
}

async function startServer(
  { dataDir, websocketListen, binary = 'nats-server', pki, logger }: NatsOptions,
  listen: string,
  trust: Trust,
  issuer: Issuer,
): Promise<EmbeddedServer> {
  const version = await checkServerBinary(binary)
  logger.debug({ binary, version }, 'nats-server found')
  const folder = path.join(dataDir, 'nats')
  const formatConfig = async (): Promise<string> =>
    formatServerConfig({
      trust,
      revocations: await issuer.readRevocations(),
      listen,
      ...(websocketListen !== undefined && { websocketListen }),
      folder,
      certificateFile: pki.serverChainFile,
      keyFile: pki.serverKeyFile,
    })
  const server = new EmbeddedServer({ binary, formatConfig, folder, logger })
  await server.start()
  return server
}

/** Replaces port 0 by a free one that stays the same across restarts, so that agents find their way back. */
async function keepPort(listen: string, dataDir: string): Promise<string> {
  if (portOf(listen) !== 0) return listen
  const host = hostOf(listen)
  const port = await keepSecretFile(path.join(dataDir, 'nats', 'port'), async () => String(await findFreePort(host)))
  return `${host}:${port.trim()}`
}

async function findFreePort(host: string): Promise<number> {
  const server = createServer()
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  server.once('error', reject)
  server.listen(0, host.replace(/^\[|\]$/g, ''), resolve)
  await promise
  const address = server.address()
  server.close()
  if (address === null || typeof address === 'string') throw new AppError('Internal', 'no port was given')
  return address.port
}

/** Where the hub itself reaches a listener: a wildcard address is not one to connect to. */
function reachableHost(listen: string): string {
  const host = hostOf(listen)
  return `${host === '0.0.0.0' ? '127.0.0.1' : host === '[::]' ? '[::1]' : host}:${portOf(listen)}`
}

const hostOf = (address: string): string => address.slice(0, address.lastIndexOf(':'))
const portOf = (address: string): number => Number(address.slice(address.lastIndexOf(':') + 1))

// Starts the hub and stops it: which parts there are and who tells whom.
import { mkdir } from 'node:fs/promises'
import path from 'node:path'
import { caPin } from '@fairlead/shared/digest'
import { Lifecycle } from '@fairlead/shared/lifecycle'
import { createLogger, type Logger } from '@fairlead/shared/logger'
import { formatSigningKey, generateSigningKey, parseSigningKey, type SigningKeyPair } from '@fairlead/shared/signing'
import { VERSION } from '@fairlead/shared/version'
import { jetstreamManager } from '@nats-io/jetstream'
import { keepAdminToken, writeAdminContext } from './admin-access.ts'
import { createApiServer } from './api/api.ts'
import { createApprovals, forgetApprovals } from './approvals/approvals.ts'
import { ClusterSecrets } from './cluster-secrets.ts'
import { type Collector, createCollector } from './collector/collector.ts'
import { type Commander, createCommander } from './commander/commander.ts'
import { type HubConfig, splitAddress } from './config.ts'
import { createDefinitionSync, type DefinitionSync } from './definition-sync.ts'
import { createDefinitions } from './definitions/definitions.ts'
import { createGeneratorSync, type GeneratorSync } from './generator-sync.ts'
import { startHousekeeping } from './housekeeping.ts'
import type { Connections } from './nats/connections.ts'
import { type NatsLink, startNats } from './nats/nats.ts'
import { Presence } from './nats/presence.ts'
import { ensureStreams } from './nats/streams.ts'
import { watchViolations } from './nats/violations.ts'
import { createPipeline, type Pipeline } from './pipeline.ts'
import { openPki, type Pki } from './pki/pki.ts'
import { placeApplication } from './placer/placer.ts'
import { createPreviews } from './previews.ts'
import { createPublisher, type Publisher } from './publisher/publisher.ts'
import { createRegistry } from './registry/registry.ts'
import { createRenderedApplications } from './rendered-applications.ts'
import { createRenderer, type Renderer } from './renderer/renderer.ts'
import { keepSecretFile } from './secret-file.ts'
import type { SecretSources } from './secret-source.ts'
import { openStore, type Store } from './store/store.ts'
import { createTracker, type Tracker } from './tracker/tracker.ts'
import { createFleetView, type FleetView } from './view/view.ts'
import { startWebhookListener } from './webhook-listener.ts'

/** A hub that runs. */
export interface RunningHub {
  /** host:port of the API as agents and the CLI reach it. */
  readonly apiAddress: string
  /** What agents are told of NATS. */
  readonly natsUrls: readonly string[]
  /** Stops everything within 10 s. */
  stop(): Promise<void>
}

/** Starts the hub and resolves when it serves. Rejects when a part cannot start, and then nothing is left running; an abort of the signal before that is such a case. */
export async function runHub(config: HubConfig, { signal }: { signal?: AbortSignal } = {}): Promise<RunningHub> {
  const logger = createLogger({ name: 'hub', level: config.logLevel })
  const lifecycle = new Lifecycle(logger)
  try {
    const hub = await startParts(config, logger, lifecycle)
    signal?.throwIfAborted()
    return hub
  } catch (error) {
    await lifecycle.stop()
    throw error
  }
}

async function startParts(config: HubConfig, logger: Logger, lifecycle: Lifecycle): Promise<RunningHub> {
  const { dataDir } = config
  await mkdir(dataDir, { recursive: true, mode: 0o700 })
  const store = await openStore(path.join(dataDir, 'fairlead.db'), { logger })
  lifecycle.add('store', () => store.close())
  const signingKey = await openSigningKey(dataDir)
  const pki = await openPki(path.join(dataDir, 'pki'), certificateNames(config))
  const thresholds = { staleAfterMs: config.staleAfterMs, offlineAfterMs: config.offlineAfterMs }
  let onCapabilities = (): void => undefined
  const view = createFleetView({ store, thresholds, logger, onCapabilities: () => onCapabilities() })
  await view.load()
  lifecycle.add('view', () => view.stop())
  lifecycle.add('housekeeping', startHousekeeping({ store, certificate: pki.serverChainPem, logger }))
  const nats = await startLink(config, { store, pki, signingKey, logger })
  lifecycle.add('nats', () => nats.stop())
  const { logFile } = nats
  const findCluster = (publicKey: string) => findClusterByKey(store, publicKey)
  if (logFile !== undefined) lifecycle.add('violations', watchViolations({ logFile, findCluster, logger }))
  const secrets: SecretSources = {
    folders: config.allowedFileCredentialDirs,
    environment: config.credentialEnvironment,
    cluster: new ClusterSecrets({ server: config.kubernetesServer }),
  }
  const flow = startFlow(config, { store, view, nats, signingKey, secrets, logger }, lifecycle)
  onCapabilities = () => flow.pipeline.wake()
  return await startApi(config, { store, view, nats, pki, flow, secrets, logger }, lifecycle)
}

async function startLink(
  config: HubConfig,
  { store, pki, signingKey, logger }: { store: Store; pki: Pki; signingKey: SigningKeyPair; logger: Logger },
): Promise<NatsLink> {
  const { natsUrl, natsPublicUrl, natsWebsocketListen, natsWebsocketPublicUrl, natsServerBinary } = config
  return await startNats({
    dataDir: config.dataDir,
    listen: config.natsListen,
    publicHost: publicHost(config, config.natsListen),
    pki,
    store,
    signingKeys: [signingKey],
    logger,
    ...(natsUrl !== undefined && { url: natsUrl }),
    ...(natsPublicUrl !== undefined && { publicUrl: natsPublicUrl }),
    ...(natsWebsocketListen !== undefined && { websocketListen: natsWebsocketListen }),
    ...(natsWebsocketPublicUrl !== undefined && { websocketPublicUrl: natsWebsocketPublicUrl }),
    ...(natsServerBinary !== undefined && { binary: natsServerBinary }),
  })
}

interface FlowParts {
  readonly secrets: SecretSources
  readonly store: Store
  readonly view: FleetView
  readonly nats: NatsLink
  readonly signingKey: SigningKeyPair
  readonly logger: Logger
}

interface Flow {
  readonly renderer: Renderer
  readonly tracker: Tracker
  readonly pipeline: Pipeline
  readonly definitionSync: DefinitionSync
  readonly generatorSync: GeneratorSync
  /** Told after definitions came from Git. */
  onDefinitionsTaken: () => void
  /** Undefined while NATS was never connected. */
  readonly commander: () => Commander | undefined
  /** Has the view read the database again. */
  readonly refreshView: (clusterIds: readonly string[]) => void
}

/** From Git to NATS and back: tracker, renderer, pipeline; publisher and collector as soon as NATS is connected. */
function startFlow(config: HubConfig, parts: FlowParts, lifecycle: Lifecycle): Flow {
  const { store, view, nats, signingKey, secrets, logger } = parts
  const refreshView = (clusterIds: readonly string[]): void => {
    view.refresh(clusterIds).catch((error: unknown) => logger.error({ error }, 'fleet view could not be refreshed'))
  }
  const renderer = createRenderer({ logger })
  lifecycle.add('renderer', () => renderer.stop())
  let linked: LinkedParts | undefined
  const tracker = createTracker({
    store,
    gitDir: path.join(config.dataDir, 'git'),
    logger,
    credentials: secrets,
    proxy: config.proxy,
    pollIntervalDefaultMs: config.pollIntervalDefaultMs,
    onChange: () => {
      flow.definitionSync.wake()
      flow.generatorSync.wake()
      pipeline.wake()
      refreshView([])
    },
  })
  const pipeline = createPipeline({
    store,
    trees: tracker,
    renderer,
    signingKey,
    onPublish: () => linked?.publisher.wake(),
    onChange: refreshView,
    logger,
  })
  lifecycle.add('publisher and collector', async () => await linked?.stop())
  nats.connections.then(
    (connections) => {
      const { signal } = lifecycle
      if (!signal.aborted) linked = startLinkedParts({ ...parts, pipeline, connections, signal })
    },
    (error: unknown) => logger.error({ error }, 'NATS was never reached'),
  )
  lifecycle.add('pipeline', () => pipeline.stop())
  lifecycle.add('tracker', () => tracker.stop())
  const definitionSync = createDefinitionSync({ store, tracker, onChange: () => flow.onDefinitionsTaken(), logger })
  lifecycle.add('definitions', () => definitionSync.stop())
  const generatorSync = createGeneratorSync({ store, tracker, onChange: () => flow.onDefinitionsTaken(), logger })
  lifecycle.add('generators', () => generatorSync.stop())
  const onDefinitionsTaken = (): void => {
    tracker.refresh()
    pipeline.wake()
    refreshView([])
  }
  const commander = (): Commander | undefined => linked?.commander
  const flow: Flow = {
    tracker,
    renderer,
    pipeline,
    definitionSync,
    generatorSync,
    onDefinitionsTaken,
    commander,
    refreshView,
  }
  tracker.start()
  definitionSync.start()
  generatorSync.start()
  pipeline.start()
  return flow
}

interface LinkedParts {
  readonly publisher: Publisher
  readonly collector: Collector
  readonly commander: Commander
  stop(): Promise<void>
}

/** What needs NATS. */
function startLinkedParts(
  parts: FlowParts & { pipeline: Pipeline; connections: Connections; signal: AbortSignal },
): LinkedParts {
  const { store, view, nats, pipeline, connections, signal, signingKey, logger } = parts
  const publisher = createPublisher({
    store,
    connection: connections.hub,
    signingKey,
    ensureStreams: async () => await ensureStreams(await jetstreamManager(connections.hub, { checkAPI: false })),
    pushClaims: () => nats.pushClaims(),
    resign: (seen) => pipeline.resign(seen),
    logger,
  })
  const resign = (clusterId: string, generation: bigint): void => {
    pipeline
      .resign(new Map([[clusterId, generation]]))
      .catch((error: unknown) => logger.error({ error }, 'slice could not be signed again'))
  }
  const collector = createCollector({
    store,
    connection: connections.hub,
    view,
    isKnownCluster: async (id) => pipeline.knows(id) || (await isCluster(store, id)),
    requestReport: (clusterId) => publisher.requestReport(clusterId),
    onRemoved: (clusterId) => pipeline.reslice([clusterId]),
    onReport: async (clusterId, report) => {
      if (await forgetApprovals(store, clusterId, report)) pipeline.reslice([clusterId])
    },
    onNewerGeneration: resign,
    logger,
  })
  const commander = createCommander({ connection: connections.hub, signingKey, logger })
  const presence = new Presence({
    system: connections.system,
    account: nats.trust.agents.publicKey,
    findClusterId: async (publicKey) => (await findClusterByKey(store, publicKey))?.id,
    onConnected: (clusterId, atMs) => view.connected(clusterId, atMs),
    onDisconnected: (clusterId, atMs) => view.disconnected(clusterId, atMs),
    logger,
  })
  const resyncPresence = (): void => {
    presence.resync().catch((error: unknown) => {
      if (!signal.aborted) logger.warn({ error }, 'connections could not be listed')
    })
  }
  nats.onReconnect('hub', () => {
    publisher.resync()
    collector.reopen()
  })
  nats.onReconnect('system', resyncPresence)
  publisher.start()
  collector.start()
  commander.start()
  resyncPresence()
  const stop = async (): Promise<void> => {
    commander.stop()
    await collector.stop()
    await publisher.stop()
  }
  return { publisher, collector, commander, stop }
}

interface ApiParts {
  readonly secrets: SecretSources
  readonly store: Store
  readonly view: FleetView
  readonly nats: NatsLink
  readonly pki: Pki
  readonly flow: Flow
  readonly logger: Logger
}

async function startApi(config: HubConfig, parts: ApiParts, lifecycle: Lifecycle): Promise<RunningHub> {
  const { store, view, nats, pki, flow, secrets, logger } = parts
  const { caPem } = pki
  let port = splitAddress(config.listen).port
  const publicAddress = (): string => config.publicAddress ?? `${publicHost(config, config.listen)}:${port}`
  const onClustersChange = (): void => {
    flow.generatorSync.wake()
    flow.pipeline.wake()
    flow.refreshView([])
  }
  const webhooks = await startWebhookListener(config, { store, pki, tracker: flow.tracker, secrets, logger }, lifecycle)
  flow.onDefinitionsTaken = (): void => {
    webhooks?.invalidate()
    flow.tracker.refresh()
    onClustersChange()
  }
  const onDefinitionsChange = (): void => {
    flow.onDefinitionsTaken()
    flow.definitionSync.wake()
  }
  const registry = createRegistry({
    store,
    issuer: nats.issuer,
    hubAddress: publicAddress,
    caPin: caPin(caPem),
    onChange: () => {
      onClustersChange()
      // What is held of a cluster's labels may be ended.
      flow.definitionSync.wake()
    },
    logger,
  })
  const definitions = createDefinitions({ store, placeApplication, onChange: onDefinitionsChange, logger })
  const approvals = createApprovals({
    store,
    findReport: (application, cluster) => view.findReport(application, cluster),
    onChange: (clusterIds) => flow.pipeline.reslice(clusterIds),
  })
  const access = { dataDir: config.dataDir, contextPath: config.adminContextPath, caPem, logger }
  const admin = await keepAdminToken(access)
  const api = createApiServer({
    config,
    store,
    registry,
    definitions,
    approvals,
    previews: createPreviews({ store, view, commander: flow.commander }),
    rendered: createRenderedApplications({ store, trees: flow.tracker, renderer: flow.renderer }),
    view,
    tracker: flow.tracker,
    tls: { key: pki.serverKeyPem, cert: pki.serverChainPem },
    adminTokenSha256: admin.hash,
    isNatsConnected: () => nats.isConnected(),
    refusedWebhooks: () => webhooks?.refused() ?? 0,
    logger,
  })
  port = (await api.start()).port
  lifecycle.add('api', () => api.stop())
  await writeAdminContext({ ...access, address: publicAddress() }, admin)
  logger.info({ api: publicAddress(), nats: nats.publicUrls, dataDir: config.dataDir, version: VERSION }, 'hub ready')
  return { apiAddress: publicAddress(), natsUrls: nats.publicUrls, stop: () => lifecycle.stop() }
}

async function openSigningKey(dataDir: string): Promise<SigningKeyPair> {
  const file = path.join(dataDir, 'keys', 'signing.pem')
  return parseSigningKey(await keepSecretFile(file, () => formatSigningKey(generateSigningKey())))
}

/** Names under which the API and NATS may be reached. */
function certificateNames(config: HubConfig): string[] {
  const { listen, natsListen, publicAddress, natsPublicUrl, natsWebsocketListen, natsWebsocketPublicUrl } = config
  const hosts = [listen, natsListen, publicAddress, natsWebsocketListen, config.webhookListen].flatMap((address) =>
    address === undefined ? [] : [splitAddress(address).host],
  )
  const urls = [natsPublicUrl, natsWebsocketPublicUrl].flatMap((url) => (url === undefined ? [] : [new URL(url)]))
  return [config.hostname, ...hosts, ...urls.map((url) => url.hostname)]
    .map(withoutBrackets)
    .filter((host) => !isWildcard(host))
}

/** The host that others reach a listener by: the public address's, else the listener's own, else this machine's name. */
function publicHost(config: HubConfig, listen: string): string {
  if (config.publicAddress !== undefined) return splitAddress(config.publicAddress).host
  const { host } = splitAddress(listen)
  return isWildcard(withoutBrackets(host)) ? config.hostname : host
}

const withoutBrackets = (host: string): string => host.replace(/^\[|\]$/g, '')
const isWildcard = (host: string): boolean => host === '0.0.0.0' || host === '::'

async function isCluster(store: Store, id: string): Promise<boolean> {
  return (await store.db.selectFrom('clusters').select('id').where('id', '=', id).executeTakeFirst()) !== undefined
}

async function findClusterByKey(store: Store, publicKey: string): Promise<{ id: string; name: string } | undefined> {
  return await store.db
    .selectFrom('clusters')
    .select(['id', 'name'])
    .where('public_key', '=', publicKey)
    .executeTakeFirst()
}

// The agent's process: the API server, the election, and what it shows of itself; who leads runs agent.ts. Only a defect
// ends it, with the stack.
import { toAppError } from '@fairlead/shared/errors'
import { Lifecycle, stopOnSignals } from '@fairlead/shared/lifecycle'
import { createLogger, type Logger } from '@fairlead/shared/logger'
import { VERSION } from '@fairlead/shared/version'
import { Agent } from './agent.ts'
import { ApiServerContact } from './api-server-contact.ts'
import { type AgentConfig, readConfig } from './config.ts'
import { bundleOf, type InsightParts, metricSources, readinessOf, statusOf } from './insight.ts'
import { type ApiServerAccess, inClusterAccess, kubeconfigAccess } from './kube/access.ts'
import { createKube } from './kube/kube.ts'
import { Lead } from './leader/lead.ts'
import { Liveness } from './liveness.ts'
import { AgentMetrics } from './metrics/agent-metrics.ts'
import { startProbes } from './probes.ts'
import { LogBuffer } from './status/log-buffer.ts'
import { startStatusServer } from './status/status-server.ts'

/** Parts are stopped within this time, in milliseconds; the chart gives the pod 15 s. */
const STOP_DEADLINE_MS = 8_000
/** Giving the lead back may take so long after that. */
const RELEASE_MS = 3_500

/** A running agent. */
export interface RunningAgent {
  /** Port of /healthz and /readyz. */
  readonly httpPort: number
  /** Stops everything within 8 s; the applications go on. */
  stop(): Promise<void>
}

/** Starts the agent. Rejects only when its port is taken or a kubeconfig cannot be read; everything else is waited for. */
export async function runAgent(
  config: AgentConfig,
  logger: Logger,
  onBug: (error: unknown) => void,
  log: LogBuffer = new LogBuffer(),
): Promise<RunningAgent> {
  const lifecycle = new Lifecycle(logger)
  const access = await openAccess(config)
  const [metrics, liveness, apiServer] = [new AgentMetrics(), new Liveness(), new ApiServerContact()]
  const kube = createKube({
    access,
    userAgent: `fairlead-agent/${VERSION}`,
    logger,
    mayWrite: () => lead.mayWrite(),
    onRequest: (seen) => {
      metrics.request(seen)
      apiServer.note(seen)
    },
  })
  lifecycle.add('kube', () => kube.close())
  const lead = new Lead({
    begin: (term) => {
      const agent = new Agent({ config, kube, metrics, liveness, logger }, term.signal)
      agent.start(term, onBug)
      return agent
    },
    kube,
    liveness,
    logger,
    config,
    stopDeadlineMs: STOP_DEADLINE_MS,
    onTransition: (to) => metrics.transition(to),
  })
  metrics.observe(metricSources(lead))
  const shown: InsightParts = { config, lead, apiServer, liveness, metrics, log }
  const probes = await startProbes(config.httpPort, {
    readiness: () => readinessOf(shown),
    findStuck: () => liveness.findStuck(),
    metrics: config.metrics ? () => metrics.registry.expose() : undefined,
  })
  lifecycle.add('probes', () => probes.stop())
  await startStatus(shown, lifecycle, logger)
  lead.start(lifecycle, onBug)
  logger.info({ version: VERSION, port: probes.port, namespace: config.namespace }, 'agent started')
  return { httpPort: probes.port, stop: () => lifecycle.stop(STOP_DEADLINE_MS + RELEASE_MS) }
}

/** The socket of `fairlead agent status`; without it (no writable folder) the work goes on. */
async function startStatus(shown: InsightParts, lifecycle: Lifecycle, logger: Logger): Promise<void> {
  const sources = { status: () => statusOf(shown), bundle: async () => await bundleOf(shown) }
  try {
    const server = await startStatusServer(shown.config.statusSocket, sources)
    lifecycle.add('status', async () => await server.stop())
  } catch (error) {
    logger.warn({ error }, 'no socket for "fairlead agent status"')
  }
}

async function openAccess({ kube }: AgentConfig): Promise<ApiServerAccess> {
  return kube.kind === 'in-cluster' ? inClusterAccess(kube) : await kubeconfigAccess(kube.file)
}

/** Runs until a signal or a defect. Exit codes: 0 stopped, 1 defect, 2 wrong settings. */
async function main(): Promise<void> {
  let logger = createLogger({ name: 'agent' })
  const crash = (error: unknown): void => {
    const stack = error instanceof Error ? error.stack : undefined
    logger.fatal({ error, stack }, 'the agent ends because of a defect')
    process.exit(1)
  }
  process.on('uncaughtException', crash)
  process.on('unhandledRejection', crash)
  let config: AgentConfig
  try {
    config = readConfig()
  } catch (error) {
    logger.fatal({ error: toAppError(error) }, 'the settings are not valid')
    process.exit(2)
  }
  const log = new LogBuffer()
  logger = createLogger({ name: 'agent', level: config.logLevel, onLine: (line) => log.push(line) })
  const agent = await runAgent(config, logger, crash, log)
  stopOnSignals(() => agent.stop())
}

if (import.meta.main) await main()

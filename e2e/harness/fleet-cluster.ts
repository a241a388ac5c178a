// One cluster of a fleet: its agent installed by the printed command and run by the kubelet stand-in, behind proxies that
// can cut it off.

import { execFile } from 'node:child_process'
import path from 'node:path'
import { promisify } from 'node:util'
import { timestampMs } from '@bufbuild/protobuf/wkt'
import type { AuditEvent, AuditFilter } from './audit.ts'
import type { Cluster, ClusterOptions } from './cluster.ts'
import type { Fleet } from './fleet.ts'
import { type Kubelet, startKubelet } from './kubelet.ts'
import { startProxy, type TcpProxy } from './proxy.ts'

const root = path.resolve(import.meta.dirname, '../..')
const agentBundle = path.join(root, 'agent/dist/agent.js')
const podCommand = path.join(root, 'agent/dist/fairlead.js')
const run = promisify(execFile)
const node = path.join(root, 'node_modules/.bin/node')
/** Where the agent is installed. */
export const agentNamespace = 'fairlead-system'

/** The agent in the API server's audit log. */
export const agentUser = `system:serviceaccount:${agentNamespace}:fairlead-agent`

/** Options of a cluster of the fleet. */
export interface FleetClusterOptions extends Omit<ClusterOptions, 'name'> {
  /** Labels it is registered with. */
  readonly labels?: Readonly<Record<string, string>>
  /** Values of the agent's chart besides those of the printed command. */
  readonly agentValues?: readonly string[]
  /** How many pods of the agent these values make, default one. More need a full cluster. */
  readonly agentPods?: number
  /** The only namespaces that the agent may manage; they are made first. Default: the whole cluster. */
  readonly namespaces?: readonly string[]
  /** How long each byte between the agent and the API server is under way, in ms per direction: long enough, a test can act in the middle of a batch. Default: no proxy in between. */
  readonly apiServerDelayMs?: number
}

/** One cluster with its agent. */
export class FleetCluster implements AsyncDisposable {
  readonly cluster: Cluster
  /** Runs the agent's pod. */
  readonly kubelet: Kubelet
  /** Between the agent and the hub's API. */
  readonly apiProxy: TcpProxy
  /** Between the agent and NATS. */
  readonly natsProxy: TcpProxy
  /** Between the agent and the API server, when there is a delay. */
  readonly kubeProxy: TcpProxy | undefined

  /** The command that the hub printed for this cluster. */
  readonly installCommand: string
  readonly #fleet: Fleet

  private constructor(
    fleet: Fleet,
    parts: Pick<FleetCluster, 'cluster' | 'kubelet' | 'apiProxy' | 'natsProxy' | 'kubeProxy'>,
    installCommand: string,
  ) {
    this.cluster = parts.cluster
    this.kubelet = parts.kubelet
    this.apiProxy = parts.apiProxy
    this.natsProxy = parts.natsProxy
    this.kubeProxy = parts.kubeProxy
    this.installCommand = installCommand
    this.#fleet = fleet
  }

  /** Starts the proxies and the kubelet stand-in of a registered cluster; nothing is installed yet. */
  static async connect(
    fleet: Fleet,
    cluster: Cluster,
    installCommand: string,
    apiServerDelayMs?: number,
  ): Promise<FleetCluster> {
    const apiProxy = await startProxy({ port: fleet.apiPort })
    const natsProxy = await startProxy({ port: fleet.natsPort })
    const kubeProxy = apiServerDelayMs === undefined ? undefined : await startProxy({ port: cluster.port })
    if (kubeProxy) kubeProxy.delayMs = apiServerDelayMs ?? 0
    const kubelet = startKubelet({
      cluster,
      namespace: agentNamespace,
      deployment: 'fairlead-agent',
      images: { 'fairlead/agent': ({ command, args }) => agentCommand([...command, ...args]) },
      ...(kubeProxy && { apiServer: { port: kubeProxy.port } }),
    })
    return new FleetCluster(fleet, { cluster, kubelet, apiProxy, natsProxy, kubeProxy }, installCommand)
  }

  /** Runs the printed command (or another one like it), with the proxies' addresses in the place of the hub's and these further values. */
  async install(values: readonly string[] = [], command = this.installCommand): Promise<void> {
    const settings = [`hub.address=${this.apiProxy.address}`, `hub.natsUrl=tls://${this.natsProxy.address}`, ...values]
    const flags = settings.map((setting) => ` --set '${setting}'`).join('')
    await this.#fleet.shell(this.cluster, command + flags)
  }

  /** Cuts the cluster off from the hub, as a broken network would. */
  async cut(): Promise<void> {
    await Promise.all([this.apiProxy.cut(), this.natsProxy.cut()])
  }

  /** Lets nothing pass between the cluster and the hub while connections stay open, as a firewall that drops packets would. */
  freeze(): void {
    this.apiProxy.freeze()
    this.natsProxy.freeze()
  }

  /** Requests of the agent by the API server's audit log. */
  agentRequests(filter: Omit<AuditFilter, 'user'> = {}): AuditEvent[] {
    return this.cluster.auditLog({ ...filter, user: agentUser })
  }

  /** Kills the agent as a crash would. Resolves when the hub has heard from the one that follows of every application. */
  async restartAgent(): Promise<void> {
    const since = Date.now()
    await this.kubelet.kill()
    await this.kubelet.waitUntilReady()
    const { name } = this.cluster
    await this.#fleet.waitForStatus(`the agent of ${name} to report again`, ({ deployments }) =>
      deployments.every(
        ({ cluster, reportedAt }) => cluster !== name || (reportedAt && timestampMs(reportedAt) > since),
      ),
    )
  }

  /** What `kubectl exec deploy/fairlead-agent -- fairlead ...` runs: the image's command in the pod's environment. Rejects when it fails, with code and stderr. */
  async exec(...args: readonly string[]): Promise<{ stdout: Buffer; stderr: Buffer }> {
    const env = { PATH: process.env.PATH, FAIRLEAD_POD_ROOT: this.kubelet.pods[0]?.mounts.root }
    return await run(node, [podCommand, ...args], { env, encoding: 'buffer', maxBuffer: 64 * 1024 * 1024 })
  }

  /** What Prometheus would read of the agent. */
  async metrics(): Promise<Response> {
    return await fetch(`http://127.0.0.1:${this.kubelet.pods[0]?.findPort('http')}/metrics`)
  }

  /** Ends cut and freeze. */
  async restore(): Promise<void> {
    await Promise.all([this.apiProxy.restore(), this.natsProxy.restore()])
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kubelet.stop()
    await Promise.all([this.apiProxy.stop(), this.natsProxy.stop(), this.kubeProxy?.stop()])
    await this.cluster.stop()
  }
}

/** The pod's command with our bundle in the place of the one in the image. */
function agentCommand(command: readonly string[]): string[] {
  return command.map((word) => (word === 'node' ? node : word === '/app/agent.js' ? agentBundle : word))
}

// A whole fleet as a user has it: a Git host, the hub as its own process, clusters whose agent was installed by Helm from
// our chart, and the command-line client. Everything is started by the commands of the README.

import { spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import path from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { fromJson } from '@bufbuild/protobuf'
import { ConnectionState, HealthState, SyncState } from '@fairlead/proto/common'
import { type FleetStatus, FleetStatusSchema } from '@fairlead/proto/fleet'
import { ensureTools } from '../tools/tools.ts'
import { type Cluster, startCluster } from './cluster.ts'
import { FleetCluster, type FleetClusterOptions } from './fleet-cluster.ts'
import { type GitServer, startGitServer } from './git-server.ts'
import { makeRunFolder } from './guardian.ts'
import { takePort } from './ports.ts'
import { type ManagedProcess, startProcess } from './process.ts'
import { type WaitOptions, waitFor } from './wait.ts'

const root = path.resolve(import.meta.dirname, '../..')
const cliBundle = path.join(root, 'hub/cli/dist/fairlead.js')
const node = path.join(root, 'node_modules/.bin/node')
/** What a command printed and how it ended. */
export interface CommandResult {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

/** Options of a fleet. */
export interface FleetOptions {
  /** Further flags of `fairlead hub`. */
  readonly hubFlags?: readonly string[]
}

/** Starts a Git host and the hub; clusters are added one by one. */
export async function startFleet(options: FleetOptions = {}): Promise<Fleet> {
  const tools = await ensureTools(['nats-server', 'helm'])
  const fleet = new Fleet(await startGitServer(), tools, options, [await takePort(), await takePort()])
  await fleet.startHub()
  return fleet
}

/** A running fleet. Dispose of it to end every process. */
export class Fleet implements AsyncDisposable {
  readonly git: GitServer
  readonly folder = makeRunFolder('fleet')
  readonly dataDir: string
  readonly clusters = new Map<string, FleetCluster>()
  readonly #tools: { readonly 'nats-server': string; readonly helm: string }
  readonly #options: FleetOptions
  readonly apiPort: number
  readonly natsPort: number
  #hub: ManagedProcess | undefined

  constructor(
    git: GitServer,
    tools: { readonly 'nats-server': string; readonly helm: string },
    options: FleetOptions,
    [apiPort, natsPort]: readonly [number, number],
  ) {
    this.git = git
    this.dataDir = path.join(this.folder, 'data')
    this.#tools = tools
    this.#options = options
    this.apiPort = apiPort
    this.natsPort = natsPort
  }

  /** The hub's process. */
  get hub(): ManagedProcess {
    if (!this.#hub) throw new Error('the hub was not started')
    return this.#hub
  }

  /** Processes whose logs explain a failed wait. */
  get processes(): readonly ManagedProcess[] {
    return [this.hub]
  }

  /** The context file of the CLI. */
  get configFile(): string {
    return path.join(this.folder, 'config.yaml')
  }

  /** The shell command that stands for `fairlead`. */
  get cliCommand(): string {
    return `${node} ${cliBundle}`
  }

  /** A cluster that was added. Throws when there is none of that name. */
  getCluster(name: string): FleetCluster {
    const found = this.clusters.get(name)
    if (!found) throw new Error(`the fleet has no cluster ${name}`)
    return found
  }

  /** Stops the hub and its NATS as a user would, by SIGTERM. */
  async stopHub(): Promise<void> {
    await this.hub.stop()
  }

  /** SIGKILL to the hub's embedded nats-server, as a crash would. Resolves when the hub has started another. */
  async killNats(): Promise<void> {
    const pid = this.#findNatsPid()
    if (pid === undefined) throw new Error('the hub runs no nats-server')
    process.kill(pid, 'SIGKILL')
    await waitFor(
      'the hub to start nats-server again',
      () => {
        const next = this.#findNatsPid()
        return next !== undefined && next !== pid
      },
      { logs: [this.hub] },
    )
  }

  /** SIGSTOP to the hub's embedded nats-server: it keeps its sockets and answers nothing. Call what is returned to let it go on, also when the hub has died meanwhile. */
  pauseNats(): () => void {
    const pid = this.#findNatsPid()
    if (pid === undefined) throw new Error('the hub runs no nats-server')
    process.kill(pid, 'SIGSTOP')
    return () => {
      try {
        process.kill(pid, 'SIGCONT')
      } catch (error) {
        // Killed in the meantime.
        if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
      }
    }
  }

  /** Rows of the hub's database by SQL, read beside the hub: what it has decided, whether or not it has told anybody. */
  query(sql: string, ...values: readonly (string | number)[]): Record<string, unknown>[] {
    const database = new DatabaseSync(path.join(this.dataDir, 'fairlead.db'), { readOnly: true })
    try {
      return database.prepare(sql).all(...values)
    } finally {
      database.close()
    }
  }

  /** Linux only. */
  #findNatsPid(): number | undefined {
    const { pid } = this.hub
    const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ')
    return children.map(Number).find((child) => readFileSync(`/proc/${child}/comm`, 'utf8').trim() === 'nats-server')
  }

  /** Starts the hub on the same ports and data as before, and waits until it answers. */
  async startHub(flags: readonly string[] = []): Promise<void> {
    this.#hub = startProcess({
      name: 'hub',
      command: node,
      args: [
        cliBundle,
        'hub',
        `--data-dir=${this.dataDir}`,
        `--listen=127.0.0.1:${this.apiPort}`,
        `--nats-listen=127.0.0.1:${this.natsPort}`,
        `--nats-server=${this.#tools['nats-server']}`,
        ...(this.#options.hubFlags ?? []),
        ...flags,
      ],
      env: this.#environment(),
    })
    await waitFor('the hub to answer', async () => (await this.run('version')).code === 0, {
      timeoutMs: 30_000,
      intervalMs: 100,
      alive: [this.hub],
    })
  }

  /** Runs `fairlead` with these arguments, as a user would. */
  run(...args: readonly string[]): Promise<CommandResult> {
    return runCommand(node, [cliBundle, ...args], { env: this.#environment() })
  }

  /** Runs `fairlead`; throws when it fails. Returns what it printed. */
  async cli(...args: readonly string[]): Promise<string> {
    const result = await this.run(...args)
    if (result.code !== 0) throw new Error(`fairlead ${args.join(' ')}: exit ${result.code}: ${result.stderr}`)
    return result.stdout
  }

  /** Applies a YAML text by `fairlead apply -f -`. */
  async apply(yaml: string): Promise<string> {
    const result = await runCommand(node, [cliBundle, 'apply', '-f', '-'], { env: this.#environment(), input: yaml })
    if (result.code !== 0) throw new Error(`fairlead apply: exit ${result.code}: ${result.stderr}`)
    return result.stdout
  }

  /** What `fairlead status -o json` says. */
  async status(): Promise<FleetStatus> {
    return fromJson(FleetStatusSchema, JSON.parse(await this.cli('status', '-o', 'json')))
  }

  /** Waits until the status is as wanted. */
  async waitForStatus(
    what: string,
    isWanted: (status: FleetStatus) => boolean,
    options: WaitOptions = {},
  ): Promise<FleetStatus> {
    let last: FleetStatus | undefined
    await waitFor(
      what,
      async (see) => {
        last = await this.status()
        see(summarize(last))
        return isWanted(last)
      },
      {
        timeoutMs: 30_000,
        intervalMs: 100,
        logs: [this.hub, ...[...this.clusters.values()].map((c) => c.kubelet)],
        ...options,
      },
    )
    if (!last) throw new Error('no status was read')
    return last
  }

  /** Starts a cluster, registers it, and installs the agent by the printed way. */
  async addCluster(
    name: string,
    {
      labels = {},
      agentValues = [],
      agentPods = 1,
      namespaces,
      apiServerDelayMs,
      ...options
    }: FleetClusterOptions = {},
  ): Promise<FleetCluster> {
    const cluster = await startCluster({ name, ...options })
    const flags = Object.entries(labels).map(([key, value]) => `--label=${key}=${value}`)
    for (const namespace of namespaces ?? []) {
      await cluster.admin.create({ apiVersion: 'v1', kind: 'Namespace', metadata: { name: namespace } })
    }
    if (namespaces) flags.push(`--namespaces=${namespaces.join(',')}`)
    const printed = await this.cli('cluster', 'register', name, ...flags)
    const member = await FleetCluster.connect(this, cluster, printed.trim(), apiServerDelayMs)
    this.clusters.set(name, member)
    await member.install(agentValues)
    await member.kubelet.waitUntilReady({ pods: agentPods })
    return member
  }

  /** Runs a shell command in the checkout with `helm` on the PATH and kubectl's context set to a cluster; throws when it fails. */
  async shell(cluster: Cluster, command: string): Promise<string> {
    const env = {
      ...this.#environment(),
      PATH: `${path.dirname(this.#tools.helm)}:${process.env.PATH}`,
      KUBECONFIG: cluster.kubeconfigPath,
    }
    const result = await runCommand('bash', ['-c', command], { env })
    if (result.code !== 0) throw new Error(`${command}: exit ${result.code}: ${result.stderr}`)
    return result.stdout
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const member of this.clusters.values()) await member[Symbol.asyncDispose]()
    await this.#hub?.stop()
    await this.git.stop()
  }

  #environment(): Record<string, string> {
    return {
      PATH: process.env.PATH ?? '',
      HOME: this.folder,
      FAIRLEAD_CONFIG: this.configFile,
      NO_COLOR: '1',
    }
  }
}

/** The state in a few words, for a wait that fails. */
function summarize(status: FleetStatus): unknown {
  return {
    clusters: status.clusters.map((c) => `${c.name}: ${ConnectionState[c.connection]}`),
    applications: status.applications.map((a) => ({
      name: a.metadata?.name,
      problems: a.status?.problems.map((p) => p.message),
    })),
    deployments: status.deployments.map((d) => ({
      name: `${d.application} on ${d.cluster}`,
      desired: d.desired?.commit.slice(0, 8),
      live: d.live?.commit.slice(0, 8),
      sync: SyncState[d.sync],
      health: HealthState[d.health],
      problems: d.report?.problems.map((p) => p.message),
    })),
  }
}

/** Runs a command to its end. */
export function runCommand(
  command: string,
  args: readonly string[],
  { env, input }: { readonly env: Readonly<Record<string, string>>; readonly input?: string },
): Promise<CommandResult> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { cwd: root, env, stdio: ['pipe', 'pipe', 'pipe'] })
    let stdout = ''
    let stderr = ''
    child.stdout.setEncoding('utf8').on('data', (text: string) => (stdout += text))
    child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text))
    child.once('error', reject)
    child.once('close', (code) => resolve({ code: code ?? 1, stdout, stderr }))
    child.stdin.end(input ?? '')
  })
}

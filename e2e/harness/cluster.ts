// A real Kubernetes cluster on loopback: etcd and kube-apiserver, in about three seconds; with `full` also the
// controllers, the scheduler and kwok as the node, on which pods get Ready without running.

import { generateKeyPairSync, randomBytes } from 'node:crypto'
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { ensureTools, type ToolName } from '../tools/tools.ts'
import { type AuditEvent, type AuditFilter, auditPolicy, readAuditLog } from './audit.ts'
import { makeRunFolder } from './guardian.ts'
import { getField, KubeClient } from './kube-client.ts'
import { takePort } from './ports.ts'
import { type ManagedProcess, startProcess } from './process.ts'
import { waitFor } from './wait.ts'

/** What kind of cluster. */
export type ClusterOptions = {
  readonly name: string
  /** Controllers, scheduler and a fake node as well. Default: the API server alone, enough for most tests. */
  readonly full?: boolean
  /** Keep an audit log. Default true: it costs little and tests of "no request" need it. */
  readonly audit?: boolean
  /** More flags for the API server, such as `--max-requests-inflight=10`. */
  readonly apiServerArgs?: readonly string[]
  /**
   * Values of the label `app.kubernetes.io/name` whose pods kwok leaves alone, for the kubelet stand-in to run.
   * Default: `fairlead-agent`.
   */
  readonly ourApps?: readonly string[]
  readonly signal?: AbortSignal
}

/** As whom, and by which way, a kubeconfig reaches the cluster. */
export type KubeconfigOptions = {
  /** Default: the administrator's. */
  readonly token?: string
  /** Default: the API server itself; a proxy's address to be able to cut it off. */
  readonly server?: string
  /** The namespace of the context. */
  readonly namespace?: string
}

/** Starts a cluster and waits until it is ready. What it needs is built first when it is not there (see e2e/tools). */
export async function startCluster(options: ClusterOptions): Promise<Cluster> {
  const { name, full = false, signal } = options
  const base = ['etcd', 'kube-apiserver'] as const
  const rest = ['kube-controller-manager', 'kube-scheduler', 'kwok'] as const
  const tools = await ensureTools(full ? [...base, ...rest] : base, signal ? { signal } : {})
  const [apiPort, etcdPort, peerPort] = [await takePort(), await takePort(), await takePort()]
  const cluster = new Cluster(options, tools, { apiPort, etcdPort, peerPort })
  try {
    await cluster.start(signal)
  } catch (error) {
    await cluster.stop()
    throw new Error(`cluster ${name} did not start: ${(error as Error).message}`, { cause: error })
  }
  return cluster
}

type Ports = { readonly apiPort: number; readonly etcdPort: number; readonly peerPort: number }

/** A running cluster. */
export class Cluster implements AsyncDisposable {
  readonly name: string
  /** `https://127.0.0.1:<port>`, the same after a restart. */
  readonly server: string
  readonly port: number
  /** PEM file of what signs the API server's certificate. */
  readonly caFile: string
  readonly adminToken = `admin-${randomBytes(12).toString('hex')}`
  /** A kubeconfig of the administrator. */
  readonly kubeconfigPath: string
  /** The administrator, `admin` in the audit log, who acts as kubectl. */
  readonly admin: KubeClient
  /** The kubelet stand-in and other parts of the harness, `harness` in the audit log. */
  readonly harness: KubeClient
  /** Whether controllers and a fake node run. */
  readonly full: boolean
  readonly folder: string
  readonly #options: ClusterOptions
  readonly #tools: Partial<Record<ToolName, string>>
  readonly #ports: Ports
  readonly #harnessToken = `harness-${randomBytes(12).toString('hex')}`
  readonly #processes = new Map<string, ManagedProcess>()

  constructor(options: ClusterOptions, tools: Partial<Record<ToolName, string>>, ports: Ports) {
    this.name = options.name
    this.full = options.full ?? false
    this.#options = options
    this.#tools = tools
    this.#ports = ports
    this.port = ports.apiPort
    this.server = `https://127.0.0.1:${ports.apiPort}`
    this.folder = makeRunFolder(`cluster-${options.name}`)
    this.caFile = this.#file('certs/apiserver.crt')
    this.#writeFiles()
    const access = { server: this.server, caFile: this.caFile }
    this.admin = new KubeClient({ ...access, token: this.adminToken })
    this.harness = new KubeClient({ ...access, token: this.#harnessToken, userAgent: 'harness' })
    this.kubeconfigPath = this.writeKubeconfig('admin')
  }

  /** Called by startCluster. */
  async start(signal?: AbortSignal): Promise<void> {
    this.#startEtcd()
    this.#startApiServer()
    await this.waitUntilReady(signal)
    if (this.full) await this.#startControllers(signal)
  }

  /** The processes of the cluster, for the `logs` and `alive` of a wait. */
  get processes(): readonly ManagedProcess[] {
    return [...this.#processes.values()]
  }

  /** A process by its name: `etcd`, `kube-apiserver`, `kube-controller-manager`, `kube-scheduler` or `kwok`. */
  process(name: ToolName): ManagedProcess {
    const found = this.#processes.get(name)
    if (!found) throw new Error(`cluster ${this.name} has no ${name}`)
    return found
  }

  /** A client for another user, such as a service account by its token. */
  connectAs(token: string, userAgent?: string): KubeClient {
    return new KubeClient({ server: this.server, caFile: this.caFile, token, ...(userAgent && { userAgent }) })
  }

  /** Writes a kubeconfig and returns its path. */
  writeKubeconfig(name: string, { token, server, namespace = 'default' }: KubeconfigOptions = {}): string {
    const file = this.#file(`kubeconfig-${name}`)
    const config = {
      apiVersion: 'v1',
      kind: 'Config',
      clusters: [{ name: this.name, cluster: { server: server ?? this.server, 'certificate-authority': this.caFile } }],
      users: [{ name, user: { token: token ?? this.adminToken } }],
      contexts: [{ name: this.name, context: { cluster: this.name, user: name, namespace } }],
      'current-context': this.name,
    }
    writeFileSync(file, JSON.stringify(config, undefined, 2), { mode: 0o600 })
    return file
  }

  /** The requests in the audit log, in the order in which they were answered. */
  auditLog(filter: AuditFilter = {}): AuditEvent[] {
    if (this.#options.audit === false) throw new Error(`cluster ${this.name} was started without an audit log`)
    return readAuditLog(this.#file('audit.log'), filter)
  }

  /** How many requests the API server has counted since it started, by its own metrics, whose labels all agree. */
  async requestCount(labels: Readonly<Record<string, string>> = {}): Promise<number> {
    const metrics = await this.harness.requestText('GET', '/metrics')
    const wanted = Object.entries(labels).map(([label, value]) => `${label}="${value}"`)
    return metrics
      .split('\n')
      .filter((line) => line.startsWith('apiserver_request_total{') && wanted.every((text) => line.includes(text)))
      .reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(' ') + 1)), 0)
  }

  /** Waits until the API server says it is ready and the namespaces of the system exist. */
  async waitUntilReady(signal?: AbortSignal): Promise<void> {
    const ready = async () => {
      try {
        const answer = await this.harness.requestText('GET', '/readyz')
        return answer === 'ok' && (await this.harness.find({ ...namespaceKind, metadata: { name: 'default' } }))
      } catch (error) {
        // The CA's file may have been read while it was being written: the next look reads it again.
        this.harness.close()
        throw error
      }
    }
    const alive = ['etcd', 'kube-apiserver'].map((name) => this.process(name as ToolName))
    await waitFor(`cluster ${this.name} to be ready`, ready, {
      timeoutMs: 60_000,
      alive,
      ...(signal && { signal }),
    })
  }

  /** SIGKILL: connections break at once. */
  async killApiServer(): Promise<void> {
    await this.process('kube-apiserver').kill()
    this.admin.close()
    this.harness.close()
  }

  /** Starts a killed API server again on its port, or kills and starts a running one. Waits until it is ready. */
  async restartApiServer(signal?: AbortSignal): Promise<void> {
    await this.killApiServer()
    this.#startApiServer()
    await this.waitUntilReady(signal)
  }

  /** SIGSTOP: connections stay open and nothing is answered, until resumeApiServer. */
  pauseApiServer(): void {
    this.process('kube-apiserver').pause()
  }

  resumeApiServer(): void {
    this.process('kube-apiserver').resume()
  }

  /** Kills all processes; the API server would take long to stop while watches are open. */
  async stop(): Promise<void> {
    this.admin.close()
    this.harness.close()
    await Promise.all(this.processes.map((process) => process.killAll()))
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop()
  }

  #file(name: string): string {
    return path.join(this.folder, name)
  }

  #writeFiles(): void {
    const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
    writeFileSync(this.#file('sa.key'), privateKey.export({ type: 'sec1', format: 'pem' }), { mode: 0o600 })
    writeFileSync(this.#file('audit-policy.json'), JSON.stringify(auditPolicy))
    const users = [
      [this.adminToken, 'admin'],
      [this.#harnessToken, 'harness'],
    ]
    const lines = users.map(([token, user]) => `${token},${user},${user},system:masters\n`)
    writeFileSync(this.#file('tokens.csv'), lines.join(''), { mode: 0o600 })
  }

  #run(name: ToolName, args: readonly string[]): void {
    const command = this.#tools[name]
    if (command === undefined) throw new Error(`${name} was not asked for`)
    this.#processes.set(
      name,
      startProcess({
        name: `${this.name}-${name}`,
        command,
        args,
        logFile: this.#file(`${name}.log`),
        cwd: this.folder,
      }),
    )
  }

  #startEtcd(): void {
    const { etcdPort, peerPort } = this.#ports
    const [client, peer] = [`http://127.0.0.1:${etcdPort}`, `http://127.0.0.1:${peerPort}`]
    this.#run('etcd', [
      `--name=${this.name}`,
      `--data-dir=${this.#file('etcd')}`,
      '--unsafe-no-fsync',
      '--log-level=warn',
      `--listen-client-urls=${client}`,
      `--advertise-client-urls=${client}`,
      `--listen-peer-urls=${peer}`,
      `--initial-advertise-peer-urls=${peer}`,
      `--initial-cluster=${this.name}=${peer}`,
    ])
  }

  #startApiServer(): void {
    const { apiPort, etcdPort } = this.#ports
    const audit = [
      `--audit-policy-file=${this.#file('audit-policy.json')}`,
      `--audit-log-path=${this.#file('audit.log')}`,
    ]
    this.#run('kube-apiserver', [
      `--etcd-servers=http://127.0.0.1:${etcdPort}`,
      `--secure-port=${apiPort}`,
      '--bind-address=127.0.0.1',
      '--advertise-address=127.0.0.1',
      `--cert-dir=${this.#file('certs')}`,
      `--token-auth-file=${this.#file('tokens.csv')}`,
      '--authorization-mode=Node,RBAC',
      '--service-account-issuer=https://kubernetes.default.svc',
      `--service-account-key-file=${this.#file('sa.key')}`,
      `--service-account-signing-key-file=${this.#file('sa.key')}`,
      '--service-cluster-ip-range=10.96.0.0/16',
      '--endpoint-reconciler-type=none',
      '--allow-privileged=true',
      ...(this.#options.audit === false ? [] : audit),
      ...(this.#options.apiServerArgs ?? []),
    ])
  }

  async #startControllers(signal?: AbortSignal): Promise<void> {
    const kubeconfig = `--kubeconfig=${this.writeKubeconfig('harness', { token: this.#harnessToken })}`
    // The default of 20 requests a second is what a test would be measuring.
    const quick = ['--kube-api-qps=500', '--kube-api-burst=1000', '--leader-elect=false', '--secure-port=0']
    this.#run('kube-controller-manager', [
      kubeconfig,
      ...quick,
      '--use-service-account-credentials=true',
      `--service-account-private-key-file=${this.#file('sa.key')}`,
      `--root-ca-file=${this.caFile}`,
      '--controllers=*,-nodeipam',
      '--concurrent-deployment-syncs=20',
      '--concurrent-replicaset-syncs=20',
    ])
    this.#run('kube-scheduler', [kubeconfig, ...quick])
    this.#run('kwok', [
      kubeconfig,
      '--manage-all-nodes=true',
      // Without a lease of its own, the node and every pod on it would go unready after 50 s.
      '--node-lease-duration-seconds=40',
      '--cidr=10.0.0.0/16',
      '--node-ip=10.0.0.1',
      ...this.#writeStages().map((file) => `--config=${file}`),
    ])
    await this.#addNode(signal)
  }

  /** The Stages of the folder beside this file, which say what kwok does with pods and nodes, less the pods that are ours. */
  #writeStages(): string[] {
    const source = path.join(import.meta.dirname, 'stages')
    const ours = JSON.stringify(this.#options.ourApps ?? ['fairlead-agent'])
    return readdirSync(source).map((name) => {
      const file = this.#file(`stage-${name}`)
      writeFileSync(file, readFileSync(path.join(source, name), 'utf8').replace('$OUR_APPS', ours))
      return file
    })
  }

  async #addNode(signal?: AbortSignal): Promise<void> {
    const node = {
      apiVersion: 'v1',
      kind: 'Node',
      metadata: {
        name: 'node-1',
        annotations: { 'kwok.x-k8s.io/node': 'fake' },
        labels: { 'kubernetes.io/os': 'linux' },
      },
    }
    await this.harness.create(node)
    const ready = async (see: (value: unknown) => void) => {
      const found = await this.harness.get(node)
      see({ conditions: getField(found, 'status.conditions'), taints: getField(found, 'spec.taints') })
      const conditions = (getField(found, 'status.conditions') ?? []) as { type: string; status: string }[]
      const isReady = conditions.some(({ type, status }) => type === 'Ready' && status === 'True')
      const account = { apiVersion: 'v1', kind: 'ServiceAccount', metadata: { namespace: 'default', name: 'default' } }
      return isReady && !getField(found, 'spec.taints') && (await this.harness.find(account))
    }
    const what = `the node of cluster ${this.name} to be ready`
    await waitFor(what, ready, { timeoutMs: 60_000, alive: this.processes, ...(signal && { signal }) })
  }
}

const namespaceKind = { apiVersion: 'v1', kind: 'Namespace' }

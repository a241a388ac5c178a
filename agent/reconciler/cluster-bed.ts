// For the reconciler's integration tests: a cluster for each file, and for each test a namespace of its own with the
// reconcilers that run in it.
import {
  type AdmissionWebhook,
  type AdmissionWebhookOptions,
  startAdmissionWebhook,
} from '@fairlead/e2e/harness/admission-webhook'
import { type Cluster, startCluster } from '@fairlead/e2e/harness/cluster'
import type { KubeClient, KubeObject } from '@fairlead/e2e/harness/kube-client'
import { silentLogger } from '@fairlead/shared/logger'
import { afterAll, afterEach, beforeAll, beforeEach } from 'vitest'
import { kubeconfigAccess } from '../kube/access.ts'
import { createKube, type Kube } from '../kube/kube.ts'
import type { ReconcilerOptions } from '../reconciler.ts'
import { ReconcilerBed, type TestObject } from './reconciler-bed.ts'

/** What a file of tests needs. */
export interface ClusterBedOptions {
  /** Of the cluster; namespaces are called `<name>-<number>`. */
  readonly name: string
  /** With controllers, scheduler and a node; default the API server alone. */
  readonly full?: boolean
  /** Of every reconciler, unless its test gives others. */
  readonly options?: Partial<ReconcilerOptions>
}

/** Starting everything takes up to so long on a busy machine, in milliseconds. */
const START_TIMEOUT_MS = 180_000

/** Where the tests of one file run. */
export class ClusterBed {
  readonly #options: ClusterBedOptions
  readonly #beds = new Set<ReconcilerBed>()
  readonly #webhooks: AdmissionWebhook[] = []
  readonly #kubes: Kube[] = []
  #running: { readonly cluster: Cluster; readonly kube: Kube } | undefined
  #tests = 0

  private constructor(options: ClusterBedOptions) {
    this.#options = options
  }

  /** Begins and ends with the file, and everything in it with each test. Call once, before the file's own hooks. */
  static forFile(options: ClusterBedOptions): ClusterBed {
    const bed = new ClusterBed(options)
    beforeAll(async () => await bed.#begin(), START_TIMEOUT_MS)
    beforeEach(async () => await bed.#beginTest())
    afterEach(async () => await bed.#endTest())
    afterAll(async () => await bed.#end())
    return bed
  }

  /** The cluster. */
  get cluster(): Cluster {
    return this.#get().cluster
  }

  /** An agent's access, for tests that stand between it and the API server. */
  get kube(): Kube {
    return this.#get().kube
  }

  /** The administrator, who acts as kubectl. */
  get admin(): KubeClient {
    return this.cluster.admin
  }

  /** The namespace of the present test; it is there. */
  get namespace(): string {
    return `${this.#options.name}-${this.#tests}`
  }

  /** Starts a reconciler that keeps its inventories in the test's namespace, and deploys there what names none. What the `kept` one was given is kept in the cluster. */
  async start(options: Partial<ReconcilerOptions> = {}, kept?: ReconcilerBed): Promise<ReconcilerBed> {
    const { cluster, namespace } = this
    const bed = await ReconcilerBed.start({ cluster, namespace, kept }, { ...this.#options.options, ...options })
    this.#beds.add(bed)
    return bed
  }

  /** Ends a reconciler as a process ends, and starts another. */
  async restart(bed: ReconcilerBed, options: Partial<ReconcilerOptions> = {}): Promise<ReconcilerBed> {
    await this.stop(bed)
    return await this.start(options, bed)
  }

  /** Ends a reconciler before its test ends. */
  async stop(bed: ReconcilerBed): Promise<void> {
    this.#beds.delete(bed)
    await bed.stop()
  }

  /** Leaves a reconciler as it is, as a process that is killed in the middle of a request: it is never heard of again. */
  abandon(bed: ReconcilerBed): void {
    this.#beds.delete(bed)
  }

  /** Another access as an agent has it, until the test ends. */
  async connect(kubeconfigPath: string): Promise<Kube> {
    const kube = await connect(kubeconfigPath)
    this.#kubes.push(kube)
    return kube
  }

  /** Has an admission webhook asked until the test ends: about ConfigMaps of the test's namespace, unless told otherwise. */
  async ask(options: Partial<AdmissionWebhookOptions> = {}): Promise<AdmissionWebhook> {
    const { cluster, namespace } = this
    const name = `asked-${namespace}-${this.#webhooks.length}`
    const webhook = await startAdmissionWebhook({ cluster, name, namespaces: [namespace], ...options })
    this.#webhooks.push(webhook)
    return webhook
  }

  /** The object in the test's namespace, unless it names another. */
  placed(object: TestObject): KubeObject {
    return { ...object, metadata: { namespace: this.namespace, ...object.metadata } }
  }

  /** The object as it is in the cluster; undefined when it is not there. */
  async find(object: TestObject): Promise<KubeObject | undefined> {
    return await this.admin.find(this.placed(object))
  }

  #get(): { readonly cluster: Cluster; readonly kube: Kube } {
    if (!this.#running) throw new Error('the cluster has not started')
    return this.#running
  }

  async #begin(): Promise<void> {
    const { name, full = false } = this.#options
    const cluster = await startCluster({ name, full })
    this.#running = { cluster, kube: await connect(cluster.kubeconfigPath) }
  }

  async #beginTest(): Promise<void> {
    this.#tests++
    await this.admin.create({ apiVersion: 'v1', kind: 'Namespace', metadata: { name: this.namespace } })
  }

  async #endTest(): Promise<void> {
    await Promise.all([...this.#beds].map(async (bed) => await this.stop(bed)))
    for (const webhook of this.#webhooks.splice(0)) await webhook.stop()
    for (const kube of this.#kubes.splice(0)) await kube.close()
  }

  async #end(): Promise<void> {
    await this.#running?.kube.close()
    await this.#running?.cluster.stop()
  }
}

async function connect(kubeconfigPath: string): Promise<Kube> {
  const access = await kubeconfigAccess(kubeconfigPath)
  return createKube({ access, userAgent: 'fairlead-agent/test', logger: silentLogger })
}

// The kubelet stand-in: runs the pods of one Deployment, as the API server admitted it, as local processes.
//
// On a full cluster the real controllers and scheduler make and bind the pods; kwok leaves pods with the label of our
// apps alone (see ClusterOptions.ourApps), and this runs them and reports their status. On an API server alone, this
// also plays the Deployment's controller: one pod per template, the old one ended before (Recreate) or after
// (RollingUpdate) the new one is ready. Not played: uids, the read-only root file system, resource limits.

import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { setTimeout as delay } from 'node:timers/promises'
import type { Cluster } from './cluster.ts'
import { getField, type KubeObject, KubeRequestError } from './kube-client.ts'
import type { Pod } from './pod.ts'
import { type ImageCommand, type PodContext, PodProcess } from './pod-process.ts'
import type { ManagedProcess } from './process.ts'
import { type LogSource, waitFor } from './wait.ts'

/** Which Deployment to run, and how. */
export type KubeletOptions = {
  readonly cluster: Cluster
  readonly namespace: string
  /** The name of the Deployment. It may be made later, changed and deleted while this runs. */
  readonly deployment: string
  /** The command line for each image repository (without tag), as `{'fairlead/agent': ({args}) => [node, file, ...args]}`. */
  readonly images: Readonly<Record<string, ImageCommand>>
  /** Where pods find the API server; default the cluster's own address. The port of a proxy makes it cuttable. */
  readonly apiServer?: { readonly host?: string; readonly port: number }
  /** Environment put over that of the container. Default: none. */
  readonly env?: Readonly<Record<string, string>>
  /** Refuse pods that the restricted Pod Security Standard refuses. Default true. */
  readonly requireRestricted?: boolean
}

/** Starts to play the kubelet; what there is to run, runs soon after. */
export function startKubelet(options: KubeletOptions): Kubelet {
  return new Kubelet(options)
}

const retryMs = 200
const refreshEveryMs = 5_000

/** A running kubelet stand-in. */
export class Kubelet implements LogSource, AsyncDisposable {
  readonly name: string
  readonly #options: KubeletOptions
  readonly #context: PodContext
  readonly #stopping = new AbortController()
  readonly #pods = new Map<string, PodProcess>()
  readonly #written = new Map<string, string>()
  readonly #notes: string[] = []
  readonly #loops: Promise<unknown>
  #wake: () => void = () => undefined
  #isDirty = true

  constructor(options: KubeletOptions) {
    const { cluster, namespace, deployment, images, apiServer, env = {}, requireRestricted = true } = options
    this.name = `kubelet of ${cluster.name} for ${namespace}/${deployment}`
    this.#options = options
    this.#context = {
      client: cluster.harness,
      ca: readFileSync(cluster.caFile),
      images,
      apiServer: () => ({ host: apiServer?.host ?? '127.0.0.1', port: apiServer?.port ?? cluster.port }),
      env,
      requireRestricted,
      onChange: () => this.#touch(),
    }
    this.#loops = Promise.all([
      this.#reconcileForever(),
      this.#watchForever(this.#reference),
      this.#watchForever({ apiVersion: 'v1', kind: 'Pod', metadata: { namespace } }),
      this.#refreshForever(),
    ])
  }

  /** The pods that are run now; one, but for the middle of a rollout. */
  get pods(): readonly PodProcess[] {
    return [...this.#pods.values()]
  }

  /** The process of the newest pod. Throws when none runs. */
  get process(): ManagedProcess {
    const found = this.pods.findLast(({ process }) => process?.running)?.process
    if (!found) throw new Error(`${this.name}: no process runs\n${this.tail()}`)
    return found
  }

  /** What was noted here, and how the pods' logs end. */
  tail(lines = 30): string {
    const tails = this.pods.map(({ pod, process, status }) => {
      const state = JSON.stringify(getField(status, 'containerStatuses.0.state'))
      return `pod ${pod.metadata.name}: ${state}\n${process?.tail(lines) ?? ''}`
    })
    return [...this.#notes.slice(-5), ...tails].join('\n')
  }

  /** Waits until so many pods (default one) are ready and no other is left over; returns the first. */
  async waitUntilReady({
    pods: wanted = 1,
    timeoutMs = 20_000,
    signal,
  }: {
    pods?: number
    timeoutMs?: number
    signal?: AbortSignal
  } = {}): Promise<PodProcess> {
    return await waitFor(
      `${wanted} ready pod of ${this.#options.namespace}/${this.#options.deployment}`,
      (see) => {
        see(this.pods.map(({ status }) => getField(status, 'containerStatuses.0')))
        return this.pods.length === wanted && this.pods.every(({ ready }) => ready) && this.pods[0]
      },
      { timeoutMs, logs: [this], ...(signal && { signal }) },
    )
  }

  /** SIGKILL to the newest pod's process, as a crash would: it is started again. Resolves when it is gone. */
  async kill(): Promise<void> {
    await this.process.kill()
  }

  /** Freezes the newest pod's process. A liveness probe will have it restarted in time. */
  pause(): void {
    this.process.pause()
  }

  resume(): void {
    this.process.resume()
  }

  /** Reads ConfigMaps, Secrets and tokens again at once, instead of within a minute. */
  async refreshVolumes(): Promise<void> {
    await Promise.all(this.pods.map(({ mounts }) => mounts.refresh({ all: true })))
  }

  /** Ends the pods' processes and plays the kubelet no longer; the objects in the API server stay as they are. */
  async stop(): Promise<void> {
    this.#stopping.abort()
    this.#wake()
    await this.#loops
    await Promise.all(this.pods.map((pod) => pod.stop()))
    this.#pods.clear()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop()
  }

  get #reference() {
    const { namespace, deployment } = this.#options
    return { apiVersion: 'apps/v1', kind: 'Deployment', metadata: { namespace, name: deployment } }
  }

  #touch(): void {
    this.#isDirty = true
    this.#wake()
  }

  #note(error: unknown): void {
    const text = error instanceof Error ? error.message : String(error)
    if (this.#notes.at(-1) !== text) this.#notes.push(text)
  }

  async #pause(ms: number): Promise<void> {
    await delay(ms, undefined, { signal: this.#stopping.signal }).catch(() => undefined)
  }

  /** Every event is only a reason to look again; so is the end of a watch, which may have hidden some. */
  async #watchForever(reference: { apiVersion: string; kind: string; metadata: object }): Promise<void> {
    const { signal } = this.#stopping
    while (!signal.aborted) {
      try {
        for await (const _ of this.#context.client.watch(reference, signal)) this.#touch()
      } catch (error) {
        if (signal.aborted) return
        this.#note(error)
        await this.#pause(retryMs)
      }
      this.#touch()
    }
  }

  async #refreshForever(): Promise<void> {
    while (!this.#stopping.signal.aborted) {
      await this.#pause(refreshEveryMs)
      for (const { mounts, process } of this.pods) {
        if (process) await mounts.refresh().catch((error) => this.#note(error))
      }
    }
  }

  async #reconcileForever(): Promise<void> {
    while (!this.#stopping.signal.aborted) {
      if (!this.#isDirty) {
        await new Promise<void>((resolve) => {
          this.#wake = resolve
        })
        continue
      }
      this.#isDirty = false
      try {
        await this.#reconcile()
      } catch (error) {
        this.#note(error)
        this.#isDirty = true
        await this.#pause(retryMs)
      }
    }
  }

  async #reconcile(): Promise<void> {
    const deployment = await this.#context.client.find(this.#reference)
    const pods = await this.#listPods(deployment)
    for (const pod of pods) await this.#runOrEnd(pod)
    for (const [uid, running] of this.#pods) {
      if (pods.some(({ metadata }) => metadata.uid === uid)) continue
      await running.stop({ graceSeconds: 0 })
      this.#pods.delete(uid)
    }
    if (this.#options.cluster.full) return
    await this.#control(deployment?.metadata.deletionTimestamp ? undefined : deployment, pods)
  }

  /** The pods of the Deployment that are bound to a node, also of one that has been deleted. */
  async #listPods(deployment: KubeObject | undefined): Promise<Pod[]> {
    const { namespace } = this.#options
    const collection = { apiVersion: 'v1', kind: 'Pod', metadata: { namespace } }
    const wanted = Object.entries((getField(deployment, 'spec.selector.matchLabels') ?? {}) as Record<string, string>)
    const pods = (await this.#context.client.list(collection)) as unknown as Pod[]
    return pods.filter(({ metadata, spec }) => {
      const isSelected = deployment && wanted.every(([label, value]) => metadata.labels?.[label] === value)
      return spec.nodeName && (isSelected || this.#pods.has(metadata.uid))
    })
  }

  async #runOrEnd(pod: Pod): Promise<void> {
    const { uid, deletionTimestamp } = pod.metadata
    const running = this.#pods.get(uid)
    if (deletionTimestamp) {
      await running?.stop()
      await this.#context.client.delete(pod, { gracePeriodSeconds: 0, preconditions: { uid } })
      this.#pods.delete(uid)
      return
    }
    if (!running) this.#pods.set(uid, new PodProcess(pod, this.#context))
    await this.#writeStatus(pod, (running ?? this.#pods.get(uid))?.status ?? {})
  }

  async #writeStatus(object: KubeObject | Pod, status: Readonly<Record<string, unknown>>): Promise<void> {
    const { uid = '' } = object.metadata
    const text = JSON.stringify(status)
    if (this.#written.get(uid) === text) return
    try {
      await this.#context.client.patch(
        object,
        { status },
        { type: 'merge', subresource: 'status', fieldManager: 'kubelet' },
      )
      this.#written.set(uid, text)
    } catch (error) {
      // Deleted in the meantime: the next look will see it.
      if (!(error instanceof KubeRequestError && error.status === 404)) throw error
    }
  }

  /** What the Deployment's controllers would do, on a cluster that has none. */
  async #control(deployment: KubeObject | undefined, pods: readonly Pod[]): Promise<void> {
    const isWanted = deployment && getField(deployment, 'spec.replicas') !== 0
    const template = getField(deployment, 'spec.template') as KubeObject | undefined
    const hash = createHash('sha256')
      .update(JSON.stringify(template ?? null))
      .digest('hex')
      .slice(0, 10)
    const current = pods.find(({ metadata }) => isWanted && metadata.labels?.['pod-template-hash'] === hash)
    const old = pods.filter((pod) => pod !== current && !pod.metadata.deletionTimestamp)
    const isReady = current !== undefined && this.#pods.get(current.metadata.uid)?.ready === true
    const isRecreate = getField(deployment, 'spec.strategy.type') === 'Recreate'
    if (!isWanted || isRecreate || isReady) for (const pod of old) await this.#context.client.delete(pod)
    if (isWanted && template && !current && !(isRecreate && pods.length > 0)) await this.#createPod(template, hash)
    if (deployment) await this.#writeStatus(deployment, deploymentStatus(deployment, isReady, current !== undefined))
  }

  async #createPod(template: KubeObject, hash: string): Promise<void> {
    const { namespace, deployment } = this.#options
    const { labels, annotations } = template.metadata
    const name = `${deployment}-${hash}-${Math.random().toString(36).slice(2, 7)}`
    await this.#context.client.create({
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: {
        namespace,
        name,
        labels: { ...labels, 'pod-template-hash': hash },
        ...(annotations && { annotations }),
      },
      spec: { ...(template.spec as object), nodeName: 'harness' },
    } as never)
  }
}

function deploymentStatus(deployment: KubeObject, isReady: boolean, isUpdated: boolean): Record<string, unknown> {
  const replicas = isUpdated ? 1 : 0
  const ready = isReady ? 1 : 0
  return {
    observedGeneration: deployment.metadata.generation,
    replicas,
    updatedReplicas: replicas,
    readyReplicas: ready,
    availableReplicas: ready,
    unavailableReplicas: replicas - ready,
    conditions: [
      { type: 'Available', status: isReady ? 'True' : 'False', reason: 'HarnessKubelet', message: '' },
      {
        type: 'Progressing',
        status: 'True',
        reason: isReady ? 'NewReplicaSetAvailable' : 'ReplicaSetUpdated',
        message: '',
      },
    ],
  }
}

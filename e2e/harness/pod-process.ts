// One pod as a local process: started, probed, restarted with back-off, and its status as a kubelet would report it.

import path from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { makeRunFolder } from './guardian.ts'
import type { KubeClient } from './kube-client.ts'
import { type Container, getImageRepository, type Pod, type Probe } from './pod.ts'
import { expandReferences, PodMounts } from './pod-mounts.ts'
import { findSecurityViolations } from './pod-security.ts'
import { takePort } from './ports.ts'
import { type ManagedProcess, type ProcessExit, startProcess } from './process.ts'

/** What an image is, on this machine: the command line for a container's command and arguments. */
export type ImageCommand = (container: { command: readonly string[]; args: readonly string[] }) => readonly string[]

/** What every pod of a kubelet stand-in shares. */
export type PodContext = {
  readonly client: KubeClient
  readonly ca: Buffer
  /** By image repository, without tag. */
  readonly images: Readonly<Record<string, ImageCommand>>
  /** Where the pod finds the API server, asked at each start of the process. */
  readonly apiServer: () => { readonly host: string; readonly port: number }
  /** More environment for the process, over that of the container. */
  readonly env: Readonly<Record<string, string>>
  /** Whether a pod that the restricted standard refuses is refused here too. */
  readonly requireRestricted: boolean
  /** Called whenever the status has changed. */
  readonly onChange: () => void
}

const firstBackoffMs = 100
const lastBackoffMs = 5_000
/** A process that has run so long starts over with the first back-off. */
const healthyAfterMs = 10_000
/** The longest that a test waits for a pod to end by itself, whatever the pod asks for. */
const longestGraceSeconds = 15

/** The variable through which a pod of ours is told its HTTP port: two pods on one machine cannot share 8080. */
const portVariable = 'FAIRLEAD_HTTP_PORT'

type State =
  | { readonly waiting: { readonly reason: string; readonly message?: string } }
  | { readonly running: { readonly startedAt: string } }

/** A pod that is meant to run until `stop`. */
export class PodProcess {
  readonly pod: Pod
  readonly container: Container
  readonly mounts: PodMounts
  /** How often the process was started again. */
  restartCount = 0
  ready = false
  readonly #context: PodContext
  readonly #logFile: string
  readonly #ports = new Map<number, number>()
  readonly #stopping = new AbortController()
  readonly #done: Promise<void>
  #process: ManagedProcess | undefined
  #state: State = { waiting: { reason: 'ContainerCreating' } }
  #lastState: object = {}
  #started = false

  constructor(pod: Pod, context: PodContext) {
    const [container, ...more] = pod.spec.containers
    if (!container || more.length > 0 || pod.spec.initContainers?.length) {
      throw new Error(`the kubelet stand-in runs pods of one container only, not ${pod.metadata.name}`)
    }
    this.pod = pod
    this.container = container
    this.#context = context
    const folder = makeRunFolder(pod.metadata.name)
    this.mounts = new PodMounts(pod, context.client, { folder, ca: context.ca })
    this.#logFile = path.join(folder, 'container.log')
    this.#done = this.#run()
  }

  /** The process, or undefined while none has been started yet. */
  get process(): ManagedProcess | undefined {
    return this.#process
  }

  /** The local port for a container's port, by number or name; undefined before the first start. */
  findPort(port: number | string): number | undefined {
    const number = this.container.ports?.find(({ name }) => name === port)?.containerPort ?? Number(port)
    return this.#ports.get(number)
  }

  /** What the pod's status should be. Without times of now, so that an unchanged status compares equal. */
  get status(): Readonly<Record<string, unknown>> {
    const condition = (type: string, isTrue: boolean) => ({ type, status: isTrue ? 'True' : 'False' })
    const { creationTimestamp } = this.pod.metadata
    return {
      phase: this.#process || this.restartCount > 0 ? 'Running' : 'Pending',
      podIP: '127.0.0.1',
      podIPs: [{ ip: '127.0.0.1' }],
      startTime: creationTimestamp,
      conditions: [
        condition('PodScheduled', true),
        condition('Initialized', true),
        condition('ContainersReady', this.ready),
        condition('Ready', this.ready),
      ],
      containerStatuses: [
        {
          name: this.container.name,
          image: this.container.image,
          imageID: '',
          ready: this.ready,
          started: this.#started,
          restartCount: this.restartCount,
          state: this.#state,
          lastState: this.#lastState,
        },
      ],
    }
  }

  /** Ends the process within the pod's grace period (15 s at most), and does not start it again. */
  async stop({ graceSeconds }: { graceSeconds?: number } = {}): Promise<void> {
    this.#stopping.abort()
    const asked = graceSeconds ?? this.pod.spec.terminationGracePeriodSeconds ?? 30
    await this.#process?.stop({ timeoutMs: Math.min(asked, longestGraceSeconds) * 1000 })
    await this.#done
  }

  async #run(): Promise<void> {
    const { signal } = this.#stopping
    for (let failures = 0; !signal.aborted; ) {
      const startedAt = performance.now()
      const process = await this.#start()
      if (process) {
        this.#process = process
        this.#set({ running: { startedAt: new Date().toISOString() } })
        // stop() may have come between the start and here.
        if (signal.aborted) await process.stop({ timeoutMs: 1_000 })
        const exit = await this.#watchOver(process)
        await process.killAll()
        if (signal.aborted) return
        this.#lastState = describeEnd(exit)
        this.restartCount++
        this.#set({ waiting: { reason: 'CrashLoopBackOff', message: process.describeExit() ?? '' } })
      }
      failures = process && performance.now() - startedAt > healthyAfterMs ? 0 : failures + 1
      const backoffMs = Math.min(firstBackoffMs * 2 ** failures, lastBackoffMs)
      await delay(process ? backoffMs : firstBackoffMs, undefined, { signal }).catch(() => undefined)
    }
  }

  /** Starts the process, or returns undefined with the reason in the state. */
  async #start(): Promise<ManagedProcess | undefined> {
    try {
      const violations = this.#context.requireRestricted ? findSecurityViolations(this.pod) : []
      if (violations.length > 0) throw new Error(`refused: ${violations.join('; ')}`)
      const toCommandLine = this.#context.images[getImageRepository(this.container.image)]
      if (!toCommandLine) throw new Error(`no command is known for image ${this.container.image}`)
      await this.mounts.prepare(this.container)
      const env = await this.#environment()
      const { command = [], args = [] } = this.container
      const expand = (texts: readonly string[]) => texts.map((text) => expandReferences(text, env))
      const [file, ...rest] = toCommandLine({ command: expand(command), args: expand(args) })
      if (file === undefined) throw new Error(`the command for image ${this.container.image} is empty`)
      const { name } = this.pod.metadata
      return startProcess({ name, command: file, args: rest, env, cwd: this.mounts.root, logFile: this.#logFile })
    } catch (error) {
      this.#set({ waiting: { reason: 'CreateContainerConfigError', message: (error as Error).message } })
      return undefined
    }
  }

  async #environment(): Promise<Record<string, string>> {
    const own = await this.mounts.environment(this.container)
    const httpPort = Number(own[portVariable] ?? 8080)
    const wanted = [httpPort, ...(this.container.ports ?? []).map(({ containerPort }) => containerPort)]
    for (const port of wanted) if (!this.#ports.has(port)) this.#ports.set(port, await takePort())
    const { host, port } = this.#context.apiServer()
    return {
      PATH: process.env.PATH ?? '',
      HOSTNAME: this.pod.metadata.name,
      KUBERNETES_SERVICE_HOST: host,
      KUBERNETES_SERVICE_PORT: String(port),
      KUBERNETES_SERVICE_PORT_HTTPS: String(port),
      ...own,
      FAIRLEAD_POD_ROOT: this.mounts.root,
      [portVariable]: String(this.#ports.get(httpPort)),
      ...this.#context.env,
    }
  }

  /** Probes the process until it has ended, or has to be ended because its liveness probe fails. */
  async #watchOver(process: ManagedProcess): Promise<ProcessExit> {
    const ended = new AbortController()
    const { startupProbe, livenessProbe, readinessProbe } = this.container
    const failed = (what: string) => async () => {
      if (ended.signal.aborted) return
      this.#context.onChange()
      await process.stop({ timeoutMs: 2_000 })
      this.#set({ waiting: { reason: 'CrashLoopBackOff', message: `${what} probe failed` } })
    }
    const probing = (async () => {
      if (startupProbe) await this.#probe(startupProbe, ended.signal, { onFailure: failed('Startup'), once: true })
      this.#started = true
      await Promise.all([
        livenessProbe && this.#probe(livenessProbe, ended.signal, { onFailure: failed('Liveness') }),
        this.#watchReadiness(readinessProbe, ended.signal),
      ])
    })()
    const exit = await process.exited
    ended.abort()
    await probing
    this.#started = false
    this.ready = false
    return exit
  }

  async #watchReadiness(probe: Probe | undefined, signal: AbortSignal): Promise<void> {
    const set = (ready: boolean) => {
      if (this.ready === ready || signal.aborted) return
      this.ready = ready
      this.#context.onChange()
    }
    if (!probe) set(true)
    else await this.#probe(probe, signal, { onSuccess: () => set(true), onFailure: () => set(false) })
  }

  /**
   * Probes until the signal aborts, or with `once` until the first success. Startup and readiness are asked about ten
   * times a second until they succeed, so that no test waits a period for a quick start; failures count once a period.
   */
  async #probe(
    probe: Probe,
    signal: AbortSignal,
    { onSuccess, onFailure, once }: { onSuccess?: () => void; onFailure: () => unknown; once?: boolean },
  ): Promise<void> {
    const wait = (seconds: number) => delay(seconds * 1000, undefined, { signal }).catch(() => undefined)
    const { initialDelaySeconds = 0, periodSeconds = 10, failureThreshold = 3 } = probe
    const isQuick = once === true || onSuccess !== undefined
    await wait(initialDelaySeconds)
    let failures = 0
    let countedAt = performance.now()
    while (!signal.aborted) {
      const succeeded = await this.#ask(probe, signal)
      const isDue = performance.now() - countedAt >= periodSeconds * 1000 - 50
      if (succeeded || isDue) countedAt = performance.now()
      if (succeeded) {
        failures = 0
        onSuccess?.()
        if (once) return
      } else if (isDue && ++failures === failureThreshold) {
        await onFailure()
      }
      await wait(isQuick && !succeeded ? 0.1 : periodSeconds)
    }
  }

  async #ask({ httpGet, timeoutSeconds = 1 }: Probe, signal: AbortSignal): Promise<boolean> {
    if (!httpGet) throw new Error('the kubelet stand-in knows httpGet probes only')
    try {
      const port = this.findPort(httpGet.port)
      const response = await fetch(`http://127.0.0.1:${port}${httpGet.path ?? '/'}`, {
        signal: AbortSignal.any([signal, AbortSignal.timeout(timeoutSeconds * 1000)]),
        headers: { connection: 'close' },
      })
      await response.arrayBuffer()
      return response.status >= 200 && response.status < 400
    } catch {
      return false
    }
  }

  #set(state: State): void {
    if (JSON.stringify(state) === JSON.stringify(this.#state)) return
    this.#state = state
    this.#context.onChange()
  }
}

function describeEnd({ code, signal }: ProcessExit): object {
  const finishedAt = new Date().toISOString()
  const exitCode = code ?? (signal === 'SIGKILL' ? 137 : 143)
  return { terminated: { exitCode, reason: exitCode === 0 ? 'Completed' : 'Error', finishedAt } }
}

// What the leader runs in its cluster: identity, kept slice, reconciler, link and reports, and what passes between them. It
// keeps going when anything outside is away.
import { writeFile } from 'node:fs/promises'
import { create } from '@bufbuild/protobuf'
import { timestampNow } from '@bufbuild/protobuf/wkt'
import { type Problem, ProblemSchema } from '@fairlead/proto/common'
import type { AgentFacts } from '@fairlead/proto/report'
import type { Command, Slice } from '@fairlead/proto/slice'
import { backoffMs, sleep } from '@fairlead/shared/backoff'
import { AppError, toAppError } from '@fairlead/shared/errors'
import type { Lifecycle } from '@fairlead/shared/lifecycle'
import type { Logger } from '@fairlead/shared/logger'
import type { RefusedError } from '@fairlead/shared/slice'
import { AGENT_MAX_PAYLOAD_BYTES, answerSubject } from '@fairlead/shared/subjects'
import type { AgentConfig } from './config.ts'
import type { Inspection, Reconciler } from './desired-state.ts'
import { Enrolment } from './enrolment/enrolment.ts'
import type { JoinedIdentity } from './enrolment/identity.ts'
import { EventRecorder, type EventRecorderOptions } from './events/event-recorder.ts'
import { ClusterFacts } from './facts.ts'
import type { Shown } from './insight.ts'
import type { Kube } from './kube/kube.ts'
import type { Liveness, LoopSign } from './liveness.ts'
import type { AgentMetrics } from './metrics/agent-metrics.ts'
import { type PolicyState, PolicyWatch } from './policy/policy-watch.ts'
import type { Readiness } from './probes.ts'
import { PulledArtifacts } from './puller/artifact-loader.ts'
import { Connection } from './puller/connection.ts'
import { KeptState } from './puller/kept-state.ts'
import { Puller } from './puller/puller.ts'
import { createReconciler } from './reconciler.ts'
import { combineRecorders } from './recorder.ts'
import { sendAnswer } from './reporter/answers.ts'
import { Reporter } from './reporter/reporter.ts'
import { createWatcher } from './watcher/watcher.ts'

/** Every request has a time limit; a write of several that takes longer than this is stuck. */
const STUCK_WRITE_MS = 15 * 60_000
/** The longest that a pass waits for is a wave, ten minutes; one that does not get on for longer than this is stuck. */
const STUCK_PASS_MS = 15 * 60_000
/** As long as the hub waits for the whole answer to a question. */
const ANSWER_TIMEOUT_MS = 5 * 60_000
/** Least time between two renewals that unknown signing keys ask for. */
const UNKNOWN_KEY_REFRESH_MS = 5 * 60_000

/** What the process gives to each term. */
export interface AgentParts {
  readonly config: AgentConfig
  readonly kube: Kube
  readonly metrics: AgentMetrics
  readonly liveness: Liveness
  readonly logger: Logger
}

/** The parts that only the leader runs, and what passes between them. */
export class Agent implements Shown {
  readonly #config: AgentConfig
  readonly #kube: Kube
  readonly #logger: Logger
  readonly #signal: AbortSignal
  /** Ends with the question that is being answered. */
  #question = new AbortController()
  readonly #liveness: Liveness
  readonly #heartbeat: LoopSign
  readonly #connection: Connection
  readonly #reporter: Reporter
  readonly #puller: Puller
  readonly #reconciler: Reconciler
  readonly #enrolment: Enrolment
  readonly #policy: PolicyWatch
  readonly #facts: ClusterFacts
  #identity: JoinedIdentity | undefined
  #problem: AppError | undefined
  #refusal: AppError | undefined
  /** Of what it keeps. */
  #damage: AppError | undefined
  #identityChanges: Promise<void> = Promise.resolve()
  #unknownKeyAtMs = Number.NEGATIVE_INFINITY
  #onBug: (error: unknown) => void = (error) => {
    throw error
  }

  constructor({ config, kube, metrics, liveness, logger }: AgentParts, signal: AbortSignal) {
    this.#config = config
    this.#liveness = liveness
    this.#kube = kube
    this.#logger = logger
    this.#signal = signal
    const { namespace, namespaces } = config
    this.#connection = new Connection({
      onConnected: () => this.#connected(),
      onDisconnected: () => undefined,
      onRefused: () => this.#enrolment.refresh(),
      logger,
    })
    this.#heartbeat = liveness.loop('the heartbeat', Math.max(60_000, config.heartbeatMs * 4))
    const kept = new KeptState(kube, namespace)
    const artifacts = new PulledArtifacts({
      connection: this.#connection,
      kept,
      onDamage: (problem) => this.#damaged(problem),
      logger,
    })
    this.#reporter = new Reporter({
      connection: this.#connection,
      reports: () => this.#reconciler.reports(),
      facts: () => this.#facts.current,
      generation: () => this.#puller.generation,
      refusals: () => this.#puller.refusals,
      logger,
      heartbeatMs: config.heartbeatMs,
      onTurn: () => this.#heartbeat.turned(),
    })
    this.#policy = new PolicyWatch({ kube, namespace, logger, onChange: (state) => this.#policyChanged(state) })
    const isLimited = namespaces !== undefined
    const onChange = (): void => this.#reporter.reportFully()
    this.#facts = new ClusterFacts({ kube, isLimited, logger, onChange })
    this.#reconciler = createReconciler({
      kube,
      policy: () => this.#policy.state,
      policyReady: this.#policy.ready,
      createWatcher,
      ownNamespace: namespace,
      namespaces,
      ageSecret: config.ageSecret,
      artifacts,
      reports: this.#reporter,
      recorder: combineRecorders([metrics.recorder, ...this.#eventRecorders(metrics)]),
      podLogs: config.podLogs,
      onWatchReopened: () => metrics.watchRestarted(),
      onInForce: () => this.#puller.keepAgain(),
      onKinds: () => this.#facts.kindsChanged(),
      logger,
    })
    this.#puller = new Puller({
      connection: this.#connection,
      kept,
      artifacts,
      onSlice: (slice) => {
        this.#reporter.obeying(slice)
        this.#reconciler.update(slice)
      },
      onCommand: (command) => this.#obey(command),
      onRefused: (refusal) => this.#refused(refusal),
      onKeeping: (problem) => this.#reporter.setProblem('kept', problem && toProblem(problem)),
      inForce: async (signal) => await this.#reconciler.inForce(signal),
      logger,
    })
    this.#enrolment = new Enrolment({
      config,
      kube,
      facts: () => this.#facts.read(this.#signal),
      onIdentity: (identity) => this.#takeIdentity(identity),
      onProblem: (problem) => this.#setProblem(problem),
      logger,
    })
  }

  #eventRecorders(metrics: AgentMetrics): EventRecorder[] {
    if (!this.#config.events) return []
    const onResult: EventRecorderOptions['onResult'] = (result) => metrics.event(result)
    const { podName: instance, namespaces } = this.#config
    const shared = { kube: this.#kube, logger: this.#logger, signal: this.#signal }
    return [new EventRecorder({ ...shared, instance, namespaces, onResult })]
  }

  /** Starts every part; each is stopped by the lifecycle. */
  start(lifecycle: Lifecycle, onBug: (error: unknown) => void): void {
    const { signal } = lifecycle
    this.#onBug = onBug
    const run = (name: string, work: Promise<void>): void => {
      const guarded = work.then(
        () => {
          if (!signal.aborted) onBug(new AppError('Internal', `${name} ended by itself`))
        },
        (error: unknown) => {
          if (!signal.aborted) onBug(error)
        },
      )
      lifecycle.add(name, () => guarded)
    }
    const writes = this.#liveness.check('writes', () => describeStuckWrite(this.inspect().oldestWriteMs))
    const passes = this.#liveness.check('passes', () => describeStuckPass(this.inspect().idlestPass))
    lifecycle.add('liveness', () => {
      this.#heartbeat.ended()
      writes.ended()
      passes.ended()
    })
    lifecycle.add('reconciler', () => this.#reconciler.stop())
    run('connection', this.#connection.run(signal))
    lifecycle.add('reporter', () => this.#reporter.stop())
    run('heartbeat', this.#reporter.run(signal))
    lifecycle.add('puller', () => this.#puller.stop())
    run('resync', this.#puller.run(signal))
    run('policy', this.#policy.run(signal))
    run('facts', this.#facts.run(signal))
    run('enrolment', this.#enrolment.run(signal))
    lifecycle.add('identity', () => this.#identityChanges)
  }

  /** It has an identity that the hub has not refused. */
  get isJoined(): boolean {
    const isRefused = this.#problem?.kind === 'user' || this.#enrolment.isRevoked
    return this.#identity !== undefined && !isRefused
  }

  /** Name of the cluster at the hub; empty before it has joined. */
  get clusterName(): string {
    return this.#identity?.clusterName ?? ''
  }

  /** What it knows of its cluster. */
  get facts(): AgentFacts {
    return this.#facts.current
  }

  /** What is known of the cluster's own policy. */
  get policy(): PolicyState {
    return this.#policy.state
  }

  /** What keeps it from its hub, its hub's documents from it, or what it keeps from being used. */
  get problems(): readonly AppError[] {
    return [this.#problem, this.#refusal, this.#damage].filter((problem) => problem !== undefined)
  }

  /** There is a connection to NATS. */
  get isConnected(): boolean {
    return this.#connection.isConnected
  }

  /** The slice that is obeyed. */
  get slice(): Slice | undefined {
    return this.#puller.slice
  }

  /** What the reconciler knows and does at this moment. */
  inspect(): Inspection {
    return this.#reconciler.inspect()
  }

  /** Ready: it has joined, and knows what it owns. Hub and NATS may be away. */
  readiness(): Readiness {
    const { isReady: isInformed } = this.inspect()
    return {
      isReady: this.isJoined && isInformed,
      detail: {
        inventoriesRead: isInformed,
        cluster: this.#identity?.clusterName,
        connected: this.#connection.isConnected,
        sliceGeneration: String(this.#puller.generation),
        problem: this.#problem && { code: this.#problem.code, message: this.#problem.message },
      },
    }
  }

  #takeIdentity(given: JoinedIdentity): void {
    const { natsUrl } = this.#config
    const credentials = natsUrl === undefined ? given.credentials : { ...given.credentials, natsUrls: [natsUrl] }
    const identity = { ...given, credentials }
    this.#identity = identity
    this.#identityChanges = this.#identityChanges
      .then(() => this.#untilTaken(identity))
      .catch((error: unknown) => this.#onBug(error))
  }

  /** The kept slice is obeyed before the connection is made: the reconciler starts with hub and NATS away too. */
  async #untilTaken(identity: JoinedIdentity): Promise<void> {
    for (let attempt = 0; !this.#signal.aborted; attempt++) {
      try {
        await this.#puller.setIdentity(identity, this.#signal)
        this.#connection.setIdentity(identity)
        return
      } catch (error) {
        if (this.#signal.aborted) return
        if (!(error instanceof AppError) || error.kind === 'bug') throw error
        if (attempt === 0) this.#logger.warn({ error }, 'the kept slice cannot be read yet')
        await sleep(backoffMs(attempt), this.#signal).catch(() => undefined)
      }
    }
  }

  #connected(): void {
    if (!this.#identity) return
    this.#puller.connected()
    this.#reporter.connected(this.#identity.clusterId)
  }

  #policyChanged(state: PolicyState): void {
    const message =
      state.kind === 'invalid' ? `nothing is written, because the policy is not valid: ${state.message}` : ''
    const isPaused = state.kind === 'known' && state.policy.paused
    const why = isPaused ? 'nothing is written: the policy of this cluster pauses the agent' : message
    this.#reporter.setProblem('policy', why === '' ? undefined : toProblem(new AppError('PolicyForbids', why)))
    this.#reconciler.policyChanged()
  }

  #obey(command: Command): void {
    const { verb } = command
    if (verb.case === 'preview') this.#answer(command.id, verb.value.application)
    else if (verb.case === 'report') this.#reporter.reportFully()
    else if (verb.case === 'reconcile') this.#reconciler.reconcile(verb.value.application || undefined)
  }

  /** Says what an application would change. The hub asks one thing at a time: a newer question says that nobody waits for the older answer. */
  #answer(commandId: string, application: string): void {
    const clusterId = this.#identity?.clusterId
    if (clusterId === undefined) return
    this.#question.abort()
    this.#question = new AbortController()
    const signal = AbortSignal.any([this.#signal, this.#question.signal, AbortSignal.timeout(ANSWER_TIMEOUT_MS)])
    const send = (part: Uint8Array): void => {
      if (this.#connection.isConnected) this.#connection.publish(answerSubject(clusterId), part)
    }
    const limitBytes = AGENT_MAX_PAYLOAD_BYTES - 1_024
    sendAnswer({ commandId, limitBytes, send }, async (take) =>
      this.#reconciler
        .preview(application, signal, take)
        .catch((error: unknown) => ({ problems: [toProblem(toAppError(error))] })),
    ).catch((error: unknown) => this.#onBug(error))
  }

  #refused(refusal: RefusedError | undefined): void {
    this.#refusal = refusal && new AppError('SliceRefused', `refused what NATS holds: ${refusal.message}`)
    this.#reporter.setProblem('slice', this.#refusal && toProblem(this.#refusal))
    this.#reporter.touch()
    if (refusal?.reason !== 'signature' || Date.now() - this.#unknownKeyAtMs < UNKNOWN_KEY_REFRESH_MS) return
    // Perhaps the hub signs with a new key, which comes with new credentials.
    this.#unknownKeyAtMs = Date.now()
    this.#enrolment.refresh()
  }

  #damaged(problem: AppError | undefined): void {
    this.#damage = problem
    this.#reporter.setProblem('damaged', problem && toProblem(problem))
  }

  #setProblem(problem: AppError | undefined): void {
    this.#problem = problem
    this.#reporter.setProblem('enrolment', problem && toProblem(problem))
    // Shown by kubectl describe when the pod ends; without the file there is nothing to do about it.
    void writeFile(this.#config.terminationLog, problem?.message ?? '').catch(() => undefined)
  }
}

function describeStuckWrite(oldestMs: number): string | undefined {
  return oldestMs > STUCK_WRITE_MS ? `a write has been under way for ${Math.round(oldestMs / 1000)} s` : undefined
}

function describeStuckPass(pass: Inspection['idlestPass']): string | undefined {
  if (!pass || pass.idleMs <= STUCK_PASS_MS) return undefined
  return `application ${pass.application} has not got on for ${Math.round(pass.idleMs / 1000)} s`
}

function toProblem({ code, message }: AppError): Problem {
  return create(ProblemSchema, { code, message, since: timestampNow() })
}

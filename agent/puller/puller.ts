// Pulls what the hub wants of this cluster: a doorbell only says that something may be new, the truth is read by direct
// get, verified, obeyed and kept.

import { timestampMs } from '@bufbuild/protobuf/wkt'
import type { Refusals } from '@fairlead/proto/report'
import type { ArtifactReference, Command, Slice } from '@fairlead/proto/slice'
import { backoffMs, jittered, sleep } from '@fairlead/shared/backoff'
import { sha256Hex } from '@fairlead/shared/digest'
import { AppError } from '@fairlead/shared/errors'
import type { Logger } from '@fairlead/shared/logger'
import type { TrustedKeys } from '@fairlead/shared/signing'
import { decodeCommand, decodeSlice, RefusedError } from '@fairlead/shared/slice'
import { type DesiredDocument, desiredGetSubject, doorbellSubject } from '@fairlead/shared/subjects'
import type { PulledArtifacts } from './artifact-loader.ts'
import type { Connection } from './connection.ts'
import { Doorbell, type DoorbellOptions } from './doorbell.ts'
import { Keeper } from './keeper.ts'
import type { KeptState } from './kept-state.ts'
import { RefusalCounter } from './refusals.ts'

/** Which cluster this is, and whom it obeys. */
export interface PullerIdentity {
  readonly clusterId: string
  readonly trusted: TrustedKeys
}

/** What a puller is made of, and whom it tells. */
export interface PullerOptions {
  readonly connection: Pick<Connection, 'request' | 'subscribe' | 'flush' | 'isConnected'>
  readonly kept: KeptState
  readonly artifacts: PulledArtifacts
  /** A verified slice, newer than all before. */
  readonly onSlice: (slice: Slice) => void
  /** A verified command before its deadline; each id once. */
  readonly onCommand: (command: Command) => void
  /** A document was refused, or (undefined) good ones came after all that were not. */
  readonly onRefused: (refusal: RefusedError | undefined, counts: Refusals) => void
  /** Why what must be is not kept in the cluster for now; undefined when it is. Default: nobody is told. */
  readonly onKeeping?: (problem: AppError | undefined) => void
  /** Artifacts that are to be kept besides those of the slice; waits until that is known. Default: none. */
  readonly inForce?: (signal: AbortSignal) => Promise<readonly ArtifactReference[]>
  readonly logger: Logger
  readonly doorbell?: DoorbellOptions
}

/** Short at first: after a restart of NATS the first requests may go nowhere. */
const GET_TIMEOUT_MS = { first: 500, longest: 8_000 }
/** A resync costs the slice's size; so much a minute may be spent on it. */
const RESYNC_BYTES_PER_MINUTE = 300
const RESYNC_MIN_MS = 5 * 60_000
const RESYNC_MAX_MS = 60 * 60_000
/** Generations are times in milliseconds; none is further ahead than this. */
const MAX_CLOCK_ERROR_MS = 7 * 86_400_000
/** Command ids that are remembered. */
const COMMANDS_REMEMBERED = 100

/** The puller. */
export class Puller {
  readonly #options: PullerOptions
  readonly #stopping = new AbortController()
  readonly #bells: Record<DesiredDocument, Doorbell>
  readonly #refusals = new RefusalCounter()
  readonly #doneCommands = new Set<string>()
  readonly #keeper: Keeper
  #identity: PullerIdentity | undefined
  #obeyed: { readonly slice: Slice; readonly document: Uint8Array } | undefined
  #lastGeneration = 0n
  /** Documents of which the last that was read was refused. */
  readonly #refused = new Set<DesiredDocument>()

  constructor(options: PullerOptions) {
    this.#options = options
    const { signal } = this.#stopping
    const { logger, onKeeping = () => undefined, inForce = async () => await Promise.resolve([]) } = options
    this.#keeper = new Keeper(options.kept, options.artifacts, { logger, onProblem: onKeeping, inForce })
    this.#bells = {
      main: new Doorbell(() => this.#pull('main'), signal, options.doorbell),
      cmd: new Doorbell(() => this.#pull('cmd'), signal, options.doorbell),
    }
  }

  /** Generation of the last slice that was obeyed; 0 when there is none. */
  get generation(): bigint {
    return this.#obeyed?.slice.generation ?? 0n
  }

  /** The last slice that was obeyed. */
  get slice(): Slice | undefined {
    return this.#obeyed?.slice
  }

  /** Documents refused since the process started. */
  get refusals(): Refusals {
    return this.#refusals.snapshot()
  }

  /**
   * Takes the identity. For a cluster not seen before, first obeys the slice that is kept for it, for which it waits
   * until the API server answers.
   */
  async setIdentity(identity: PullerIdentity, signal: AbortSignal): Promise<void> {
    const isOther = identity.clusterId !== this.#identity?.clusterId
    if (isOther) {
      this.#obeyed = undefined
      this.#lastGeneration = 0n
      await this.#restore(identity, signal)
    }
    this.#identity = identity
    if (this.#options.connection.isConnected) this.#ringAll()
  }

  /** To be called when fewer artifacts are in force: in a moment, those that are not needed any more go. */
  keepAgain(): void {
    if (this.#obeyed) this.#keeper.keepAgain(this.#obeyed.slice, this.#obeyed.document)
  }

  /** To be called after each connect: listens for doorbells, and looks at everything once. */
  connected(): void {
    const { connection, artifacts } = this.#options
    const identity = this.#identity
    if (!identity) return
    connection.subscribe(doorbellSubject(identity.clusterId), (subject) => {
      this.#bells[subject.endsWith('.cmd') ? 'cmd' : 'main'].ring()
    })
    artifacts.connected()
    // Only when the server has the subscription: a document stored from here on rings, one stored before is read.
    void connection.flush().then(
      () => this.#ringAll(),
      () => undefined,
    )
  }

  /** Looks again from time to time until the signal aborts: doorbells are not guaranteed. */
  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      await sleep(jittered(resyncIntervalMs(this.#obeyed?.document.length ?? 0), 0.2), signal).catch(() => undefined)
      if (!signal.aborted && this.#options.connection.isConnected) this.#bells.main.ring()
    }
  }

  /** Stops pulling and keeping. */
  async stop(): Promise<void> {
    this.#stopping.abort()
    await Promise.all([this.#bells.main.idle(), this.#bells.cmd.idle(), this.#keeper.stop()])
  }

  #ringAll(): void {
    this.#bells.main.ring()
    this.#bells.cmd.ring()
  }

  async #restore(identity: PullerIdentity, signal: AbortSignal): Promise<void> {
    const { kept, logger, onSlice } = this.#options
    const found = await kept.readSlice(signal)
    if (!found || found.clusterId !== identity.clusterId) return
    if (found.document) {
      try {
        const expected = { clusterId: identity.clusterId, trusted: identity.trusted, lastGeneration: 0n }
        const slice = decodeSlice(found.document, expected)
        this.#obeyed = { slice, document: found.document }
        this.#lastGeneration = slice.generation
        logger.info({ generation: String(slice.generation), entries: slice.entries.length }, 'obeying the kept slice')
        onSlice(slice)
        // The process may have ended before all of it was kept. No write when it was.
        this.#keeper.keep(slice, found.document)
        return
      } catch (error) {
        if (!(error instanceof RefusedError)) throw error
        this.#refuse(error, 'main', 'kept')
      }
    }
    // The same slice must be taken again from the hub, but nothing older. A generation that no clock explains is damaged
    // as well: no slice of the hub would be newer.
    const isPlausible = found.generation > 0n && found.generation <= BigInt(Date.now() + MAX_CLOCK_ERROR_MS)
    this.#lastGeneration = isPlausible ? found.generation - 1n : 0n
    const damaged = new AppError(
      'ArtifactCorrupt',
      'the kept slice is damaged; everything stays as it is until the hub is heard',
    )
    this.#options.onKeeping?.(damaged)
    logger.warn({ generation: String(found.generation) }, 'the kept slice is damaged, waiting for the hub')
  }

  /** Reads one document and deals with it; tries until it is read or the connection is lost. */
  async #pull(document: DesiredDocument): Promise<void> {
    const { signal } = this.#stopping
    for (let attempt = 0; this.#identity && this.#options.connection.isConnected && !signal.aborted; attempt++) {
      try {
        const { clusterId } = this.#identity
        const answer = await this.#options.connection.request(
          desiredGetSubject(clusterId, document),
          EMPTY,
          Math.min(GET_TIMEOUT_MS.longest, GET_TIMEOUT_MS.first * 2 ** attempt),
        )
        const code = answer.headers?.code ?? 0
        if (code === 404) return
        if (code !== 0) throw new AppError('NatsUnavailable', `direct get: ${code} ${answer.headers?.description}`)
        // The client's buffer may hold more than this message.
        const bytes = new Uint8Array(answer.data)
        // Not by the sequence alone: who stores a document may give it a header of that name.
        const message = `${answer.headers?.get('Nats-Sequence')} ${sha256Hex(bytes)}`
        if (document === 'main') await this.#takeSlice(bytes, message)
        else this.#takeCommand(bytes, message)
        return
      } catch (error) {
        if (!(error instanceof AppError) || error.kind !== 'transient') throw error
        await sleep(backoffMs(attempt, { baseMs: 250, maxMs: 10_000 }), signal).catch(() => undefined)
      }
    }
  }

  async #takeSlice(bytes: Uint8Array, message: string): Promise<void> {
    const identity = this.#identity
    if (!identity) return
    if (this.#obeyed && Buffer.compare(bytes, this.#obeyed.document) === 0) {
      this.#settleRefusal('main')
      return
    }
    try {
      const { clusterId, trusted } = identity
      const slice = decodeSlice(bytes, { clusterId, trusted, lastGeneration: this.#lastGeneration })
      await this.#keeper.keepFirst(slice, bytes)
      // Another identity came meanwhile: a new one pulls for itself.
      if (this.#stopping.signal.aborted || this.#identity?.clusterId !== clusterId) return
      this.#obeyed = { slice, document: bytes }
      this.#lastGeneration = slice.generation
      this.#options.logger.info(
        { generation: String(slice.generation), entries: slice.entries.length },
        'obeying a new slice',
      )
      this.#settleRefusal('main')
      this.#options.onSlice(slice)
      this.#keeper.keep(slice, bytes)
    } catch (error) {
      if (!(error instanceof RefusedError)) throw error
      this.#refuse(error, 'main', message)
    }
  }

  #takeCommand(bytes: Uint8Array, message: string): void {
    const identity = this.#identity
    if (!identity) return
    try {
      const command = decodeCommand(bytes, identity)
      this.#settleRefusal('cmd')
      const isLate = command.deadline === undefined || timestampMs(command.deadline) < Date.now()
      if (isLate || this.#doneCommands.has(command.id)) return
      this.#doneCommands.add(command.id)
      const [oldest] = this.#doneCommands
      if (this.#doneCommands.size > COMMANDS_REMEMBERED && oldest !== undefined) this.#doneCommands.delete(oldest)
      this.#options.logger.info({ command: command.id, verb: command.verb.case }, 'doing a command')
      this.#options.onCommand(command)
    } catch (error) {
      if (!(error instanceof RefusedError)) throw error
      this.#refuse(error, 'cmd', message)
    }
  }

  #refuse(error: RefusedError, document: DesiredDocument, message: string): void {
    if (!this.#refusals.add(document, error.reason, message)) return
    this.#options.logger.warn({ document, reason: error.reason, error }, 'refused a document')
    this.#refused.add(document)
    this.#options.onRefused(error, this.refusals)
  }

  #settleRefusal(document: DesiredDocument): void {
    if (!this.#refused.delete(document) || this.#refused.size > 0) return
    this.#options.onRefused(undefined, this.refusals)
  }
}

/** Time between two looks at an unchanged slice, so that their traffic stays below 300 bytes a minute: 5 to 60 minutes. */
export function resyncIntervalMs(sliceBytes: number): number {
  const affordableMs = (sliceBytes / RESYNC_BYTES_PER_MINUTE) * 60_000
  return Math.min(RESYNC_MAX_MS, Math.max(RESYNC_MIN_MS, affordableMs))
}

const EMPTY = new Uint8Array(0)

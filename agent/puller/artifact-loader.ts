// Gets the content of artifacts: kept chunks first, then NATS; what was fetched is held until it is kept.
import type { Artifact, ArtifactReference } from '@fairlead/proto/slice'
import { openArtifact } from '@fairlead/shared/artifact'
import { backoffMs, sleep } from '@fairlead/shared/backoff'
import { sha256Hex } from '@fairlead/shared/digest'
import { AppError } from '@fairlead/shared/errors'
import type { Logger } from '@fairlead/shared/logger'
import { blobGetSubject } from '@fairlead/shared/subjects'
import type { ArtifactLoader } from '../desired-state.ts'
import type { Connection } from './connection.ts'
import { ChunkBatch } from './kept-chunks.ts'
import type { KeptState } from './kept-state.ts'

/** What the loader needs. */
export interface LoaderOptions {
  readonly connection: Pick<Connection, 'request' | 'isConnected'>
  readonly kept: KeptState
  readonly logger: Logger
  /** Kept artifacts turned out to be damaged, or none is any more. */
  readonly onDamage?: (problem: AppError | undefined) => void
  /** Waits between tries in milliseconds, for tests. */
  readonly retry?: { readonly baseMs: number; readonly maxMs: number }
}

const FETCH_TIMEOUT_MS = 10_000
/** Tries of one chunk while NATS is connected before the caller is told. */
const TRIES = 3
/** Chunks fetched at once over all artifacts: bounds memory. */
const IN_FLIGHT = 8
/** Encrypted bytes of fetched chunks that are held for keeping; more is fetched again when it is kept. */
const HELD_BYTES = 8 * 1024 * 1024

/** The ArtifactLoader of the link. */
export class PulledArtifacts implements ArtifactLoader {
  readonly #options: LoaderOptions
  readonly #fetching = new Map<string, Promise<Uint8Array>>()
  readonly #held = new Map<string, Uint8Array>()
  readonly #waiting: (() => void)[] = []
  readonly #connectedWaiters = new Set<() => void>()
  /** Damaged chunks of what is kept, by the digest of the artifact, until it was had again. */
  readonly #damaged = new Map<string, string>()
  #heldBytes = 0
  #inFlight = 0

  constructor(options: LoaderOptions) {
    this.#options = options
  }

  /**
   * See ArtifactLoader. Without a connection it waits until there is one; with one it tries three times and then throws
   * ArtifactUnavailable.
   */
  async load(reference: ArtifactReference, signal: AbortSignal): Promise<Artifact> {
    const damaged: string[] = []
    const kept = await this.#openKept(reference, damaged, signal)
    if (kept) {
      this.#mended(reference.digest)
      return kept
    }
    const chunks = await Promise.all(reference.chunks.map((digest) => this.#getChunk(digest, signal)))
    const artifact = openArtifact(reference, chunks)
    this.#mended(reference.digest)
    for (const digest of damaged) await this.#keepAgain(digest, chunks[reference.chunks.indexOf(digest)], signal)
    return artifact
  }

  /** See ArtifactLoader. */
  async findKept(reference: ArtifactReference, signal: AbortSignal): Promise<Artifact | undefined> {
    return await this.#openKept(reference, [], signal)
  }

  /** Keeps those of these chunks that were fetched and are not kept yet; nothing is fetched for it. Rejects when the API server does not do it. */
  async keepHeld(digests: ReadonlySet<string>, signal: AbortSignal): Promise<void> {
    await this.keep(new Set([...digests].filter((digest) => this.#held.has(digest))), signal)
  }

  /** Keeps all these chunks, each that can be had. Rejects as load does when one cannot, and when the API server does not do it. */
  async keep(digests: ReadonlySet<string>, signal: AbortSignal): Promise<void> {
    const { chunks } = this.#options.kept
    const missing = new Set(await chunks.findSparse(digests, signal))
    for (const digest of digests) if (!(await chunks.has(digest, signal))) missing.add(digest)
    let batch = new ChunkBatch()
    const write = async (): Promise<void> => {
      if (batch.chunks.size > 0) await chunks.write(batch, signal)
      batch = new ChunkBatch()
    }
    const failures: unknown[] = []
    const queue = [...missing]
    while (queue.length > 0) {
      const next = queue.splice(0, IN_FLIGHT)
      const found = await Promise.allSettled(next.map(async (digest) => await this.#getToKeep(digest, signal)))
      for (const [index, outcome] of found.entries()) {
        if (outcome.status === 'rejected') failures.push(outcome.reason)
        else if (!batch.add(next[index] ?? '', outcome.value)) {
          await write()
          batch.add(next[index] ?? '', outcome.value)
        }
      }
    }
    await write()
    for (const digest of digests) if (await chunks.has(digest, signal)) this.#release(digest)
    if (failures.length > 0) throw failures[0]
  }

  /** A chunk that is kept in a pack that is to go, or from elsewhere. */
  async #getToKeep(digest: string, signal: AbortSignal): Promise<Uint8Array> {
    return (await this.#options.kept.chunks.read(digest, signal)) ?? (await this.#getChunk(digest, signal))
  }

  /** Lets waiting fetches go on: NATS is connected. */
  connected(): void {
    for (const go of this.#connectedWaiters) go()
    this.#connectedWaiters.clear()
  }

  /** Replaces a damaged kept chunk; that it cannot be is no reason not to go on with the good one. */
  async #keepAgain(digest: string, bytes: Uint8Array | undefined, signal: AbortSignal): Promise<void> {
    try {
      const batch = new ChunkBatch()
      if (bytes && batch.add(digest, bytes)) await this.#options.kept.chunks.write(batch, signal)
    } catch (error) {
      if (!(error instanceof AppError) || error.kind === 'bug') throw error
      this.#options.logger.warn({ error }, 'a damaged kept artifact cannot be replaced')
    }
  }

  /** The artifact out of kept and held chunks; undefined, with the damaged ones noted, when one is missing. */
  async #openKept(reference: ArtifactReference, damaged: string[], signal: AbortSignal): Promise<Artifact | undefined> {
    const { kept, logger } = this.#options
    const chunks: Uint8Array[] = []
    for (const digest of reference.chunks) {
      const wasKept = this.#held.has(digest) ? false : await kept.chunks.has(digest, signal)
      const chunk = wasKept ? await kept.chunks.read(digest, signal) : this.#held.get(digest)
      if (wasKept && !chunk) {
        damaged.push(digest)
        this.#damaged.set(reference.digest, digest)
        this.#tellDamage()
        logger.warn({ artifact: reference.digest }, 'a kept artifact is damaged, fetching it again')
      }
      if (!chunk) return undefined
      chunks.push(chunk)
    }
    return openArtifact(reference, chunks)
  }

  #mended(artifact: string): void {
    if (this.#damaged.delete(artifact)) this.#tellDamage()
  }

  #tellDamage(): void {
    const [first] = this.#damaged.keys()
    const count = this.#damaged.size
    const what =
      count === 1 ? `artifact ${first?.slice(0, 12)} is` : `${count} artifacts, ${first?.slice(0, 12)} among them, are`
    const message = `what is kept of ${what} damaged: fetched again from NATS, and until then nothing of it is repaired`
    this.#options.onDamage?.(count === 0 ? undefined : new AppError('ArtifactCorrupt', message))
  }

  /** A chunk from what is held or from NATS; asked by several at once it is fetched once. */
  async #getChunk(digest: string, signal: AbortSignal): Promise<Uint8Array> {
    const held = this.#held.get(digest)
    if (held) return held
    for (;;) {
      signal.throwIfAborted()
      const fetching = this.#fetching.get(digest) ?? this.#startFetch(digest, signal)
      try {
        return await fetching
      } catch (error) {
        // Whoever started the fetch has given up; we have not.
        if (!(error instanceof AppError && error.code === 'Aborted') || signal.aborted) throw error
      }
    }
  }

  #startFetch(digest: string, signal: AbortSignal): Promise<Uint8Array> {
    const fetching = this.#fetch(digest, signal).finally(() => this.#fetching.delete(digest))
    this.#fetching.set(digest, fetching)
    return fetching
  }

  async #fetch(digest: string, signal: AbortSignal): Promise<Uint8Array> {
    for (let attempt = 0; ; attempt++) {
      await this.#untilConnected(signal)
      try {
        const bytes = await this.#fetchOnce(digest)
        this.#hold(digest, bytes)
        return bytes
      } catch (error) {
        if (signal.aborted) throw new AppError('Aborted', 'loading was given up', { cause: error })
        // A connection that was lost is no answer: wait for the next one.
        if (!this.#options.connection.isConnected) attempt = -1
        else if (attempt + 1 >= TRIES) throw error
      }
      await sleep(backoffMs(Math.max(0, attempt), this.#options.retry ?? { baseMs: 200, maxMs: 2_000 }), signal).catch(
        () => undefined,
      )
    }
  }

  async #fetchOnce(digest: string): Promise<Uint8Array> {
    await this.#enter()
    try {
      const { headers, data } = await this.#options.connection.request(blobGetSubject(digest), EMPTY, FETCH_TIMEOUT_MS)
      if (headers && headers.code !== 0) {
        const why = headers.code === 404 ? 'it is not stored' : `${headers.code} ${headers.description}`
        throw new AppError('ArtifactUnavailable', `chunk ${digest.slice(0, 12)} cannot be fetched: ${why}`)
      }
      if (sha256Hex(data) !== digest) {
        throw new AppError('ArtifactCorrupt', `chunk ${digest.slice(0, 12)} has another digest`)
      }
      // The client's buffer may hold more than this message.
      return new Uint8Array(data)
    } catch (error) {
      if (error instanceof AppError && error.code !== 'NatsUnavailable') throw error
      const message = error instanceof Error ? error.message : String(error)
      throw new AppError('ArtifactUnavailable', `chunk ${digest.slice(0, 12)} cannot be fetched: ${message}`, {
        cause: error,
      })
    } finally {
      this.#leave()
    }
  }

  async #untilConnected(signal: AbortSignal): Promise<void> {
    while (!this.#options.connection.isConnected) {
      // Of a signal that has aborted already no event comes any more.
      if (signal.aborted) throw new AppError('Aborted', 'loading was given up')
      const { promise, resolve } = Promise.withResolvers<void>()
      this.#connectedWaiters.add(resolve)
      signal.addEventListener('abort', () => resolve(), { once: true })
      await promise
      this.#connectedWaiters.delete(resolve)
      if (signal.aborted) throw new AppError('Aborted', 'loading was given up')
    }
  }

  async #enter(): Promise<void> {
    if (this.#inFlight >= IN_FLIGHT) {
      const { promise, resolve } = Promise.withResolvers<void>()
      this.#waiting.push(resolve)
      await promise
    }
    this.#inFlight++
  }

  #leave(): void {
    this.#inFlight--
    this.#waiting.shift()?.()
  }

  #hold(digest: string, bytes: Uint8Array): void {
    if (this.#heldBytes + bytes.length > HELD_BYTES) return
    this.#held.set(digest, bytes)
    this.#heldBytes += bytes.length
  }

  #release(digest: string): void {
    this.#heldBytes -= this.#held.get(digest)?.length ?? 0
    this.#held.delete(digest)
  }

  /** Forgets what is held but not named by these digests. */
  releaseOthers(wanted: ReadonlySet<string>): void {
    for (const digest of [...this.#held.keys()]) if (!wanted.has(digest)) this.#release(digest)
    // Nobody will ask for these again.
    for (const [artifact, digest] of this.#damaged) if (!wanted.has(digest)) this.#mended(artifact)
  }
}

const EMPTY = new Uint8Array(0)

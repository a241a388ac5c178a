// Keeps each slice in the cluster: the slice before it is obeyed, so that a restart never goes back to an older one, then
// drops what is no longer needed, which makes room, then the artifacts it names. What is in force while a newer revision is
// held back is needed too. A newer slice pre-empts the keeping of an older one.
import type { ArtifactReference, Slice } from '@fairlead/proto/slice'
import { backoffMs, sleep } from '@fairlead/shared/backoff'
import { AppError, isAborted } from '@fairlead/shared/errors'
import type { Logger } from '@fairlead/shared/logger'
import type { PulledArtifacts } from './artifact-loader.ts'
import type { KeptState } from './kept-state.ts'

/** How long a slice that cannot be kept holds up its being obeyed. */
const FIRST_TIMEOUT_MS = 5_000

/** Revisions of many applications pass at the same time: what they leave behind goes together, after so many milliseconds. */
const SETTLE_MS = 1_000

/** What a keeper asks and tells. */
export interface KeeperOptions {
  readonly logger: Logger
  /** Told why a slice cannot be kept for now, and (undefined) when it is. */
  readonly onProblem: (problem: AppError | undefined) => void
  /** Artifacts that are needed besides those of the slice; waits until that is known. */
  readonly inForce: (signal: AbortSignal) => Promise<readonly ArtifactReference[]>
}

/** Runs one keeping at a time. */
export class Keeper {
  readonly #kept: KeptState
  readonly #artifacts: PulledArtifacts
  readonly #options: KeeperOptions
  #current = new AbortController()
  #running: Promise<void> = Promise.resolve()
  #isAskedAgain = false

  constructor(kept: KeptState, artifacts: PulledArtifacts, options: KeeperOptions) {
    this.#kept = kept
    this.#artifacts = artifacts
    this.#options = options
  }

  /**
   * Keeps the slice itself, before it is obeyed, and gives up keeping an older one. Where that fails (no permission, a
   * quota, an API server that is away) it is logged, and `keep` goes on trying. Waits at most 5 s.
   */
  async keepFirst(slice: Slice, document: Uint8Array): Promise<void> {
    this.#current.abort()
    const { clusterId, generation } = slice
    try {
      await this.#kept.writeSlice({ clusterId, generation, document }, AbortSignal.timeout(FIRST_TIMEOUT_MS))
    } catch (error) {
      if (!(error instanceof AppError) || error.kind === 'bug') throw error
      this.#options.logger.warn({ error }, 'the slice is obeyed before it is kept')
    }
  }

  /** Begins to keep a slice, giving up the one before. Tries until it is done or pre-empted. Returns at once. */
  keep(slice: Slice, document: Uint8Array): void {
    this.#current.abort()
    this.#current = new AbortController()
    const { signal } = this.#current
    this.#running = this.#running.then(() => this.#run(slice, document, signal))
  }

  /** Keeps the slice that is kept once more, in a moment: less is needed by then. Returns at once. */
  keepAgain(slice: Slice, document: Uint8Array): void {
    if (this.#isAskedAgain) return
    this.#isAskedAgain = true
    const { signal } = this.#current
    this.#running = this.#running.then(async () => {
      await sleep(SETTLE_MS, signal).catch(() => undefined)
      this.#isAskedAgain = false
      await this.#run(slice, document, signal)
    })
  }

  /** Gives up what is under way. */
  async stop(): Promise<void> {
    this.#current.abort()
    await this.#running
  }

  async #run(slice: Slice, document: Uint8Array, signal: AbortSignal): Promise<void> {
    let told = ''
    for (let attempt = 0; !signal.aborted; attempt++) {
      try {
        await this.#keepOnce(slice, document, signal)
        this.#options.logger.debug({ generation: String(slice.generation) }, 'slice kept')
        this.#options.onProblem(undefined)
        return
      } catch (error) {
        if (signal.aborted || isAborted(error)) return
        if (!(error instanceof AppError) || error.kind === 'bug') throw error
        if (told !== error.message) {
          this.#options.logger.warn({ error }, 'the slice cannot be kept yet')
          const message = `without hub and NATS a restarted agent would not know all: ${error.message}`
          this.#options.onProblem(new AppError(error.code, message, { cause: error }))
        }
        told = error.message
        await sleep(backoffMs(attempt, { baseMs: 1_000, maxMs: 60_000 }), signal).catch(() => undefined)
      }
    }
  }

  async #keepOnce(slice: Slice, document: Uint8Array, signal: AbortSignal): Promise<void> {
    const { clusterId, generation } = slice
    await this.#kept.writeSlice({ clusterId, generation, document }, signal)
    const digests = chunksOf(listArtifacts(slice))
    const inForce = chunksOf(await this.#options.inForce(signal))
    const needed = new Set([...digests, ...inForce])
    this.#artifacts.releaseOthers(needed)
    // Before the new ones: a quota or a full etcd may wait for the room.
    await this.#kept.chunks.dropOthers(needed, signal)
    await this.#artifacts.keep(digests, signal)
    await this.#artifacts.keepHeld(inForce, signal)
    // What was only there for a few that are now kept elsewhere.
    await this.#kept.chunks.dropOthers(needed, signal)
  }
}

function chunksOf(references: readonly ArtifactReference[]): Set<string> {
  return new Set(references.flatMap(({ chunks }) => chunks))
}

/** The artifacts that a slice names. */
function listArtifacts(slice: Slice): ArtifactReference[] {
  return slice.entries.flatMap(({ intent }) =>
    intent.case === 'desired' && intent.value.artifact ? [intent.value.artifact] : [],
  )
}

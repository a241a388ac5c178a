// Forgets artifacts that nothing refers to any more: first seen unused, then, after a grace in which an agent may still
// be fetching, deleted in the database and in NATS.
import { blobSubject, STREAMS } from '@fairlead/shared/subjects'
import type { JetStreamClient } from '@nats-io/jetstream'
import type { Store } from '../store/store.ts'

/** Remembers since when artifacts and blobs have been unused; the memory starts anew with the process. */
export class Sweeper {
  readonly #store: Store
  readonly #js: JetStreamClient
  readonly #graceMs: number
  readonly #unusedSince = new Map<string, number>()

  constructor(options: { store: Store; js: JetStreamClient; graceMs: number }) {
    this.#store = options.store
    this.#js = options.js
    this.#graceMs = options.graceMs
  }

  /** Deletes what has been unused for longer than the grace. Returns the number of artifacts and blobs deleted. */
  async sweep(nowMs: number): Promise<{ artifacts: number; blobs: number }> {
    // Read before the database, as in rebuild: a chunk that is published meanwhile is then known.
    const manager = await this.#js.jetstreamManager(false)
    const info = await manager.streams.info(STREAMS.blobs, { subjects_filter: '>' })
    const artifacts = this.#due('artifact', await this.#unusedArtifacts(), nowMs)
    for (const digest of artifacts) await this.#deleteArtifact(digest)
    const chunks = await this.#store.db.selectFrom('artifact_chunks').select('digest').execute()
    const known = new Set(chunks.map(({ digest }) => blobSubject(digest)))
    const foreign = Object.keys(info.state.subjects ?? {}).filter((subject) => !known.has(subject))
    const blobs = this.#due('blob', foreign, nowMs)
    for (const subject of blobs) await manager.streams.purge(STREAMS.blobs, { filter: subject })
    return { artifacts: artifacts.length, blobs: blobs.length }
  }

  /** Those of `unused` whose grace is over; forgets what is in use again. */
  #due(kind: 'artifact' | 'blob', unused: readonly string[], nowMs: number): string[] {
    const keys = new Set(unused.map((name) => `${kind} ${name}`))
    for (const key of this.#unusedSince.keys()) {
      if (key.startsWith(`${kind} `) && !keys.has(key)) this.#unusedSince.delete(key)
    }
    return unused.filter((name) => {
      const since = this.#unusedSince.get(`${kind} ${name}`) ?? nowMs
      this.#unusedSince.set(`${kind} ${name}`, since)
      return nowMs - since >= this.#graceMs
    })
  }

  async #unusedArtifacts(): Promise<string[]> {
    const rows = await this.#store.db
      .selectFrom('artifacts')
      .select('digest')
      .where(({ and, not, exists, selectFrom }) =>
        and([
          not(exists(selectFrom('renders').select('application').whereRef('artifact_digest', '=', 'artifacts.digest'))),
          not(
            exists(
              selectFrom('deployments').select('application').whereRef('artifact_digest', '=', 'artifacts.digest'),
            ),
          ),
        ]),
      )
      .execute()
    return rows.map((row) => row.digest)
  }

  /** The references are checked again in the same statement: it may be in use again. */
  async #deleteArtifact(digest: string): Promise<void> {
    await this.#store.db
      .deleteFrom('artifacts')
      .where('digest', '=', digest)
      .where(({ and, not, exists, selectFrom }) =>
        and([
          not(exists(selectFrom('renders').select('application').where('artifact_digest', '=', digest))),
          not(exists(selectFrom('deployments').select('application').where('artifact_digest', '=', digest))),
        ]),
      )
      .execute()
  }
}

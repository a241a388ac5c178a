// Counts the documents that the agent refused, by reason.
import { create } from '@bufbuild/protobuf'
import { type Refusals, RefusalsSchema } from '@fairlead/proto/report'
import type { RefusalReason } from '@fairlead/shared/slice'

/** Counts since the process started. */
export class RefusalCounter {
  readonly #counts: Record<RefusalReason, bigint> = { signature: 0n, cluster: 0n, generation: 0n, malformed: 0n }
  #lastSeen = new Map<string, string>()

  /**
   * Counts a refused document of one kind. The same stored message, by what tells it from others, counts once however
   * often it is read. Returns whether it was counted.
   */
  add(document: string, reason: RefusalReason, message: string): boolean {
    if (this.#lastSeen.get(document) === message) return false
    this.#lastSeen.set(document, message)
    this.#counts[reason]++
    return true
  }

  /** The counts as they are reported. */
  snapshot(): Refusals {
    return create(RefusalsSchema, this.#counts)
  }
}

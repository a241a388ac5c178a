// Remembers deliveries for a while, so that one that is sent again is not acted upon again.
import { createHash } from 'node:crypto'

const KEPT_MS = 600_000
const MAX_KEPT = 10_000

/** Deliveries of the last ten minutes, at most 10,000. */
export class RecentDeliveries {
  readonly #seenAtMs = new Map<string, number>()

  /** True the first time. Without an id of the host every delivery counts as new: equal bodies may stand for different pushes. `nowMs` is monotonic. */
  isNew(repository: string, { id, body }: { readonly id: string; readonly body: Buffer }, nowMs: number): boolean {
    for (const [key, atMs] of this.#seenAtMs) {
      if (nowMs - atMs < KEPT_MS && this.#seenAtMs.size < MAX_KEPT) break
      this.#seenAtMs.delete(key)
    }
    if (id === '') return true
    const key = createHash('sha256')
      .update(JSON.stringify([repository, id]))
      .update(body)
      .digest('base64')
    if (this.#seenAtMs.has(key)) return false
    this.#seenAtMs.set(key, nowMs)
    return true
  }
}

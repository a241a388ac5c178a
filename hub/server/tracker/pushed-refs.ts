// What webhooks said was pushed, until Git serves it: hosts send webhooks before all of their servers know the commit.
import type { ListedTarget, RefListing } from './ref-listing.ts'

/** A ref that somebody says was pushed. */
export interface PushedRef {
  /** Full name, for example refs/heads/main. */
  readonly name: string
  /** The commit or tag that it should point at; undefined when it should be gone. */
  readonly oid: string | undefined
}

/** Pauses before Git is looked at again, in milliseconds: half a minute in all, after which the poll's own interval is good enough. */
export const LOOK_AGAIN_MS: readonly number[] = [250, 500, 1_000, 2_000, 4_000, 8_000, 15_000]
/** Most refs that are waited for at once; the polls see the others. */
const MAX_AWAITED = 100

interface Awaited {
  readonly oid: string | undefined
  /** What the server listed when the push was announced; null when it was never listed. */
  before: ListedTarget | undefined | null
}

/** The refs that are waited for. */
export class PushedRefs {
  readonly #awaited = new Map<string, Awaited>()
  #last: RefListing | undefined
  #looks = 0

  /** Waits for these; what was announced before of the same ref is forgotten. */
  add(pushed: readonly PushedRef[]): void {
    for (const { name, oid } of pushed) {
      if (this.#awaited.size >= MAX_AWAITED && !this.#awaited.has(name)) continue
      this.#awaited.set(name, { oid, before: this.#last ? findTarget(this.#last, name) : null })
      this.#looks = 0
    }
  }

  /** Takes a listing; `isFollowed` says of a full name whether listings hold it. */
  settle(listing: RefListing, isFollowed: (name: string) => boolean): void {
    this.#last = listing
    for (const [name, awaited] of this.#awaited) {
      const target = findTarget(listing, name)
      // A ref that moved to something else was pushed once more.
      const hasMoved = awaited.before !== null && target?.oid !== awaited.before?.oid
      if (hasMoved || isServed(awaited, target) || !isListed(listing, name, isFollowed)) this.#awaited.delete(name)
      else awaited.before = target
    }
  }

  /** How long to wait before looking again, in milliseconds; undefined when nothing is waited for, or not any more. */
  nextLookMs(): number | undefined {
    const waitMs = this.#awaited.size === 0 ? undefined : LOOK_AGAIN_MS[this.#looks++]
    if (waitMs === undefined) this.#awaited.clear()
    return waitMs
  }
}

/** The default branch is listed as HEAD. */
function findTarget({ refs, headTarget }: RefListing, name: string): ListedTarget | undefined {
  return refs.get(name) ?? (name === headTarget ? refs.get('HEAD') : undefined)
}

function isServed({ oid }: Awaited, target: ListedTarget | undefined): boolean {
  return oid === undefined ? target === undefined : target?.oid === oid || target?.commit === oid
}

function isListed({ headTarget }: RefListing, name: string, isFollowed: (name: string) => boolean): boolean {
  return isFollowed(name) || (name === headTarget && isFollowed('HEAD'))
}

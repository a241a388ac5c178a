// Notices a cluster whose store was restored from a backup. An API server says nothing on a watch from a position in its
// future, for as long as it takes to get there: hours of drift unseen. So after an outage, and only then, it is asked
// once where its store is. All kinds share the answer, for resource versions are the store's own count.

/** Asks at most once an outage. */
export class StoreCheck {
  #newest: Promise<string> | undefined
  #askedAt = Number.NEGATIVE_INFINITY

  /**
   * True when the store has not come as far as a position. `lostAt`: when the connection was seen broken, by
   * performance.now(); an older answer is not good enough. `ask` gets the present resource version; rejects as it does.
   */
  async isBehind(position: string, lostAt: number, ask: () => Promise<string>): Promise<boolean> {
    if (this.#newest === undefined || this.#askedAt <= lostAt) {
      this.#askedAt = performance.now()
      const asking = ask()
      this.#newest = asking
      asking.catch(() => {
        if (this.#newest === asking) this.#newest = undefined
      })
    }
    return isOlder(await this.#newest, position)
  }
}

/** Whether one resource version is less than another. Those that are not numbers, which aggregated APIs may have, are never. */
export function isOlder(version: string, than: string): boolean {
  const isNumber = /^\d{1,20}$/
  return isNumber.test(version) && isNumber.test(than) && BigInt(version) < BigInt(than)
}

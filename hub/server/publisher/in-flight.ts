// Does the same for many items, a bounded number at a time.

/** Runs `work` for every item with at most `limit` running; when one fails no further ones are begun, and the first error is thrown once the running ones have ended. */
export async function forEachInFlight<T>(
  items: Iterable<T>,
  limit: number,
  work: (item: T) => Promise<void>,
): Promise<void> {
  const queue = items[Symbol.iterator]()
  const errors: unknown[] = []
  const run = async (): Promise<void> => {
    for (let next = queue.next(); !next.done && errors.length === 0; next = queue.next()) {
      try {
        await work(next.value)
      } catch (error) {
        errors.push(error)
      }
    }
  }
  await Promise.all(Array.from({ length: limit }, run))
  if (errors.length > 0) throw errors[0]
}

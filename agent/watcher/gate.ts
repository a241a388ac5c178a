// Lets a few through at a time.

/** Runs work when there is room. */
export interface Gate {
  /** Waits for room, then runs the work. A waiter whose signal aborts leaves the queue and rejects with the signal's reason. */
  run<T>(work: () => Promise<T>, signal: AbortSignal): Promise<T>
}

/** A gate for `size` at a time, in the order of their coming. */
export function createGate(size: number): Gate {
  let free = size
  const queue = new Set<() => void>()
  const enter = async (signal: AbortSignal): Promise<void> => {
    signal.throwIfAborted()
    if (free > 0) {
      free--
      return
    }
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    const abort = (): void => {
      queue.delete(resolve)
      reject(signal.reason as Error)
    }
    queue.add(resolve)
    signal.addEventListener('abort', abort, { once: true })
    await promise.finally(() => signal.removeEventListener('abort', abort))
  }
  const leave = (): void => {
    const [next] = queue
    if (!next) {
      free++
      return
    }
    queue.delete(next)
    next()
  }
  return {
    run: async (work, signal) => {
      await enter(signal)
      try {
        return await work()
      } finally {
        leave()
      }
    },
  }
}

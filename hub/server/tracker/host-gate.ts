// Limits how many exchanges run at once, with one host and in all.

/** Lets work through. */
export interface HostGate {
  /** Runs `work` when there is room; rejects with the signal's reason when it aborts before. */
  run<T>(host: string, signal: AbortSignal, work: () => Promise<T>): Promise<T>
}

/** Makes a gate. A host that hangs holds up only itself: each has `perHost` places (default 4) of the `total` (default 32). */
export function createHostGate({ perHost = 4, total = 32 } = {}): HostGate {
  const active = new Map<string, number>()
  const waiting: { host: string; enter: () => void }[] = []
  let running = 0

  const pump = (): void => {
    for (let index = 0; index < waiting.length && running < total; ) {
      const next = waiting[index]
      if (next !== undefined && (active.get(next.host) ?? 0) < perHost) {
        waiting.splice(index, 1)
        active.set(next.host, (active.get(next.host) ?? 0) + 1)
        running++
        next.enter()
      } else {
        index++
      }
    }
  }

  const leave = (host: string): void => {
    running--
    const left = (active.get(host) ?? 1) - 1
    if (left > 0) active.set(host, left)
    else active.delete(host)
    pump()
  }

  const enter = (host: string, signal: AbortSignal): Promise<void> => {
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    if (signal.aborted) {
      reject(signal.reason)
      return promise
    }
    const abort = (): void => {
      waiting.splice(waiting.indexOf(place), 1)
      reject(signal.reason)
    }
    const place = {
      host,
      enter: (): void => {
        signal.removeEventListener('abort', abort)
        resolve()
      },
    }
    signal.addEventListener('abort', abort, { once: true })
    waiting.push(place)
    pump()
    return promise
  }

  return {
    run: async (host, signal, work) => {
      await enter(host, signal)
      try {
        return await work()
      } finally {
        leave(host)
      }
    },
  }
}

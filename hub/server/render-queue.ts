// Runs renders beside the pipeline: a few at a time, one per application, the newest commit pre-empting an older one.

/** The renders under way. */
export class RenderQueue {
  readonly #limit: number
  readonly #tasks = new Map<string, Task>()
  readonly #waiting: Task[] = []
  #running = 0
  readonly #settled = new Set<Promise<void>>()

  /** `limit` renders run at a time. */
  constructor(limit: number) {
    this.#limit = limit
  }

  /** Number of renders that run or wait. */
  get size(): number {
    return this.#tasks.size
  }

  /** True while that key of the application runs or waits. */
  has(application: string, key: string): boolean {
    return this.#tasks.get(application)?.key === key
  }

  /** Runs `work` unless the same `key` of that application is under way already; another key is given up. `work` must not reject. */
  submit(application: string, key: string, work: (signal: AbortSignal) => Promise<void>): void {
    const present = this.#tasks.get(application)
    if (present?.key === key) return
    present?.controller.abort()
    const task = { application, key, work, controller: new AbortController() }
    this.#tasks.set(application, task)
    this.#waiting.push(task)
    this.#startNext()
  }

  /** Gives everything up and waits for what runs. */
  async stop(): Promise<void> {
    this.#waiting.length = 0
    for (const task of this.#tasks.values()) task.controller.abort()
    await Promise.all(this.#settled)
  }

  #startNext(): void {
    while (this.#running < this.#limit) {
      const task = this.#waiting.shift()
      if (!task) return
      if (task.controller.signal.aborted) continue
      this.#running++
      const done = task.work(task.controller.signal).finally(() => {
        this.#running--
        this.#settled.delete(done)
        if (this.#tasks.get(task.application) === task) this.#tasks.delete(task.application)
        this.#startNext()
      })
      this.#settled.add(done)
    }
  }
}

interface Task {
  readonly application: string
  readonly key: string
  readonly work: (signal: AbortSignal) => Promise<void>
  readonly controller: AbortController
}

// Runs renders beside the pipeline: a few at a time, one per variant of an application, the newest commit pre-empting an older one. No
// repository takes all places: one with many slow charts holds up no other.

/** The renders under way. */
export class RenderQueue {
  readonly #limit: number
  readonly #tasks = new Map<string, Task>()
  /** In the order in which they came. */
  readonly #waiting = new Set<Task>()
  /** Renders that run, by repository. */
  readonly #busy = new Map<string, number>()
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

  /** True while that key of the render runs or waits. */
  has(id: string, key: string): boolean {
    return this.#tasks.get(id)?.key === key
  }

  /** Runs `work` unless the same `key` of that `id` is under way already; another key is given up. `work` must not reject. */
  submit(request: QueuedRender): void {
    const { id, key } = request
    const present = this.#tasks.get(id)
    if (present?.key === key) return
    if (present) this.#giveUp(present)
    const task = { ...request, controller: new AbortController() }
    this.#tasks.set(id, task)
    this.#waiting.add(task)
    this.#startNext()
  }

  /** Gives everything up and waits for what runs. */
  async stop(): Promise<void> {
    this.#waiting.clear()
    for (const task of this.#tasks.values()) task.controller.abort()
    await Promise.all(this.#settled)
  }

  #giveUp(task: Task): void {
    task.controller.abort()
    this.#waiting.delete(task)
  }

  #startNext(): void {
    while (this.#running < this.#limit) {
      const task = this.#takeNext()
      if (!task) return
      this.#running++
      this.#busy.set(task.repository, this.#busyOf(task.repository) + 1)
      const done = task.work(task.controller.signal).finally(() => {
        this.#running--
        const left = this.#busyOf(task.repository) - 1
        if (left > 0) this.#busy.set(task.repository, left)
        else this.#busy.delete(task.repository)
        this.#settled.delete(done)
        if (this.#tasks.get(task.id) === task) this.#tasks.delete(task.id)
        this.#startNext()
      })
      this.#settled.add(done)
    }
  }

  /** The first that waits of the repository that is served least; none while all places but one are taken by a single one. */
  #takeNext(): Task | undefined {
    let next: Task | undefined
    let least = Math.max(1, this.#limit - 1)
    for (const task of this.#waiting) {
      const busy = this.#busyOf(task.repository)
      if (busy >= least) continue
      next = task
      least = busy
    }
    if (next) this.#waiting.delete(next)
    return next
  }

  #busyOf(repository: string): number {
    return this.#busy.get(repository) ?? 0
  }
}

/** A render to be run. */
export interface QueuedRender {
  /** Of which there is one at a time. */
  readonly id: string
  readonly repository: string
  /** Equal for what need not be rendered twice. */
  readonly key: string
  readonly work: (signal: AbortSignal) => Promise<void>
}

interface Task extends QueuedRender {
  readonly controller: AbortController
}

// Runs heavy work in worker threads, one request at a time in each, so that the hub's event loop stays free.
// A worker that takes too long or dies takes only its own request with it.
import { Worker, type WorkerOptions } from 'node:worker_threads'
import { AppError, type ErrorCode, type ErrorContext } from '@fairlead/shared/errors'

/** How a pool works. */
export interface WorkerPoolOptions {
  /** The worker's file, see workerUrl. */
  readonly url: URL
  /** Most workers at once; each is started when it is needed and stopped after a minute without work. */
  readonly size: number
  /** Most megabytes of JavaScript objects in one worker; a request that needs more fails with LimitExceeded. */
  readonly heapMegabytes: number
}

/** How one request is run. */
export interface RunOptions {
  /** Aborting ends the request, and the worker if it has begun; the promise rejects with Aborted. */
  readonly signal?: AbortSignal | undefined
  /** Longest time in the worker, in milliseconds; after that it is killed. */
  readonly timeoutMs: number
  /** Code of the error when the time is over, default LimitExceeded. */
  readonly timeoutCode?: ErrorCode
  /** Buffers that move to the worker instead of being copied; they are gone here. */
  readonly transfer?: readonly ArrayBuffer[]
}

/** What a worker answers. */
export type WorkerAnswer =
  | 'ready'
  | { readonly value: unknown }
  | { readonly error: { readonly code: ErrorCode; readonly message: string; readonly context: ErrorContext } }

/** Worker threads that answer requests. */
export interface WorkerPool {
  /** Sends a request, by structured clone, to the next free worker. Rejects with the worker's AppError, LimitExceeded, Aborted, or Unavailable after stop. */
  run(request: unknown, options: RunOptions): Promise<unknown>
  /** Kills the workers; what runs or waits rejects with Aborted. */
  stop(): Promise<void>
}

const IDLE_MS = 60_000
/** What a new worker may take to load, in milliseconds, before the time of its first request begins. */
const START_MS = 15_000

/** The address of a worker's file beside the calling module: `.ts` when run from source, `.js` in a bundle, where every worker is a bundle of its own beside it. */
export function workerUrl(name: string, moduleUrl: string): URL {
  return new URL(`./${name}${moduleUrl.endsWith('.ts') ? '.ts' : '.js'}`, moduleUrl)
}

/** Makes a pool; nothing is started before the first request. */
export function createWorkerPool(options: WorkerPoolOptions): WorkerPool {
  const slots = Array.from({ length: options.size }, () => new Slot(options))
  const waiting: Job[] = []
  let stopped = false

  const pump = (): void => {
    for (const slot of slots) {
      if (slot.isBusy) continue
      const job = waiting.shift()
      if (job === undefined) return
      slot.run(job, pump)
    }
  }

  return {
    run: (request, runOptions) => {
      if (stopped) return Promise.reject(new AppError('Unavailable', 'the workers are stopped'))
      const job = new Job(request, runOptions, (left) => {
        const index = waiting.indexOf(left)
        if (index >= 0) waiting.splice(index, 1)
      })
      if (!job.isSettled) {
        waiting.push(job)
        pump()
      }
      return job.promise
    },
    stop: async () => {
      stopped = true
      for (const job of waiting.splice(0)) job.reject(new AppError('Aborted', 'the hub stops'))
      await Promise.all(slots.map((slot) => slot.stop()))
    },
  }
}

/** One request on its way. */
class Job {
  readonly request: unknown
  readonly options: RunOptions
  readonly promise: Promise<unknown>
  /** Called when the signal aborts while the job runs. */
  onAbort: (() => void) | undefined
  isSettled = false
  readonly #settle: PromiseWithResolvers<unknown>

  constructor(request: unknown, options: RunOptions, leaveQueue: (job: Job) => void) {
    this.request = request
    this.options = options
    this.#settle = Promise.withResolvers<unknown>()
    this.promise = this.#settle.promise
    const { signal } = options
    const abort = (): void => {
      leaveQueue(this)
      this.onAbort?.()
      this.reject(new AppError('Aborted', 'the work was given up'))
    }
    if (signal?.aborted) {
      abort()
    } else if (signal) {
      signal.addEventListener('abort', abort, { once: true })
      const forget = (): void => signal.removeEventListener('abort', abort)
      this.promise.then(forget, forget)
    }
  }

  resolve(value: unknown): void {
    this.isSettled = true
    this.#settle.resolve(value)
  }

  reject(error: AppError): void {
    this.isSettled = true
    this.#settle.reject(error)
  }
}

/** A place for one worker, which is replaced when it dies. */
class Slot {
  readonly #options: WorkerPoolOptions
  #worker: Worker | undefined
  #isReady = false
  #idleTimer: NodeJS.Timeout | undefined
  #end: ((error: AppError) => void) | undefined

  constructor(options: WorkerPoolOptions) {
    this.#options = options
  }

  get isBusy(): boolean {
    return this.#end !== undefined
  }

  run(job: Job, onFree: () => void): void {
    clearTimeout(this.#idleTimer)
    const worker = this.#start()
    const { timeoutMs, timeoutCode = 'LimitExceeded' } = job.options
    const finish = (): void => {
      clearTimeout(timer)
      worker.off('message', onMessage)
      this.#end = undefined
      this.#idleTimer = setTimeout(() => this.#kill(worker), IDLE_MS)
      this.#idleTimer.unref()
      worker.unref()
    }
    const onMessage = (answer: WorkerAnswer): void => {
      if (answer === 'ready') {
        this.#isReady = true
        clearTimeout(timer)
        timer = startTimer(timeoutMs)
        return
      }
      finish()
      if ('value' in answer) job.resolve(answer.value)
      else job.reject(new AppError(answer.error.code, answer.error.message, { context: answer.error.context }))
      onFree()
    }
    // A worker that is given up in the middle of its work cannot be used again.
    const end = (error: AppError): void => {
      finish()
      this.#kill(worker)
      job.reject(error)
      onFree()
    }
    const startTimer = (ms: number): NodeJS.Timeout =>
      setTimeout(() => end(new AppError(timeoutCode, `not done within ${timeoutMs} ms`)), ms)
    let timer = startTimer(this.#isReady ? timeoutMs : timeoutMs + START_MS)
    this.#end = end
    job.onAbort = () => end(new AppError('Aborted', 'the work was given up'))
    worker.ref()
    worker.on('message', onMessage)
    worker.postMessage(job.request, [...(job.options.transfer ?? [])])
  }

  async stop(): Promise<void> {
    clearTimeout(this.#idleTimer)
    const worker = this.#worker
    this.#end?.(new AppError('Aborted', 'the hub stops'))
    await worker?.terminate()
  }

  #start(): Worker {
    if (this.#worker) return this.#worker
    const { url, heapMegabytes } = this.#options
    // No environment and no flags of the process: a worker handles what strangers wrote.
    const settings: WorkerOptions = { env: {}, execArgv: [], resourceLimits: { maxOldGenerationSizeMb: heapMegabytes } }
    const worker = new Worker(url, settings)
    worker.on('error', (error) => this.#onDeath(worker, deathOf(error)))
    worker.on('exit', () => this.#onDeath(worker, new AppError('Internal', 'a worker thread ended unexpectedly')))
    this.#worker = worker
    this.#isReady = false
    return worker
  }

  #onDeath(worker: Worker, error: AppError): void {
    if (this.#worker !== worker) return
    this.#worker = undefined
    this.#end?.(error)
  }

  #kill(worker: Worker): void {
    if (this.#worker === worker) this.#worker = undefined
    void worker.terminate()
  }
}

function deathOf(error: unknown): AppError {
  const code = error instanceof Error && 'code' in error ? error.code : undefined
  if (code === 'ERR_WORKER_OUT_OF_MEMORY')
    return new AppError('LimitExceeded', 'needs more memory than the limit allows')
  return new AppError('Internal', error instanceof Error ? error.message : String(error), { cause: error })
}

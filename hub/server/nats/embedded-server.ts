// The embedded nats-server: a child process that is watched, started again when it dies, and whose orphan, left by a hub
// that was killed, is ended before a new one takes over its files.
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFile, rm } from 'node:fs/promises'
import path from 'node:path'
import { backoffMs, sleep } from '@fairlead/shared/backoff'
import { AppError } from '@fairlead/shared/errors'
import type { Logger } from '@fairlead/shared/logger'
import { writeSecretFile } from '../secret-file.ts'
import { endOrphan } from './orphan.ts'

/** What to run. */
export interface EmbeddedServerOptions {
  readonly binary: string
  /** The configuration's text, asked for at every start. */
  readonly formatConfig: () => Promise<string>
  readonly folder: string
  readonly logger: Logger
}

/** A server that lived this long has started well: its next failure waits the shortest time again. */
const STEADY_MS = 30_000
const STOP_TIMEOUT_MS = 5_000

/** A running server. */
export class EmbeddedServer {
  readonly #options: EmbeddedServerOptions
  readonly #stopping = new AbortController()
  #child: ChildProcess | undefined
  #watch: Promise<void> = Promise.resolve()
  #failures = 0

  constructor(options: EmbeddedServerOptions) {
    this.#options = options
  }

  /** The process id; undefined while it is down. */
  get pid(): number | undefined {
    return this.#child?.pid
  }

  /** How often it has died since it last ran well. */
  get failures(): number {
    return this.#failures
  }

  /** Where it writes its log. */
  get logFile(): string {
    return path.join(this.#options.folder, 'nats-server.log')
  }

  /** Ends an orphan and starts the server; from then on it is started again whenever it dies. */
  async start(): Promise<void> {
    await endOrphan(this.#pidFile, this.#configFile, this.#options.logger)
    const child = await this.#spawn()
    this.#watch = this.#keepRunning(child)
  }

  /** Asks it to end, kills it after 5 s. */
  async stop(): Promise<void> {
    this.#stopping.abort()
    const child = this.#child
    if (child) {
      child.kill('SIGTERM')
      const timer = setTimeout(() => child.kill('SIGKILL'), STOP_TIMEOUT_MS)
      await this.#watch
      clearTimeout(timer)
    }
    await this.#watch
    await rm(this.#pidFile, { force: true })
  }

  /** The last lines of its log, for error messages. */
  async readLogTail(lines = 5): Promise<string> {
    const text = await readFile(this.logFile, 'utf8').catch(() => '')
    return text.trimEnd().split('\n').slice(-lines).join('\n')
  }

  get #pidFile(): string {
    return path.join(this.#options.folder, 'nats-server.pid')
  }

  get #configFile(): string {
    return path.join(this.#options.folder, 'nats-server.conf')
  }

  async #keepRunning(first: ChildProcess): Promise<void> {
    let child: ChildProcess | undefined = first
    for (;;) {
      const startedAt = performance.now()
      const exit = child ? await exited(child) : 'could not be started'
      this.#child = undefined
      if (this.#stopping.signal.aborted) return
      this.#failures = performance.now() - startedAt > STEADY_MS ? 1 : this.#failures + 1
      this.#options.logger.warn({ exit, failures: this.#failures }, 'nats-server ended by itself')
      try {
        await sleep(backoffMs(this.#failures - 1, { baseMs: 100, maxMs: 10_000 }), this.#stopping.signal)
        child = await this.#spawn()
      } catch (error) {
        if (this.#stopping.signal.aborted) return
        this.#options.logger.error({ error }, 'nats-server could not be started')
        child = undefined
      }
    }
  }

  async #spawn(): Promise<ChildProcess> {
    const { binary, formatConfig, logger } = this.#options
    await writeSecretFile(this.#configFile, await formatConfig())
    // In the hub's process group, so that whoever ends the group leaves nothing behind.
    const child = spawn(binary, ['-c', this.#configFile], { stdio: 'ignore' })
    child.on('error', (error) => logger.debug({ error }, 'nats-server process error'))
    await once(child, 'spawn').catch((cause: unknown) => {
      throw new AppError('NatsUnavailable', `${binary} could not be started`, { cause })
    })
    this.#child = child
    // It may have been started after the stop began.
    if (this.#stopping.signal.aborted) child.kill('SIGTERM')
    logger.info({ pid: child.pid }, 'nats-server started')
    return child
  }
}

async function exited(child: ChildProcess): Promise<string> {
  if (child.exitCode === null && child.signalCode === null) await once(child, 'exit')
  return child.signalCode === null ? `code ${child.exitCode}` : `signal ${child.signalCode}`
}

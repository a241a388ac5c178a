// A server under test as an operating-system process: log in a file, stopped, killed, paused and resumed on demand, and
// ended with everything it has started when the run ends.

import { type ChildProcess, spawn } from 'node:child_process'
import { closeSync, openSync, readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { getRunFolder, guard, release } from './guardian.ts'
import type { LifeSign } from './wait.ts'

/** What to start. */
export type ProcessOptions = {
  /** The name in messages and of the log file. */
  readonly name: string
  readonly command: string
  readonly args?: readonly string[]
  /** The whole environment. Default: PATH and HOME of the run, nothing else. */
  readonly env?: Readonly<Record<string, string>>
  readonly cwd?: string
  /** Where stdout and stderr go, appended. Default: `<name>-<n>.log` in the folder of the run. */
  readonly logFile?: string
}

/** How a process ended: `code` is null when a signal ended it. */
export type ProcessExit = { readonly code: number | null; readonly signal: NodeJS.Signals | null }

/** What a process has used so far, read from /proc: Linux only. */
export type ProcessUsage = { readonly rssBytes: number; readonly peakRssBytes: number; readonly cpuMs: number }

/** Longest wait for all threads of a process to be frozen, in milliseconds; a second is far beyond what it takes. */
const PAUSE_MS = 1_000

let started = 0

/** Starts a process in a process group of its own. A command that cannot be started shows as an exit with code 127. */
export function startProcess(options: ProcessOptions): ManagedProcess {
  return new ManagedProcess(options)
}

/** A running or ended process. */
export class ManagedProcess implements LifeSign, AsyncDisposable {
  readonly name: string
  readonly logFile: string
  /** Resolves when the process has ended, for whatever reason; never rejects. */
  readonly exited: Promise<ProcessExit>
  readonly #child: ChildProcess
  readonly #command: string
  #exit: ProcessExit | undefined
  #failure = ''
  #ending = false

  constructor({ name, command, args = [], env, cwd, logFile }: ProcessOptions) {
    this.name = name
    this.#command = command
    this.logFile = logFile ?? path.join(getRunFolder(), `${name}-${++started}.log`)
    const log = openSync(this.logFile, 'a')
    this.#child = spawn(command, args, {
      cwd,
      detached: true,
      env: env ?? { PATH: process.env.PATH, HOME: process.env.HOME },
      stdio: ['ignore', log, log],
    })
    closeSync(log)
    if (this.#child.pid) guard(this.#child.pid)
    this.exited = new Promise((resolve) => {
      const end = (exit: ProcessExit) => {
        this.#exit = exit
        this.#releaseWhenEmpty()
        resolve(exit)
      }
      this.#child.once('exit', (code, signal) => end({ code, signal }))
      this.#child.once('error', (error) => {
        this.#failure = error.message
        if (this.#child.pid === undefined) end({ code: 127, signal: null })
      })
    })
  }

  /** The process id, 0 when it could not be started. */
  get pid(): number {
    return this.#child.pid ?? 0
  }

  /** How it ended, or undefined while it runs. */
  get exit(): ProcessExit | undefined {
    return this.#exit
  }

  get running(): boolean {
    return this.#exit === undefined
  }

  describeExit(): string | undefined {
    if (this.#exit === undefined) return undefined
    const { code, signal } = this.#exit
    if (this.#failure) return `${this.name} could not be started: ${this.#failure}`
    const how = signal ? `by ${signal}` : `with code ${code}`
    return this.#ending ? `${this.name} was ended ${how}` : `${this.name} (${this.#command}) ended by itself ${how}`
  }

  tail(lines = 30): string {
    return this.readLog().trimEnd().split('\n').slice(-lines).join('\n')
  }

  /** The whole log so far. */
  readLog(): string {
    return readFileSync(this.logFile, 'utf8')
  }

  /** Asks it to stop by SIGTERM, kills it after `timeoutMs` (default 10 s), then whatever it has started. */
  async stop({ timeoutMs = 10_000 }: { timeoutMs?: number } = {}): Promise<ProcessExit> {
    this.#ending = true
    this.#signal('SIGTERM')
    this.#signal('SIGCONT')
    const timer = new AbortController()
    await Promise.race([this.exited, delay(timeoutMs, undefined, { signal: timer.signal }).catch(() => undefined)])
    timer.abort()
    return await this.killAll()
  }

  /** Kills this process alone, as a crash would: what it has started lives on. */
  async kill(): Promise<ProcessExit> {
    this.#ending = true
    this.#signal('SIGKILL')
    return await this.exited
  }

  /** Kills this process and whatever it has started. */
  async killAll(): Promise<ProcessExit> {
    this.#ending = true
    if (this.pid > 0) signalGroup(this.pid, 'SIGKILL')
    const exit = await this.exited
    if (this.pid > 0) release(this.pid)
    return exit
  }

  /** Freezes it: it keeps its sockets and answers nothing. Once this returns it does nothing more: on a busy machine the signal takes a moment to reach all threads. */
  pause(): void {
    this.#signal('SIGSTOP')
    const deadline = performance.now() + PAUSE_MS
    while (performance.now() < deadline && !this.#isFrozen());
  }

  #isFrozen(): boolean {
    const folder = `/proc/${this.pid}/task`
    try {
      const threads = readdirSync(folder)
      return threads.every((thread) => /\) [TZX] /.test(readFileSync(path.join(folder, thread, 'stat'), 'utf8')))
    } catch {
      // A thread, or the process, ended while it was looked at.
      return false
    }
  }

  resume(): void {
    this.#signal('SIGCONT')
  }

  /** Sends any signal, such as SIGHUP, to this process alone. Nothing happens when it has ended. */
  signal(name: NodeJS.Signals): void {
    this.#signal(name)
  }

  /** Resident memory, the most it has been, and processor time (user and system, all threads) so far. Linux only. */
  usage(): ProcessUsage {
    const status = readFileSync(`/proc/${this.pid}/status`, 'utf8')
    const bytesOf = (field: string): number =>
      Number(status.match(new RegExp(`^${field}:\\s+(\\d+) kB`, 'm'))?.[1] ?? 0) * 1024
    const stat = readFileSync(`/proc/${this.pid}/stat`, 'utf8')
    // Fields 14 and 15, in clock ticks of 10 ms; counted after the name, which may hold spaces and brackets.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    const cpuMs = (Number(fields[11]) + Number(fields[12])) * 10
    return { rssBytes: bytesOf('VmRSS'), peakRssBytes: bytesOf('VmHWM'), cpuMs }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop()
  }

  #signal(name: NodeJS.Signals): void {
    if (this.running && this.pid > 0) this.#child.kill(name)
  }

  /** The group may outlive its leader (a crashed hub's own children): it stays guarded until it is empty. */
  #releaseWhenEmpty(): void {
    if (this.pid > 0 && !signalGroup(this.pid, 0)) release(this.pid)
  }
}

function signalGroup(pid: number, signal: NodeJS.Signals | 0): boolean {
  try {
    return process.kill(-pid, signal)
  } catch {
    return false
  }
}

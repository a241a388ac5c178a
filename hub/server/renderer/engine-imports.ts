// Everything that the rendering engine can reach outside of its own memory: a clock, random numbers, a moment to wait, and
// a line to say why it dies. No files, no network, no environment: what is asked of those is answered with an error.
// (WASI snapshot preview 1, as the Go runtime uses it. node:wasi would bring a file system, and is no sandbox by its own words.)
/// <reference path="./webassembly.d.ts" />
import { randomFillSync } from 'node:crypto'

const SUCCESS = 0
const BAD_DESCRIPTOR = 8
const NOT_SUPPORTED = 52
const CHARACTER_DEVICE = 2
const REALTIME = 0
const SUBSCRIPTION_BYTES = 48
const EVENT_BYTES = 32
const NANOSECONDS = 1_000_000
const PROGRAM = Buffer.from('engine\0')
const LAST_WORDS_MAX_BYTES = 8_192

/** Thrown when the engine ends its own process. */
export class EngineExit extends Error {
  override readonly name = 'EngineExit'
}

/** What an instance is given, and what it said last. */
export interface EngineImports {
  readonly imports: WebAssembly.Imports
  /** The memory of the instance, once there is one. */
  setMemory(memory: WebAssembly.Memory): void
  /** What was written to standard output and error, shortened. */
  readonly lastWords: string
}

type Import = (...args: never[]) => number

/** Makes the imports of one instance. */
export function createEngineImports(module: WebAssembly.Module): EngineImports {
  const host = new Host()
  const known: Readonly<Record<string, Import>> = {
    sched_yield: () => SUCCESS,
    proc_exit: (code: number) => {
      throw new EngineExit(`exit ${code}`)
    },
    args_sizes_get: (count: number, size: number) => host.writeSizes({ count, size }, [PROGRAM.length]),
    environ_sizes_get: (count: number, size: number) => host.writeSizes({ count, size }, []),
    args_get: (list: number, text: number) => host.writeProgram(list, text),
    environ_get: () => SUCCESS,
    clock_time_get: (clock: number, _precision: bigint, target: number) => host.writeTime(clock, target),
    random_get: (target: number, size: number) => host.fillRandom(target, size),
    poll_oneoff: (from: number, to: number, count: number, written: number) => host.wait(from, to, count, written),
    fd_write: (file: number, vectors: number, count: number, written: number) =>
      host.writeOut(file, vectors, count, written),
    fd_fdstat_get: (file: number, target: number) => host.describe(file, target),
    fd_prestat_get: () => BAD_DESCRIPTOR,
  }
  const imports: Record<string, Record<string, Import>> = {}
  for (const { module: from, name } of WebAssembly.Module.imports(module)) {
    imports[from] ??= {}
    imports[from][name] = known[name] ?? (() => NOT_SUPPORTED)
  }
  return {
    imports,
    setMemory: (memory) => {
      host.memory = memory
    },
    get lastWords() {
      return host.lastWords
    },
  }
}

class Host {
  memory: WebAssembly.Memory | undefined
  lastWords = ''

  writeSizes(at: { readonly count: number; readonly size: number }, sizes: readonly number[]): number {
    this.#view().setUint32(at.count, sizes.length, true)
    const total = sizes.reduce((sum, size) => sum + size, 0)
    this.#view().setUint32(at.size, total, true)
    return SUCCESS
  }

  /** A library looks at the name of the program before anything else, so there is one. */
  writeProgram(list: number, text: number): number {
    this.#view().setUint32(list, text, true)
    this.#bytes(text, PROGRAM.length).set(PROGRAM)
    return SUCCESS
  }

  writeTime(clock: number, target: number): number {
    const ms = clock === REALTIME ? Date.now() : performance.now()
    this.#view().setBigUint64(target, BigInt(Math.floor(ms * NANOSECONDS)), true)
    return SUCCESS
  }

  fillRandom(target: number, size: number): number {
    randomFillSync(this.#bytes(target, size))
    return SUCCESS
  }

  /** Waits for the first of the clocks that are subscribed to; files are never ready. */
  wait(from: number, to: number, count: number, written: number): number {
    const view = this.#view()
    const timeouts = Array.from({ length: count }, (_, index) => {
      const at = from + index * SUBSCRIPTION_BYTES
      const isClock = view.getUint8(at + 8) === 0
      const isAbsolute = view.getUint16(at + 40, true) === 1
      const timeoutMs = Number(view.getBigUint64(at + 24, true)) / NANOSECONDS
      if (!isClock) return { at, ms: Infinity }
      const now = view.getUint32(at + 16, true) === REALTIME ? Date.now() : performance.now()
      return { at, ms: Math.max(0, isAbsolute ? timeoutMs - now : timeoutMs) }
    })
    const soonest = timeouts.reduce((first, each) => (each.ms < first.ms ? each : first), { at: from, ms: Infinity })
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, soonest.ms)
    this.#bytes(to, EVENT_BYTES).fill(0)
    view.setBigUint64(to, view.getBigUint64(soonest.at, true), true)
    view.setUint32(written, 1, true)
    return SUCCESS
  }

  writeOut(file: number, vectors: number, count: number, written: number): number {
    if (file !== 1 && file !== 2) return BAD_DESCRIPTOR
    let total = 0
    for (let index = 0; index < count; index++) {
      const start = this.#view().getUint32(vectors + index * 8, true)
      const size = this.#view().getUint32(vectors + index * 8 + 4, true)
      total += size
      if (this.lastWords.length < LAST_WORDS_MAX_BYTES) {
        this.lastWords += Buffer.from(this.#bytes(start, Math.min(size, LAST_WORDS_MAX_BYTES))).toString('utf8')
      }
    }
    this.#view().setUint32(written, total, true)
    return SUCCESS
  }

  describe(file: number, target: number): number {
    if (file > 2) return BAD_DESCRIPTOR
    this.#bytes(target, 24).fill(0)
    this.#view().setUint8(target, CHARACTER_DEVICE)
    return SUCCESS
  }

  #view(): DataView {
    return new DataView(this.#buffer())
  }

  #bytes(start: number, size: number): Uint8Array {
    return new Uint8Array(this.#buffer(), start, size)
  }

  #buffer(): ArrayBuffer {
    if (!this.memory) throw new Error('the engine has no memory yet')
    return this.memory.buffer
  }
}

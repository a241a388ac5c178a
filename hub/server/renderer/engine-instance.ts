// One instance of the rendering engine, used for many renders, one after the other. What a render does to it ends with it.
import { AppError } from '@fairlead/shared/errors'
import { createEngineImports, EngineExit, type EngineImports } from './engine-imports.ts'
import { decodeAnswer, type EngineAnswer, type EngineRequest, encodeRequest } from './engine-messages.ts'
import { ENGINE_MAX_PAGES } from './engine-module.ts'

/** An instance that has grown beyond this is given up after its render, in bytes. */
const KEEP_MAX_BYTES = 128 * 1024 * 1024

interface EngineExports {
  readonly memory: WebAssembly.Memory
  _initialize(): void
  begin(sizeBytes: number): number
  render(): number
  result(): number
}

/** Renders with instances of a module. */
export class Engine {
  readonly #module: WebAssembly.Module
  #instance: { readonly exports: EngineExports; readonly imports: EngineImports } | undefined

  constructor(module: WebAssembly.Module) {
    this.#module = module
  }

  /** Renders. Throws LimitExceeded when that needs more memory than there is, RenderFailed when the engine dies of it; the next render has a new instance then. */
  render(request: EngineRequest): EngineAnswer {
    const { exports, imports } = this.#instance ?? this.#start()
    let answer: EngineAnswer
    try {
      const encoded = encodeRequest(request)
      const start = exports.begin(encoded.byteLength) >>> 0
      encoded.write(new Uint8Array(exports.memory.buffer, start, encoded.byteLength))
      const sizeBytes = exports.render() >>> 0
      answer = decodeAnswer(new Uint8Array(exports.memory.buffer, exports.result() >>> 0, sizeBytes))
    } catch (error) {
      this.#instance = undefined
      throw explainDeath(error, imports.lastWords)
    }
    if (answer.broken || exports.memory.buffer.byteLength > KEEP_MAX_BYTES) this.#instance = undefined
    return answer
  }

  #start(): { readonly exports: EngineExports; readonly imports: EngineImports } {
    const imports = createEngineImports(this.#module)
    const instance = new WebAssembly.Instance(this.#module, imports.imports)
    // What hub/engine/main.go exports.
    const exports = instance.exports as unknown as EngineExports
    imports.setMemory(exports.memory)
    exports._initialize()
    this.#instance = { exports, imports }
    return this.#instance
  }
}

function explainDeath(error: unknown, lastWords: string): AppError {
  const isEngines =
    error instanceof EngineExit || error instanceof WebAssembly.RuntimeError || error instanceof RangeError
  if (!isEngines) throw error
  const limitMegabytes = (ENGINE_MAX_PAGES * 64) / 1_024
  if (/out of memory|cannot allocate/.test(lastWords)) {
    return new AppError('LimitExceeded', `rendering needs more than ${limitMegabytes} MB of memory`)
  }
  if (/stack overflow|stack exceeds/.test(lastWords) || error instanceof RangeError) {
    return new AppError('LimitExceeded', 'rendering is nested too deep')
  }
  const reason = lastWords.split('\n').find((line) => line.trim() !== '') ?? error.message
  return new AppError('RenderFailed', `the renderer stopped: ${reason.slice(0, 300)}`, { cause: error })
}

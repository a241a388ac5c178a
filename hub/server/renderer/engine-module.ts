// The rendering engine as a compiled module: read and compiled when the first chart or Kustomize folder is to be rendered, and
// kept, as every commit after would wait for it again. Worker threads share it.
/// <reference path="./webassembly.d.ts" />
import { readFile } from 'node:fs/promises'
import { promisify } from 'node:util'
import { zstdDecompress } from 'node:zlib'
import { AppError } from '@fairlead/shared/errors'

/** Most memory of one instance of the engine, in pages of 64 KB: 512 MB. Large definitions of custom resources under Kustomize's patches take 300. */
export const ENGINE_MAX_PAGES = 8_192

const MEMORY_SECTION = 5

/** The module, compiled when it is asked for. */
export interface EngineSource {
  /** Rejects with Internal when it is not there. */
  get(): Promise<WebAssembly.Module>
}

/** Where the engine is: beside the bundle, or as hub/engine builds it. */
function engineUrl(): URL {
  const isSource = import.meta.url.endsWith('.ts')
  return new URL(isSource ? '../../engine/dist/engine.wasm.zst' : './engine.wasm.zst', import.meta.url)
}

/** Makes a source; nothing is read yet. */
export function createEngineSource(url: URL = engineUrl()): EngineSource {
  let module: Promise<WebAssembly.Module> | undefined
  return {
    get: () => {
      if (module !== undefined) return module
      module = load(url)
      module.catch(() => {
        module = undefined
      })
      return module
    },
  }
}

async function load(url: URL): Promise<WebAssembly.Module> {
  try {
    const bytes = await promisify(zstdDecompress)(await readFile(url))
    return await WebAssembly.compile(limitMemory(bytes, ENGINE_MAX_PAGES))
  } catch (cause) {
    const message = `the rendering engine ${url.pathname} cannot be loaded; npm run build makes it`
    throw new AppError('Internal', message, { cause })
  }
}

/** The module with an upper bound of its memory, which the Go linker does not write. Throws for a module that has one, or not exactly one memory. */
export function limitMemory(module: Uint8Array, maxPages: number): Uint8Array<ArrayBuffer> {
  for (let position = 8; position < module.length; ) {
    const size = readLeb(module, position + 1)
    const end = size.next + size.value
    if (module[position] === MEMORY_SECTION) {
      const isBounded = module[size.next] !== 1 || module[size.next + 1] !== 0
      if (isBounded) throw new Error('the memory of the module is not as the Go linker writes it')
      const initial = readLeb(module, size.next + 2)
      const section = [1, 1, ...writeLeb(initial.value), ...writeLeb(maxPages)]
      const head = [MEMORY_SECTION, ...writeLeb(section.length), ...section]
      const limited = new Uint8Array(position + head.length + module.length - end)
      limited.set(module.subarray(0, position))
      limited.set(head, position)
      limited.set(module.subarray(end), position + head.length)
      return limited
    }
    position = end
  }
  throw new Error('the module has no memory')
}

/** An unsigned LEB128 number (WebAssembly Core Specification, 5.2.2) and where the next byte is. */
function readLeb(bytes: Uint8Array, position: number): { value: number; next: number } {
  let value = 0
  for (let shift = 0, next = position; ; shift += 7) {
    const byte = bytes[next++] ?? 0
    value += (byte & 0x7f) * 2 ** shift
    if (byte < 0x80) return { value, next }
  }
}

function writeLeb(value: number): number[] {
  const bytes: number[] = []
  for (let rest = value; ; rest = Math.floor(rest / 128)) {
    if (rest < 128) return [...bytes, rest]
    bytes.push((rest % 128) + 128)
  }
}

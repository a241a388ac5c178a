// Builds hub/engine (Helm's and Kustomize's libraries, in Go) into one compressed WebAssembly module, and puts it where the
// hub finds it: hub/engine/dist/engine.wasm.zst. Kept in the cache of the tools, keyed by its sources: nothing is built
// again unless one of them changed.

import { createHash } from 'node:crypto'
import { existsSync, globSync, readFileSync } from 'node:fs'
import { copyFile, mkdir, readFile, rename, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { constants, zstdCompressSync } from 'node:zlib'
import { buildOnce, getCacheFolder } from './go-build.ts'

const folder = path.resolve(import.meta.dirname, '../../hub/engine')

function hashSources(): string {
  const hash = createHash('sha256')
  for (const name of globSync(['*.go', 'go.mod', 'go.sum'], { cwd: folder }).sort()) {
    hash
      .update(name)
      .update('\0')
      .update(readFileSync(path.join(folder, name)))
      .update('\0')
  }
  return hash.digest('hex').slice(0, 12)
}

async function compress(file: string): Promise<void> {
  // Higher levels take minutes and give little.
  const params = { [constants.ZSTD_c_compressionLevel]: 9 }
  await writeFile(file, zstdCompressSync(await readFile(file), { params }))
}

/** Builds the engine unless that was done, and returns the module's path. */
async function ensureEngine(): Promise<string> {
  const hash = hashSources()
  const built = await buildOnce({
    name: "the hub's rendering engine",
    folder,
    package: '.',
    target: path.join(getCacheFolder(), `engine-${hash}`, 'engine.wasm.zst'),
    coldBuildSeconds: 120,
    // Functions that are called again and again, instead of a main that runs once.
    flags: ['-buildmode=c-shared'],
    env: { GOOS: 'wasip1', GOARCH: 'wasm' },
    finish: compress,
  })
  const target = path.join(folder, 'dist', 'engine.wasm.zst')
  const marker = path.join(folder, 'dist', 'engine.sources')
  const present = await readFile(marker, 'utf8').catch(() => '')
  if (present === hash && existsSync(target)) return target
  await mkdir(path.dirname(target), { recursive: true })
  const aside = `${target}.${process.pid}`
  await copyFile(built, aside)
  await rename(aside, target)
  await writeFile(marker, hash)
  return target
}

console.log(await ensureEngine())

// Unpacks a tar archive in memory, packed with gzip or not, with limits: an archive comes from strangers.
import { createGunzip } from 'node:zlib'
import { AppError } from '@fairlead/shared/errors'
import { extract, type Header } from 'tar-stream'
import type { PackageEntry } from './package-objects.ts'

/** Most bytes of all files of one package. */
export const UNPACKED_MAX_BYTES = 128 * 1024 * 1024
/** Most files, folders and links of one package. */
export const UNPACKED_MAX_ENTRIES = 50_000
const MAX_DEPTH = 100
const MAX_PATH_BYTES = 4_096

/** How an archive is unpacked. */
export interface UnpackOptions {
  /** Take the archive's one top folder for its root, as in charts. */
  readonly stripTopFolder: boolean
  /** Default UNPACKED_MAX_BYTES. */
  readonly maxBytes?: number
  /** Default UNPACKED_MAX_ENTRIES. */
  readonly maxEntries?: number
}

/** The files and links of an archive by path. Rejects with UnsafePath for names that lead out and for devices, LimitExceeded, or FetchFailed for what is no archive. */
export async function unpack(
  archive: Uint8Array,
  { stripTopFolder, maxBytes = UNPACKED_MAX_BYTES, maxEntries = UNPACKED_MAX_ENTRIES }: UnpackOptions,
): Promise<ReadonlyMap<string, PackageEntry>> {
  const unpacked = new Unpacked({ stripTopFolder, maxBytes, maxEntries })
  const tar = extract()
  const isPacked = archive[0] === 0x1f && archive[1] === 0x8b
  const gunzip = isPacked ? createGunzip() : undefined
  // What unpacks to nearly nothing but zeros never reaches a file: the bytes of the stream are counted too.
  let streamed = 0
  gunzip?.on('data', (chunk: Buffer) => {
    streamed += chunk.length
    if (streamed > 2 * maxBytes) gunzip.destroy(tooLarge(maxBytes))
  })
  gunzip?.on('error', (error) => tar.destroy(error))
  if (gunzip) gunzip.pipe(tar)
  const input = gunzip ?? tar
  input.end(archive)
  try {
    for await (const entry of tar) {
      const chunks: Buffer[] = []
      for await (const chunk of entry as AsyncIterable<Buffer>) {
        unpacked.count(chunk.length)
        chunks.push(chunk)
      }
      unpacked.add(entry.header, Buffer.concat(chunks))
    }
  } catch (error) {
    if (error instanceof AppError) throw error
    const reason = error instanceof Error ? error.message : String(error)
    throw new AppError('FetchFailed', `the package is no tar archive that can be read: ${reason}`, { cause: error })
  } finally {
    gunzip?.destroy()
    tar.destroy()
  }
  return unpacked.entries
}

/** What was found so far. */
class Unpacked {
  readonly entries = new Map<string, PackageEntry>()
  readonly #options: Required<UnpackOptions>
  #count = 0
  #sizeBytes = 0
  #topFolder: string | undefined

  constructor(options: Required<UnpackOptions>) {
    this.#options = options
  }

  count(sizeBytes: number): void {
    this.#sizeBytes += sizeBytes
    if (this.#sizeBytes > this.#options.maxBytes) throw tooLarge(this.#options.maxBytes)
  }

  add({ name, type, mode, linkname }: Header, data: Buffer): void {
    this.#count++
    const { maxEntries } = this.#options
    if (this.#count > maxEntries) throw new AppError('LimitExceeded', `the package has more than ${maxEntries} entries`)
    const path = this.#pathOf(name, type === 'directory')
    if (path === undefined) return
    if (type === 'file' || type === 'contiguous-file') {
      this.entries.set(path, { mode: (mode & 0o111) === 0 ? '100644' : '100755', data })
    } else if (type === 'symlink') {
      this.entries.set(path, { mode: '120000', data: Buffer.from(linkname) })
    } else if (type === 'link') {
      this.#addHardLink(path, linkname)
    } else if (type !== 'directory') {
      throw new AppError('UnsafePath', `the package holds a ${type} at ${path}`, { context: { file: path } })
    }
  }

  /** A second name for a file that came before; nothing else can be meant inside of a package. */
  #addHardLink(path: string, linkname: string): void {
    const target = this.#pathOf(linkname, false)
    const entry = target === undefined ? undefined : this.entries.get(target)
    if (entry === undefined) {
      throw new AppError('UnsafePath', `the package holds a hard link to nothing in it, at ${path}`)
    }
    this.entries.set(path, entry)
  }

  /** Undefined for the root. */
  #pathOf(name: string, isFolder: boolean): string | undefined {
    const parts = name.split('/').filter((part) => part !== '' && part !== '.')
    const isSafe = !name.startsWith('/') && !parts.includes('..') && !/[\0\\]/.test(name)
    if (!isSafe || Buffer.byteLength(name) > MAX_PATH_BYTES) {
      throw new AppError('UnsafePath', `the package holds an entry whose name leads out of it: ${shorten(name)}`)
    }
    if (parts.length > MAX_DEPTH) throw new AppError('LimitExceeded', `the package is nested deeper than ${MAX_DEPTH}`)
    if (this.#options.stripTopFolder && parts.length > 0) {
      const top = parts.shift()
      this.#topFolder ??= top
      if (top !== this.#topFolder || (parts.length === 0 && !isFolder)) {
        throw new AppError('UnsafePath', `the chart's archive holds more than one folder: ${shorten(name)}`)
      }
    }
    return parts.length === 0 ? undefined : parts.join('/')
  }
}

function tooLarge(maxBytes: number): AppError {
  return new AppError('LimitExceeded', `the package unpacks to more than ${maxBytes} bytes`)
}

function shorten(name: string): string {
  return JSON.stringify(name.length > 80 ? `${name.slice(0, 80)}…` : name)
}

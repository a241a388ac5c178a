// Contents of Git LFS on disk, each under its oid. What was read longest ago goes when they are too many, which costs
// whoever needs it again one more download.
import { existsSync, readdirSync, readFileSync, rmSync, statSync, utimesSync } from 'node:fs'
import { readdir, rm, stat } from 'node:fs/promises'
import path from 'node:path'
import type { LfsPointer } from './lfs.ts'

/** How much is kept. */
export interface LfsLimits {
  readonly maxBytes: number
  readonly maxFiles: number
}

/** What one repository's contents may take on disk: many times what one application can hold. */
export const LFS_LIMITS: LfsLimits = { maxBytes: 1024 ** 3, maxFiles: 50_000 }
/** How names of downloads end that are not complete. */
export const PARTIAL_SUFFIX = '.tmp'
/** Down to this share, so that not every download has to make room. */
const KEPT_SHARE = 0.8

/** What was downloaded; undefined when it is not there, or not whole, as after a crash. It counts as used now. */
export function readLfs(folder: string, pointer: LfsPointer): Buffer | undefined {
  if (!hasLfs(folder, pointer)) return undefined
  const file = path.join(folder, pointer.oid)
  const now = new Date()
  utimesSync(file, now, now)
  return readFileSync(file)
}

/** True for what is there and whole. */
export function hasLfs(folder: string, { oid, sizeBytes }: LfsPointer): boolean {
  return statSync(path.join(folder, oid), { throwIfNoEntry: false })?.size === sizeBytes
}

/** Removes downloads that were cut off by the end of the process. Only while nothing is downloaded. */
export function removePartialLfs(folder: string): void {
  for (const name of existsSync(folder) ? readdirSync(folder) : []) {
    if (name.endsWith(PARTIAL_SUFFIX)) rmSync(path.join(folder, name), { force: true })
  }
}

/** The contents of one repository, read by many at once. */
export class LfsStore {
  readonly folder: string
  readonly #limits: LfsLimits
  readonly #uses = new Set<Promise<unknown>>()
  #looking: Promise<void> | undefined
  #making: Promise<void> | undefined

  /** Made only while nobody downloads into the folder. */
  constructor(folder: string, limits: LfsLimits = LFS_LIMITS) {
    this.folder = folder
    this.#limits = limits
    removePartialLfs(folder)
  }

  /** True while whoever comes waits. */
  get isMakingRoom(): boolean {
    return this.#making !== undefined
  }

  /** Runs `work`, during which nothing vanishes from the folder. Rejects as it does. */
  async use<T>(work: () => Promise<T>): Promise<T> {
    // Whoever comes while room is made waits, so that those who came before come to an end.
    while (this.#making !== undefined) await this.#making
    const use = work()
    this.#uses.add(use)
    try {
      return await use
    } finally {
      this.#uses.delete(use)
    }
  }

  /** Removes what was used longest ago if there is too much, as soon as all who use the folder now have ended. */
  makeRoom(): void {
    this.#looking ??= this.#makeRoomIfNeeded().finally(() => {
      this.#looking = undefined
    })
  }

  async #makeRoomIfNeeded(): Promise<void> {
    if (!isTooMuch(await listFiles(this.folder).catch(() => []), this.#limits)) return
    // What cannot be removed now is looked at again after the next download.
    this.#making = this.#makeRoom(Promise.allSettled(this.#uses)).catch(() => undefined)
    await this.#making
    this.#making = undefined
  }

  async #makeRoom(uses: Promise<unknown>): Promise<void> {
    await uses
    const files = await listFiles(this.folder)
    files.sort((a, b) => b.usedAtMs - a.usedAtMs)
    const { maxBytes, maxFiles } = this.#limits
    let kept = 0
    for (const [index, { file, sizeBytes }] of files.entries()) {
      kept += sizeBytes
      if (kept > maxBytes * KEPT_SHARE || index >= maxFiles * KEPT_SHARE) await rm(file, { force: true })
    }
  }
}

function isTooMuch(files: readonly KeptFile[], { maxBytes, maxFiles }: LfsLimits): boolean {
  const bytes = files.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0)
  return bytes > maxBytes || files.length > maxFiles
}

interface KeptFile {
  readonly file: string
  readonly sizeBytes: number
  readonly usedAtMs: number
}

async function listFiles(folder: string): Promise<KeptFile[]> {
  const names = existsSync(folder) ? await readdir(folder) : []
  const files: KeptFile[] = []
  for (const name of names) {
    const file = path.join(folder, name)
    // A download that ended meanwhile has another name.
    const found = await stat(file).catch(() => undefined)
    if (found) files.push({ file, sizeBytes: found.size, usedAtMs: found.mtimeMs })
  }
  return files
}

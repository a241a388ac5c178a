// The worker thread that indexes packs and reads trees, so that neither holds up the hub's event loop.
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { AppError } from '@fairlead/shared/errors'
import { answerRequests } from '../worker-answer.ts'
import { damaged, findCommit } from './git-object.ts'
import { listPacks, ObjectStore } from './object-store.ts'
import { buildPackIndex } from './pack-index.ts'
import { findTreeOid, readSourceTree } from './source-reader.ts'
import type { SourceTree } from './source-tree.ts'

/** What the worker is asked; `gitDir` is the mirror's folder. */
export type GitRequest =
  | {
      readonly verb: 'add-pack'
      readonly gitDir: string
      readonly pack: Uint8Array
      readonly name: string
      readonly replace: boolean
      readonly wants: readonly string[]
    }
  | { readonly verb: 'find-commits'; readonly gitDir: string; readonly oids: readonly string[] }
  | { readonly verb: 'read-tree'; readonly gitDir: string; readonly commit: string; readonly path: string }
  | {
      readonly verb: 'find-tree-oids'
      readonly gitDir: string
      readonly commit: string
      readonly paths: readonly string[]
    }

/** Answer to add-pack and find-commits. */
export interface CommitsAnswer {
  /** For each id the commit that it names, tags followed; undefined when it is not there. */
  readonly commits: readonly (string | undefined)[]
  /** Packs in the mirror. */
  readonly packs: number
}

/** Answer to find-tree-oids: for each path its treeOid; undefined when it has none, for reasons that reading it tells. */
export type TreeOidsAnswer = readonly (string | undefined)[]

const CACHE_MS = 10_000

/** The store that was used last, kept for a moment: applications of one repository are read one after the other. */
let cached: { key: string; store: ObjectStore; timer: NodeJS.Timeout } | undefined

function openStore(gitDir: string): ObjectStore {
  const folder = path.join(gitDir, 'objects/pack')
  const key = `${gitDir}\0${existsSync(folder) ? listPacks(folder).join('\0') : ''}`
  if (cached?.key === key) {
    cached.timer.refresh()
    return cached.store
  }
  clearTimeout(cached?.timer)
  const timer = setTimeout(() => {
    cached = undefined
  }, CACHE_MS)
  cached = { key, store: new ObjectStore(gitDir), timer }
  return cached.store
}

function handle(request: GitRequest): CommitsAnswer | SourceTree | TreeOidsAnswer {
  switch (request.verb) {
    case 'add-pack':
      return addPack(request)
    case 'find-commits':
      return findCommits(request.gitDir, request.oids)
    case 'read-tree':
      return readSourceTree(openStore(request.gitDir), request.commit, request.path)
    case 'find-tree-oids':
      return findTreeOids(openStore(request.gitDir), request.commit, request.paths)
  }
}

function addPack({ gitDir, pack, name, replace, wants }: GitRequest & { verb: 'add-pack' }): CommitsAnswer {
  const bytes = Buffer.from(pack.buffer, pack.byteOffset, pack.byteLength)
  const index = buildPackIndex(bytes, replace ? undefined : new ObjectStore(gitDir))
  const folder = path.join(gitDir, 'objects/pack')
  mkdirSync(folder, { recursive: true })
  // The index comes last: a pack without it is not seen.
  write(folder, `${name}.pack`, bytes)
  write(folder, `${name}.idx`, index)
  if (replace) {
    for (const file of readdirSync(folder)) {
      if (!file.startsWith(`${name}.`)) rmSync(path.join(folder, file), { force: true })
    }
  }
  const answer = findCommits(gitDir, wants)
  if (answer.commits.includes(undefined)) throw damaged('the pack lacks what was asked for')
  return answer
}

function write(folder: string, name: string, bytes: Buffer): void {
  const partial = path.join(folder, `tmp-${name}`)
  writeFileSync(partial, bytes)
  renameSync(partial, path.join(folder, name))
}

function findCommits(gitDir: string, oids: readonly string[]): CommitsAnswer {
  const folder = path.join(gitDir, 'objects/pack')
  const packs = existsSync(folder) ? listPacks(folder).length : 0
  const store = openStore(gitDir)
  return { commits: oids.map((oid) => findWholeCommit(store, oid)), packs }
}

function findWholeCommit(store: ObjectStore, oid: string): string | undefined {
  try {
    const commit = findCommit(store, oid)
    return commit && store.find(commit.tree) ? commit.oid : undefined
  } catch (error) {
    if (error instanceof AppError && error.code === 'FetchFailed') return undefined
    throw error
  }
}

function findTreeOids(store: ObjectStore, commit: string, paths: readonly string[]): (string | undefined)[] {
  return paths.map((each) => {
    try {
      return findTreeOid(store, commit, each)
    } catch (error) {
      if (error instanceof AppError && error.code !== 'FetchFailed') return undefined
      throw error
    }
  })
}

// Requests come from the tracker only, which sends this type.
answerRequests((request) => handle(request as GitRequest))

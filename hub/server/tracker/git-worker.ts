// The worker thread that fetches, indexes packs and reads trees, so that none of it holds up the hub's event loop.
import { existsSync } from 'node:fs'
import path from 'node:path'
import { AppError } from '@fairlead/shared/errors'
import { answerRequests } from '../worker-answer.ts'
import { FolderCache } from './folder-cache.ts'
import { listFolders } from './folder-listing.ts'
import type { CommitFetch, ListedRef } from './git-fetch.ts'
import { createGitHttp, type GitRemote, GitServerBusy } from './git-http.ts'
import { findCommit } from './git-object.ts'
import { listPacks, ObjectStore } from './object-store.ts'
import { checkSignature, type SignatureQuestion } from './signature-check.ts'
import { findTreeOid, readSourceTree } from './source-reader.ts'
import type { SourceTree } from './source-tree.ts'
import { findMissingSubmodules, type MissingSubmodule } from './submodules.ts'

/** What the worker is asked; `gitDir` is a bare repository. */
export type GitRequest =
  | ({ readonly verb: 'fetch' } & CommitFetch)
  | { readonly verb: 'list-refs'; readonly remote: GitRemote; readonly timeoutMs: number }
  | { readonly verb: 'find-commits'; readonly gitDir: string; readonly oids: readonly string[] }
  | ({ readonly verb: 'check-signature'; readonly gitDir: string } & SignatureQuestion)
  | {
      readonly verb: 'read-tree'
      readonly gitDir: string
      readonly commit: string
      readonly path: string
      readonly lfsFolder?: string | undefined
    }
  | { readonly verb: 'list-folders'; readonly gitDir: string; readonly commit: string; readonly pattern: string }
  | { readonly verb: 'find-submodules'; readonly gitDir: string; readonly commit: string; readonly url: string }
  | {
      readonly verb: 'find-tree-oids'
      readonly gitDir: string
      readonly commit: string
      readonly paths: readonly string[]
      readonly lfsFolder?: string | undefined
    }

/** Answer to find-commits and fetch. */
export interface CommitsAnswer {
  /** For each id the commit that it names, tags followed; undefined when it is not there. */
  readonly commits: readonly (string | undefined)[]
  /** Packs in the repository. */
  readonly packs: number
}

/** Answer to find-tree-oids: for each path its treeOid; undefined when it has none, for reasons that reading it tells. */
export type TreeOidsAnswer = readonly (string | undefined)[]

/** Answer to fetch and list-refs when the server asks to be left alone: an error's fields cross threads, but not its class. */
export interface BusyAnswer {
  readonly busy: { readonly message: string; readonly retryAfterMs: number | undefined }
}

const CACHE_MS = 10_000
const http = createGitHttp()
/** Folders by the ids of their trees, whatever repository they are of. */
const folders = new FolderCache()

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

type Answer =
  | undefined
  | CommitsAnswer
  | SourceTree
  | TreeOidsAnswer
  | readonly ListedRef[]
  | readonly MissingSubmodule[]
  | readonly string[]
  | BusyAnswer

async function handle(request: GitRequest): Promise<Answer> {
  switch (request.verb) {
    case 'fetch':
      return unlessBusy(() => fetch(request))
    case 'list-refs':
      return unlessBusy(() => listRefs(request))
    case 'find-commits':
      return findCommits(request.gitDir, request.oids)
    case 'check-signature':
      await checkSignature(openStore(request.gitDir), request)
      return undefined
    case 'read-tree':
      return readSourceTree(openStore(request.gitDir), request.commit, request.path, {
        lfsFolder: request.lfsFolder,
        folders,
      })
    case 'list-folders':
      return listFolders(openStore(request.gitDir), request.commit, request.pattern)
    case 'find-submodules':
      return findMissingSubmodules(openStore(request.gitDir), request.commit, request.url)
    case 'find-tree-oids':
      return findTreeOids(openStore(request.gitDir), request)
  }
}

async function unlessBusy<T>(work: () => Promise<T>): Promise<T | BusyAnswer> {
  try {
    return await work()
  } catch (error) {
    if (!(error instanceof GitServerBusy)) throw error
    return { busy: { message: error.message, retryAfterMs: error.retryAfterMs } }
  }
}

async function fetch(request: CommitFetch): Promise<CommitsAnswer> {
  // Only when it is needed: most threads only read.
  const { fetchCommit } = await import('./git-fetch.ts')
  await fetchCommit(http, request)
  return findCommits(request.gitDir, [request.oid])
}

async function listRefs(request: GitRequest & { verb: 'list-refs' }): Promise<readonly ListedRef[]> {
  const { listAllRefs } = await import('./git-fetch.ts')
  return listAllRefs(http, request.remote, request.timeoutMs)
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

function findTreeOids(
  store: ObjectStore,
  { commit, paths, lfsFolder }: GitRequest & { verb: 'find-tree-oids' },
): (string | undefined)[] {
  return paths.map((each) => {
    try {
      return findTreeOid(store, commit, each, { lfsFolder, folders })
    } catch (error) {
      if (error instanceof AppError && error.code !== 'FetchFailed') return undefined
      throw error
    }
  })
}

// Requests come from the tracker only, which sends this type.
answerRequests((request) => handle(request as GitRequest))

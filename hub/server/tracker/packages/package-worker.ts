// The worker thread that unpacks packages, reads their files and the indexes of Helm repositories.
import { AppError } from '@fairlead/shared/errors'
import { answerRequests } from '../../worker-answer.ts'
import { FolderCache } from '../folder-cache.ts'
import { listFolders } from '../folder-listing.ts'
import { findTreeOid, readSourceTree } from '../source-reader.ts'
import type { SourceTree } from '../source-tree.ts'
import { type ChartVersion, parseHelmIndex } from './helm-index.ts'
import { PackageObjects } from './package-objects.ts'
import { readPackage, type StoredPackage } from './stored-package.ts'
import { unpack } from './unpack.ts'

/** What the worker is asked. */
export type PackageRequest =
  | { readonly verb: 'check'; readonly archive: Uint8Array; readonly isChart: boolean }
  | ({ readonly verb: 'read-tree'; readonly path: string } & StoredPackage)
  | ({ readonly verb: 'find-tree-oids'; readonly paths: readonly string[] } & StoredPackage)
  | ({ readonly verb: 'list-folders'; readonly pattern: string } & StoredPackage)
  | { readonly verb: 'read-index'; readonly index: Uint8Array; readonly charts: readonly string[] }

/** Answer to read-index: the versions of each chart that was asked for and is there. */
export type HelmIndexAnswer = ReadonlyMap<string, readonly ChartVersion[]>

const CACHE_MS = 10_000
/** The package that was read last, kept for a moment: applications of one package are read one after the other. */
let cached: { key: string; objects: PackageObjects; timer: NodeJS.Timeout } | undefined
const folders = new FolderCache()

async function open(stored: StoredPackage): Promise<PackageObjects> {
  const key = `${stored.folder}\0${stored.digest}`
  if (cached?.key === key) {
    cached.timer.refresh()
    return cached.objects
  }
  const { archive, isChart } = readPackage(stored)
  const objects = new PackageObjects(stored.digest, await unpack(archive, { stripTopFolder: isChart }))
  clearTimeout(cached?.timer)
  const timer = setTimeout(() => {
    cached = undefined
  }, CACHE_MS)
  cached = { key, objects, timer }
  return objects
}

type Answer = undefined | SourceTree | readonly (string | undefined)[] | HelmIndexAnswer

async function handle(request: PackageRequest): Promise<Answer> {
  switch (request.verb) {
    case 'check':
      // Whether its files can be placed beside each other too.
      new PackageObjects('', await unpack(request.archive, { stripTopFolder: request.isChart }))
      return undefined
    case 'read-tree': {
      const { missingLfs: _none, ...tree } = readSourceTree(await open(request), request.digest, request.path, {
        folders,
      })
      return tree
    }
    case 'find-tree-oids': {
      const objects = await open(request)
      return request.paths.map((path) => findTreeOidIn(objects, request.digest, path))
    }
    case 'list-folders':
      return listFolders(await open(request), request.digest, request.pattern)
    case 'read-index':
      return parseHelmIndex(request.index, request.charts)
  }
}

function findTreeOidIn(objects: PackageObjects, digest: string, path: string): string | undefined {
  try {
    return findTreeOid(objects, digest, path, { folders })
  } catch (error) {
    if (error instanceof AppError && error.code !== 'FetchFailed') return undefined
    throw error
  }
}

// Requests come from the tracker only, which sends this type.
answerRequests((request) => handle(request as PackageRequest))

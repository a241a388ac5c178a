// Fetches into a bare repository by isomorphic-git. For worker threads: indexing a pack is synchronous work. All of its
// requests go through git-http.ts, and every pack through pack-check.ts before it is indexed.
import { existsSync, promises as files, mkdirSync, readdirSync, rmSync, statSync } from 'node:fs'
import path from 'node:path'
import { AppError, toAppError } from '@fairlead/shared/errors'
import git, { type GitHttpRequest, type HttpClient } from 'isomorphic-git'
import type { GitHttp, GitRemote } from './git-http.ts'
import { damaged } from './git-object.ts'
import { checkPack } from './pack-check.ts'
import { PackIndex } from './pack-index.ts'

/** What to fetch and where to. */
export interface CommitFetch {
  /** The bare repository; made when it is not there. */
  readonly gitDir: string
  readonly remote: GitRemote
  /** Id of a commit or tag. */
  readonly oid: string
  /** A commit that is here whole, from which the history to `oid` is fetched. Undefined: `oid` without its history. */
  readonly have: string | undefined
  /** Largest pack in bytes. */
  readonly maxPackBytes: number
  /** Time for all requests in milliseconds. */
  readonly timeoutMs: number
}

/** A ref as a server lists it. */
export interface ListedRef {
  readonly ref: string
  readonly oid: string
  /** Of an annotated tag: the id of what it points at. */
  readonly peeled?: string
  /** Of a symbolic ref: what it points at. */
  readonly target?: string
}

/** What isomorphic-git is told instead of the address, which only git-http.ts needs to know. */
const PLACEHOLDER = 'http://repository'
const LISTING_MAX_BYTES = 32 * 1024 * 1024
/** A history of this many bytes is fetched whatever the size of what is here. */
const HISTORY_MIN_BYTES = 1024 * 1024

/** Fetches one commit. Rejects as GitHttp.send does; FetchFailed when the server refuses, or sends something else or damaged; LimitExceeded when it is too large, or when the history since `have` is larger than fetching everything anew. */
export async function fetchCommit(http: GitHttp, fetch: CommitFetch): Promise<void> {
  const { gitDir, remote, oid, have, timeoutMs } = fetch
  const folder = path.join(gitDir, 'objects/pack')
  const maxPackBytes = have === undefined ? fetch.maxPackBytes : Math.min(fetch.maxPackBytes, historyLimit(folder))
  const fs = { promises: { ...files, writeFile: createPackWriter(maxPackBytes) } }
  const plugin = createPlugin(http, remote, { maxPackBytes, timeoutMs, head: oid })
  try {
    if (!existsSync(path.join(gitDir, 'config'))) {
      mkdirSync(gitDir, { recursive: true, mode: 0o700 })
      await git.init({ fs, gitdir: gitDir, bare: true, defaultBranch: 'main' })
      await git.addRemote({ fs, gitdir: gitDir, remote: 'origin', url: PLACEHOLDER })
    }
    // Given by their ids, `ref` is the one `have` that is sent and `remoteRef` the one `want`, and no ref is written.
    // Later fetches go without depth: with it, isomorphic-git, which takes no thin packs, is sent all files each time.
    await git.fetch({
      fs,
      http: plugin,
      gitdir: gitDir,
      remote: 'origin',
      ref: have ?? oid,
      remoteRef: oid,
      singleBranch: true,
      tags: false,
      ...(have === undefined && { depth: 1 }),
    })
  } catch (error) {
    removePartialPacks(folder)
    throw describeFailure(error)
  }
}

/** Lists all refs in the old way, for servers without protocol version 2. Rejects as GitHttp.send does, and with RepositoryUnreachable when the answer is not Git's. */
export async function listAllRefs(http: GitHttp, remote: GitRemote, timeoutMs: number): Promise<readonly ListedRef[]> {
  const plugin = createPlugin(http, remote, { maxPackBytes: 0, timeoutMs })
  try {
    const refs = await git.listServerRefs({
      http: plugin,
      url: PLACEHOLDER,
      protocolVersion: 1,
      symrefs: true,
      peelTags: true,
    })
    return refs as readonly ListedRef[]
  } catch (error) {
    if (error instanceof AppError) throw error
    throw new AppError('RepositoryUnreachable', `the answer is not that of a Git server: ${messageOf(error)}`)
  }
}

/** A pack of this size costs no more than fetching everything anew. */
function historyLimit(folder: string): number {
  const names = existsSync(folder) ? readdirSync(folder) : []
  const sizes = names.map((name) => statSync(path.join(folder, name)).size)
  return Math.max(
    HISTORY_MIN_BYTES,
    sizes.reduce((sum, sizeBytes) => sum + sizeBytes, 0),
  )
}

/** isomorphic-git's way to send a request. Answers are taken in whole, for isomorphic-git waits for ever on one that breaks off. */
function createPlugin(
  http: GitHttp,
  remote: GitRemote,
  { maxPackBytes, timeoutMs, head }: { maxPackBytes: number; timeoutMs: number; head?: string },
): HttpClient {
  const { signal } = new AbortController()
  const until = performance.now() + timeoutMs
  const request = async ({ url, method, headers = {}, body }: GitHttpRequest) => {
    const isListing = method === 'GET'
    const answer = await http
      .send(remote, {
        path: url.slice(PLACEHOLDER.length),
        headers,
        ...(body && { body: await collect(body) }),
        // Framing adds five bytes to each 64 KiB.
        maxBytes: isListing ? LISTING_MAX_BYTES : Math.ceil(maxPackBytes * 1.01) + 65_536,
        timeoutMs: Math.max(1, Math.ceil(until - performance.now())),
        signal,
      })
      .catch((error: unknown) => {
        const isPack = !isListing && error instanceof AppError && error.code === 'LimitExceeded'
        throw isPack ? packTooLarge(maxPackBytes) : error
      })
    if (!isListing && answer.status === 200) throwServerError(answer.body)
    return {
      url,
      method: method ?? 'GET',
      statusCode: answer.status,
      statusMessage: '',
      headers: { 'content-type': answer.contentType },
      body: once(isListing && head !== undefined ? withHead(answer.body, head) : answer.body),
    }
  }
  return { request }
}

/** isomorphic-git reads over a packet that says why the server refuses. */
function throwServerError(body: Buffer): void {
  const head = body.toString('latin1', 0, 8)
  const lengthBytes = Number.parseInt(head.slice(0, 4), 16)
  if (head.slice(4) !== 'ERR ') return
  const text = body.toString('utf8', 8, Math.min(lengthBytes, 208)).replace(/\p{Cc}+/gu, ' ')
  throw new AppError('FetchFailed', `the server refuses the fetch: ${text.trim()}`)
}

/** isomorphic-git fetches nothing from a server whose HEAD points at a branch that does not exist, and is not listed: it looks HEAD up for the name of the default branch, which is of no use here. */
function withHead(listing: Buffer, oid: string): Buffer {
  const isListed = listing.includes(' HEAD\0') || listing.includes(' HEAD\n')
  if (isListed || listing.toString('latin1', listing.length - 4) !== '0000') return listing
  return Buffer.concat([listing.subarray(0, -4), Buffer.from(`0032${oid} HEAD\n0000`)])
}

async function* once(body: Buffer): AsyncGenerator<Uint8Array, void> {
  yield body
}

async function collect(parts: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const chunks: Uint8Array[] = []
  for await (const part of parts) chunks.push(part)
  return Buffer.concat(chunks)
}

/** Writes files as isomorphic-git asks; packs only when they are good, indexes only when they hold every object, and either in one step, because others read meanwhile. */
function createPackWriter(maxPackBytes: number): typeof files.writeFile {
  let objects = 0
  return async (file, data, options) => {
    const name = String(file)
    if (!Buffer.isBuffer(data) || !/\.(pack|idx)$/.test(name)) {
      await files.writeFile(file, data, options)
      return
    }
    if (name.endsWith('.pack')) {
      if (data.length > maxPackBytes) throw packTooLarge(maxPackBytes)
      objects = checkPack(data)
    } else if (new PackIndex(data).count !== objects) {
      // isomorphic-git leaves out what it cannot resolve.
      throw damaged('the base of a delta is missing')
    }
    mkdirSync(path.dirname(name), { recursive: true })
    await files.writeFile(`${name}.tmp`, data)
    await files.rename(`${name}.tmp`, name)
  }
}

function removePartialPacks(folder: string): void {
  if (!existsSync(folder)) return
  const names = new Set(readdirSync(folder))
  for (const name of names) {
    const isWhole = name.endsWith('.idx') || (name.endsWith('.pack') && names.has(name.replace(/pack$/, 'idx')))
    if (!isWhole) rmSync(path.join(folder, name), { force: true })
  }
}

function packTooLarge(maxBytes: number): AppError {
  return new AppError('LimitExceeded', `the files of the commit take more than ${maxBytes} bytes to fetch`)
}

function describeFailure(error: unknown): AppError {
  if (error instanceof AppError) return error
  const { code, message } = toAppError(error, 'FetchFailed')
  return new AppError(code, `the fetch failed: ${message.slice(0, 300)}`, { cause: error })
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message.slice(0, 200) : String(error)
}

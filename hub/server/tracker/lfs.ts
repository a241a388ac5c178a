// Git LFS: what pointers stand for is downloaded by the batch API (github.com/git-lfs/git-lfs, docs/api/batch.md), checked,
// and kept by content.
import { createHash, randomUUID } from 'node:crypto'
import { mkdir, rename, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { AppError } from '@fairlead/shared/errors'
import { addressOf, type GitHttp, type GitRemote } from './git-http.ts'
import { hasLfs, PARTIAL_SUFFIX } from './lfs-store.ts'

/** What a pointer stands for. */
export interface LfsPointer {
  /** SHA-256 of the content in hexadecimal. */
  readonly oid: string
  readonly sizeBytes: number
}

/** How a download is done. */
export interface LfsDownload {
  readonly remote: GitRemote
  /** Where contents are kept, each under its oid. */
  readonly folder: string
  /** Hosts besides the repository's own that contents may come from, with the port where it is not the default one. */
  readonly hosts: readonly string[]
  readonly timeoutMs: number
  readonly signal: AbortSignal
}

const BEGINNING = Buffer.from('version https://git-lfs.github.com/spec/')
const POINTER =
  /^version https:\/\/git-lfs\.github\.com\/spec\/v1\n(?:ext-[^\n]*\n)*oid sha256:([0-9a-f]{64})\nsize (\d{1,15})\n$/
const BATCH_SIZE = 100
const BATCH_MAX_BYTES = 1024 * 1024
const MEDIA_TYPE = 'application/vnd.git-lfs+json'

/** True for a file that is a pointer, or means to be one. */
export function isLfsPointer(data: Buffer): boolean {
  return data.length < 1_024 && data.subarray(0, BEGINNING.length).equals(BEGINNING)
}

/** What a pointer stands for; undefined when it is not as it should be. */
export function findLfsPointer(data: Buffer): LfsPointer | undefined {
  const match = POINTER.exec(data.toString('latin1'))
  return match === null ? undefined : { oid: match[1] ?? '', sizeBytes: Number(match[2]) }
}

/** Downloads what is not there yet. Rejects as GitHttp.send does, with FetchFailed when the server has something else or nothing, with InvalidArgument for SSH. */
export async function downloadLfs(
  http: GitHttp,
  pointers: readonly LfsPointer[],
  download: LfsDownload,
): Promise<void> {
  if (download.remote.ssh) throw new AppError('InvalidArgument', 'Git LFS is not supported over SSH; use https://')
  const missing = pointers.filter((pointer) => !hasLfs(download.folder, pointer))
  await mkdir(download.folder, { recursive: true, mode: 0o700 })
  for (let start = 0; start < missing.length; start += BATCH_SIZE) {
    const batch = missing.slice(start, start + BATCH_SIZE)
    const actions = await askForBatch(http, batch, download)
    for (const pointer of batch) await downloadOne(http, pointer, { ...download, action: actions.get(pointer.oid) })
  }
}

interface Action {
  readonly href: string
  readonly header: Readonly<Record<string, string>>
}

async function askForBatch(
  http: GitHttp,
  batch: readonly LfsPointer[],
  { remote, timeoutMs, signal }: LfsDownload,
): Promise<ReadonlyMap<string, Action>> {
  const objects = batch.map(({ oid, sizeBytes }) => ({ oid, size: sizeBytes }))
  // Never as .lfsconfig says, which whoever pushes can write.
  const url = `${remote.url.replace(/\/+$/, '').replace(/\.git$/, '')}.git`
  const answer = await http.send(
    { ...remote, url },
    {
      path: '/info/lfs/objects/batch',
      headers: { accept: MEDIA_TYPE, 'content-type': MEDIA_TYPE },
      body: Buffer.from(JSON.stringify({ operation: 'download', transfers: ['basic'], hash_algo: 'sha256', objects })),
      maxBytes: BATCH_MAX_BYTES,
      timeoutMs,
      signal,
    },
  )
  if (answer.status !== 200) throw unavailable(`the server answers HTTP ${answer.status}`)
  return parseBatch(answer.body)
}

function parseBatch(body: Buffer): ReadonlyMap<string, Action> {
  let parsed: { readonly objects?: readonly LfsObject[] }
  try {
    parsed = JSON.parse(body.toString('utf8')) ?? {}
  } catch (cause) {
    throw unavailable('the server answers no JSON', cause)
  }
  const objects = Array.isArray(parsed.objects) ? parsed.objects : []
  return new Map(
    objects.flatMap((object: LfsObject | null) => {
      const { href, header } = object?.actions?.download ?? {}
      if (typeof href !== 'string') return []
      const headers = Object.entries(header ?? {}).filter(
        (entry): entry is [string, string] => typeof entry[1] === 'string',
      )
      return [[String(object?.oid), { href, header: Object.fromEntries(headers.slice(0, 20)) }] as const]
    }),
  )
}

interface LfsObject {
  readonly oid?: unknown
  readonly actions?: {
    readonly download?: { readonly href?: unknown; readonly header?: Readonly<Record<string, unknown>> }
  }
}

async function downloadOne(
  http: GitHttp,
  { oid, sizeBytes }: LfsPointer,
  { remote, folder, hosts, timeoutMs, signal, action }: LfsDownload & { readonly action: Action | undefined },
): Promise<void> {
  const name = `the Git LFS object ${oid.slice(0, 12)}`
  if (action === undefined) throw unavailable(`the server does not have ${name}`)
  const own = addressOf(remote.url, '')
  const url = URL.parse(action.href)
  const isAllowed = url !== null && (url.host === own.host || hosts.includes(url.host))
  if (!isAllowed || (url.protocol !== 'https:' && url.protocol !== own.protocol)) {
    throw unavailable(`${name} is at ${url?.host ?? 'no address'}, which is not declared; name it in spec.lfs.hosts`)
  }
  const hasOwn = Object.keys(action.header).some((header) => header.toLowerCase() === 'authorization')
  const authorization = url.host === own.host && !hasOwn ? remote.authorization : undefined
  const to: GitRemote = {
    ...remote,
    url: url.origin,
    authorization,
    redirectHosts: [...hosts, ...(remote.redirectHosts ?? [])],
  }
  const answer = await http.send(to, {
    path: `${url.pathname}${url.search}`,
    headers: action.header,
    maxBytes: sizeBytes,
    timeoutMs,
    signal,
  })
  const isRight = answer.body.length === sizeBytes && createHash('sha256').update(answer.body).digest('hex') === oid
  if (answer.status !== 200 || !isRight) throw unavailable(`${name} is not what the server sends`)
  const file = path.join(folder, oid)
  // Of its own: applications that need the same content download it at once.
  const partial = `${file}.${randomUUID()}${PARTIAL_SUFFIX}`
  await writeFile(partial, answer.body)
  await rename(partial, file)
}

/** Not FetchFailed, which stands for a mirror that must be fetched anew. */
function unavailable(message: string, cause?: unknown): AppError {
  return new AppError('RepositoryUnreachable', message, { cause })
}

// Lists refs by one POST of Git's protocol version 2 (git-scm.com, gitprotocol-v2, "ls-refs"): what every poll sends.
import { AppError } from '@fairlead/shared/errors'
import { VERSION } from '@fairlead/shared/version'
import type { GitHttp, GitRemote } from './git-http.ts'
import { isObjectId } from './git-object.ts'

/** A ref as the server lists it. */
export interface ListedTarget {
  /** Id of the commit, or of the annotated tag. */
  readonly oid: string
  /** Id of the commit; differs from `oid` for annotated tags. */
  readonly commit: string
}

/** Refs as the server lists them. */
export interface RefListing {
  /** By full name, for example refs/heads/main. */
  readonly refs: ReadonlyMap<string, ListedTarget>
  /** What HEAD points at, for example refs/heads/main; undefined when the server has no HEAD or does not say. */
  readonly headTarget: string | undefined
}

/** Which hash makes the ids of a repository. */
export type ObjectFormat = 'sha1' | 'sha256'

/** How a listing is asked for. */
export interface ListingOptions {
  readonly timeoutMs: number
  readonly signal: AbortSignal
  /** A server answers only to that of the repository; default sha1. */
  readonly format?: ObjectFormat
}

const FLUSH = '0000'
const DELIMITER = '0001'
const LISTING_MAX_BYTES = 32 * 1024 * 1024

/** HEAD and the refs whose names begin with one of `prefixes`; undefined when the server does not speak version 2. Rejects as GitHttp.send does. */
export async function listRefs(
  http: GitHttp,
  remote: GitRemote,
  prefixes: readonly string[],
  { format = 'sha1', ...limits }: ListingOptions,
): Promise<RefListing | undefined> {
  const answer = await http.send(remote, {
    path: '/git-upload-pack',
    body: lsRefsRequest(prefixes, format),
    headers: {
      'content-type': 'application/x-git-upload-pack-request',
      accept: 'application/x-git-upload-pack-result',
      'git-protocol': 'version=2',
    },
    maxBytes: LISTING_MAX_BYTES,
    ...limits,
  })
  return answer.status === 200 ? parseLsRefs(answer.body) : undefined
}

function lsRefsRequest(prefixes: readonly string[], format: ObjectFormat): Buffer {
  const lines = ['peel', 'symrefs', 'ref-prefix HEAD', ...prefixes.map((prefix) => `ref-prefix ${prefix}`)]
  const head = ['command=ls-refs', `agent=fairlead/${VERSION}`, `object-format=${format}`]
  return Buffer.from([...head.map(packet), DELIMITER, ...lines.map(packet), FLUSH].join(''))
}

function packet(line: string): string {
  return `${(Buffer.byteLength(line) + 5).toString(16).padStart(4, '0')}${line}\n`
}

/** Undefined when it is not an answer to ls-refs, as servers without version 2 send. */
function parseLsRefs(body: Buffer): RefListing | undefined {
  const lines = readLines(body)
  if (lines === undefined) return undefined
  const refs = new Map<string, ListedTarget>()
  let headTarget: string | undefined
  for (const line of lines) {
    const [oid = '', name = '', ...attributes] = line.split(' ')
    if (!isObjectId(oid) || name === '') return undefined
    const peeled = attributes.find((attribute) => attribute.startsWith('peeled:'))?.slice('peeled:'.length)
    refs.set(name, { oid, commit: peeled ?? oid })
    const target = attributes.find((attribute) => attribute.startsWith('symref-target:'))
    if (name === 'HEAD' && target !== undefined) headTarget = target.slice('symref-target:'.length)
  }
  return { refs, headTarget }
}

/** The packets before the flush that ends them; an empty repository answers with the flush alone. Undefined for anything else. */
function readLines(body: Buffer): string[] | undefined {
  const lines: string[] = []
  let position = 0
  while (position < body.length) {
    const head = body.toString('latin1', position, position + 4)
    if (head === FLUSH) return position + 4 === body.length ? lines : undefined
    const length = /^[0-9a-fA-F]{4}$/.test(head) ? Number.parseInt(head, 16) : 0
    if (length <= 4 || position + length > body.length) return undefined
    lines.push(body.toString('utf8', position + 4, position + length).replace(/\n$/, ''))
    position += length
  }
  return undefined
}

/** A listing in the old way as one of version 2. Throws RepositoryUnreachable when it holds something else than ids. */
export function fromListedRefs(
  listed: readonly { readonly ref: string; readonly oid: string; readonly peeled?: string; readonly target?: string }[],
): RefListing {
  if (listed.some(({ oid, peeled = oid }) => !isObjectId(oid) || !isObjectId(peeled))) {
    throw new AppError('RepositoryUnreachable', 'the answer is not that of a Git server: an id')
  }
  return {
    refs: new Map(listed.map(({ ref, oid, peeled }) => [ref, { oid, commit: peeled ?? oid }])),
    headTarget: listed.find(({ ref }) => ref === 'HEAD')?.target,
  }
}

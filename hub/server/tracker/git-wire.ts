// Git's protocol over HTTP (git-scm.com, gitprotocol-v2 and gitprotocol-http): listing refs and fetching packs, each by
// one POST. Servers without version 2 are spoken to in the old way.
import { AppError } from '@fairlead/shared/errors'
import { VERSION } from '@fairlead/shared/version'
import type { GitHttp, GitRemote, GitRequest } from './git-http.ts'
import { isObjectId } from './git-object.ts'

/** Which version a server speaks. */
export type GitProtocol = 'v2' | 'v0'

/** Refs as the server lists them. */
export interface RefListing {
  /** Ids by full name, for example refs/heads/main; annotated tags by the commit they point at. */
  readonly refs: ReadonlyMap<string, string>
  /** What HEAD points at, for example refs/heads/main; undefined when the server has no HEAD or does not say. */
  readonly headTarget: string | undefined
  readonly protocol: GitProtocol
}

/** What to fetch. */
export interface FetchWish {
  /** Ids of commits or tags. */
  readonly wants: readonly string[]
  /** Commits whose whole trees are here already. */
  readonly haves: readonly string[]
  readonly protocol: GitProtocol
  /** Largest pack in bytes. */
  readonly maxPackBytes: number
}

/** Limits of one exchange. */
export interface ExchangeOptions {
  readonly timeoutMs: number
  readonly signal: AbortSignal
}

const AGENT = `agent=fairlead/${VERSION}`
const FLUSH = '0000'
const DELIMITER = '0001'
const LISTING_MAX_BYTES = 32 * 1024 * 1024
const UPLOAD_PACK = {
  'content-type': 'application/x-git-upload-pack-request',
  accept: 'application/x-git-upload-pack-result',
}
const VERSION_2 = { 'git-protocol': 'version=2' }

/** Lists HEAD and the refs whose names begin with one of `prefixes`. Rejects as GitHttp.send does, and with RepositoryUnreachable when the answer is not Git's. */
export async function listRefs(
  http: GitHttp,
  remote: GitRemote,
  prefixes: readonly string[],
  { known, ...options }: ExchangeOptions & { readonly known?: GitProtocol | undefined },
): Promise<RefListing> {
  if (known !== 'v0') {
    const answer = await http.send(remote, {
      path: '/git-upload-pack',
      body: lsRefsRequest(prefixes),
      headers: { ...UPLOAD_PACK, ...VERSION_2 },
      maxBytes: LISTING_MAX_BYTES,
      ...options,
    })
    const listing = answer.status === 200 ? parseLsRefs(answer.body) : undefined
    if (listing) return listing
  }
  const answer = await http.send(remote, {
    path: '/info/refs?service=git-upload-pack',
    maxBytes: LISTING_MAX_BYTES,
    ...options,
  })
  const listing = answer.status === 200 ? parseAdvertisement(answer.body) : undefined
  if (listing) return listing
  if (answer.body.includes('object-format=sha256')) {
    throw new AppError('RepositoryUnreachable', 'repositories with SHA-256 object ids are not supported yet')
  }
  throw new AppError('RepositoryUnreachable', `the answer is not that of a Git server (HTTP ${answer.status})`)
}

/** Fetches one pack with the wanted commits, without their history. Rejects as GitHttp.send does; FetchFailed when the server refuses or sends something else, LimitExceeded when the pack is too large. */
export async function fetchPack(
  http: GitHttp,
  remote: GitRemote,
  wish: FetchWish,
  options: ExchangeOptions,
): Promise<Uint8Array<ArrayBuffer>> {
  const isVersion2 = wish.protocol === 'v2'
  const request: GitRequest = {
    path: '/git-upload-pack',
    body: isVersion2 ? fetchRequest(wish) : oldFetchRequest(wish),
    headers: { ...UPLOAD_PACK, ...(isVersion2 && VERSION_2) },
    // Framing adds five bytes to each 64 KiB.
    maxBytes: Math.ceil(wish.maxPackBytes * 1.01) + 65_536,
    ...options,
  }
  const answer = await http.send(remote, request).catch((error: unknown) => {
    if (error instanceof AppError && error.code === 'LimitExceeded') throw packTooLarge(wish.maxPackBytes)
    throw error
  })
  if (answer.status !== 200) {
    throw new AppError('FetchFailed', `the server answers the fetch with HTTP ${answer.status}`)
  }
  const pack = parsePack(answer.body)
  if (pack.length > wish.maxPackBytes) throw packTooLarge(wish.maxPackBytes)
  return pack
}

function packTooLarge(maxBytes: number): AppError {
  return new AppError(
    'LimitExceeded',
    `the files of the commit take more than ${maxBytes} bytes to fetch; larger repositories are not supported yet`,
  )
}

/** A packet line. */
function packet(line: string): string {
  return `${(Buffer.byteLength(line) + 5).toString(16).padStart(4, '0')}${line}\n`
}

function lsRefsRequest(prefixes: readonly string[]): Buffer {
  const lines = ['peel', 'symrefs', 'ref-prefix HEAD', ...prefixes.map((prefix) => `ref-prefix ${prefix}`)]
  const head = [packet('command=ls-refs'), packet(AGENT), packet('object-format=sha1'), DELIMITER]
  return Buffer.from([...head, ...lines.map(packet), FLUSH].join(''))
}

function fetchRequest({ wants, haves }: FetchWish): Buffer {
  const lines = [
    'thin-pack',
    'no-progress',
    'ofs-delta',
    'deepen 1',
    ...haves.map((oid) => `shallow ${oid}`),
    ...wants.map((oid) => `want ${oid}`),
    ...haves.map((oid) => `have ${oid}`),
    'done',
  ]
  const head = [packet('command=fetch'), packet(AGENT), packet('object-format=sha1'), DELIMITER]
  return Buffer.from([...head, ...lines.map(packet), FLUSH].join(''))
}

function oldFetchRequest({ wants, haves }: FetchWish): Buffer {
  const capabilities = `side-band-64k thin-pack ofs-delta no-progress ${AGENT}`
  const lines = [
    ...wants.map((oid, index) => packet(index === 0 ? `want ${oid} ${capabilities}` : `want ${oid}`)),
    ...haves.map((oid) => packet(`shallow ${oid}`)),
    packet('deepen 1'),
    FLUSH,
    ...haves.map((oid) => packet(`have ${oid}`)),
    packet('done'),
  ]
  return Buffer.from(lines.join(''))
}

/** Packets of an answer: bytes, or the number (0 to 2) of a special packet. Throws FetchFailed when it is not made of packets. */
function* packets(body: Buffer): Generator<Buffer | number> {
  let position = 0
  while (position < body.length) {
    const head = body.toString('latin1', position, position + 4)
    if (!/^[0-9a-fA-F]{4}$/.test(head)) throw notPackets()
    const length = Number.parseInt(head, 16)
    if (length < 4) {
      yield length
      position += 4
      continue
    }
    if (position + length > body.length) throw notPackets()
    yield body.subarray(position + 4, position + length)
    position += length
  }
}

function notPackets(): AppError {
  return new AppError('FetchFailed', "the server's answer is cut short or is not Git's")
}

function readLines(body: Buffer): (string | number)[] | undefined {
  try {
    return [...packets(body)].map((part) =>
      typeof part === 'number' ? part : part.toString('utf8').replace(/\n$/, ''),
    )
  } catch {
    return undefined
  }
}

/** Undefined when it is not an answer to ls-refs, as servers without version 2 send. */
function parseLsRefs(body: Buffer): RefListing | undefined {
  const lines = readLines(body)
  // An empty repository answers with the flush alone.
  if (lines === undefined || lines.at(-1) !== 0) return undefined
  const refs = new Map<string, string>()
  let headTarget: string | undefined
  for (const line of lines.slice(0, -1)) {
    if (typeof line === 'number') return undefined
    const [oid = '', name = '', ...attributes] = line.split(' ')
    if (!isObjectId(oid) || name === '') return undefined
    const peeled = attributes.find((attribute) => attribute.startsWith('peeled:'))?.slice('peeled:'.length)
    refs.set(name, peeled ?? oid)
    const target = attributes.find((attribute) => attribute.startsWith('symref-target:'))
    if (name === 'HEAD' && target !== undefined) headTarget = target.slice('symref-target:'.length)
  }
  return { refs, headTarget, protocol: 'v2' }
}

/** Undefined when it is not an advertisement of refs. */
function parseAdvertisement(body: Buffer): RefListing | undefined {
  const lines = readLines(body)
  if (lines === undefined || lines[0] !== '# service=git-upload-pack' || lines[1] !== 0) return undefined
  const refs = new Map<string, string>()
  let headTarget: string | undefined
  for (const line of lines.slice(2)) {
    if (typeof line === 'number') break
    const [ref = '', capabilities] = line.split('\0')
    headTarget ??= capabilities && / ?symref=HEAD:(\S+)/.exec(capabilities)?.[1]
    const space = ref.indexOf(' ')
    const [oid, name] = [ref.slice(0, space), ref.slice(space + 1)]
    if (!isObjectId(oid)) return undefined
    // An annotated tag is listed twice, the second time with the commit it points at.
    if (name !== 'capabilities^{}') refs.set(name.replace(/\^\{\}$/, ''), oid)
  }
  return { refs, headTarget, protocol: 'v0' }
}

/** The pack of a fetch's answer: what comes in band 1. */
function parsePack(body: Buffer): Uint8Array<ArrayBuffer> {
  const parts: Buffer[] = []
  for (const part of packets(body)) {
    if (typeof part === 'number') continue
    const band = part[0]
    if (band === 1) parts.push(part.subarray(1))
    else if (band === 3) throw refused(part.toString('utf8', 1))
    else if (band !== 2 && part.toString('latin1', 0, 4) === 'ERR ') throw refused(part.toString('utf8', 4))
  }
  if (parts.length === 0) throw new AppError('FetchFailed', 'the server sends no pack')
  // In memory of its own, so that it can move to another thread.
  const pack = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0))
  let position = 0
  for (const part of parts) {
    pack.set(part, position)
    position += part.length
  }
  return pack
}

function refused(message: string): AppError {
  const text = message
    .replace(/\p{Cc}+/gu, ' ')
    .trim()
    .slice(0, 200)
  return new AppError('FetchFailed', `the server refuses the fetch: ${text}`)
}

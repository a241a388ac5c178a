// Lists refs and fetches by the git binary: over SSH, and over HTTP(S) what is too large for isomorphic-git.
import { existsSync } from 'node:fs'
import { mkdir } from 'node:fs/promises'
import { AppError } from '@fairlead/shared/errors'
import { findSshAddress, knownHostName, type SshAddress } from '../ssh-address.ts'
import { checkLiteralHost, resolveGuarded } from './address-guard.ts'
import { type GitCommand, type GitResult, runGitCommand } from './git-command.ts'
import type { GitRemote } from './git-http.ts'
import { isObjectId } from './git-object.ts'
import type { ListedTarget, RefListing } from './ref-listing.ts'

/** One fetch. */
export interface NativeFetch {
  /** A bare repository; made when it is not there. */
  readonly gitDir: string
  readonly remote: GitRemote
  /** Id of a commit or tag. */
  readonly oid: string
  readonly maxPackBytes: number
  /** Folder for keys and other files while git runs; nobody else may read it. */
  readonly scratchDir: string
  readonly timeoutMs: number
  readonly signal: AbortSignal
}

/** One listing. */
export type NativeListing = Pick<NativeFetch, 'scratchDir' | 'timeoutMs' | 'signal'>

type Way = Pick<GitCommand, 'protocols' | 'config' | 'files' | 'inFolder'>

/** Files that git writes besides packs are small. */
const SMALL_FILE_BYTES = 1024 * 1024
/** Fetched commits are kept as refs, so that git knows what it has when it asks for more. */
const KEPT = 'refs/fairlead/'

/** HEAD and the refs whose names begin with one of `prefixes`. Rejects with RepositoryUnreachable, RepositoryAuthFailed, RepositoryNotFound or Aborted. */
export async function listRefsByGit(
  remote: GitRemote,
  prefixes: readonly string[],
  limits: NativeListing,
): Promise<RefListing> {
  const patterns = prefixes.flatMap((prefix) => (prefix.endsWith('/') ? [`${prefix}*`] : [prefix, `${prefix}^{}`]))
  const result = await runGitCommand({
    args: ['ls-remote', '--symref', '--', remote.url, 'HEAD', ...patterns],
    ...(await findWay(remote)),
    maxFileBytes: SMALL_FILE_BYTES,
    ...limits,
  })
  if (result.code !== 0) throw describeFailure(result, remote, 'RepositoryUnreachable')
  return parseListing(result.stdout, prefixes)
}

/** Fetches one commit without its history; what is here is not sent again. Rejects as listRefsByGit does, and with FetchFailed and LimitExceeded. */
export async function fetchByGit({ gitDir, remote, oid, maxPackBytes, ...limits }: NativeFetch): Promise<void> {
  const common = { ...limits, maxFileBytes: maxPackBytes }
  if (!existsSync(`${gitDir}/config`)) {
    await mkdir(gitDir, { recursive: true, mode: 0o700 })
    const made = await runGitCommand({
      args: ['init', '-q', '--bare', `--object-format=${oid.length === 64 ? 'sha256' : 'sha1'}`, '--', gitDir],
      protocols: [],
      ...common,
    })
    if (made.code !== 0) throw new AppError('FetchFailed', `git cannot make a repository: ${lastLine(made.stderr)}`)
  }
  const options = [
    '--quiet',
    '--depth=1',
    '--no-tags',
    '--no-write-fetch-head',
    '--no-auto-maintenance',
    '--no-show-forced-updates',
  ]
  const refspec = `+${oid}:${KEPT}${oid}`
  const way = await findWay(remote)
  const args = [`--git-dir=${gitDir}`, 'fetch', ...options, '--', remote.url, refspec]
  const result = await runGitCommand({ args, ...way, ...common })
  if (result.code === 0) return
  if (isOverLimit(result.stderr)) {
    throw new AppError(
      'LimitExceeded',
      `the files of the commit take more than ${maxPackBytes} bytes to fetch, or too much memory`,
    )
  }
  throw describeFailure(result, remote, 'FetchFailed')
}

/** index-pack dies without a word when its file grows beyond the limit; what is wrong with a pack it says. */
function isOverLimit(stderr: string): boolean {
  const isSilent = /^fatal: fetch-pack: invalid index-pack output$/.test(stderr)
  return isSilent || /File too large|died of signal|out of memory|mmap failed/i.test(stderr)
}

async function findWay(remote: GitRemote): Promise<Way> {
  const address = findSshAddress(remote.url)
  if (address === undefined) return await findHttpWay(remote)
  const { knownHosts = '', privateKey = '' } = remote.ssh ?? {}
  // Resolved here, so that the address that was looked at is the one that is connected to.
  const [ip = ''] = await resolveGuarded(address.host)
  return {
    protocols: ['ssh'],
    files: { key: `${privateKey.trim()}\n`, known_hosts: `${knownHosts.trim()}\n` },
    inFolder: () => ({ env: { GIT_SSH_COMMAND: sshCommand(address, ip), GIT_SSH_VARIANT: 'ssh' } }),
  }
}

/** Where the files are: ssh resolves it itself, after it has split its options, so that the name may hold anything. */
const FOLDER = '${HOME}'

/** Only the given key, only the given host keys, nobody's configuration, nothing forwarded, nothing asked. */
function sshCommand(address: SshAddress, ip: string): string {
  const options = [
    `HostName=${ip}`,
    `HostKeyAlias=${knownHostName(address)}`,
    `UserKnownHostsFile=${FOLDER}/known_hosts`,
    'GlobalKnownHostsFile=/dev/null',
    'StrictHostKeyChecking=yes',
    'UpdateHostKeys=no',
    `IdentityFile=${FOLDER}/key`,
    'IdentitiesOnly=yes',
    'IdentityAgent=none',
    'CertificateFile=none',
    'PreferredAuthentications=publickey',
    'BatchMode=yes',
    'ForwardAgent=no',
    'ClearAllForwardings=yes',
    'PermitLocalCommand=no',
    'ProxyCommand=none',
    'ControlMaster=no',
    'ControlPath=none',
    'ConnectTimeout=15',
    'ServerAliveInterval=10',
    'ServerAliveCountMax=3',
  ]
  return ['ssh', '-F', '/dev/null', ...options.flatMap((option) => ['-o', `'${option}'`])].join(' ')
}

async function findHttpWay({ url, authorization, caPem, proxy }: GitRemote): Promise<Way> {
  const { hostname, port, protocol } = new URL(url)
  const isSecure = protocol === 'https:'
  const proxyUrl = isSecure ? proxy?.HTTPS_PROXY : proxy?.HTTP_PROXY
  const host = hostname.replace(/^\[|\]$/g, '')
  // Behind a proxy it is the proxy that resolves names; the hub may not even be able to.
  const ips = proxyUrl === undefined ? await resolveGuarded(host) : []
  if (proxyUrl !== undefined) checkLiteralHost(host)
  const addresses = ips.map((ip) => (ip.includes(':') ? `[${ip}]` : ip)).join(',')
  return {
    protocols: ['http', 'https'],
    files: caPem === undefined ? {} : { ca: caPem },
    config: {
      // Redirects would be followed to anywhere.
      'http.followRedirects': 'false',
      ...(addresses !== '' && { 'http.curloptResolve': `${hostname}:${port || (isSecure ? 443 : 80)}:${addresses}` }),
      'http.lowSpeedLimit': '1',
      'http.lowSpeedTime': '30',
      ...(authorization !== undefined && { 'http.extraHeader': `Authorization: ${authorization}` }),
      ...(proxyUrl !== undefined && { 'http.proxy': proxyUrl, 'http.proxyAuthMethod': 'basic' }),
    },
    inFolder: (folder) => ({
      config: caPem === undefined ? {} : { 'http.sslCAInfo': `${folder}/ca` },
      env: proxy?.NO_PROXY === undefined ? {} : { no_proxy: proxy.NO_PROXY },
    }),
  }
}

function parseListing(text: string, prefixes: readonly string[]): RefListing {
  const refs = new Map<string, ListedTarget>()
  let headTarget: string | undefined
  for (const line of text.split('\n')) {
    const [left = '', name = ''] = line.split('\t')
    if (left.startsWith('ref: ') && name === 'HEAD') headTarget = left.slice('ref: '.length)
    // ls-remote matches the ends of names: what was not asked for is left out.
    const plain = name.replace(/\^\{\}$/, '')
    const isWanted = plain === 'HEAD' || prefixes.some((prefix) => plain.startsWith(prefix))
    if (!isObjectId(left) || !isWanted) continue
    refs.set(plain, plain === name ? { oid: left, commit: left } : { oid: refs.get(plain)?.oid ?? left, commit: left })
  }
  return { refs, headTarget }
}

function describeFailure(
  { stderr }: GitResult,
  remote: GitRemote,
  fallback: 'RepositoryUnreachable' | 'FetchFailed',
): AppError {
  const host = findSshAddress(remote.url)?.host ?? new URL(remote.url).host
  if (/Host key verification failed|REMOTE HOST IDENTIFICATION HAS CHANGED/.test(stderr)) {
    return new AppError('RepositoryUnreachable', `${host} has another host key than those of spec.ssh.knownHosts`)
  }
  if (/Permission denied|Authentication failed|could not read Username|HTTP 40[13]|error: 40[13]/.test(stderr)) {
    return new AppError('RepositoryAuthFailed', `${host} refuses the credentials`)
  }
  if (/does not appear to be a git repository|repository .*not found|Repository not found/i.test(stderr)) {
    return new AppError('RepositoryNotFound', `${host} knows no such repository`)
  }
  return new AppError(fallback, `git: ${lastLine(stderr)}`)
}

/** The line that says most, without what the server says by itself, which may be anything. */
function lastLine(stderr: string): string {
  const lines = stderr.split('\n').filter((line) => line.trim() !== '' && !line.startsWith('remote:'))
  const fatal = lines.find((line) => /^(fatal|error|ssh):/.test(line)) ?? lines[0] ?? 'it failed without a word'
  return fatal.slice(0, 300)
}

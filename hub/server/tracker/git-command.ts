// Runs the git binary where isomorphic-git cannot do it: over SSH, and for packs that are too large for it. Whatever comes
// from the server or the definition is data to it: no configuration but ours, no hooks, no helpers, no other protocol, no
// agent, no work tree, limits on time, memory and file size.
import { spawn } from 'node:child_process'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { AppError } from '@fairlead/shared/errors'

/** One run of git. */
export interface GitCommand {
  readonly args: readonly string[]
  /** Protocols that git may use, for example `ssh`. */
  readonly protocols: readonly string[]
  /** Settings besides ours; they are not seen in the list of processes. */
  readonly config?: Readonly<Record<string, string>>
  /** Folder for what it needs while it runs, keys among it; nobody else may read it. */
  readonly scratchDir: string
  /** Files that are written for it there, private to this run, by name. */
  readonly files?: Readonly<Record<string, string>>
  /** Further variables and settings, told the folder of those files. */
  readonly inFolder?: (folder: string) => {
    readonly env?: Readonly<Record<string, string>>
    readonly config?: Readonly<Record<string, string>>
  }
  readonly timeoutMs: number
  /** Largest file that it may write, in bytes. */
  readonly maxFileBytes: number
  readonly signal: AbortSignal
}

/** How git ended. */
export interface GitResult {
  readonly code: number
  readonly stdout: string
  /** The end of it, without control characters. */
  readonly stderr: string
}

const MAX_STDOUT_BYTES = 32 * 1024 * 1024
const MAX_STDERR_BYTES = 8_192
/** Address space of each process, in KiB: index-pack maps the pack, and must not believe sizes that a server claims. */
const MAX_MEMORY_KIB = 4 * 1024 * 1024
const FILE_BLOCK_BYTES = 512
/** Limits are inherited by what git starts, ssh among it. */
const SCRIPT = 'ulimit -v "$1"; ulimit -f "$2"; shift 2; exec git "$@"'

const CONFIG: Readonly<Record<string, string>> = {
  'core.hooksPath': '/dev/null',
  'core.fsmonitor': 'false',
  'core.attributesFile': '/dev/null',
  'core.askPass': 'false',
  'credential.helper': '',
  'fetch.recurseSubmodules': 'false',
  // A pack of few objects stays a pack, which the readers read.
  'fetch.unpackLimit': '1',
  'fetch.writeCommitGraph': 'false',
  'gc.auto': '0',
  'maintenance.auto': 'false',
  'init.templateDir': '',
  'protocol.allow': 'never',
  'transfer.bundleURI': 'false',
}

/** Runs git. Rejects with RepositoryUnreachable when it is not installed or does not end in time, with Aborted when the signal aborts. */
export async function runGitCommand(command: GitCommand): Promise<GitResult> {
  const folder = await mkdtemp(path.join(command.scratchDir, 'git-'))
  try {
    for (const [name, content] of Object.entries(command.files ?? {})) {
      await writeFile(path.join(folder, name), content, { mode: 0o600 })
    }
    return await run(command, folder)
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

async function run(command: GitCommand, folder: string): Promise<GitResult> {
  const { args, timeoutMs, maxFileBytes, signal } = command
  signal.throwIfAborted()
  const limits = [String(MAX_MEMORY_KIB), String(Math.ceil(maxFileBytes / FILE_BLOCK_BYTES))]
  const child = spawn('/bin/sh', ['-c', SCRIPT, 'sh', ...limits, ...args], {
    cwd: folder,
    env: environmentOf(command, folder),
    stdio: ['ignore', 'pipe', 'pipe'],
    // A group of its own, so that what git started ends with it.
    detached: true,
  })
  const end = (): void => {
    try {
      if (child.pid !== undefined) process.kill(-child.pid, 'SIGKILL')
    } catch {
      // It has ended.
    }
  }
  const deadline = AbortSignal.timeout(timeoutMs)
  const ending = AbortSignal.any([signal, deadline])
  ending.addEventListener('abort', end, { once: true })
  try {
    const [stdout, stderr] = [collect(child.stdout, MAX_STDOUT_BYTES, end), collect(child.stderr, MAX_STDERR_BYTES)]
    const { promise, resolve, reject } = Promise.withResolvers<number>()
    child.once('error', reject)
    child.once('close', (code) => resolve(code ?? 1))
    const code = await promise
    if (signal.aborted) throw new AppError('Aborted', 'git was given up')
    if (deadline.aborted)
      throw new AppError('RepositoryUnreachable', `the server does not answer within ${timeoutMs} ms`)
    if (code === 127)
      throw new AppError('RepositoryUnreachable', 'this repository needs git on the hub, which is not installed')
    return {
      code,
      stdout: stdout(),
      stderr: stderr()
        .replace(/[^\P{Cc}\n]+/gu, ' ')
        .trim(),
    }
  } finally {
    ending.removeEventListener('abort', end)
    end()
  }
}

function environmentOf({ protocols, config = {}, inFolder }: GitCommand, folder: string): Record<string, string> {
  const own = inFolder?.(folder)
  const allowed = Object.fromEntries(protocols.map((protocol) => [`protocol.${protocol}.allow`, 'always']))
  const settings = Object.entries({ ...CONFIG, ...allowed, ...config, ...own?.config })
  return {
    PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
    HOME: folder,
    LC_ALL: 'C',
    GIT_CONFIG_NOSYSTEM: '1',
    GIT_CONFIG_GLOBAL: '/dev/null',
    GIT_ALLOW_PROTOCOL: protocols.join(':'),
    GIT_PROTOCOL_FROM_USER: '0',
    GIT_TERMINAL_PROMPT: '0',
    GIT_ASKPASS: 'false',
    SSH_ASKPASS: 'false',
    GIT_NO_LAZY_FETCH: '1',
    GIT_CONFIG_COUNT: String(settings.length),
    ...Object.fromEntries(
      settings.flatMap(([key, value], index) => [
        [`GIT_CONFIG_KEY_${index}`, key],
        [`GIT_CONFIG_VALUE_${index}`, value],
      ]),
    ),
    ...own?.env,
  }
}

/** What comes, up to a limit; beyond it `onMore` is called, or without one the beginning is dropped. */
function collect(stream: NodeJS.ReadableStream, maxBytes: number, onMore?: () => void): () => string {
  let chunks: Buffer[] = []
  let sizeBytes = 0
  stream.on('data', (chunk: Buffer) => {
    chunks.push(chunk)
    sizeBytes += chunk.length
    if (sizeBytes <= maxBytes) return
    if (onMore) onMore()
    const end = Buffer.concat(chunks).subarray(-maxBytes)
    chunks = [end]
    sizeBytes = end.length
  })
  return () => Buffer.concat(chunks).toString('utf8')
}

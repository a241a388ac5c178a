// A Git host on loopback: smart HTTP by git's own http-backend, with switches for what Git hosts do on bad days.

import { spawn, spawnSync } from 'node:child_process'
import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import path from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { makeRunFolder } from './guardian.ts'
import { takePort } from './ports.ts'

/** What the server does with requests: `hang` accepts them and never answers; `error` answers 500; `down` refuses connections. */
export type GitFault = 'none' | 'hang' | 'error' | 'down'

/** Who may read and push. */
export type GitCredentials = { readonly username: string; readonly password: string }

/** Requests and bytes since the start or the last resetCounts. */
export type GitCounts = {
  requests: number
  /** Listings of refs: one for each poll. */
  refListings: number
  /** Fetches of objects. */
  fetches: number
  unauthorized: number
  bytesSent: number
}

/** Files of a commit by path: contents, or undefined to remove the file. */
export type CommitFiles = Readonly<Record<string, string | Buffer | undefined>>

const zero: Readonly<GitCounts> = { requests: 0, refListings: 0, fetches: 0, unauthorized: 0, bytesSent: 0 }

const gitEnvironment = {
  PATH: process.env.PATH ?? '',
  HOME: '/nonexistent',
  GIT_CONFIG_GLOBAL: '/dev/null',
  GIT_CONFIG_NOSYSTEM: '1',
  GIT_TERMINAL_PROMPT: '0',
  GIT_AUTHOR_NAME: 'Dev',
  GIT_AUTHOR_EMAIL: 'dev@example.com',
  GIT_COMMITTER_NAME: 'Dev',
  GIT_COMMITTER_EMAIL: 'dev@example.com',
}

/** Starts a Git host with no repositories on a free port. */
export async function startGitServer(): Promise<GitServer> {
  const server = new GitServer(await takePort())
  await server.setFault('none')
  return server
}

/** A running Git host. */
export class GitServer implements AsyncDisposable {
  /** `http://127.0.0.1:<port>`. */
  readonly url: string
  readonly port: number
  readonly folder = makeRunFolder('git')
  /** Waited before each answer, in ms. Default 0. */
  delayMs = 0
  /** Basic credentials that every request must carry; undefined: none. Default undefined. */
  credentials: GitCredentials | undefined
  readonly counts: GitCounts = { ...zero }
  #fault: GitFault = 'down'
  #server: Server | undefined

  constructor(port: number) {
    this.port = port
    this.url = `http://127.0.0.1:${port}`
  }

  get fault(): GitFault {
    return this.#fault
  }

  /** Switches to a fault, or back to `none`. Open connections break on `down`; requests that hang are dropped by any switch. */
  async setFault(fault: GitFault): Promise<void> {
    const previous = this.#fault
    this.#fault = fault
    if (previous === 'hang' || fault === 'down') this.#server?.closeAllConnections()
    if (fault === 'down') {
      const server = this.#server
      this.#server = undefined
      if (server) await new Promise((resolve) => server.close(resolve))
    } else if (!this.#server) {
      const server = createServer((request, response) => void this.#answer(request, response))
      this.#server = server
      await new Promise<void>((resolve, reject) => {
        server.once('error', reject)
        server.listen(this.port, '127.0.0.1', resolve)
      })
    }
  }

  /** Makes an empty repository whose default branch is `main`; its address is `<url>/<name>.git`. */
  createRepository(name: string): GitRepository {
    return new GitRepository(name, this)
  }

  resetCounts(): void {
    Object.assign(this.counts, zero)
  }

  async stop(): Promise<void> {
    await this.setFault('down')
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop()
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url ?? '/', this.url)
    this.counts.requests++
    if (url.pathname.endsWith('/info/refs')) this.counts.refListings++
    if (this.delayMs > 0) await delay(this.delayMs)
    if (this.#fault === 'hang') return
    if (this.#fault === 'error') {
      response.writeHead(500).end('internal error')
    } else if (!this.#isAuthorized(request)) {
      this.counts.unauthorized++
      response.writeHead(401, { 'www-authenticate': 'Basic realm="git"' }).end('unauthorized')
    } else {
      this.#runBackend(request, response, url)
    }
  }

  #isAuthorized(request: IncomingMessage): boolean {
    if (!this.credentials) return true
    const { username, password } = this.credentials
    return request.headers.authorization === `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}`
  }

  #runBackend(request: IncomingMessage, response: ServerResponse, url: URL): void {
    const header = (name: string) => String(request.headers[name] ?? '')
    const env = {
      ...gitEnvironment,
      GIT_PROJECT_ROOT: this.folder,
      GIT_HTTP_EXPORT_ALL: '1',
      GIT_PROTOCOL: header('git-protocol'),
      PATH_INFO: decodeURIComponent(url.pathname),
      QUERY_STRING: url.search.slice(1),
      REQUEST_METHOD: request.method ?? 'GET',
      CONTENT_TYPE: header('content-type'),
      HTTP_CONTENT_ENCODING: header('content-encoding'),
      ...(request.headers['content-length'] && { CONTENT_LENGTH: header('content-length') }),
      REMOTE_USER: 'dev',
      REMOTE_ADDR: '127.0.0.1',
    }
    const backend = spawn('git', ['http-backend'], { env, stdio: ['pipe', 'pipe', 'ignore'] })
    request.pipe(backend.stdin)
    backend.stdin.on('error', () => undefined)
    response.on('close', () => backend.kill())
    let head: Buffer | undefined = Buffer.alloc(0)
    backend.stdout.on('data', (chunk: Buffer) => {
      if (head === undefined) {
        this.#send(response, chunk)
        return
      }
      head = Buffer.concat([head, chunk])
      const end = head.indexOf('\r\n\r\n')
      if (end < 0) return
      writeHead(response, head.subarray(0, end).toString())
      if (header('content-type') === 'application/x-git-upload-pack-request') this.#countFetch(url)
      const rest = head.subarray(end + 4)
      head = undefined
      this.#send(response, rest)
    })
    backend.stdout.on('end', () => response.end())
    backend.on('error', () => response.destroy())
  }

  #countFetch(url: URL): void {
    if (url.pathname.endsWith('/git-upload-pack')) this.counts.fetches++
  }

  #send(response: ServerResponse, chunk: Buffer): void {
    this.counts.bytesSent += chunk.length
    response.write(chunk)
  }
}

/** A repository of the host, with a work tree beside it through which a developer commits and pushes. */
export class GitRepository {
  readonly name: string
  /** What goes into `Repository.spec.url`. */
  readonly url: string
  /** The bare repository on disk. */
  readonly bare: string
  /** The developer's work tree. */
  readonly workTree: string

  constructor(name: string, server: GitServer) {
    this.name = name
    this.url = `${server.url}/${name}.git`
    this.bare = path.join(server.folder, `${name}.git`)
    this.workTree = path.join(server.folder, 'work-trees', name)
    mkdirSync(this.workTree, { recursive: true })
    this.make()
    runGit(this.workTree, ['init', '-q', '--initial-branch=main'])
    runGit(this.workTree, ['remote', 'add', 'origin', this.bare])
  }

  /** Writes and removes files, commits and pushes, to `main` unless told otherwise. Returns the commit id. */
  commit(
    files: CommitFiles,
    { message = 'change', branch = 'main' }: { message?: string; branch?: string } = {},
  ): string {
    this.#checkOut(branch)
    this.#write(files)
    runGit(this.workTree, ['add', '-A'])
    runGit(this.workTree, ['commit', '-q', '--allow-empty', '-m', message])
    return this.#push(branch)
  }

  /** Removes files, commits and pushes. Returns the commit id. */
  remove(...files: readonly string[]): string {
    return this.commit(Object.fromEntries(files.map((file) => [file, undefined])), { message: 'remove' })
  }

  /** Puts a history in place of the branch's that shares nothing with it. Returns the commit id. */
  forcePush(files: CommitFiles, { branch = 'main' }: { branch?: string } = {}): string {
    runGit(this.workTree, ['checkout', '-q', '--orphan', 'rewritten'])
    runGit(this.workTree, ['rm', '-rfq', '--ignore-unmatch', '.'])
    this.#write(files)
    runGit(this.workTree, ['add', '-A'])
    runGit(this.workTree, ['commit', '-q', '--allow-empty', '-m', 'rewritten'])
    runGit(this.workTree, ['branch', '-M', 'rewritten', branch])
    return this.#push(branch)
  }

  /** Sets a branch back to an earlier commit, as `git reset --hard` and a forced push do. */
  reset(commit: string, { branch = 'main' }: { branch?: string } = {}): void {
    this.#checkOut(branch)
    runGit(this.workTree, ['reset', '-q', '--hard', commit])
    this.#push(branch)
  }

  /** Tags a commit (default: the last one) and pushes the tag. */
  tag(name: string, commit = 'HEAD'): void {
    runGit(this.workTree, ['tag', '-f', name, commit])
    runGit(this.workTree, ['push', '-qf', 'origin', `refs/tags/${name}`])
  }

  /** The commit that a branch of the host points at. */
  head(branch = 'main'): string {
    return runGit(this.bare, ['rev-parse', `refs/heads/${branch}`])
  }

  deleteBranch(branch: string): void {
    runGit(this.bare, ['update-ref', '-d', `refs/heads/${branch}`])
  }

  /** Makes the repository on the host, with nothing in it; again after `delete`, the developer's work tree stays. */
  make(): void {
    mkdirSync(this.bare)
    runGit(this.bare, ['init', '-q', '--bare', '--initial-branch=main'])
    runGit(this.bare, ['config', 'http.receivepack', 'true'])
    // As the large Git hosts do, so that a pinned commit can be fetched.
    runGit(this.bare, ['config', 'uploadpack.allowAnySHA1InWant', 'true'])
  }

  /** Removes the repository from the host: it answers 404 from here on. */
  delete(): void {
    rmSync(this.bare, { recursive: true })
  }

  /** Any git command in the developer's work tree; its output, trimmed. */
  git(...args: readonly string[]): string {
    return runGit(this.workTree, args)
  }

  #checkOut(branch: string): void {
    const current = runGit(this.workTree, ['symbolic-ref', '--short', 'HEAD'])
    if (current === branch) return
    const exists = runGit(this.workTree, ['branch', '--list', branch]) !== ''
    runGit(this.workTree, ['checkout', '-q', ...(exists ? [] : ['-b']), branch])
  }

  #write(files: CommitFiles): void {
    for (const [name, content] of Object.entries(files)) {
      const file = path.join(this.workTree, name)
      if (content === undefined) {
        rmSync(file, { recursive: true })
      } else {
        mkdirSync(path.dirname(file), { recursive: true })
        writeFileSync(file, content)
      }
    }
  }

  #push(branch: string): string {
    runGit(this.workTree, ['push', '-qf', 'origin', branch])
    return runGit(this.workTree, ['rev-parse', 'HEAD'])
  }
}

/** Runs git with no configuration but the repository's; its output, trimmed. Throws with git's message. */
export function runGit(folder: string, args: readonly string[]): string {
  const { status, stdout, stderr, error } = spawnSync('git', args, {
    cwd: folder,
    env: gitEnvironment,
    encoding: 'utf8',
  })
  if (status !== 0) throw new Error(`git ${args.join(' ')} in ${folder}: ${error?.message ?? stderr.trim()}`)
  return stdout.trim()
}

function writeHead(response: ServerResponse, head: string): void {
  for (const line of head.split('\r\n')) {
    const colon = line.indexOf(':')
    const [name, value] = [line.slice(0, colon), line.slice(colon + 1).trim()]
    if (name === 'Status') response.statusCode = Number.parseInt(value, 10)
    else response.setHeader(name, value)
  }
}

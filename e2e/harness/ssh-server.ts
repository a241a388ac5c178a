// A Git host over SSH on loopback: OpenSSH's client against a real SSH server, with git's own upload-pack behind it.
import { spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import path from 'node:path'
import ssh2, { type Connection, type Session } from 'ssh2'
import type { GitServer } from './git-server.ts'
import { makeSshKey } from './git-signing.ts'
import { takePort } from './ports.ts'

/** Starts a server for the repositories of a Git host. */
export async function startSshServer(git: GitServer): Promise<SshServer> {
  const server = new SshServer(git, await takePort())
  await server.start()
  return server
}

/** A running SSH server. */
export class SshServer implements AsyncDisposable {
  readonly port: number
  /** Public keys that may come in, as `<type> <key>`. */
  readonly authorizedKeys = new Set<string>()
  /** Line of known_hosts with its host key. */
  readonly knownHost: string
  /** Commands that were asked for. */
  readonly commands: string[] = []
  /** Accepts connections and never answers a command. */
  hangs = false
  readonly #git: GitServer
  readonly #server: ssh2.Server
  readonly #connections = new Set<Connection>()

  constructor(git: GitServer, port: number) {
    this.#git = git
    this.port = port
    // By ssh-keygen: of the keys that ssh2 makes, it cannot read about one in 150 itself.
    const key = makeSshKey('host')
    this.knownHost = `[127.0.0.1]:${port} ${key.publicKey}`
    this.#server = new ssh2.Server({ hostKeys: [readFileSync(key.file)] }, (connection) => this.#accept(connection))
  }

  /** What goes into `Repository.spec.url`. */
  urlOf(name: string): string {
    return `ssh://git@127.0.0.1:${this.port}/${name}.git`
  }

  async start(): Promise<void> {
    await new Promise<void>((resolve) => this.#server.listen(this.port, '127.0.0.1', resolve))
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const connection of this.#connections) connection.end()
    await new Promise<void>((resolve) => this.#server.close(() => resolve()))
  }

  #accept(connection: Connection): void {
    this.#connections.add(connection)
    connection.on('close', () => this.#connections.delete(connection))
    connection.on('error', () => undefined)
    connection.on('authentication', (context) => {
      const isKnown =
        context.method === 'publickey' &&
        this.authorizedKeys.has(`${context.key.algo} ${context.key.data.toString('base64')}`)
      if (!isKnown) {
        context.reject(['publickey'])
        return
      }
      const { signature, blob, key, hashAlgo } = context
      const parsed = ssh2.utils.parseKey(`${key.algo} ${key.data.toString('base64')}`)
      const isProven =
        !signature ||
        (!(parsed instanceof Error) && blob !== undefined && parsed.verify(blob, signature, hashAlgo) === true)
      if (isProven) context.accept()
      else context.reject()
    })
    connection.on('session', (accept) => this.#open(accept()))
  }

  #open(session: Session): void {
    let protocol = ''
    session.on('env', (accept, _reject, { key, val }) => {
      if (key === 'GIT_PROTOCOL') protocol = val
      accept?.()
    })
    session.on('exec', (accept, reject, { command }) => {
      this.commands.push(command)
      const name = /^git-upload-pack '\/([\w.-]+)'$/.exec(command)?.[1]
      if (name === undefined) {
        reject()
        return
      }
      const stream = accept()
      if (this.hangs) return
      const env = {
        PATH: process.env.PATH ?? '',
        HOME: '/nonexistent',
        GIT_PROTOCOL: protocol,
        GIT_CONFIG_GLOBAL: '/dev/null',
      }
      const child = spawn('git', ['upload-pack', path.join(this.#git.folder, name)], { env })
      stream.pipe(child.stdin)
      child.stdin.on('error', () => undefined)
      child.stdout.pipe(stream, { end: false })
      child.stderr.pipe(stream.stderr, { end: false })
      child.on('close', (code) => {
        stream.exit(code ?? 1)
        stream.end()
      })
      stream.on('close', () => child.kill())
    })
  }
}

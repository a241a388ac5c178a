// A plain nats-server for tests of the link. In production the hub starts its own.

import { writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import path from 'node:path'
import { ensureTools } from '../tools/tools.ts'
import { makeRunFolder } from './guardian.ts'
import { takePort } from './ports.ts'
import { type ManagedProcess, startProcess } from './process.ts'
import { waitFor } from './wait.ts'

/** What to start. */
export type NatsOptions = {
  readonly name?: string
  /**
   * More of a nats-server configuration file, after the port and the store directory: accounts, TLS, `jetstream {}`.
   * A function is given the folder of the server.
   */
  readonly config?: string | ((folder: string) => string)
  readonly signal?: AbortSignal
}

/** Starts a nats-server on a free port and waits until it accepts connections. */
export async function startNats(options: NatsOptions = {}): Promise<NatsServer> {
  const { 'nats-server': binary } = await ensureTools(['nats-server'], options.signal ? { signal: options.signal } : {})
  const server = new NatsServer(options, binary, await takePort())
  try {
    await server.start(options.signal)
  } catch (error) {
    await server.stop()
    throw error
  }
  return server
}

/** The absolute path of the pinned nats-server, built when it is not there. */
export async function getNatsBinary(signal?: AbortSignal): Promise<string> {
  return (await ensureTools(['nats-server'], signal ? { signal } : {}))['nats-server']
}

/** A running nats-server. */
export class NatsServer implements AsyncDisposable {
  readonly name: string
  readonly port: number
  /** `nats://127.0.0.1:<port>`, the same after a restart. */
  readonly url: string
  /** Holds the configuration, and JetStream's files in `store` where the configuration has no store_dir of its own. */
  readonly folder: string
  readonly configFile: string
  readonly #binary: string
  #process: ManagedProcess | undefined

  constructor({ name = 'nats', config = '' }: NatsOptions, binary: string, port: number) {
    this.name = name
    this.port = port
    this.url = `nats://127.0.0.1:${port}`
    this.#binary = binary
    this.folder = makeRunFolder(name)
    this.configFile = path.join(this.folder, 'nats.conf')
    this.writeConfig(typeof config === 'string' ? config : config(this.folder))
  }

  get process(): ManagedProcess {
    if (!this.#process) throw new Error(`${this.name} was not started`)
    return this.#process
  }

  /** Starts it, or starts it again on the same port and data. */
  async start(signal?: AbortSignal): Promise<void> {
    const logFile = path.join(this.folder, 'nats.log')
    this.#process = startProcess({ name: this.name, command: this.#binary, args: ['-c', this.configFile], logFile })
    const options = { alive: [this.#process], ...(signal && { signal }) }
    await waitFor(`${this.name} to accept connections`, () => accepts(this.port), options)
  }

  /** Replaces the configuration (all but the port); takes effect by `reload` or a restart. */
  writeConfig(config: string): void {
    const head = `listen: 127.0.0.1:${this.port}\n`
    writeFileSync(this.configFile, `${head}${config}\n`)
  }

  /** Has it read its configuration again. */
  reload(): void {
    this.process.signal('SIGHUP')
  }

  /** SIGKILL; `start` brings it back. */
  async kill(): Promise<void> {
    await this.process.kill()
  }

  async stop(): Promise<void> {
    await this.#process?.stop()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop()
  }
}

function accepts(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1')
    const finish = (result: boolean) => {
      socket.destroy()
      resolve(result)
    }
    // nats-server speaks first; a proxy or a half-started server does not.
    socket.once('data', () => finish(true))
    socket.once('error', () => finish(false))
    socket.setTimeout(1_000, () => finish(false))
  })
}

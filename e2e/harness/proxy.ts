// A TCP proxy with a hand on the cable: cut, freeze or slow down what passes, and count it.

import { connect, createServer, type Server, type Socket } from 'node:net'
import { takePort } from './ports.ts'

/** Where the proxy leads. The target may change while it runs, as when a server comes back elsewhere. */
export type ProxyTarget = { readonly host?: string; readonly port: number }

/** What has passed since the start. `up` is from the client to the target. */
export type ProxyCounts = {
  /** Connections accepted, ever. */
  accepted: number
  bytesUp: number
  bytesDown: number
}

/** Starts a proxy on a free port. */
export async function startProxy(target: ProxyTarget): Promise<TcpProxy> {
  const proxy = new TcpProxy(await takePort(), target)
  await proxy.restore()
  return proxy
}

type Pair = { readonly client: Socket; readonly upstream: Socket; readonly flows: readonly Flow[] }

/** A running proxy: in order until told otherwise. */
export class TcpProxy implements AsyncDisposable {
  readonly port: number
  /** `127.0.0.1:<port>`. */
  readonly address: string
  readonly counts: ProxyCounts = { accepted: 0, bytesUp: 0, bytesDown: 0 }
  target: ProxyTarget
  /** How long each byte is under way, in ms, per direction; takes effect at once. Default 0. */
  delayMs = 0
  #server: Server | undefined
  #frozen = false
  readonly #pairs = new Set<Pair>()
  /** Accepted while frozen: connected to the target when restored. */
  readonly #waiting = new Set<Socket>()

  constructor(port: number, target: ProxyTarget) {
    this.port = port
    this.address = `127.0.0.1:${port}`
    this.target = target
  }

  /** Connections open now. */
  get open(): number {
    return this.#pairs.size
  }

  /** Breaks every connection and refuses new ones. */
  async cut(): Promise<void> {
    const server = this.#server
    this.#server = undefined
    this.breakConnections()
    if (server) await new Promise((resolve) => server.close(resolve))
  }

  /** Breaks every connection; new ones are taken. */
  breakConnections(): void {
    for (const { client, upstream } of this.#pairs) for (const socket of [client, upstream]) socket.resetAndDestroy()
    for (const client of this.#waiting) client.resetAndDestroy()
  }

  /** Keeps connections open, and accepts new ones, but nothing passes: a firewall that drops packets. */
  freeze(): void {
    this.#frozen = true
    for (const { flows } of this.#pairs) for (const flow of flows) flow.hold()
  }

  /** Ends cut and freeze; what was held back while frozen goes on its way. A delay stays. */
  async restore(): Promise<void> {
    this.#frozen = false
    for (const { flows } of this.#pairs) for (const flow of flows) flow.go()
    for (const client of this.#waiting) this.#connect(client)
    this.#waiting.clear()
    if (this.#server) return
    const server = createServer({ noDelay: true }, (client) => this.#accept(client))
    this.#server = server
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject)
      server.listen(this.port, '127.0.0.1', resolve)
    })
  }

  async stop(): Promise<void> {
    await this.cut()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop()
  }

  #accept(client: Socket): void {
    this.counts.accepted++
    client.on('error', () => undefined)
    if (!this.#frozen) {
      this.#connect(client)
      return
    }
    this.#waiting.add(client)
    client.once('close', () => this.#waiting.delete(client))
  }

  #connect(client: Socket): void {
    const { host = '127.0.0.1', port } = this.target
    const upstream = connect({ host, port, noDelay: true })
    upstream.on('error', () => undefined)
    const up = new Flow(client, upstream, (bytes) => {
      this.counts.bytesUp += bytes
      return this.delayMs
    })
    const down = new Flow(upstream, client, (bytes) => {
      this.counts.bytesDown += bytes
      return this.delayMs
    })
    const pair = { client, upstream, flows: [up, down] }
    this.#pairs.add(pair)
    const forget = () => {
      if (client.destroyed && upstream.destroyed) this.#pairs.delete(pair)
    }
    client.once('close', (failed) => {
      if (failed) upstream.destroy()
      forget()
    })
    upstream.once('close', (failed) => {
      if (failed) client.resetAndDestroy()
      forget()
    })
  }
}

/** One direction of a connection: chunks leave in order, each after its delay, none while held. */
class Flow {
  readonly #from: Socket
  readonly #to: Socket
  readonly #queue: { readonly chunk: Buffer | undefined; readonly dueAt: number }[] = []
  #timer: NodeJS.Timeout | undefined
  #held = false

  constructor(from: Socket, to: Socket, onBytes: (bytes: number) => number) {
    this.#from = from
    this.#to = to
    from.on('data', (chunk) => this.#push(chunk as Buffer, onBytes(chunk.length)))
    // The end takes its turn behind the data.
    from.on('end', () => this.#push(undefined, onBytes(0)))
    to.on('drain', () => this.#from.resume())
    to.once('close', () => clearTimeout(this.#timer))
  }

  hold(): void {
    this.#held = true
    clearTimeout(this.#timer)
  }

  go(): void {
    this.#held = false
    this.#drain()
  }

  #push(chunk: Buffer | undefined, delayMs: number): void {
    this.#queue.push({ chunk, dueAt: performance.now() + delayMs })
    if (!this.#held) this.#drain()
  }

  #drain(): void {
    clearTimeout(this.#timer)
    for (let next = this.#queue[0]; next; next = this.#queue[0]) {
      const remainingMs = next.dueAt - performance.now()
      if (remainingMs > 0) {
        this.#timer = setTimeout(() => this.#drain(), remainingMs)
        return
      }
      this.#queue.shift()
      if (next.chunk === undefined) this.#to.end()
      else if (!this.#to.write(next.chunk)) this.#from.pause()
    }
  }
}

// Which agents are connected, from NATS's own system events: by the key that signed in, never by what a client says of itself.
import type { Logger } from '@fairlead/shared/logger'
import { CONNECTIONS_SUBJECT, connectEventSubject, disconnectEventSubject } from '@fairlead/shared/subjects'
import type { Msg, NatsConnection } from '@nats-io/transport-node'

/** What presence needs. */
export interface PresenceOptions {
  readonly system: NatsConnection
  /** Public key of the AGENTS account. */
  readonly account: string
  /** The cluster whose agent holds this user key. */
  readonly findClusterId: (publicKey: string) => Promise<string | undefined>
  readonly onConnected: (clusterId: string, atMs: number) => void
  readonly onDisconnected: (clusterId: string, atMs: number) => void
  readonly logger: Logger
}

interface Event {
  readonly server?: { readonly id?: string }
  readonly client?: { readonly id?: number; readonly user?: string }
}

interface ConnectionPage {
  readonly server?: { readonly id?: string }
  readonly data?: {
    readonly total?: number
    readonly connections?: readonly { readonly cid?: number; readonly authorized_user?: string }[]
  }
}

const PAGE = 1000
const PAGE_WAIT_MS = 2_000
const PAGE_STALL_MS = 250

/** Follows the agents' connections. A cluster is connected while at least one connection of its key is open. */
export class Presence {
  readonly #options: PresenceOptions
  /** Cluster id by `server/connection`. */
  readonly #open = new Map<string, string>()
  readonly #counts = new Map<string, number>()
  /** Connections that ended while a list was being read, which may still show them. */
  #endedMeanwhile: Set<string> | undefined
  #events: Promise<void> = Promise.resolve()
  #resyncing: Promise<void> = Promise.resolve()

  constructor(options: PresenceOptions) {
    this.#options = options
    const { system, account } = options
    system.subscribe(connectEventSubject(account), {
      callback: (error, message) => this.#enqueue(error, message, true),
    })
    system.subscribe(disconnectEventSubject(account), {
      callback: (error, message) => this.#enqueue(error, message, false),
    })
  }

  /** Reads the list of connections and sets right what was missed: after the start and after each reconnect. One at a time. */
  async resync(): Promise<void> {
    const run = this.#resyncing.then(() => this.#compare())
    this.#resyncing = run.catch(() => {})
    await run
  }

  async #compare(): Promise<void> {
    this.#endedMeanwhile = new Set()
    // What opens from here on may be missing in the list, and is told by its event.
    const openBefore = [...this.#open.keys()]
    try {
      const seen = new Set<string>()
      for (const [id, publicKey] of await this.#list()) {
        seen.add(id)
        if (!this.#endedMeanwhile.has(id)) await this.#opened(id, publicKey)
      }
      for (const id of openBefore.filter((open) => !seen.has(open))) this.#closed(id)
    } finally {
      this.#endedMeanwhile = undefined
    }
  }

  /** One after the other: a disconnect must not overtake its connect. */
  #enqueue(error: Error | null, message: Msg, isConnect: boolean): void {
    if (error) return
    this.#events = this.#events
      .then(() => this.#handle(message, isConnect))
      .catch((cause: unknown) => this.#options.logger.warn({ error: cause }, 'connection event could not be read'))
  }

  async #handle(message: Msg, isConnect: boolean): Promise<void> {
    const { server, client } = message.json<Event>()
    if (server?.id === undefined || client?.id === undefined) return
    const id = `${server.id}/${client.id}`
    if (isConnect) await this.#opened(id, client.user ?? '')
    else {
      this.#endedMeanwhile?.add(id)
      this.#closed(id)
    }
  }

  async #opened(id: string, publicKey: string): Promise<void> {
    if (this.#open.has(id)) return
    const clusterId = await this.#options.findClusterId(publicKey)
    if (clusterId === undefined || this.#open.has(id) || this.#endedMeanwhile?.has(id)) return
    this.#open.set(id, clusterId)
    const count = (this.#counts.get(clusterId) ?? 0) + 1
    this.#counts.set(clusterId, count)
    if (count === 1) this.#options.onConnected(clusterId, Date.now())
  }

  #closed(id: string): void {
    const clusterId = this.#open.get(id)
    if (clusterId === undefined) return
    this.#open.delete(id)
    const count = (this.#counts.get(clusterId) ?? 1) - 1
    if (count > 0) this.#counts.set(clusterId, count)
    else {
      this.#counts.delete(clusterId)
      this.#options.onDisconnected(clusterId, Date.now())
    }
  }

  /** Every connection of the account on every server, with its user's key. */
  async #list(): Promise<Map<string, string>> {
    const { system, account } = this.#options
    const found = new Map<string, string>()
    for (let offset = 0, more = true; more; offset += PAGE) {
      more = false
      const query = JSON.stringify({ acc: account, auth: true, limit: PAGE, offset })
      const replies = await system.requestMany(CONNECTIONS_SUBJECT, query, {
        strategy: 'stall',
        maxWait: PAGE_WAIT_MS,
        stall: PAGE_STALL_MS,
      })
      for await (const reply of replies) {
        const { server, data } = reply.json<ConnectionPage>()
        for (const { cid, authorized_user } of data?.connections ?? []) {
          if (server?.id !== undefined && authorized_user !== undefined)
            found.set(`${server.id}/${cid}`, authorized_user)
        }
        more ||= (data?.total ?? 0) > offset + PAGE
      }
    }
    return found
  }
}

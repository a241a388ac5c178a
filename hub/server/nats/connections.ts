// The hub's own connections to NATS: one into the HUB account, one into SYS. They reconnect for ever.
import { rootCertificates } from 'node:tls'
import { backoffMs, sleep } from '@fairlead/shared/backoff'
import { createNkey, type Nkey } from '@fairlead/shared/nkey'
import { HUB_INBOX_PREFIX } from '@fairlead/shared/subjects'
import { type Authenticator, connect, type NatsConnection } from '@nats-io/transport-node'
import { hubUserJwt, type Trust } from './trust.ts'

/** Both connections. */
export interface Connections {
  /** In the HUB account: JetStream and heartbeats. */
  readonly hub: NatsConnection
  /** In the SYS account: claims and system events. */
  readonly system: NatsConnection
}

/** Where to connect. */
export interface ConnectOptions {
  readonly trust: Trust
  readonly url: string
  /** CA of the server, beside the public ones. */
  readonly caPem: string
  readonly signal: AbortSignal
  /** Called after each failure; may throw to give up. */
  readonly onFailure: (error: unknown) => void | Promise<void>
}

/** Connects both, and tries until it succeeds. Rejects when the signal aborts. */
export async function connectBoth(options: ConnectOptions): Promise<Connections> {
  const { trust } = options
  const hub = await connectOne(options, trust.hub, 'fairlead-hub')
  try {
    return { hub, system: await connectOne(options, trust.system, 'fairlead-hub-system') }
  } catch (error) {
    await hub.close()
    throw error
  }
}

async function connectOne(options: ConnectOptions, account: Nkey, name: string): Promise<NatsConnection> {
  for (let attempt = 0; ; attempt++) {
    options.signal.throwIfAborted()
    try {
      return await connect({
        servers: options.url,
        name,
        authenticator: authenticateAs(account, name),
        inboxPrefix: HUB_INBOX_PREFIX,
        tls: isTls(options.url) ? { ca: [options.caPem, ...rootCertificates].join('\n') } : null,
        timeout: 5_000,
        pingInterval: 15_000,
        // Agents are kept from storms by their own jitter; the hub is one, and everybody waits for it.
        reconnectTimeWait: 100,
        reconnectJitter: 100,
        reconnectJitterTLS: 100,
        maxReconnectAttempts: -1,
        ignoreAuthErrorAbort: true,
      })
    } catch (error) {
      await options.onFailure(error)
      await sleep(backoffMs(attempt, { baseMs: 50, maxMs: 5_000 }), options.signal)
    }
  }
}

function isTls(url: string): boolean {
  return url.startsWith('tls:') || url.startsWith('wss:')
}

/** Signs in with a key that lives as long as the process; the JWT is made anew each time. */
function authenticateAs(account: Nkey, name: string): Authenticator {
  const user = createNkey('U')
  return (nonce?: string) => ({
    nkey: user.publicKey,
    jwt: hubUserJwt(account, name, user.publicKey),
    sig: Buffer.from(user.sign(Buffer.from(nonce ?? ''))).toString('base64url'),
  })
}

// For tests: a link with a real nats-server in a folder of its own, and agents that connect to it.
import path from 'node:path'
import type { Credentials } from '@fairlead/proto/enrolment'
import { silentLogger } from '@fairlead/shared/logger'
import { base32Encode, createNkey, type Nkey } from '@fairlead/shared/nkey'
import { generateSigningKey } from '@fairlead/shared/signing'
import { agentInboxPrefix } from '@fairlead/shared/subjects'
import { jetstreamManager } from '@nats-io/jetstream'
import { type ConnectionOptions, connect, type NatsConnection } from '@nats-io/transport-node'
import type { Connections } from './nats/connections.ts'
import { type NatsLink, type NatsOptions, startNats } from './nats/nats.ts'
import { ensureStreams } from './nats/streams.ts'
import { openPki, type Pki } from './pki/pki.ts'
import { findFile } from './secret-file.ts'
import { openStore, type Store } from './store/store.ts'

/** A running link. */
export interface TestLink {
  readonly dataDir: string
  readonly store: Store
  readonly pki: Pki
  readonly link: NatsLink
  readonly connections: Connections
  /** Process id of nats-server; 0 while it is down. */
  natsPid(): Promise<number>
  stop(): Promise<void>
}

/** Starts a link with its streams in `dataDir`, which may be an earlier link's, as after a restart. */
export async function startTestLink(
  binary: string,
  options: Partial<NatsOptions> & { readonly dataDir: string },
): Promise<TestLink> {
  const { dataDir } = options
  const store = options.store ?? (await openStore(path.join(dataDir, 'fairlead.db'), { logger: silentLogger }))
  const pki = await openPki(path.join(dataDir, 'pki'), [])
  const link = await startNats({
    listen: '127.0.0.1:0',
    publicHost: '127.0.0.1',
    binary,
    pki,
    store,
    signingKeys: [generateSigningKey()],
    logger: silentLogger,
    ...options,
  })
  const connections = await link.connections
  await ensureStreams(await jetstreamManager(connections.hub))
  const stop = async (): Promise<void> => {
    await link.stop()
    await store.close()
  }
  const pidFile = path.join(dataDir, 'nats', 'nats-server.pid')
  const natsPid = async (): Promise<number> => Number((await findFile(pidFile)) ?? '0')
  return { dataDir, store, pki, link, connections, natsPid, stop }
}

/** An agent as the hub knows it. */
export interface TestAgent {
  readonly id: string
  readonly user: Nkey
  readonly credentials: Credentials
}

/** Gives a new cluster its credentials. */
export async function enrolAgent({ link }: TestLink, user: Nkey = createNkey('U')): Promise<TestAgent> {
  const id = newClusterId()
  return { id, user, credentials: await link.issuer.issue(id, user.publicKey) }
}

/** A random cluster id. */
export function newClusterId(): string {
  return base32Encode(crypto.getRandomValues(new Uint8Array(16))).toLowerCase()
}

/** Connects as the agent does. */
export async function connectAgent(
  agent: TestAgent,
  options: ConnectionOptions & { jwt?: () => string; signer?: Nkey } = {},
): Promise<NatsConnection> {
  const { jwt = () => agent.credentials.userJwt, signer = agent.user, ...rest } = options
  return await connect({
    servers: agent.credentials.natsUrls,
    tls: { ca: agent.credentials.natsCaPem },
    inboxPrefix: agentInboxPrefix(agent.id),
    reconnect: false,
    authenticator: (nonce) => ({
      nkey: agent.user.publicKey,
      jwt: jwt(),
      sig: Buffer.from(signer.sign(Buffer.from(nonce ?? ''))).toString('base64url'),
    }),
    ...rest,
  })
}

// Configuration files of nats-server: the embedded one's, and what an existing one must hold to serve the hub.
import { accountBodies, accountJwt, operatorJwt, type Revocations, type Trust } from './trust.ts'

/** Where the embedded server listens and keeps its files. */
export interface ServerConfig {
  readonly trust: Trust
  readonly revocations: Revocations
  /** host:port for agents and the hub. */
  readonly listen: string
  /** host:port for WebSocket; none when absent. */
  readonly websocketListen?: string
  /** Folder of JWTs, streams, log and pid file. */
  readonly folder: string
  readonly certificateFile: string
  readonly keyFile: string
}

/** Configuration of the embedded server. */
export function formatServerConfig(config: ServerConfig): string {
  const { folder, certificateFile, keyFile, websocketListen } = config
  const tls = `tls { cert_file: ${quote(certificateFile)}, key_file: ${quote(keyFile)}, timeout: 30 }`
  return `# Written by fairlead hub at every start.
server_name: fairlead
listen: ${quote(config.listen)}
${tls}
${websocketListen === undefined ? '' : `websocket { listen: ${quote(websocketListen)}, ${tls}, compression: false }`}
${formatTrust(config.trust, config.revocations, `${folder}/jwt`)}
# Every acknowledged message is on the disk; the default loses up to two minutes in a power cut.
jetstream { store_dir: ${quote(`${folder}/js`)}, max_mem: 64MB, max_file: 50GB, sync_interval: always }
# The default of 2 s refuses many agents when thousands connect at once.
authorization { timeout: 30 }
max_connections: 64K
max_payload: 1MB
max_pending: 64MB
write_deadline: "10s"
pid_file: ${quote(`${folder}/nats-server.pid`)}
log_file: ${quote(`${folder}/nats-server.log`)}
logfile_size_limit: 16MB
logfile_max_num: 3
`
}

/** What the configuration of an existing nats-server (2.14 or newer) must include, so that the hub, as its operator, can use it by --nats-url. Holds no secrets. */
export function formatExternalServerConfig(trust: Trust, jwtFolder: string): string {
  return `# For an existing nats-server 2.14 or newer that fairlead hub uses by --nats-url. Include it in that server's
# configuration, which must hold besides:
#   listen: 0.0.0.0:4222
#   tls { cert_file: ..., key_file: ... }     # if its CA is not a public one: put the CA's PEM into <data-dir>/nats-ca.crt of the hub
#   jetstream { store_dir: ..., sync_interval: always }
${formatTrust(trust, {}, jwtFolder)}
authorization { timeout: 30 }
max_payload: 1MB
`
}

function formatTrust(trust: Trust, revocations: Revocations, jwtFolder: string): string {
  const preload = [...accountBodies(trust, revocations)].map(
    ([publicKey, body]) => `  ${publicKey}: ${quote(accountJwt(trust, publicKey, body))}`,
  )
  return `operator: ${quote(operatorJwt(trust))}
system_account: ${trust.system.publicKey}
resolver: { type: full, dir: ${quote(jwtFolder)}, allow_delete: false, interval: "2m" }
resolver_preload: {
${preload.join('\n')}
}`
}

/** A string of nats-server's configuration language; it reads JSON's escapes. */
function quote(text: string): string {
  return JSON.stringify(text)
}

// Every NATS subject, stream and permission. Nothing else spells a subject.
// Two accounts: HUB owns JetStream, AGENTS has none and imports only what is listed here. One account would not be enough,
// because NATS does not check the reply subject of a request: an agent could make the server write where it may not.

/** The document of a cluster that a subject speaks of: its slice, or its latest command. */
export type DesiredDocument = 'main' | 'cmd'

/** Pattern of a cluster id: 128 random bits as 26 characters of base32. One token, never chosen by a user. */
export const CLUSTER_ID_PATTERN = /^[a-z2-7]{26}$/

const DIRECT_GET = '$JS.API.DIRECT.GET'

/** Names of the streams in the HUB account. */
export const STREAMS = { desired: 'DESIRED', blobs: 'BLOBS', status: 'STATUS', events: 'EVENTS' } as const

/** Where the hub stores a cluster's document. */
export const desiredSubject = (clusterId: string, document: DesiredDocument): string =>
  `desired.${clusterId}.${document}`
/** Where the agent hears that a document is new. Only a hint: nothing in it is read. */
export const doorbellSubject = (clusterId: string, document: DesiredDocument | '*' = '*'): string =>
  `down.${clusterId}.notify.${document}`
/** Where an encrypted artifact chunk is stored, under the SHA-256 of its bytes. */
export const blobSubject = (digest: string): string => `blob.shared.${digest}`
/** What an agent requests to read its own document. */
export const desiredGetSubject = (clusterId: string, document: DesiredDocument): string =>
  `${DIRECT_GET}.${STREAMS.desired}.${desiredSubject(clusterId, document)}`
/** What an agent requests to read an artifact chunk. */
export const blobGetSubject = (digest: string): string => `${DIRECT_GET}.${STREAMS.blobs}.${blobSubject(digest)}`
/** Full reports; the last one is kept. */
export const statusSubject = (clusterId: string): string => `up.${clusterId}.status`
/** Delta reports, in order. */
export const eventSubject = (clusterId: string): string => `up.${clusterId}.event`
/** Heartbeats; not kept. */
export const heartbeatSubject = (clusterId: string): string => `up.${clusterId}.hb`
/** Answers to commands, in parts; not kept. */
export const answerSubject = (clusterId: string): string => `up.${clusterId}.answer`
/** Prefix of an agent's inboxes; its permissions allow no other. */
export const agentInboxPrefix = (clusterId: string): string => `_IA.${clusterId}`
/** Prefix of the hub's inboxes. */
export const HUB_INBOX_PREFIX = '_IH'

/** What the hub subscribes to for all clusters' heartbeats. */
export const ALL_HEARTBEATS = 'up.*.hb'
/** What the hub subscribes to for all clusters' answers. */
export const ALL_ANSWERS = 'up.*.answer'
/** The cluster id in an `up.` subject; undefined when the subject is of another form. */
export function findClusterId(subject: string): string | undefined {
  const [prefix, clusterId, , rest] = subject.split('.')
  return prefix === 'up' && clusterId !== undefined && rest === undefined && CLUSTER_ID_PATTERN.test(clusterId)
    ? clusterId
    : undefined
}

/** Largest message an agent may send, in bytes. */
export const AGENT_MAX_PAYLOAD_BYTES = 65_536
/** Size of an artifact chunk before encryption, in bytes; below the server's max_payload of 1 MiB. */
export const ARTIFACT_CHUNK_BYTES = 262_144

const MILLIS = 1_000_000
const DAY_NANOS = 86_400_000 * MILLIS

/** Streams of the HUB account, as JetStream's stream configuration. */
export const STREAM_CONFIGS = [
  {
    name: STREAMS.desired,
    subjects: ['desired.*.*'],
    max_msgs_per_subject: 1,
    allow_direct: true,
    republish: { src: 'desired.*.*', dest: 'down.{{wildcard(1)}}.notify.{{wildcard(2)}}', headers_only: true },
  },
  { name: STREAMS.blobs, subjects: ['blob.*.*'], max_msgs_per_subject: 1, allow_direct: true },
  {
    name: STREAMS.status,
    subjects: ['up.*.status'],
    max_msgs_per_subject: 1,
    max_msg_size: AGENT_MAX_PAYLOAD_BYTES,
    allow_rollup_hdrs: false,
  },
  {
    name: STREAMS.events,
    subjects: ['up.*.event'],
    max_msgs_per_subject: 1000,
    max_age: DAY_NANOS,
    max_bytes: 2_000_000_000,
    max_msg_size: AGENT_MAX_PAYLOAD_BYTES,
    allow_rollup_hdrs: false,
  },
] as const

/** Services that HUB exports and AGENTS imports; each agent's template narrows them to its own id. */
export const SERVICE_EXPORTS = [
  `${DIRECT_GET}.${STREAMS.desired}.desired.*.*`,
  `${DIRECT_GET}.${STREAMS.blobs}.blob.*.*`,
  'up.*.status',
  'up.*.event',
  'up.*.hb',
  'up.*.answer',
] as const

/** The stream that HUB exports and AGENTS imports: doorbells. */
export const STREAM_EXPORT = 'down.*.notify.*'

/** Permissions of the scoped signing key that every agent's user JWT is signed with; `{{name()}}` is the cluster id. */
export const AGENT_PERMISSIONS = {
  pub: {
    allow: [
      `${DIRECT_GET}.${STREAMS.desired}.desired.{{name()}}.*`,
      `${DIRECT_GET}.${STREAMS.blobs}.blob.shared.*`,
      'up.{{name()}}.status',
      'up.{{name()}}.hb',
      'up.{{name()}}.event',
      'up.{{name()}}.answer',
    ],
  },
  sub: { allow: ['down.{{name()}}.notify.*', '_IA.{{name()}}.>'] },
  subs: 16,
  payload: AGENT_MAX_PAYLOAD_BYTES,
  data: -1,
  allowed_connection_types: ['STANDARD', 'WEBSOCKET'],
} as const

/** System events by which the hub learns of connects and disconnects of an account's users. */
export const connectEventSubject = (accountPublicKey: string): string => `$SYS.ACCOUNT.${accountPublicKey}.CONNECT`
/** See connectEventSubject. */
export const disconnectEventSubject = (accountPublicKey: string): string =>
  `$SYS.ACCOUNT.${accountPublicKey}.DISCONNECT`
/** Request by which the hub gives the server an account's new claims, revocations among them. */
export const CLAIMS_UPDATE_SUBJECT = '$SYS.REQ.CLAIMS.UPDATE'
/** Request by which the hub reads the claims that the server holds for an account. */
export const claimsLookupSubject = (accountPublicKey: string): string =>
  `$SYS.REQ.ACCOUNT.${accountPublicKey}.CLAIMS.LOOKUP`
/** Request that every server answers with its connections. */
export const CONNECTIONS_SUBJECT = '$SYS.REQ.SERVER.PING.CONNZ'

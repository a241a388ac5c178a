// The tables of the hub's database. It holds the intent and what was seen; NATS can be rebuilt from it.
// Times are integers, milliseconds since the epoch. JSON columns hold text; booleans are 0 or 1.
import type { ColumnType, Generated } from 'kysely'

/** Milliseconds since the epoch. */
export type TimeMs = number
/** JSON text. */
export type Json = string
/**
 * Who makes and changes a definition. Empty: people, by the API. `git:<name of a Repository>`: files of that repository.
 * `application:<name>`: that Application generates it. Names are DNS labels, so that the first colon ends the kind. Whoever
 * else would change or delete it is refused, and told of its `origin`: where it is written, for people, as `<file>:<line>`.
 * What has an owner in Git and no origin is gone from Git and held: it may be deleted by hand.
 */
export type Owner = '' | `git:${string}` | `application:${string}`

/** Every table by name. */
export interface Schema {
  meta: MetaTable
  repositories: RepositoriesTable
  applications: ApplicationsTable
  refs: RefsTable
  repository_state: RepositoryStateTable
  definition_syncs: DefinitionSyncsTable
  generators: GeneratorsTable
  cluster_documents: ClusterDocumentsTable
  renders: RendersTable
  artifacts: ArtifactsTable
  artifact_chunks: ArtifactChunksTable
  clusters: ClustersTable
  capabilities: CapabilitiesTable
  revoked_keys: RevokedKeysTable
  join_tokens: JoinTokensTable
  deployments: DeploymentsTable
  slices: SlicesTable
  slice_problems: SliceProblemsTable
  prune_approvals: PruneApprovalsTable
  outbox: OutboxTable
  cluster_reports: ClusterReportsTable
  application_reports: ApplicationReportsTable
  audit: AuditTable
}

/** Single values by key. */
export interface MetaTable {
  key: string
  value: string
}

/** Repository definitions. */
export interface RepositoriesTable {
  name: string
  uid: string
  /** Grows with each change of the spec. */
  generation: number
  /** Record of label to value. */
  labels: Json
  /** fairlead.v1.RepositorySpec as proto JSON. */
  spec: Json
  created_at: TimeMs
  owner: Generated<Owner>
  origin: Generated<string>
}

/** Application definitions. A row goes when the last cluster has confirmed the removal. */
export interface ApplicationsTable {
  name: string
  uid: string
  /** Grows with each change of the spec. */
  generation: number
  /** Record of label to value. */
  labels: Json
  /** fairlead.v1.ApplicationSpec as proto JSON. */
  spec: Json
  created_at: TimeMs
  /** Null unless it is being deleted; then whether its objects are deleted or stay. */
  deleting: 'prune' | 'orphan' | null
  owner: Generated<Owner>
  origin: Generated<string>
}

/** What the tracker saw of each ref that an application asks for; the empty ref is the default branch. */
export interface RefsTable {
  repository: string
  ref: string
  /** The last good commit; empty before the first. */
  commit: string
  /** When the commit was first seen there; 0 before the first. */
  seen_at: TimeMs
  /** Full name of the branch or tag that the commit was found at; empty for a commit id. */
  resolved: Generated<string>
  /** fairlead.v1.Problem as proto JSON. */
  problem: Json | null
  polled_at: TimeMs
}

/** What the tracker saw of a repository as a whole. */
export interface RepositoryStateTable {
  repository: string
  /** Last time that the server answered. */
  last_polled_at: TimeMs | null
  /** fairlead.v1.Problem as proto JSON. */
  problem: Json | null
}

/** What was taken over last from each repository that is followed for definitions. */
export interface DefinitionSyncsTable {
  repository: string
  /** fairlead.v1.DefinitionsSource as proto JSON. */
  settings: Json
  /** The last that could be read; empty before the first. */
  commit: string
  /** Of the last attempt; `problems` speak of it. */
  attempted_commit: string
  /** When `commit` was taken over; 0 before the first. */
  synced_at: TimeMs
  /** List of fairlead.v1.Problem as proto JSON. */
  problems: Json
}

/** What definitions in Git give to clusters, registered or not; it is in `clusters` too. */
export interface ClusterDocumentsTable {
  /** The cluster's. */
  name: string
  /** Record of label to value. */
  labels: Json
  /** Record of key to value. */
  cluster_values: Json
  owner: Owner
  origin: string
}

/** What was made last by each application that makes others (spec.forEach). */
export interface GeneratorsTable {
  application: string
  /** Equal while what it is made for is; empty before the first time. */
  inputs: string
  /** List of fairlead.v1.Problem as proto JSON. */
  problems: Json
}

/** The newest render of each variant of an application that some cluster needs. */
export interface RendersTable {
  application: string
  /** Id of the variant; empty for the application without overrides. */
  variant: string
  /** Commit of the last good render; empty before the first. */
  commit: string
  /** Digest of everything the last attempt was made from. */
  input_hash: string
  /** List of the files and folders that the last attempt read beside the application's own. */
  read_paths: Generated<Json>
  /** Of the last good render. */
  artifact_digest: string | null
  /** fairlead.v1.Revision of the last good render as proto JSON. */
  revision: Json | null
  /** Commit of the last attempt; `problems` speak of it. */
  attempted_commit: string
  /** List of fairlead.v1.Problem as proto JSON. */
  problems: Json
  /** 1 when parts of the commit could not be rendered, so that nothing may be pruned by this artifact. */
  incomplete: Generated<number>
  rendered_at: TimeMs
}

/** Rendered manifests, sealed. */
export interface ArtifactsTable {
  digest: string
  /** fairlead.v1.ArtifactReference, binary. */
  reference: Uint8Array
  created_at: TimeMs
}

/** Encrypted parts of artifacts. */
export interface ArtifactChunksTable {
  /** SHA-256 of `bytes`. */
  digest: string
  artifact_digest: string
  bytes: Uint8Array
}

/** Registered clusters. */
export interface ClustersTable {
  /** 26 characters of a-z2-7, random; never made from the name. */
  id: string
  name: string
  /** Record of label to value. */
  labels: Json
  /** Record of key to value, for variables. */
  cluster_values: Generated<Json>
  /** The agent's nkey; null before it joined. */
  public_key: string | null
  /** fairlead.v1.AgentFacts as proto JSON, without what is served. */
  facts: Json | null
  /** Digest in `capabilities`; empty while its agent has not said. */
  capabilities: Generated<string>
  created_at: TimeMs
  joined_at: TimeMs | null
}

/** What clusters report of themselves for charts. */
export interface CapabilitiesTable {
  digest: string
  /** Capabilities as JSON. */
  content: Json
}

/** Keys that must not connect any more. */
export interface RevokedKeysTable {
  public_key: string
  revoked_at: TimeMs
  /** After this time no JWT of the key can be valid, and the row may go. */
  expires_at: TimeMs
}

/** One-time join tokens. */
export interface JoinTokensTable {
  /** SHA-256 in hexadecimal; the token itself is not kept. */
  token_sha256: string
  cluster_id: string
  expires_at: TimeMs
  used_at: TimeMs | null
}

/** What each cluster must run or must leave. */
export interface DeploymentsTable {
  cluster_id: string
  application: string
  state: 'desired' | 'tombstone'
  /** Of a tombstone: 1 when the objects are to be deleted. */
  prune: number
  artifact_digest: string | null
  /** fairlead.v1.Revision as proto JSON. */
  revision: Json | null
  /** fairlead.v1.SyncPolicy as proto JSON. */
  policy: Json | null
  since: TimeMs
}

/** The newest signed slice of each cluster. */
export interface SlicesTable {
  cluster_id: string
  /** Milliseconds and counter in one, below 2^53; written as a number or a bigint, read as a number. */
  generation: ColumnType<number, number | bigint, number | bigint>
  /** Digest of the content without generation and time: equal content is not signed again. */
  content_hash: string
  /** The signed bytes. */
  document: Uint8Array
}

/** Why a cluster has not been sent what it should run; no row when it has. */
export interface SliceProblemsTable {
  cluster_id: string
  /** fairlead.v1.Problem as proto JSON. */
  problem: Json
}

/** Held prunes that were approved; a row goes when the agent no longer reports that digest. */
export interface PruneApprovalsTable {
  cluster_id: string
  application: string
  /** fairlead.v1.HeldPrune.digest. */
  digest: string
  approved_at: TimeMs
}

/** What is to be published to NATS. */
export interface OutboxTable {
  id: Generated<number>
  kind: OutboxKind
  /** Cluster id, command id or artifact digest, by kind. */
  key: string
  created_at: TimeMs
}

/** What an outbox row asks for. */
export type OutboxKind = 'slice' | 'command' | 'artifact' | 'purge-cluster' | 'claims'

/** The last report of each agent as a whole. */
export interface ClusterReportsTable {
  cluster_id: string
  session: string
  sequence: number
  slice_generation: number
  last_seen_at: TimeMs
  /** fairlead.v1.Refusals as proto JSON. */
  refusals: Json
  /** List of fairlead.v1.Problem as proto JSON. */
  problems: Json
}

/** The last report of each application on each cluster. */
export interface ApplicationReportsTable {
  cluster_id: string
  application: string
  /** fairlead.v1.ApplicationReport, binary. */
  report: Uint8Array
  received_at: TimeMs
}

/** Who changed what. */
export interface AuditTable {
  id: Generated<number>
  at: TimeMs
  /** admin, agent:<cluster name>, git:<repository> or hub. */
  actor: string
  /** For example cluster.register. */
  action: string
  /** For example Cluster/prod-eu-1. */
  object: string
  detail: Json
}

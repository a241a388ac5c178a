// What the applications of one agent share.

import type { Logger } from '@fairlead/shared/logger'
import type { Limiter } from '../applier/limiter.ts'
import type { RetryLimits } from '../applier/retry.ts'
import type { Decryptor } from '../decryptor/decryptor.ts'
import type { ArtifactLoader } from '../desired-state.ts'
import type { InventoryStore } from '../inventory/inventory-store.ts'
import type { Kube } from '../kube/kube.ts'
import type { Recorder } from '../recorder.ts'
import type { Autoscalers } from './autoscalers.ts'
import type { Dependencies } from './dependencies.ts'
import type { LeftDrift } from './left-drift.ts'
import type { LocalPolicy } from './local-policy.ts'
import type { ObjectRecord } from './object-record.ts'
import type { ObjectTable } from './object-table.ts'
import type { ObjectWriter } from './object-writer.ts'
import type { Target } from './target.ts'
import type { WatchedKinds } from './watched-kinds.ts'

/** What applications know of each other. */
export interface Neighbour {
  readonly name: string
  /** Undefined: the slice does not list it; it is left as it is. */
  readonly target: Target | undefined
  /** Whether it is known what it declares. */
  readonly isLoaded: boolean
  /** Whether it is known that it takes over nothing that another application lets go. */
  readonly wantsNothingNew: boolean
  /** Whether its newest revision declares the object, be it in force or held back. False while that is not known. */
  declares(key: string): boolean
  /** Looks after itself again, soon. */
  wake(): void
  /** Looks again at what it waits for. */
  nudge(): void
  /** Something that its report speaks of changed. */
  noteChange(): void
}

/** Times that tests shorten. */
export interface ReconcilerLimits extends RetryLimits {
  /** How long a prune waits for what replaces the old objects to be healthy, default 60,000 ms. */
  readonly pruneHealthTimeoutMs: number
  /** How long a wave waits for the one before it to be healthy, default 600,000 ms. */
  readonly waveTimeoutMs: number
  /** How long custom resources wait for their CRD to be established, default 30,000 ms. */
  readonly establishedTimeoutMs: number
  /** Reports of one application are merged for this long, default 25 ms. */
  readonly reportDelayMs: number
}

/** What the applications of one agent share. */
export interface ReconcilerContext {
  readonly kube: Kube
  readonly store: InventoryStore
  readonly table: ObjectTable
  readonly kinds: WatchedKinds
  readonly writer: ObjectWriter
  readonly left: LeftDrift
  readonly autoscalers: Autoscalers
  readonly applies: Limiter
  readonly artifacts: ArtifactLoader
  readonly decryptor: Decryptor
  readonly limits: ReconcilerLimits
  readonly ownNamespace: string
  /** The cluster's id out of the last slice; empty before the first. */
  readonly clusterId: () => string
  /** The cluster's variables out of the last slice, as one text. */
  readonly variables: () => string
  /** What this agent may not touch, whatever the hub says. */
  readonly localPolicy: LocalPolicy
  /** Nothing may be written for now: the cluster's owner says so, or what is allowed is not known. */
  readonly isPaused: () => boolean
  /** The access of an application, with the rights that it has. Throws ServiceAccountMissing. */
  readonly kubeFor: (application: string) => Promise<Kube>
  readonly logger: Logger
  /** Told what is done. */
  readonly recorder: Recorder
  /** Milliseconds since the epoch. */
  readonly clock: () => number
  /** Aborts when the agent stops. */
  readonly signal: AbortSignal
  /** Resolves when the inventories of the cluster are known. */
  readonly ready: Promise<void>
  readonly dependencies: Dependencies
  /** All applications: listed in the slice, or owning something. */
  readonly neighbours: ReadonlyMap<string, Neighbour>
  /** A revision came into force: what was before it need not be kept any more. */
  readonly noteInForce: () => void
  /** Something of an object changed. */
  readonly noteChange: (record: ObjectRecord) => void
}

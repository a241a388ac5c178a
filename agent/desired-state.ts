// Where the agent's halves meet: the link hands over slices and artifacts, the reconciler hands back what it saw.
import type { Problem } from '@fairlead/proto/common'
import type { ApplicationReport, ObjectChange } from '@fairlead/proto/report'
import type { Artifact, ArtifactReference, Slice } from '@fairlead/proto/slice'

/** Gets the content of artifacts, from what is kept in the cluster or from the hub. */
export interface ArtifactLoader {
  /** Throws ArtifactUnavailable or ArtifactCorrupt; waits for NATS only as long as the signal allows. */
  load(reference: ArtifactReference, signal: AbortSignal): Promise<Artifact>
  /** What is kept of it in the cluster; undefined when it is not all there and whole. Throws ApiServerUnavailable. */
  findKept(reference: ArtifactReference, signal: AbortSignal): Promise<Artifact | undefined>
}

/** Takes what the reconciler has to say about applications; merges what comes within a moment. */
export interface ReportSink {
  /** The application's present state, replacing the last. */
  put(report: ApplicationReport): void
  /** Its tombstone was carried out. */
  removed(application: string): void
}

/** An object that an application owns, without its content. */
export interface InspectedObject {
  readonly application: string
  readonly group: string
  readonly kind: string
  readonly namespace: string
  readonly name: string
  readonly uid: string
  readonly declaredHash: string
  readonly entryHash: string
}

/** What the reconciler knows and does at one moment, for people who look into the pod. */
export interface Inspection {
  /** True when the inventories of the cluster are known. */
  readonly isReady: boolean
  /** The last report of each application. */
  readonly reports: readonly ApplicationReport[]
  /** The watched kinds, and what the API server said of those that are not live. */
  readonly watches: readonly {
    readonly group: string
    readonly version: string
    readonly kind: string
    readonly state: string
    readonly message: string
  }[]
  /** Writes that wait for their turn, by queue. */
  readonly queues: Readonly<Record<string, number>>
  /** For how long the oldest write that is under way has been so, in milliseconds. */
  readonly oldestWriteMs: number
  /** The pass that has not got on for longest, and for how long; undefined when each gets on. */
  readonly idlestPass: { readonly application: string; readonly idleMs: number } | undefined
  /** Everything that is owned; made when asked for. */
  readonly objects: () => InspectedObject[]
}

/** What would change, in the order in which it would be done, and why that is not all. */
export interface Preview {
  readonly changes: readonly ObjectChange[]
  readonly problems: readonly Problem[]
}

/** Keeps the cluster equal to the slice. */
export interface Reconciler {
  /** Takes a verified slice, pre-empting all work on the older one. Returns at once. */
  update(slice: Slice): void
  /** Compares everything, or one application, with the API server and repairs it. Returns at once. */
  reconcile(application?: string): void
  /** What an application would change; nothing is written. `onChange` is given each change in order, as soon as it and all before it are known. Throws NotFound when the slice does not ask for it, Aborted, or what keeps it from being told. */
  preview(application: string, signal: AbortSignal, onChange?: (change: ObjectChange) => void): Promise<Preview>
  /** What the cluster's owner allows is something else now: what was refused is tried again. Returns at once. */
  policyChanged(): void
  /** Artifacts that are in force while a newer one of their application has not passed: to be kept. Waits until that is known. Throws Aborted. */
  inForce(signal: AbortSignal): Promise<readonly ArtifactReference[]>
  /** The present state of every application. */
  reports(): readonly ApplicationReport[]
  /** What it knows and does at this moment. Costs little, and asks nobody. */
  inspect(): Inspection
  /** Stops watches and work; what is under way is given up at the next safe point. */
  stop(): Promise<void>
}

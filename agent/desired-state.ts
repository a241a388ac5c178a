// Where the agent's halves meet: the link hands over slices and artifacts, the reconciler hands back what it saw.
import type { ApplicationReport } from '@fairlead/proto/report'
import type { Artifact, ArtifactReference, Slice } from '@fairlead/proto/slice'

/** Gets the content of artifacts, from what is kept in the cluster or from the hub. */
export interface ArtifactLoader {
  /** Throws ArtifactUnavailable or ArtifactCorrupt; waits for NATS only as long as the signal allows. */
  load(reference: ArtifactReference, signal: AbortSignal): Promise<Artifact>
}

/** Takes what the reconciler has to say about applications; merges what comes within a moment. */
export interface ReportSink {
  /** The application's present state, replacing the last. */
  put(report: ApplicationReport): void
  /** Its tombstone was carried out. */
  removed(application: string): void
}

/** Keeps the cluster equal to the slice. */
export interface Reconciler {
  /** Takes a verified slice, pre-empting all work on the older one. Returns at once. */
  update(slice: Slice): void
  /** Compares everything, or one application, with the API server and repairs it. Returns at once. */
  reconcile(application?: string): void
  /** The present state of every application. */
  reports(): readonly ApplicationReport[]
  /** Stops watches and work; what is under way is given up at the next safe point. */
  stop(): Promise<void>
}

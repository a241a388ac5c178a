// Hooks: Jobs that run once for each revision, before it, after it, or because it failed. They are no part of what the
// cluster is kept equal to: never repaired, never counted in health.
import { sha256Hex } from '@fairlead/shared/digest'
import { AppError } from '@fairlead/shared/errors'
import { HOOK_ANNOTATION, HOOK_RUN_ANNOTATION } from '@fairlead/shared/labels'
import { type Declared, type ParsedManifest, readDeclared } from './declared.ts'

/** When a hook runs: before the first object of the revision is written; after all are applied and healthy; when the revision failed. */
export type HookPhase = 'pre-sync' | 'post-sync' | 'sync-fail'

/** A hook as declared. */
export interface DeclaredHook {
  readonly phase: HookPhase
  readonly declared: Declared
}

const PHASES: ReadonlySet<string> = new Set<HookPhase>(['pre-sync', 'post-sync', 'sync-fail'])

/** When a manifest runs as a hook; undefined when it is none. Throws InvalidManifest, with the file, for a phase that there is not and for anything that is no Job. */
export function findHookPhase({ object, group, kind, source }: ParsedManifest): HookPhase | undefined {
  const value = object.metadata.annotations?.[HOOK_ANNOTATION]
  if (value === undefined) return undefined
  const name = `${kind} ${object.metadata.name}${source ? ` (${source.file}:${source.line})` : ''}`
  if (group !== 'batch' || kind !== 'Job') throw new AppError('InvalidManifest', `${name}: only a Job can be a hook`)
  if (!PHASES.has(value)) {
    throw new AppError('InvalidManifest', `${name}: ${HOOK_ANNOTATION} must be ${[...PHASES].join(', ')}`)
  }
  return value as HookPhase
}

/** Identifies the run of hooks for one revision of an application: what is applied, and the commit that asked for it. */
export function hookRunId(artifactDigest: string, commit: string): string {
  return `${sha256Hex(artifactDigest).slice(0, 24)}.${sha256Hex(commit).slice(0, 8)}`
}

/**
 * Whether what ran, or is running, counts for a revision. A commit that changes nothing of the application, as most do in a
 * repository of many, neither repeats a hook nor interrupts one; but it is another try for one that failed.
 */
export function countsFor(
  phase: HookPhase,
  { run, state }: { readonly run: string; readonly state: string },
  wanted: string,
): boolean {
  if (run === wanted) return true
  // Each try that fails is told of.
  if (phase === 'sync-fail' || state === 'failed') return false
  return contentOf(run) === contentOf(wanted)
}

function contentOf(run: string): string {
  return run.slice(0, run.indexOf('.') + 1)
}

/** The Job to create for one run, as JSON: what is declared, and which run it is. */
export function hookBody(declared: Pick<Declared, 'body'>, run: string): string {
  const object = readDeclared(declared)
  const annotations = { ...object.metadata.annotations, [HOOK_RUN_ANNOTATION]: run }
  return JSON.stringify({ ...object, metadata: { ...object.metadata, annotations } })
}

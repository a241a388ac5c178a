// What may stand in the annotations by which a manifest tells the agent how to apply it: a value that means nothing would
// silently do nothing. Pure.
import { HOOK_ANNOTATION, RECREATE_ANNOTATION, WAVE_ANNOTATION } from '@fairlead/shared/labels'

/** Of what object the annotations are. */
export interface AnnotatedObject {
  readonly apiVersion: string
  readonly kind: string
  readonly annotations: Readonly<Record<string, unknown>>
}

const HOOK_PHASES = ['pre-sync', 'post-sync', 'sync-fail']
const WAVE_MAX = 2 ** 31 - 1

/** What is wrong, one sentence each; empty when nothing is. Values that are filled in by the agent are left to it. */
export function checkAnnotations(object: AnnotatedObject): string[] {
  const { annotations } = object
  const faults = [
    checkHook(object, textOf(annotations[HOOK_ANNOTATION])),
    checkWave(textOf(annotations[WAVE_ANNOTATION])),
    checkRecreate(textOf(annotations[RECREATE_ANNOTATION])),
  ]
  return faults.filter((fault) => fault !== undefined)
}

/** Undefined when it is not there, or holds a variable. */
function textOf(value: unknown): string | undefined {
  return typeof value === 'string' && !value.includes('${') ? value : undefined
}

function checkHook({ apiVersion, kind }: AnnotatedObject, phase: string | undefined): string | undefined {
  if (phase === undefined) return undefined
  if (!apiVersion.startsWith('batch/') || kind !== 'Job') return `only a Job can have the annotation ${HOOK_ANNOTATION}`
  if (HOOK_PHASES.includes(phase)) return undefined
  return `the annotation ${HOOK_ANNOTATION} must be ${HOOK_PHASES.slice(0, -1).join(', ')} or ${HOOK_PHASES.at(-1)}`
}

function checkWave(wave: string | undefined): string | undefined {
  if (wave === undefined || (/^-?\d{1,10}$/.test(wave) && Math.abs(Number(wave)) <= WAVE_MAX)) return undefined
  return `the annotation ${WAVE_ANNOTATION} must be an integer`
}

function checkRecreate(value: string | undefined): string | undefined {
  if (value === undefined || value === 'true' || value === 'false') return undefined
  return `the annotation ${RECREATE_ANNOTATION} must be "true" or "false"`
}

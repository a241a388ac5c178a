// What may stand in the annotations by which a manifest tells the agent what to do with it: a value that means nothing would
// silently do nothing, and an object that was to be kept would be deleted. The hub looks at what stands in Git, the agent at
// what only it can read: with variables replaced, or decrypted. Pure.
import { AppError, toAppError } from './errors.ts'
import { type FieldPath, parseFieldPath } from './field-path.ts'
import {
  BEFORE_HOOKS_ANNOTATION,
  HOOK_ANNOTATION,
  IGNORE_ANNOTATION,
  MERGE_ANNOTATION,
  PRUNE_ANNOTATION,
  RECREATE_ANNOTATION,
  WAVE_ANNOTATION,
} from './labels.ts'
import { mayHoldVariables } from './variables.ts'

/** Of what object the annotations are. */
export interface AnnotatedObject {
  readonly apiVersion: string
  readonly kind: string
  readonly annotations: Readonly<Record<string, unknown>>
}

const HOOK_PHASES = ['pre-sync', 'post-sync', 'sync-fail']
const PRUNE_VALUES = ['disabled', 'enabled']
const SWITCHES = [MERGE_ANNOTATION, RECREATE_ANNOTATION, BEFORE_HOOKS_ANNOTATION]
const WAVE_MAX = 2 ** 31 - 1

/** What is wrong, one sentence each; empty when nothing is. With `hasVariables`, values that hold variables are left to the agent, which fills them in. */
export function checkAnnotations(object: AnnotatedObject, { hasVariables }: { hasVariables: boolean }): string[] {
  const textOf = (annotation: string): string | undefined => {
    const value = object.annotations[annotation]
    return typeof value === 'string' && !(hasVariables && mayHoldVariables(value)) ? value : undefined
  }
  const faults = [
    checkHook(object, textOf(HOOK_ANNOTATION)),
    checkWave(textOf(WAVE_ANNOTATION)),
    checkPrune(textOf(PRUNE_ANNOTATION)),
    ...SWITCHES.map((annotation) => checkSwitch(annotation, textOf(annotation))),
    checkIgnore(textOf(IGNORE_ANNOTATION)),
  ]
  return faults.filter((fault) => fault !== undefined)
}

/** The fields that the annotation fairlead.dev/ignore names, by commas; commas in brackets belong to the path. None for "true", the whole object, and for "false". Throws InvalidArgument. */
export function parseIgnoreAnnotation(text: string | undefined): FieldPath[] {
  if (text === undefined || text.trim() === '' || text === 'false' || text === 'true') return []
  if (/^\s*(true|false|yes|no|on|off|all|\*)\s*$/i.test(text)) {
    throw new AppError('InvalidArgument', `${JSON.stringify(text)} is neither "true" nor a list of fields`)
  }
  const parts = text.match(/(?:"(?:[^"\\]|\\.)*"|\[(?:"(?:[^"\\]|\\.)*"|[^\]])*\]|[^,])+/g) ?? []
  return parts.map((part) => parseFieldPath(part.trim()))
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

function checkPrune(value: string | undefined): string | undefined {
  if (value === undefined || PRUNE_VALUES.includes(value)) return undefined
  return `the annotation ${PRUNE_ANNOTATION} must be ${PRUNE_VALUES.join(' or ')}, written so`
}

function checkSwitch(annotation: string, value: string | undefined): string | undefined {
  if (value === undefined || value === 'true' || value === 'false') return undefined
  return `the annotation ${annotation} must be "true" or "false"`
}

function checkIgnore(value: string | undefined): string | undefined {
  try {
    parseIgnoreAnnotation(value)
    return undefined
  } catch (error) {
    return `the annotation ${IGNORE_ANNOTATION}: ${toAppError(error).message}`
  }
}

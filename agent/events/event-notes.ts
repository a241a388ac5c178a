// What an Event says: pure. Names, managers, field paths and codes; of a Secret never more than that.
import type { AppError } from '@fairlead/shared/errors'
import type { SeenDrift } from '../reconciler/drift-repair.ts'
import type { ObjectRecord } from '../reconciler/object-record.ts'
import { toldFields } from '../reconciler/told-fields.ts'

/** What happened, as an Event says it. */
export interface Happening {
  /** One word, stable: what people filter by. */
  readonly reason: string
  readonly type: 'Normal' | 'Warning'
  /** What was done, or tried. */
  readonly action: 'Apply' | 'Repair' | 'Prune'
  readonly note: string
}

/** The API server takes notes of 1 kB. */
const NOTE_MAX_BYTES = 1_000
const FIELDS_NAMED = 8
/** Passing, or told by the Event of the object that is the cause. */
const QUIET_CODES = new Set([
  'ApiServerUnavailable',
  'Aborted',
  'DependencyFailed',
  'WaitingForDependency',
  'ApplyConflict',
])
/** A deletion may take a moment; that it hangs is told after so many looks. */
const PRUNE_PATIENCE = 2

/** A difference that was put back, or left. */
export function describeDrift({ record, kind, manager, fields, remediatedAtMs }: SeenDrift): Happening {
  const told = toldFields(record.declared, fields)
  const who = manager === '' ? 'somebody' : manager
  const what =
    kind === 'deleted' ? `${who} deleted it` : `${who} ${kind === 'added' ? 'added' : 'changed'} ${list(told)}`
  const isLeft = remediatedAtMs === undefined
  return {
    reason: isLeft ? 'DriftDetected' : 'DriftRepaired',
    type: 'Normal',
    action: 'Repair',
    note: clip(isLeft ? `${what}; left, as the application says` : `put back: ${what}`),
  }
}

/** A try that failed; undefined when an Event would only be noise. */
export function describeFailure(record: ObjectRecord, error: AppError): Happening | undefined {
  const { code } = error
  if (QUIET_CODES.has(code)) return undefined
  const message =
    record.group === '' && record.kind === 'Secret' ? 'see "fairlead status" for the reason' : error.message
  if (code === 'FieldFight') {
    // Without the time of the next repair, which is another one each time.
    const [note = ''] = error.message.split(';')
    return { reason: 'FieldFight', type: 'Warning', action: 'Repair', note: clip(note) }
  }
  if (code === 'PruneHeld' || code === 'PruneFailed') {
    if (code === 'PruneFailed' && (record.failure?.attempts ?? 0) < PRUNE_PATIENCE) return undefined
    return { reason: code, type: 'Warning', action: 'Prune', note: clip(message) }
  }
  return { reason: 'ApplyFailed', type: 'Warning', action: 'Apply', note: clip(`${code}: ${message}`) }
}

/** An object that was taken over. */
export function describeAdoption({ application }: ObjectRecord): Happening {
  return { reason: 'Adopted', type: 'Normal', action: 'Apply', note: clip(`taken over by application ${application}`) }
}

/** An object that was deleted. */
export function describePrune({ application }: ObjectRecord): Happening {
  return {
    reason: 'Pruned',
    type: 'Normal',
    action: 'Prune',
    note: clip(`deleted: application ${application} no longer declares it`),
  }
}

/** An object that was made anew. */
export function describeRecreation({ application }: ObjectRecord): Happening {
  return {
    reason: 'Recreated',
    type: 'Normal',
    action: 'Apply',
    note: clip(`deleted and made anew: application ${application} changed a field that cannot be changed`),
  }
}

function list(fields: readonly string[]): string {
  if (fields.length === 0) return 'it'
  const more = fields.length > FIELDS_NAMED ? ` and ${fields.length - FIELDS_NAMED} more fields` : ''
  return `${fields.slice(0, FIELDS_NAMED).join(', ')}${more}`
}

/** Cut at a character, not within one. */
function clip(text: string): string {
  if (Buffer.byteLength(text) <= NOTE_MAX_BYTES) return text
  return `${Buffer.from(text)
    .subarray(0, NOTE_MAX_BYTES - 3)
    .toString('utf8')
    .replace(/\uFFFD$/, '')}…`
}

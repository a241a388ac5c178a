// What an application would change, as lines of text. Pure.
import type { ObjectChange } from '@fairlead/proto/report'
import { formatObjectReference } from '@fairlead/shared/object-reference'
import { formatTable } from './table.ts'
import { plain } from './text.ts'

const COLUMNS = ['ACTION', 'OBJECT', 'MANAGED BY', 'FIELDS'] as const
const FIELDS_SHOWN = 6

/** What changes are shown with. */
export interface ChangeLinesOptions {
  /** Objects that would not change, too. */
  readonly all: boolean
  /** The agent could tell everything: without that, no changes do not mean that nothing is declared. */
  readonly isWhole: boolean
}

/** A table of what would change in the order in which it would be done, reasons below, and how often what. */
export function changeLines(changes: readonly ObjectChange[], { all, isWhole }: ChangeLinesOptions): string[] {
  if (changes.length === 0 && !isWhole) return []
  const shown = changes.filter(({ action }) => all || action !== 'none')
  const reasons = shown.filter(({ message }) => message !== '')
  return [
    ...(shown.length === 0 ? [] : formatTable({ columns: COLUMNS, rows: shown.map(changeRow) })),
    ...(reasons.length === 0 ? [] : ['']),
    ...reasons.map((change) => `${objectName(change)}${placeOf(change)}: ${plain(change.message)}`),
    ...(shown.length === 0 ? [] : ['']),
    summaryOf(changes),
  ]
}

function changeRow(change: ObjectChange): string[] {
  const more = change.fields.length - FIELDS_SHOWN
  const fields = change.fields.slice(0, FIELDS_SHOWN).map(plain).join(', ')
  const rest = more > 0 ? ` and ${more} more` : ''
  return [plain(change.action), objectName(change), plain(change.manager) || '-', `${fields}${rest}` || '-']
}

function summaryOf(changes: readonly ObjectChange[]): string {
  const counts = new Map<string, number>()
  for (const { action } of changes) counts.set(plain(action), (counts.get(plain(action)) ?? 0) + 1)
  const words = [...counts].map(([action, count]) => `${count} ${action === 'none' ? 'unchanged' : action}`)
  return words.length === 0 ? 'nothing is declared' : `${words.join(', ')}; nothing was changed`
}

function objectName({ object }: ObjectChange): string {
  return object ? plain(formatObjectReference(object)) : 'an object'
}

function placeOf({ source }: ObjectChange): string {
  if (!source?.file) return ''
  return ` (${plain(source.file)}${source.line > 0 ? `:${source.line}` : ''})`
}

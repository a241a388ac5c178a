// Columns of text, as kubectl prints them: upper-case headings, three spaces between, nothing drawn.
import { stripVTControlCharacters } from 'node:util'

/** A table: headings and rows of equal length. Cells may hold styles. */
export interface Table {
  readonly columns: readonly string[]
  readonly rows: readonly (readonly string[])[]
}

const GAP = '   '

/** The lines of a table; the last column is not padded. Without rows only the headings. */
export function formatTable({ columns, rows }: Table): string[] {
  // Not by spreading: a fleet has more rows than a call may have arguments.
  const widths = columns.map((heading, index) =>
    rows.reduce((width, row) => Math.max(width, displayWidth(row[index] ?? '')), displayWidth(heading)),
  )
  return [columns, ...rows].map((row) =>
    row
      .map((cell, index) => `${cell}${' '.repeat((widths[index] ?? 0) - displayWidth(cell))}`)
      .join(GAP)
      .trimEnd(),
  )
}

/** Columns that a text takes on a terminal; styles take none. */
export function displayWidth(text: string): number {
  return [...stripVTControlCharacters(text)].length
}

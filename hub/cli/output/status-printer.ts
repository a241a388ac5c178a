// Prints the fleet's state: once, redrawn in a terminal, or as lines that are appended when something changed.
import { type FleetStatus, FleetStatusSchema } from '@fairlead/proto/fleet'
import { messageToData } from './json.ts'
import type { Output } from './output.ts'
import { formatStatus, problemLines, statusRows } from './status-view.ts'
import { displayWidth } from './table.ts'

/** How `status` shows the state. */
export type StatusFormat = 'table' | 'wide' | 'json' | 'yaml'

/** Prints one state after the other. */
export interface StatusPrinter {
  /** The whole state, once. */
  readonly print: (status: FleetStatus) => void
  /** The state after a change: redraws a terminal; elsewhere appends the rows and problems that are new, or one JSON (YAML) document. */
  readonly update: (status: FleetStatus) => void
}

/** Makes a printer; it remembers what it printed. */
export function createStatusPrinter(output: Output, format: StatusFormat): StatusPrinter {
  const wide = format === 'wide'
  const view = () => ({ now: Date.now(), wide, style: output.style })
  let printed = new Set<string>()
  const append = (status: FleetStatus): void => {
    const lines = changeLines(status, wide)
    const keys = new Set(lines.map(({ key }) => key))
    const at = new Date().toISOString()
    for (const { key, text } of lines) if (!printed.has(key)) output.line(`${at}  ${text}`)
    printed = keys
  }
  const print = (status: FleetStatus): void => {
    for (const line of formatStatus(status, view())) output.line(line)
  }
  const update = (status: FleetStatus): void => {
    if (format === 'json') output.data(messageToData(FleetStatusSchema, status), 'json-line')
    else if (format === 'yaml') output.data(messageToData(FleetStatusSchema, status), 'yaml-document')
    else if (output.isTerminal) redraw(output, formatStatus(status, view()))
    else append(status)
  }
  return { print, update }
}

/** Home, each line cleared to its end, then everything below: no flicker. What does not fit is cut, since a redraw cannot scroll. */
function redraw(output: Output, lines: readonly string[]): void {
  const { columns, rows } = output.size()
  const shown = lines.slice(0, rows - 1).map((line) => (displayWidth(line) > columns ? cutLine(line, columns) : line))
  output.raw(`\u001b[H${shown.map((line) => `${line}\u001b[K\n`).join('')}\u001b[J`)
}

/** The line without styles, cut to the width: a wrapped line would leave pieces behind at the next redraw. */
function cutLine(line: string, width: number): string {
  return [...line.replace(/\u001b\[[0-9;]*m/g, '')].slice(0, width).join('')
}

/** Rows and problems without the ages, which change by themselves: a line is new when its key was not there before. */
function changeLines(status: FleetStatus, wide: boolean): { key: string; text: string }[] {
  const style = (_style: unknown, text: string): string => text
  const ages = /\d+[smhd](?= ago| *\]|\))/g
  const rows = statusRows(status, { now: Date.now(), wide, style }).map((row) => {
    const cells = row.slice(0, 6)
    return { key: cells.join(' ').replace(ages, ''), text: cells.join('  ') }
  })
  const problems = problemLines(status, Date.now()).map((line) => ({
    key: line.replace(ages, ''),
    text: `problem: ${line}`,
  }))
  return [...rows, ...problems]
}

// The only place that writes to standard output and standard error.
import { styleText } from 'node:util'
import { dump } from 'js-yaml'
import { formatTable, type Table } from './table.ts'

/** A colour or weight of a piece of text. */
export type Style = 'red' | 'green' | 'yellow' | 'dim' | 'bold'

/** `json` for one value, `json-line` and `yaml-document` for one of many. */
export type DataFormat = 'json' | 'json-line' | 'yaml' | 'yaml-document'

/** Where a command's results and its words to a person go. */
export interface Output {
  /** Standard output is a terminal: something a person looks at. */
  readonly isTerminal: boolean
  /** Columns and rows of the terminal now; 80 x 24 when it does not say. */
  readonly size: () => { readonly columns: number; readonly rows: number }
  /** A line of the result, to standard output. */
  readonly line: (text?: string) => void
  /** A table to standard output. */
  readonly table: (table: Table) => void
  /** Data for scripts to standard output. */
  readonly data: (value: unknown, format: DataFormat) => void
  /** Words to a person, to standard error: never part of the result. */
  readonly note: (text: string) => void
  /** The text as it is, to standard output: for redrawing. */
  readonly raw: (text: string) => void
  /** Where questions to a person are written: standard error. */
  readonly forQuestions: NodeJS.WritableStream
  /** Resolves when all was handed over. */
  readonly flush: () => Promise<void>
  /** The text in a style; as it is without colour. */
  readonly style: (style: Style, text: string) => string
}

/** What an Output writes to. */
export interface OutputOptions {
  readonly stdout: NodeJS.WritableStream & { isTTY?: boolean; columns?: number; rows?: number }
  readonly stderr: NodeJS.WritableStream
  /** No colour even in a terminal. */
  readonly noColour: boolean
}

/** Makes the output of one run. Colours appear only when standard output is a terminal. */
export function createOutput({ stdout, stderr, noColour }: OutputOptions): Output {
  const isTerminal = stdout.isTTY === true
  const colour = isTerminal && !noColour
  const line = (text = ''): void => void stdout.write(`${text}\n`)
  return {
    isTerminal,
    size: () => ({ columns: stdout.columns || 80, rows: stdout.rows || 24 }),
    line,
    table: (table) => {
      for (const text of formatTable(table)) line(text)
    },
    data: (value, format) => void stdout.write(formatData(value, format)),
    note: (text) => void stderr.write(`${text}\n`),
    raw: (text) => void stdout.write(text),
    forQuestions: stderr,
    flush: () => new Promise((resolve) => stdout.write('', () => resolve())),
    style: (style, text) => (colour ? styleText(style, text, { validateStream: false }) : text),
  }
}

/** The text of a value for scripts, with its final newline. */
export function formatData(value: unknown, format: DataFormat): string {
  if (format === 'yaml' || format === 'yaml-document') {
    return `${format === 'yaml' ? '' : '---\n'}${dump(value, { noRefs: true, lineWidth: -1 })}`
  }
  return `${JSON.stringify(value, null, format === 'json' ? 2 : undefined)}\n`
}

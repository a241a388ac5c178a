// What a benchmark found: a table for people and one line of JSON for machines.

/** The outcome of one benchmark. */
export interface Report {
  /** Rows of the table: what, measured, compared with. */
  readonly rows: readonly (readonly [what: string, measured: string, against: string])[]
  /** The last line. */
  readonly json: Readonly<Record<string, string | number>> & { readonly bench: string }
}

/** Prints the table and, as the last line, the JSON. */
export function printReport({ rows, json }: Report): void {
  const table = [['what', 'measured', 'compared with'], ...rows]
  const widths = [0, 1, 2].map((column) => Math.max(...table.map((row) => row[column]?.length ?? 0)))
  for (const row of table)
    console.log(
      row
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join('  ')
        .trimEnd(),
    )
  console.log(JSON.stringify(json))
}

/** The value below which `share` (0 to 1) of the samples lie. Throws when there are none. */
export function percentile(samples: readonly number[], share: number): number {
  const sorted = [...samples].sort((a, b) => a - b)
  const value = sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))]
  if (value === undefined) throw new Error('no samples')
  return value
}

/** Rounded to a tenth. */
export function tenths(value: number): number {
  return Math.round(value * 10) / 10
}

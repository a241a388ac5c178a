// JSON with numbers of more digits than a double has.

interface RawJson {
  rawJSON(text: string): unknown
}

/** JSON.parse, but numbers that a double cannot hold stay as they are written (JSON.parse source text access). */
export function parseExactJson(text: string): unknown {
  if (!/\d{16}/.test(text)) return JSON.parse(text)
  const keep = (_key: string, value: unknown, context?: { source?: string }): unknown =>
    typeof value === 'number' && !Number.isSafeInteger(value) && context?.source && String(value) !== context.source
      ? (JSON as unknown as RawJson).rawJSON(context.source)
      : value
  return (JSON.parse as (text: string, reviver: typeof keep) => unknown)(text, keep)
}

// Repository and Application documents as the user has them: parsed from YAML or JSON, each knowing its file and lines.
import { AppError } from '@fairlead/shared/errors'
import {
  CORE_SCHEMA,
  constructFromEvents,
  EVENT_ID,
  type Event,
  getScalarValue,
  mergeTag,
  parseEvents,
  YAMLException,
} from 'js-yaml'

/** One document of a file. */
export interface DefinitionSource {
  /** What was written, as plain data. */
  readonly value: Readonly<Record<string, unknown>>
  /** As written; empty when missing. */
  readonly kind: string
  /** metadata.name as written; empty when missing. */
  readonly name: string
  /** As given on the command line; `-` is standard input. */
  readonly file: string
  /** Line of the document's first line, counted from 1. */
  readonly line: number
  /** Line of a field such as `spec.source.path` or `spec.placement.names[1]`: the longest part of the path that is written. */
  lineOf(field: string): number
}

const SCHEMA = CORE_SCHEMA.withTags(mergeTag)
const LIMITS = { maxDepth: 100, maxAliases: 1_000, maxTotalMergeKeys: 1_000 }

/**
 * All documents of a text; empty ones are left out. Throws InvalidArgument with file and line for text that is not YAML and for
 * documents that are not mappings.
 */
export function parseDocuments(text: string, file: string): DefinitionSource[] {
  const source = text.replace(/^\uFEFF/, '')
  const { events, values } = readYaml(source, file)
  const lineAt = makeLineIndex(source)
  return splitDocuments(events).flatMap((document, index) => {
    const value = values[index]
    if (value === null || value === undefined) return []
    const lines = mapFieldLines(document, source, lineAt)
    const line = lines.get('') ?? 1
    if (!isRecord(value)) {
      throw new AppError('InvalidArgument', 'a document must be a mapping with apiVersion, kind, metadata and spec', {
        context: { file, line },
      })
    }
    return [{ value, ...identify(value), file, line, lineOf: (field: string) => findLine(lines, field) }]
  })
}

function readYaml(source: string, file: string): { events: Event[]; values: unknown[] } {
  try {
    const events = parseEvents(source, { filename: file, maxDepth: LIMITS.maxDepth })
    return { events, values: constructFromEvents(events, { source, schema: SCHEMA, ...LIMITS }) }
  } catch (error) {
    if (!(error instanceof YAMLException)) throw error
    const line = error.mark ? { line: error.mark.line + 1 } : {}
    throw new AppError('InvalidArgument', `not valid YAML: ${error.reason}`, {
      context: { file, ...line },
      cause: error,
    })
  }
}

function identify(value: Readonly<Record<string, unknown>>): { kind: string; name: string } {
  const name = isRecord(value.metadata) ? value.metadata.name : undefined
  return {
    kind: typeof value.kind === 'string' ? value.kind : '',
    name: typeof name === 'string' ? name : '',
  }
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** Line of an offset, counted from 1. */
function makeLineIndex(source: string): (offset: number) => number {
  const starts = [0]
  for (let at = source.indexOf('\n'); at >= 0; at = source.indexOf('\n', at + 1)) starts.push(at + 1)
  return (offset) => {
    let low = 0
    let high = starts.length
    while (high - low > 1) {
      const middle = (low + high) >> 1
      if ((starts[middle] ?? 0) <= offset) low = middle
      else high = middle
    }
    return low + 1
  }
}

function splitDocuments(events: readonly Event[]): Event[][] {
  const documents: Event[][] = []
  for (const event of events) {
    if (event.type === EVENT_ID.DOCUMENT) documents.push([])
    else documents.at(-1)?.push(event)
  }
  return documents
}

/** What encloses the events that are being walked. */
interface Frame {
  readonly path: string
  readonly sequence: boolean
  index: number
  /** Of a mapping: the key whose value comes next. */
  key: { path: string; line: number } | undefined
}

/** Line of every field by its path; a mapping's field is where its key is. The document itself has the path ''. */
function mapFieldLines(
  events: readonly Event[],
  source: string,
  lineAt: (offset: number) => number,
): Map<string, number> {
  const lines = new Map<string, number>()
  const frames: Frame[] = []
  for (const event of events) {
    const frame = frames.at(-1)
    if (event.type === EVENT_ID.POP) {
      frames.pop()
      continue
    }
    if (event.type === EVENT_ID.DOCUMENT) continue
    const line = lineAt(startOf(event))
    if (frame && !frame.sequence && frame.key === undefined && event.type === EVENT_ID.SCALAR) {
      const key = event.valueStart < 0 ? '' : getScalarValue(source, event)
      frame.key = { path: frame.path === '' ? key : `${frame.path}.${key}`, line }
      continue
    }
    const path = nextPath(frame)
    lines.set(path, frame?.key?.line ?? line)
    if (frame) frame.key = undefined
    if (event.type === EVENT_ID.MAPPING || event.type === EVENT_ID.SEQUENCE) {
      frames.push({ path, sequence: event.type === EVENT_ID.SEQUENCE, index: 0, key: undefined })
    }
  }
  return lines
}

function nextPath(frame: Frame | undefined): string {
  if (!frame) return ''
  if (!frame.sequence) return frame.key?.path ?? frame.path
  const path = `${frame.path}[${frame.index}]`
  frame.index += 1
  return path
}

function startOf(event: Exclude<Event, { type: typeof EVENT_ID.POP | typeof EVENT_ID.DOCUMENT }>): number {
  if (event.type === EVENT_ID.SCALAR) return Math.max(0, event.valueStart)
  return event.type === EVENT_ID.ALIAS ? event.anchorStart : event.start
}

/** Walks up from the whole path to the first part that is written. */
function findLine(lines: ReadonlyMap<string, number>, field: string): number {
  let path = field
  for (;;) {
    const line = lines.get(path)
    if (line !== undefined) return line
    const cut = Math.max(path.lastIndexOf('.'), path.lastIndexOf('['))
    if (cut < 0) return lines.get('') ?? 1
    path = path.slice(0, cut)
  }
}

// Reads YAML files as kubectl does, with lines for every message and limits against hostile files. js-yaml finds the
// structure; the values are composed here, because its own constructor knows neither positions nor kubectl's rules.
import { EVENT_ID, type Event, getScalarValue, parseEvents, type ScalarEvent, YAMLException } from 'js-yaml'
import { YamlPositions } from './yaml-positions.ts'
import {
  isRawInteger,
  resolvePlainScalar,
  resolveTaggedScalar,
  ScalarRefusal,
  type ScalarValue,
} from './yaml-scalar.ts'

/** A value as JSON knows it. */
export type JsonValue = ScalarValue | JsonValue[] | JsonObject
/** A mapping. */
export interface JsonObject {
  [key: string]: JsonValue
}

/** One document of a file. */
export interface YamlDocument {
  readonly value: JsonValue
  /** Line of its first content, counted from 1. */
  readonly line: number
}

/** The documents of a file. */
export interface YamlFile {
  readonly documents: readonly YamlDocument[]
  /** The line at which a mapping or sequence of this file begins, counted from 1; undefined for other values. */
  lineOf(value: JsonValue): number | undefined
  /** The line of `part` within the text under `key` of a mapping or sequence of this file; undefined when the text has no variables, as positions of others are not kept. */
  lineOfPart(container: object, key: string | number, part: string): number | undefined
  /** JSON of a value of this file with the keys of its mappings in the order of the file, which objects do not keep: keys such as "10" come first there. */
  stringify(value: JsonValue): string
}

/** What is wrong with a file, and where. Its message never holds a value of the file. */
export class YamlError extends Error {
  override readonly name = 'YamlError'
  readonly code: 'InvalidYaml' | 'LimitExceeded'
  /** Counted from 1. */
  readonly line: number
  /** Dotted path of the field, empty when unknown. */
  readonly field: string

  constructor(
    code: 'InvalidYaml' | 'LimitExceeded',
    message: string,
    { line, field = '' }: { line: number; field?: string },
  ) {
    super(message)
    this.code = code
    this.line = line
    this.field = field
  }
}

/** Deepest nesting of a document, aliases followed. */
export const YAML_MAX_DEPTH = 100
/** Most values and characters that aliases and merge keys of one file may add. */
export const YAML_MAX_EXPANSION = 4 * 1024 * 1024

/** Most marks (`- `, `: `, `,`, `[`, `{` and the like) of one file, in its texts too. Every value needs one, so this bounds the memory before any is taken: a worker thread that runs out of memory at once can take the process along. */
export const YAML_MAX_MARKS = 1_000_000

/** Reads all documents of a file; documents without content are left out. Throws YamlError. */
export function readYaml(source: string): YamlFile {
  checkMarks(source)
  const positions = new YamlPositions(source)
  const composer = new Composer(source, parse(source), positions)
  const documents = composer.compose()
  return {
    documents,
    lineOf: (value) => positions.lineOf(value),
    lineOfPart: (container, key, part) => positions.lineOfPart(container, key, part),
    stringify: (value) => composer.stringify(value),
  }
}

function checkMarks(source: string): void {
  let marks = 0
  for (let position = 0; position < source.length; position++) {
    const character = source.charCodeAt(position)
    if (character > 0x7b) continue
    const isFlow = character === 0x2c || character === 0x5b || character === 0x7b
    const isBlock = character === 0x2d || character === 0x3a || character === 0x3f
    if (isFlow || (isBlock && !(source.charCodeAt(position + 1) > 0x20))) marks++
  }
  if (marks > YAML_MAX_MARKS) {
    throw new YamlError('LimitExceeded', `the file has more than ${YAML_MAX_MARKS} values or marks; split it`, {
      line: 1,
    })
  }
}

function parse(source: string): Event[] {
  try {
    return parseEvents(source, { maxDepth: YAML_MAX_DEPTH })
  } catch (error) {
    if (!(error instanceof YAMLException)) throw error
    // Text in quotes could be a value of the file: only names of tags and the like, but a Secret must not depend on that.
    const reason = error.reason.replace(/"[^"]*"|'[^']*'|<[^>]*>/g, '…')
    const code = /nesting|depth/i.test(reason) ? 'LimitExceeded' : 'InvalidYaml'
    throw new YamlError(code, reason, { line: (error.mark?.line ?? 0) + 1 })
  }
}

/** A key that objects put before all others. */
const INDEX = /^(?:0|[1-9]\d{0,9})$/

interface Composed {
  readonly value: JsonValue
  /** Values and characters inside, this one included. */
  readonly weight: number
  /** Levels of nesting, 0 for a scalar. */
  readonly height: number
}

type Anchors = Map<string, Composed | 'open'>

/** What a collection grows by while it is read. */
interface Growth {
  weight: number
  height: number
}

class Composer {
  readonly #source: string
  readonly #events: readonly Event[]
  readonly #positions: YamlPositions
  /** Keys in the order of the file, of mappings that have another. */
  readonly #keyOrders = new WeakMap<object, string[]>()
  readonly #path: (string | number)[] = []
  #next = 0
  #anchors: Anchors = new Map()
  #expansion = 0

  constructor(source: string, events: readonly Event[], positions: YamlPositions) {
    this.#source = source
    this.#events = events
    this.#positions = positions
  }

  compose(): YamlDocument[] {
    const documents: YamlDocument[] = []
    while (this.#next < this.#events.length) {
      this.#next++
      this.#anchors = new Map()
      const event = this.#peek()
      if (event.type !== EVENT_ID.POP) {
        const { value } = this.#node()
        if (value !== null) documents.push({ value, line: this.#positions.lineAt(startOf(event)) })
      }
      this.#next++
    }
    return documents
  }

  stringify(value: JsonValue): string {
    if (Array.isArray(value)) return `[${value.map((item) => this.stringify(item)).join(',')}]`
    if (value === null || typeof value !== 'object' || isRawInteger(value)) return JSON.stringify(value)
    const keys = [...new Set([...(this.#keyOrders.get(value) ?? []), ...Object.keys(value)])]
    const fields = keys.map((key) => `${JSON.stringify(key)}:${this.stringify(value[key] ?? null)}`)
    return `{${fields.join(',')}}`
  }

  #peek(): Event {
    const event = this.#events[this.#next]
    if (event === undefined) throw new Error('the YAML events end early')
    return event
  }

  #node(): Composed {
    const event = this.#peek()
    this.#next++
    switch (event.type) {
      case EVENT_ID.ALIAS:
        return this.#alias(event.anchorStart, event.anchorEnd)
      case EVENT_ID.SCALAR: {
        const value = this.#scalar(event)
        const weight = 1 + (typeof value === 'string' ? value.length : 0)
        return this.#anchored(event, { value, weight, height: 0 })
      }
      case EVENT_ID.SEQUENCE:
        this.#openAnchor(event)
        return this.#anchored(event, this.#sequence(event.start))
      case EVENT_ID.MAPPING:
        this.#openAnchor(event)
        return this.#anchored(event, this.#mapping(event.start))
      default:
        throw new Error('an unexpected YAML event')
    }
  }

  #sequence(start: number): Composed {
    const value: JsonValue[] = []
    const growth: Growth = { weight: 1, height: 0 }
    this.#positions.noteCollection(value, start)
    while (this.#peek().type !== EVENT_ID.POP) {
      this.#path.push(value.length)
      const start = startOf(this.#peek())
      const item = this.#node()
      this.#positions.noteValue(value, value.length, item.value, start)
      value.push(grow(growth, item))
      this.#path.pop()
    }
    this.#next++
    return { value, weight: growth.weight, height: growth.height + 1 }
  }

  #mapping(start: number): Composed {
    const value: JsonObject = {}
    const growth: Growth = { weight: 1, height: 0 }
    const merges: { from: JsonValue; at: number }[] = []
    this.#positions.noteCollection(value, start)
    while (this.#peek().type !== EVENT_ID.POP) {
      const at = startOf(this.#peek())
      const key = this.#key()
      this.#path.push(key ?? '<<')
      if (key !== undefined && Object.hasOwn(value, key)) throw this.#error('this key is given twice', at)
      const start = startOf(this.#peek())
      const item = this.#node()
      if (key !== undefined) this.#positions.noteValue(value, key, item.value, start)
      growth.height = Math.max(growth.height, item.height)
      if (key === undefined) merges.push({ from: item.value, at })
      else {
        if (INDEX.test(key)) this.#keyOrders.set(value, this.#keyOrders.get(value) ?? Object.keys(value))
        this.#keyOrders.get(value)?.push(key)
        setField(value, key, grow(growth, item))
      }
      this.#path.pop()
    }
    this.#next++
    for (const { from, at } of merges) growth.weight += this.#merge(value, from, at)
    return { value, weight: growth.weight, height: growth.height + 1 }
  }

  /** The next key; undefined for a merge key. */
  #key(): string | undefined {
    const event = this.#peek()
    const isPlain = event.type === EVENT_ID.SCALAR && event.style === 1 && event.tagStart < 0
    if (isPlain && getScalarValue(this.#source, event) === '<<') {
      this.#next++
      return undefined
    }
    const { value } = this.#node()
    if (value === null) throw this.#error('a key is empty', startOf(event))
    if (isRawInteger(value)) return value.rawJSON
    if (typeof value === 'object') throw this.#error('a key is a mapping or a sequence', startOf(event))
    return String(value)
  }

  /** Copies what `from` has and `target` has not; earlier sources win. Returns the weight that was added. */
  #merge(target: JsonObject, from: JsonValue, at: number): number {
    let weight = 0
    for (const source of Array.isArray(from) ? from : [from]) {
      if (source === null || typeof source !== 'object' || Array.isArray(source)) {
        throw this.#error('a merge key needs a mapping or a sequence of mappings', at)
      }
      for (const [key, value] of Object.entries(source)) {
        if (Object.hasOwn(target, key)) continue
        setField(target, key, value)
        weight += weigh(value)
      }
      // Even a merge that adds nothing costs the time of looking.
      this.#expand(weight + Object.keys(source).length, at)
    }
    return weight
  }

  #alias(start: number, end: number): Composed {
    const target = this.#anchors.get(this.#source.slice(start, end))
    if (target === undefined) throw this.#error('an alias names an anchor that was not defined before it', start)
    if (target === 'open') throw this.#error('an anchor contains itself', start)
    this.#expand(target.weight, start)
    if (this.#path.length + target.height > YAML_MAX_DEPTH) {
      throw this.#error(`nested deeper than ${YAML_MAX_DEPTH} levels`, start, 'LimitExceeded')
    }
    return target
  }

  #expand(weight: number, at: number): void {
    this.#expansion += weight
    if (this.#expansion > YAML_MAX_EXPANSION) {
      throw this.#error('aliases make the file larger than the limit allows', at, 'LimitExceeded')
    }
  }

  #openAnchor(event: { anchorStart: number; anchorEnd: number }): void {
    if (event.anchorStart >= 0) this.#anchors.set(this.#source.slice(event.anchorStart, event.anchorEnd), 'open')
  }

  #anchored(event: { anchorStart: number; anchorEnd: number }, composed: Composed): Composed {
    if (event.anchorStart >= 0) this.#anchors.set(this.#source.slice(event.anchorStart, event.anchorEnd), composed)
    return composed
  }

  #scalar(event: ScalarEvent): ScalarValue {
    const text = event.valueStart < 0 ? '' : getScalarValue(this.#source, event)
    const value =
      event.tagStart >= 0
        ? resolveTaggedScalar(tagName(this.#source.slice(event.tagStart, event.tagEnd)), text)
        : event.style === 1
          ? resolvePlainScalar(text)
          : text
    if (!(value instanceof ScalarRefusal)) return value
    throw this.#error(REFUSALS[value.reason], startOf(event))
  }

  #error(message: string, at: number, code: 'InvalidYaml' | 'LimitExceeded' = 'InvalidYaml'): YamlError {
    return new YamlError(code, message, { line: this.#positions.lineAt(at), field: formatPath(this.#path) })
  }
}

const REFUSALS: Record<ScalarRefusal['reason'], string> = {
  'unsafe-integer': 'an integer beyond 64 bits would lose digits; quote it if it is meant as text',
  'not-finite': 'infinity and NaN have no place in JSON; quote it if it is meant as text',
  invalid: 'the value does not fit its tag',
}

function grow(growth: Growth, item: Composed): JsonValue {
  growth.weight += item.weight
  growth.height = Math.max(growth.height, item.height)
  return item.value
}

function weigh(value: JsonValue): number {
  if (typeof value === 'string') return 1 + value.length
  if (value === null || typeof value !== 'object') return 1
  let weight = 1
  for (const item of Object.values(value)) {
    weight += weigh(item)
    if (weight > YAML_MAX_EXPANSION) break
  }
  return weight
}

function setField(target: JsonObject, key: string, value: JsonValue): void {
  if (key === '__proto__')
    Object.defineProperty(target, key, { value, enumerable: true, configurable: true, writable: true })
  else target[key] = value
}

function tagName(tag: string): string {
  const verbatim = /^!<tag:yaml\.org,2002:(.*)>$/.exec(tag)
  return verbatim?.[1] ?? (tag.startsWith('!!') ? tag.slice(2) : '')
}

function startOf(event: Event): number {
  switch (event.type) {
    case EVENT_ID.SCALAR:
      return Math.max(0, event.valueStart)
    case EVENT_ID.SEQUENCE:
    case EVENT_ID.MAPPING:
      return event.start
    case EVENT_ID.ALIAS:
      return event.anchorStart
    default:
      return 0
  }
}

function formatPath(path: readonly (string | number)[]): string {
  return path.reduce<string>(
    (text, part) => (typeof part === 'number' ? `${text}[${part}]` : text === '' ? part : `${text}.${part}`),
    '',
  )
}

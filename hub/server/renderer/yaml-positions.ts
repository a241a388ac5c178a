// Where the values of a YAML file begin, for messages: mappings and sequences, and the texts that hold variables. Positions
// of other scalars are not kept.
import { mayHoldVariables } from '@fairlead/shared/variables'

/** Positions in one file. */
export class YamlPositions {
  readonly #source: string
  readonly #starts = new WeakMap<object, number>()
  /** Where texts with variables begin, by what holds them. */
  readonly #textStarts = new WeakMap<object, Map<string | number, number>>()
  #lineStarts: number[] | undefined

  constructor(source: string) {
    this.#source = source
  }

  /** A mapping or sequence begins at this offset. */
  noteCollection(collection: object, start: number): void {
    this.#starts.set(collection, start)
  }

  /** The value under `key` of a mapping or sequence begins at this offset; kept only for texts with variables. */
  noteValue(container: object, key: string | number, value: unknown, start: number): void {
    if (typeof value !== 'string' || !mayHoldVariables(value)) return
    const starts = this.#textStarts.get(container) ?? new Map<string | number, number>()
    this.#textStarts.set(container, starts.set(key, start))
  }

  /** The line at which a mapping or sequence begins, counted from 1; undefined for other values. */
  lineOf(value: unknown): number | undefined {
    if (value === null || typeof value !== 'object') return undefined
    const start = this.#starts.get(value)
    return start === undefined ? undefined : this.lineAt(start)
  }

  /** The line of `part` within the text under `key` of a mapping or sequence; undefined when the text has no variables. */
  lineOfPart(container: object, key: string | number, part: string): number | undefined {
    const start = this.#textStarts.get(container)?.get(key)
    if (start === undefined) return undefined
    const at = this.#source.indexOf(part, start)
    return this.lineAt(at < 0 ? start : at)
  }

  /** The line of an offset, counted from 1. */
  lineAt(offset: number): number {
    this.#lineStarts ??= findLineStarts(this.#source)
    let low = 0
    let high = this.#lineStarts.length - 1
    while (low < high) {
      const middle = (low + high + 1) >>> 1
      if ((this.#lineStarts[middle] ?? 0) <= offset) low = middle
      else high = middle - 1
    }
    return low + 1
  }
}

function findLineStarts(source: string): number[] {
  const starts = [0]
  for (let position = 0; position < source.length; position++) {
    const character = source.charCodeAt(position)
    if (character === 10 || (character === 13 && source.charCodeAt(position + 1) !== 10)) starts.push(position + 1)
  }
  return starts
}

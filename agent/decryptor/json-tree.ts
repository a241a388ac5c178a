// JSON with the order of keys and the digits of numbers as they are written. SOPS's MAC depends on both, and objects of
// JavaScript keep neither: keys such as "10" come first, and 2^53 + 1 is rounded.

/** A number as it is written. */
export class JsonNumber {
  readonly text: string
  constructor(text: string) {
    this.text = text
  }
}

/** A mapping in the order of its text. */
export type JsonMap = Map<string, JsonTree>
/** A value. */
export type JsonTree = string | boolean | null | JsonNumber | JsonTree[] | JsonMap

const DEPTH_MAX = 200
const NUMBER = /-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?/y
const LITERALS = new Map<string, JsonTree>([
  ['true', true],
  ['false', false],
  ['null', null],
])

/** Reads a JSON text. Throws SyntaxError, without any of the text, when it is not JSON or nested deeper than 200 levels. */
export function parseJsonTree(text: string): JsonTree {
  return new Reader(text).document()
}

class Reader {
  readonly #text: string
  #at = 0

  constructor(text: string) {
    this.#text = text
  }

  document(): JsonTree {
    const value = this.#value(0)
    this.#skipSpace()
    if (this.#at < this.#text.length) this.#fail()
    return value
  }

  #value(depth: number): JsonTree {
    if (depth > DEPTH_MAX) this.#fail()
    this.#skipSpace()
    const first = this.#text[this.#at]
    if (first === '{') return this.#map(depth)
    if (first === '[') return this.#list(depth)
    if (first === '"') return this.#string()
    for (const [word, value] of LITERALS) {
      if (!this.#text.startsWith(word, this.#at)) continue
      this.#at += word.length
      return value
    }
    return this.#number()
  }

  #map(depth: number): JsonMap {
    const map: JsonMap = new Map()
    this.#at++
    while (!this.#ends('}', map.size > 0)) {
      this.#skipSpace()
      const key = this.#string()
      this.#skipSpace()
      if (this.#text[this.#at++] !== ':') this.#fail()
      map.set(key, this.#value(depth + 1))
    }
    return map
  }

  #list(depth: number): JsonTree[] {
    const list: JsonTree[] = []
    this.#at++
    while (!this.#ends(']', list.length > 0)) list.push(this.#value(depth + 1))
    return list
  }

  /** True at the end of a collection; else before its next item. */
  #ends(end: string, hasItems: boolean): boolean {
    this.#skipSpace()
    const next = this.#text[this.#at]
    if (next === end) {
      this.#at++
      return true
    }
    if (hasItems && next !== ',') this.#fail()
    if (hasItems) this.#at++
    return false
  }

  #string(): string {
    const start = this.#at
    if (this.#text[start] !== '"') this.#fail()
    for (let at = start + 1; at < this.#text.length; at++) {
      const character = this.#text[at]
      if (character === '\\') at++
      else if (character === '"') {
        this.#at = at + 1
        return this.#parse(this.#text.slice(start, at + 1)) as string
      }
    }
    return this.#fail()
  }

  #number(): JsonNumber {
    NUMBER.lastIndex = this.#at
    const [found] = NUMBER.exec(this.#text) ?? []
    if (found === undefined) return this.#fail()
    this.#at += found.length
    return new JsonNumber(found)
  }

  #parse(token: string): unknown {
    try {
      return JSON.parse(token)
    } catch {
      return this.#fail()
    }
  }

  #skipSpace(): void {
    while (/[ \t\r\n]/.test(this.#text[this.#at] ?? '')) this.#at++
  }

  #fail(): never {
    throw new SyntaxError(`not JSON at character ${this.#at}`)
  }
}

/** The value as JavaScript has it; numbers that a double cannot hold stay as they are written (JSON.rawJSON). */
export function toPlain(tree: JsonTree): unknown {
  if (tree instanceof JsonNumber) return plainNumber(tree.text)
  if (Array.isArray(tree)) return tree.map(toPlain)
  if (tree instanceof Map) return Object.fromEntries([...tree].map(([key, value]) => [key, toPlain(value)]))
  return tree
}

function plainNumber(text: string): unknown {
  const value = Number(text)
  if (Number.isSafeInteger(value) || String(value) === text) return value
  return (JSON as unknown as { rawJSON(text: string): unknown }).rawJSON(text)
}

// Paths to fields of Kubernetes objects as people write them: a JSON pointer (RFC 6901) such as /spec/replicas, or a path
// such as spec.template.spec.containers[name=web].image, data[*] or metadata.annotations[example.com/note]. Pure.
import { AppError } from './errors.ts'
import { APPLICATION_LABEL, MANAGED_BY_LABEL } from './labels.ts'

/** One step of a path. */
export type PathStep =
  /** A key of a map, or the member of a list of plain values that reads so. */
  | { readonly kind: 'field'; readonly name: string }
  /** Every key of a map, every item of a list. */
  | { readonly kind: 'any' }
  /** An item of a list by its position in the declared list, from 0; of a map, the key that is spelled so. */
  | { readonly kind: 'index'; readonly index: number }
  /** The items of a list that have these fields with these values, read as text. */
  | { readonly kind: 'item'; readonly keys: Readonly<Record<string, string>> }

/** From the object down; never empty. */
export type FieldPath = readonly PathStep[]

/** Longest path, in characters. */
export const MAX_FIELD_PATH_LENGTH = 1_024

/** Reads a path in either spelling. Throws InvalidArgument that says what is wrong at which character, counted from 1. */
export function parseFieldPath(text: string): FieldPath {
  if (text.length > MAX_FIELD_PATH_LENGTH) {
    throw new AppError('InvalidArgument', `is longer than ${MAX_FIELD_PATH_LENGTH} characters`)
  }
  if (text === '') throw new AppError('InvalidArgument', 'is empty: name a field, such as spec.replicas')
  const path = text.startsWith('/') ? parsePointer(text) : new PathReader(text).read()
  const refusal = findRefusal(path)
  if (refusal !== undefined) throw new AppError('InvalidArgument', `${quote(text)}: ${refusal}`)
  return path
}

function parsePointer(text: string): FieldPath {
  let at = 1
  return text
    .slice(1)
    .split('/')
    .map((token) => {
      const start = at + 1
      at += token.length + 1
      if (token === '') throw wrong(text, start, 'a part is empty')
      const stray = /~(?![01])/.exec(token)
      if (stray) throw wrong(text, start + stray.index, '"~" must be written ~0, and "/" ~1')
      if (token === '-') throw wrong(text, start, '"-" names no item')
      const name = token.replaceAll('~1', '/').replaceAll('~0', '~')
      return /^(0|[1-9]\d{0,8})$/.test(name) ? { kind: 'index', index: Number(name) } : { kind: 'field', name }
    })
}

class PathReader {
  readonly #text: string
  #at = 0

  constructor(text: string) {
    this.#text = text
  }

  read(): FieldPath {
    const steps: PathStep[] = [this.#rest.startsWith('[') ? this.#bracket() : this.#name()]
    while (this.#at < this.#text.length) {
      if (this.#rest.startsWith('[')) steps.push(this.#bracket())
      else if (this.#rest.startsWith('.')) {
        this.#at++
        steps.push(this.#name())
      } else throw this.#wrong('expected "." or "["')
    }
    return steps
  }

  get #rest(): string {
    return this.#text.slice(this.#at)
  }

  #name(): PathStep {
    const name = /^[\w$-]+/.exec(this.#rest)?.[0]
    if (name === undefined) {
      if (this.#rest.startsWith('*')) throw this.#wrong('"*" is written in brackets: [*]')
      throw this.#wrong('expected the name of a field')
    }
    this.#at += name.length
    if (this.#rest.startsWith('/')) throw this.#wrong('a name with "/" is written in brackets: [example.com/name]')
    return { kind: 'field', name }
  }

  #bracket(): PathStep {
    const quoted = /^\["((?:[^"\\]|\\.)*)"\]/.exec(this.#rest)
    if (quoted) {
      const name = this.#unquote(quoted[1] ?? '')
      this.#at += quoted[0].length
      return { kind: 'field', name }
    }
    const end = this.#rest.indexOf(']')
    if (end < 0) throw this.#wrong('"[" is not closed')
    const inside = this.#rest.slice(1, end)
    const step = this.#readInside(inside)
    this.#at += end + 1
    return step
  }

  #readInside(inside: string): PathStep {
    if (inside === '') throw this.#wrong('there is nothing between the brackets')
    if (inside === '*') return { kind: 'any' }
    if (/^\d{1,9}$/.test(inside)) return { kind: 'index', index: Number(inside) }
    if (!inside.includes('=')) {
      if (/["[*]/.test(inside)) throw this.#wrong(`${quote(inside)} is no key, item or *`)
      return { kind: 'field', name: inside }
    }
    const keys: Record<string, string> = {}
    for (const part of inside.split(',')) {
      const [, key, value] = /^\s*([\w$-]+)=(.+?)\s*$/.exec(part) ?? []
      if (key === undefined || value === undefined)
        throw this.#wrong(`${quote(part)} is not <field>=<value>, such as name=web`)
      keys[key] = value.replace(/^"(.*)"$/, '$1')
    }
    return { kind: 'item', keys }
  }

  #unquote(text: string): string {
    try {
      return JSON.parse(`"${text}"`) as string
    } catch {
      throw this.#wrong('the text in quotes is not valid')
    }
  }

  #wrong(message: string): AppError {
    return wrong(this.#text, this.#at + 1, message)
  }
}

function wrong(text: string, character: number, message: string): AppError {
  return new AppError('InvalidArgument', `${quote(text)}, character ${character}: ${message}`)
}

function quote(text: string): string {
  return JSON.stringify(text.length > 120 ? `${text.slice(0, 120)}…` : text)
}

/** Why a path may not be left to others; undefined when it may. */
function findRefusal([first, second, third]: FieldPath): string | undefined {
  if (first?.kind !== 'field') return 'must begin with the name of a field'
  if (first.name === 'apiVersion' || first.name === 'kind') return `${first.name} says which object it is`
  if (first.name !== 'metadata') return undefined
  if (!second) return 'metadata holds the name of the object: name the fields in it'
  if (second.kind !== 'field') return 'names all of metadata, the name of the object with it'
  if (second.name === 'name' || second.name === 'namespace') return `metadata.${second.name} says which object it is`
  const isOurs = third?.kind === 'field' && (third.name === MANAGED_BY_LABEL || third.name === APPLICATION_LABEL)
  if (second.name === 'labels' && isOurs) return `the label ${third.name} is how Fairlead knows the object`
  return undefined
}

/** The path in the small syntax; parses to the same path, but for positions in maps. */
export function formatFieldPath(path: FieldPath): string {
  return path.map((step, index) => formatStep(step, index === 0)).join('')
}

function formatStep(step: PathStep, isFirst: boolean): string {
  switch (step.kind) {
    case 'any':
      return '[*]'
    case 'index':
      return `[${step.index}]`
    case 'item':
      return `[${Object.entries(step.keys)
        .map(([key, value]) => `${key}=${value}`)
        .join(',')}]`
    case 'field':
      if (/^[\w$-]+$/.test(step.name)) return isFirst ? step.name : `.${step.name}`
      return /^[\w./:-]+$/.test(step.name) ? `[${step.name}]` : `[${JSON.stringify(step.name)}]`
  }
}

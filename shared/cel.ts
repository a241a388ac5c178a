// CEL over one Kubernetes object, `self`, for health rules: compiled and checked here for hub and agent alike, and evaluated
// within bounds of time and memory, because those who write expressions are not those who run the agent.
import vm from 'node:vm'
import { type ASTNode, Environment, EvaluationError, type ParseResult } from '@marcbachmann/cel-js'
import { AppError } from './errors.ts'

/** What an expression must give. */
export type CelType = 'bool' | 'string'

/** What an expression gave: a value, nothing because a field that it reads is not there, or a failure in words without values. */
export type CelOutcome<T> =
  | { readonly kind: 'value'; readonly value: T }
  | { readonly kind: 'absent'; readonly message: string }
  | { readonly kind: 'error'; readonly message: string }

/** A compiled expression. */
export interface CelExpression<T> {
  /** Evaluates over an object made by toCelValue. Never throws. After it ran out of time once it is not tried again. */
  evaluate(self: unknown): CelOutcome<T>
}

/** Longest expression, in characters. */
export const CEL_MAX_LENGTH = 1_000
/** exists, all, exists_one, map, filter and cel.bind in one expression: each may run over everything once more for each before it. */
const MAX_MACROS = 4
/** What can make a value grow (+, join, list and map literals) inside macros of one expression: chained, growth multiplies. */
const MAX_GROWTH = 8
/** Time of one evaluation that has macros or regular expressions, in ms; anything else takes microseconds. */
const TIMEOUT_MS = 50
/** Tries of an evaluation whose thread was given little of the time that passed. */
const STARVED_TRIES = 3
/** Most characters and nodes of an object, keys included. */
const MAX_OBJECT_SIZE = 256 * 1_024
const MAX_OBJECT_DEPTH = 64

const MACROS: ReadonlySet<string> = new Set(['exists', 'all', 'exists_one', 'existsOne', 'map', 'filter', 'bind'])

const environment = new Environment({
  enableOptionalTypes: true,
  limits: { maxAstNodes: 500, maxDepth: 32, maxListElements: 64, maxMapEntries: 32 },
}).registerVariable('self', 'dyn')

/** Compiles an expression that gives a bool. Throws InvalidHealthRule with what is wrong and where. */
export function compileCel(text: string, type: 'bool'): CelExpression<boolean>
/** Compiles an expression that gives text. Throws InvalidHealthRule with what is wrong and where. */
export function compileCel(text: string, type: 'string'): CelExpression<string>
export function compileCel(text: string, type: CelType): CelExpression<boolean> | CelExpression<string> {
  const parsed = parse(text)
  const given = check(parsed)
  if (given !== 'dyn' && given !== type) throw invalid(`gives ${given}, not ${type}`)
  const cost = measure(parsed.ast, false)
  if (cost.macros > MAX_MACROS)
    throw invalid(`has ${cost.macros} macros (exists, all, map, ...), at most ${MAX_MACROS}`)
  if (cost.growth > MAX_GROWTH) {
    throw invalid(`has ${cost.growth} of +, join and literals inside macros, at most ${MAX_GROWTH}`)
  }
  const isBounded = cost.macros === 0 && !cost.hasPattern
  return new Compiled(parsed, type, isBounded) as CelExpression<boolean> | CelExpression<string>
}

/** What is wrong with an expression; undefined when nothing is. */
export function findCelProblem(text: string, type: CelType): string | undefined {
  try {
    compileCel(text, type as 'bool')
    return undefined
  } catch (error) {
    if (error instanceof AppError && error.code === 'InvalidHealthRule') return error.message
    throw error
  }
}

/** JSON as CEL sees it: whole numbers are int, others double; metadata.managedFields is left out. Undefined when the object is too large or too deep to be judged. */
export function toCelValue(object: unknown): unknown {
  const budget = { left: MAX_OBJECT_SIZE }
  const copied = copy(object, budget, 0)
  return budget.left < 0 ? undefined : copied
}

function copy(value: unknown, budget: { left: number }, depth: number): unknown {
  budget.left -= typeof value === 'string' ? value.length + 1 : 1
  if (depth > MAX_OBJECT_DEPTH) budget.left = -1
  if (budget.left < 0) return undefined
  if (typeof value === 'number') return Number.isSafeInteger(value) ? BigInt(value) : value
  if (Array.isArray(value)) return value.map((item) => copy(item, budget, depth + 1))
  if (typeof value !== 'object' || value === null) return value
  const fields: Record<string, unknown> = {}
  for (const [key, field] of Object.entries(value)) {
    if (key === '__proto__' || (depth === 1 && key === 'managedFields')) continue
    budget.left -= key.length
    fields[key] = copy(field, budget, depth + 1)
  }
  return fields
}

function invalid(message: string, cause?: unknown): AppError {
  return new AppError('InvalidHealthRule', message, { cause })
}

function parse(text: string): ParseResult {
  if (text.length > CEL_MAX_LENGTH) throw invalid(`is longer than ${CEL_MAX_LENGTH} characters`)
  try {
    return environment.parse(text)
  } catch (error) {
    throw invalid(`is not CEL: ${describeError(error)}`, error)
  }
}

/** The type that an expression gives. */
function check(parsed: ParseResult): string {
  const { valid, type = 'dyn', error } = parsed.check()
  if (!valid) throw invalid(error ? describeError(error) : 'is not CEL', error)
  return type
}

interface Summarized {
  readonly summary?: unknown
  readonly range?: { readonly start: number }
}

/** In one line: the library's messages draw the expression over several. */
function describeError(error: unknown): string {
  const { summary, range } = error as Summarized
  const message = typeof summary === 'string' ? summary : error instanceof Error ? error.message.split('\n')[0] : ''
  return `${message}${range ? ` (at character ${range.start + 1})` : ''}`
}

interface Cost {
  readonly macros: number
  readonly growth: number
  readonly hasPattern: boolean
}

/** Counts what may cost more than its own length. */
function measure(node: unknown, isInMacro: boolean): Cost {
  if (Array.isArray(node)) return node.map((part: unknown) => measure(part, isInMacro)).reduce(sum, NO_COST)
  if (!isNode(node)) return NO_COST
  const { op, args } = node
  const name = op === 'call' || op === 'rcall' ? String((args as readonly unknown[])[0]) : ''
  const isMacro = op === 'rcall' && MACROS.has(name)
  const grows = op === '+' || op === 'list' || op === 'map' || name === 'join'
  const own = {
    macros: isMacro ? 1 : 0,
    growth: isInMacro && grows ? 1 : 0,
    hasPattern: name === 'matches',
  }
  return sum(own, measure(Array.isArray(args) ? args : [args], isInMacro || isMacro))
}

const NO_COST: Cost = { macros: 0, growth: 0, hasPattern: false }

function sum(a: Cost, b: Cost): Cost {
  return { macros: a.macros + b.macros, growth: a.growth + b.growth, hasPattern: a.hasPattern || b.hasPattern }
}

function isNode(value: unknown): value is ASTNode {
  return typeof value === 'object' && value !== null && 'op' in value && 'args' in value
}

/** Calls `globalThis[name]()` so that V8 can be told to give up in the middle, also inside of a regular expression. */
const RUN = 'fairlead cel run'
const guarded = new vm.Script(`globalThis[${JSON.stringify(RUN)}]()`)

class Compiled {
  readonly #run: ParseResult
  readonly #type: CelType
  readonly #isBounded: boolean
  #isTooSlow = false

  constructor(run: ParseResult, type: CelType, isBounded: boolean) {
    this.#run = run
    this.#type = type
    this.#isBounded = isBounded
  }

  evaluate(self: unknown): CelOutcome<unknown> {
    if (this.#isTooSlow) return this.#tooSlow()
    try {
      const value: unknown = this.#isBounded ? this.#run({ self }) : this.#runGuarded(self)
      if (this.#isTooSlow) return this.#tooSlow()
      const isRight = this.#type === 'bool' ? typeof value === 'boolean' : typeof value === 'string'
      return isRight ? { kind: 'value', value } : { kind: 'error', message: `did not give ${this.#type}` }
    } catch (error) {
      if (error instanceof EvaluationError) {
        const message = describeError(error)
        return { kind: message.startsWith('No such key') ? 'absent' : 'error', message }
      }
      // Too deep or too long for JavaScript itself.
      if (error instanceof RangeError || error instanceof SyntaxError) return { kind: 'error', message: error.message }
      throw error
    }
  }

  #tooSlow(): CelOutcome<unknown> {
    return { kind: 'error', message: `took longer than ${TIMEOUT_MS} ms and is not tried again` }
  }

  /** The value; sets #isTooSlow in place of one when time runs out. */
  #runGuarded(self: unknown): unknown {
    for (let attempt = 1; ; attempt++) {
      const before = process.threadCpuUsage()
      try {
        Object.assign(globalThis, { [RUN]: () => this.#run({ self }) as unknown })
        return guarded.runInThisContext({ timeout: TIMEOUT_MS })
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'ERR_SCRIPT_EXECUTION_TIMEOUT') throw error
        const used = process.threadCpuUsage(before)
        // On a busy machine the time passes without us.
        if ((used.user + used.system) / 1_000 < TIMEOUT_MS / 2 && attempt < STARVED_TRIES) continue
        this.#isTooSlow = true
        return undefined
      } finally {
        Reflect.deleteProperty(globalThis, RUN)
      }
    }
  }
}

// What a plain YAML scalar means to kubectl (sigs.k8s.io/yaml, which reads YAML 1.1 with a few rules of its own).
// The tables in yaml-scalar.test.ts were taken from kubectl itself.

/** An integer beyond 2^53 with all its digits, as JSON.rawJSON makes it: JSON.stringify writes them. */
export interface RawInteger {
  readonly rawJSON: string
}

/** What a scalar can mean. */
export type ScalarValue = string | number | boolean | null | RawInteger

/** True for an integer beyond 2^53. */
export function isRawInteger(value: unknown): value is RawInteger {
  return RAW_JSON.isRawJSON(value)
}

const RAW_JSON = JSON as unknown as { rawJSON(text: string): RawInteger; isRawJSON(value: unknown): boolean }

/** A scalar that has no exact place in JSON: `unsafe-integer` is beyond 64 bits, `not-finite` is .inf or .nan, `invalid` does not fit its tag. */
export class ScalarRefusal {
  readonly reason: 'unsafe-integer' | 'not-finite' | 'invalid'
  constructor(reason: 'unsafe-integer' | 'not-finite' | 'invalid') {
    this.reason = reason
  }
}

const NULLS = new Set(['', '~', 'null', 'Null', 'NULL'])
const BOOLEANS = new Map<string, boolean>(
  ([true, false] as const).flatMap((value) =>
    (value ? ['y', 'yes', 'on', 'true'] : ['n', 'no', 'off', 'false']).flatMap((word) =>
      [word, word.charAt(0).toUpperCase() + word.slice(1), word.toUpperCase()].map((text) => [text, value] as const),
    ),
  ),
)
const NUMERIC_START = /^[-+.0-9]/
const PREFIXED = /^([-+]?)0(?:([xX])([0-9a-fA-F]+)|([bB])([01]+)|[oO]?([0-7]+))$/
const DECIMAL = /^[-+]?[0-9]+$/
const FLOAT = /^[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$/
const NOT_FINITE = /^(?:[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$/
const LARGEST_UNSIGNED = (1n << 64n) - 1n
const LARGEST_SIGNED = (1n << 63n) - 1n

/** The meaning of a plain scalar without a tag. */
export function resolvePlainScalar(text: string): ScalarValue | ScalarRefusal {
  if (NULLS.has(text)) return null
  const boolean = BOOLEANS.get(text)
  if (boolean !== undefined) return boolean
  if (!NUMERIC_START.test(text)) return text
  return resolveNumber(text) ?? text
}

/** The meaning of a scalar under a tag; `tag` is the part after `tag:yaml.org,2002:`. Unknown tags leave the text, as kubectl does. */
export function resolveTaggedScalar(tag: string, text: string): ScalarValue | ScalarRefusal {
  switch (tag) {
    case 'null':
      return NULLS.has(text) ? null : new ScalarRefusal('invalid')
    case 'bool':
      return BOOLEANS.get(text) ?? new ScalarRefusal('invalid')
    case 'int':
    case 'float':
      return resolveNumber(text) ?? new ScalarRefusal('invalid')
    case 'binary':
      return resolveBinary(text)
    default:
      return text
  }
}

function resolveNumber(text: string): number | RawInteger | ScalarRefusal | undefined {
  if (NOT_FINITE.test(text)) return new ScalarRefusal('not-finite')
  // kubectl drops underscores everywhere except after a leading point.
  const plain = text.startsWith('.') ? text : text.replaceAll('_', '')
  const prefixed = PREFIXED.exec(plain)
  if (prefixed) return resolvePrefixed(prefixed)
  if (DECIMAL.test(plain)) return safeInteger(BigInt(plain.replace(/^\+/, '')))
  if (!FLOAT.test(plain)) return undefined
  const value = Number(plain)
  return Number.isFinite(value) ? value : undefined
}

function resolvePrefixed([, sign, hexMark, hex, binaryMark, binary, octal]: RegExpExecArray):
  | number
  | RawInteger
  | ScalarRefusal
  | undefined {
  const magnitude = hexMark ? BigInt(`0x${hex}`) : binaryMark ? BigInt(`0b${binary}`) : BigInt(`0o${octal}`)
  if (magnitude > LARGEST_UNSIGNED) return undefined
  return safeInteger(sign === '-' ? -magnitude : magnitude)
}

function safeInteger(value: bigint): number | RawInteger | ScalarRefusal {
  const number = Number(value)
  if (Number.isSafeInteger(number)) return number
  // What is larger the API server would round.
  if (value > LARGEST_SIGNED || value < -LARGEST_SIGNED - 1n) return new ScalarRefusal('unsafe-integer')
  return RAW_JSON.rawJSON(String(value))
}

function resolveBinary(text: string): string | ScalarRefusal {
  const compact = text.replace(/\s+/g, '')
  const isBase64 = compact.length % 4 === 0 && /^[A-Za-z0-9+/]*={0,2}$/.test(compact)
  return isBase64 ? Buffer.from(compact, 'base64').toString('utf8') : new ScalarRefusal('invalid')
}

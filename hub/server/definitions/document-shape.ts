// Compares a document with the message that it should be and says everything that is wrong with its shape, by field path.
// protobuf-es would stop at the first unknown field and name the message instead of the path.
import type { DescField, DescMessage, JsonObject, JsonValue } from '@bufbuild/protobuf'
import { ScalarType } from '@bufbuild/protobuf'
import { findDurationMs } from '../duration.ts'
import { findNear } from '../near-name.ts'

/** Something wrong with a field. */
export interface FieldProblem {
  /** For example spec.source.path; empty for the document as a whole. */
  readonly field: string
  readonly message: string
}

/** What was read of a document. */
export interface ShapedDocument {
  /** The document as proto JSON; only what has the right shape is in it. */
  readonly value: JsonObject
  readonly problems: readonly FieldProblem[]
}

/** Reads `json` as proto JSON of `schema`. An empty field (null) is as if it were not there; durations may be written as people do (5m). */
export function shapeDocument(schema: DescMessage, json: JsonObject, path = ''): ShapedDocument {
  const problems: FieldProblem[] = []
  const value = shapeMessage(schema, json, { path, problems })
  return { value, problems }
}

interface Place {
  readonly path: string
  readonly problems: FieldProblem[]
}

function shapeMessage(schema: DescMessage, json: JsonObject, { path, problems }: Place): JsonObject {
  const shaped: JsonObject = {}
  for (const [key, value] of Object.entries(json)) {
    const field = schema.fields.find((candidate) => candidate.jsonName === key)
    const place = { path: path === '' ? key : `${path}.${key}`, problems }
    if (!field) {
      problems.push({ field: place.path, message: unknownField(key, schema) })
    } else if (value !== null) {
      const part = shapeField(field, value, place)
      if (part !== undefined) shaped[key] = part
    }
  }
  return shaped
}

function shapeField(field: DescField, value: JsonValue, place: Place): JsonValue | undefined {
  switch (field.fieldKind) {
    case 'list':
      return shapeList(field, value, place)
    case 'map':
      return shapeMap(field, value, place)
    case 'message':
      return shapeMessageField(field.message, value, place)
    case 'scalar':
      return shapeScalar(field.scalar, value, place)
    case 'enum':
      return value
  }
}

function shapeList(
  field: Extract<DescField, { fieldKind: 'list' }>,
  value: JsonValue,
  { path, problems }: Place,
): JsonValue | undefined {
  if (!Array.isArray(value)) return wrong('a list', value, { path, problems })
  return value.flatMap((item, index) => {
    const place = { path: `${path}[${index}]`, problems }
    const shaped =
      field.listKind === 'message'
        ? shapeMessageField(field.message, item, place)
        : field.listKind === 'scalar'
          ? shapeScalar(field.scalar, item, place)
          : item
    return shaped === undefined ? [] : [shaped]
  })
}

function shapeMap(
  field: Extract<DescField, { fieldKind: 'map' }>,
  value: JsonValue,
  { path, problems }: Place,
): JsonValue | undefined {
  if (!isObject(value)) return wrong('a mapping', value, { path, problems })
  const entries = Object.entries(value).flatMap(([key, item]) => {
    const place = { path: `${path}[${JSON.stringify(key)}]`, problems }
    const shaped = field.mapKind === 'scalar' ? shapeScalar(field.scalar, item, place) : item
    return shaped === undefined ? [] : [[key, shaped] as const]
  })
  return Object.fromEntries(entries)
}

function shapeMessageField(schema: DescMessage, value: JsonValue, place: Place): JsonValue | undefined {
  if (schema.typeName === 'google.protobuf.Duration') return shapeDuration(value, place)
  // Times are written by the hub alone; whatever stands there is not read.
  if (schema.typeName === 'google.protobuf.Timestamp') return undefined
  // Free as it is: only a chart knows its values.
  if (schema.typeName === 'google.protobuf.Struct') return isObject(value) ? value : wrong('a mapping', value, place)
  return isObject(value) ? shapeMessage(schema, value, place) : wrong('a mapping', value, place)
}

function shapeDuration(value: JsonValue, place: Place): JsonValue | undefined {
  const ms = typeof value === 'string' ? findDurationMs(value) : undefined
  if (ms === undefined) return wrong('a duration such as 30s or 5m', value, place)
  return `${ms / 1_000}s`
}

function shapeScalar(scalar: ScalarType, value: JsonValue, place: Place): JsonValue | undefined {
  switch (scalar) {
    case ScalarType.STRING: {
      if (typeof value === 'string') return value
      const hint = typeof value === 'number' || typeof value === 'boolean' ? '; write it in quotes' : ''
      return wrong(`a string${hint}`, value, place)
    }
    case ScalarType.BOOL:
      return typeof value === 'boolean' ? value : wrong('true or false', value, place)
    default:
      return typeof value === 'number' || typeof value === 'string' ? value : wrong('a number', value, place)
  }
}

function wrong(wanted: string, value: JsonValue, { path, problems }: Place): undefined {
  const [what, hint = ''] = wanted.split(/(?=; )/)
  problems.push({ field: path, message: `must be ${what}, not ${describe(value)}${hint}` })
  return undefined
}

function describe(value: JsonValue): string {
  if (value === null) return 'empty'
  if (Array.isArray(value)) return 'a list'
  if (typeof value === 'object') return 'a mapping'
  return JSON.stringify(typeof value === 'string' ? value.slice(0, 80) : value)
}

function unknownField(key: string, schema: DescMessage): string {
  const known = schema.fields.map((field) => field.jsonName)
  const near = findNear(known, key)
  return near === undefined
    ? `unknown field ${JSON.stringify(key.slice(0, 80))}; known are ${known.join(', ')}`
    : `unknown field ${JSON.stringify(key)}; did you mean ${near}?`
}

/** True for a JSON object. */
export function isObject(value: JsonValue | undefined): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

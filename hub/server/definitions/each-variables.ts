// Variables ${each.<name>} in the texts of a JSON value. Pure.
import type { JsonValue } from '@bufbuild/protobuf'

const VARIABLE = /\$\{each\.([^}]*)\}/g

/** A variable that is named, and where. */
export interface NamedVariable {
  /** For example template.source.path. */
  readonly path: string
  readonly variable: string
}

/** All variables that are named in texts, also in those of keys. */
export function findVariables(value: JsonValue, path = ''): NamedVariable[] {
  if (typeof value === 'string') return [...value.matchAll(VARIABLE)].map(([, variable = '']) => ({ path, variable }))
  if (Array.isArray(value)) return value.flatMap((item, index) => findVariables(item, `${path}[${index}]`))
  if (typeof value !== 'object' || value === null) return []
  return Object.entries(value).flatMap(([key, item]) => {
    const below = path === '' ? key : `${path}.${key}`
    return [...findVariables(key, below), ...findVariables(item, below)]
  })
}

/** The value with all variables replaced by their texts; those that `variables` does not know stay as they are. */
export function replaceVariables(value: JsonValue, variables: ReadonlyMap<string, string>): JsonValue {
  if (typeof value === 'string') {
    return value.replace(VARIABLE, (all, variable: string) => variables.get(variable) ?? all)
  }
  if (Array.isArray(value)) return value.map((item) => replaceVariables(item, variables))
  if (typeof value !== 'object' || value === null) return value
  const entries = Object.entries(value).map(([key, item]) => {
    // Assigned by definition: a key called __proto__ is one like others.
    return [String(replaceVariables(key, variables)), replaceVariables(item, variables)] as const
  })
  return Object.fromEntries(entries)
}

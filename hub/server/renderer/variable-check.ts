// Finds variables that no cluster can have before anything is sent: a mistake is told with its own line.
import { findMalformedVariables, mayHoldVariables } from '@fairlead/shared/variables'
import type { JsonValue, YamlFile } from './yaml-reader.ts'

/** A malformed variable. */
export interface MalformedVariable {
  readonly message: string
  /** Counted from 1; undefined when it cannot be told. */
  readonly line: number | undefined
}

/** The malformed variables in the texts of a document; keys of mappings are not looked at, as nothing is put in there. */
export function findMalformed(document: JsonValue, yaml: YamlFile | undefined): MalformedVariable[] {
  if (document === null || typeof document !== 'object') return []
  const entries = Array.isArray(document) ? [...document.entries()] : Object.entries(document)
  return entries.flatMap(([key, value]): MalformedVariable[] => {
    if (typeof value !== 'string') return findMalformed(value, yaml)
    if (!mayHoldVariables(value)) return []
    return findMalformedVariables(value).map(({ name, fault = '' }) => ({
      message: fault,
      line: yaml?.lineOfPart(document, key, `\${${name}`),
    }))
  })
}

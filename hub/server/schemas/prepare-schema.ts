// Turns what Kubernetes publishes into JSON Schemas that also find fields that nobody reads. Pure.
import type { JsonSchema } from './kubernetes-schemas.ts'

/** As apimachinery parses quantities (resource.ParseQuantity). */
const QUANTITY = '^[+-]?([0-9]+(\\.[0-9]*)?|\\.[0-9]+)([KMGTPE]i|[numkMGTPE]|[eE][+-]?[0-9]+)?$'
const QUANTITY_DEFINITION = 'io.k8s.apimachinery.pkg.api.resource.Quantity'
/** Schemas below these describe a part of what is beside them: what they do not name is no unknown field. */
const LOGICAL: ReadonlySet<string> = new Set(['allOf', 'anyOf', 'oneOf', 'not'])
const NAMED: ReadonlySet<string> = new Set(['properties', 'patternProperties', 'definitions'])

/** The definitions of a version, ready to be compiled. */
export function prepareDefinitions(definitions: Readonly<Record<string, JsonSchema>>): Record<string, JsonSchema> {
  return Object.fromEntries(
    Object.entries(definitions).map(([name, schema]) => [
      name,
      name === QUANTITY_DEFINITION ? { type: ['string', 'number'], pattern: QUANTITY } : prepareSchema(schema),
    ]),
  )
}

/** The schema of a custom resource's version, as its CRD has it, ready to be compiled beside the definitions. */
export function prepareCustomSchema(schema: JsonSchema): JsonSchema {
  return prepareSchema({ ...schema, 'x-kubernetes-embedded-resource': true })
}

function prepareSchema(schema: JsonSchema, isPart = false): JsonSchema {
  const prepared: JsonSchema = {}
  for (const [keyword, value] of Object.entries(schema)) prepared[keyword] = prepareKeyword(keyword, value, isPart)
  if (schema['x-kubernetes-int-or-string'] === true || schema.format === 'int-or-string') {
    delete prepared.format
    prepared.type = ['integer', 'string']
  }
  const properties = prepared.properties as JsonSchema | undefined
  if (schema['x-kubernetes-embedded-resource'] === true) {
    const metadata = { $ref: 'kubernetes#/definitions/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta' }
    const text = { type: 'string' }
    prepared.properties = { ...properties, apiVersion: text, kind: text, metadata }
  }
  const isOpen = schema.additionalProperties !== undefined || schema['x-kubernetes-preserve-unknown-fields'] === true
  if (properties !== undefined && !isOpen && !isPart) prepared.additionalProperties = false
  return prepared
}

function prepareKeyword(keyword: string, value: unknown, isPart: boolean): unknown {
  if (typeof value !== 'object' || value === null) return value
  const isPartBelow = isPart || LOGICAL.has(keyword)
  if (Array.isArray(value)) {
    return LOGICAL.has(keyword) ? value.map((item) => prepareSchema(item as JsonSchema, true)) : value
  }
  if (NAMED.has(keyword)) {
    const named = Object.entries(value).map(([name, schema]) => [name, prepareSchema(schema as JsonSchema, isPart)])
    return Object.fromEntries(named)
  }
  const isSchema = keyword === 'items' || keyword === 'additionalProperties' || keyword === 'not'
  return isSchema ? prepareSchema(value as JsonSchema, isPartBelow) : value
}

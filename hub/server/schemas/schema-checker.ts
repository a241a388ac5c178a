// Checks objects against the schemas of a version of Kubernetes, and of CRDs: wrong types, missing fields, and fields that
// no API server knows. What only a running API server can tell (admission, immutable fields, names that are taken) it does not.
import { toAppError } from '@fairlead/shared/errors'
import type { SchemaVersion } from '@fairlead/shared/kubernetes-versions'
import type { KubernetesObject } from '@fairlead/shared/object-reference'
import { Ajv, type ErrorObject, type ValidateFunction } from 'ajv'
import { findNear } from '../near-name.ts'
import { type JsonSchema, type KubernetesSchemas, readKubernetesSchemas } from './kubernetes-schemas.ts'
import { prepareCustomSchema, prepareDefinitions } from './prepare-schema.ts'

/** Something wrong with a field of an object. */
export interface SchemaProblem {
  /** For example spec.template.spec.containers[0].image. */
  readonly field: string
  readonly message: string
}

/** What came of a check. */
export type SchemaOutcome =
  | { readonly kind: 'checked'; readonly problems: readonly SchemaProblem[] }
  /** There is no schema for its kind, or none that can be read: `reason` in words. */
  | { readonly kind: 'unchecked'; readonly reason: string }

const INTEGERS: Readonly<Record<string, readonly [number, number]>> = {
  int32: [-(2 ** 31), 2 ** 31 - 1],
  int64: [-(2 ** 63), 2 ** 63],
}
const DATE_TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$/
const BASE64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/
/** More problems of one object than this help nobody. */
const LISTED_MAX = 50

/** One version of Kubernetes, with custom resources. */
export class SchemaChecker {
  readonly version: SchemaVersion
  readonly #schemas: KubernetesSchemas
  readonly #groups: ReadonlySet<string>
  readonly #ajv: Ajv
  /** Schemas of custom resources by `<apiVersion>/<kind>`. */
  readonly #custom = new Map<string, JsonSchema>()
  readonly #compiled = new Map<string, ValidateFunction>()

  /** `crds` are CustomResourceDefinitions (apiextensions.k8s.io/v1); what is not one is passed over. */
  constructor(version: SchemaVersion, crds: readonly KubernetesObject[] = []) {
    this.version = version
    this.#schemas = readKubernetesSchemas(version)
    this.#groups = new Set([...this.#schemas.kinds.keys()].map(groupOf))
    this.#ajv = new Ajv({ allErrors: true, verbose: true, strict: false, logger: false, unicodeRegExp: false })
    for (const [format, [least, most]] of Object.entries(INTEGERS)) {
      this.#ajv.addFormat(format, { type: 'number', validate: (value) => value >= least && value <= most })
    }
    this.#ajv.addFormat('byte', (text) => BASE64.test(text.replace(/[\r\n]/g, '')))
    this.#ajv.addFormat('date-time', (text) => DATE_TIME.test(text) && !Number.isNaN(Date.parse(text)))
    this.#ajv.addSchema({ $id: 'kubernetes', definitions: prepareDefinitions(this.#schemas.definitions) })
    for (const crd of crds) for (const [kind, schema] of schemasOf(crd)) this.#custom.set(kind, schema)
  }

  /** Never throws for what the object holds. */
  check(object: KubernetesObject): SchemaOutcome {
    const kind = `${object.apiVersion}/${object.kind}`
    try {
      const validate = this.#find(kind)
      if (typeof validate === 'string') return { kind: 'unchecked', reason: validate }
      if (Array.isArray(validate)) return { kind: 'checked', problems: validate }
      if (validate(withoutNulls(object))) return { kind: 'checked', problems: [] }
      const problems = toProblems(validate.errors ?? [], object.kind === 'Secret' ? hide : write)
      return { kind: 'checked', problems: problems.slice(0, LISTED_MAX) }
    } catch (error) {
      return { kind: 'unchecked', reason: `its schema cannot be used: ${toAppError(error).message}` }
    }
  }

  #find(kind: string): ValidateFunction | SchemaProblem[] | string {
    const known = this.#compiled.get(kind)
    if (known) return known
    const definition = this.#schemas.kinds.get(kind)
    const schema = definition === undefined ? this.#custom.get(kind) : undefined
    if (definition === undefined && schema === undefined) return this.#explainUnknown(kind)
    const compiled =
      schema === undefined ? this.#ajv.getSchema(`kubernetes#/definitions/${definition}`) : this.#ajv.compile(schema)
    if (!compiled) return 'its schema is missing'
    this.#compiled.set(kind, compiled)
    return compiled
  }

  /** A kind that this version does not serve is wrong where its group is Kubernetes' own, else nobody here knows it. */
  #explainUnknown(kind: string): SchemaProblem[] | string {
    const group = groupOf(kind)
    const name = kind.slice(kind.lastIndexOf('/') + 1)
    if (group.includes('.') && !this.#groups.has(group)) return 'its kind is not built in, and no CRD was given for it'
    const served = [...this.#schemas.kinds.keys()].filter((other) => other.endsWith(`/${name}`))
    const versions = served.map((other) => other.slice(0, other.lastIndexOf('/')))
    const hint = versions.length > 0 ? `; it serves ${versions.join(', ')}` : ''
    const message = `Kubernetes ${this.version} serves no ${name} of ${kind.slice(0, kind.lastIndexOf('/'))}${hint}`
    return [{ field: 'apiVersion', message }]
  }
}

/** Group of `<group>/<version>/<kind>`; empty for the core group's `<version>/<kind>`. */
function groupOf(kind: string): string {
  const parts = kind.split('/')
  return parts.length === 3 ? (parts[0] ?? '') : ''
}

/** The schemas of a CRD's served versions, by `<apiVersion>/<kind>`. */
function schemasOf(crd: KubernetesObject): [kind: string, schema: JsonSchema][] {
  if (crd.kind !== 'CustomResourceDefinition' || crd.apiVersion !== 'apiextensions.k8s.io/v1') return []
  const { group, names, versions } = (crd.spec ?? {}) as {
    readonly group?: string
    readonly names?: { readonly kind?: string }
    readonly versions?: readonly {
      readonly name?: string
      readonly served?: boolean
      readonly schema?: { readonly openAPIV3Schema?: JsonSchema }
    }[]
  }
  return (Array.isArray(versions) ? versions : []).flatMap(({ name, served, schema }) => {
    const openApi = schema?.openAPIV3Schema
    return served && openApi ? [[`${group}/${name}/${names?.kind}`, prepareCustomSchema(openApi)]] : []
  })
}

/** As an API server reads it: a field that is null is not there. */
function withoutNulls(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withoutNulls)
  if (typeof value !== 'object' || value === null) return value
  const kept = Object.entries(value).filter(([, field]) => field !== null)
  return Object.fromEntries(kept.map(([key, field]) => [key, withoutNulls(field)]))
}

/** How a value is named in a message. */
type Naming = (value: unknown) => string

function toProblems(errors: readonly ErrorObject[], name: Naming): SchemaProblem[] {
  // Of alternatives only that none fits is said, not why each does not.
  const told = errors.filter(({ schemaPath, data }) => !/\/(anyOf|oneOf|not)\/\d/.test(schemaPath) && !isVariable(data))
  const problems = told.map((error): SchemaProblem => {
    const field = fieldOf(error.instancePath)
    if (error.keyword === 'additionalProperties') {
      return { field: join(field, String(error.params.additionalProperty)), message: describeUnknown(error) }
    }
    if (error.keyword === 'required') {
      return { field: join(field, String(error.params.missingProperty)), message: 'is missing' }
    }
    return { field, message: describe(error, name) }
  })
  const unique = new Map(problems.map((problem) => [`${problem.field}: ${problem.message}`, problem]))
  return [...unique.values()]
}

/** Variables are replaced in the cluster; what they become is not known here. */
function isVariable(data: unknown): boolean {
  return typeof data === 'string' && data.includes('${')
}

function describeUnknown({ params, parentSchema }: ErrorObject): string {
  const written = String(params.additionalProperty)
  const known = Object.keys((parentSchema?.properties ?? {}) as object)
  const near = findNear(known, written)
  return `unknown field ${JSON.stringify(written.slice(0, 80))}${near === undefined ? '' : `; did you mean ${near}?`}`
}

function describe({ keyword, params, data, schema, message }: ErrorObject, name: Naming): string {
  const written = name(data)
  switch (keyword) {
    case 'type':
      return `must be ${article(params.type as string | string[])}, not ${written}`
    case 'enum':
      return `must be one of ${(params.allowedValues as unknown[]).map((value) => String(value)).join(', ')}, not ${written}`
    case 'pattern':
      return typeof schema === 'string' && schema.includes('KMGTPE')
        ? `${written} is not a quantity`
        : `${written} does not match ${String(params.pattern)}`
    case 'format':
      return `${written} is not ${FORMATS[String(params.format)] ?? `a valid ${String(params.format)}`}`
    default:
      return message ?? keyword
  }
}

const FORMATS: Readonly<Record<string, string>> = {
  byte: 'base64',
  'date-time': 'a time such as 2026-01-31T12:00:00Z',
  int32: 'an integer of 32 bits',
  int64: 'an integer of 64 bits',
}
const ARTICLES: Readonly<Record<string, string>> = {
  string: 'a string',
  integer: 'an integer',
  number: 'a number',
  boolean: 'true or false',
  array: 'a list',
  object: 'a mapping',
}

function article(type: string | string[]): string {
  return [type]
    .flat()
    .map((one) => ARTICLES[one] ?? one)
    .join(' or ')
}

/** Nothing of a Secret is ever shown. */
function hide(): string {
  return 'what is written'
}

/** Never the whole of a long value. */
function write(value: unknown): string {
  if (value === null) return 'empty'
  if (Array.isArray(value)) return 'a list'
  if (typeof value === 'object') return 'a mapping'
  return JSON.stringify(typeof value === 'string' ? value.slice(0, 60) : value)
}

function fieldOf(pointer: string): string {
  const parts = pointer
    .split('/')
    .slice(1)
    .map((part) => part.replaceAll('~1', '/').replaceAll('~0', '~'))
  return parts.reduce((field, part) => (/^\d+$/.test(part) ? `${field}[${part}]` : join(field, part)), '')
}

function join(field: string, name: string): string {
  if (!/^[\w-]+$/.test(name)) return `${field}[${JSON.stringify(name)}]`
  return field === '' ? name : `${field}.${name}`
}

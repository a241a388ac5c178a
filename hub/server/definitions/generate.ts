// The Applications that a forEach makes of what it was given. Pure.
import type { JsonObject, JsonValue } from '@bufbuild/protobuf'
import { create } from '@bufbuild/protobuf'
import { SourceLocationSchema } from '@fairlead/proto/common'
import { DefinitionDocumentSchema, type ForEach } from '@fairlead/proto/definitions'
import { AppError } from '@fairlead/shared/errors'
import { FAILSAFE_SCHEMA, load } from 'js-yaml'
import { API_VERSION, type ReadDocument, readDocument } from './document.ts'
import { findVariables, replaceVariables } from './each-variables.ts'

/** Most Applications that one forEach makes. */
export const MAX_GENERATED = 10_000
const MAX_VALUE_LENGTH = 1_024

/** One thing that an Application is made for. */
export interface Each {
  /** Where it is: a folder, a line or entry of a file, a cluster. One place is one thing. */
  readonly place: { readonly file: string; readonly line?: number }
  readonly variables: ReadonlyMap<string, string>
  /** Clusters to run on where the template does not say. */
  readonly cluster?: string
}

/** The folders that are not left out, with what the pattern's stars stand for. */
export function eachFolder(
  { path: pattern, exclude }: NonNullable<ForEach['folders']>,
  folders: readonly string[],
): Each[] {
  const stars = expressionOf(pattern)
  const left = exclude.map(expressionOf)
  return folders
    .filter((folder) => !left.some((each) => each.test(folder)))
    .map((folder) => {
      const parts = stars.exec(folder)?.slice(1) ?? []
      const variables = new Map([
        ['path', folder],
        ['name', folder.slice(folder.lastIndexOf('/') + 1)],
        ...parts.map((part, index) => [`part${index + 1}`, part] as const),
      ])
      return { place: { file: folder }, variables }
    })
}

function expressionOf(pattern: string): RegExp {
  const parts = pattern.split('/').filter((part) => part !== '' && part !== '.')
  return new RegExp(`^${parts.map((part) => part.split('*').map(quote).join('([^/]*)')).join('/')}$`, 's')
}

function quote(text: string): string {
  return text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')
}

/** The entries of a file. Throws InvalidYaml for what holds none, and for entries that are none: all of them must be known. */
export function eachEntry(path: string, text: string): Each[] {
  if (!/\.(?:ya?ml|json)$/.test(path)) return eachLine(path, text)
  const list = parse(path, text)
  if (!Array.isArray(list)) throw new AppError('InvalidYaml', 'is no list of mappings', { context: { file: path } })
  return list.map((entry: unknown, index) => {
    const place = { file: `${path}[${index}]` }
    if (typeof entry !== 'object' || entry === null || Array.isArray(entry)) {
      throw new AppError('InvalidYaml', 'is no mapping', { context: { file: place.file } })
    }
    const scalars = Object.entries(entry).filter((pair): pair is [string, string] => typeof pair[1] === 'string')
    return { place, variables: new Map(scalars) }
  })
}

function eachLine(path: string, text: string): Each[] {
  return text.split('\n').flatMap((written, index) => {
    const line = written.trim()
    if (line === '' || line.startsWith('#')) return []
    const variables = new Map([
      ['name', line],
      ['line', line],
    ])
    return [{ place: { file: path, line: index + 1 }, variables }]
  })
}

function parse(path: string, text: string): unknown {
  try {
    // Text only: the version 1.10 is no number.
    return load(text, { schema: FAILSAFE_SCHEMA })
  } catch (cause) {
    const reason = cause instanceof Error ? (cause.message.split('\n')[0] ?? '') : String(cause)
    throw new AppError('InvalidYaml', reason, { context: { file: path }, cause })
  }
}

/** One document for each; what is wrong with one is its own problem, and two that have one name are both wrong. Throws LimitExceeded for too many. */
export function generate(generator: string, forEach: ForEach, each: readonly Each[]): ReadDocument[] {
  if (each.length > MAX_GENERATED) {
    throw new AppError('LimitExceeded', `would make ${each.length} Applications; the limit is ${MAX_GENERATED}`)
  }
  const documents = each.map((one) => ({ one, document: generateOne(generator, forEach, one) }))
  const byName = Map.groupBy(documents, ({ document }) => document.object)
  return documents.map(({ one, document }) => {
    const others = (byName.get(document.object) ?? []).filter((other) => other.one !== one)
    const [other] = others
    if (!other || document.problems.length > 0) return document
    const message = `is made for ${formatPlace(other.one)} too: neither is changed`
    const problem = { ...one.place, object: document.object, field: 'metadata.name', message }
    return { object: document.object, problems: [problem] }
  })
}

function generateOne(generator: string, { name, labels, template = {} }: ForEach, one: Each): ReadDocument {
  const { variables, place, cluster } = one
  const written: JsonObject = { name: name || `${generator}-\${each.name}`, labels, template }
  const missing = findVariables(written).find(({ variable }) => !variables.has(variable))
  const long = [...variables].find(([, value]) => value.length > MAX_VALUE_LENGTH)
  // Of the name alone, so that it is known which one stays as it is.
  const made = replaceVariables(written.name ?? '', variables)
  const object = `Application/${findVariables(made).length > 0 ? '' : String(made)}`
  if (missing || long) {
    const message = missing
      ? `\${each.${missing.variable}} is not there`
      : `\${each.${long?.[0]}} is longer than ${MAX_VALUE_LENGTH} characters`
    const field = missing ? `spec.forEach.${missing.path}` : 'spec.forEach'
    return { object, problems: [{ ...place, object, field, message }] }
  }
  const replaced = replaceVariables(written, variables) as { name: string; labels: JsonObject; template: JsonObject }
  const placement: JsonValue | undefined =
    replaced.template.placement ?? (cluster === undefined ? undefined : { names: [cluster] })
  const document = {
    apiVersion: API_VERSION,
    kind: 'Application',
    metadata: { name: replaced.name, labels: replaced.labels },
    spec: { ...replaced.template, ...(placement === undefined ? {} : { placement }) },
  }
  const source = create(SourceLocationSchema, { file: place.file, line: place.line ?? 0 })
  return readDocument(create(DefinitionDocumentSchema, { json: JSON.stringify(document), source }))
}

/** A place, for people. */
export function formatPlace({ place: { file, line } }: Pick<Each, 'place'>): string {
  return line === undefined ? file : `${file}:${line}`
}

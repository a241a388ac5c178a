// One document as a user wrote it: read, compared with its message, checked by its rules.
import { fromJson, type JsonObject, type JsonValue } from '@bufbuild/protobuf'
import {
  ApplicationSchema,
  type ApplicationSpec,
  ApplicationSpecSchema,
  ClusterDefinitionSchema,
  type ClusterDefinitionSpec,
  ClusterDefinitionSpecSchema,
  type DefinitionDocument,
  RepositorySchema,
  type RepositorySpec,
  RepositorySpecSchema,
} from '@fairlead/proto/definitions'
import type { ErrorDetail } from '@fairlead/shared/grpc-status'
import { findLabelsProblems, findNameProblem, type Labels } from '../label-selector.ts'
import { type FieldProblem, isObject, shapeDocument } from './document-shape.ts'
import { normalizePath } from './source-path.ts'

/** apiVersion of every document. */
export const API_VERSION = 'fairlead.dev/v1alpha1'

/** What can be defined. */
export type DefinitionKind = 'Repository' | 'Application' | 'Cluster'

interface DefinitionOf<K extends DefinitionKind, S> {
  readonly kind: K
  readonly name: string
  readonly labels: Labels
  readonly spec: S
  readonly source: Pick<ErrorDetail, 'file' | 'line'>
  readonly warnings: readonly string[]
}

/** A document that has the right shape. */
export type Definition =
  | DefinitionOf<'Repository', RepositorySpec>
  | DefinitionOf<'Application', ApplicationSpec>
  | DefinitionOf<'Cluster', ClusterDefinitionSpec>

/** A document: what could be read of it, and what is wrong with it. */
export interface ReadDocument {
  /** Kind and name as far as they could be read, for messages. */
  readonly object: string
  /** Absent when kind, name or shape are wrong. */
  readonly definition?: Definition
  readonly problems: readonly ErrorDetail[]
}

const SCHEMAS = {
  Repository: RepositorySchema,
  Application: ApplicationSchema,
  Cluster: ClusterDefinitionSchema,
} as const
const HUB_FIELDS = ['uid', 'generation', 'createdAt', 'owner', 'origin'] as const

/** Reads a document. Never throws for what a user wrote. */
export function readDocument(document: DefinitionDocument): ReadDocument {
  const { file, line } = document.source ?? {}
  const source = { ...(file ? { file } : {}), ...(line ? { line } : {}) }
  const json = parseJson(document.json)
  if (!isObject(json)) {
    return {
      object: '',
      problems: [{ ...source, message: 'is not a document: write apiVersion, kind, metadata and spec' }],
    }
  }
  const object = describeObject(json)
  const located = (problems: readonly FieldProblem[]): ErrorDetail[] =>
    problems.map((problem) => ({ ...source, object, ...problem }))
  const { apiVersion: _apiVersion, kind, status, ...rest } = json
  const versionProblem = findVersionProblem(json)
  if (versionProblem) return { object, problems: located([versionProblem]) }
  if (!isDefinitionKind(kind)) return { object, problems: located([{ field: 'kind', message: findKindMessage(kind) }]) }
  const shaped = shapeDocument(SCHEMAS[kind], rest)
  const problems = [...shaped.problems, ...findMetadataProblems(shaped.value, kind === 'Cluster')]
  if (problems.length > 0) return { object, problems: located(problems) }
  const warnings = status === undefined ? [] : ['status is made by the hub and is not read']
  return { object, problems: [], definition: { ...decode(kind, shaped.value), source, warnings } }
}

function parseJson(text: string): JsonValue | undefined {
  try {
    return JSON.parse(text) as JsonValue
  } catch {
    return undefined
  }
}

function describeObject(json: JsonObject): string {
  const name = isObject(json.metadata) ? json.metadata.name : undefined
  const words = [json.kind, name].map((word) => (typeof word === 'string' ? word.slice(0, 80) : ''))
  return words[1] === '' ? (words[0] ?? '') : words.join('/')
}

function findVersionProblem({ apiVersion }: JsonObject): FieldProblem | undefined {
  if (apiVersion === undefined || apiVersion === null)
    return { field: 'apiVersion', message: `is missing: write ${API_VERSION}` }
  if (apiVersion !== API_VERSION) {
    const isOurs = typeof apiVersion === 'string' && apiVersion.startsWith('fairlead.dev/')
    const hint = isOurs ? '' : '; manifests of Kubernetes belong into Git, where an Application points at them'
    return { field: 'apiVersion', message: `must be ${API_VERSION}, not ${JSON.stringify(apiVersion)}${hint}` }
  }
  return undefined
}

function isDefinitionKind(kind: JsonValue | undefined): kind is DefinitionKind {
  return kind === 'Repository' || kind === 'Application' || kind === 'Cluster'
}

function findKindMessage(kind: JsonValue | undefined): string {
  const given = kind === undefined || kind === null ? 'is missing' : `${JSON.stringify(kind)} is unknown`
  return `${given}: use Repository, Application or Cluster`
}

function findMetadataProblems(value: JsonObject, isCluster: boolean): FieldProblem[] {
  const metadata = isObject(value.metadata) ? value.metadata : {}
  const name = typeof metadata.name === 'string' ? metadata.name : ''
  const nameProblem = findNameProblem(name)
  const labels = isObject(metadata.labels) ? (metadata.labels as Labels) : {}
  return [
    ...(nameProblem === undefined ? [] : [{ field: 'metadata.name', message: nameProblem }]),
    ...findLabelsProblems(labels).map((message) => ({ field: 'metadata.labels', message })),
    ...(isObject(value.spec) || isCluster ? [] : [{ field: 'spec', message: 'is missing' }]),
  ]
}

function decode(kind: DefinitionKind, value: JsonObject) {
  const metadata = isObject(value.metadata) ? { ...value.metadata } : {}
  // A document that came out of `fairlead get` may be applied again; these are the hub's to say.
  for (const field of HUB_FIELDS) delete metadata[field]
  const labels = isObject(metadata.labels) ? (metadata.labels as Labels) : {}
  const head = { name: String(metadata.name), labels }
  if (kind === 'Repository') {
    const spec = fromJson(RepositorySpecSchema, value.spec ?? {})
    const { definitions } = spec
    if (definitions && isRelative(definitions.path)) definitions.path = normalizePath(definitions.path)
    return { ...head, kind, spec }
  }
  if (kind === 'Cluster') return { ...head, kind, spec: fromJson(ClusterDefinitionSpecSchema, value.spec ?? {}) }
  const spec = fromJson(ApplicationSpecSchema, value.spec ?? {})
  const helm = [spec.render?.helm, ...spec.overrides.map((override) => override.helm)]
  for (const each of [
    spec.source,
    ...spec.overrides,
    ...helm.flatMap((one) => one?.valuesFrom ?? []),
    spec.forEach?.file,
  ]) {
    if (each && isRelative(each.path)) each.path = normalizePath(each.path)
  }
  return { ...head, kind, spec }
}

/** Only such a path is normalized: what is refused is shown as it was written. */
function isRelative(path: string): boolean {
  return !path.startsWith('/') && !path.split('/').includes('..')
}

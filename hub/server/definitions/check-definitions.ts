// Everything that is wrong with a set of documents, beside what is defined already. Pure.
import type { ApplicationSpec } from '@fairlead/proto/definitions'
import type { ErrorDetail } from '@fairlead/shared/grpc-status'
import { findValuesProblems } from '../cluster-values.ts'
import { findApplicationProblems } from './application-rules.ts'
import { type DependencyGraph, findDependencyProblems, toGraph } from './dependencies.ts'
import type { Definition, ReadDocument } from './document.ts'
import { findRepositoryProblems } from './repository-rules.ts'

/** What is defined already, and may be named. */
export interface Defined {
  /** Names of Repositories. */
  readonly repositories: ReadonlySet<string>
  /** Applications by name. */
  readonly applications: ReadonlyMap<string, ApplicationSpec>
}

/** What could be read, and what is wrong with it. */
export interface CheckedDefinitions {
  readonly definitions: Definition[]
  /** By file and line. */
  readonly problems: readonly ErrorDetail[]
}

/** Checks documents together: they may name what is defined, and each other. */
export function checkDefinitions(documents: readonly ReadDocument[], defined: Defined): CheckedDefinitions {
  const definitions = documents.flatMap(({ definition }) => (definition ? [definition] : []))
  const graph = new Map(toGraph(defined.applications))
  for (const { kind, name, spec } of definitions) if (kind === 'Application') graph.set(name, spec.dependsOn)
  const written = new Set(documents.map(({ object }) => object))
  const isRepository = (name: string): boolean => defined.repositories.has(name) || written.has(`Repository/${name}`)
  const problems = [
    ...documents.flatMap((document) => document.problems),
    ...definitions.flatMap((definition) => locate(definition, findRuleProblems(definition, graph, isRepository))),
    ...findDuplicates(definitions),
  ]
  return { definitions, problems: sortByPlace(problems) }
}

function findRuleProblems(definition: Definition, graph: DependencyGraph, isRepository: (name: string) => boolean) {
  if (definition.kind === 'Repository') return findRepositoryProblems(definition.spec)
  if (definition.kind === 'Cluster') {
    return findValuesProblems(definition.spec.values).map((message) => ({ field: 'spec.values', message }))
  }
  return [...findApplicationProblems(definition.spec, isRepository), ...findDependencyProblems(definition.name, graph)]
}

function locate(definition: Definition, problems: readonly { field: string; message: string }[]): ErrorDetail[] {
  const object = `${definition.kind}/${definition.name}`
  return problems.map((problem) => ({ ...definition.source, object, ...problem }))
}

function findDuplicates(definitions: readonly Definition[]): ErrorDetail[] {
  const groups = Map.groupBy(definitions, ({ kind, name }) => `${kind}/${name}`)
  return [...groups.values()].flatMap(([first, ...others]) =>
    others.flatMap((other) => {
      const { file, line } = first?.source ?? {}
      const place = file === undefined ? '' : `; the first is in ${file}${line === undefined ? '' : `:${line}`}`
      return locate(other, [{ field: 'metadata.name', message: `is given twice in one request${place}` }])
    }),
  )
}

function sortByPlace(problems: readonly ErrorDetail[]): ErrorDetail[] {
  return [...problems].sort((a, b) => (a.file ?? '').localeCompare(b.file ?? '') || (a.line ?? 0) - (b.line ?? 0))
}

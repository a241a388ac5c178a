// The definitions: applies documents all or nothing, reads and deletes repositories and applications.
import { create } from '@bufbuild/protobuf'
import {
  type Application,
  type DefinitionDocument,
  type DefinitionResult,
  DefinitionResultSchema,
  type Placement,
  type Repository,
} from '@fairlead/proto/definitions'
import { AppError } from '@fairlead/shared/errors'
import { type ErrorDetail, ProblemsError } from '@fairlead/shared/grpc-status'
import type { Logger } from '@fairlead/shared/logger'
import type { Transaction } from 'kysely'
import type { Labels } from '../label-selector.ts'
import { readApplications, readRepositories } from '../store/definition-rows.ts'
import type { Schema } from '../store/schema.ts'
import type { Store } from '../store/store.ts'
import { checkDefinitions } from './check-definitions.ts'
import { deleteApplication, deleteRepository, listNames, notFound } from './deletion.ts'
import { type Definition, type ReadDocument, readDocument } from './document.ts'
import { BY_HAND, findOwnerProblem } from './ownership.ts'
import { findRepositoryWarnings } from './repository-rules.ts'
import { compareDefinition, findDefinition, readSpecs, storeDefinition } from './stored-definition.ts'
import { suspendApplication } from './suspension.ts'

const MAX_DOCUMENTS = 5_000

/** What the definitions need. */
export interface DefinitionsOptions {
  readonly store: Store
  /** Ids of the clusters that a placement selects; for warnings. */
  readonly placeApplication: (
    placement: Placement | undefined,
    clusters: readonly { id: string; name: string; labels: Labels }[],
  ) => string[]
  /** Called after every committed change. */
  readonly onChange: () => void
  readonly logger: Logger
  /** Milliseconds since the epoch, default Date.now. */
  readonly clock?: () => number
}

/** Applies, reads and deletes definitions. Every method that changes takes the actor for the audit trail. */
export interface Definitions {
  /** Checks all documents and stores all or none of them. Throws InvalidArgument with every problem of every document, each with file, line, object and field, or FailedPrecondition where one would change what has another owner. A dry run stores nothing. */
  apply(
    documents: readonly DefinitionDocument[],
    options: { dryRun: boolean; actor: string },
  ): Promise<DefinitionResult[]>
  /** Throws NotFound. */
  getRepository(name: string): Promise<Repository>
  /** Sorted by name. */
  listRepositories(): Promise<Repository[]>
  /** Throws NotFound, or FailedPrecondition while an application uses it. */
  deleteRepository(name: string, actor: string): Promise<void>
  /** Throws NotFound. */
  getApplication(name: string): Promise<Application>
  /** Sorted by name. */
  listApplications(): Promise<Application[]>
  /** Has an application leave every cluster; with `orphan` its objects stay. Returns the names of the clusters. Throws NotFound, or FailedPrecondition while another depends on it. */
  deleteApplication(request: { name: string; orphan: boolean }, actor: string): Promise<string[]>
  /** Has agents change nothing of an application (`suspend`), or go on. Returns it as it is then; what is so already stays as it is. Throws NotFound, or FailedPrecondition while it is being deleted. */
  suspendApplication(request: { name: string; suspend: boolean }, actor: string): Promise<Application>
}

/** Makes the definitions of a store. */
export function createDefinitions(options: DefinitionsOptions): Definitions {
  const { store, onChange, logger, clock = Date.now } = options
  return {
    apply: async (documents, { dryRun, actor }) => {
      const read = readDocuments(documents)
      const results = await store.transaction(async (transaction) => {
        const definitions = await checkDocuments(transaction, read)
        const warnings = await findWarnings(transaction, definitions, options)
        await refuseOthers(transaction, definitions)
        const results: DefinitionResult[] = []
        for (const [index, definition] of definitions.entries()) {
          const change = { dryRun, actor, nowMs: clock(), ownership: BY_HAND }
          const action = await storeDefinition(transaction, definition, change)
          const { kind, name } = definition
          results.push(create(DefinitionResultSchema, { kind, name, action, warnings: warnings[index] ?? [] }))
        }
        return results
      })
      const changed = results.filter((result) => result.action !== 'unchanged')
      if (dryRun || changed.length === 0) return results
      for (const { kind, name, action } of changed)
        logger.info({ kind, definition: name, action }, 'definition applied')
      onChange()
      return results
    },
    getRepository: async (name) => {
      const [repository] = await readRepositories(store.db, name)
      if (!repository) throw notFound('Repository', name)
      return repository
    },
    listRepositories: async () => await readRepositories(store.db),
    deleteRepository: async (name, actor) => {
      await store.transaction((transaction) => deleteRepository(transaction, { name, actor, nowMs: clock() }))
      logger.info({ kind: 'Repository', definition: name }, 'definition deleted')
      onChange()
    },
    getApplication: async (name) => {
      const [application] = await readApplications(store.db, { name })
      if (!application) throw notFound('Application', name)
      return application
    },
    listApplications: async () => await readApplications(store.db),
    deleteApplication: async ({ name, orphan }, actor) => {
      const clusters = await store.transaction((transaction) =>
        deleteApplication(transaction, { name, orphan, actor, nowMs: clock() }),
      )
      logger.info({ kind: 'Application', definition: name, orphan, clusters: clusters.length }, 'definition deleted')
      onChange()
      return clusters
    },
    suspendApplication: async ({ name, suspend }, actor) => {
      const isChanged = await store.transaction((transaction) =>
        suspendApplication(transaction, { name, suspend, actor, nowMs: clock() }),
      )
      if (isChanged) {
        logger.info({ kind: 'Application', definition: name, suspend }, 'application suspended or resumed')
        onChange()
      }
      const [application] = await readApplications(store.db, { name })
      if (!application) throw notFound('Application', name)
      return application
    },
  }
}

function readDocuments(documents: readonly DefinitionDocument[]): ReadDocument[] {
  if (documents.length === 0) throw new AppError('InvalidArgument', 'there is no document to apply')
  if (documents.length > MAX_DOCUMENTS) {
    throw new AppError('LimitExceeded', `at most ${MAX_DOCUMENTS} documents can be applied at once`)
  }
  return documents.map(readDocument)
}

/** The definitions, or an error with everything that is wrong with any of the documents. An application may name a repository that is stored or in the request. */
async function checkDocuments(
  transaction: Transaction<Schema>,
  documents: readonly ReadDocument[],
): Promise<Definition[]> {
  const stored = await transaction.selectFrom('repositories').select('name').execute()
  const repositories = new Set(stored.map(({ name }) => name))
  const { definitions, problems } = checkDefinitions(documents, {
    repositories,
    applications: await readSpecs(transaction, []),
  })
  if (problems.length > 0) throw new ProblemsError('InvalidArgument', problems)
  return definitions
}

/** What is allowed but probably not meant, for each definition. */
async function findWarnings(
  transaction: Transaction<Schema>,
  definitions: readonly Definition[],
  { placeApplication }: DefinitionsOptions,
): Promise<string[][]> {
  const rows = await transaction.selectFrom('clusters').select(['id', 'name', 'labels']).execute()
  const clusters = rows.map((row) => ({ ...row, labels: JSON.parse(row.labels) as Labels }))
  const specs = await readSpecs(transaction, definitions)
  return definitions.map((definition) => {
    if (definition.kind === 'Cluster') return [...definition.warnings]
    if (definition.kind === 'Repository') return [...definition.warnings, ...findRepositoryWarnings(definition.spec)]
    const { placement, dependsOn, forEach } = definition.spec
    if (forEach) return [...definition.warnings]
    const selected = placeApplication(placement, clusters)
    const unknown = placement?.names.filter((name) => !clusters.some((cluster) => cluster.name === name)) ?? []
    return [
      ...definition.warnings,
      ...(selected.length === 0 ? ['spec.placement: selects no cluster'] : []),
      ...(unknown.length > 0 ? [`spec.placement.names: no such cluster yet: ${unknown.join(', ')}`] : []),
      ...dependsOn.flatMap((name) => {
        const other = specs.get(name)
        const there = other?.forEach ? [] : placeApplication(other?.placement, clusters)
        const missing = clusters.filter(({ id }) => selected.includes(id) && !there.includes(id))
        return missing.length > 0 ? [`spec.dependsOn: ${name} does not run on ${listNames(missing)}: waits there`] : []
      }),
    ]
  })
}

/** Throws FailedPrecondition with each definition that would change what something other than people has. */
async function refuseOthers(transaction: Transaction<Schema>, definitions: readonly Definition[]): Promise<void> {
  const problems: ErrorDetail[] = []
  for (const definition of definitions) {
    if (definition.kind === 'Cluster') {
      const { name } = definition
      const message = `is for definitions from Git; by hand: fairlead cluster label ${name} KEY=VALUE, fairlead cluster value ${name} KEY=VALUE`
      problems.push({ ...definition.source, object: `Cluster/${name}`, message })
      continue
    }
    const before = await findDefinition(transaction, definition)
    // What is being deleted is nobody's any more.
    if (!before || before.deleting !== null || !compareDefinition(before, definition).isChanged) continue
    // Whoever follows a repository may say so otherwise, although its own definition is in it.
    const isItself = definition.kind === 'Repository' && before.owner === `git:${definition.name}`
    const message = isItself ? undefined : findOwnerProblem(before, '')
    if (message !== undefined) {
      problems.push({ ...definition.source, object: `${definition.kind}/${definition.name}`, message })
    }
  }
  if (problems.length > 0) throw new ProblemsError('FailedPrecondition', problems)
}

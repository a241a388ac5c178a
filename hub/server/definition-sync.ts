// Keeps definitions equal to Git where a Repository says that it is followed for them (spec.definitions). Level-triggered
// like the pipeline: a pass compares the commit that the tracker saw with the one that was taken over last.
import { create, toJson, toJsonString } from '@bufbuild/protobuf'
import { timestampFromMs } from '@bufbuild/protobuf/wkt'
import { type Problem, ProblemSchema } from '@fairlead/proto/common'
import { type DefinitionsSource, DefinitionsSourceSchema } from '@fairlead/proto/definitions'
import { AppError, isAborted, toAppError } from '@fairlead/shared/errors'
import type { Logger } from '@fairlead/shared/logger'
import type { Kysely, Transaction } from 'kysely'
import { locateProblem, type ReadCommit, readCommitContent } from './definitions/commit-content.ts'
import { type PlanProblem, planDefinitions } from './definitions/definition-plan.ts'
import { removeDefinitions } from './definitions/removal.ts'
import { holdDefinition, readSpecs, readStored, storeDefinition } from './definitions/stored-definition.ts'
import { readProblems, readRepositorySpec } from './store/definition-rows.ts'
import type { Owner, Schema } from './store/schema.ts'
import type { Store } from './store/store.ts'
import type { Tracker } from './tracker/tracker.ts'
import { WakeLoop } from './wake-loop.ts'

/** What it needs. */
export interface DefinitionSyncOptions {
  readonly store: Store
  readonly tracker: Pick<Tracker, 'readTree'>
  /** Called after definitions or their problems changed. */
  readonly onChange: () => void
  readonly logger: Logger
  /** Milliseconds since the epoch, default Date.now. */
  readonly clock?: () => number
}

/** Follows repositories for definitions; a commit or a definition that may have changed wakes it. */
export type DefinitionSync = Pick<WakeLoop, 'start' | 'wake' | 'stop'>

/** What could not be done is tried again this often, in milliseconds, whoever wakes it. */
const RETRY_MS = 30_000
/** Most problems of a commit that are told, and the length of each. */
const MAX_PROBLEMS = 100
const MAX_MESSAGE_LENGTH = 1_000

/** Makes it. */
export function createDefinitionSync(options: DefinitionSyncOptions): DefinitionSync {
  const pass = new DefinitionPass(options)
  return new WakeLoop({ everyMs: RETRY_MS, pass: (signal) => pass.run(signal), onError: (error) => pass.failed(error) })
}

interface Followed {
  readonly repository: string
  readonly source: DefinitionsSource
  readonly settings: string
  readonly commit: string
}

class DefinitionPass {
  readonly #options: DefinitionSyncOptions
  readonly #logger: Logger

  constructor(options: DefinitionSyncOptions) {
    this.#options = options
    this.#logger = options.logger.child({ part: 'definitions' })
  }

  /** Looks at every repository once. Rejects when the database cannot be read. */
  async run(signal: AbortSignal): Promise<void> {
    for (const followed of await readFollowed(this.#options.store.db)) await this.#trySync(followed, signal)
  }

  /** Tells that a pass ended early. */
  failed(error: unknown): void {
    this.#logger.error({ error }, 'definitions could not be looked for; trying again')
  }

  /** What goes wrong with one repository does not keep the others waiting. */
  async #trySync(followed: Followed, signal: AbortSignal): Promise<void> {
    try {
      await this.#sync(followed, signal)
    } catch (error) {
      const { repository, commit } = followed
      if (signal.aborted) return
      this.#logger.error({ repository, commit, error }, 'definitions could not be taken over; trying again')
    }
  }

  async #sync(followed: Followed, signal: AbortSignal): Promise<void> {
    const { store, clock = Date.now, onChange } = this.#options
    const { repository, source, settings, commit } = followed
    const last = await readSync(store.db, repository)
    // What was wrong may be right by now, without a new commit: the repository that was missing is there.
    if (last?.commit === commit && last.settings === settings && last.problems === '[]') return
    const content = await this.#read(followed, signal)
    if (signal.aborted) return
    const outcome = await store.transaction(async (transaction) => {
      // Somebody may have ended it meanwhile.
      const now = (await readFollowed(transaction)).find((one) => one.repository === repository)
      if (now?.settings !== settings) return undefined
      const taken =
        content instanceof AppError
          ? refused(content, source.path)
          : await take(transaction, content, followed, clock())
      const problems = JSON.stringify(encodeProblems(taken.problems, last?.problems ?? '[]', clock()))
      const row = {
        settings,
        commit: content instanceof AppError ? (last?.commit ?? '') : commit,
        attempted_commit: commit,
        synced_at: content instanceof AppError ? (last?.synced_at ?? 0) : clock(),
        problems,
      }
      const isTold = last?.problems !== problems || last.commit !== row.commit || last.attempted_commit !== commit
      if (isTold || last.settings !== settings) {
        await transaction
          .insertInto('definition_syncs')
          .values({ repository, ...row })
          .onConflict((conflict) => conflict.column('repository').doUpdateSet(row))
          .execute()
      }
      return { ...taken, isTold }
    })
    if (!outcome || (!outcome.isTold && outcome.changed.length === 0)) return
    const { changed, problems } = outcome
    this.#logger.info({ repository, commit, changed, problems: problems.length }, 'definitions taken over from Git')
    onChange()
  }

  async #read({ repository, source, commit }: Followed, signal: AbortSignal): Promise<ReadCommit | AppError> {
    try {
      const tree = await this.#options.tracker.readTree(repository, commit, source.path, signal)
      return readCommitContent(tree)
    } catch (error) {
      if (isAborted(error)) return new AppError('Aborted', 'the read was given up')
      return toAppError(error)
    }
  }
}

interface Taken {
  /** Kind/name of each. */
  readonly changed: readonly string[]
  readonly problems: readonly PlanProblem[]
}

/** Nothing is known of what the commit holds: everything stays. */
function refused({ code, message }: AppError, path: string): Taken {
  return { changed: [], problems: [{ code, message, ...(path === '' ? {} : { file: path }) }] }
}

async function take(
  transaction: Transaction<Schema>,
  content: ReadCommit,
  { repository, source }: Followed,
  nowMs: number,
): Promise<Taken> {
  const owner: Owner = `git:${repository}`
  const stored = { rows: await readStored(transaction), specs: await readSpecs(transaction, []) }
  const plan = planDefinitions(content, stored, { owner, place: 'Git', adopt: source.adopt })
  const changed: string[] = []
  for (const definition of plan.store) {
    const { file = '', line = 0 } = definition.source
    const ownership = { owner, origin: `${file}:${line}` }
    const change = { dryRun: false, actor: owner, nowMs, ownership }
    const action = await storeDefinition(transaction, definition, change)
    if (action !== 'unchanged') changed.push(`${definition.kind}/${definition.name}`)
  }
  for (const row of plan.hold) await holdDefinition(transaction, row)
  const left = await removeDefinitions(transaction, plan.remove, { owner, nowMs, place: 'Git' })
  changed.push(...left.changed)
  const problems = [...plan.problems, ...left.problems].map((problem) => locateProblem(problem, content.sources))
  return { changed, problems }
}

/** Repositories that are followed for definitions, with a commit to read. */
async function readFollowed(db: Kysely<Schema>): Promise<Followed[]> {
  const repositories = await db.selectFrom('repositories').select(['name', 'spec']).orderBy('name').execute()
  const refs = await db.selectFrom('refs').select(['repository', 'ref', 'commit']).where('commit', '!=', '').execute()
  return repositories.flatMap(({ name, spec }) => {
    const source = readRepositorySpec(spec).definitions
    const commit = refs.find(({ repository, ref }) => repository === name && ref === source?.ref)?.commit
    if (!source || commit === undefined) return []
    return [{ repository: name, source, settings: toJsonString(DefinitionsSourceSchema, source), commit }]
  })
}

async function readSync(db: Kysely<Schema>, repository: string) {
  return await db.selectFrom('definition_syncs').selectAll().where('repository', '=', repository).executeTakeFirst()
}

/** As proto JSON; `since` is that of the same problem before. */
function encodeProblems(problems: readonly PlanProblem[], before: string, nowMs: number) {
  const known = new Map(readProblems(before).map((problem) => [identify(problem), problem.since]))
  const told = problems.slice(0, MAX_PROBLEMS)
  const more = problems.length - told.length
  if (more > 0) told.push({ code: 'LimitExceeded', message: `${more} more problems are not listed` })
  return told.map(({ code, object, field, message, file, line }) => {
    const parts = [object, field, message].filter((part) => part !== undefined && part !== '')
    const text = parts.join(': ').slice(0, MAX_MESSAGE_LENGTH)
    const source = file === undefined ? {} : { source: { file, line: line ?? 0 } }
    const problem = create(ProblemSchema, { code, message: text, ...source })
    problem.since = known.get(identify(problem)) ?? timestampFromMs(nowMs)
    return toJson(ProblemSchema, problem)
  })
}

function identify({ code, message, source }: Problem): string {
  return JSON.stringify([code, message, source?.file, source?.line])
}

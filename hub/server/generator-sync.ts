// Keeps the Applications that a forEach makes equal to what it is given: folders, entries of a file, clusters. Level-triggered
// like the pipeline: a pass compares what it reads with what was made of it last. What cannot be read changes nothing.
import { create, toJson } from '@bufbuild/protobuf'
import { timestampFromMs } from '@bufbuild/protobuf/wkt'
import { ProblemSchema } from '@fairlead/proto/common'
import type { ApplicationSpec, ForEach } from '@fairlead/proto/definitions'
import { sha256Hex } from '@fairlead/shared/digest'
import { AppError, isAborted, toAppError } from '@fairlead/shared/errors'
import type { Logger } from '@fairlead/shared/logger'
import type { Kysely, Transaction } from 'kysely'
import { type PlanProblem, planDefinitions } from './definitions/definition-plan.ts'
import type { ReadDocument } from './definitions/document.ts'
import { type Each, eachEntry, eachFolder, formatPlace, generate } from './definitions/generate.ts'
import { BY_HAND } from './definitions/ownership.ts'
import { removeDefinitions } from './definitions/removal.ts'
import { holdDefinition, readSpecs, readStored, storeDefinition } from './definitions/stored-definition.ts'
import { type Labels, matchesSelector } from './label-selector.ts'
import { readApplicationSpec, readProblems } from './store/definition-rows.ts'
import type { Owner, Schema } from './store/schema.ts'
import type { Store } from './store/store.ts'
import type { Tracker } from './tracker/tracker.ts'
import { WakeLoop } from './wake-loop.ts'

/** What it needs. */
export interface GeneratorSyncOptions {
  readonly store: Store
  readonly tracker: Pick<Tracker, 'readTree' | 'listFolders'>
  /** Called after definitions or their problems changed. */
  readonly onChange: () => void
  readonly logger: Logger
  /** Milliseconds since the epoch, default Date.now. */
  readonly clock?: () => number
}

/** Makes Applications; a commit, a cluster or a definition that may have changed wakes it. */
export type GeneratorSync = Pick<WakeLoop, 'start' | 'wake' | 'stop'>

/** What could not be done is tried again this often, in milliseconds, whoever wakes it. */
const RETRY_MS = 30_000
/** Most problems that are told. */
const MAX_PROBLEMS = 100

/** Makes it. */
export function createGeneratorSync(options: GeneratorSyncOptions): GeneratorSync {
  const pass = new GeneratorPass(options)
  return new WakeLoop({ everyMs: RETRY_MS, pass: (signal) => pass.run(signal), onError: (error) => pass.failed(error) })
}

interface Generator {
  readonly name: string
  readonly uid: string
  readonly generation: number
  readonly forEach: ForEach
}

class GeneratorPass {
  readonly #options: GeneratorSyncOptions
  readonly #logger: Logger

  constructor(options: GeneratorSyncOptions) {
    this.#options = options
    this.#logger = options.logger.child({ part: 'generators' })
  }

  /** Looks at every generator once. Rejects when the database cannot be read. */
  async run(signal: AbortSignal): Promise<void> {
    await this.#release()
    for (const generator of await readGenerators(this.#options.store.db)) await this.#trySync(generator, signal)
  }

  /** Tells that a pass ended early. */
  failed(error: unknown): void {
    this.#logger.error({ error }, 'generators could not be looked for; trying again')
  }

  /** What goes wrong with one does not keep the others waiting. */
  async #trySync(generator: Generator, signal: AbortSignal): Promise<void> {
    try {
      await this.#sync(generator, signal)
    } catch (error) {
      if (signal.aborted) return
      this.#logger.error({ application: generator.name, error }, 'Applications could not be made; trying again')
    }
  }

  async #sync(generator: Generator, signal: AbortSignal): Promise<void> {
    const { store, clock = Date.now, onChange } = this.#options
    const { name, forEach } = generator
    const inputs = await this.#read(generator, signal)
    if (signal.aborted) return
    const last = await readState(store.db, name)
    if (!(inputs instanceof AppError) && last?.inputs === inputs.key && last.problems === '[]') return
    const made = inputs instanceof AppError ? inputs : tryGenerate(name, forEach, inputs.each)
    const outcome = await store.transaction(async (transaction) => {
      // It may have changed, or gone, while its inputs were read.
      const now = (await readGenerators(transaction)).find((one) => one.name === name)
      if (now?.uid !== generator.uid || now.generation !== generator.generation) return undefined
      const taken = made instanceof AppError ? refused(made) : await take(transaction, name, made, clock())
      const row = {
        inputs: inputs instanceof AppError || made instanceof AppError ? (last?.inputs ?? '') : inputs.key,
        problems: encodeProblems(taken.problems, last?.problems ?? '[]', clock()),
      }
      const isTold = last?.problems !== row.problems
      if (isTold || last.inputs !== row.inputs) {
        await transaction
          .insertInto('generators')
          .values({ application: name, ...row })
          .onConflict((conflict) => conflict.column('application').doUpdateSet(row))
          .execute()
      }
      return { ...taken, isTold }
    })
    if (!outcome || (!outcome.isTold && outcome.changed.length === 0)) return
    const { changed, problems } = outcome
    const summary = { application: name, changed: changed.length, problems: problems.length }
    this.#logger.info(summary, 'Applications made for what was given')
    onChange()
  }

  /** What it is made for, and a key that is equal while that and the generator are. */
  async #read(
    generator: Generator,
    signal: AbortSignal,
  ): Promise<{ readonly key: string; readonly each: readonly Each[] } | AppError> {
    const { forEach, uid, generation } = generator
    const { db } = this.#options.store
    try {
      const key = (what: unknown): string => sha256Hex(JSON.stringify([uid, generation, what]))
      if (forEach.clusters) {
        const each = await eachCluster(db, forEach.clusters)
        return { key: key(each.map(({ variables }) => [...variables])), each }
      }
      const { repository = '', ref = '', path = '' } = forEach.folders ?? forEach.file ?? {}
      const commit = await findCommit(db, repository, ref)
      if (forEach.folders) {
        const folders = await this.#options.tracker.listFolders(repository, commit, path, signal)
        // A commit leaves most of a repository as it is.
        return { key: key(folders), each: eachFolder(forEach.folders, folders) }
      }
      const { files, skipped } = await this.#options.tracker.readTree(repository, commit, path, signal)
      const file = files.find((one) => one.path === path)
      if (!file) {
        const message = skipped[0]?.message ?? 'is no file'
        throw new AppError('PathNotFound', message, { context: { file: path } })
      }
      const text = Buffer.from(file.bytes).toString('utf8')
      return { key: key(text), each: eachEntry(path, text) }
    } catch (error) {
      return isAborted(error) ? new AppError('Aborted', 'the read was given up') : toAppError(error)
    }
  }

  /** What an Application made that makes none any more is people's from then on. */
  async #release(): Promise<void> {
    const { store } = this.#options
    const made = store.db.selectFrom('applications').select('owner').distinct().where('owner', 'like', 'application:%')
    const owners = (await made.execute()).map(({ owner }) => owner)
    const generators = await readAll(store.db)
    const left = owners.filter((owner) => !generators.has(owner.slice('application:'.length)))
    if (left.length === 0) return
    await store.transaction(async (transaction) => {
      const now = await readAll(transaction)
      const gone = left.filter((owner) => !now.has(owner.slice('application:'.length)))
      if (gone.length === 0) return
      await transaction.updateTable('applications').set(BY_HAND).where('owner', 'in', gone).execute()
    })
    this.#options.onChange()
  }
}

interface Taken {
  /** Kind/name of each. */
  readonly changed: readonly string[]
  readonly problems: readonly PlanProblem[]
}

/** Nothing is known of what there is: everything stays. */
function refused({ code, message, context: { file, line } }: AppError): Taken {
  return { changed: [], problems: [{ code, message, ...(file ? { file } : {}), ...(line ? { line } : {}) }] }
}

function tryGenerate(name: string, forEach: ForEach, each: readonly Each[]): ReadDocument[] | AppError {
  try {
    return generate(name, forEach, each)
  } catch (error) {
    return toAppError(error)
  }
}

async function take(
  transaction: Transaction<Schema>,
  name: string,
  documents: readonly ReadDocument[],
  nowMs: number,
): Promise<Taken> {
  const owner: Owner = `application:${name}`
  const stored = { rows: await readStored(transaction), specs: await readSpecs(transaction, []) }
  const place = `what Application/${name} is made for`
  const plan = planDefinitions({ documents, problems: [] }, stored, { owner, place, adopt: false })
  const changed: string[] = []
  for (const definition of plan.store) {
    const { file = '', line } = definition.source
    const origin = formatPlace({ place: line === undefined ? { file } : { file, line } })
    const change = { dryRun: false, actor: owner, nowMs, ownership: { owner, origin } }
    const action = await storeDefinition(transaction, definition, change)
    if (action !== 'unchanged') changed.push(`${definition.kind}/${definition.name}`)
  }
  for (const row of plan.hold) await holdDefinition(transaction, row)
  const left = await removeDefinitions(transaction, plan.remove, { owner, nowMs, place })
  return { changed: [...changed, ...left.changed], problems: [...plan.problems, ...left.problems] }
}

/** Clusters that are selected, whether they have joined or not. */
async function eachCluster(db: Kysely<Schema>, selector: NonNullable<ForEach['clusters']>): Promise<Each[]> {
  const rows = await db.selectFrom('clusters').select(['name', 'labels', 'cluster_values']).orderBy('name').execute()
  return rows.flatMap(({ name, labels: json, cluster_values }) => {
    const labels = JSON.parse(json) as Labels
    if (!matchesSelector(selector, labels)) return []
    const values = JSON.parse(cluster_values) as Labels
    const variables = new Map([
      ['name', name],
      ...Object.entries(labels).map(([key, value]) => [`labels.${key}`, value] as const),
      ...Object.entries(values).map(([key, value]) => [`values.${key}`, value] as const),
    ])
    return [{ place: { file: `cluster ${name}` }, variables, cluster: name }]
  })
}

async function findCommit(db: Kysely<Schema>, repository: string, ref: string): Promise<string> {
  const rows = db.selectFrom('refs').select('commit').where('repository', '=', repository).where('ref', '=', ref)
  const commit = (await rows.executeTakeFirst())?.commit ?? ''
  if (commit !== '') return commit
  throw new AppError('RefNotFound', `${ref || 'the default branch'} of Repository/${repository} is not known yet`)
}

async function readGenerators(db: Kysely<Schema>): Promise<Generator[]> {
  const generators = await readAll(db)
  return [...generators.values()].filter(({ suspend }) => !suspend)
}

/** All that make others, by name. */
async function readAll(db: Kysely<Schema>): Promise<Map<string, Generator & Pick<ApplicationSpec, 'suspend'>>> {
  const rows = await db
    .selectFrom('applications')
    .select(['name', 'uid', 'generation', 'spec'])
    .where('deleting', 'is', null)
    // Most make none: these are not worth parsing.
    .where('spec', 'like', '%"forEach"%')
    .orderBy('name')
    .execute()
  const generators = rows.flatMap(({ name, uid, generation, spec }) => {
    const { forEach, suspend } = readApplicationSpec(spec)
    return forEach ? [[name, { name, uid, generation, forEach, suspend }] as const] : []
  })
  return new Map(generators)
}

async function readState(db: Kysely<Schema>, application: string) {
  return await db.selectFrom('generators').selectAll().where('application', '=', application).executeTakeFirst()
}

/** As JSON; one that was there before keeps its time. */
function encodeProblems(problems: readonly PlanProblem[], before: string, nowMs: number): string {
  const known = new Map(readProblems(before).map((problem) => [`${problem.code} ${problem.message}`, problem.since]))
  const listed = problems.slice(0, MAX_PROBLEMS).map(({ code, object, field, message, file, line }) => {
    const subject = [object, field].filter((part) => part !== undefined && part !== '').join(': ')
    const text = subject === '' ? message : `${subject}: ${message}`
    return create(ProblemSchema, {
      code,
      message: text,
      since: known.get(`${code} ${text}`) ?? timestampFromMs(nowMs),
      ...(file === undefined ? {} : { source: { file, line: line ?? 0 } }),
    })
  })
  const rest = problems.length - listed.length
  const more =
    rest > 0 ? [create(ProblemSchema, { code: 'LimitExceeded', message: `${rest} more problems are not listed` })] : []
  return JSON.stringify([...listed, ...more].map((problem) => toJson(ProblemSchema, problem)))
}

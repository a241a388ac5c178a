// One application at one commit: reads its folder and what that refers to, renders it if its inputs changed, and records the outcome. What cannot
// be read or rendered becomes a problem; the last good artifact stays.
import { create, fromJson, toJson, toJsonString } from '@bufbuild/protobuf'
import { timestampFromMs } from '@bufbuild/protobuf/wkt'
import { type Problem, ProblemSchema, RevisionSchema } from '@fairlead/proto/common'
import { AppError } from '@fairlead/shared/errors'
import type { Insertable, Kysely, Selectable, Transaction } from 'kysely'
import { findMount } from './mounts.ts'
import { findOtherCommit, InputsReader, type InputsSource, type OtherCommit, type TreeReader } from './render-inputs.ts'
import { inputHash, type ReadPath, type RenderOptions } from './renderer/render.ts'
import { findValueFilesElsewhere } from './renderer/render-by-engine.ts'
import type { ArtifactContent, RenderedApplication, Renderer, StoredArtifact } from './renderer/renderer.ts'
import { findCapabilities } from './store/capabilities-rows.ts'
import type { RendersTable, Schema } from './store/schema.ts'
import type { Store } from './store/store.ts'
import { variantKey } from './variants.ts'

/** What the render of an application depends on. */
export interface RenderTarget extends RenderOptions {
  /** Id of the variant; empty for the application without overrides. */
  readonly variant: string
  readonly repository: string
  readonly ref: string
  readonly commit: string
  /** The commits of the repositories that value files come from; default none. */
  readonly others?: readonly OtherCommit[]
  /** Digest of what charts see of the clusters, where the application asks for that and they have reported it. */
  readonly capabilitiesDigest?: string
}

/** What rendering needs. */
export interface RenderStageOptions {
  readonly store: Store
  readonly trees: TreeReader
  readonly renderer: Renderer
}

type RenderRow = Selectable<RendersTable>

/** Folders that refer to folders that refer to folders: each level is one more look at the repository. */
const MAX_ROUNDS = 50
const NAMES_PER_STATEMENT = 500
/** Longest time of all rounds of one render, those of others that it waits for included, in milliseconds. */
const MAX_RENDER_MS = 300_000

/**
 * Of targets of one repository at one commit, records those whose inputs are those of their last render, all in one
 * transaction, and returns the others: these are to be rendered. Throws AppError when the commit cannot be read.
 */
export async function recordUnchanged(
  { store, trees }: RenderStageOptions,
  targets: readonly RenderTarget[],
  signal: AbortSignal,
): Promise<RenderTarget[]> {
  const [first] = targets
  if (!first) return []
  // Of many all are read: that costs less than to name them.
  const isFew = targets.length <= NAMES_PER_STATEMENT / 10
  const names = targets.map(({ application }) => application)
  const rows = await store.db
    .selectFrom('renders')
    .selectAll()
    .$if(isFew, (query) => query.where('application', 'in', names))
    .execute()
  const renders = new Map(rows.map((row) => [variantKey(row), row]))
  const lastOf = (target: RenderTarget): RenderRow | undefined => renders.get(variantKey(target))
  // The last render says what it read; as long as nothing of that has changed, this one would read the same.
  const pathsOf = (target: RenderTarget): string[] => [target.path, ...readElsewhere(lastOf(target))]
  const oidsOf = await findOids(
    trees,
    targets.map((target) => ({ target, paths: pathsOf(target) })),
    signal,
  )
  const isSame = (target: RenderTarget): boolean => {
    const read = oidsOf(target)
    return read !== undefined && lastOf(target)?.input_hash === inputHash(read, target)
  }
  const same = targets.filter(isSame)
  await store.transaction((transaction) => recordSameInputs(transaction, same, lastOf))
  const unchanged = new Set(same)
  return targets.filter((target) => !unchanged.has(target))
}

/** Where something is that a render read; or what it is, where that cannot change. */
type Place = { readonly repository: string; readonly commit: string; readonly path: string } | { readonly oid: string }

function placeOf(target: RenderTarget, path: string): Place | undefined {
  const mount = findMount(path)
  if (mount === undefined) return { repository: target.repository, commit: target.commit, path }
  if (mount.kind === 'chart') return { oid: mount.digest }
  if (mount.kind === 'base') return { oid: mount.commit }
  try {
    return { repository: mount.repository, commit: findOtherCommit(target, mount), path: mount.path }
  } catch {
    return undefined
  }
}

/** For each target what Git has at its paths; undefined when that cannot be told, or when nothing is at the first of them. All that is in one commit is asked for at once. */
async function findOids(
  trees: TreeReader,
  wanted: readonly { readonly target: RenderTarget; readonly paths: readonly string[] }[],
  signal: AbortSignal,
): Promise<(target: RenderTarget) => ReadPath[] | undefined> {
  const places = wanted.flatMap(({ target, paths }) => paths.flatMap((path) => placeOf(target, path) ?? []))
  const inGit = places.filter((place) => 'commit' in place)
  const oids = new Map<string, string | undefined>()
  for (const group of Map.groupBy(inGit, ({ repository, commit }) => `${repository} ${commit}`).values()) {
    const [{ repository, commit } = { repository: '', commit: '' }] = group
    const paths = [...new Set(group.map(({ path }) => path))]
    const found = await trees.findTreeOids(repository, commit, paths, signal)
    for (const [index, path] of paths.entries()) oids.set(JSON.stringify([repository, commit, path]), found[index])
  }
  const read = new Map(
    wanted.map(({ target, paths }) => {
      const each = paths.map((path): ReadPath | undefined => {
        const place = placeOf(target, path)
        if (place === undefined) return undefined
        if ('oid' in place) return [path, place.oid]
        return [path, oids.get(JSON.stringify([place.repository, place.commit, place.path])) ?? null]
      })
      const isKnown = each.every((one) => one !== undefined) && each[0]?.[1] !== null
      return [target, isKnown ? each : undefined] as const
    }),
  )
  return (target) => read.get(target)
}

/** Renders the target unless the last attempt had the same inputs, and records the outcome. Throws AppError when the tree cannot be read or rendered at all; that is for recordFailure. */
export async function renderTarget(
  stage: RenderStageOptions,
  target: RenderTarget,
  signal: AbortSignal,
): Promise<'rendered' | 'unchanged'> {
  const { store, renderer } = stage
  const { application, variant, commit } = target
  const [changed] = await recordUnchanged(stage, [target], signal)
  if (!changed) return 'unchanged'
  const last = await findRender(store, target)
  const { rendered, reader } = await readAndRender(stage, await withCapabilities(store, target), signal)
  const base = {
    application,
    variant,
    input_hash: inputHash(reader.read, target),
    read_paths: JSON.stringify(reader.read.slice(1).map(([path]) => path)),
    attempted_commit: commit,
    rendered_at: Date.now(),
  }
  const problems = formatProblems(rendered.problems, last)
  if (rendered.incomplete && rendered.objects === 0) {
    // Nothing good came of it: everything stays as it is.
    await store.transaction((transaction) => saveRow(transaction, { ...keep(last), ...base, problems }))
    return 'rendered'
  }
  const lastArtifact = rendered.incomplete ? await findArtifact(store, last?.artifact_digest) : undefined
  const artifact = lastArtifact ? await renderer.carryOver(lastArtifact, rendered, target.namespace, signal) : rendered
  const row = {
    ...base,
    problems,
    commit,
    artifact_digest: artifact.digest,
    revision: formatRevision(target),
    incomplete: rendered.incomplete ? 1 : 0,
  }
  await saveArtifact(stage, artifact, row, signal)
  return 'rendered'
}

/** Reads and renders, and again with what turns out to be needed, until nothing is. Throws AppError when the files cannot be read, or rendered at all. */
export async function readAndRender(
  { trees, renderer }: { readonly trees: InputsSource; readonly renderer: Renderer },
  target: RenderTarget,
  signal: AbortSignal,
): Promise<{ readonly rendered: RenderedApplication; readonly reader: InputsReader }> {
  const reader = new InputsReader(trees, target)
  await reader.readOwn(signal)
  await reader.readMore(findValueFilesElsewhere(target), signal)
  const deadline = performance.now() + MAX_RENDER_MS
  for (let rounds = 0; rounds < MAX_ROUNDS; rounds++) {
    if (performance.now() > deadline) throw new AppError('RenderTimeout', `not done within ${MAX_RENDER_MS} ms`)
    const rendered = await renderer.render(reader.inputs, target, signal)
    if (!('needs' in rendered)) return { rendered, reader }
    await reader.readMore(rendered.needs, signal)
  }
  const message = `the application's files refer to others more than ${MAX_ROUNDS} levels deep`
  throw new AppError('LimitExceeded', message, { context: { file: target.path } })
}

/** The target with what its digest stands for. Throws Aborted when no cluster reports that any more. */
export async function withCapabilities({ db }: Pick<Store, 'db'>, target: RenderTarget): Promise<RenderTarget> {
  const { capabilitiesDigest: digest } = target
  if (digest === undefined) return target
  const capabilities = await findCapabilities(db, digest)
  if (!capabilities) throw new AppError('Aborted', 'what the cluster reports of itself has changed meanwhile')
  return { ...target, capabilities }
}

/** What the last render read beside the application's own folder. */
function readElsewhere(last: RenderRow | undefined): string[] {
  return last ? (JSON.parse(last.read_paths) as string[]) : []
}

/** Records why the target could not be read or rendered; what was good before stays. A transient failure is not an attempt: it will be tried again. */
export async function recordFailure(store: Store, target: RenderTarget, error: AppError): Promise<void> {
  const last = await findRender(store, target)
  const { object: _object, file = target.path, line = 0 } = error.context
  const problem = create(ProblemSchema, { code: error.code, message: error.message, source: { file, line } })
  const isFinal = error.kind === 'user'
  await store.transaction((transaction) =>
    saveRow(transaction, {
      ...keep(last),
      application: target.application,
      variant: target.variant,
      input_hash: '',
      read_paths: '[]',
      attempted_commit: isFinal ? target.commit : (last?.attempted_commit ?? ''),
      problems: formatProblems([problem], last),
      rendered_at: Date.now(),
    }),
  )
}

/** The revision of a target as proto JSON. */
export function formatRevision({ repository, ref, commit }: RenderTarget): string {
  return toJsonString(RevisionSchema, create(RevisionSchema, { repository, ref, commit }))
}

function keep(last: RenderRow | undefined): Pick<RenderRow, 'commit' | 'artifact_digest' | 'revision' | 'incomplete'> {
  if (!last) return { commit: '', artifact_digest: null, revision: null, incomplete: 0 }
  const { commit, artifact_digest, revision, incomplete } = last
  return { commit, artifact_digest, revision, incomplete }
}

/** The same files at another commit: the outcome holds for that too. */
async function recordSameInputs(
  db: Kysely<Schema>,
  targets: readonly RenderTarget[],
  lastOf: (target: RenderTarget) => RenderRow | undefined,
): Promise<void> {
  // Where nothing good came of these inputs, the last good revision is an older one and stays.
  const isDeployed = (target: RenderTarget): boolean => {
    const last = lastOf(target)
    return last !== undefined && last.artifact_digest !== null && last.commit === last.attempted_commit
  }
  // A commit leaves most of a repository as it is: one statement for many.
  const groupOf = (target: RenderTarget) => JSON.stringify([target.variant, isDeployed(target), formatRevision(target)])
  for (const group of Map.groupBy(targets, groupOf).values()) {
    for (let start = 0; start < group.length; start += NAMES_PER_STATEMENT) {
      const part = group.slice(start, start + NAMES_PER_STATEMENT)
      const [first] = part
      if (!first) break
      const good = isDeployed(first) ? { commit: first.commit, revision: formatRevision(first) } : {}
      const names = part.map(({ application }) => application)
      await db
        .updateTable('renders')
        .set({ ...good, attempted_commit: first.commit })
        .where('variant', '=', first.variant)
        .where('application', 'in', names)
        .execute()
    }
  }
}

async function findRender(
  store: Store,
  { application, variant }: Pick<RenderTarget, 'application' | 'variant'>,
): Promise<RenderRow | undefined> {
  const rows = store.db.selectFrom('renders').selectAll().where('application', '=', application)
  return await rows.where('variant', '=', variant).executeTakeFirst()
}

async function findArtifact(store: Store, digest: string | null | undefined): Promise<StoredArtifact | undefined> {
  if (!digest) return undefined
  const row = await store.db.selectFrom('artifacts').select('reference').where('digest', '=', digest).executeTakeFirst()
  if (!row) return undefined
  const rows = await store.db
    .selectFrom('artifact_chunks')
    .select(['digest', 'bytes'])
    .where('artifact_digest', '=', digest)
    .execute()
  return { reference: row.reference, chunks: new Map(rows.map((chunk) => [chunk.digest, chunk.bytes])) }
}

/** Stores the artifact, unless equal content is stored already, with the row that refers to it. */
async function saveArtifact(
  { store, renderer }: RenderStageOptions,
  artifact: ArtifactContent,
  row: Insertable<RendersTable>,
  signal: AbortSignal,
): Promise<void> {
  let sealed = (await isStored(store.db, artifact.digest)) ? undefined : await renderer.seal(artifact, signal)
  signal.throwIfAborted()
  const save = (): Promise<boolean> =>
    store.transaction(async (transaction) => {
      if (!(await isStored(transaction, artifact.digest))) {
        if (!sealed) return false
        await insertArtifact(transaction, artifact.digest, sealed)
      }
      await saveRow(transaction, row)
      return true
    })
  if (await save()) return
  // It went between the look and the transaction.
  sealed = await renderer.seal(artifact, signal)
  await save()
}

async function isStored(db: Kysely<Schema>, digest: string): Promise<boolean> {
  const row = await db.selectFrom('artifacts').select('digest').where('digest', '=', digest).executeTakeFirst()
  return row !== undefined
}

async function insertArtifact(
  transaction: Transaction<Schema>,
  digest: string,
  { reference, chunks }: StoredArtifact,
): Promise<void> {
  const createdAt = Date.now()
  await transaction.insertInto('artifacts').values({ digest, reference, created_at: createdAt }).execute()
  for (const [name, bytes] of chunks) {
    await transaction.insertInto('artifact_chunks').values({ digest: name, artifact_digest: digest, bytes }).execute()
  }
  await transaction.insertInto('outbox').values({ kind: 'artifact', key: digest, created_at: createdAt }).execute()
}

/** Writes the row, unless the application is gone meanwhile. */
async function saveRow(transaction: Transaction<Schema>, row: Insertable<RendersTable>): Promise<void> {
  const exists = await transaction
    .selectFrom('applications')
    .select('name')
    .where('name', '=', row.application)
    .executeTakeFirst()
  if (!exists) return
  await transaction
    .insertInto('renders')
    .values(row)
    .onConflict((conflict) => conflict.columns(['application', 'variant']).doUpdateSet(row))
    .execute()
}

/** Problems as JSON; one that was there before keeps its time. */
function formatProblems(problems: readonly Problem[], last: RenderRow | undefined): string {
  const before = new Map<string, Problem>()
  for (const json of last ? (JSON.parse(last.problems) as never[]) : []) {
    const problem = fromJson(ProblemSchema, json)
    before.set(identityOf(problem), problem)
  }
  const now = timestampFromMs(Date.now())
  const dated = problems.map((problem) => ({ ...problem, since: before.get(identityOf(problem))?.since ?? now }))
  return JSON.stringify(dated.map((problem) => toJson(ProblemSchema, problem)))
}

function identityOf({ code, message, object, source }: Problem): string {
  return JSON.stringify([code, message, object?.kind, object?.namespace, object?.name, source?.file])
}

// What the tracker keeps in the database: the refs with their commits, and what is wrong with each repository.
import { create, equals, fromJson, fromJsonString, toJson } from '@bufbuild/protobuf'
import { durationMs, timestampFromMs } from '@bufbuild/protobuf/wkt'
import { ProblemSchema } from '@fairlead/proto/common'
import { ApplicationSpecSchema, type RepositorySpec, RepositorySpecSchema } from '@fairlead/proto/definitions'
import type { AppError } from '@fairlead/shared/errors'
import type { Kysely } from 'kysely'
import { sourcesOf } from '../application-sources.ts'
import type { Schema } from '../store/schema.ts'
import type { Store } from '../store/store.ts'

/** A repository to follow. */
export interface FollowedRepository {
  readonly name: string
  readonly spec: RepositorySpec
  /** Refs that applications and definitions ask for, sorted; empty is the default branch. */
  readonly refs: readonly string[]
  /** Between polls, in milliseconds. */
  readonly pollIntervalMs: number
}

/** True when two say the same of what to follow. */
export function isSameRepository(a: FollowedRepository, b: FollowedRepository): boolean {
  return (
    equals(RepositorySpecSchema, a.spec, b.spec) &&
    a.pollIntervalMs === b.pollIntervalMs &&
    a.refs.join('\0') === b.refs.join('\0') &&
    a.refs.length === b.refs.length
  )
}

/** What a poll found out about one ref. */
export type RefOutcome =
  | {
      readonly ref: string
      readonly commit: string /** The branch or tag, as ResolvedRef.name. */
      readonly name: string
    }
  | { readonly ref: string; readonly problem: AppError }

/** What a poll found out. */
export interface PollOutcome {
  /** Why the repository cannot be read; then nothing is known of the refs. */
  readonly problem?: AppError
  readonly refs: readonly RefOutcome[]
  readonly atMs: number
}

/** Reads which repositories to follow and which of their refs. */
export async function readFollowed(db: Kysely<Schema>, pollIntervalDefaultMs: number): Promise<FollowedRepository[]> {
  const repositories = await db.selectFrom('repositories').select(['name', 'spec']).orderBy('name').execute()
  const applications = await db.selectFrom('applications').select('spec').where('deleting', 'is', null).execute()
  const refs = new Map<string, Set<string>>(repositories.map(({ name }) => [name, new Set()]))
  for (const { spec } of applications) {
    const application = fromJsonString(ApplicationSpecSchema, spec, { ignoreUnknownFields: true })
    for (const { repository, ref } of sourcesOf(application)) refs.get(repository)?.add(ref)
  }
  return repositories.map(({ name, spec: json }) => {
    const spec = fromJsonString(RepositorySpecSchema, json, { ignoreUnknownFields: true })
    if (spec.definitions) refs.get(name)?.add(spec.definitions.ref)
    const pollIntervalMs = spec.pollInterval ? durationMs(spec.pollInterval) : pollIntervalDefaultMs
    return { name, spec, refs: [...(refs.get(name) ?? [])].sort(), pollIntervalMs: Math.max(1_000, pollIntervalMs) }
  })
}

/** The last good commit of each ref of a repository. */
export async function readCommits(db: Kysely<Schema>, repository: string): Promise<Map<string, string>> {
  const rows = await db.selectFrom('refs').select(['ref', 'commit']).where('repository', '=', repository).execute()
  return new Map(rows.filter(({ commit }) => commit !== '').map(({ ref, commit }) => [ref, commit]))
}

/** Writes what a poll found out, in one transaction. A problem never takes a commit away. True when a commit or a problem differs from before. */
export async function writeOutcome(store: Store, repository: string, outcome: PollOutcome): Promise<boolean> {
  return store.transaction(async (transaction) => {
    const isChanged = await writeRepositoryState(transaction, repository, outcome)
    let changes = isChanged ? 1 : 0
    for (const ref of outcome.refs) changes += (await writeRef(transaction, repository, ref, outcome.atMs)) ? 1 : 0
    return changes > 0
  })
}

/** Writes when repositories answered last, for polls that found nothing new. */
export async function writePolledAt(store: Store, polledAt: ReadonlyMap<string, number>): Promise<void> {
  await store.transaction(async (transaction) => {
    for (const [repository, atMs] of polledAt) {
      await transaction
        .updateTable('repository_state')
        .set({ last_polled_at: atMs })
        .where('repository', '=', repository)
        .execute()
      await transaction.updateTable('refs').set({ polled_at: atMs }).where('repository', '=', repository).execute()
    }
  })
}

/** Forgets refs that no application asks for any more, and repositories that are not defined any more. */
export async function forgetUnfollowed(store: Store, followed: readonly FollowedRepository[]): Promise<void> {
  const wanted = new Map(followed.map(({ name, refs }) => [name, new Set(refs)]))
  const rows = await store.db.selectFrom('refs').select(['repository', 'ref']).execute()
  const states = await store.db.selectFrom('repository_state').select('repository').execute()
  const staleRefs = rows.filter(({ repository, ref }) => !wanted.get(repository)?.has(ref))
  const staleStates = states.filter(({ repository }) => !wanted.has(repository))
  if (staleRefs.length === 0 && staleStates.length === 0) return
  await store.transaction(async (transaction) => {
    for (const { repository, ref } of staleRefs) {
      await transaction.deleteFrom('refs').where('repository', '=', repository).where('ref', '=', ref).execute()
    }
    for (const { repository } of staleStates) {
      await transaction.deleteFrom('repository_state').where('repository', '=', repository).execute()
    }
  })
}

async function writeRepositoryState(db: Kysely<Schema>, repository: string, outcome: PollOutcome): Promise<boolean> {
  const { problem, atMs } = outcome
  const table = db.selectFrom('repository_state').selectAll().where('repository', '=', repository)
  const before = await table.executeTakeFirst()
  const next = problem ? encodeProblem(problem, before?.problem ?? null, atMs) : null
  const lastPolledAt = problem ? (before?.last_polled_at ?? null) : atMs
  await db
    .insertInto('repository_state')
    .values({ repository, last_polled_at: lastPolledAt, problem: next })
    .onConflict((conflict) =>
      conflict.column('repository').doUpdateSet({ last_polled_at: lastPolledAt, problem: next }),
    )
    .execute()
  return before === undefined || before.problem !== next
}

async function writeRef(db: Kysely<Schema>, repository: string, outcome: RefOutcome, atMs: number): Promise<boolean> {
  const { ref } = outcome
  const table = db.selectFrom('refs').selectAll().where('repository', '=', repository).where('ref', '=', ref)
  const before = await table.executeTakeFirst()
  const commit = 'commit' in outcome ? outcome.commit : (before?.commit ?? '')
  const resolved = 'name' in outcome ? outcome.name : (before?.resolved ?? '')
  const problem = 'problem' in outcome ? encodeProblem(outcome.problem, before?.problem ?? null, atMs) : null
  const isNewCommit = commit !== (before?.commit ?? '')
  const seenAt = isNewCommit ? atMs : (before?.seen_at ?? 0)
  const row = { commit, resolved, seen_at: seenAt, problem, polled_at: atMs }
  await db
    .insertInto('refs')
    .values({ repository, ref, ...row })
    .onConflict((conflict) => conflict.columns(['repository', 'ref']).doUpdateSet(row))
    .execute()
  return isNewCommit || problem !== (before?.problem ?? null)
}

/** As proto JSON; `since` is that of the problem before when its code is the same. */
function encodeProblem(problem: AppError, before: string | null, atMs: number): string {
  const last = before === null ? undefined : fromJson(ProblemSchema, JSON.parse(before), { ignoreUnknownFields: true })
  const since = last?.code === problem.code && last.since ? last.since : timestampFromMs(atMs)
  const { code, message } = problem
  return JSON.stringify(toJson(ProblemSchema, create(ProblemSchema, { code, message, since })))
}

/** Equal for outcomes that say the same. */
export function summarizeOutcome({ problem, refs }: PollOutcome): string {
  const describe = (error: AppError): string => `${error.code}: ${error.message}`
  return JSON.stringify([
    problem && describe(problem),
    refs.map((ref) => ('commit' in ref ? [ref.ref, ref.commit, ref.name] : [ref.ref, describe(ref.problem)])),
  ])
}

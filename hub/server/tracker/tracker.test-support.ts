// A tracker with a Git host and a database, for tests.
import { createServer, type RequestListener, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import path from 'node:path'
import { create, fromJsonString, type MessageInitShape, toJsonString } from '@bufbuild/protobuf'
import { DurationSchema } from '@bufbuild/protobuf/wkt'
import { type GitServer, startGitServer } from '@fairlead/e2e/harness/git-server'
import { makeRunFolder } from '@fairlead/e2e/harness/guardian'
import { waitFor } from '@fairlead/e2e/harness/wait'
import { type Problem, ProblemSchema } from '@fairlead/proto/common'
import { ApplicationSpecSchema, RepositorySpecSchema } from '@fairlead/proto/definitions'
import { createLogger } from '@fairlead/shared/logger'
import { openStore, type Store } from '../store/store.ts'
import { createTracker, type Tracker, type TrackerOptions } from './tracker.ts'

/** Git starts many processes, and tests share the machine. */
const patience = { timeoutMs: 30_000 }

/** What a test works with. */
export class TrackerBed implements AsyncDisposable {
  readonly git: GitServer
  readonly store: Store
  readonly gitDir = path.join(makeRunFolder('tracker'), 'git')
  /** Everything that was logged, also at level trace. */
  readonly log: string[] = []
  readonly logger = createLogger({
    name: 'hub',
    level: 'trace',
    stream: { write: (line) => void this.log.push(line) },
  })
  readonly #servers: Server[] = []
  #tracker: Tracker | undefined

  constructor(git: GitServer, store: Store) {
    this.git = git
    this.store = store
  }

  get tracker(): Tracker {
    if (!this.#tracker) throw new Error('the tracker was not started')
    return this.#tracker
  }

  /** Starts a tracker in place of the one that runs. */
  async start(options: Partial<TrackerOptions> = {}): Promise<Tracker> {
    await this.stop()
    const { store, gitDir, logger } = this
    this.#tracker = createTracker({ store, gitDir, onChange: () => undefined, logger, ...options })
    this.#tracker.start()
    return this.#tracker
  }

  /** Has a server listen for as long as the test runs, and returns its port. */
  async listen(server: Server): Promise<number> {
    this.#servers.push(server)
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    return (server.address() as AddressInfo).port
  }

  /** Has a host answer for as long as the test runs, and returns its address. */
  async serve(listener: RequestListener): Promise<string> {
    return `http://127.0.0.1:${await this.listen(createServer(listener))}`
  }

  async stop(): Promise<void> {
    await this.#tracker?.stop()
    this.#tracker = undefined
  }

  /** Defines or changes a Repository, which is polled at once and then each hour. */
  async define(name: string, spec: MessageInitShape<typeof RepositorySpecSchema>): Promise<void> {
    const message = create(RepositorySpecSchema, spec)
    message.pollInterval ??= create(DurationSchema, { seconds: 3600n })
    const row = { spec: toJsonString(RepositorySpecSchema, message) }
    await this.store.db
      .insertInto('repositories')
      .values({ name, uid: name, generation: 1, labels: '{}', created_at: 0, ...row })
      .onConflict((conflict) => conflict.column('name').doUpdateSet(row))
      .execute()
    this.#tracker?.refresh()
  }

  /** Has an application ask for a ref. */
  async follow(repository: string, ref = 'main', chart = ''): Promise<void> {
    const spec = create(ApplicationSpecSchema, { source: { repository, ref, chart } })
    const name = `${repository}-${chart}-${ref}`
    const row = { name, uid: name, generation: 1, labels: '{}', created_at: 0, deleting: null }
    await this.store.db
      .insertInto('applications')
      .values({ ...row, spec: toJsonString(ApplicationSpecSchema, spec) })
      .execute()
  }

  async commitOf(repository: string, ref = 'main'): Promise<string | undefined> {
    const table = this.store.db.selectFrom('refs').select('commit')
    return (await table.where('repository', '=', repository).where('ref', '=', ref).executeTakeFirst())?.commit
  }

  async problemOf(repository: string): Promise<Problem | undefined> {
    const table = this.store.db.selectFrom('repository_state').select('problem')
    return parse((await table.where('repository', '=', repository).executeTakeFirst())?.problem)
  }

  async refProblemOf(repository: string, ref = 'main'): Promise<Problem | undefined> {
    const table = this.store.db.selectFrom('refs').select('problem').where('ref', '=', ref)
    return parse((await table.where('repository', '=', repository).executeTakeFirst())?.problem)
  }

  /** Waits until a ref is at a commit, without a problem. */
  async seen(commit: string, repository: string, ref = 'main'): Promise<void> {
    await waitFor(
      `${repository} ${ref} at ${commit}`,
      async (see) => {
        const problem = (await this.problemOf(repository)) ?? (await this.refProblemOf(repository, ref))
        see(problem?.message)
        return (await this.commitOf(repository, ref)) === commit && problem === undefined
      },
      patience,
    )
  }

  /** Waits until a repository, or its ref, has a problem with these words in its message, and returns it. */
  async broken(repository: string, code: string, words = '', ref = 'main'): Promise<Problem> {
    return await waitFor(
      `${repository} to be ${code}: ${words}`,
      async (see) => {
        const problem = (await this.problemOf(repository)) ?? (await this.refProblemOf(repository, ref))
        see(problem && `${problem.code}: ${problem.message}`)
        return problem?.code === code && problem.message.includes(words) && problem
      },
      patience,
    )
  }

  /** Everything that people may see of the repositories: the log and the database. */
  async everything(): Promise<string> {
    const states = await this.store.db.selectFrom('repository_state').selectAll().execute()
    const refs = await this.store.db.selectFrom('refs').selectAll().execute()
    return this.log.join('') + JSON.stringify([states, refs])
  }

  async textOf(repository: string, commit: string, file: string): Promise<string | undefined> {
    const tree = await this.tracker.readTree(repository, commit, '', new AbortController().signal)
    const bytes = tree.files.find((each) => each.path === file)?.bytes
    return bytes && Buffer.from(bytes).toString()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop()
    await this.store.close()
    await this.git.stop()
    for (const server of this.#servers) {
      server.closeAllConnections()
      server.close()
    }
  }
}

/** Makes one, with nothing in it. */
export async function openTrackerBed(): Promise<TrackerBed> {
  const git = await startGitServer()
  return new TrackerBed(git, await openStore(':memory:', { logger: createLogger({ name: 'store', level: 'silent' }) }))
}

function parse(json: string | null | undefined): Problem | undefined {
  return json ? fromJsonString(ProblemSchema, json) : undefined
}

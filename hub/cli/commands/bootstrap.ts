// fairlead bootstrap: has the hub follow a repository for definitions, and waits until its newest commit is taken over.
import { setTimeout as delay } from 'node:timers/promises'
import { create, toJson } from '@bufbuild/protobuf'
import { ApplyDefinitionsRequestSchema, type Repository, RepositorySpecSchema } from '@fairlead/proto/definitions'
import { GetRepositoryRequestSchema, RefreshRepositoryRequestSchema } from '@fairlead/proto/repositories'
import { AppError } from '@fairlead/shared/errors'
import { Command } from 'commander'
import { type Cli, durationOption, present, withHub } from '../cli.ts'
import type { HubClient } from '../client.ts'
import { locateProblems } from '../definitions/locate-problems.ts'
import { readDefinitions } from '../definitions/read-definitions.ts'
import { EXIT_CODES } from '../exit-codes.ts'
import { formatProblem, plain } from '../output/text.ts'

interface Options {
  readonly filename?: string
  readonly url?: string
  readonly ref?: string
  readonly path?: string
  readonly credentialsFrom?: string
  readonly adopt?: boolean
  readonly wait: boolean
  readonly timeout: number
}

type Spec = Readonly<Record<string, unknown>>

const POLL_MS = 250

/** The command. */
export function createBootstrapCommand(cli: Cli): Command {
  const command = new Command('bootstrap')
    .description(
      'have the hub follow a repository for Applications and Repositories, and wait until they are taken over',
    )
    .argument('<name>', 'name of the repository; one that exists keeps what is not given here')
    .option('-f, --filename <file>', 'Repository document to begin with, - for standard input')
    .option('--url <url>', 'address of the repository')
    .option('--ref <ref>', 'branch, tag, semver:<range> or commit to follow (default: the default branch)')
    .option('--path <path>', 'folder or file of the definitions (default: the root)')
    .option(
      '--credentials-from <source>',
      'file:<absolute path>, env:<NAME> or secret:<namespace>/<name>#<key>, as the hub finds it',
    )
    .option('--adopt', 'take over definitions made by hand that differ from Git; equal ones are taken over anyway')
    .option('--no-wait', 'do not wait until the newest commit is taken over')
    .option('--timeout <duration>', 'longest wait (default: 2m)', durationOption, 120_000)
    .action(async (name: string, options: Options) => {
      await withHub(cli, command, (hub) => bootstrap(cli, hub, name, options))
    })
  return command
}

async function bootstrap(cli: Cli, hub: HubClient, name: string, options: Options): Promise<void> {
  const documents = options.filename
    ? await readDefinitions([options.filename], { recursive: false, stdin: cli.stdin })
    : []
  const [document, second] = documents
  if (second || (document && (document.kind !== 'Repository' || document.name !== name))) {
    throw new AppError('InvalidArgument', `${options.filename} must hold one document: Repository ${name}`)
  }
  const known = await findRepository(hub, name)
  const base = document ? document.value : known ? documentOf(known) : newDocument(name)
  const json = JSON.stringify({ ...base, spec: mergeSpec((base.spec ?? {}) as Spec, options) })
  const source = document ? { file: document.file, line: document.line } : {}
  const request = create(ApplyDefinitionsRequestSchema, { documents: [{ json, source }] })
  const { results } = await hub.definitions.applyDefinitions(request).catch((error: unknown) => {
    throw locateProblems(error, documents)
  })
  const subject = `repository/${plain(name)}`
  for (const { action, warnings } of results) {
    cli.output.line(`${subject} ${plain(action)}`)
    for (const warning of warnings) cli.output.note(`warning: ${subject}: ${plain(warning)}`)
  }
  const { spec } = present(await findRepository(hub, name), 'the repository')
  const { ref = '', path = '' } = spec?.definitions ?? {}
  const what = `${plain(ref) || 'the default branch'}, ${plain(path) || 'the root'}`
  cli.output.line(`${subject} is followed for definitions: ${plain(spec?.url ?? '')}, ${what}`)
  if (options.wait) await waitUntilTaken(cli, hub, name, options.timeout)
}

/** What is given on the command line goes over what there is. */
function mergeSpec(spec: Spec, { url, ref, path, credentialsFrom, adopt }: Options): Spec {
  const definitions = {
    ...(spec.definitions as Spec | undefined),
    ...(ref === undefined ? {} : { ref }),
    ...(path === undefined ? {} : { path }),
    ...(adopt === undefined ? {} : { adopt }),
  }
  return {
    ...spec,
    ...(url === undefined ? {} : { url }),
    ...(credentialsFrom === undefined ? {} : { credentials: { from: credentialsFrom } }),
    definitions,
  }
}

function newDocument(name: string): Spec {
  return { apiVersion: 'fairlead.dev/v1alpha1', kind: 'Repository', metadata: { name } }
}

/** A stored repository as a document that may be applied. */
export function documentOf({ metadata, spec }: Repository): Spec {
  const labels = metadata?.labels ?? {}
  return {
    apiVersion: 'fairlead.dev/v1alpha1',
    kind: 'Repository',
    metadata: { name: metadata?.name ?? '', labels },
    spec: spec ? toJson(RepositorySpecSchema, spec) : {},
  }
}

/** Undefined when there is none. */
export async function findRepository(hub: HubClient, name: string): Promise<Repository | undefined> {
  const request = create(GetRepositoryRequestSchema, { name })
  const { repository } = await hub.repositories.getRepository(request).catch((error: unknown) => {
    if (error instanceof AppError && error.code === 'NotFound') return { repository: undefined }
    throw error
  })
  return repository
}

async function waitUntilTaken(cli: Cli, hub: HubClient, name: string, timeoutMs: number): Promise<void> {
  const deadline = Date.now() + timeoutMs
  const startedAt = Date.now()
  await hub.repositories.refreshRepository(create(RefreshRepositoryRequestSchema, { name }))
  for (;;) {
    const { spec, status } = present(await findRepository(hub, name), 'the repository')
    const tracked = status?.refs.find(({ ref }) => ref === (spec?.definitions?.ref ?? ''))
    const { attemptedCommit = '', problems = [] } = status?.definitions ?? {}
    const isRead = tracked !== undefined && tracked.commit !== '' && attemptedCommit === tracked.commit
    const blocked = status?.problem ?? tracked?.problem
    if (isRead || Date.now() >= deadline) {
      const all = [...(blocked ? [blocked] : []), ...problems]
      for (const problem of all) cli.output.line(`problem: ${formatProblem(problem, Date.now())}`)
      if (!isRead) {
        cli.output.note(
          `error: the definitions were not taken over within ${Math.round((Date.now() - startedAt) / 1000)}s`,
        )
        cli.exitCode = EXIT_CODES.notReady.code
      } else {
        cli.output.line(`repository/${plain(name)} is taken over at ${plain(tracked.commit).slice(0, 12)}`)
        if (all.length > 0) cli.exitCode = EXIT_CODES.invalid.code
      }
      return
    }
    await delay(POLL_MS, undefined, { signal: cli.signal })
  }
}

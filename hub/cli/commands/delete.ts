// fairlead delete: by file, or by kind and name.
import { AppError } from '@fairlead/shared/errors'
import { Command } from 'commander'
import { type Cli, collect, withHub } from '../cli.ts'
import {
  addDeleteOptions,
  type DeleteOptions,
  deleteApplications,
  deleteRepository,
} from '../definitions/delete-definitions.ts'
import { readDefinitions } from '../definitions/read-definitions.ts'
import { parseKind } from './kind.ts'

interface Options extends DeleteOptions {
  readonly filename?: readonly string[]
  readonly recursive?: boolean
}

/** What is to go. */
interface Targets {
  readonly applications: readonly string[]
  readonly repositories: readonly string[]
}

/** The command. */
export function createDeleteCommand(cli: Cli): Command {
  const command = new Command('delete')
    .description('delete applications and repositories: `delete -f FILE`, or `delete KIND NAME...`')
    .argument('[kind]', 'application or repository')
    .argument('[name...]', 'names')
    .option(
      '-f, --filename <file>',
      'delete what this file, folder or - (standard input) defines (repeatable)',
      collect,
    )
    .option('-R, --recursive', 'look into the folders of folders')
  return addDeleteOptions(command).action(async (kind: string | undefined, names: string[], options: Options) => {
    const targets = await findTargets(cli, { kind, names, options })
    await withHub(cli, command, async (hub) => {
      // A repository is in use until its applications have left their clusters.
      const wait = options.wait === true || targets.repositories.length > 0
      await deleteApplications(cli, hub, targets.applications, { ...options, wait })
      for (const name of targets.repositories) await deleteRepository(cli, hub, name)
    })
  })
}

async function findTargets(
  cli: Cli,
  { kind, names, options }: { kind: string | undefined; names: readonly string[]; options: Options },
): Promise<Targets> {
  if (options.filename) {
    if (kind !== undefined) throw new AppError('InvalidArgument', 'give either -f or a kind and names, not both')
    return await targetsOfFiles(cli, options.filename, options.recursive === true)
  }
  if (kind === undefined || names.length === 0) {
    throw new AppError('InvalidArgument', 'name what to delete: -f FILE, or KIND NAME')
  }
  switch (parseKind(kind)) {
    case 'application':
      return { applications: names, repositories: [] }
    case 'repository':
      return { applications: [], repositories: names }
    case 'cluster':
      throw new AppError('InvalidArgument', 'a cluster is taken out of the fleet by: fairlead cluster remove NAME')
  }
}

async function targetsOfFiles(cli: Cli, files: readonly string[], recursive: boolean): Promise<Targets> {
  const documents = await readDefinitions(files, { recursive, stdin: cli.stdin })
  for (const { kind, name, file, line } of documents) {
    if (name === '' || (kind !== 'Application' && kind !== 'Repository')) {
      throw new AppError('InvalidArgument', 'not a named Application or Repository', { context: { file, line } })
    }
  }
  const namesOf = (wanted: string) => [
    ...new Set(documents.filter(({ kind }) => kind === wanted).map(({ name }) => name)),
  ]
  return { applications: namesOf('Application'), repositories: namesOf('Repository') }
}

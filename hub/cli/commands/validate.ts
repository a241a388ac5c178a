// fairlead validate: tries definitions and manifests before they are committed. Needs neither a hub nor a cluster.
import path from 'node:path'
import { create } from '@bufbuild/protobuf'
import { DefinitionDocumentSchema } from '@fairlead/proto/definitions'
import { AppError } from '@fairlead/shared/errors'
import { parseSchemaVersion, SCHEMA_VERSIONS } from '@fairlead/shared/kubernetes-versions'
import { Command, Option } from 'commander'
import { type Cli, collect, collectPairs } from '../cli.ts'
import { EXIT_CODES } from '../exit-codes.ts'
import { formatData, formatJunit, formatSarif, formatText, type ValidateReport } from '../validate/formats.ts'
import { folderAt, gather } from '../validate/gather.ts'
import { locateFindings } from '../validate/locate.ts'

interface Options {
  readonly kubernetes?: readonly string[]
  readonly schemas: boolean
  readonly repository?: Readonly<Record<string, string>>
  readonly crds?: readonly string[]
  readonly namespace: string
  readonly strict?: boolean
  readonly output: 'text' | 'json' | 'junit' | 'sarif'
}

const NEWEST = SCHEMA_VERSIONS.at(-1) ?? ''

/** The command. */
export function createValidateCommand(cli: Cli): Command {
  return new Command('validate')
    .description('say what is wrong with definitions and manifests on disk, without a hub or a cluster')
    .argument('[paths...]', 'folders or files: of definitions, or each the folder of one application', ['.'])
    .option(
      '-k, --kubernetes <version>',
      `version whose schemas the manifests must fit (repeatable; default: ${NEWEST}; known: ${SCHEMA_VERSIONS.join(', ')})`,
      collect,
    )
    .option('--no-schemas', 'do not compare with schemas')
    .option(
      '--repository <name=folder>',
      "where a Repository's files are: its applications' manifests are tried too (repeatable)",
      collectPairs,
    )
    .option('--crds <path>', 'CustomResourceDefinitions, for the schemas of custom resources (repeatable)', collect)
    .option('-n, --namespace <name>', 'namespace for objects that name none', 'default')
    .option('--strict', 'an object without a schema is a problem')
    .addOption(
      new Option('-o, --output <format>', 'format').choices(['text', 'json', 'junit', 'sarif']).default('text'),
    )
    .action(async (paths: readonly string[], options: Options) => {
      const report = await run(cli, paths, options)
      print(cli, report, options.output)
      if (report.findings.length > 0) cli.exitCode = EXIT_CODES.invalid.code
    })
}

async function run(cli: Cli, paths: readonly string[], options: Options): Promise<ValidateReport> {
  const { kubernetes = [NEWEST], schemas, repository = {}, crds = [], namespace, strict = false } = options
  const versions = [...new Set(kubernetes.flatMap((text) => text.split(',')).map(parseSchemaVersion))]
  const gathered = await gather(paths, namespace)
  if (gathered.documents.length === 0 && gathered.folders.length === 0) {
    throw new AppError('InvalidArgument', `${paths.join(', ')} holds nothing to look at`)
  }
  const request = {
    documents: gathered.documents.map(({ value, file, line }) =>
      create(DefinitionDocumentSchema, { json: JSON.stringify(value), source: { file, line } }),
    ),
    folders: gathered.folders,
    workingCopies: new Map(Object.entries(repository).map(([name, folder]) => [name, path.resolve(folder)])),
    versions: schemas ? versions : [],
    crds: await Promise.all(crds.map(async (given) => await folderAt(given, namespace))),
  }
  // Only here: what it takes to check is much, and no other command needs it.
  const { validate } = await import('@fairlead/server/validate')
  const { findings, ...result } = await validate(request, cli.signal)
  const missing = strict
    ? result.unchecked.map(({ reason, ...where }) => ({ code: 'UnknownKind' as const, ...where, message: reason }))
    : []
  return {
    ...result,
    unchecked: strict ? [] : result.unchecked,
    findings: await locateFindings([...gathered.findings, ...findings, ...missing], process.cwd()),
  }
}

function print(cli: Cli, report: ValidateReport, output: Options['output']): void {
  if (output === 'junit') cli.output.raw(formatJunit(report))
  else if (output === 'sarif') cli.output.data(formatSarif(report), 'json')
  else if (output === 'json') cli.output.data(formatData(report), 'json')
  else for (const line of formatText(report)) cli.output.line(line)
}

// fairlead apply: has the hub validate and store Repository and Application documents.
import { create } from '@bufbuild/protobuf'
import {
  ApplyDefinitionsRequestSchema,
  ApplyDefinitionsResponseSchema,
  type DefinitionResult,
} from '@fairlead/proto/definitions'
import type { DefinitionSource } from '@fairlead/server/definitions/documents'
import { Command, Option } from 'commander'
import { type Cli, collect, withHub } from '../cli.ts'
import { locateProblems } from '../definitions/locate-problems.ts'
import { readDefinitions } from '../definitions/read-definitions.ts'
import { messageToData } from '../output/json.ts'
import { plain } from '../output/text.ts'

interface Options {
  readonly filename: readonly string[]
  readonly recursive?: boolean
  readonly dryRun?: boolean
  readonly output: 'text' | 'json' | 'yaml'
}

/** The command. */
export function createApplyCommand(cli: Cli): Command {
  const command = new Command('apply')
    .description('make or change what the given YAML documents define; all of them or, when one is invalid, none')
    .requiredOption('-f, --filename <file>', 'file, folder or - for standard input (repeatable)', collect)
    .option('-R, --recursive', 'look into the folders of folders')
    .option('--dry-run', 'have the hub validate, and say what would change')
    .addOption(new Option('-o, --output <format>', 'format').choices(['text', 'json', 'yaml']).default('text'))
    .action(async ({ filename, recursive = false, dryRun = false, output }: Options) => {
      const documents = await readDefinitions(filename, { recursive, stdin: cli.stdin })
      const response = await withHub(cli, command, (hub) =>
        hub.definitions.applyDefinitions(toRequest(documents, dryRun)).catch((error: unknown) => {
          throw locateProblems(error, documents)
        }),
      )
      if (output !== 'text') {
        cli.output.data(messageToData(ApplyDefinitionsResponseSchema, response), output)
        return
      }
      for (const [index, result] of response.results.entries()) printResult(cli, result, documents[index], dryRun)
    })
  return command
}

function toRequest(documents: readonly DefinitionSource[], dryRun: boolean) {
  return create(ApplyDefinitionsRequestSchema, {
    dryRun,
    documents: documents.map(({ value, file, line }) => ({ json: JSON.stringify(value), source: { file, line } })),
  })
}

function printResult(
  cli: Cli,
  result: DefinitionResult,
  document: DefinitionSource | undefined,
  dryRun: boolean,
): void {
  const subject = `${result.kind.toLowerCase()}/${plain(result.name)}`
  cli.output.line(`${subject} ${plain(result.action)}${dryRun ? ' (dry run)' : ''}`)
  for (const warning of result.warnings) {
    const place = document ? `${document.file}:${document.line}: ` : ''
    cli.output.note(`warning: ${place}${subject}: ${plain(warning)}`)
  }
}

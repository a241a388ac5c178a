// fairlead repository get.
import { create } from '@bufbuild/protobuf'
import { GetRepositoryRequestSchema } from '@fairlead/proto/repositories'
import { Command } from 'commander'
import { type Cli, present, withHub } from '../../cli.ts'
import { type ListFormat, listFormatOption, printOne, REPOSITORY } from '../../output/nouns.ts'

/** The command. */
export function createGetCommand(cli: Cli): Command {
  const command = new Command('get')
    .description('show one repository')
    .argument('<name>', 'name of the repository')
    .addOption(listFormatOption())
    .action(async (name: string, { output }: { output: ListFormat }) => {
      const request = create(GetRepositoryRequestSchema, { name })
      const { repository } = await withHub(cli, command, (hub) => hub.repositories.getRepository(request))
      printOne(cli.output, REPOSITORY, present(repository, 'the repository'), output)
    })
  return command
}

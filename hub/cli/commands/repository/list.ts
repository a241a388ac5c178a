// fairlead repository list.
import { create } from '@bufbuild/protobuf'
import { ListRepositoriesRequestSchema } from '@fairlead/proto/repositories'
import { Command } from 'commander'
import { type Cli, withHub } from '../../cli.ts'
import { type ListFormat, listFormatOption, printList, REPOSITORY } from '../../output/nouns.ts'

/** The command. */
export function createListCommand(cli: Cli): Command {
  const command = new Command('list')
    .description('list the repositories')
    .addOption(listFormatOption())
    .action(async ({ output }: { output: ListFormat }) => {
      const request = create(ListRepositoriesRequestSchema)
      const response = await withHub(cli, command, (hub) => hub.repositories.listRepositories(request))
      printList(cli.output, REPOSITORY, response.repositories, output)
    })
  return command
}

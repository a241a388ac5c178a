// fairlead application list.
import { create } from '@bufbuild/protobuf'
import { ListApplicationsRequestSchema } from '@fairlead/proto/applications'
import { Command } from 'commander'
import { type Cli, withHub } from '../../cli.ts'
import { APPLICATION, type ListFormat, listFormatOption, printList } from '../../output/nouns.ts'

/** The command. */
export function createListCommand(cli: Cli): Command {
  const command = new Command('list')
    .description('list the applications')
    .addOption(listFormatOption())
    .action(async ({ output }: { output: ListFormat }) => {
      const request = create(ListApplicationsRequestSchema)
      const response = await withHub(cli, command, (hub) => hub.applications.listApplications(request))
      printList(cli.output, APPLICATION, response.applications, output)
    })
  return command
}

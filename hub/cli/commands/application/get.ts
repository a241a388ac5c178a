// fairlead application get.
import { create } from '@bufbuild/protobuf'
import { GetApplicationRequestSchema } from '@fairlead/proto/applications'
import { Command } from 'commander'
import { type Cli, present, withHub } from '../../cli.ts'
import { APPLICATION, type ListFormat, listFormatOption, printOne } from '../../output/nouns.ts'

/** The command. */
export function createGetCommand(cli: Cli): Command {
  const command = new Command('get')
    .description('show one application')
    .argument('<name>', 'name of the application')
    .addOption(listFormatOption())
    .action(async (name: string, { output }: { output: ListFormat }) => {
      const request = create(GetApplicationRequestSchema, { name })
      const { application } = await withHub(cli, command, (hub) => hub.applications.getApplication(request))
      printOne(cli.output, APPLICATION, present(application, 'the application'), output)
    })
  return command
}

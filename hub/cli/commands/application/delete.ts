// fairlead application delete.
import { Command } from 'commander'
import { type Cli, withHub } from '../../cli.ts'
import { addDeleteOptions, type DeleteOptions, deleteApplications } from '../../definitions/delete-definitions.ts'

/** The command. */
export function createDeleteCommand(cli: Cli): Command {
  const command = new Command('delete')
    .description('take an application from every cluster')
    .argument('<name>', 'name of the application')
  return addDeleteOptions(command).action(async (name: string, options: DeleteOptions) => {
    await withHub(cli, command, (hub) => deleteApplications(cli, hub, [name], options))
  })
}

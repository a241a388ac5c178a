// fairlead repository delete.
import { Command } from 'commander'
import { type Cli, withHub } from '../../cli.ts'
import { deleteRepository } from '../../definitions/delete-definitions.ts'

/** The command. */
export function createDeleteCommand(cli: Cli): Command {
  const command = new Command('delete')
    .description('forget a repository; refused while an application uses it')
    .argument('<name>', 'name of the repository')
    .action(async (name: string) => {
      await withHub(cli, command, (hub) => deleteRepository(cli, hub, name))
    })
  return command
}

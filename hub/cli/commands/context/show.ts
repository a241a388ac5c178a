// fairlead context show.
import { Command, Option } from 'commander'
import { type Cli, findContext } from '../../cli.ts'

/** The command. */
export function createShowCommand(cli: Cli): Command {
  const command = new Command('show')
    .description('show the context in use; its token only with --show-token')
    .option('--show-token', 'show the token')
    .addOption(new Option('-o, --output <format>', 'format').choices(['json', 'yaml']).default('yaml'))
    .action(async ({ showToken = false, output }: { showToken?: boolean; output: 'json' | 'yaml' }) => {
      const { name, address, caPem, token } = await findContext(cli, command)
      const shown = token === '' ? '' : '(hidden; --show-token shows it)'
      cli.output.data({ name, address, caPem, token: showToken ? token : shown }, output)
    })
  return command
}

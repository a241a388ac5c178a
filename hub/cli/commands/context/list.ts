// fairlead context list.
import { Command } from 'commander'
import { type Cli, contextFilePath, type GlobalOptions } from '../../cli.ts'
import { readContextFile } from '../../context-file.ts'
import { plain } from '../../output/text.ts'

/** The command. */
export function createListCommand(cli: Cli): Command {
  const command = new Command('list').description('list the contexts; * marks the one in use').action(async () => {
    const { contexts, currentContext } = await readContextFile(contextFilePath(cli, command))
    const used = command.optsWithGlobals<GlobalOptions>().context ?? cli.environment.context ?? currentContext
    if (contexts.length === 0) cli.output.note('No contexts.')
    else {
      const rows = contexts.map(({ name, address }) => [name === used ? '*' : '', plain(name), plain(address)])
      cli.output.table({ columns: ['CURRENT', 'NAME', 'ADDRESS'], rows })
    }
  })
  return command
}

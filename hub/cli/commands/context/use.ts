// fairlead context use.
import { Command } from 'commander'
import { type Cli, contextFilePath } from '../../cli.ts'
import { readContextFile, selectContext, writeContextFile } from '../../context-file.ts'

/** The command. */
export function createUseCommand(cli: Cli): Command {
  const command = new Command('use')
    .description('use this context from now on')
    .argument('<name>', 'name of the context')
    .action(async (name: string) => {
      const file = contextFilePath(cli, command)
      const contexts = await readContextFile(file)
      selectContext(contexts, { name, file })
      await writeContextFile(file, { ...contexts, currentContext: name })
      cli.output.line(`context/${name} in use`)
    })
  return command
}

// fairlead application.
import { Command } from 'commander'
import type { Cli } from '../../cli.ts'
import { createDeleteCommand } from './delete.ts'
import { createGetCommand } from './get.ts'
import { createListCommand } from './list.ts'
import { createResumeCommand, createSuspendCommand } from './suspend.ts'

/** The command and those below it. */
export function createApplicationCommand(cli: Cli): Command {
  return new Command('application')
    .description('look at, suspend and delete applications; made by `fairlead apply`')
    .addCommand(createListCommand(cli))
    .addCommand(createGetCommand(cli))
    .addCommand(createDeleteCommand(cli))
    .addCommand(createSuspendCommand(cli))
    .addCommand(createResumeCommand(cli))
}

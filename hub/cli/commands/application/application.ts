// fairlead application.
import { Command } from 'commander'
import type { Cli } from '../../cli.ts'
import { createDeleteCommand } from './delete.ts'
import { createGetCommand } from './get.ts'
import { createListCommand } from './list.ts'

/** The command and those below it. */
export function createApplicationCommand(cli: Cli): Command {
  return new Command('application')
    .description('look at and delete applications; made by `fairlead apply`')
    .addCommand(createListCommand(cli))
    .addCommand(createGetCommand(cli))
    .addCommand(createDeleteCommand(cli))
}

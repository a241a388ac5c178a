// fairlead context.
import { Command } from 'commander'
import type { Cli } from '../../cli.ts'
import { createListCommand } from './list.ts'
import { createSetCommand } from './set.ts'
import { createShowCommand } from './show.ts'
import { createUseCommand } from './use.ts'

/** The command and those below it. */
export function createContextCommand(cli: Cli): Command {
  return new Command('context')
    .description('choose the hub to talk to')
    .addCommand(createListCommand(cli))
    .addCommand(createUseCommand(cli))
    .addCommand(createShowCommand(cli))
    .addCommand(createSetCommand(cli))
}

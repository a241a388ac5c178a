// fairlead cluster.
import { Command } from 'commander'
import type { Cli } from '../../cli.ts'
import { createGetCommand } from './get.ts'
import { createLabelCommand } from './label.ts'
import { createListCommand } from './list.ts'
import { createRegisterCommand } from './register.ts'
import { createRemoveCommand } from './remove.ts'
import { createTokenCommand } from './token.ts'
import { createValueCommand } from './value.ts'

/** The command and those below it. */
export function createClusterCommand(cli: Cli): Command {
  return new Command('cluster')
    .description('register, label and remove clusters')
    .addCommand(createRegisterCommand(cli))
    .addCommand(createTokenCommand(cli))
    .addCommand(createListCommand(cli))
    .addCommand(createGetCommand(cli))
    .addCommand(createLabelCommand(cli))
    .addCommand(createValueCommand(cli))
    .addCommand(createRemoveCommand(cli))
}

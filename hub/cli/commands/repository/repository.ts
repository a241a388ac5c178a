// fairlead repository.
import { Command } from 'commander'
import type { Cli } from '../../cli.ts'
import { createDeleteCommand } from './delete.ts'
import { createGetCommand } from './get.ts'
import { createListCommand } from './list.ts'
import { createRefreshCommand } from './refresh.ts'

/** The command and those below it. */
export function createRepositoryCommand(cli: Cli): Command {
  return new Command('repository')
    .description('look at, refresh and delete Git repositories; made by `fairlead apply`')
    .addCommand(createListCommand(cli))
    .addCommand(createGetCommand(cli))
    .addCommand(createRefreshCommand(cli))
    .addCommand(createDeleteCommand(cli))
}

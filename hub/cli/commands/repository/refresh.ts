// fairlead repository refresh.
import { create } from '@bufbuild/protobuf'
import { RefreshRepositoryRequestSchema } from '@fairlead/proto/repositories'
import { Command } from 'commander'
import { type Cli, withHub } from '../../cli.ts'

/** The command. */
export function createRefreshCommand(cli: Cli): Command {
  const command = new Command('refresh')
    .description('have the hub look at the repository now instead of at its next poll')
    .argument('<name>', 'name of the repository')
    .action(async (name: string) => {
      const request = create(RefreshRepositoryRequestSchema, { name })
      await withHub(cli, command, (hub) => hub.repositories.refreshRepository(request))
      cli.output.line(`repository/${name} refreshing`)
    })
  return command
}

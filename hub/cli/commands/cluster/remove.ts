// fairlead cluster remove.
import { create } from '@bufbuild/protobuf'
import { RemoveClusterRequestSchema } from '@fairlead/proto/clusters'
import { AppError } from '@fairlead/shared/errors'
import { Command } from 'commander'
import { type Cli, withHub } from '../../cli.ts'
import { confirm } from '../confirm.ts'

/** The command. */
export function createRemoveCommand(cli: Cli): Command {
  const command = new Command('remove')
    .description('disconnect the agent, revoke its key and forget the cluster; its applications go on running there')
    .argument('<name>', 'name of the cluster')
    .option('-y, --yes', 'do not ask; needed where nobody can be asked')
    .action(async (name: string, { yes = false }: { yes?: boolean }) => {
      if (!yes && !(await confirm(cli, `Remove cluster ${name}? Its agent must join again to come back.`))) {
        throw new AppError('InvalidArgument', `cluster/${name} was not removed; --yes removes it without asking`)
      }
      await withHub(cli, command, (hub) => hub.clusters.removeCluster(create(RemoveClusterRequestSchema, { name })))
      cli.output.line(`cluster/${name} removed`)
    })
  return command
}

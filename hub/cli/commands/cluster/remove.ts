// fairlead cluster remove.
import { create } from '@bufbuild/protobuf'
import { RemoveClusterRequestSchema } from '@fairlead/proto/clusters'
import { Command } from 'commander'
import { type Cli, withHub } from '../../cli.ts'

/** The command. */
export function createRemoveCommand(cli: Cli): Command {
  const command = new Command('remove')
    .description('disconnect the agent, revoke its key and forget the cluster; its applications go on running there')
    .argument('<name>', 'name of the cluster')
    .action(async (name: string) => {
      await withHub(cli, command, (hub) => hub.clusters.removeCluster(create(RemoveClusterRequestSchema, { name })))
      cli.output.line(`cluster/${name} removed`)
    })
  return command
}

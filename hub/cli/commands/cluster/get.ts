// fairlead cluster get.
import { create } from '@bufbuild/protobuf'
import { GetClusterRequestSchema } from '@fairlead/proto/clusters'
import { Command } from 'commander'
import { type Cli, present, withHub } from '../../cli.ts'
import { CLUSTER, type ListFormat, listFormatOption, printOne } from '../../output/nouns.ts'

/** The command. */
export function createGetCommand(cli: Cli): Command {
  const command = new Command('get')
    .description('show one cluster')
    .argument('<name>', 'name of the cluster')
    .addOption(listFormatOption())
    .action(async (name: string, { output }: { output: ListFormat }) => {
      const request = create(GetClusterRequestSchema, { name })
      const { cluster } = await withHub(cli, command, (hub) => hub.clusters.getCluster(request))
      printOne(cli.output, CLUSTER, present(cluster, 'the cluster'), output)
    })
  return command
}

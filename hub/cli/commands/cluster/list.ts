// fairlead cluster list.
import { create } from '@bufbuild/protobuf'
import { ListClustersRequestSchema } from '@fairlead/proto/clusters'
import { Command } from 'commander'
import { type Cli, withHub } from '../../cli.ts'
import { CLUSTER, type ListFormat, listFormatOption, printList } from '../../output/nouns.ts'

/** The command. */
export function createListCommand(cli: Cli): Command {
  const command = new Command('list')
    .description('list the clusters')
    .option('-l, --selector <selector>', 'only clusters whose labels match, such as env=prod,region!=eu', '')
    .addOption(listFormatOption())
    .action(async ({ selector, output }: { selector: string; output: ListFormat }) => {
      const request = create(ListClustersRequestSchema, { selector })
      const { clusters } = await withHub(cli, command, (hub) => hub.clusters.listClusters(request))
      printList(cli.output, CLUSTER, clusters, output)
    })
  return command
}
